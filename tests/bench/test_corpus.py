"""The corpus is the files, byte for byte."""

import hashlib
from pathlib import Path

from bench.corpus import BATCH_BYTES, Corpus, Line, standard_library

FILES = {
    "a.py": b"one\ntwo\r\nno end",
    "deep/b.py": "h\u00e9\n".encode("latin-1") + b"\xff\x00\n",
    "empty.py": b"",
    "only_newlines.py": b"\n\n\r\n",
    "old_mac.py": b"x\ry\r",
    "large.py": b"0123456789\n" * 20_000,
}


def written(directory: Path) -> Corpus:
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (directory / "not_python.txt").write_bytes(b"no")
    (directory / "directory.py").mkdir()
    return Corpus(directory)


def test_the_lines_of_a_file_joined_are_the_file(tmp_path: Path) -> None:
    """Whatever its encoding and line ends; an empty one too."""
    corpus = written(tmp_path)
    found: dict[bytes, bytes] = {}
    for batch in corpus.batches():
        for line in batch:
            found[line.key] = found.get(line.key, b"") + line.value
    assert found == {name.encode(): content for name, content in FILES.items()}
    assert corpus.hashes == {
        name.encode(): hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }


def test_every_line_is_a_record_and_an_empty_file_is_one_empty_record(tmp_path: Path) -> None:
    """A file that left no record would be missing from the log unnoticed."""
    corpus = written(tmp_path)
    lines = [line for batch in corpus.batches() for line in batch]
    assert [line.value for line in lines if line.key == b"a.py"] == [
        b"one\n",
        b"two\r\n",
        b"no end",
    ]
    assert [line for line in lines if line.key == b"empty.py"] == [Line(b"empty.py", b"")]
    assert corpus.lines == len(lines) - 1
    assert corpus.size == sum(map(len, FILES.values()))


def test_batches_are_bounded(tmp_path: Path) -> None:
    """A batch is what is sent again after a failure."""
    sizes = [
        sum(len(line.key) + len(line.value) for line in batch)
        for batch in written(tmp_path).batches()
    ]
    assert len(sizes) > 3
    assert max(sizes) < BATCH_BYTES + 100


def test_installed_packages_are_no_part_of_the_standard_library(tmp_path: Path) -> None:
    """Another machine has other ones."""
    for name in ("a.py", "site-packages/b.py", "deep/site-packages/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    corpus = Corpus(tmp_path, frozenset({"site-packages"}))
    assert [line.key for batch in corpus.batches() for line in batch] == [b"a.py"]
    assert corpus.measure() == 1
    assert "site-packages" in standard_library().without

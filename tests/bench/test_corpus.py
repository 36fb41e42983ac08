"""The corpus is the files, byte for byte."""

import hashlib
from pathlib import Path

from bench.corpus import LINE_BYTES_MAX, Corpus, Line, standard_library

FILES = {
    "a.py": b"one\ntwo\r\nno end",
    "deep/b.py": "h\u00e9\n".encode("latin-1") + b"\xff\x01\n",
    "empty.py": b"",
    "only_newlines.py": b"\n\n\r\n",
    "old_mac.py": b"x\ry\r",
    "large.py": b"0123456789\n" * 20_000,
}


def written(directory: Path, pattern: str = "*.py") -> Corpus:
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (directory / "not_python.txt").write_bytes(b"no")
    (directory / "no_text.py").write_bytes(b"\x7fELF\0\0")
    (directory / "directory.py").mkdir()
    return Corpus(directory, pattern)


def test_the_lines_of_a_file_joined_are_the_file(tmp_path: Path) -> None:
    """Whatever its encoding and line ends; an empty one too."""
    corpus = written(tmp_path)
    found: dict[bytes, bytes] = {}
    for line in corpus.lines():
        found[line.key] = found.get(line.key, b"") + line.value
    assert found == {name.encode(): content for name, content in FILES.items()}
    assert corpus.hashes == {
        name.encode(): hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    assert corpus.size == sum(map(len, FILES.values()))


def test_every_line_is_a_record_and_an_empty_file_is_one_empty_record(tmp_path: Path) -> None:
    """A file that left no record would be missing from the log unnoticed."""
    corpus = written(tmp_path)
    lines = list(corpus.lines())
    assert [(line.number, line.value) for line in lines if line.key == b"a.py"] == [
        (0, b"one\n"),
        (1, b"two\r\n"),
        (2, b"no end"),
    ]
    assert [line for line in lines if line.key == b"empty.py"] == [Line(b"empty.py", 0, b"")]
    assert corpus.records == len(lines)


def test_any_text_is_taken_and_nothing_else(tmp_path: Path) -> None:
    """``make demo INPUT=dir`` takes any directory of text."""
    keys = {line.key for line in written(tmp_path, "*").lines()}
    assert keys == {name.encode() for name in FILES} | {b"not_python.txt"}


def test_a_line_without_an_end_is_several_records(tmp_path: Path) -> None:
    """A record has a limit, a line of a data file has none."""
    content = b"x" * (2 * LINE_BYTES_MAX + 7)
    (tmp_path / "a.json").write_bytes(content)
    lines = list(Corpus(tmp_path).lines())
    assert [line.number for line in lines] == [0, 1, 2]
    assert b"".join(line.value for line in lines) == content


def test_installed_packages_are_no_part_of_the_standard_library(tmp_path: Path) -> None:
    """Another machine has other ones."""
    for name in ("a.py", "site-packages/b.py", "deep/site-packages/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    corpus = Corpus(tmp_path, without=frozenset({"site-packages"}))
    assert [line.key for line in corpus.lines()] == [b"a.py"]
    assert corpus.measure() == 1
    assert "site-packages" in standard_library().without

"""A real corpus: every line of every text file below a directory, as records.

A record is one line, byte for byte with its line end, whatever the encoding.
Its key is the file's path and its header ``line`` the number of the line, so
that whoever reads can say of each record whether it is the next one. A file
without a byte becomes one record with an empty value, so that it is in the log
too. The lines of a file, joined, are the file: that is what is compared at the
end, as SHA-256.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

LOOK_BYTES = 8 * 1024
"""So far into a file a zero byte makes it no text."""
LINE_BYTES_MAX = 256 * 1024
"""A longer line is cut into several records: a record has a limit, a file has none."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One record of the corpus; lines of a file count from 0."""

    key: bytes
    number: int
    value: bytes


class Corpus(msgspec.Struct):
    """What was read, counted and hashed while it was read.

    Only files that match ``pattern`` and look like text; directories named in
    ``without`` are left out, at any depth.
    """

    directory: Path
    pattern: str = "*"
    without: frozenset[str] = frozenset()
    hashes: dict[bytes, str] = {}
    records: int = 0
    size: int = 0

    def measure(self) -> int:
        """Return the bytes of all files, without reading them whole."""
        return sum(path.stat().st_size for path in self._paths())

    def _paths(self) -> Iterator[Path]:
        for path in sorted(self.directory.rglob(self.pattern)):
            inside = path.relative_to(self.directory).parts[:-1]
            if path.is_file() and self.without.isdisjoint(inside) and _is_text(path):
                yield path

    def lines(self) -> Iterator[Line]:
        """Read every file once, in order of path."""
        for path in self._paths():
            content = path.read_bytes()
            key = str(path.relative_to(self.directory)).encode("utf-8", "surrogateescape")
            self.hashes[key] = hashlib.sha256(content).hexdigest()
            self.size += len(content)
            number = 0
            for value in _pieces(content):
                yield Line(key, number, value)
                number += 1
            self.records += number


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(LOOK_BYTES)


def _pieces(content: bytes) -> Iterator[bytes]:
    for line in content.splitlines(keepends=True) or [b""]:
        for start in range(0, len(line) or 1, LINE_BYTES_MAX):
            yield line[start : start + LINE_BYTES_MAX]


def standard_library() -> Corpus:
    """Return the running Python's standard library, without what was installed into it."""
    return Corpus(
        Path(sysconfig.get_paths()["stdlib"]),
        "*.py",
        frozenset({"site-packages", "dist-packages"}),
    )

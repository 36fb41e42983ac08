"""A real corpus: every line of every ``.py`` file below a directory, as records.

A record is one line, byte for byte with its line end, whatever the encoding;
its key is the file's path. A file without a byte becomes one record with an
empty value, so that it is in the log too. The lines of a file, joined, are the
file: that is what is compared at the end, as SHA-256.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

BATCH_BYTES = 64 * 1024
BATCH_RECORDS = 2_000


class Line(msgspec.Struct, frozen=True, gc=False):
    """One record of the corpus."""

    key: bytes
    value: bytes


class Corpus(msgspec.Struct):
    """What was read, counted and hashed while it was read.

    Directories named in ``without`` are left out, at any depth.
    """

    directory: Path
    without: frozenset[str] = frozenset()
    hashes: dict[bytes, str] = {}
    lines: int = 0
    size: int = 0

    def measure(self) -> int:
        """Return the bytes of all files, without reading them."""
        return sum(path.stat().st_size for path in self._paths())

    def _paths(self) -> Iterator[Path]:
        for path in sorted(self.directory.rglob("*.py")):
            inside = path.relative_to(self.directory).parts[:-1]
            if path.is_file() and self.without.isdisjoint(inside):
                yield path

    def batches(self) -> Iterator[list[Line]]:
        """Read every file once, in order of path; batches of about 64 KiB."""
        batch: list[Line] = []
        size = 0
        for path in self._paths():
            content = path.read_bytes()
            key = str(path.relative_to(self.directory)).encode("utf-8", "surrogateescape")
            self.hashes[key] = hashlib.sha256(content).hexdigest()
            self.size += len(content)
            lines = content.splitlines(keepends=True)
            self.lines += len(lines)
            for value in lines or [b""]:
                batch.append(Line(key, value))
                size += len(key) + len(value)
                if size >= BATCH_BYTES or len(batch) >= BATCH_RECORDS:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch


def standard_library() -> Corpus:
    """Return the running Python's standard library, without what was installed into it."""
    return Corpus(
        Path(sysconfig.get_paths()["stdlib"]), frozenset({"site-packages", "dist-packages"})
    )

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
    """What was read, counted and hashed while it was read."""

    directory: Path
    hashes: dict[bytes, str] = {}
    lines: int = 0
    size: int = 0

    def batches(self) -> Iterator[list[Line]]:
        """Read every file once, in order of path; batches of about 64 KiB."""
        batch: list[Line] = []
        size = 0
        for path in sorted(self.directory.rglob("*.py")):
            if not path.is_file():
                continue
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


def standard_library() -> Path:
    """Return the directory of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])

"""Reads the log back and compares it with the corpus, file by file."""

import hashlib

import msgspec

from bench.window import NextOnly
from raftlog.client.log_client import LogClient
from raftlog.wire.batch import Batch

Hashes = dict[bytes, "hashlib._Hash"]


class Comparison(msgspec.Struct, frozen=True):
    """What the log has, against what the files had when they were read."""

    files: int
    records: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    unexpected: tuple[str, ...]
    dropped_batches: int
    dropped_records: int

    @property
    def mismatches(self) -> int:
        """Files that are not in the log exactly as they were read."""
        return len(self.missing) + len(self.different) + len(self.unexpected)


async def read_back(client: LogClient, producer_id: int, expected: dict[bytes, str]) -> Comparison:
    """Read the whole log, take each batch of the producer once, in order, and compare."""
    end = await client.end_offset()
    reader = NextOnly()
    found: Hashes = {}
    async for stored in client.batches(0, end=end):
        batch = stored.open()
        producer = batch.header.producer
        if producer.id != producer_id:
            continue
        if reader.accepts(producer.base_sequence, batch.header.count):
            take(batch, found)
    return compare(found, expected, reader)


def take(batch: Batch, found: Hashes) -> None:
    """Add the lines of a batch to the hashes of their files."""
    for record in batch.records():
        assert record.key is not None, "a line without a file"
        digest = found.get(record.key)
        if digest is None:
            digest = found[record.key] = hashlib.sha256()
        digest.update(record.value or b"")


def compare(found: Hashes, expected: dict[bytes, str], reader: NextOnly) -> Comparison:
    """Compare what was found with what was read from the files."""

    def named(keys: set[bytes]) -> tuple[str, ...]:
        return tuple(sorted(key.decode("utf-8", "backslashreplace") for key in keys))

    common = found.keys() & expected.keys()
    return Comparison(
        files=len(found),
        records=reader.expected,
        missing=named(expected.keys() - found.keys()),
        different=named({key for key in common if found[key].hexdigest() != expected[key]}),
        unexpected=named(found.keys() - expected.keys()),
        dropped_batches=reader.dropped_batches,
        dropped_records=reader.dropped_records,
    )

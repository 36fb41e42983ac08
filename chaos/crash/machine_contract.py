"""What must hold of index files and snapshots after a crash (rulings 3, 14, 18).

Beside what holds of the log: the machine that a start makes of them is the one
that was, at the index where it stands; it never knows more than its log; what
was reported stored is used; and replay of the rest leads to the same state.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from chaos.crash.log_contract import SHARD, LogPromise, check_goes_on, read_log
from chaos.crash.recording import demand
from chaos.sim.disk import SimDisk
from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.broker import index, table
from raftlog.broker.ranges import parse_range
from raftlog.service import snapshot
from raftlog.service.shard import BrokerShard
from raftlog.storage.offset_index import OffsetIndex

INDEX: Final = f"{SHARD}/index"
SNAPSHOT: Final = f"{SHARD}/snapshot"
RANGE_POSTINGS: Final = 4
CHUNK_BYTES: Final = 120


@contextmanager
def small_files() -> Iterator[None]:
    """Cut ranges and chunks so small that many files are written in a few steps.

    They are constants of the product: all who apply must cut at the same points.
    """
    kept = (index.RANGE_POSTINGS, table.CHUNK_BYTES, snapshot.SLICE_NS)
    index.RANGE_POSTINGS, table.CHUNK_BYTES = RANGE_POSTINGS, CHUNK_BYTES  # type: ignore[misc]
    snapshot.SLICE_NS = 0  # type: ignore[misc]
    try:
        yield
    finally:
        index.RANGE_POSTINGS, table.CHUNK_BYTES = kept[:2]  # type: ignore[misc]
        snapshot.SLICE_NS = kept[2]  # type: ignore[misc]


@dataclass(frozen=True)
class MachinePromise:
    """What must be found of a shard with a topic store."""

    log: LogPromise
    digests: Mapping[Index, str]
    """The state after each index."""
    ranges: int = 0
    """How many sealed ranges were reported stored."""
    snapshot: Index = INDEX_ZERO
    """The newest snapshot that was reported written."""

    def recover(self, disk: SimDisk) -> None:
        """Do what a process does when it starts on ``disk``."""
        store = self.log.open(disk)
        BrokerShard.restore(disk.files(), SHARD, store.start.index, store.durable_end.index)

    def check(self, disk: SimDisk) -> int:
        """Recover log and machine, replay, and hold all of it against the promise."""
        with small_files():
            return self._check(disk)

    def _check(self, disk: SimDisk) -> int:
        before = disk.operations
        store = self.log.open(disk)
        files = disk.files()
        machine = BrokerShard.restore(
            files, SHARD, store.start.index, store.durable_end.index
        ).machine
        operations = disk.operations - before
        self.log.check_store(store)
        applied, end = machine.applied, store.end.index
        demand(f"a machine at {applied}, the log ends at {end}", holds=applied <= end)
        written = self.snapshot
        demand(f"snapshot {written} is written, {applied} found", holds=applied >= written)
        chain = OffsetIndex(files, INDEX, parse_range).chain(end)
        demand(f"{self.ranges} ranges, {len(chain)} found", holds=len(chain) >= self.ranges)
        self._compare(applied, machine.digest())
        for entry in read_log(store)[applied:]:
            assert entry is not None, "the log was read before"
            machine.apply(entry)
        self._compare(machine.applied, machine.digest())
        check_goes_on(disk, store, self.log)
        return operations

    def _compare(self, at: Index, digest: str) -> None:
        expected = self.digests.get(at)
        if at:
            demand(f"another state at {at}", holds=digest == expected)

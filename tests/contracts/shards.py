"""The log stores that keep one contract: the real one on both disks, and its twin in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from chaos.sim.disk import SimDisk
from raftlog.base.entry import Entry
from raftlog.base.ids import Index, WriteNumber
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.storage.files import Files, OsFiles
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.memory import MemoryLogStore
from raftlog.storage.new_log import create_log
from raftlog.storage.plan import StorePlan

Store = LogStore | MemoryLogStore
OPTIONS = StoreOptions(segment_bytes=1024)


class Shard:
    """A store, and how to open it again."""

    def __init__(self, again: Callable[[Store | None], Store]) -> None:
        self._again = again
        self.store = again(None)
        self.writes = 0

    def reopen(self) -> Store:
        """Start again from what was performed."""
        self.store = self._again(self.store)
        return self.store

    def number(self) -> WriteNumber:
        """Return the next write number."""
        self.writes += 1
        return WriteNumber(self.writes)

    def perform(self, plan: StorePlan | None) -> None:
        """Carry a plan out."""
        assert plan is not None
        plan.perform()
        self.store.complete(plan)

    def save(self, state: HardState) -> None:
        """Write a term and a vote durably."""
        self.perform(self.store.plan([SaveHardState(self.number(), state)], Index(0)))

    def write(self, entries: list[Entry], truncate_to: int | None = None) -> None:
        """Write durably."""
        to = None if truncate_to is None else Index(truncate_to)
        write = WriteEntries(self.number(), to, tuple(entries))
        self.perform(self.store.plan([write], Index(0)))

    def read(self, first: int | None = None, last: int | None = None) -> list[bytes]:
        """Return the frames of the entries from ``first`` to ``last``, of all if not named."""
        found: list[bytes] = []
        index = self.store.first_index if first is None else Index(first)
        end = self.store.durable_end.index if last is None else Index(last)
        while index <= end:
            span = self.store.locate(index, end, 1 << 20)
            entries = span.entries(span.read(wait=True) or b"")
            span.close()
            found.extend(bytes(entry.frame) for entry in entries)
            index = Index(entries[-1].index + 1)
        return found


def _real(files: Callable[[], Files], directory: str) -> Shard:
    def again(store: Store | None) -> Store:
        if store is None:
            create_log(files(), directory, OPTIONS, HardState(), [])
        return LogStore.open(files(), directory, OPTIONS)

    return Shard(again)


KINDS: Final = ("simulated", "os", "memory")


def new_shard(kind: str, directory: Path) -> Shard:
    """Return an empty shard on a store of ``kind``."""
    if kind == "simulated":
        return _real(SimDisk().files, "shard")
    if kind == "os":
        return _real(OsFiles, str(directory / "shard"))

    def again(store: Store | None) -> Store:
        return store.reopen() if isinstance(store, MemoryLogStore) else MemoryLogStore()

    return Shard(again)


def frames(entries: list[Entry]) -> list[bytes]:
    """Return the bytes of entries."""
    return [bytes(entry.frame) for entry in entries]

"""A log store on a simulated disk, for tests: short chains of entries, and damage to them."""

from collections.abc import Sequence
from random import Random

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import LOG_ORIGIN, Entry, EntryKind, LogEnd, seal
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import HardState, Write, WriteEntries
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log
from raftlog.storage.plan import StorePlan

DIRECTORY = "shard"
OPTIONS = StoreOptions(segment_bytes=4096)


def chain(count: int, *, after: LogEnd = LOG_ORIGIN, term: int = 1, size: int = 40) -> list[Entry]:
    """Return ``count`` linked entries; bodies differ by term and index."""
    made: list[Entry] = []
    end = after
    for _ in range(count):
        index = Index(end.index + 1)
        body = Random(f"{term}/{index}").randbytes(size)
        made.append(seal(EntryKind.COMMANDS, Term(term), index, end.checksum, [body]))
        end = made[-1].end
    return made


def perform(store: LogStore, plan: StorePlan | None) -> None:
    """Do what the loop and the writer thread do with a plan."""
    assert plan is not None, "nothing was planned"
    plan.perform()
    store.complete(plan)


def read_all(store: LogStore) -> list[Entry | None]:
    """Return every retained entry, None where it is damaged."""
    found: list[Entry | None] = []
    index = store.first_index
    while index <= store.end.index:
        try:
            span = store.locate(index, store.end.index, 1 << 20)
            try:
                entries = span.entries(span.read(wait=True) or b"")
            finally:
                span.close()
        except FaultyEntry:
            entries = ()
        found.extend(entries or [None])
        index = Index(index + max(1, len(entries)))
    return found


def put_back(disk: SimDisk, path: str, old: bytes, at: int, length: int) -> None:
    """Make a part of a file what it was before."""
    file = disk.files().open(path)
    file.pwrite([old[at : at + length]], at)
    file.sync()


class Logs:
    """One shard's directory on one simulated disk."""

    def __init__(self, options: StoreOptions = OPTIONS, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.options = options
        self.writes = 0
        if disk is None:
            state = HardState(Term(1), None)
            create_log(self.disk.files(), DIRECTORY, options, state, [])
        self.store = self.open()

    def open(self) -> LogStore:
        """Open the log as a new incarnation of the process."""
        self.store = LogStore.open(self.disk.files(), DIRECTORY, self.options)
        return self.store

    def crash(self, kind: CrashKind = CrashKind.KEEP, seed: int = 0) -> LogStore:
        """Kill the process (or cut the power) and start again."""
        self.disk.crash(Random(seed), kind)
        return self.open()

    def number(self) -> WriteNumber:
        """Return the next write number."""
        self.writes += 1
        return WriteNumber(self.writes)

    def append(self, entries: Sequence[Entry], truncate_to: int | None = None) -> None:
        """Write durably, as one write unit if there is room."""
        to = None if truncate_to is None else Index(truncate_to)
        write: Write = WriteEntries(self.number(), to, tuple(entries))
        perform(self.store, self.store.plan([write], Index(0)))

    def append_each(self, entries: Sequence[Entry]) -> None:
        """Write durably, one write unit for each entry."""
        for entry in entries:
            self.append([entry])

    def sync_mark(self) -> None:
        """Make the durable mark itself durable, if it is not."""
        plan = self.store.plan_mark()
        if plan is not None:
            perform(self.store, plan)

    def place(self, entry: Entry) -> tuple[str, int]:
        """Return the file that holds ``entry``, and where."""
        frame = bytes(entry.frame)
        for path in self.disk.paths():
            at = self.disk.content(path).find(frame)
            if at >= 0 and path.endswith(".seg"):
                return path, at
        raise AssertionError(f"entry {entry.index} is nowhere")

    def rot(self, entry: Entry, offset: int, bit: int = 0) -> None:
        """Flip one bit of an entry's frame, on disk."""
        path, at = self.place(entry)
        self.disk.flip_bit(path, at + offset, bit)

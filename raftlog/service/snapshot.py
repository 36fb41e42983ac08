"""Snapshots of the tables: written piece by piece, so that a restart replays little (ruling 18).

::

    machine: a range is cut --> tables frozen
    loop:    a piece or two, 2 ms at most --> reader thread: write --> loop: the next pieces
                                              ...                  --> sync, rename

A snapshot is of use only with the sealed ranges up to its index, and those only
with their log: so it is begun when both are durable here (ruling 14). One at a
time; what is cut meanwhile is not held. A failed write stops the node (R2).

At a start the newest snapshot that is good, within the log, and has all its
ranges is taken; one that is torn or rotten is passed over for an older one, and
without any the log is replayed from its beginning.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from raftlog.base.errors import CorruptFrame, DamagedLog
from raftlog.base.ids import Index
from raftlog.broker.index import RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import FrozenTables, Snapshot, is_snapshot, parse_snapshot
from raftlog.node.ports import Reader, Scheduler
from raftlog.service.sealed import Fetch
from raftlog.storage.room import NoRoom
from raftlog.storage.shard_files import FileKind, FileName
from raftlog.storage.snapshot_store import SnapshotStore, SnapshotWriting

SLICE_NS: Final = 1_000_000
"""No piece is begun later than this in a turn of the loop; one takes about as long."""


class Snapshots:
    """Writes the snapshots of one shard."""

    def __init__(
        self,
        machine: BrokerMachine,
        store: SnapshotStore,
        reader: Reader,
        scheduler: Scheduler,
        *,
        is_durable: Callable[[Index], bool],
        fetch: Fetch,
        on_failed: Callable[[Exception], None],
    ) -> None:
        """Make it.

        Args:
            machine: Whose tables they are.
            store: Where they go.
            reader: The thread that writes them.
            scheduler: To measure a turn's work.
            is_durable: Whether log and sealed ranges are durable here up to an index.
            fetch: Replaces a damaged file by a peer's.
            on_failed: Told when one could not be written: the node stops.
        """
        self._machine: Final = machine
        self._store: Final = store
        self._reader: Final = reader
        self._scheduler: Final = scheduler
        self._is_durable: Final = is_durable
        self._fetch: Final = fetch
        self._on_failed: Final = on_failed
        self._frozen: FrozenTables | None = None
        self._is_writing = False
        self.written = 0

    def progress(self) -> None:
        """More was applied, or more is durable: begin what may be begun now."""
        if self._is_writing:
            return
        if self._frozen is None:
            self._frozen = self._machine.take_snapshot()
        frozen = self._frozen
        if frozen is None or not self._is_durable(frozen.index):
            return
        self._is_writing = True
        chunks = frozen.chunks()

        def begun(writing: SnapshotWriting | None, error: Exception | None) -> None:
            if writing is None:
                self._fail(error)
            else:
                self._write_some(writing, chunks)

        self._reader.submit(lambda: self._store.begin(frozen.index), begun)

    def _write_some(self, writing: SnapshotWriting, chunks: Iterator[bytes]) -> None:
        until_ns = self._scheduler.now_ns() + SLICE_NS
        pieces: list[bytes] = []
        chunk = next(chunks, None)
        while chunk is not None:
            pieces.append(chunk)
            chunk = next(chunks, None) if self._scheduler.now_ns() < until_ns else None
        if not pieces:
            self._reader.submit(writing.finish, lambda _, error: self._finished(error))
            return

        def wrote(_: None, error: Exception | None) -> None:
            if error is not None:
                self._fail(error)
            else:
                self._write_some(writing, chunks)

        self._reader.submit(lambda: writing.write(pieces), wrote)

    def _finished(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
            return
        assert self._frozen is not None, "a snapshot of nothing"
        self._frozen.end()
        self._frozen = None
        self._is_writing = False
        self.written += 1
        self.progress()

    def verify(self, age: int, done: Callable[[bool], None]) -> None:
        """Look whether a snapshot is good on disk; fetch it from a peer if not.

        ``age`` 0 is the newest. A peer that has one of this index has the same bytes (ruling 27).
        """

        def looked(bad: Index | None, error: Exception | None) -> None:
            if error is not None:
                self._on_failed(error)
            elif bad is not None:
                name = FileName(FileKind.SNAPSHOT, bad)
                self._fetch(name, lambda data: is_snapshot(data, bad), lambda _: None)
            done(bad is None)

        self._reader.submit(lambda: self._damaged(age), looked)

    def _damaged(self, age: int) -> Index | None:
        """Return what the snapshot is of, if it is damaged."""
        indexes = self._store.indexes()
        if age >= len(indexes):
            return None
        index = indexes[age]
        try:
            return None if is_snapshot(self._store.read(index), index) else index
        except DamagedLog:
            return index

    def _fail(self, error: Exception | None) -> None:
        """Say so, and begin no other: after a failed write the page cache lies.

        Without room on the disk there is no snapshot of this cut; the next may be better off.
        """
        assert error is not None, "neither a result nor an error"
        if self._frozen is not None:
            self._frozen.end()
        if isinstance(error, NoRoom):
            self._frozen = None
            self._is_writing = False
            return
        self._on_failed(error)


def restore_machine(store: SnapshotStore, ranges: Sequence[RangeSummary]) -> BrokerMachine:
    """Return a machine as far as the newest usable snapshot is. Blocks.

    Args:
        store: The snapshots.
        ranges: The sealed ranges, from index 1 on, as far as they are good and within the log.

    Raises:
        IncompatibleFormat: A newer raftlog wrote a snapshot.
    """
    machine = BrokerMachine()
    counts = {summary.last_index: count for count, summary in enumerate(ranges, start=1)}
    for index in store.indexes():
        count = counts.get(index)
        snapshot = None if count is None else _read(store, index)
        if snapshot is not None:
            machine.restore(ranges[:count], snapshot)
            break
    return machine


def _read(store: SnapshotStore, index: Index) -> Snapshot | None:
    """Return the snapshot, or None if it is torn, rotten, or of something else."""
    try:
        snapshot = parse_snapshot(store.read(index))
    except (CorruptFrame, DamagedLog):
        return None
    return snapshot if snapshot.index == index else None

"""Snapshots of the tables: written piece by piece, so that a restart replays little (ruling 18).

::

    machine: a range is cut --> tables frozen
    loop:    a piece or two, 2 ms at most --> reader thread: write, rest --> loop: the next ones
                                              ...                        --> sync, rename

A snapshot is of use only with the sealed ranges up to its index, and those only
with their log: so it is begun when both are durable here (ruling 14). One at a
time; what is cut meanwhile is not held. A failed write stops the node (R2). Between two
slices the loop is left to others for some times as long as the slice took, and the disk for as
long as it may need: all replicas cut at the same entry, and a million rows written in one go
would hold up whatever comes, and the syncs of the log.

At a start the newest snapshot that is good, within the log, and has all its
ranges is taken; one that is torn or rotten is passed over for an older one, and
without any the log is replayed from its beginning, if that is still there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from raftlog.base.errors import CorruptFrame, DamagedLog, NoRoom
from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.base.limits import KIB
from raftlog.broker.index import RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import FrozenTables, Snapshot, is_snapshot, parse_snapshot
from raftlog.node.ports import Reader, Scheduler, Timer
from raftlog.service.sealed import Fetch
from raftlog.storage.shard_files import FileKind, FileName
from raftlog.storage.snapshot_store import SnapshotStore, SnapshotWriting

Chain = Callable[[Index, Index], Sequence[RangeSummary]]

SLICE_NS: Final = 1_000_000
"""No piece is begun later than this in a turn of the loop; one takes about as long."""
REST_SHARE: Final = 2
"""So many times as long as a slice took, none is made: a third of a loop writes a snapshot."""
PACED_BYTES: Final = 64 * KIB
PACED_NS: Final = 4_000_000
"""So long each ``PACED_BYTES`` of a slice take at least: 16 MiB/s."""


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
        self._resting: Timer | None = None
        self._stopped = False
        self.written = 0
        self.on_written: Callable[[Index, Index], None] = lambda _index, _trimmed: None
        """Told of each snapshot that is on disk: what it is of, and where its log was trimmed."""

    @property
    def is_writing(self) -> bool:
        """Whether a snapshot is on its way to the disk, or waits for log and ranges."""
        return self._frozen is not None

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
                self._fail(frozen, error)
            elif self._frozen is frozen:
                self._write_some(frozen, writing, chunks)

        self._reader.submit(lambda: self._store.begin(frozen.index), begun)

    def restored(self) -> None:
        """The machine has another state: what was frozen before is not written any more."""
        self._cancel_rest()
        self._frozen = None
        self._is_writing = False

    def stop(self) -> None:
        """Set no timer any more; what is being written stays unfinished."""
        self._stopped = True
        self._cancel_rest()

    def _cancel_rest(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _write_some(
        self, frozen: FrozenTables, writing: SnapshotWriting, chunks: Iterator[bytes]
    ) -> None:
        self._resting = None
        began_ns = self._scheduler.now_ns()
        until_ns = began_ns + SLICE_NS
        pieces: list[bytes] = []
        chunk = next(chunks, None)
        is_last = chunk is None
        while chunk is not None:
            if chunk:
                pieces.append(chunk)
            chunk = next(chunks, None) if self._scheduler.now_ns() < until_ns else None
        if frozen.ended:
            return  # it was let go: what has come is no whole snapshot
        if is_last:
            self._reader.submit(writing.finish, lambda _, error: self._finished(frozen, error))
            return
        rest_ns = max(
            (self._scheduler.now_ns() - began_ns) * REST_SHARE,
            sum(map(len, pieces)) // PACED_BYTES * PACED_NS,
        )

        def go_on() -> None:
            self._write_some(frozen, writing, chunks)

        def wrote(_: None, error: Exception | None) -> None:
            if error is not None:
                self._fail(frozen, error)
            elif self._frozen is frozen:
                self._rest(rest_ns, go_on)

        if pieces:
            self._reader.submit(lambda: writing.write(pieces), wrote)
        else:
            self._resting = self._scheduler.call_later(rest_ns, go_on)

    def _rest(self, rest_ns: int, go_on: Callable[[], None]) -> None:
        if not rest_ns:
            go_on()
        elif not self._stopped:
            self._resting = self._scheduler.call_later(rest_ns, go_on)

    def _finished(self, frozen: FrozenTables, error: Exception | None) -> None:
        if error is not None:
            self._fail(frozen, error)
            return
        if self._frozen is not frozen:
            return
        frozen.end()
        self._frozen = None
        self._is_writing = False
        self.written += 1
        self.on_written(frozen.index, frozen.trimmed)
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

    def _fail(self, frozen: FrozenTables, error: Exception | None) -> None:
        """Say so, and begin no other: after a failed write the page cache lies.

        Without room on the disk there is no snapshot of this cut; the next may be better off.
        """
        assert error is not None, "neither a result nor an error"
        frozen.end()
        if isinstance(error, NoRoom):
            if self._frozen is frozen:
                self._frozen = None
                self._is_writing = False
            return
        self._on_failed(error)


class Restorable(msgspec.Struct, frozen=True):
    """A snapshot that was read, and the sealed ranges that belong to it."""

    snapshot: Snapshot
    ranges: Sequence[RangeSummary]
    fetched: bool
    """Whether a peer has sent it, and the log here has not been known to lead to it so far."""


def find_snapshot(
    store: SnapshotStore,
    chain: Chain,
    start: Index,
    through: Index,
    *,
    fetched: Index = INDEX_ZERO,
) -> Restorable | None:
    """Return the newest snapshot that is good and has all its ranges, or None. Blocks.

    Args:
        store: The snapshots.
        chain: Returns the good ranges up to an index that follow one another behind another.
        start: Where the log on this disk begins: an older snapshot would leave a gap.
        through: Where it ends: a later snapshot knows what the log does not have (yet).
        fetched: How far also one is taken that a peer has sent: as far as the log here is known
            to be committed, or by who waits until it is.

    Raises:
        IncompatibleFormat: A newer raftlog wrote a snapshot, or a range.
    """
    for index in store.indexes(fetched=True):
        if not start <= index <= through:
            continue
        found = _find(store, chain, index, fetched=False)
        if found is None and index <= fetched:
            found = _find(store, chain, index, fetched=True)
        if found is not None:
            return found
    return None


def _find(store: SnapshotStore, chain: Chain, index: Index, *, fetched: bool) -> Restorable | None:
    """Return the snapshot, or None if it is torn, rotten, of something else, or lacks a range."""
    try:
        snapshot = parse_snapshot(store.read(index, fetched=fetched))
    except (CorruptFrame, DamagedLog):
        return None
    if snapshot.index != index:
        return None
    trimmed = Index(snapshot.facts.trimmed)
    ranges = chain(index, trimmed)
    whole = (ranges[-1].last_index if ranges else trimmed) == index
    return Restorable(snapshot, ranges, fetched) if whole else None

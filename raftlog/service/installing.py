"""Getting a state that the log here no longer leads to: from a snapshot (Raft §7, ruling 3).

::

    leader: "my log begins behind 9 000"       (the log here ends at 4 000)
    fetch   manifest: snapshot 12 000, ranges 9 001.. 10 500.., log behind 9 000
            tables, ranges: piece by piece     old log and old state still serve
            all synced, named, read back whole
    reset   the log here begins behind 9 000   one durable write
    log     entries 9 001 .. 12 000 .. arrive  appended and acknowledged like any others
    restore the machine gets the state at 12 000, apply goes on with 12 001

A crash leaves the old log or the new one, never parts of both: what was fetched is of
no use to the old one and does not count for it, because the old log may have another
entry where the snapshot is of (``storage.snapshot_store``). Between reset and restore the
replica votes and acknowledges, for its log is good, but does not stand for election
(``lacks_state``). The same wait, with a snapshot of its own or one fetched anew, is
what a replica does that starts with a trimmed log and no usable state. And one whose
apply stands still at a damaged entry that everybody else has trimmed goes on from the
leader's snapshot, too: nobody can repair that entry any more.

Only the leader is asked, one piece at a time; what does not come is asked for again.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from raftlog.base.errors import CorruptFrame, DamagedLog, NoRoom
from raftlog.base.ids import INDEX_ZERO, Index, NodeId, ReplicaId
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.ranges import parse_range
from raftlog.node.ports import Reader, Scheduler
from raftlog.node.replica import Replica
from raftlog.raft.rpcs import InstallChunk, InstallMessage, InstallRequest
from raftlog.service.install_source import FIRST_RANGE, MANIFEST, TABLES, InstallSource, Manifest
from raftlog.service.snapshot import Restorable, find_snapshot
from raftlog.storage.snapshot_store import FETCHED, SnapshotWriting

T = TypeVar("T")
RETRY_NS: Final = 300_000_000
"""A piece that has not come by then is asked for again."""
WATCH_NS: Final = 1_000_000_000
"""How often a replica looks whether its apply stands still."""
LOOK_NS: Final = 50_000_000
"""How often a replica without a state looks whether its log has reached its snapshot."""
FILE_BYTES_MAX: Final = 64 << 20
"""More than any manifest or sealed range has."""


class Fetch:
    """One snapshot that is being fetched: which file, how far, and where to."""

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.file = MANIFEST
        self.offset = 0
        self.data = bytearray()
        self.tables: SnapshotWriting | None = None
        self.busy = False
        """What came is being written, or looked at: nothing is asked for."""
        self.asked_ns = 0

    @property
    def snapshot(self) -> Index:
        """Which one; 0: the newest there is."""
        return INDEX_ZERO if self.manifest is None else self.manifest.snapshot

    def expects(self, chunk: InstallChunk) -> bool:
        """Whether this is the piece that was asked for."""
        same = (chunk.file, chunk.offset) == (self.file, self.offset)
        return same and not self.busy and self.snapshot in (INDEX_ZERO, chunk.snapshot)

    def begin_file(self, number: int) -> None:
        """Go on with another file."""
        self.file, self.offset, self.data = number, 0, bytearray()


class Installer:
    """Fetches snapshots, serves them, and gives them to the machine. Implements ``Installs``."""

    def __init__(
        self,
        replica: Replica,
        machine: BrokerMachine,
        reader: Reader,
        scheduler: Scheduler,
        source: InstallSource,
        *,
        on_restored: Callable[[Index, Index], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._replica: Final = replica
        self._keeping: Final = replica.keeping
        self._machine: Final = machine
        self._snapshots: Final = source.snapshots
        self._index: Final = source.index
        self._reader: Final = reader
        self._scheduler: Final = scheduler
        self._source: Final = source
        self._on_restored: Final = on_restored
        self._on_failed: Final = on_failed
        self._leader: NodeId | None = None
        self._fetch: Fetch | None = None
        self._ready: Restorable | None = None
        self._source_of: Manifest | None = None
        """Says where the log begins that leads to ``_ready``, if that came from a peer."""
        self._looking = False
        self._stuck_at: Index | None = None
        """Where apply stood still at the last look, for want of a repair."""
        self._is_stuck = False
        self.installed = 0

    def begin(self) -> None:
        """The replica starts: if its log does not lead on from its state, look for another."""
        if self._keeping.lacks_state:
            self._look_later()
        self._scheduler.call_later(WATCH_NS, self._watch)

    def _watch(self) -> None:
        """See whether apply stands still; if it does for long, ask what the leader has."""
        replica = self._replica
        if replica.stopped:
            return
        before, self._stuck_at = self._stuck_at, self._keeping.stuck_at
        self._is_stuck = before is not None and before == self._stuck_at
        leader = None if replica.leads else replica.leader
        idle = self._fetch is None and self._ready is None
        if self._is_stuck and idle and leader is not None:
            self._leader = leader
            self._begin_fetch()
        self._scheduler.call_later(WATCH_NS, self._watch)

    @property
    def _needs_state(self) -> bool:
        return self._keeping.lacks_state or self._is_stuck

    def receive(self, sender: ReplicaId, message: InstallMessage) -> None:
        """Serve a peer, or take in what the leader sent."""
        if isinstance(message, InstallRequest):
            self._source.answer(sender.node, message)
        elif sender.node == self._leader and self._fetch is not None:
            self._take(self._fetch, message)

    def offered(self, leader: NodeId) -> None:
        """Fetch the leader's snapshot; repeated by the leader until the log here leads on."""
        self._leader = leader
        if self._fetch is not None:
            return
        if self._source_of is not None and not self._keeping.lacks_state:
            # It is here, and was of no use at that moment: a candidate's log is not touched.
            self._scheduler.call_soon(self._reset_log)
            return
        self._begin_fetch()

    # -- fetching

    def _begin_fetch(self) -> None:
        self._ready = self._source_of = None
        self._fetch = Fetch()
        self._ask(self._fetch)
        self._scheduler.call_later(RETRY_NS, self._ask_again)

    def _ask(self, fetch: Fetch) -> None:
        fetch.asked_ns = self._scheduler.now_ns()
        if self._leader is not None:
            request = InstallRequest(fetch.snapshot, fetch.file, fetch.offset)
            self._keeping.send(self._leader, request)

    def _ask_again(self) -> None:
        fetch = self._fetch
        if fetch is None or self._replica.stopped:
            return
        leader = self._replica.leader
        if leader is not None:
            self._leader = leader  # equal states have equal files: another leader may go on
        if not fetch.busy and self._scheduler.now_ns() - fetch.asked_ns >= RETRY_NS:
            self._ask(fetch)
        self._scheduler.call_later(RETRY_NS, self._ask_again)

    def _take(self, fetch: Fetch, chunk: InstallChunk) -> None:
        if not fetch.expects(chunk):
            return
        end = chunk.offset + len(chunk.data)
        too_much = chunk.file != TABLES and chunk.size > FILE_BYTES_MAX
        if not chunk.data or end > chunk.size or too_much:
            self._fetch = None  # it is not there any more: the next offer begins anew
            return
        fetch.offset = end
        if chunk.file == TABLES:
            self._write_tables(fetch, bytes(chunk.data), is_last=end == chunk.size)
            return
        fetch.data += chunk.data
        if end < chunk.size:
            self._ask(fetch)
        elif chunk.file == MANIFEST:
            self._take_manifest(fetch)
        else:
            self._store_range(fetch)

    def _take_manifest(self, fetch: Fetch) -> None:
        try:
            manifest = msgspec.msgpack.decode(fetch.data, type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._fetch = None
            return
        stuck_at = self._stuck_at if self._is_stuck else None
        if stuck_at is not None and not manifest.base.index >= stuck_at < manifest.snapshot:
            self._fetch = None  # the leader has that entry: it will be repaired
            return
        fetch.manifest = manifest
        # What an interrupted install has fetched is not fetched again.
        self._work(fetch, self._whole(manifest), lambda found: self._looked(fetch, found))

    def _whole(self, manifest: Manifest) -> Callable[[], Restorable | None]:
        at = manifest.snapshot
        return lambda: find_snapshot(self._snapshots, self._index.chain, at, at, fetched=at)

    def _looked(self, fetch: Fetch, found: Restorable | None) -> None:
        if found is not None:
            self._fetched(fetch, found)
            return
        fetch.begin_file(TABLES)
        self._ask(fetch)

    def _write_tables(self, fetch: Fetch, data: bytes, *, is_last: bool) -> None:
        def write() -> bool:
            if fetch.tables is None:
                fetch.tables = self._snapshots.begin(fetch.snapshot, FETCHED)
            fetch.tables.write([data])
            if is_last:
                fetch.tables.finish()
            return True

        def written(_: object) -> None:
            if is_last:
                self._next_range(fetch, FIRST_RANGE)
            else:
                self._ask(fetch)

        self._work(fetch, write, written)

    def _next_range(self, fetch: Fetch, number: int) -> None:
        """Ask for the next range that is not here, or look at the whole if none is left."""
        manifest = fetch.manifest
        assert manifest is not None, "files before their manifest"

        def missing() -> int:
            for place in range(number - FIRST_RANGE, len(manifest.ranges)):
                first, checksum = manifest.ranges[place]
                try:
                    if self._index.read(first)[0].checksum == checksum:
                        continue
                except DamagedLog:
                    pass
                return FIRST_RANGE + place
            return 0

        def found(missing: int | None) -> None:
            if missing:
                fetch.begin_file(missing)
                self._ask(fetch)
            else:
                self._work(fetch, self._whole(manifest), lambda whole: self._ended(fetch, whole))

        self._work(fetch, missing, found)

    def _store_range(self, fetch: Fetch) -> None:
        manifest = fetch.manifest
        assert manifest is not None, "files before their manifest"
        number, data = fetch.file, bytes(fetch.data)
        first, checksum = manifest.ranges[number - FIRST_RANGE]

        def store() -> bool:
            summary, _ = parse_range(data)
            if (summary.first_index, summary.checksum) != (first, checksum):
                raise CorruptFrame(f"another range than {first} came")
            self._index.store(first, data)
            return True

        self._work(fetch, store, lambda _: self._next_range(fetch, number + 1))

    def _ended(self, fetch: Fetch, whole: Restorable | None) -> None:
        if whole is None:
            self._fetch = None  # read back, it is not what it should be: begin anew
        else:
            self._fetched(fetch, whole)

    def _fetched(self, fetch: Fetch, found: Restorable) -> None:
        assert fetch.manifest is not None, "a snapshot without its manifest"
        self._fetch = None
        self._ready, self._source_of = found, fetch.manifest
        self._reset_log()

    def _work(self, fetch: Fetch, work: Callable[[], T], done: Callable[[T | None], None]) -> None:
        """Let the reader thread do something for ``fetch``; nothing is asked for meanwhile."""
        fetch.busy = True

        def finished(found: T | None, error: Exception | None) -> None:
            fetch.busy = False
            if self._fetch is not fetch:
                return
            if isinstance(error, CorruptFrame | DamagedLog | NoRoom):
                self._fetch = None
            elif error is not None:
                self._fetch = None
                self._on_failed(error)
            else:
                done(found)

        self._reader.submit(work, finished)

    # -- from files to state

    def _reset_log(self) -> None:
        """All files are durable here: let the log begin where theirs does, if it must."""
        # Also where the log begins anew already and was trimmed away at the leader's before it
        # had come: the core takes only what is beyond what is committed here.
        if self._source_of is not None:
            self._keeping.snapshot_fetched(self._source_of.base, self._source_of.configuration)
        if self._needs_state:
            self._look_later()
        else:
            self._ready = self._source_of = None  # the log has come by itself

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._scheduler.call_later(LOOK_NS, self._look)

    def _look(self) -> None:
        """Give the machine the snapshot, once the log here has reached it."""
        self._looking = False
        replica = self._replica
        if replica.stopped or not self._needs_state:
            self._ready = self._source_of = None
            return
        ready = self._ready
        if ready is not None and ready.snapshot.index < replica.store.start.index:
            ready = self._ready = self._source_of = None
        if ready is None:
            if self._keeping.lacks_state:
                self._look_for_one()
        elif ready.snapshot.index <= min(replica.core.commit, replica.store.durable_end.index):
            self._use(ready)
            return
        self._look_later()

    def _look_for_one(self) -> None:
        """Take a snapshot of this disk that the log will lead to, or else the leader's."""
        if self._fetch is not None:
            return
        fetch = self._fetch = Fetch()
        start = self._replica.store.start.index

        def found(whole: Restorable | None) -> None:
            self._fetch = None
            self._ready = whole
            leader = self._replica.leader
            if whole is None and leader is not None and leader != self._replica.id.node:
                self._leader = leader
                self._begin_fetch()

        later = Index(1 << 62)  # also one that was fetched, and the log is still on its way
        chain = self._index.chain
        self._work(
            fetch,
            lambda: find_snapshot(self._snapshots, chain, start, later, fetched=later),
            found,
        )

    def _use(self, ready: Restorable) -> None:
        """Let the snapshot count as one of the log here, which has reached it; then restore it."""
        self._looking = True  # until then
        index, fetched = ready.snapshot.index, ready.fetched

        def counted(_: None, error: Exception | None) -> None:
            self._looking = False
            if self._replica.stopped:
                return
            if error is not None:
                self._on_failed(error)
                return
            self._restore(ready)
            if self._needs_state:
                self._look_later()  # the log has begun anew once more meanwhile

        self._reader.submit(lambda: self._snapshots.use(index, fetched=fetched), counted)

    def _restore(self, ready: Restorable) -> None:
        self._ready = self._source_of = self._stuck_at = None
        self._is_stuck = False
        if ready.snapshot.index <= self._machine.applied:
            return
        self._machine.restore(ready.ranges, ready.snapshot)
        self.installed += 1
        self._on_restored(ready.snapshot.index, Index(ready.snapshot.facts.trimmed))
        self._keeping.state_restored()

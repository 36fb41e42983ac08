"""Two shards on simulated disks, one of which fetches the other's snapshot; the test carries."""

from collections.abc import Callable
from random import Random

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import LogEnd
from raftlog.base.ids import INDEX_ZERO, DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.ranges import parse_range
from raftlog.broker.topics import MoveStart, TopicChanges
from raftlog.broker.trims import Trim
from raftlog.node.pace import CatchUpPace
from raftlog.raft.rpcs import InstallChunk, InstallMessage, InstallRequest
from raftlog.service.install_source import InstallSource
from raftlog.service.installing import Installer
from raftlog.service.produce import ProduceService
from raftlog.service.proposing import propose_unheard
from raftlog.service.sealed import SealedRanges
from raftlog.service.snapshot import Snapshots
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.snapshot_store import SnapshotStore
from raftlog.wire.batch import encode_columns
from tests.broker.logs import FIRST
from tests.service.fakes import FakeReader, FakeReplica, FakeScheduler, topic_service

GIVER, OTHER, TAKER = (
    ReplicaId(NodeId(f"n{number}"), DirectoryId(f"d{number}")) for number in (1, 2, 3)
)
TRIMMED = Index(3)
CONFIGURATION = b"who the members are"
Index_ = OffsetIndex[RangeSummary, dict[int, Postings]]


class Giver:
    """Who has the state: applies batches, each of which ends a range and makes a snapshot."""

    def __init__(self, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.replica = FakeReplica()
        self.reader = FakeReader()
        self.scheduler = FakeScheduler()
        self.sent: list[InstallChunk] = []
        self.start = LogEnd(INDEX_ZERO, Term(0), 0)
        self.index: Index_ = OffsetIndex(self.disk.files(), "shard/index", parse_range)
        self.store = SnapshotStore(self.disk.files(), "shard/snapshot")
        machine = self.replica.machine
        self.ranges = SealedRanges(
            *(machine, self.index, self.reader, self.scheduler),
            durable=lambda: machine.applied,
            fetch=lambda *_: None,
            on_failed=_raise,
        )
        self.snapshots = Snapshots(
            *(machine, self.store, self.reader, self.scheduler),
            is_durable=self.ranges.are_stored,
            fetch=lambda *_: None,
            on_failed=_raise,
        )
        self.source = InstallSource(
            *(self.store, self.index, self.reader, self.scheduler),
            CatchUpPace(self.scheduler, lambda: 0),
            start=lambda: (self.start, CONFIGURATION),
            send=lambda _, chunk: self.sent.append(chunk),
        )
        self.snapshots.on_written = self.source.snapshot_kept
        topic_service(self.replica, machine).create("t", TopicChanges(queues=1), lambda _: None)
        self.replica.commit()
        self._trim()

    def _trim(self) -> None:
        """Let the log begin behind entry 3: two batches are not needed any more, one is."""
        self.write(3)
        self._run(MoveStart(FIRST, 2))
        self._run(Trim(TRIMMED))
        self.start = self.replica.entries[TRIMMED - 1].end
        self.index.drop(TRIMMED)

    def _run(self, command: MoveStart | Trim) -> None:
        propose_unheard(self.replica, command)
        self.replica.commit()
        self._store()

    def _store(self) -> None:
        """Let everything that was cut and frozen go to the disk."""
        self.ranges.progress()
        self.reader.run()
        self.snapshots.progress()
        self.reader.run()

    @property
    def machine(self) -> BrokerMachine:
        """Its state."""
        return self.replica.machine

    def write(self, count: int = 1) -> None:
        """Append batches, each of which ends a range."""
        produce = ProduceService(self.replica, self.machine)
        for _ in range(count):
            batch = encode_columns([b"v" * 50], timestamp_ms=5)
            produce.append(FIRST, batch, lambda _: None)
            self.replica.commit()
            self._store()

    def ask(self, file: int, offset: int = 0, snapshot: int = 0) -> InstallChunk | None:
        """Ask for a piece; return it when its time has come, None if it never does."""
        self.source.answer(TAKER.node, InstallRequest(Index(snapshot), file, offset))
        self.reader.run()
        self.scheduler.advance(10**9)
        return self.sent.pop() if self.sent else None


class _Keeping:
    """What the installer tells the replica's log, and asks it."""

    def __init__(self, world: "Taker") -> None:
        self._world = world
        self.lacks_state = False
        self.stuck_at: Index | None = None
        self.resets: list[tuple[LogEnd, bytes]] = []
        self.left: list[SimDisk] = []
        """What a power cut would leave of the disk at the moment of each reset."""

    def send(self, to: NodeId, message: InstallMessage) -> None:
        """Keep the request for the test."""
        assert isinstance(message, InstallRequest)
        self._world.asked.append((to, message))

    def snapshot_fetched(self, base: LogEnd, configuration: bytes) -> None:
        """The log begins anew behind ``base``; its entries are still to come."""
        self.resets.append((base, configuration))
        left = self._world.disk.fork()
        left.crash(Random(0), CrashKind.LOSE)
        self.left.append(left)
        self.lacks_state = self.lacks_state or base.index > self._world.machine.applied
        self._world.store.start = base

    def state_restored(self) -> None:
        """Apply goes on."""
        self.lacks_state = False
        self.stuck_at = None


class _Store:
    def __init__(self) -> None:
        self.start = LogEnd(INDEX_ZERO, Term(0), 0)
        self.durable_end = LogEnd(INDEX_ZERO, Term(0), 0)


class _Core:
    commit = INDEX_ZERO


class Taker:
    """Who lacks it: an installer whose replica does what the test says."""

    id = TAKER

    def __init__(self, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.machine = BrokerMachine()
        self.reader = FakeReader()
        self.scheduler = FakeScheduler()
        self.asked: list[tuple[NodeId, InstallRequest]] = []
        self.restored: list[tuple[Index, Index]] = []
        self.failures: list[Exception] = []
        self.keeping = _Keeping(self)
        self.store = _Store()
        self.core = _Core()
        self.stopped = False
        self.leads = False
        self.leader: NodeId | None = GIVER.node
        self.index: Index_ = OffsetIndex(self.disk.files(), "shard/index", parse_range)
        self.snapshots = SnapshotStore(self.disk.files(), "shard/snapshot")
        self.installer = Installer(
            self,  # type: ignore[arg-type]  # what an installer asks a replica
            *(self.machine, self.reader, self.scheduler),
            InstallSource(
                *(self.snapshots, self.index, self.reader, self.scheduler),
                CatchUpPace(self.scheduler, lambda: 0),
                start=lambda: (self.store.start, b""),
                send=lambda *_: None,
            ),
            on_restored=lambda index, trimmed: self.restored.append((index, trimmed)),
            on_failed=self.failures.append,
        )

    def log_reaches(self, index: int) -> None:
        """Entries have come, are on the disk and committed up to there; let it look."""
        self.store.durable_end = LogEnd(Index(index), Term(2), 0)
        self.core.commit = Index(index)
        self.pass_time(10**8)

    def pass_time(self, ns: int) -> None:
        """Let timers come, and the reader thread work."""
        self.scheduler.advance(ns)
        self.turn()

    def turn(self) -> None:
        """Do what waits for a turn of the loop, or the thread."""
        while self.scheduler.soon or self.reader.waiting:
            calls, self.scheduler.soon = self.scheduler.soon, []
            for call in calls:
                call()
            self.reader.run()


Change = Callable[[InstallChunk], InstallChunk | None]


def carry(
    taker: Taker,
    givers: dict[NodeId, Giver],
    change: Change = lambda chunk: chunk,
    *,
    most: int = 10_000,
) -> int:
    """Carry requests and pieces to and fro until nobody says anything; return how many pieces."""
    carried = 0
    taker.turn()
    while taker.asked and carried < most:
        to, request = taker.asked.pop(0)
        giver = givers.get(to)
        if giver is None:
            continue
        giver.source.answer(TAKER.node, request)
        giver.reader.run()
        giver.scheduler.advance(10**9)
        while giver.sent:
            chunk = change(giver.sent.pop(0))
            carried += 1
            if chunk is not None:
                sender = next(each for each in (GIVER, OTHER) if each.node == to)
                taker.installer.receive(sender, chunk)
                taker.turn()
    return carried


def _raise(error: Exception) -> None:
    raise error

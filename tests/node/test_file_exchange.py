"""Files from peers: whole and proven or not at all, whatever peers and messages do."""

from collections.abc import Callable
from random import Random

import pytest

from chaos.sim.clocks import WallClock
from chaos.sim.disk import CrashKind, SimDisk
from chaos.sim.events import EventQueue
from chaos.sim.process import DiskPace, Life, SimReader
from raftlog.base.errors import StorageFailed, Unavailable
from raftlog.base.ids import Index, NodeId
from raftlog.base.limits import FILE_FETCH_READS_MAX
from raftlog.node import file_exchange
from raftlog.node.damage import Damage
from raftlog.node.file_exchange import FileExchange
from raftlog.node.outward import Outward
from raftlog.raft.rpcs import FileChunk, FileMessage
from raftlog.storage.shard_files import FileKind, FileName

NAME = FileName(FileKind.RANGE, Index(7))
NODES = tuple(NodeId(f"n{number}") for number in (1, 2, 3))
GOOD = Random(1).randbytes(1_000)
SECOND = 1_000_000_000


class World:
    """Three nodes with a file each, and messages between them that a test may change."""

    def __init__(self) -> None:
        self.queue = EventQueue()
        self.disks = {node: SimDisk() for node in NODES}
        self.change: Callable[[NodeId, FileMessage], FileMessage | None] = lambda _, what: what
        self.sent: list[tuple[NodeId, NodeId, FileMessage]] = []
        self.failures: list[Exception] = []
        self.told: list[Exception | None] = []
        self.news: list[str] = []
        self.exchanges = {node: self._make(node) for node in NODES}

    def _make(self, node: NodeId) -> FileExchange:
        life = Life(self.queue, 0, WallClock(self.queue))
        damage = Damage(Outward(self.failures.append))
        damage.on_told = self.news.append
        made = FileExchange(
            *(self.disks[node].files(), "shard"),
            *(SimReader(self.queue, life, DiskPace(Random(1), 1_000)), life),
            send=lambda to, message: self._send(node, to, message),
            on_failed=self.failures.append,
            damage=damage,
        )
        made.peers = [other for other in NODES if other != node]
        return made

    def _send(self, sender: NodeId, to: NodeId, message: FileMessage) -> None:
        self.sent.append((sender, to, message))
        changed = self.change(sender, message)
        if changed is not None:
            self.queue.after(1_000, lambda: self.exchanges[to].receive(sender, changed))

    def put(self, node: NodeId, content: bytes) -> None:
        """Give a node a file."""
        files = self.disks[node].files()
        files.make_directory("shard/index")
        file = files.open(NAME.path("shard"), create=True)
        file.truncate(0)
        file.pwrite([content], 0)
        file.sync()
        files.sync_directory("shard/index")

    def fetch(self) -> list[Exception | None]:
        """Let n1 fetch; return what it was told."""
        self.exchanges[NODES[0]].fetch(NAME, lambda data: data == GOOD, self.told.append)
        self.queue.run_until(self.queue.now_ns + 60 * SECOND)
        return self.told

    def content(self) -> bytes:
        """Return what n1 has after a power cut."""
        disk = self.disks[NODES[0]]
        disk.crash(Random(0), CrashKind.LOSE)
        assert not [path for path in disk.paths() if path.endswith(".fetched")]
        return disk.content(NAME.path("shard"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return three nodes, of which the other two have the file."""
    monkeypatch.setattr(file_exchange, "FILE_CHUNK_BYTES_MAX", 64)
    world = World()
    world.put(NODES[0], b"damaged")
    world.put(NODES[1], GOOD)
    world.put(NODES[2], GOOD)
    return world


def test_a_damaged_file_is_replaced(world: World) -> None:
    """Durably, under its own name."""
    assert world.fetch() == [None]
    path = NAME.path("shard")
    assert world.news == [
        f"{path} is damaged, and asked of the other members",
        f"{path} is no longer damaged: another member's is in its place",
    ]
    assert world.content() == GOOD


def test_a_missing_file_is_fetched(world: World) -> None:
    """Its folder, too."""
    world.disks[NODES[0]].wipe()
    world.exchanges[NODES[0]] = world._make(NODES[0])
    assert world.fetch() == [None]
    assert world.content() == GOOD


@pytest.mark.parametrize("bad", [b"", GOOD[:-1], GOOD + b"x", bytes(1_000)])
def test_a_peer_with_a_bad_file_is_passed_over(world: World, bad: bytes) -> None:
    """What is fetched is checked as a whole before it has a name."""
    world.put(NODES[1], bad)
    assert world.fetch() == [None]
    assert world.content() == GOOD


def test_lost_messages_cost_time_only(world: World) -> None:
    """Each third one is lost."""
    count = 0

    def lose(_: NodeId, message: FileMessage) -> FileMessage | None:
        nonlocal count
        count += 1
        return None if not count % 9 else message

    world.change = lose
    assert world.fetch() == [None]
    assert world.content() == GOOD


def test_a_changed_chunk_is_noticed_at_once(world: World) -> None:
    """By its own checksum: the whole file need not be fetched in vain."""

    def spoil(sender: NodeId, message: FileMessage) -> FileMessage:
        if sender == NODES[1] and isinstance(message, FileChunk):
            place = (message.kind, message.index, message.offset, message.size, message.crc)
            return FileChunk(*place, bytes(len(message.data)))
        return message

    world.change = spoil
    assert world.fetch() == [None]
    assert world.content() == GOOD


def test_a_file_that_nobody_has_is_given_up(world: World) -> None:
    """The one who asked is told, once, and the damaged file stays as it is."""
    world.put(NODES[1], b"other")
    world.put(NODES[2], b"different")
    (error,) = world.fetch()
    assert isinstance(error, Unavailable)
    assert world.disks[NODES[0]].content(NAME.path("shard")) == b"damaged"
    world.put(NODES[2], GOOD)
    assert world.fetch()[1:] == [None], "it may be asked for again"
    assert world.content() == GOOD


def test_who_wants_the_same_file_shares_the_fetch(world: World) -> None:
    """Both are told."""
    world.exchanges[NODES[0]].fetch(NAME, lambda data: data == GOOD, world.told.append)
    assert world.fetch() == [None, None]
    assert world.exchanges[NODES[0]].fetched == 1


def test_fetches_are_bounded(world: World) -> None:
    """The rest is refused, and asked for again by whoever needs it."""
    exchange = world.exchanges[NODES[0]]
    for index in range(FILE_FETCH_READS_MAX + 1):
        name = FileName(FileKind.SNAPSHOT, Index(index + 1))
        exchange.fetch(name, lambda _: False, world.told.append)
    assert len(world.told) == 1


@pytest.mark.parametrize(("number", "stops"), [(5, True), (28, False)])
def test_a_failed_write_ends_the_node_and_want_of_space_the_fetch(
    world: World, number: int, *, stops: bool
) -> None:
    """As any other (R2)."""

    def fail(call: str, path: str) -> None:
        if call == "write" and path.endswith(".fetched"):
            raise OSError(number, "simulated")

    world.disks[NODES[0]].on_operation = fail
    told = world.fetch()
    assert (len(told), len(world.failures)) == ((0, 1) if stops else (1, 0))
    (error,) = world.failures or told
    assert isinstance(error, StorageFailed)


def test_a_stopped_node_asks_and_answers_no_more(world: World) -> None:
    """Its timers are gone."""
    exchange = world.exchanges[NODES[0]]
    exchange.fetch(NAME, lambda data: data == GOOD, world.told.append)
    exchange.stop()
    sent = len(world.sent)
    world.queue.run_until(60 * SECOND)
    assert world.told == []
    assert all(sender != NODES[0] for sender, _, _ in world.sent[sent:])

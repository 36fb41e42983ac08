"""One replica over simulated time, threads and disk, for tests of the shell."""

from collections.abc import Sequence
from random import Random

from chaos.sim.clocks import WallClock
from chaos.sim.disk import SimDisk
from chaos.sim.events import SECOND_NS, EventQueue
from chaos.sim.machine import HistoryMachine
from chaos.sim.process import DiskPace, Life, SimReader, SimWriter
from raftlog.base.entry import Entry
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId, Term
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState
from raftlog.node.replica import Replica
from raftlog.node.world import ReplicaOptions, World
from raftlog.raft.rpcs import PeerMessage
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log

FOLDER = "shard"
OPTIONS = StoreOptions(segment_bytes=64 * 1024)
DISK_NS = 1_000
REPLICAS = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (1, 2, 3))


def raises(error: Exception) -> None:
    """Be who hears of a callback that raised, where none may."""
    raise error


class Node:
    """n1 of a shard with ``voters`` voters, and everything that it sent."""

    def __init__(self, *, voters: int, entries: Sequence[Entry] = ()) -> None:
        self.queue = EventQueue()
        self.life = Life(self.queue, 0, WallClock(self.queue))
        self.disk = SimDisk()
        self.sent: list[tuple[NodeId, PeerMessage]] = []
        self.failures: list[Exception] = []
        self.applied: list[Entry] = []
        self.voters = voters
        self.randoms = Random(1)
        state = HardState(entries[-1].term if entries else Term(1))
        create_log(self.disk.files(), FOLDER, OPTIONS, state, list(entries))
        self.open()

    def open(self) -> None:
        """Start a process on what is on the disk."""
        self.life.end()
        self.life = Life(self.queue, 0, WallClock(self.queue))
        self.store = LogStore.open(self.disk.files(), FOLDER, OPTIONS)
        self.machine = HistoryMachine(lambda entry, _digest: self.applied.append(entry))
        pace = DiskPace(Random(1), DISK_NS)
        writer = SimWriter(
            *(self.queue, self.life, pace),
            on_performed=lambda _plan, _error: None,
            on_killed=lambda _plan: None,
        )
        world = World(
            scheduler=self.life,
            writer=writer,
            reader=SimReader(self.queue, self.life, pace),
            peers=self,
            random=Random(self.randoms.getrandbits(64)),  # no process draws what the last one did
        )
        members = Membership(REPLICAS[: self.voters])
        self.replica = Replica(
            REPLICAS[0], members, self.store, self.machine, world, ReplicaOptions()
        )
        self.replica.on_failed = self.failures.append

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Take a message for a peer."""
        self.sent.append((to, message))

    def run(self, ns: int = SECOND_NS) -> None:
        """Let time pass."""
        self.queue.run_until(self.queue.now_ns + ns)


def leader_alone() -> Node:
    """Return the leader of a shard with one voter."""
    node = Node(voters=1)
    node.replica.start()
    node.run()
    assert node.replica.leads
    return node

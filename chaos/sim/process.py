"""One node of the simulation: a disk that lives on, and processes that come and go on it.

The ports of ``raftlog.node.ports`` over virtual time. Each process has a *life*:
when it ends, nothing that it asked for happens any more; while it is paused,
all of it waits and then comes at once, in order.

A plan is performed in one moment of virtual time, some time after it was
submitted; its outcome is reported some time later. A crash can strike before,
after, and between any two file operations of it.
"""

from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

from chaos.sim.disk import Killed, SimDisk
from chaos.sim.events import EventQueue
from chaos.sim.states import State
from raftlog.base.errors import StorageError, StorageFailed
from raftlog.base.ids import NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.base.writes import Write
from raftlog.node.outgoing import with_facts_of_node
from raftlog.node.ports import Plan
from raftlog.node.replica import Replica
from raftlog.node.space import NodeSpace
from raftlog.raft.rpcs import PeerMessage
from raftlog.storage.plan import StorePlan

T = TypeVar("T")
PPM: Final = 1_000_000
STUCK_NS: Final = 5_000_000_000
"""The longest that a stuck disk hangs."""


class LifeTimer:
    """A call that a process asked for."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class Life:
    """The scheduler of one process. Implements ``node.ports.Scheduler``."""

    def __init__(self, queue: EventQueue, drift_ppm: int, wall_ms: int) -> None:
        self.ended = False
        self.resumes_ns = 0
        self._queue = queue
        self._rate = PPM + drift_ppm
        self._wall_ms = wall_ms

    def now_ns(self) -> int:
        """Virtual time, as this node's quartz counts it."""
        return self._queue.now_ns * self._rate // PPM

    def wall_ms(self) -> int:
        """A wall clock that may be wrong."""
        return self._wall_ms + self._queue.now_ns // 1_000_000

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make ``call`` in the next turn."""
        self.at_ns(self._queue.now_ns, call)

    def defer(self, call: Callable[[], None]) -> None:
        """Make ``call`` as late as is allowed: in the next turn."""
        self.call_soon(call)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> LifeTimer:
        """Make ``call`` after ``delay_ns`` of this node's time."""
        return self.at_ns(self._queue.now_ns + (delay_ns * PPM) // self._rate + 1, call)

    def at_ns(self, time_ns: int, call: Callable[[], None]) -> LifeTimer:
        """Make ``call`` at a true time, if this life lasts so long."""
        timer = LifeTimer(call)
        self._queue.at(time_ns, lambda: self._run(timer))
        return timer

    def _run(self, timer: LifeTimer) -> None:
        if self.ended or timer.call is None:
            return
        if self._queue.now_ns < self.resumes_ns:
            self._queue.at(self.resumes_ns, lambda: self._run(timer))
            return
        timer.call()


class DiskPace:
    """How fast a node's disk is now."""

    def __init__(self, random: Random, mean_ns: int) -> None:
        self.random = random
        self.mean_ns = mean_ns
        self.slow_until_ns = 0
        self.slow_factor = 1

    def draw_ns(self, now_ns: int) -> int:
        """Return the time of the next piece of work."""
        factor = self.slow_factor if now_ns < self.slow_until_ns else 1
        drawn = int(self.random.expovariate(1.0) * self.mean_ns * factor)
        return 1 + min(drawn, STUCK_NS)


class SimWriter:
    """The log writer's thread. Implements ``node.ports.Writer``."""

    def __init__(
        self,
        queue: EventQueue,
        life: Life,
        pace: DiskPace,
        *,
        on_performed: Callable[[StorePlan, Exception | None], None],
        on_killed: Callable[[StorePlan], None],
    ) -> None:
        self._queue = queue
        self._life = life
        self._pace = pace
        self._on_performed = on_performed
        self._on_killed = on_killed

    def submit(self, plan: Plan, done: Callable[[Exception | None], None]) -> None:
        """Perform ``plan`` later."""
        assert isinstance(plan, StorePlan), f"{plan} is no plan of a store"
        store_plan: StorePlan = plan
        self._after(lambda: self._perform(store_plan, done))

    def _perform(self, plan: StorePlan, done: Callable[[Exception | None], None]) -> None:
        error: Exception | None = None
        try:
            plan.perform()
        except Killed:
            self._on_killed(plan)
            return
        except StorageFailed as failed:
            error = failed
        self._on_performed(plan, error)
        self._after(lambda: done(error))

    def _after(self, call: Callable[[], None]) -> None:
        now_ns = self._queue.now_ns
        self._life.at_ns(now_ns + self._pace.draw_ns(now_ns) // 2, call)


class SimReader:
    """The reader's thread. Implements ``node.ports.Reader``."""

    def __init__(
        self,
        queue: EventQueue,
        life: Life,
        pace: DiskPace,
        on_killed: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._life = life
        self._pace = pace
        self._on_killed = on_killed

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Run ``work`` later."""

        def run() -> None:
            found: T | None = None
            error: Exception | None = None
            try:
                found = work()
            except Killed:
                self._on_killed()
                return
            except (OSError, StorageError) as failed:
                error = failed
            self._life.call_soon(lambda: done(found, error))

        now_ns = self._queue.now_ns
        self._life.at_ns(now_ns + self._pace.draw_ns(now_ns), run)


class SimPeers:
    """The links of one process. Implements ``node.ports.Peers``."""

    def __init__(
        self, life: Life, space: NodeSpace, send: Callable[[NodeId, PeerMessage], None]
    ) -> None:
        self._life = life
        self._space = space
        self._send = send

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Hand a message to the network, unless this process is gone."""
        if self._life.ended:
            return
        self._send(to, with_facts_of_node(message, self._space, self._life.wall_ms))


class Process:
    """A process that runs: its life, its replica, its state machine."""

    def __init__(self, life: Life, replica: Replica, state: State) -> None:
        self.life = life
        self.replica = replica
        self.state = state


class Machine:
    """A computer of the cluster: a disk, and the process on it, if one runs."""

    def __init__(
        self,
        replica: ReplicaId,
        formed: Membership,
        disk: SimDisk,
        pace: DiskPace,
        drift_ppm: int,
    ) -> None:
        self.id = replica
        self.formed = formed
        """What its directory was told when it was formatted."""
        self.node: Final = replica.node
        self.disk = disk
        self.pace = pace
        self.drift_ppm = drift_ppm
        self.process: Process | None = None
        self.stays_down = False
        self.restart_due = False
        self.space = NodeSpace()
        """How full the disk is, as its node has seen: the computer's, for short."""
        self.victim = False
        """Whether its disk may show damage."""
        self.in_flight: list[Write] = []
        """What was being written when the last process ended."""
        self.failed_plan: list[Write] = []
        """What was being written when the disk reported an error."""

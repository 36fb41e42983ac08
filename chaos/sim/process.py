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

from chaos.check.liveness import ReplicaView
from chaos.sim.clocks import WallClock
from chaos.sim.disk import Killed, SimDisk
from chaos.sim.events import Alarm, EventQueue
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
from raftlog.storage.log_store import LogStore
from raftlog.storage.plan import StorePlan

T = TypeVar("T")
PPM: Final = 1_000_000
STUCK_NS: Final = 5_000_000_000
"""The longest that a stuck disk hangs."""


class Life:
    """The scheduler of one process. Implements ``node.ports.Scheduler``."""

    def __init__(self, queue: EventQueue, drift_ppm: int, clock: WallClock) -> None:
        self.hindered = False
        self.ended = False
        self._queue = queue
        self._rate = PPM + drift_ppm
        self._clock = clock
        self._resumes_ns = 0
        self._turn_ns = 0
        self._free_ns = 0
        """When a slow processor has done what it was given so far."""

    def now_ns(self) -> int:
        """Virtual time, as this node's quartz counts it."""
        return self._queue.now_ns * self._rate // PPM

    def wall_ms(self) -> int:
        """A wall clock that may be wrong."""
        return self._clock.now_ms()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make ``call`` in the next turn."""
        self._queue.at(self._queue.now_ns, call, self)

    def defer(self, call: Callable[[], None]) -> None:
        """Make ``call`` as late as is allowed: in the next turn."""
        self._queue.at(self._queue.now_ns, call, self)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> Alarm:
        """Make ``call`` after ``delay_ns`` of this node's time."""
        return self.at_ns(self._queue.now_ns + (delay_ns * PPM) // self._rate + 1, call)

    def at_ns(self, time_ns: int, call: Callable[[], None]) -> Alarm:
        """Make ``call`` at a true time, if this life lasts so long."""
        return self._queue.at(time_ns, call, self)

    # -- what hinders

    def end(self) -> None:
        """Do nothing any more."""
        self.hindered = self.ended = True

    def pause(self, until_ns: int) -> None:
        """Stand still until then."""
        self._resumes_ns = until_ns
        self.hindered = True

    def slow(self, turn_ns: int) -> None:
        """Need so long for each turn from now on; 0: none, as usual."""
        self._turn_ns = turn_ns
        self.hindered = True

    def takes(self, alarm: Alarm) -> bool:
        """Hold up a call while this process stands still or is slow. Implements ``Holder``."""
        if self.ended:
            return True
        queue = self._queue
        now_ns = queue.now_ns
        if now_ns < self._resumes_ns:
            queue.put(self._resumes_ns, alarm)
            return True
        if alarm.is_late:
            return False
        if self._turn_ns or now_ns < self._free_ns:
            # Everything has its turn in the order in which it was due.
            alarm.is_late = True
            start_ns = max(now_ns, self._free_ns)
            self._free_ns = start_ns + self._turn_ns
            queue.put(start_ns, alarm)
            return True
        # What was put off until now came first: nothing is held up any more.
        self.hindered = now_ns in (self._resumes_ns, self._free_ns)
        return False


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
        self,
        life: Life,
        store: LogStore,
        space: NodeSpace,
        send: Callable[[NodeId, PeerMessage], None],
    ) -> None:
        self._life = life
        self._store = store
        self._space = space
        self._send = send

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Hand a message to the network, unless this process is gone."""
        if self._life.ended:
            return
        self._send(to, with_facts_of_node(message, self._store, self._space, self._life.wall_ms))


class Process:
    """A process that runs: its life, its replica, its state machine."""

    def __init__(
        self, life: Life, replica: Replica, state: State, writer: "SimWriter", run: int = 0
    ) -> None:
        self.run: Final = run
        """Which of all processes of the simulation this is."""
        self.life = life
        self.replica = replica
        self.state = state
        self.writer = writer
        self.is_stopping = False


class Machine:
    """A computer of the cluster: a disk, and the process on it, if one runs."""

    def __init__(
        self,
        replica: ReplicaId,
        formed: Membership,
        disk: SimDisk,
        pace: DiskPace,
        drift_ppm: int,
        clock: WallClock,
    ) -> None:
        self.id = replica
        self.boot = 0
        """How often the machine was started anew."""
        self.formed = formed
        """What its directory was told when it was formatted."""
        self.node: Final = replica.node
        self.disk = disk
        self.pace = pace
        self.drift_ppm = drift_ppm
        self.clock = clock
        self.process: Process | None = None
        self.stays_down = False
        self.put_back_as: ReplicaId | None = None
        """Which replica it was when it forgot what it had promised: an old copy of its directory
        was put back, or its disk took back what it had confirmed."""
        self.restart_due = False
        self.space = NodeSpace()
        """How full the disk is, as its node has seen: the computer's, for short."""
        self.victim = False
        """Whether its disk may show damage."""
        self.in_flight: list[Write] = []
        """What was being written when the last process ended."""
        self.failed_plan: list[Write] = []
        """What was being written when the disk reported an error."""


def view_of(machine: Machine) -> ReplicaView:
    """Return what an observer sees of a process that runs."""
    process = machine.process
    assert process is not None, "a look at a process that does not run"
    replica = process.replica
    core = replica.core
    return ReplicaView(
        node=machine.node,
        leads=replica.leads,
        term=core.term,
        leader=replica.leader,
        last=core.log.last_index,
        last_checksum=core.log.end.checksum,
        durable=core.durable,
        applied=replica.applied,
        digest=process.state.digest(),
        faulty=replica.store.faulty_count,
    )

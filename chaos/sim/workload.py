"""Clients: they append values of their own and read, wherever they think that the leader is.

An append ends ok, failed (it never happened) or unknown. A client whose node
dies is told nothing: unknown. Nothing is sent twice, so a value that is stored
twice was duplicated by the system.
"""

from collections.abc import Callable, Sequence
from random import Random

from chaos.check.violation import Violation
from chaos.sim.client_world import CALM_PACE
from chaos.sim.events import SECOND_NS, EventQueue
from chaos.sim.machine import Stored
from chaos.sim.observer import Observer
from chaos.sim.process import Process
from chaos.sim.swarm import SeedConfig
from raftlog.base.errors import NotCommitted, NotLeader, Outcome, RaftlogError, Throttled
from raftlog.base.ids import Index, NodeId, Term
from raftlog.broker.commands import CommandType


class Clients:
    """The workload of one run."""

    def __init__(
        self,
        queue: EventQueue,
        random: Random,
        config: SeedConfig,
        observer: Observer,
        process_of: Callable[[NodeId], Process | None],
        nodes: Sequence[NodeId],
    ) -> None:
        self.acks_after_heal = 0
        self._healed = False
        self._queue = queue
        self._random = random
        self._config = config
        self._observer = observer
        self._process_of = process_of
        self._nodes = nodes
        self._believed: NodeId = nodes[0]
        self._count = 0
        self._stopped = False
        self._pace = 1.0

    def start(self) -> None:
        """Begin to append and to read."""
        self._later(self._config.appends_per_s, self._append)
        self._later(self._config.reads_per_s, self._read)

    def heal(self) -> None:
        """The faults are over."""
        self._healed = True

    def calm(self) -> None:
        """Do little from now on."""
        self._pace = CALM_PACE

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    def why_not_ended(self) -> str | None:
        """Nothing has to be waited for."""
        return None

    def _later(self, per_second: float, act: Callable[[], None]) -> None:
        if not per_second:
            return

        def again() -> None:
            if not self._stopped:
                act()
                self._later(per_second, act)

        delay_s = self._random.expovariate(per_second * self._pace)
        self._queue.after(int(delay_s * SECOND_NS), again)

    def _append(self) -> None:
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            self._append_one()

    def _append_one(self) -> None:
        if self._random.random() < self._config.astray:
            self._believed = self._random.choice(self._nodes)
        process = self._process_of(self._believed)
        if process is None:
            self._believed = self._random.choice(self._nodes)
            return
        self._count += 1
        padding = self._random.randrange(self._config.value_bytes_max)
        value = b"%d:" % self._count + b"." * padding
        observer = self._observer
        observer.history.sends(value)
        floor = observer.order.begins()
        healed = self._healed

        def ended(outcome: object, _term: Term, index: Index) -> None:
            if isinstance(outcome, Stored):
                if outcome.index != index:
                    raise Violation("acked_present", f"{outcome} was reported at {index}")
                observer.history.ends_ok(value, index)
                observer.order.appended(floor, index)
                observer.marks["acked"] += 1
                self.acks_after_heal += healed
            else:
                self._ended_badly(value, outcome)

        process.replica.propose(CommandType.RAW, [value], ended)

    def _ended_badly(self, value: bytes, outcome: object) -> None:
        assert isinstance(outcome, RaftlogError), f"an append ended with {outcome!r}"
        marks = self._observer.marks
        match outcome:
            case NotLeader(leader_hint=hint):
                self._believed = hint or self._random.choice(self._nodes)
            case NotCommitted():
                marks["not committed"] += 1
            case Throttled():
                marks["throttled"] += 1
            case _:
                pass
        if outcome.outcome is Outcome.UNKNOWN:
            marks["unknown"] += 1
        else:
            self._observer.history.ends_failed(value)

    def _read(self) -> None:
        process = self._process_of(self._random.choice((self._believed, *self._nodes)))
        if process is None:
            return
        replica = process.replica
        floor = self._observer.order.begins()

        def ended(error: RaftlogError | None) -> None:
            if error is None:
                self._observer.order.read(floor, replica.applied)
                self._observer.marks["reads"] += 1

        replica.read_index(ended)

"""Levelling: the shard's feature level rises once every member can apply the next one (ruling 15).

::

    n1 new, n2 old, n3 old     level 3: entries are stamped with it, by n1 as well
    n2 and n3 started anew     each said in its hello that it can apply 4
    n1 leads                   stamps its entries with 4 from now on; the first that is
                               committed raises the level of all, at that entry

So nodes of two versions run side by side, by the rules of the older one, and nobody has to
say when that is over. Learners count: they are given every entry, too. Who is away is waited for,
whatever it said before: it may come back as an older version. After the level was raised such a
one stops at the entry.
"""

from collections.abc import Callable, Mapping
from typing import Final

from raftlog.base.ids import Index, NodeId, ReplicaId, Term
from raftlog.broker.codec import write_command
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.timetable import PassTime
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.ports import ShardReplica

ROUND_NS: Final = 250_000_000
FIRST_ROUND_NS: Final = 20_000_000
FIRST_NS: Final = 2_000_000_000
"""So long a new leader looks more often: until it has heard everybody a new cluster refuses what
needs a level."""

LevelOf = Callable[[ReplicaId], int]
"""The highest feature level that a member can apply; 0: it did not say."""


class Levelling:
    """Raises the feature level of one shard, while this node leads it.

    Args:
        replica: Stamps and proposes.
        machine: Knows the level.
        scheduler: For the next look.
        level_of: What the other members have said they can apply.
        is_alive: Whether this leader has heard a member lately.
    """

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        scheduler: Scheduler,
        level_of: LevelOf,
        is_alive: Callable[[NodeId], bool],
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._scheduler: Final = scheduler
        self._level_of: Final = level_of
        self._is_alive: Final = is_alive
        self._timer: Timer | None = None
        self._began_ns = 0
        self.raised = 0

    def begin(self) -> None:
        """This node leads: look from now on, until there is nothing higher."""
        self.end()
        self._began_ns = self._scheduler.now_ns()
        self._arm(0)

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def counters(self) -> Mapping[str, int]:
        """Return the level, the highest that can be applied here, and how often it was raised."""
        return {
            "feature_level_size": self._machine.feature_level,
            "feature_level_max_size": self._machine.own_level,
            "levels_raised": self.raised,
        }

    def _arm(self, delay_ns: int) -> None:
        self._timer = self._scheduler.call_later(delay_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._machine.state.feature_level >= self._machine.own_level:
            return
        if self._raise():
            self._arm(ROUND_NS)
        else:
            is_new = self._scheduler.now_ns() - self._began_ns < FIRST_NS
            self._arm(FIRST_ROUND_NS if is_new else ROUND_NS)

    def _raise(self) -> bool:
        """Raise the level, if all members are there and can apply a higher one."""
        others = [each for each in self._replica.membership.replicas if each != self._replica.id]
        if not all(self._is_alive(each.node) for each in others):
            return False
        level = min([self._machine.own_level, *map(self._level_of, others)])
        if level <= self._machine.state.feature_level or not self._replica.is_settled:
            return False
        self.raised += 1
        self._replica.raise_level(level)
        # Anything that is stamped with it will do; this changes nothing else.
        command = write_command(PassTime())
        self._replica.propose(command.type, command.parts, _nobody_waits)
        return True


def _nobody_waits(_outcome: object, _term: Term, _index: Index) -> None:
    pass

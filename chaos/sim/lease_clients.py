"""Queue-style groups in the simulator: all their clients.

They have a world of their own, with random numbers of their own: in a seed without such groups
nothing is otherwise than before. In the end they work in earnest, and all that was sent has to
be ended, each message in one place.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from chaos.sim.client_world import ClientWorld
from chaos.sim.events import EventQueue, stream
from chaos.sim.lease_work import TOPIC, GroupWork, LeaseWork
from chaos.sim.lease_workers import Keeper, Worker
from chaos.sim.settlers import Settler, Settling

if TYPE_CHECKING:
    from chaos.sim.facts import Facts
    from chaos.sim.process import Process
    from chaos.sim.swarm import BrokerConfig
    from raftlog.base.ids import NodeId


class LeaseClients:
    """All of them."""

    def __init__(
        self,
        work: LeaseWork,
        queue: EventQueue,
        config: "BrokerConfig",
        facts: "Facts",
        process_of: "Callable[[NodeId], Process | None]",
        nodes: "Sequence[NodeId]",
    ) -> None:
        random = stream(work.seed, "queue work")
        config = msgspec.structs.replace(config, ids=0)
        facts.leases.is_watching = True
        self._facts = facts
        self._work = work
        self.world = ClientWorld(queue, random, config, facts, process_of, nodes)
        self._keeper = Keeper(self.world, work)
        self._settling = Settling()
        self._workers = [
            self._worker(f"{group.name}-{number}", group)
            for group in work.groups
            for number in range(work.workers)
        ]

    def _worker(self, name: str, group: GroupWork) -> Worker:
        if not self._work.settles:
            return Worker(self.world, name, self._work, group)
        return Settler(self.world, name, self._work, group, self._settling)

    def start(self) -> None:
        """Begin."""
        self._keeper.start()
        for worker in self._workers:
            worker.start()

    def heal(self) -> None:
        """The faults are over."""
        self.world.heal()

    def stop(self) -> None:
        """Send nothing new, and work in earnest."""
        self.world.stopped = True
        self._keeper.stop()

    def _go_on(self) -> None:
        """Work again: what was sent before the end may come after all had been done."""
        if self.world.members_stopped:
            self.world.members_stopped = False
            self._keeper.decide()
            for worker in self._workers:
                worker.start()

    def why_not_ended(self) -> str | None:
        """Return what is not ended yet, or None; then workers stop."""
        facts = self._facts
        topic = facts.topics.get(TOPIC)
        if topic is None:
            return f"there is no topic {TOPIC}"
        for group in self._work.groups:
            queues = {queue: facts.bounds(queue) for queue in topic.queues}
            left = facts.leases.undone(group.name, queues)
            if left:
                self._go_on()
                known = facts.leases.groups.get(group.name)
                what = known.messages.get(left[0]) if known is not None else None
                return f"{group.name} has not ended {len(left)} messages, as {left[0]}: {what}"
        if self._settling.under_way:
            return f"nobody knows what became of {self._settling.under_way} transactions"
        self.world.members_stopped = True
        return None

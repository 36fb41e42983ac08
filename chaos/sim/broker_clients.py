"""All clients of a run with the topic store, and what they demand at its end."""

from collections.abc import Callable, Sequence
from random import Random

from chaos.sim.administrator import Administrator
from chaos.sim.atomic_members import AtomicMember
from chaos.sim.atomic_work import GROUP
from chaos.sim.client_world import ClientWorld
from chaos.sim.consumers import QueueReader
from chaos.sim.events import EventQueue
from chaos.sim.facts import Facts
from chaos.sim.group_members import GroupMember
from chaos.sim.half_clients import HalfClients
from chaos.sim.lease_clients import LeaseClients
from chaos.sim.letter_clients import LetterClients
from chaos.sim.process import Process
from chaos.sim.producers import IdempotentProducer, PlainProducer
from chaos.sim.quota_clients import QuotaClients
from chaos.sim.steered_members import SteeredMember, Steersman
from chaos.sim.steered_work import STEERED
from chaos.sim.swarm import BrokerConfig
from raftlog.base.ids import NodeId


class BrokerClients:
    """The workload of one run with the topic store."""

    def __init__(
        self,
        queue: EventQueue,
        random: Random,
        config: BrokerConfig,
        facts: Facts,
        process_of: Callable[[NodeId], Process | None],
        nodes: Sequence[NodeId],
    ) -> None:
        world = self._world = ClientWorld(queue, random, config, facts, process_of, nodes)
        self._administrator = Administrator(world, "administrator")
        self._plain = PlainProducer(world, "plain")
        self._producers: list[IdempotentProducer] = []
        self._readers = [QueueReader(world, f"reader-{n}") for n in range(config.readers)]
        self._members = [
            GroupMember(
                *(world, f"{group}-{n}", group, config.topics),
                is_static=n < config.static_members,
            )
            for group in config.groups
            if group not in (GROUP, STEERED)
            for n in range(config.members)
        ]
        if GROUP in config.groups:
            members = range(config.members)
            self._members += [AtomicMember(world, f"{GROUP}-{n}", config.topics) for n in members]
        self._steersman: Steersman | None = None
        if STEERED in config.groups:
            self._steersman = Steersman(world, "steersman")
            self._members += [
                SteeredMember(
                    *(world, f"{STEERED}-{n}", config.topics),
                    is_static=n < config.static_members,
                )
                for n in range(config.members)
            ]
        self._others: list[LeaseClients | HalfClients | LetterClients | QuotaClients] = []
        """Those with a world of their own."""
        parts = (queue, config, facts, process_of, nodes)
        if config.leases is not None:
            self._others.append(LeaseClients(config.leases, *parts))
        if config.halves is not None:
            self._others.append(HalfClients(config.halves, *parts))
        if config.letters is not None:
            self._others.append(LetterClients(config.letters, *parts))
        if config.quotas is not None:
            self._others.append(QuotaClients(config.quotas, *parts))

    @property
    def acks_after_heal(self) -> int:
        """Batches that were sent and acked after the faults."""
        return self._world.acks_after_heal

    def start(self) -> None:
        """Begin."""
        self._administrator.start()
        self._plain.start()
        for _ in range(self._world.config.producers):
            self._new_producer()
        for client in (*self._readers, *self._members):
            client.start()
        if self._steersman is not None:
            self._steersman.start()
        self._world.every(self._world.config.crashes_per_s, self._crash)
        for other in self._others:
            other.start()

    def heal(self) -> None:
        """The faults are over, those of the way between clients and nodes too."""
        self._world.heal()
        for other in self._others:
            other.heal()

    def calm(self) -> None:
        """Do little from now on."""
        self._world.calm()
        for other in self._others:
            other.world.calm()

    def stop(self) -> None:
        """Send nothing new; what is under way is settled, and groups read to the end."""
        self._world.stopped = True
        if self._steersman is not None:
            self._steersman.stop()
        for other in self._others:
            other.stop()

    def why_not_ended(self) -> str | None:
        """Return what is still under way after ``stop``, or None; then members stop, too."""
        world = self._world
        for producer in self._producers:
            if not producer.settled:
                return f"{producer.name} waits for what became of its batches"
        if self._steersman is not None and (missing := self._steersman.why_not_ended()):
            return missing
        groups, facts = world.facts.groups, world.facts
        for group in world.config.groups:
            for topic in world.config.topics:
                described = facts.topics.get(topic)
                for queue in described.queues if described is not None else ():
                    start, end = facts.bounds(queue)
                    committed = groups.committed.get((group, queue), 0)
                    if start < end and committed < end:
                        return f"{group} has committed {committed} of {end} in queue {queue}"
        for other in self._others:
            if (missing := other.why_not_ended()) is not None:
                return missing
        world.members_stopped = True
        return None

    def _new_producer(self) -> None:
        producer = IdempotentProducer(self._world, f"producer-{len(self._producers)}")
        self._producers.append(producer)
        producer.start()

    def _crash(self) -> None:
        """A producer dies, and another begins."""
        self._world.marks["producers crashed"] += 1
        self._world.random.choice(self._producers).crash()
        self._new_producer()

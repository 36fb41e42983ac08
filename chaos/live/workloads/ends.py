"""Ends of queues: some add records, others ask the nodes where their queues end.

Each node has somebody who asks it and no other one, however long it is silent: a client of the SDK
gives up a leader that is, and so never hears what one says that has slept, or was cut off, and
does not know yet that another one leads.
"""

import asyncio
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.kept_records import check_kept
from chaos.check.queue_ends import QueueEnds
from chaos.live.workloads.sending import noted
from chaos.live.workloads.workload import LEDGER, TOPICS, Logs
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.client.channel import Channel
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, topics

ADDERS: Final = 2
PAUSE_S: Final = (0.0, 0.1)
ANSWER_S: Final = 15.0
"""For one answer: longer than any node sleeps."""
WHOLE: Final = 0.2
"""How often the whole topic is asked for."""


class Ends:
    """Clients that add records, and clients that look where their queues end."""

    name = "ends"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[LEDGER] = Records(LEDGER)
        self._ends = QueueEnds(self._records)
        self._queues: list[int] = []
        """Their numbers, by their places; known once somebody was told."""

    @property
    def done(self) -> int:
        """Ends that were told, if something was added."""
        return self._ends.look_count if self._records.count(Outcome.OK) else 0

    async def run(self) -> None:
        """Add and look until the run stops."""
        adding = [self._add(lane) for lane in range(ADDERS)]
        await asyncio.gather(*adding, *map(self._look, self._world.cluster.seeds))

    async def drain(self) -> None:
        """Nothing is left: every send has ended."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every record is there once, and there is one order of all that was done."""
        return [*check_kept(self._records, logs[LEDGER]), *self._ends.check(logs[LEDGER])]

    async def _add(self, lane: int) -> None:
        world, records = self._world, self._records
        async with world.client() as sdk, sdk.producer() as producer:
            while not world.stopping.is_set():
                number = records.begin(lane, world.now())
                queue = lane % TOPICS[LEDGER]
                send = producer.send(LEDGER, records.value(number), queue=queue)
                await noted(world, records, number, send)
                await world.rest(world.random.uniform(*PAUSE_S))

    async def _look(self, address: str) -> None:
        """Ask one node as long as the run lasts: whether it leads, it must know."""
        world = self._world
        while not world.stopping.is_set():
            try:
                channel = await Channel.connect(*parse_address(address))
            except RaftlogError:
                await world.rest(PAUSE_S[1])
                continue
            try:
                while channel.is_open and not world.stopping.is_set():
                    await self._ask(channel)
                    await world.rest(world.random.uniform(*PAUSE_S))
            finally:
                await channel.aclose()

    async def _ask(self, channel: Channel) -> None:
        """Ask in one of two ways: for the whole topic, or for one queue's end."""
        world = self._world
        called = world.now()
        try:
            if not self._queues or world.random.random() < WHOLE:
                ends = await self._describe(channel)
            else:
                place = world.random.randrange(len(self._queues))
                asked = client.EndOffset(queue=self._queues[place])
                found, _ = await channel.call(
                    Method.END_OFFSET, asked, client.EndOffsetIs, timeout_s=ANSWER_S
                )
                ends = {place: found.end_offset}
        except RaftlogError:
            return  # it does not lead, or can't know whether it does
        returned = world.now()
        for place, end in ends.items():
            self._ends.seen(place, end, called, returned)

    async def _describe(self, channel: Channel) -> dict[int, int]:
        """Return the ends of all queues, by their places; learn their numbers."""
        found, _ = await channel.call(
            *(Method.TOPIC_DESCRIBE, topics.DescribeTopic(name=LEDGER), topics.TopicDescription),
            timeout_s=ANSWER_S,
        )
        self._queues = [queue.queue for queue in found.queues]
        return {place: queue.end_offset for place, queue in enumerate(found.queues)}

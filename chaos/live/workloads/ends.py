"""Ends of queues: some add records, others ask the nodes where their queues end.

Three questions: describe a topic, and tell a queue's end, which must know everything; and a read
with a bound of staleness, which any node may answer that knows everything but what is new.

Each node has somebody who asks it and no other one, however long it is silent: a client of the SDK
gives up a leader that is, and so never hears what one says that has slept, or was cut off, and
does not know yet that another one leads.
"""

import asyncio
from contextlib import suppress
from typing import Final

from chaos.check.bounded_staleness import NAME as BOUNDED_NAME
from chaos.check.bounded_staleness import BoundedStaleness
from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.faults_happened import NAME as HAPPENED
from chaos.check.kept_records import check_kept
from chaos.check.queue_ends import QueueEnds
from chaos.check.violation import Violation
from chaos.live.topics import LEDGER, TOPICS
from chaos.live.workloads.sending import noted
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.base.errors import OffsetOutOfRange, RaftlogError
from raftlog.client.channel import Channel
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, topics

ADDERS: Final = 2
PAUSE_S: Final = (0.0, 0.1)
ANSWER_S: Final = 15.0
"""For one answer: longer than any node sleeps."""
ASKED_MAX: Final = 100
"""Questions that wait for one node."""
WHOLE: Final = 0.2
"""How often the whole topic is asked for."""
BOUNDED: Final = 0.4
"""How often a read with a bound is asked for."""
STALENESS_MS: Final = 500
ENOUGH: Final = 500
"""Ends told: then reads with a bound are a part of the answers, if they are answered at all."""
BOUNDED_SHARE: Final = 10
NS: Final = 1_000_000_000


class Ends:
    """Clients that add records, and clients that look where their queues end."""

    name = "ends"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[LEDGER] = Records(LEDGER)
        self._ends = QueueEnds(self._records)
        self._known = BoundedStaleness()
        self.bounded = 0
        """Reads with a bound that were answered."""
        self._queues: list[int] = []
        """Their numbers, by their places; known once somebody was told."""
        self._starts: dict[int, int] = {}
        """Where a read may begin, by their places: what was consumed is forgotten."""

    @property
    def done(self) -> int:
        """Ends that were told, if something was added and read."""
        has_all = self._records.count(Outcome.OK) and self.bounded
        return self._ends.look_count if has_all else 0

    async def run(self) -> None:
        """Add and look until the run stops."""
        async with asyncio.TaskGroup() as group:
            for lane in range(ADDERS):
                group.create_task(self._add(lane))
            for address in self._world.cluster.seeds:
                group.create_task(self._look(address))

    async def drain(self) -> None:
        """Nothing is left: every send has ended."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every record is there once, and there is one order of all that was done."""
        found = [*check_kept(self._records, logs[LEDGER]), *self._ends.check(logs[LEDGER])]
        told = self._ends.look_count
        if told >= ENOUGH and self.bounded * BOUNDED_SHARE < told:
            text = f"{self.bounded} reads with a bound were answered, and {told} ends told"
            found.append(Anomaly(HAPPENED, text))
        return found

    async def _add(self, lane: int) -> None:
        world, records = self._world, self._records
        async with world.client() as sdk, sdk.producer() as producer:
            while not world.stopping.is_set():
                number = records.begin(lane, world.now())
                queue = lane % TOPICS[LEDGER]
                send = producer.send(LEDGER, records.value(number), queue=queue)
                receipt = await noted(world, records, number, send)
                if receipt is not None:
                    self._known.sees(queue, receipt.offset + 1, self._now_ns())
                await world.rest(world.random.uniform(*PAUSE_S))

    async def _look(self, address: str) -> None:
        """Ask one node as long as the run lasts: whether it leads, it must know.

        While it sleeps it is asked on: what it is asked at the end of that is what it must not
        answer from what it knew before.
        """
        world = self._world
        while not world.stopping.is_set():
            try:
                channel = await Channel.connect(*parse_address(address))
            except RaftlogError:
                await world.rest(PAUSE_S[1])
                continue
            try:
                async with asyncio.TaskGroup() as asking:
                    while channel.is_open and not world.stopping.is_set():
                        if channel.waiting_count < ASKED_MAX:
                            asking.create_task(self._ask(channel))
                        await world.rest(world.random.uniform(*PAUSE_S))
            finally:
                await channel.aclose()

    async def _ask(self, channel: Channel) -> None:
        """Ask in one of two ways: for the whole topic, or for one queue's end."""
        how = self._world.random.random()
        with suppress(RaftlogError):  # it does not lead, can't know whether it does, or is behind
            if not self._queues or how < WHOLE:
                await self._describe(channel)
            elif how < WHOLE + BOUNDED:
                await self._read(channel, self._world.random.randrange(len(self._queues)))
            else:
                await self._ask_end(channel, self._world.random.randrange(len(self._queues)))

    async def _describe(self, channel: Channel) -> None:
        """Ask for all queues; learn their numbers."""
        world, called = self._world, self._world.now()
        found, _ = await channel.call(
            *(Method.TOPIC_DESCRIBE, topics.DescribeTopic(name=LEDGER), topics.TopicDescription),
            timeout_s=ANSWER_S,
        )
        self._queues = [queue.queue for queue in found.queues]
        for place, queue in enumerate(found.queues):
            self._starts[place] = max(queue.start_offset, self._starts.get(place, 0))
            self._ends.seen(place, queue.end_offset, called, world.now())

    async def _ask_end(self, channel: Channel, place: int) -> None:
        world, called = self._world, self._world.now()
        asked = client.EndOffset(queue=self._queues[place])
        found, _ = await channel.call(
            Method.END_OFFSET, asked, client.EndOffsetIs, timeout_s=ANSWER_S
        )
        self._ends.seen(place, found.end_offset, called, world.now())

    async def _read(self, channel: Channel, place: int) -> None:
        floor = self._known.floor(place, self._now_ns() - STALENESS_MS * NS // 1000)
        asked = client.ReadBatches(
            queue=self._queues[place],
            offset=self._starts.get(place, 0),
            bytes_max=1,
            staleness_ms=STALENESS_MS,
        )
        try:
            try:
                found, _ = await channel.call(
                    Method.READ, asked, client.BatchesRead, timeout_s=ANSWER_S
                )
            except OffsetOutOfRange as error:
                self._starts[place] = max(error.start, self._starts.get(place, 0))
                self._known.refused(place, floor, error.end)
            else:
                self.bounded += 1
                self._known.answered(place, floor, found.end_offset)
        except Violation as violation:
            self._world.saw(BOUNDED_NAME, f"{channel.node}: {violation}")

    def _now_ns(self) -> int:
        return int(self._world.now() * NS)

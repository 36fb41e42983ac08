"""A group that reads as streams do: handed out at least once, committed offsets stay, one owner.

What a member has of one claim comes in order, none left out.
Now and then a member falls asleep: it is heard of no more, its queues go to others, and then it
wakes and commits what it had. That must be refused, or two own a queue.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from chaos.check.client_history import Anomaly
from chaos.check.group_offsets import GroupOffsets
from chaos.check.handed_order import NAME as IN_ORDER
from chaos.check.handed_order import HandedOrder
from chaos.check.seen_records import Seen
from chaos.check.violation import Violation
from chaos.live.topics import ORDERS
from chaos.live.workloads.workload import DRAIN_S, Logs
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.handing_over import Sharing
from raftlog.client.ownership import Owned
from raftlog.client.receipts import Message

GROUP: Final = "billing"
NAME: Final = "group_offsets"
ASSIGNORS: Final = ("range", "sticky", "cooperative")
"""One for each run, by its seed."""
HAND_OVER_S: Final = 5.0
MEMBERS: Final = 3
SESSION_S: Final = 2.0
POLL_S: Final = 0.5
LIFE_S: Final = (4.0, 12.0)
ASLEEP_S: Final = 3 * SESSION_S
SLEEPERS: Final = 0.4
"""How many of the members that end fall asleep first."""
Wanted = tuple[Owned, int, int]
"""A queue of a member, the generation in which it has it, and what it is to commit."""


class StreamGroup:
    """Members of one group, and what each of them was told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._assignor = Random(f"assignor {world.seed}").choice(ASSIGNORS)
        self.name = f"groups, {self._assignor}"
        self._seen = Seen(f"group {GROUP}")
        self._offsets = GroupOffsets()
        self._claims: dict[int, int] = {}
        """By queue: the newest generation in which somebody was told that it is his."""
        self._drained = asyncio.Event()
        self.commits = 0
        self.refused = 0
        """Commits of sleepers that were refused, as they must be."""

    @property
    def done(self) -> int:
        """Commits that were acknowledged."""
        return self.commits

    async def run(self) -> None:
        """Begin; members go on after the run has stopped, to the end of the queues."""
        async with self._world.client() as client, asyncio.TaskGroup() as members:
            for _ in range(MEMBERS):
                members.create_task(self._member(client))

    async def drain(self) -> None:
        """Wait until everything is committed."""
        world = self._world
        try:
            async with asyncio.timeout(DRAIN_S), world.client() as client:
                while True:
                    ends = await client.topics.describe(ORDERS)
                    info = await client.groups.describe(GROUP)
                    committed = {
                        (each.topic, each.queue): each.committed or 0 for each in info.queues
                    }
                    if all(
                        committed.get((ORDERS, place), 0) >= queue.end_offset
                        for place, queue in enumerate(ends.queues)
                    ):
                        break
                    await asyncio.sleep(0.2)
        except (TimeoutError, RaftlogError) as error:
            world.saw(
                "unseen", f"group {GROUP} did not come to the end in {DRAIN_S:g} s", repr(error)
            )
        self._drained.set()

    def check(self, logs: Logs) -> list[Anomaly]:
        """Everything was handed out."""
        return self._seen.check(self._world.records[ORDERS], logs[ORDERS], all_of_it=True)

    async def _member(self, client: Client) -> None:
        world = self._world
        while not self._drained.is_set():
            consumer = client.consumer(
                GROUP,
                ORDERS,
                auto_commit=False,
                session=SESSION_S,
                start="earliest",
                sharing=Sharing(assignor=self._assignor, hand_over=HAND_OVER_S),
            )
            try:
                await self._work(consumer)
            except RaftlogError:
                await asyncio.sleep(POLL_S)  # nobody could be asked: the next one tries
            finally:
                await consumer.aclose()
            if world.stopping.is_set():
                await asyncio.sleep(0.1)

    async def _work(self, consumer: Consumer) -> None:
        world = self._world
        until = world.now() + world.random.uniform(*LIFE_S)
        known: dict[int, int] = {}
        """By queue: the generation in which it was handed over, as this member has seen it."""
        order = HandedOrder()
        async with consumer:
            while not self._drained.is_set():
                floors = self._floors()
                messages = await consumer.poll(200, timeout=POLL_S)
                self._heed(consumer, known, floors)
                self._take(consumer, order, messages)
                is_over = world.now() >= until and not world.stopping.is_set()
                if is_over and messages and world.random.random() < SLEEPERS:
                    await self._sleep(consumer, order)
                    return
                if _uncommitted(consumer):  # what a commit before has failed to do, too
                    await self._commit(consumer)
                if is_over:
                    return

    def _take(self, consumer: Consumer, order: HandedOrder, messages: Sequence[Message]) -> None:
        """Take in what was handed out just now: its queues are the consumer's still."""
        records = self._world.records[ORDERS]
        queues = {owned.place: owned for owned in consumer._ownership.queues.values()}
        for message in messages:
            value = bytes(message.value or b"")
            self._seen.take(records, message.queue, message.offset, value)
            owned = queues[message.queue]
            start = owned.first if owned.committed is None else owned.committed
            where = f"queue {owned.place}, generation {owned.generation}"
            try:
                order.take(owned, where, start, message.offset)
            except Violation as violation:
                self._world.saw(IN_ORDER, str(violation))

    async def _commit(self, consumer: Consumer) -> None:
        begun = dict(self._claims)
        wanted = _uncommitted(consumer)
        try:
            await consumer.commit()
        except RaftlogError:
            return  # fenced, or nobody could be asked: what was not committed comes again
        self._committed(begun, wanted)

    def _committed(self, begun: Mapping[int, int], wanted: Sequence[Wanted]) -> None:
        """Take in commits that began when ``begun`` were the newest claims."""
        for owned, generation, position in wanted:
            if owned.committed != position:
                continue  # its queue was lost while the commit waited: it was not asked for
            self.commits += 1
            if generation < begun.get(owned.place, 0):
                text = f"queue {owned.place}: a commit of generation {generation} was taken"
                claimed = f"claimed in generation {begun[owned.place]} before it began"
                self._world.saw(NAME, text, claimed)
            else:
                self._offsets.acked(GROUP, owned.place, position)

    async def _sleep(self, consumer: Consumer, order: HandedOrder) -> None:
        """Be heard of no more until the queues are others', then commit."""
        for task in consumer._tasks:
            task.cancel()
        await asyncio.gather(*consumer._tasks, return_exceptions=True)
        await self._world.rest(ASLEEP_S)
        # It reads on: what it commits is behind what the others have, so only the fence is left.
        while len(messages := await consumer.poll(200, timeout=POLL_S)) == 200:
            self._take(consumer, order, messages)
        self._take(consumer, order, messages)
        begun = dict(self._claims)
        mine = _uncommitted(consumer)
        lost = [each for each in mine if begun.get(each[0].place, 0) > each[1]]
        try:
            await consumer._ownership._commit({each[0]: each[2] for each in lost})
        except RaftlogError:
            self.refused += bool(lost)
        else:
            self._committed(begun, lost)

    def _floors(self) -> dict[int, int]:
        return {queue: self._offsets.floor(GROUP, queue) for queue in range(64)}

    def _heed(self, consumer: Consumer, known: dict[int, int], floors: Mapping[int, int]) -> None:
        """Take in what this member owns now, and where it was told to begin."""
        for owned in consumer._ownership.queues.values():
            if owned.is_lost or known.get(owned.place) == owned.generation:
                continue
            # What a newer claim has committed since says nothing about this one.
            newest = self._claims.get(owned.place, 0)
            is_new = owned.place not in known and owned.generation >= newest
            known[owned.place] = owned.generation
            self._claims[owned.place] = max(owned.generation, newest)
            if is_new:
                self._told(owned.place, floors[owned.place], owned.committed)

    def _told(self, queue: int, floor: int, committed: int | None) -> None:
        try:
            self._offsets.told(GROUP, queue, floor, committed)
        except Violation as violation:
            self._world.saw(NAME, str(violation))


def _uncommitted(consumer: Consumer) -> list[Wanted]:
    """Return what a commit asks for now."""
    return [
        (owned, owned.generation, owned.position)
        for owned in consumer._ownership.queues.values()
        if owned.position != owned.committed
    ]

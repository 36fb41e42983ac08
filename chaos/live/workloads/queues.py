"""A queue-style group: handlers that fail, reject, hang past their lease, and members that close.

Messages have keys, and are handled in their order for each key. Some of them no handler can do:
they become dead letters. Groups with other rules: ``queue_policies``.
"""

import asyncio
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Records
from chaos.check.kept_records import check_kept
from chaos.check.work_done import NAME, Handed, WorkDone
from chaos.live.topics import JOBS
from chaos.live.workloads.letters import Letters
from chaos.live.workloads.sending import send_keys
from chaos.live.workloads.workload import DRAIN_S, Logs
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, StaleLease
from raftlog.client.client import Client
from raftlog.client.queue_consumer import QueueConsumer
from raftlog.client.queue_group_infos import QueueGroupInfo
from raftlog.client.queue_message import QueueMessage, Reject
from raftlog.client.queue_options import OnPoison

AT_ONCE: Final = 8
LEASE_S: Final = 2.0
RETRY_S: Final = (0.1, 0.5)
FAILS: Final = 0.1
REJECTS: Final = 0.01
SLOW: Final = 50
"""One of so many takes longer than its lease: the first to have it does not keep it, the second
does, and is still at it when the first one says that it is done."""
HANG_S: Final = (LEASE_S * 1.2, LEASE_S * 2.0)
WORK_S: Final = (0.0, 0.05)
LIFE_S: Final = (4.0, 12.0)
POLL_S: Final = 0.5


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a group, and how much there is for it to do.

    Attributes:
        group: Its name.
        topic: What it reads; nobody else sends there.
        keys: So many keys are sent with.
        pause_s: Between two messages of a key.
        members: So many consumers at a time.
        wait_s: How long one waits for messages.
        attempts: How often a message is leased.
        poison: One of so many messages is one that no handler can do.
        fifo: Whether the messages of a key come one after the other.
        on_poison: What becomes of what can't be done.
    """

    group: str
    topic: str
    keys: int = 8
    pause_s: tuple[float, float] = (0.1, 0.5)
    members: int = 3
    wait_s: float = POLL_S
    attempts: int = 4
    poison: int = 40
    fifo: bool = True
    on_poison: OnPoison = "dead-letter"


class _Failed(Exception):
    """What a handler raises."""


class QueueGroup:
    """Producers with keys, and members of a group that leases."""

    name = "queues"
    rules = Rules(group="workers", topic=JOBS)

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[self.rules.topic] = Records(self.rules.topic)
        self._work = WorkDone(self._records, self.rules.attempts, fifo=self.rules.fifo)
        self._sent = asyncio.Event()
        self._drained = asyncio.Event()
        self.acks = 0
        self.failures = 0
        """Handlers that raised."""
        self.stale = 0
        """Acknowledgements that were refused: the lease had ended."""
        self._letters = Letters(world, self.rules.group, self._letter)
        self.letters = 0

    @property
    def done(self) -> int:
        """Acknowledgements that were confirmed."""
        return self.acks

    async def run(self) -> None:
        """Begin; members go on after the run has stopped, until nothing is left."""
        world, rules = self._world, self.rules
        async with world.client() as client, asyncio.TaskGroup() as members:
            for _ in range(rules.members):
                members.create_task(self._member(client))
            members.create_task(self._work_beside(client))
            members.create_task(self._letters.run(client, self._drained))
            await send_keys(world, client, self._records, rules.keys, rules.pause_s)
            self._sent.set()

    async def drain(self) -> None:
        """Wait until the group has nothing to do, and look at what it has come to."""
        group = self.rules.group
        try:
            async with asyncio.timeout(DRAIN_S), self._world.client() as client:
                await self._sent.wait()
                while True:
                    info = await client.queue_groups.describe(group)
                    if not info.in_flight and not info.unread:
                        break
                    await asyncio.sleep(POLL_S)
                await self._look_back(client, info)
        except (TimeoutError, RaftlogError) as error:
            text = f"group {group} did not come to the end in {DRAIN_S:g} s"
            self._world.saw(NAME, text, repr(error))
        self._drained.set()

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every record is kept, and every message is finished once."""
        log = logs[self.rules.topic]
        return check_kept(self._records, log) + self._work.check(log)

    def _letter(self, value: bytes, attempts: int) -> None:
        self._work.letter(value, attempts)
        self.letters += 1

    def heed(self, handed: Handed) -> None:
        """Say at once what can be known at once; the rest is for the end."""
        story = self._work.leased_after_end(handed.number)
        if story:
            self._world.saw(NAME, "a message that was finished was with somebody else", story)

    # -- what a group with other rules does otherwise

    def is_poison(self, number: int) -> bool:
        """Whether no handler can do a message."""
        return number % self.rules.poison == 0

    def took(self, message: QueueMessage, handed: Handed) -> None:
        """Take in that a member has a message."""

    async def _work_beside(self, client: Client) -> None:
        """Do what is to be done beside the members, until nothing is left."""

    async def _look_back(self, client: Client, info: QueueGroupInfo) -> None:
        """Nothing is left to do: every dead letter is there."""
        await self._letters.whole(client, info.dead_letter_topic)

    # -- members

    async def _member(self, client: Client) -> None:
        """One consumer after another; some are closed while their handlers work."""
        world, rules = self._world, self.rules
        while not self._drained.is_set():
            consumer = client.queue_consumer(
                *(rules.group, rules.topic),
                lease=LEASE_S,
                attempts=rules.attempts,
                retry=RETRY_S,
                fifo=rules.fifo,
                on_poison=rules.on_poison,
            )
            member = _Member(self, consumer)
            until = world.now() + world.random.uniform(*LIFE_S)
            try:
                while not self._drained.is_set() and (
                    world.now() < until or world.stopping.is_set()
                ):
                    await member.turn()
            except RaftlogError:
                await asyncio.sleep(POLL_S)  # nobody could be asked: the next one tries
            finally:
                await member.close()


class _Member:
    """One consumer with its handlers."""

    def __init__(self, group: QueueGroup, consumer: QueueConsumer) -> None:
        self._group = group
        self._world = group._world
        self._consumer = consumer
        self._handlers: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def turn(self) -> None:
        """Receive some messages, as many as there are idle handlers, and begin with them."""
        asked = self._world.now()
        found = await self._consumer.receive(AT_ONCE, wait=self._group.rules.wait_s)
        for message in found:
            value = bytes(message.value or b"")
            handed = self._group._work.handed(value, message.attempts, asked, self._world.now())
            self._group.took(message, handed)
            self._group.heed(handed)
            task = asyncio.create_task(self._handle(message, handed))
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)
        while len(self._handlers) > AT_ONCE:
            await asyncio.wait(self._handlers, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Close, with handlers at work or after them."""
        if self._world.random.random() < 0.5 and self._handlers:
            await asyncio.wait(self._handlers)
        self._is_closing = True
        await self._consumer.aclose()
        for task in self._handlers:
            task.cancel()
        for each in await asyncio.gather(*self._handlers, return_exceptions=True):
            if isinstance(each, Exception):
                raise each

    async def _handle(self, message: QueueMessage, handed: Handed) -> None:
        group, world = self._group, self._world
        is_slow = handed.number % SLOW == 1 and not world.stopping.is_set()
        keeps = message.attempts % 2 == 0
        if is_slow and not keeps:
            await world.rest(world.random.uniform(*HANG_S))
            if message.is_settled:
                return  # given back as its consumer was closed
        try:
            async with message.process():
                work_s = HANG_S if is_slow and keeps else WORK_S
                await world.rest(world.random.uniform(*work_s))
                self._try(handed)
                handed.said = world.now()
                handed.open = True  # until there is an answer
        except _Failed:
            group.failures += 1
            self._is_returned(message, handed)
        except StaleLease:
            handed.open = False
            group.stale += 1
        except RaftlogError:
            pass  # nobody knows
        else:
            if handed.open and not self._is_closing:
                group._work.finished(handed, world.now())
                group.acks += 1
                group.heed(handed)
            elif handed.rejected:
                self._is_returned(message, handed)

    def _is_returned(self, message: QueueMessage, handed: Handed) -> None:
        """The attempt has failed, and the cluster knows it, or has not answered."""
        if message.is_settled and not self._is_closing:
            handed.returned = self._world.now()
            self._group.heed(handed)

    def _try(self, handed: Handed) -> None:
        random = self._world.random
        if self._group.is_poison(handed.number) or random.random() < FAILS:
            raise _Failed("no handler can do it")
        if random.random() < REJECTS:
            handed.rejected = True
            raise Reject("not now, and not later")

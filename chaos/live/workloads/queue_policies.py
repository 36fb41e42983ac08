"""Queue-style groups with other rules: without order by key, one that skips, one that blocks.

All of them at low rates: what they are about is what becomes of a message, not how many there are.
"""

import asyncio
from functools import partial
from typing import Final

from chaos.check.blocked_work import LETTER, RETRY, SKIP, BlockedWork, Decision
from chaos.check.client_history import Anomaly
from chaos.check.faults_happened import NAME as HAPPENED
from chaos.check.skipped_work import SkippedWork
from chaos.check.work_done import NAME, Handed
from chaos.live.topics import CHORES, ERRANDS, REPAIRS
from chaos.live.workloads.queues import QueueGroup, Rules
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, StaleLease
from raftlog.client.client import Client
from raftlog.client.queue_group_infos import InFlight, QueueGroupInfo
from raftlog.client.queue_groups import Verdict
from raftlog.client.queue_message import QueueMessage

KEYS: Final = 3
PAUSE_S: Final = (1.0, 3.0)
MEMBERS: Final = 2
WAIT_S: Final = 2.0
POISON: Final = 6
LOOK_S: Final = 1.0
"""Between two looks at what is blocked."""
DECIDES: Final = 0.4
"""How often somebody decides when he sees that a message is blocked: others come behind it."""
ENOUGH: Final = 40
"""Who has acknowledged so many must have come to what its group is about."""
seldom: Final = partial(
    Rules, keys=KEYS, pause_s=PAUSE_S, members=MEMBERS, wait_s=WAIT_S, poison=POISON
)
"""Rules of a group that has little to do."""
VERDICTS: Final[tuple[Verdict, ...]] = (RETRY, SKIP, LETTER)


class UnorderedGroup(QueueGroup):
    """A group that promises no order: each message is finished once."""

    name = "unordered"
    rules = seldom(
        group="runners",
        topic=ERRANDS,
        fifo=False,
    )


class SkippingGroup(QueueGroup):
    """A group that skips what can't be done."""

    name = "skips"
    rules = seldom(
        group="servants",
        topic=CHORES,
        attempts=2,
        on_poison="skip",
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._work = self._skipping = SkippedWork(self._records, self.rules.attempts)
        self.skipped = 0

    async def _look_back(self, client: Client, info: QueueGroupInfo) -> None:
        """Nothing is left to do: there are no letters, and so many are skipped."""
        await super()._look_back(client, info)
        self.skipped = self._skipping.skipped = info.skipped

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every message is finished once, and some were skipped."""
        found = super().check(logs)
        if self.acks >= ENOUGH and not self.skipped:
            found.append(Anomaly(HAPPENED, f"{self.acks} messages acknowledged, none skipped"))
        return found


class BlockingGroup(QueueGroup):
    """A group that blocks what can't be done, and somebody who decides about it."""

    name = "blocks"
    rules = seldom(
        group="fitters",
        topic=REPAIRS,
        attempts=2,
        on_poison="block",
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._work = self._blocking = BlockedWork(self._records, self.rules.attempts)
        self._numbers: dict[tuple[int, int], int] = {}
        """By queue and offset: which record it is, of all that a member had."""
        self._nameless: dict[tuple[int, int], list[Decision]] = {}
        """By queue and offset: what was decided about what no member had by then."""
        self._repaired: set[int] = set()
        """What handlers can do from now on."""
        self.blocked = 0
        """Messages of which somebody saw that they are blocked."""
        self.decided = 0
        """Decisions that were confirmed."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every message is finished once, and somebody has decided about some."""
        found = super().check(logs)
        if self.acks >= ENOUGH and not self.decided:
            found.append(Anomaly(HAPPENED, f"{self.acks} messages acknowledged, no decision"))
        return found

    def is_poison(self, number: int) -> bool:
        """Whether no handler can do a message, before somebody has seen to that."""
        return super().is_poison(number) and number not in self._repaired

    def took(self, message: QueueMessage, handed: Handed) -> None:
        """Remember where it is: by that it will be blocked."""
        place = message.queue, message.offset
        if handed.number >= 0:
            self._numbers[place] = handed.number
            for decision in self._nameless.pop(place, ()):
                self._blocking.decides(handed.number, decision)

    async def _work_beside(self, client: Client) -> None:
        """Look at what is blocked, and decide now and then."""
        world, group = self._world, self.rules.group
        while not self._drained.is_set():
            asked = world.now()
            try:
                blocked = await client.queue_groups.in_flight(group, blocked=True)
                for each in blocked:
                    await self._heed_blocked(client, each, asked)
            except RaftlogError:
                pass  # nobody could be asked, or there is no such group yet
            await asyncio.sleep(LOOK_S)

    async def _heed_blocked(self, client: Client, found: InFlight, asked: float) -> None:
        world = self._world
        number = self._numbers.get((found.queue, found.offset))
        if number is not None:
            self.blocked += not self._blocking.is_blocked(number)
            story = self._blocking.blocked(number, asked, world.now())
            if story:
                text = "a message was leased while the one before it of its key was blocked"
                world.saw(NAME, text, story)
        if world.stopping.is_set() or world.random.random() < DECIDES:
            await self._decide(client, found, number)

    async def _decide(self, client: Client, found: InFlight, number: int | None) -> None:
        """Decide; what no member ever had is tried again, and is known then."""
        world, place = self._world, (found.queue, found.offset)
        verdict = RETRY if number is None else world.random.choice(VERDICTS)
        decision = Decision(verdict, world.now())
        if number is None:
            self._nameless.setdefault(place, []).append(decision)
        else:
            self._blocking.decides(number, decision)
            if verdict == RETRY:
                self._repaired.add(number)
        try:
            await client.queue_groups.decide(self.rules.group, found.topic, *place, verdict)
        except StaleLease:
            story = "" if number is None else self._blocking.refused(number, decision)
            if story:
                world.saw(NAME, "a decision about a blocked message was refused", story)
        else:
            decision.ended = world.now()
            self.decided += 1

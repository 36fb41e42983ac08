"""A consumer's part in an atomic transaction: what it finishes, and the way back if that fails.

The offsets of the queues are committed in the generation in which they were claimed, under
the locks of their owner: a rebalance waits, or comes first, and then the transaction is
refused (``Fenced``). After a transaction that failed its queues are read again from what is
committed. That is asked of the cluster, and not before the outcome of every transaction of theirs
is known: else a message could be in a late copy of one and in the next transaction, too.

That is for comfort, since who looks after it here is one consumer of one process. What makes
certain that a message counts once is that each commit says what was committed when the messages
were read, and is refused if more is now (``broker.claims``).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    OffsetGoesBack,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    UnknownMember,
)
from raftlog.client.asking import RETRY_PAUSE_S, Asker
from raftlog.client.atomic_dispatch import Attempt
from raftlog.client.consumer import Consumer
from raftlog.client.ownership import Owned, lost_queue
from raftlog.client.receipts import Message
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups

NOTHING: Final = -1
"""Instead of a committed offset: there is none yet."""


class Finished:
    """How far one consumer has come, as one transaction says."""

    def __init__(self, consumer: Consumer) -> None:
        if consumer._subscription.auto_commit:
            raise BadRequest(
                "the consumer commits by itself, also what a transaction has not; make it with "
                "auto_commit=False"
            )
        self.consumer: Final = consumer
        self._ownership: Final = consumer._ownership
        self._offsets: Final[dict[Owned, int]] = {}
        self._places: Final[set[tuple[str, int]]] = set()
        self._refusal: Exception | None = None
        """Why something can't be finished that was to be: then nothing is."""

    @property
    def asker(self) -> Asker:
        """Who is asked for the group."""
        return self._ownership._asker

    @property
    def places(self) -> list[tuple[str, int]]:
        """Topics and places of all queues that are to be finished, or were and can't be."""
        return sorted(self._places)

    @property
    def offsets(self) -> dict[tuple[str, int], int]:
        """Up to where it finishes queues, by their topics and places."""
        return {(owned.topic, owned.place): offset for owned, offset in self._offsets.items()}

    def add(self, upto: Message | Iterable[Message] | None) -> None:
        """Finish messages and what came before them in their queues; None: all handed out.

        Raises:
            Fenced: A queue is somebody else's now, or was for a while. The others are noted all
                the same: the transaction is refused, and they have to go back.
        """
        with self._refusing():
            self.consumer._check()
            if upto is None:
                self._add_all()
                return
            for message in (upto,) if isinstance(upto, Message) else upto:
                owned = self._owner_of(message)
                if owned is not None:
                    self._finish(owned, message.offset + 1)

    def add_unfinished(self, handed: Iterable[Message]) -> None:
        """Finish what was handed out, but for what is committed; raises as ``add``."""
        with self._refusing():
            self.consumer._check()
            self._refuse_dropped()
            for message in handed:
                owned = self._owner_of(message)
                if owned is not None and message.offset >= (owned.committed or 0):
                    self._finish(owned, message.offset + 1)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise at the end what was refused meanwhile, or before: none of it will be committed."""
        try:
            yield
        except Exception as error:  # its iterable's own, say: what else it names nobody knows
            self._refusal = self._refusal or error
            queues = self._ownership.queues.values()
            self._places.update((owned.topic, owned.place) for owned in queues)
            raise
        self._check_refusal()

    def _check_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _refuse(self, topic: str, place: int) -> None:
        """A queue is not this member's any more; it goes back if it is again."""
        self._places.add((topic, place))
        self._refusal = self._refusal or lost_queue(topic, place)

    def _finish(self, owned: Owned, offset: int) -> None:
        self._places.add((owned.topic, owned.place))
        self._offsets[owned] = max(self._offsets.get(owned, 0), offset)

    def _add_all(self) -> None:
        ownership, handed = self._ownership, self.consumer._handed
        for owned in ownership.queues.values():
            offset = owned.position if owned in handed else owned.done
            if owned.handed and offset != owned.committed:
                self._finish(owned, offset)
        for owned in handed:  # and nobody has asked for more since
            is_lost = ownership.queues.get(owned.number) is not owned
            if is_lost and owned.handed > (owned.committed or 0):
                self._refuse(owned.topic, owned.place)
        self._refuse_dropped()

    def _refuse_dropped(self) -> None:
        for dropped in self._ownership.take_dropped():
            self._refuse(dropped.topic, dropped.place)

    def _owner_of(self, message: Message) -> Owned | None:
        """Return the queue of a message; None: that is refused."""
        place = (message.topic, message.queue)
        if not self._ownership.take_dropped_of(*place):  # else nobody knows which life it is of
            for owned in self._ownership.queues.values():
                if (owned.topic, owned.place) == place:
                    if message.offset < owned.handed:
                        return owned
                    break  # it was handed out before the queue was lost, sought or read again
        self._refuse(*place)
        return None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """No new generation is entered meanwhile, and nothing else is committed."""
        async with self._ownership._changing, self._ownership._committing:
            yield

    def requests(self, *, once: bool) -> list[groups.CommitOffsets]:
        """Return the commits.

        Args:
            once: What is made of the messages is stored with them: they hold only if nothing was
                committed since they were read. Without it they may be asked again.

        Raises:
            Fenced: A queue is somebody else's now, or ``add`` has said so.
            OffsetGoesBack: They are committed already, so another transaction has counted them.
        """
        self._check_refusal()
        subscription = self.consumer._subscription
        by_generation: dict[int, list[groups.QueueOffset]] = {}
        for owned, offset in self._offsets.items():
            if owned.is_lost:
                raise lost_queue(owned.topic, owned.place)
            if owned.committed is not None and offset <= owned.committed:
                raise OffsetGoesBack(
                    f"queue {owned.place} of topic {owned.topic!r} is committed up to "
                    f"{owned.committed}: what lies before that is finished"
                )
            row = groups.QueueOffset(queue=owned.number, offset=offset)
            if once:
                row.read_from = NOTHING if owned.committed is None else owned.committed
            by_generation.setdefault(owned.generation, []).append(row)
        return [
            groups.CommitOffsets(
                group=subscription.group,
                member=subscription.member,
                generation=generation,
                offsets=offsets,
                life=self._ownership.life,
            )
            for generation, offsets in by_generation.items()
        ]

    def begins(self, attempt: Attempt) -> None:
        """The transaction is tried: until its fate is known nobody knows what is committed."""
        for owned in self._offsets:
            self._ownership.unsure(owned.number, attempt.fate)

    def committed(self) -> None:
        """The transaction was committed."""
        for owned, offset in self._offsets.items():
            owned.committed = offset
            owned.done = max(owned.done, offset)
        self.consumer._handing_over.progress()

    # -- the way back

    def go_back(self) -> list[Owned]:
        """Hand out nothing more of the queues; return what waits to be read again.

        What was handed out of them is no part of any commit from now on. That goes for what
        was refused, too, if its queue was lost and is this member's again: whoever held that
        message has not worked on what was handed out since.
        """
        ownership = self._ownership
        waiting: list[Owned] = []
        for owned in list(ownership.queues.values()):
            if (owned.topic, owned.place) not in self._places or not owned.handed:
                continue
            owned.is_lost = True
            if owned.fetch is not None:
                owned.fetch.stop()
            again = Owned(owned.topic, owned.place, owned.number, owned.generation)
            again.first, again.revoked, again.committed = (
                *(owned.first, owned.revoked, owned.committed),
            )
            start = owned.first if owned.committed is None else owned.committed
            again.position = again.done = start
            again.waits = True
            ownership.queues[owned.number] = again
            waiting.append(again)
        self.consumer._handing_over.progress()
        return waiting

    async def read_again(self, waiting: Iterable[Owned]) -> None:
        """Read queues from what is committed, once that is known."""
        for owned in waiting:
            await self._read_again(owned)

    async def _read_again(self, owned: Owned) -> None:
        ownership = self._ownership
        while True:
            async with ownership._changing:
                is_over = owned.is_lost or ownership.queues.get(owned.number) is not owned
                if is_over or self.consumer._is_closed:
                    return  # a new generation has begun it anew, or another member has it
                fates = ownership.fates(owned.number)
                if not fates and await self._begin_again(owned):
                    return
            if fates:
                await asyncio.wait(fates)
            else:
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _begin_again(self, owned: Owned) -> bool:
        """Ask what is committed, and read from there; return whether there is an answer."""
        ownership, subscription = self._ownership, self.consumer._subscription
        request = groups.ClaimQueue(
            group=subscription.group,
            member=subscription.member,
            generation=owned.generation,
            queue=owned.number,
            life=ownership.life,
        )
        try:
            answer, _ = await self.asker.ask(
                Method.GROUP_CLAIM, request, groups.QueueClaimed, repeats=True
            )
        except (Retriable, OutcomeUnknown) as error:
            self.consumer._on_trouble(error)
            return False
        except RaftlogError as error:
            self.consumer._on_trouble(error)
            self._give_up(owned, error)
            return True
        if answer.committed >= 0:
            owned.committed = answer.committed
            owned.position = owned.done = answer.committed
        owned.waits = False
        ownership.begin([owned])
        return True

    def _give_up(self, owned: Owned, error: RaftlogError) -> None:
        """It is not this member's any more: the next generation says what is."""
        owned.is_lost = True
        self._ownership.queues.pop(owned.number, None)
        self.consumer._handing_over.lost([owned])
        if isinstance(error, Fenced | UnknownMember):
            self.consumer._membership.nudge()

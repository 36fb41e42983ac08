"""The queues that a member of a group owns: claimed, read ahead, committed (ruling 12).

Owning begins with a claim, in the generation since which the queue is this member's. Where
that one is new the queue is claimed again; what the member had read of it goes on where it was
only if nobody else had the queue meanwhile. That is proved by a commit in the *old* generation:
it succeeds only as long as nobody claimed the queue since, and no seek took it away.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from raftlog.base.errors import (
    Fenced,
    OffsetGoesBack,
    OffsetOutOfRange,
    RaftlogError,
    TopicNotFound,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.limits import OFFSETS_PER_COMMAND_MAX
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.fetching import Fetch, Inbox, Told
from raftlog.client.subscription import Subscription
from raftlog.wire.filters import EVERYTHING, RecordFilter
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups

NOT_OWNED: Final = (Fenced, UnknownMember, WrongQueue, OffsetGoesBack, OffsetOutOfRange)
"""What a commit for a queue that is somebody else's now, or nobody's, is answered with."""


class Owned:
    """One queue of this member.

    Attributes:
        generation: In which it was claimed.
        position: Offset of the next record to hand out.
        done: Everything below it was handed out and is finished.
        handed: Offset after the last message that was handed out; 0: none was.
        told: Up to there its user knows that it was lost.
        committed: What the group has committed, as far as known; None: nothing ever.
        is_lost: It is somebody else's; what was read of it is not handed out any more.
        revoked: In which generation somebody else became its heir; 0: nobody is.
        first: Where it began, if the group never committed anything.
        waits: It is not read before it is known what was committed (``client.rewinding``).
    """

    __slots__ = (
        *("committed", "done", "fetch", "first", "generation", "handed", "is_lost", "number"),
        *("place", "position", "revoked", "told", "topic", "waits"),
    )

    def __init__(self, topic: str, place: int, number: int, generation: int) -> None:
        self.topic = topic
        self.place = place
        self.number = number
        self.generation = generation
        self.position = 0
        self.done = 0
        self.handed = 0
        self.told = 0
        self.committed: int | None = None
        self.is_lost = False
        self.revoked = 0
        self.first = 0
        self.waits = False
        self.fetch: Fetch | None = None

    @property
    def lag(self) -> int:
        """Records between the position and the end, as far as known."""
        end = 0 if self.fetch is None else self.fetch.end_offset
        return max(0, end - self.position)


class Ownership:
    """All queues of one member. Bound to its loop.

    Args:
        asker: Asks the leader, and for records whoever it was told to.
        catalog: Knows which queues are gone.
        inbox: Where what is read ahead goes.
        subscription: The group, this member, and how it reads.
        on_skip: Told queue, from, to.
    """

    def __init__(
        self,
        asker: Asker,
        catalog: Catalog,
        inbox: Inbox,
        subscription: Subscription,
        *,
        on_skip: Callable[[Owned, int, int], None],
    ) -> None:
        self.queues: dict[int, Owned] = {}
        """By number."""
        self.life = 0
        """Of a static member."""
        self._fresh: list[Owned] = []
        """Claimed, and not given away by ``change`` yet: nothing is read of them."""
        self._dropped: dict[int, Owned] = {}
        """By number, what was lost with messages that were handed out and not committed."""
        self._asker = asker
        self._catalog = catalog
        self._inbox = inbox
        self._subscription = subscription
        self._on_skip = on_skip
        self._committing = asyncio.Lock()
        self._changing = asyncio.Lock()
        """Held from the last commit in an old generation to the last claim in the new one."""
        self._wanted = subscription.wanted
        self._fates: Final[dict[int, set[asyncio.Future[Any]]]] = {}
        """By queue, of transactions that commit offsets of it and whose outcome is not known."""

    def unsure(self, number: int, fate: "asyncio.Future[Any]") -> None:
        """What is committed of a queue is not known before ``fate`` is."""

        def known(_: object) -> None:
            fates.discard(fate)
            if not fates and self._fates.get(number) is fates:
                del self._fates[number]

        fates = self._fates.setdefault(number, set())
        fates.add(fate)
        fate.add_done_callback(known)

    def fates(self, number: int) -> "set[asyncio.Future[Any]]":
        """Return what is waited for before it is known what is committed of a queue."""
        return set(self._fates.get(number, ()))

    def owner_of(self, fetch: Fetch) -> Owned | None:
        """Return the queue that ``fetch`` reads for, unless it was lost meanwhile."""
        owned = self.queues.get(fetch.number)
        return owned if owned is not None and owned.fetch is fetch else None

    # -- a new generation

    async def change(
        self,
        assigned: Sequence[groups.AssignedQueue],
        wanted: RecordFilter = EVERYTHING,
    ) -> list[Owned]:
        """Own exactly what is assigned, as far as it can be claimed.

        With another filter than before every queue is read anew from what is committed.

        Returns:
            What is to be read from now on: ``begin`` does.

        Raises:
            UnknownMember: The group has expired this member.
            Fenced: There is a newer generation already.
            RaftlogError: Claims could not be made in time; call it again.
        """
        async with self._changing:
            return await self._change(assigned, wanted)

    async def _change(
        self, assigned: Sequence[groups.AssignedQueue], wanted: RecordFilter
    ) -> list[Owned]:
        since = {queue.queue: queue.since for queue in assigned}
        revoked = {queue.queue for queue in assigned if queue.revoked}
        kept = await self._prove(
            owned
            for owned in self.queues.values()
            if wanted != self._wanted or owned.generation != since.get(owned.number)
        )
        if wanted != self._wanted:
            self._wanted = wanted
            self.lose_all()
        gone = [owned for owned in self.queues.values() if _is_gone(owned, since, revoked)]
        self.let_go(gone)
        news = [queue for queue in assigned if self._is_to_be_claimed(queue)]
        results = await asyncio.gather(
            *(self._claim(queue, kept) for queue in news), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise failures[0]
        gained, self._fresh = self._fresh, []
        return [owned for owned in gained if not owned.is_lost]

    def _is_to_be_claimed(self, queue: groups.AssignedQueue) -> bool:
        owned = self.queues.get(queue.queue)
        if queue.revoked:  # it is to be released: what is not owned is not begun
            return False
        return owned is None or owned.generation != queue.since

    def begin(self, queues: Iterable[Owned]) -> None:
        """Read queues ahead, from where they are; nothing if the consumer was closed meanwhile."""
        if self._inbox.is_closed:
            return
        for owned in queues:
            held = owned.is_lost or owned.revoked or owned.waits
            if not held and owned.fetch is None:
                owned.fetch = Fetch(
                    self._asker.fetches,
                    self._inbox,
                    (owned.topic, owned.place, owned.number),
                    owned.position,
                    skips=self._subscription.on_lost == "skip",
                    told=Told(self._is_gone, self._skipped, self._passed),
                    wanted=self._wanted,
                )

    def pause(self, owned: Owned, revoked: int) -> None:
        """Hand out no more of a queue that has an heir."""
        owned.revoked = revoked
        if owned.fetch is not None:
            owned.fetch.stop()
            owned.fetch = None

    def let_go(self, queues: Iterable[Owned]) -> None:
        """Queues were released: they are their heirs'."""
        for owned in queues:
            if self.queues.get(owned.number) is owned:
                self._lose(self.queues.pop(owned.number))

    async def _prove(self, queues: Iterable[Owned]) -> set[int]:
        """Commit in the old generation; return the queues that nobody else had meanwhile."""
        offsets: dict[Owned, int] = {}
        for owned in queues:
            offset = owned.done if self._subscription.auto_commit else owned.committed
            if offset is not None:
                offsets[owned] = offset
        refused = await self._commit_each(offsets)
        return {owned.number for owned in offsets if owned not in refused}

    async def _claim(self, queue: groups.AssignedQueue, kept: Iterable[int]) -> None:
        try:
            answer, _ = await self._asker.ask(
                Method.GROUP_CLAIM,
                groups.ClaimQueue(
                    group=self._subscription.group,
                    member=self._subscription.member,
                    generation=queue.since,
                    queue=queue.queue,
                    life=self.life,
                ),
                groups.QueueClaimed,
            )
        except WrongQueue:
            return  # its topic was deleted: a new generation follows
        committed = None if answer.committed < 0 else answer.committed
        owned = self.queues.get(queue.queue)
        if (
            owned is not None
            and committed == owned.committed
            and (queue.queue in kept or committed is None)
        ):
            owned.generation = queue.since
            return
        if owned is not None:
            self._lose(owned)
        owned = Owned(queue.topic, queue.place, queue.queue, queue.since)
        first = (
            answer.start_offset if self._subscription.start == "earliest" else answer.end_offset
        )
        owned.first = first
        owned.position = owned.done = first if committed is None else committed
        owned.committed = committed
        self.queues[queue.queue] = owned
        self._fresh.append(owned)

    def _lose(self, owned: Owned) -> None:
        owned.is_lost = True
        if owned.handed > max(owned.committed or 0, owned.told):
            self._dropped[owned.number] = owned
        if owned.fetch is not None:
            owned.fetch.stop()

    def lose_all(self) -> None:
        """Read and hand out nothing more."""
        for owned in self.queues.values():
            self._lose(owned)
        self.queues.clear()

    # -- commits

    def finished(self) -> dict[Owned, int]:
        """Return what is finished and not committed."""
        return {
            owned: owned.done for owned in self.queues.values() if owned.done != owned.committed
        }

    def take_dropped(self) -> list[Owned]:
        """Return what was lost with messages that were not committed, once."""
        dropped, self._dropped = self._dropped, {}
        return list(dropped.values())

    def take_dropped_of(self, topic: str, place: int) -> list[Owned]:
        """Return the same of one queue, once."""
        found = [
            owned
            for owned in self._dropped.values()
            if (owned.topic, owned.place) == (topic, place)
        ]
        for owned in found:
            del self._dropped[owned.number]
        return found

    async def commit_each(self, offsets: Mapping[Owned, int]) -> dict[Owned, RaftlogError]:
        """Commit offsets, and where one is refused still the others.

        Waits while a new generation is entered: of a queue that stays, a commit in the old one
        would be fenced by this member's own claim.

        Returns:
            What was refused, and why: a queue is somebody else's now, perhaps only since this
            waits.

        Raises:
            RaftlogError: Not all of it is certain to be committed; ask again.
        """
        async with self._changing:
            return await self._commit_each(offsets)

    async def _commit_each(self, offsets: Mapping[Owned, int]) -> dict[Owned, RaftlogError]:
        try:
            await self._commit(offsets)
        except NOT_OWNED as error:
            if len(offsets) == 1:
                return dict.fromkeys(offsets, error)
        else:
            return {}
        refused: dict[Owned, RaftlogError] = {}
        for owned, offset in offsets.items():  # all or none: which of them is it?
            try:
                await self._commit({owned: offset})
            except NOT_OWNED as error:
                refused[owned] = error
        return refused

    async def _commit(self, offsets: Mapping[Owned, int]) -> None:
        """Commit offsets of owned queues, in the generations in which they were claimed.

        Raises:
            Fenced, UnknownMember: A queue is somebody else's now, perhaps only since this waits.
            RaftlogError: Nothing of it is certain to be committed; ask again.
        """
        async with self._committing:  # so that none overtakes a later one
            by_generation: dict[int, list[tuple[Owned, int]]] = {}
            for owned, offset in offsets.items():
                if owned.is_lost:
                    raise lost_queue(owned.topic, owned.place)
                by_generation.setdefault(owned.generation, []).append((owned, offset))
            for generation, rows in by_generation.items():
                for at in range(0, len(rows), OFFSETS_PER_COMMAND_MAX):
                    part = rows[at : at + OFFSETS_PER_COMMAND_MAX]
                    await self._ask_commit(generation, part)
                    for owned, offset in part:
                        owned.committed = offset
                        owned.done = max(owned.done, offset)

    async def _ask_commit(self, generation: int, rows: Sequence[tuple[Owned, int]]) -> None:
        await self._asker.ask(
            Method.GROUP_COMMIT,
            groups.CommitOffsets(
                group=self._subscription.group,
                member=self._subscription.member,
                generation=generation,
                offsets=[
                    groups.QueueOffset(queue=owned.number, offset=offset) for owned, offset in rows
                ],
                life=self.life,
            ),
            groups.OffsetsCommitted,
        )

    # -- what fetches report

    def _skipped(self, fetch: Fetch, offset: int, to: int) -> None:
        owned = self.owner_of(fetch)
        if owned is not None:
            if owned.done == owned.position:  # else what was handed out is not finished
                owned.done = to
            owned.position = to
            self._on_skip(owned, offset, to)

    def _passed(self, fetch: Fetch, to: int) -> None:
        """What lies before ``to`` is nothing for this group: it counts as read."""
        owned = self.owner_of(fetch)
        if owned is not None:
            if owned.done == owned.position:  # else what was handed out is not finished
                owned.done = to
            owned.position = to

    async def _is_gone(self, fetch: Fetch) -> RaftlogError | None:
        """A node does not know the queue. If it is gone, a new generation follows."""
        try:
            queues = await self._catalog.refresh(fetch.topic)
        except TopicNotFound as error:
            return error
        except RaftlogError:
            return None
        return None if fetch.number in queues else WrongQueue(f"{fetch.topic!r} has other queues")


def _is_gone(owned: Owned, since: Mapping[int, int], revoked: set[int]) -> bool:
    """Whether a queue is not this member's any more, or its claim is over for good."""
    if owned.number in revoked:
        return owned.generation != since[owned.number]
    return owned.number not in since


def lost_queue(topic: str, place: int) -> Fenced:
    """Return what a commit for a queue is answered with that is not owned any more."""
    return Fenced(
        f"queue {place} of topic {topic!r} is not this consumer's any more: what it did not "
        "commit is handed out again, to the new owner"
    )

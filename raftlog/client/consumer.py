"""The consumer: a member of a group, stream style. Each record is handed out at least once.

::

    async with client.consumer("billing", ["orders"]) as consumer:
        async for message in consumer:
            await bill(message)          # finished when the next one is asked for

A background task keeps the membership while a handler works, however long that
takes; another commits what is finished from time to time.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from raftlog.base.errors import Closed, Fenced, RaftlogError, UnknownMember, WrongLoop
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.consumer_status import (
    ConsumerStatus,
    OwnedQueue,
    Rebalanced,
    Released,
    Skipped,
)
from raftlog.client.durations import Duration, seconds
from raftlog.client.fetching import Inbox
from raftlog.client.handing_over import HandingOver, Places, Sharing, places_of
from raftlog.client.membership import Membership
from raftlog.client.ownership import Owned, Ownership, lost_queue
from raftlog.client.receipts import Message, StoredBatch
from raftlog.client.subscription import Subscription, wanted_of
from raftlog.wire.schema import groups

__all__ = [
    "Consumer",
    "ConsumerStatus",
    "Event",
    "OwnedQueue",
    "Rebalanced",
    "Released",
    "Sharing",
    "Skipped",
]

Event = Rebalanced | Released | Skipped

EVENTS_MAX: Final = 256
"""Events that nobody has taken yet; beyond it the oldest are forgotten."""
CLOSE_S: Final = 5.0
"""For the last commit, and for leaving."""


class Consumer:
    """A member of a group. Made by ``Client.consumer``; bound to its loop; for one task at a time.

    Entering ``async with`` joins and waits for the first assignment. Leaving commits
    what is finished (with ``auto_commit``), and leaves the group.
    """

    def __init__(
        self,
        asker: Asker,
        catalog: Catalog,
        subscription: Subscription,
        sharing: Sharing,
        *,
        buffer_bytes: int,
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._subscription = subscription
        self._inbox = Inbox(buffer_bytes)
        self._ownership = Ownership(
            asker, catalog, self._inbox, subscription, on_skip=self._on_skip
        )
        self._membership = Membership(
            *(asker, subscription),
            on_assignment=self._assign,
            on_trouble=self._on_trouble,
            on_well=self._on_well,
        )
        self._handing_over = HandingOver(
            *(asker, subscription, self._ownership, sharing),
            on_released=self._on_released,
            on_trouble=self._on_trouble,
            on_failure=self._on_failed_hook,
        )
        self._failed_hook: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._assigned: asyncio.Future[None] = self._loop.create_future()
        self._failure: RaftlogError | None = None
        self._trouble: RaftlogError | None = None
        self._commit_trouble: RaftlogError | None = None
        self._batches: Iterator[StoredBatch] = iter(())
        self._messages: Iterator[Message] = iter(())
        self._source: Owned | None = None
        self._handed: set[Owned] = set()
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None
        self.on_closed: Callable[[Any], None] = _nobody

    async def __aenter__(self) -> Self:
        """Join, and wait for the first assignment; raises as ``__anext__``."""
        self._begin()
        try:
            await asyncio.wait([self._assigned])
        except BaseException:  # it is not entered, so nobody leaves it: others would wait for it
            self._begin_closing()
            raise
        if self._failure is not None:
            await self.aclose()
            raise self._failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what is finished, leave, close."""
        await self.aclose()

    def __del__(self) -> None:
        """Complain about a consumer that was forgotten while it is a member."""
        if not getattr(self, "_is_closed", True) and self._tasks:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    # -- taking

    def __aiter__(self) -> Self:
        """Iterate over messages; see ``__anext__``."""
        return self

    async def __anext__(self) -> Message:
        """Return the next message, waiting for it. What was handed out before is finished.

        Raises:
            StopAsyncIteration: The consumer was closed.
            OffsetOutOfRange: Records that were not read yet are gone (``on_lost="error"``);
                the text names them. ``groups.seek`` goes on after them.
            TopicNotFound, BadName, LimitReached, NotPermitted: It can't be a member, or not
                read.
            BadBatch, CodecUnavailable: A batch can't be opened here.

        A cluster that can't be reached is no error: it is tried on, and ``status`` says
        why nothing comes. Cancelled, nothing is lost.
        """
        self._begin()
        self._finish()
        while (message := self._take()) is None:
            if not await self._more():
                raise StopAsyncIteration
        return message

    async def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds.

        What was handed out before is finished. Raises as ``__anext__``; when it was
        closed, [].
        """
        try:
            async with asyncio.timeout(seconds(timeout)):
                found = [await anext(self)]
        except (TimeoutError, StopAsyncIteration):
            await asyncio.sleep(0)  # else who polls on and on would keep it from closing
            return []
        with suppress(RaftlogError):  # the next one who asks is told: these come first
            while len(found) < count and (message := self._take()) is not None:
                found.append(message)
        return found

    async def commit(self, message: Message | None = None) -> None:
        """Commit everything that was handed out; or, of the queue of ``message``, up to it.

        Raises:
            Fenced, UnknownMember: A queue is somebody else's now, or was for a while, or a
                seek moved it: what was not committed is handed out again there. Whatever
                else was handed out is committed, and the consumer goes on with what it owns.
            OffsetGoesBack: A later message of that queue is committed already.
            Unavailable: No leader within the client's timeout; it may be committed.

        Cancelled, it may be committed.
        """
        self._check()
        if message is None:
            for owned in self._handed:
                owned.done = owned.position
            refused = await self._commit(self._ownership.finished())
            for owned in refused:
                owned.told = owned.handed
            self._handing_over.progress()
            dropped = self._ownership.take_dropped()
            if refused:
                raise next(iter(refused.values()))
            if dropped:
                raise lost_queue(dropped[0].topic, dropped[0].place)
            return
        for owned in self._ownership.queues.values():
            if (owned.topic, owned.place) == (message.topic, message.queue):
                if message.offset >= owned.handed:
                    break  # it was handed out before the queue was lost, or moved by a seek
                refused = await self._commit({owned: message.offset + 1})
                self._handing_over.progress()
                if refused:
                    raise refused[owned]
                return
        raise lost_queue(message.topic, message.queue)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on: assignments, releases, skips. Ends with the consumer.

        At most 256 wait for being taken; then the oldest are forgotten.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while not self._is_closed and (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.discard(queue)

    @property
    def status(self) -> ConsumerStatus:
        """What it reads, and what hinders it."""
        queues = tuple(
            OwnedQueue(each.topic, each.place, each.position, each.committed, each.lag)
            for each in sorted(
                self._ownership.queues.values(), key=lambda each: (each.topic, each.place)
            )
        )
        return ConsumerStatus(
            self._subscription.group,
            self._subscription.member,
            self._membership.generation,
            queues,
            self._membership.rejoins,
            self._failure or self._inbox.last_error or self._trouble or self._commit_trouble,
        )

    async def aclose(self) -> None:
        """Commit what is finished, leave the group and close; iterations end. Idempotent.

        Takes a few seconds at most when the cluster can't be reached; what could not be
        committed is handed out again, to whoever reads the queue next. Whoever closes it
        meanwhile waits for the same; cancelled, it is closed all the same.
        """
        if not self._is_closed:
            self._begin_closing()
        closing = self._closing
        if closing is None or closing.done() or closing is asyncio.current_task():
            return  # the last one is a hook that it calls
        await asyncio.shield(closing)

    def _begin_closing(self) -> None:
        self._stop()
        # Its own task: a hook that closes its consumer is ended by that.
        self._closing = self._loop.create_task(self._close())
        self._closing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _close(self) -> None:
        try:
            await asyncio.gather(*self._tasks, self._inbox.ended(), return_exceptions=True)
            await self._handing_over.aclose()
            if self._tasks:
                await self._part()
        finally:
            self.on_closed(self)

    def _stop(self) -> None:
        """End everything that goes on behind the scenes; whoever waits is let go."""
        self._is_closed = True
        if not self._assigned.done():
            self._assigned.set_result(None)
        for task in self._tasks:
            task.cancel()
        self._inbox.close()
        for listener in self._listeners:
            listener.put_nowait(None)

    async def _part(self) -> None:
        """The last commit, and the farewell; both are worth a few seconds and no more."""
        failed_before = self._failed_hook
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._handing_over.parting()
        with suppress(RaftlogError, TimeoutError):  # then it is handed out again, to another
            async with asyncio.timeout(CLOSE_S):
                if self._subscription.auto_commit:
                    await self._ownership.commit_each(self._ownership.finished())
        with suppress(RaftlogError):  # then the session ends by itself
            await self._membership.leave(CLOSE_S)
        if self._failed_hook is not None and self._failed_hook is not failed_before:
            raise self._failed_hook

    # -- inside

    def _begin(self) -> None:
        self._check()
        if not self._tasks and not self._is_closed:
            self._tasks = [self._loop.create_task(self._be_member())]
            if self._subscription.auto_commit:
                self._tasks.append(self._loop.create_task(self._commit_finished()))

    def _check(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("this consumer is bound to another event loop, thread or process")
        if self._is_closed and not self._tasks:
            raise Closed("the consumer was closed")
        if self._failed_hook is not None:
            raise self._failed_hook

    def _finish(self) -> None:
        """What was handed out is finished."""
        for owned in self._handed:
            owned.done = owned.position
        self._handed.clear()
        if self._handing_over.is_busy:
            self._handing_over.progress()

    def _take(self) -> Message | None:
        """Return the next message, if it is here already."""
        if self._is_closed:
            return None
        while True:
            source = self._source
            if source is not None and not source.is_lost and not source.revoked:
                message = self._open_next(source)
                if message is not None:
                    source.position = source.handed = message.offset + 1
                    self._handed.add(source)
                    return message
                batch = next(self._batches, None)
                if batch is not None:
                    self._messages = batch.messages(source.position)
                    continue
            found = self._inbox.take()
            if found is None:
                return None
            fetch, batches = found
            self._source = self._ownership.owner_of(fetch)
            self._messages, self._batches = iter(()), iter(batches)

    def _open_next(self, source: Owned) -> Message | None:
        try:
            return next(self._messages, None)
        except RaftlogError as error:
            assert source.fetch is not None, "something was read"
            self._inbox.put_back(source.fetch, error)  # never passed over in silence
            self._batches = iter(())
            raise

    async def _more(self) -> bool:
        """Wait for more; return whether there can be any."""
        if self._is_closed:
            return False
        if self._failure is not None:
            raise self._failure
        await self._inbox.arrival()
        if self._failed_hook is not None:
            raise self._failed_hook
        return True

    async def _be_member(self) -> None:
        try:
            await self._membership.run()
        except RaftlogError as error:
            self._failure = error
            self._ownership.lose_all()
            self._inbox.poke()
        finally:
            if not self._assigned.done():
                self._assigned.set_result(None)

    async def _assign(self, assignment: groups.GroupAssignment) -> None:
        before = set(self._ownership.queues.values())
        self._ownership.life = self._membership.life
        gained: list[Owned] = []
        self._take_back(assignment.queues)  # before a release that came too late is told done
        try:
            wanted = wanted_of(assignment.subscription)
            gained = await self._ownership.change(assignment.queues, wanted)
        finally:
            lost = [owned for owned in before if owned.is_lost and not owned.revoked]
            self._handing_over.lost(lost)
        revoked = [each for each in assignment.queues if each.revoked]
        if self._source is not None and self._source.number in {each.queue for each in revoked}:
            self._source = None  # what was read ahead of it is read again if it comes back
        self._handing_over.revoked(revoked)
        self._handing_over.assigned(gained)
        self._trouble = self._commit_trouble = None
        if not self._assigned.done():
            self._assigned.set_result(None)
        was, after = set(places_of(before)), set(places_of(self._ownership.queues.values()))
        self._tell(
            Rebalanced(
                *(assignment.generation, tuple(sorted(after))),
                *(tuple(sorted(after - was)), tuple(sorted(was - after))),
                tuple((each.topic, each.place) for each in revoked),
            )
        )

    def _take_back(self, queues: Iterable[groups.AssignedQueue]) -> None:
        """Go on with what was to go to another member, and is not any more."""
        for queue in queues:
            owned = self._ownership.queues.get(queue.queue)
            if owned is not None and owned.revoked and not queue.revoked:
                owned.revoked = 0
                self._ownership.begin([owned])
        self._handing_over.progress()

    def _on_released(self, places: Places) -> None:
        self._tell(Released(places))

    def _on_failed_hook(self, error: Exception) -> None:
        self._failed_hook = error
        self._inbox.poke()

    def _on_trouble(self, error: RaftlogError) -> None:
        self._trouble = error

    def _on_well(self) -> None:
        self._trouble = None

    def _on_skip(self, owned: Owned, offset: int, to: int) -> None:
        self._tell(Skipped(owned.topic, owned.place, offset, to))

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            if listener.qsize() >= EVENTS_MAX:
                listener.get_nowait()
            listener.put_nowait(event)

    async def _commit(self, offsets: Mapping[Owned, int]) -> dict[Owned, RaftlogError]:
        """Commit; return what was refused, after having asked who owns it now."""
        refused = await self._ownership.commit_each(offsets)
        if any(isinstance(error, Fenced | UnknownMember) for error in refused.values()):
            self._membership.nudge()
        return refused

    async def _commit_finished(self) -> None:
        """Commit from time to time what is finished."""
        while True:
            await asyncio.sleep(self._subscription.commit_interval_s)
            finished = self._ownership.finished()
            if not finished:
                continue
            try:
                refused = await self._commit(finished)
                # What is owned now, a new generation will say.
                self._commit_trouble = next(iter(refused.values()), None)
            except RaftlogError as error:
                self._commit_trouble = error


async def commit_finished(consumer: Consumer) -> RaftlogError | None:
    """Commit what was handed out before the last poll; return why a queue of it was refused."""
    refused = await consumer._commit(consumer._ownership.finished())
    return next(iter(refused.values()), None)


async def tell_lost(consumer: Consumer) -> None:
    """Say that queues were lost before what was handed out of them was committed: once.

    Raises:
        Fenced: They were.
    """
    dropped = consumer._ownership.take_dropped()
    if dropped:
        raise lost_queue(dropped[0].topic, dropped[0].place)


def _nobody(_: object) -> None:
    """Nobody wants to know."""

"""The consumer of a queue-style group: messages are leased one by one, and settled one by one.

::

    async with client.queue_consumer("work", "orders") as consumer:
        await consumer.run(handle, concurrency=16)

    for message in await consumer.receive(10):      # or by hand
        async with message.process():
            ...

Any number of consumers share a group; a message is with one of them at a time. There is no
membership: a consumer that dies is one whose leases end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    Closed,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    StaleLease,
    WrongLoop,
)
from raftlog.base.limits import MESSAGES_PER_RECEIVE_MAX
from raftlog.client.asking import Asker
from raftlog.client.calls import Calls
from raftlog.client.cancelling import is_cancelled
from raftlog.client.durations import Duration, seconds
from raftlog.client.queue_message import QueueMessage
from raftlog.client.receiving import Receiving
from raftlog.client.settling import ACK, Held, How, Settling
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

POLL_S: Final = 20.0
"""One request waits so long at the node."""
RENEWALS_PER_LEASE: Final = 3
GATHER_S: Final = 0.002
"""For so long ``run`` waits for more handlers to end before it asks for one message."""
TROUBLE_PAUSE_S: Final = 1.0
"""So long ``run`` asks for nothing after a cluster has not answered."""
CLOSE_S: Final = 5.0
_LOG: Final = logging.getLogger("raftlog")

Handler = Callable[[QueueMessage], Awaitable[None]]


class HandlerEvent(msgspec.Struct, frozen=True):
    """Something went wrong with a message in a handler.

    Attributes:
        message: The message.
        what: "overdue": the handler is past its limit, and its lease is kept no more; "failed":
            it raised; "lost": it had finished when the lease was not its own any more.
        error: What was raised, if anything; ``CancelledError``: something that it waited for
            was cancelled, and not the handler.
    """

    message: QueueMessage
    what: str
    error: BaseException | None = None


class QueueConsumerStatus(msgspec.Struct, frozen=True):
    """What a consumer does, and what hinders it.

    Attributes:
        group: The group.
        held: Messages that it has and has not settled.
        handling: Handlers at work.
        received: Messages that it was given.
        acked: Messages that were acknowledged.
        given_back: Messages that were given back or rejected.
        overdue: Handlers that were past their limit.
        lost: Messages that were settled too late.
    """

    group: str
    held: int
    handling: int
    received: int
    acked: int
    given_back: int
    overdue: int
    lost: int


class QueueConsumer:
    """A consumer of a queue-style group. Made by ``Client.queue_consumer``; bound to its loop.

    Entering ``async with`` makes the group, or agrees with it. Leaving gives back what was
    received and not settled; those attempts count.
    """

    def __init__(
        self,
        asker: Asker,
        opening: leases.OpenQueueGroup,
        *,
        limit: Duration | None,
        on_event: Callable[[HandlerEvent], None] | None,
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._asker: Final = asker
        self._opening: Final = opening
        self._group: Final = opening.group
        self._settling: Final = Settling(asker, opening.group)
        self._calls: Final = Calls("the consumer was closed")
        self._receiving: Final = Receiving(asker, opening.group, self._settling, self._calls)
        self._limit_s: Final = None if limit is None else seconds(limit)
        self._on_event: Final = on_event or _log
        self._held: Final[dict[Held, tuple[QueueMessage, float]]] = {}
        """What is not settled, and when its lease ends if nobody keeps it."""
        self._handling: Final[dict[QueueMessage, float]] = {}
        """Messages whose leases are kept, and until when."""
        self._renewing: asyncio.Task[None] | None = None
        self._renews_at = 0.0
        self._extending: Final[set[Held]] = set()
        """Whose leases are being renewed."""
        self._closing: asyncio.Task[None] | None = None
        self._received = self._acked = self._given_back = self._overdue = self._lost = 0
        self._is_open = False
        self.lease_s = 30.0
        self.on_closed: Callable[[Any], None] = _nobody

    async def __aenter__(self) -> Self:
        """Make the group, or agree with it.

        Raises:
            BadName, BadRequest: No such group can be.
            SubscriptionConflict: The group reads something else, or with other settings; the text
                shows both.
            TopicNotFound: There is no such topic.
            GroupStyle: There is a stream-style group of that name.
            GroupInUse: The order by key can't change while messages are in flight.
        """
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is not settled; close."""
        await self.aclose()

    async def receive(self, count: int = 1, *, wait: Duration | None = None) -> list[QueueMessage]:
        """Return up to ``count`` messages, leased to this consumer.

        Args:
            count: So many at most, 1 to 1000; fewer if fewer are there.
            wait: Seconds to wait for the first one, then []; None: until there is one.

        Raises:
            Closed: The consumer was closed, before or meanwhile.
            GroupNotFound: The group was deleted.
            Throttled: There are messages, and so many in flight that no more may be.
            BadBatch, CodecUnavailable: A batch can't be opened here (its messages are given back).
            Unavailable: No leader within the client's timeout.

        Cancelled or closed, what was leased for it is released.
        """
        if not 0 < count <= MESSAGES_PER_RECEIVE_MAX:
            raise BadRequest(f"{count} messages at once; 1 to {MESSAGES_PER_RECEIVE_MAX}")
        with self._calls.under_way():
            await self._open()
            deadline = None if wait is None else self._loop.time() + seconds(wait)
            while True:
                left_s = POLL_S if deadline is None else max(0.0, deadline - self._loop.time())
                found = await self._ask(count, min(left_s, POLL_S))
                if found or (deadline is not None and self._loop.time() >= deadline):
                    return found

    async def run(self, handler: Handler, *, concurrency: int = 8) -> None:
        """Give messages to ``handler``, up to ``concurrency`` at a time, until it is closed.

        Each is handled as in ``QueueMessage.process``; what a handler raises is reported to
        ``on_event``, and the rest goes on. A cluster that can't be reached is tried on. What
        does not open here (``BadBatch``) is given back, and the rest goes on, too.

        Raises:
            BadRequest: A concurrency below 1.
            GroupNotFound, and whatever else ``receive`` raises that trying on does not help.

        Cancelled, its handlers are, and their messages are released.
        """
        check_concurrency(concurrency)
        await self._open()
        tasks: set[asyncio.Task[None]] = set()
        with self._calls.under_way():
            try:
                while not self._calls.is_closed:
                    if len(tasks) * 4 > concurrency * 3:
                        await asyncio.wait(
                            {*tasks, self._calls.closing},
                            timeout=GATHER_S if len(tasks) < concurrency else None,
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                    free = min(concurrency - len(tasks), MESSAGES_PER_RECEIVE_MAX)
                    if free <= 0:
                        continue
                    for message in await self._next(free):
                        task = self._loop.create_task(self._handle(handler, message))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
            except Closed:
                if not self._calls.is_closed:  # else it was ended by ``aclose``
                    raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def status(self) -> QueueConsumerStatus:
        """What it does, and what hinders it."""
        return QueueConsumerStatus(
            *(self._group, len(self._held), len(self._handling), self._received, self._acked),
            *(self._given_back, self._overdue, self._lost),
        )

    async def aclose(self) -> None:
        """End ``run`` and ``receive``, give back what is not settled, and close. Idempotent.

        Takes a few seconds at most; what could not be given back is when its lease ends.
        Whoever closes it meanwhile waits for the same; cancelled, it is closed all the same.
        """
        if self._closing is None:
            self._calls.close()
            # Its own task: a handler that closes its consumer is ended by that.
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._give_back()
        finally:
            self.on_closed(self)

    async def _give_back(self) -> None:
        # Handlers that end now settle their messages: not as long as a cluster may be away.
        self._settling.hurry(CLOSE_S)
        await self._calls.ended()
        await self._outcomes()
        if self._renewing is not None:
            self._renewing.cancel()
        with suppress(RaftlogError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                held = [message for message, _ in self._held.values() if not message.is_settled]
                # Of the others the outcome is unknown: their leases end by themselves.
                for message in [each for each in held if _commit_of(each) is None]:
                    message.is_settled = True
                    how = How(Method.QUEUE_RETURN, delay_ms=0, reason="the consumer was closed")
                    self._settling.say(how, message.held)
                await self._settling.ended()
                await self._receiving.ended()
        self._settling.close()
        self._receiving.close()

    async def _outcomes(self) -> None:
        """Wait for transactions whose commit is under way, and may acknowledge messages."""
        commits = {_commit_of(message) for message, _ in self._held.values()} - {None}
        if commits:
            await asyncio.wait([each for each in commits if each], timeout=CLOSE_S)

    # -- for messages

    def say(self, message: QueueMessage, how: How) -> "asyncio.Future[None]":
        """Tell the cluster what becomes of a message."""
        future = self._settling.say(how, message.held)
        if how.method is Method.QUEUE_EXTEND:
            self._note_end(message, self._loop.time() + how.lease_ms / 1000, future)
            return future

        def said(done: "asyncio.Future[None]") -> None:
            error = None if done.cancelled() else done.exception()
            if error is None or isinstance(error, StaleLease):
                self._held.pop(message.held, None)
            if isinstance(error, StaleLease):
                self._lost += 1
            elif error is None and how is ACK:
                self._acked += 1
            elif error is None:
                self._given_back += 1

        future.add_done_callback(said)
        return future

    def acked_in_transaction(self, message: QueueMessage) -> None:
        """A message was acknowledged, and not by ``say``."""
        self._held.pop(message.held, None)
        self._acked += 1

    def begin(self, message: QueueMessage, limit_s: float | None) -> Callable[[], None]:
        """A handler begins: keep the lease until what is returned is called."""
        limit_s = self._limit_s if limit_s is None else limit_s
        until = self._loop.time() + limit_s if limit_s is not None else float("inf")
        self._handling[message] = until
        _, ends = self._held.get(message.held, (message, float("inf")))
        if ends - self._loop.time() < self.lease_s / 2:  # received long ago, or asked for twice
            self._extend(message, self.lease_s)
        self._keep()
        timer = None
        if limit_s is not None:
            timer = self._loop.call_later(limit_s, self._is_overdue, message)

        def end() -> None:
            self._handling.pop(message, None)
            if timer is not None:
                timer.cancel()

        return end

    # -- inside

    async def _open(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("this consumer is bound to another event loop, thread or process")
        self._calls.check()
        if self._is_open:
            return
        opening = self._asker.ask(
            Method.QUEUE_OPEN, self._opening, leases.QueueGroupDescription, repeats=True
        )
        answer, _ = await self._calls.until_closed(opening)
        self.lease_s = answer.settings.lease_ms / 1000
        self._is_open = True

    async def _ask(self, count: int, wait_s: float) -> list[QueueMessage]:
        answer, leased = await self._receiving.ask(count, wait_s)
        now = self._loop.time()
        for held, (_, until) in list(self._held.items()):
            if until <= now:
                del self._held[held]
        self.lease_s = answer.lease_ms / 1000 or self.lease_s
        until = now + (answer.left_ms or answer.lease_ms) / 1000
        found: list[QueueMessage] = []
        error: RaftlogError | None = None
        for held, message, attempts in leased:
            if isinstance(message, RaftlogError):
                error = message
                self._settling.say(How(Method.QUEUE_RETURN, reason=str(error)[:200]), held)
                continue
            each = QueueMessage(self, held, message, attempts)
            self._held[held] = (each, until)
            found.append(each)
        self._received += len(found)
        if error is not None and not found:
            raise error
        return found

    async def _next(self, count: int) -> list[QueueMessage]:
        """Return messages for ``run``; it goes on after what may pass, or is about a few only."""
        try:
            return await self._ask(count, POLL_S)
        except RaftlogError as error:
            if not _may_pass(error):
                raise
            _LOG.warning("group %s: no messages for now: %s", self._group, error)
            await asyncio.wait([self._calls.closing], timeout=TROUBLE_PAUSE_S)
            return []

    async def _handle(self, handler: Handler, message: QueueMessage) -> None:
        try:
            async with message.process():
                await handler(message)
        except StaleLease as error:
            self._on_event(HandlerEvent(message, "lost", error))
        except (Exception, asyncio.CancelledError) as error:  # whatever it raises is its own
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            self._on_event(HandlerEvent(message, "failed", error))

    def _is_overdue(self, message: QueueMessage) -> None:
        if message in self._handling:
            self._overdue += 1
            self._on_event(HandlerEvent(message, "overdue"))

    def _keep(self) -> None:
        """See to it that leases are renewed, and soon enough: they may be shorter by now."""
        at = self._loop.time() + self.lease_s / RENEWALS_PER_LEASE
        is_kept = self._renewing is not None and not self._renewing.done()
        if self._calls.is_closed or (is_kept and self._renews_at <= at):
            return
        if self._renewing is not None:
            self._renewing.cancel()
        self._renews_at = at
        self._renewing = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        """Keep the leases of what is handled, as long as anything is."""
        while self._handling:
            pause_s = self.lease_s / RENEWALS_PER_LEASE
            self._renews_at = self._loop.time() + pause_s
            await asyncio.sleep(pause_s)
            now = self._loop.time()
            for message, until in self._handling.items():
                _, ends = self._held.get(message.held, (message, now))
                if until > now and not message.is_settled:
                    # Whoever has extended it for longer has it for so long.
                    self._extend(message, max(self.lease_s, ends - now))

    def _extend(self, message: QueueMessage, length_s: float) -> None:
        held = message.held
        if held in self._extending:
            return  # it is being said: while nobody answers, once is enough
        self._extending.add(held)
        how = How(Method.QUEUE_EXTEND, lease_ms=round(length_s * 1000))
        said = self._settling.say(how, held)
        said.add_done_callback(lambda _: self._extending.discard(held))
        if held in self._held:
            self._held[held] = (message, self._loop.time() + length_s)

    def _note_end(self, message: QueueMessage, ends: float, said: "asyncio.Future[None]") -> None:
        """A lease is to end at another time, and does if that could be said."""

        def noted(done: "asyncio.Future[None]") -> None:
            is_said = not done.cancelled() and done.exception() is None
            if is_said and message.held in self._held:
                self._held[message.held] = (message, ends)

        said.add_done_callback(noted)


def check_concurrency(concurrency: int) -> None:
    """Refuse to handle nothing at a time.

    Raises:
        BadRequest: It is below 1.
    """
    if concurrency < 1:
        raise BadRequest(f"a concurrency of {concurrency}; it is 1 at least")


def _commit_of(message: QueueMessage) -> "asyncio.Future[None] | None":
    return None if message.transaction is None else message.transaction.under_way


def _may_pass(error: RaftlogError) -> bool:
    return isinstance(error, Retriable | OutcomeUnknown | BadBatch)


def _log(event: HandlerEvent) -> None:
    _LOG.warning("%r: handler %s", event.message, event.what, exc_info=event.error)


def _nobody(_: object) -> None:
    """Nobody wants to know."""

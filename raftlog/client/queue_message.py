"""A message that is leased to a consumer of a queue-style group, and what may be done with it.

::

    async with message.process():      # acknowledged at the end; given back on an exception
        await pay(message.value)
        raise Reject("no such account")    # can't be handled at all: a dead letter at once
        raise Retry(delay=60)              # not now
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from raftlog.base.errors import BadDelay, BadRequest, RaftlogError
from raftlog.base.limits import (
    LEASE_TERM_MS_MAX,
    LEASE_TERM_MS_MIN,
    REASON_CHARACTERS_MAX,
    RETRY_DELAY_MS_MAX,
)
from raftlog.client.cancelling import is_cancelled
from raftlog.client.durations import Duration, seconds
from raftlog.client.error_texts import named_text_of, text_of
from raftlog.client.receipts import Message
from raftlog.client.settling import ACK, Held, How
from raftlog.wire.batch import Headers
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases


class Reject(Exception):
    """Raised by a handler: the message can't be handled at all, and is a dead letter at once."""


class Retry(Exception):
    """Raised by a handler: the message is to be handled again, after ``delay`` seconds.

    Without a delay the group's schedule says when. The attempt counts. Valid by construction:
    a delay that can't be is ``BadDelay`` in the handler, which so has failed.
    """

    delay: Duration | None = None
    """A class of the user's own may not have called this one's constructor."""

    def __init__(self, reason: str = "", *, delay: Duration | None = None) -> None:
        super().__init__(reason)
        delay_ms(delay)
        self.delay = delay


class Holder(Protocol):
    """Who leased the message: its consumer."""

    lease_s: float

    def say(self, message: "QueueMessage", how: How) -> "asyncio.Future[None]":
        """Tell the cluster what becomes of a message."""

    def begin(self, message: "QueueMessage", limit_s: float | None) -> Callable[[], None]:
        """A handler begins: keep the lease until what is returned is called."""


class Settler(Protocol):
    """An atomic transaction that is to acknowledge messages, or may have done so."""

    under_way: "asyncio.Future[None] | None"
    """Ends when its outcome is known, or never will be; None: it was not sent yet."""

    def leave(
        self,
        message: "QueueMessage",
        keep_no_more: Callable[[], None],
        error: BaseException | None,
    ) -> bool:
        """Take a message over from its handler, which has ended; return whether that can be."""

    def refuse(self, message: "QueueMessage") -> None:
        """Do not acknowledge it, if that is not under way yet: somebody wants to give it back."""


class QueueMessage:
    """A message, leased. Made by ``QueueConsumer.receive``.

    It is settled once: by ``ack``, ``nack``, ``reject`` or ``release``, by the end of
    ``process``, or in an atomic transaction (``client.atomic``). Each of them raises
    ``StaleLease`` if the lease has ended (somebody else has the message, or had it), and may
    be called again after any other error. One that is in a transaction is settled by that:
    until its outcome is known the others are refused (``BadRequest``), and who tries to give it
    back before the commit refuses that, too.

    Attributes:
        message: The record as any reader gets it.
        attempts: How often it was leased, this time included.
        is_settled: Whether it was.
    """

    __slots__ = ("_holder", "attempts", "held", "is_settled", "message", "transaction")

    def __init__(self, holder: Holder, held: Held, message: Message, attempts: int) -> None:
        self._holder = holder
        self.held = held
        self.message = message
        self.attempts = attempts
        self.is_settled = False
        self.transaction: Settler | None = None
        """That is to acknowledge it, or may have done so."""

    def __repr__(self) -> str:
        """Show where it is, not what is in it."""
        return f"<QueueMessage {self.topic}/{self.queue}@{self.offset}, attempt {self.attempts}>"

    @property
    def topic(self) -> str:
        """Its topic."""
        return self.message.topic

    @property
    def queue(self) -> int:
        """The place of its queue in the topic, from 0."""
        return self.message.queue

    @property
    def offset(self) -> int:
        """Its position in the queue."""
        return self.message.offset

    @property
    def timestamp_ms(self) -> int:
        """Milliseconds since 1970: the sender's time, unless it said another."""
        return self.message.timestamp_ms

    @property
    def key(self) -> bytes | None:
        """Its key, or None."""
        return self.message.key

    @property
    def value(self) -> bytes | None:
        """Its value, or None."""
        return self.message.value

    @property
    def headers(self) -> Headers:
        """Pairs of name and value."""
        return self.message.headers

    @property
    def tag(self) -> str | None:
        """Its tag, or None."""
        return self.message.tag

    async def ack(self) -> None:
        """It is done with: nobody gets it again. Returns when that is committed."""
        self._check_transaction(gives_back=False)
        await self._settle(ACK)

    async def nack(self, *, delay: Duration | None = None, reason: str = "") -> None:
        """The attempt has failed: it is leased again after ``delay`` seconds, 24 h at most.

        Without a delay the group's schedule says when. When its attempts are used up it
        becomes a dead letter (or what the group's policy says), with ``reason``.

        Raises:
            BadDelay: No such delay.
        """
        self._check_transaction()
        await self._settle(_given_back(leases.GIVE_BACK_RETRY, reason, delay_ms(delay)))

    async def reject(self, reason: str = "") -> None:
        """It can't be handled at all: a dead letter at once, or what the group's policy says."""
        self._check_transaction()
        await self._settle(_given_back(leases.GIVE_BACK_REJECT, reason))

    async def release(self) -> None:
        """Nobody has tried it: another one gets it at once, and the attempt does not count."""
        self._check_transaction()
        await self._settle(_given_back(leases.GIVE_BACK_UNTRIED))

    async def extend(self, lease: Duration | None = None) -> None:
        """Let the lease end only so much later than now; None: the group's length.

        Raises:
            BadRequest: Not between 1 s and 12 h.
        """
        if self.is_settled:
            raise BadRequest(f"{self!r} was settled already")
        length_ms = lease_ms(self._holder.lease_s if lease is None else lease)
        how = How(Method.QUEUE_EXTEND, lease_ms=length_ms)
        await asyncio.shield(self._holder.say(self, how))

    def process(self, *, limit: Duration | None = None) -> "Processing":
        """Handle it in ``async with``: its lease is kept, and at the end it is settled.

        At a normal end it is acknowledged. An exception gives it back, as ``nack`` does, and
        goes on; ``Reject`` and ``Retry`` say what is to become of it, and end there.
        Cancelled, it is released; if only something that it waited for was cancelled, it has
        failed.

        A message that is in an atomic transaction is not settled here: its lease is kept
        until the transaction ends. Then it is acknowledged with it, or given back for what
        the transaction has failed with. If the handler fails before the commit, the message
        is given back here, and the transaction is refused (``StaleLease``).

        Args:
            limit: Seconds after which the handler is reported, and its lease is no longer kept:
                so somebody else gets the message. None: the consumer's.
        """
        return Processing(self, self._holder, None if limit is None else seconds(limit))

    def _give_back_after(self, error: BaseException) -> None:
        """Give it back for an error, and wait for nothing; in vain, its lease ends by itself."""
        self.is_settled = True
        said = self._holder.say(self, _after(error))
        said.add_done_callback(lambda each: each.cancelled() or each.exception())

    def _check_transaction(self, *, gives_back: bool = True) -> None:
        if self.transaction is not None and not self.is_settled:
            if gives_back:
                self.transaction.refuse(self)
            raise BadRequest(
                f"{self!r} is settled by the transaction that it is in, which is open or of "
                "unknown outcome"
            )

    async def _settle(self, how: How) -> None:
        if self.is_settled:
            raise BadRequest(f"{self!r} was settled already")
        self.is_settled = True
        try:
            # Said all the same if nobody waits any more: what was begun is not half done.
            await asyncio.shield(self._holder.say(self, how))
        except RaftlogError:
            self.is_settled = False
            raise


class Processing:
    """A handler at work: ``QueueMessage.process``."""

    __slots__ = ("_end", "_holder", "_limit_s", "_message")

    def __init__(self, message: QueueMessage, holder: Holder, limit_s: float | None) -> None:
        self._message = message
        self._holder = holder
        self._limit_s = limit_s
        self._end: Callable[[], None] = _nothing

    async def __aenter__(self) -> QueueMessage:
        """Begin."""
        self._end = self._holder.begin(self._message, self._limit_s)
        return self._message

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Settle the message, if the handler has not; or leave it to its transaction."""
        message = self._message
        is_told = isinstance(error, Reject | Retry)
        error = failure_of(error)
        transaction = None if message.is_settled else message.transaction
        if transaction is not None and transaction.leave(message, self._end, error):
            return is_told
        self._end()
        if message.is_settled:
            return is_told
        if error is None:
            await message._settle(ACK)
        elif is_told:
            await message._settle(_after(error))
        else:
            with suppress(RaftlogError):  # then its lease ends by itself
                await message._settle(_after(error))
        return is_told


def failure_of(error: BaseException | None) -> BaseException | None:
    """Return what a block has failed with, in the task that it ran in.

    Its own cancellation is none of its faults. That of something else that it waited for is a
    failure: released, the message would be handled again at once, and no attempt would count.
    """
    if isinstance(error, asyncio.CancelledError) and not is_cancelled():
        return Retry("CancelledError: something that its handler waited for was cancelled")
    return error


def _after(error: BaseException) -> How:
    """Return how a message is given back whose handler has ended so."""
    match error:
        case Reject():
            return _given_back(leases.GIVE_BACK_REJECT, text_of(error))
        case Retry():
            return _given_back(leases.GIVE_BACK_RETRY, text_of(error), delay_ms(error.delay))
        case Exception():
            return _given_back(leases.GIVE_BACK_RETRY, named_text_of(error))
        case _:
            return _given_back(leases.GIVE_BACK_UNTRIED)


def _given_back(how: int, reason: str = "", delay: int | None = None) -> How:
    return How(Method.QUEUE_RETURN, how=how, delay_ms=delay, reason=_told(reason))


def _told(reason: str) -> str:
    """Return a reason as a request takes it: cut, and without halves of surrogate pairs.

    Names of files have those, and what a handler has parsed may: they can't be encoded.
    """
    text = reason[:REASON_CHARACTERS_MAX].encode(errors="backslashreplace").decode()
    return text[:REASON_CHARACTERS_MAX]


def delay_ms(delay: Duration | None) -> int | None:
    """Return a retry's delay.

    Raises:
        BadDelay: It is negative, or more than 24 h.
    """
    if delay is None:
        return None
    try:
        value = seconds(delay)
    except ValueError:
        value = -1.0
    if not 0 <= value * 1000 <= RETRY_DELAY_MS_MAX:
        hours = RETRY_DELAY_MS_MAX // 3_600_000
        raise BadDelay(f"a delay of {delay!r}; it is 0 s to {hours} h")
    return round(value * 1000)


def lease_ms(lease: Duration) -> int:
    """Return the length of a lease.

    Raises:
        BadRequest: Less than 1 s, or more than 12 h.
    """
    try:
        value = seconds(lease)
    except ValueError:
        value = -1.0
    if not LEASE_TERM_MS_MIN <= value * 1000 <= LEASE_TERM_MS_MAX:
        hours = LEASE_TERM_MS_MAX // 3_600_000
        raise BadRequest(f"a lease of {lease!r}; it is {LEASE_TERM_MS_MIN // 1000} s to {hours} h")
    return round(value * 1000)


def _nothing() -> None:
    """It was not begun."""

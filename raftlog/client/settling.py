"""Telling the cluster what became of leased messages: many in one request, one request at a time.

::

    ack a, ack b --> request 1 (a, b) ..................... answered
                      ack c, ack d, ack e meanwhile -------> request 2 (c, d, e)

So a consumer that is slower than the cluster is told at once, and one that is faster costs
one commit for all that it did during the last one. All of it may be asked again: a leader
that is lost, with its answer, changes nothing.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple, cast

from google.protobuf.message import Message as ProtoMessage

from raftlog.base.errors import BadRequest, Closed, OutcomeUnknown, RaftlogError, StaleLease
from raftlog.base.limits import MESSAGES_PER_SETTLING_MAX
from raftlog.client.asking import Asker
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases


class Held(NamedTuple):
    """A leased message, as the cluster knows it."""

    handle: int
    queue: int
    offset: int


class How(NamedTuple):
    """What is to be said of messages; those of which the same is said share requests."""

    method: Method
    lease_ms: int = 0
    how: int = 0
    delay_ms: int | None = None
    reason: str = ""


ACK: Final = How(Method.QUEUE_ACK)
Waiting = tuple[Held, "asyncio.Future[None]"]


class Settling:
    """What one consumer has to say. Bound to its loop."""

    def __init__(self, asker: Asker, group: str) -> None:
        self._asker: Final = asker
        self._group: Final = group
        self._waiting: Final[dict[How, list[Waiting]]] = {}
        self._tasks: Final[dict[Method, asyncio.Task[None]]] = {}
        self._is_closed = False
        self._limit_s: float | None = None
        self._limits: Final[set[asyncio.Timeout]] = set()
        """Of the requests under way."""

    def say(self, how: How, held: Held) -> "asyncio.Future[None]":
        """Say it of one message; the future ends when it is committed.

        It fails with ``StaleLease`` if the message is not held any more, or with what the
        request failed with; ``Closed``: it was not said.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._is_closed:
            _fail([(held, future)], Closed("the consumer was closed"))
            return future
        self._waiting.setdefault(how, []).append((held, future))
        if how.method not in self._tasks:
            self._tasks[how.method] = loop.create_task(self._work(how.method))
        return future

    def hurry(self, limit_s: float) -> None:
        """Give up a request that has no answer so long after this, or after it was begun.

        Those that are said in it end in ``OutcomeUnknown``.
        """
        self._limit_s = limit_s
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time() + limit_s)

    async def ended(self) -> None:
        """Wait until everything was said."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def close(self) -> None:
        """Say nothing more. What was said without an answer ends in ``OutcomeUnknown``."""
        self._is_closed = True
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()  # one that had not begun does not say that it has ended
        for waiting in self._waiting.values():
            _fail(waiting, Closed("the consumer was closed"))
        self._waiting.clear()

    async def _work(self, method: Method) -> None:
        try:
            while how := next((each for each in self._waiting if each.method is method), None):
                waiting, rest = _one_request(self._waiting.pop(how))
                if rest:
                    self._waiting[how] = rest
                await self._ask(how, waiting)
        finally:
            self._tasks.pop(method, None)

    async def _ask(self, how: How, waiting: list[Waiting]) -> None:
        limit = asyncio.timeout(self._limit_s)
        self._limits.add(limit)
        try:
            async with limit:
                answer, _ = await self._asker.ask(
                    how.method, self._message(how, waiting), leases.MessagesSettled, repeats=True
                )
        except TimeoutError:
            _fail(waiting, OutcomeUnknown("the consumer is closing, and there was no answer"))
        except RaftlogError as error:
            _fail(waiting, error)
        except (ValueError, TypeError) as error:
            # No such request can be written: who waits for its answer would wait for ever.
            _fail(waiting, BadRequest(f"it can't be told to the cluster: {error}"))
        except asyncio.CancelledError:
            _fail(waiting, OutcomeUnknown("the consumer was closed before there was an answer"))
            raise
        else:
            stale = {(each.queue, each.offset, each.handle) for each in answer.stale}
            for held, future in waiting:
                if future.done():
                    continue
                place = (held.queue, held.offset)
                if stale and ((*place, held.handle) in stale or (*place, 0) in stale):
                    future.set_exception(stale_lease(held, self._group))
                    future.exception()  # nobody has to wait: for what keeps a lease nobody does
                else:
                    future.set_result(None)
        finally:
            self._limits.discard(limit)

    def _message(self, how: How, waiting: list[Waiting]) -> ProtoMessage:
        messages = named(held for held, _ in waiting)
        match how.method:
            case Method.QUEUE_ACK:
                return leases.AckMessages(group=self._group, messages=messages)
            case Method.QUEUE_EXTEND:
                return leases.ExtendLeases(
                    group=self._group, messages=messages, lease_ms=how.lease_ms
                )
            case _:
                return leases.ReturnMessages(
                    group=self._group,
                    messages=messages,
                    how=cast("leases.GiveBack.ValueType", how.how),
                    delay_ms=how.delay_ms,
                    reason=how.reason,
                )


def named(messages: Iterable[Held]) -> list[leases.LeasedMessages]:
    """Return messages as requests name them."""
    by_lease: dict[tuple[int, int], list[int]] = {}
    for handle, queue, offset in messages:
        by_lease.setdefault((handle, queue), []).append(offset)
    return [
        leases.LeasedMessages(handle=handle, queue=queue, offsets=offsets)
        for (handle, queue), offsets in by_lease.items()
    ]


def stale_lease(held: Held, group: str) -> StaleLease:
    """Return what is said of a message that is not held any more."""
    return StaleLease(
        f"message {held.offset} of queue {held.queue} is not leased to you any more in group "
        f"{group!r}"
    )


def _one_request(waiting: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """Return what one request may hold, and the rest.

    A node of an older version tells what is stale by message, not by handle: so one that
    this consumer has leased twice, the first time for too long, is in it once.
    """
    chosen: dict[tuple[int, int], Waiting] = {}
    rest: list[Waiting] = []
    for each in waiting:
        key = (each[0].queue, each[0].offset)
        if key in chosen or len(chosen) == MESSAGES_PER_SETTLING_MAX:
            rest.append(each)
        else:
            chosen[key] = each
    return list(chosen.values()), rest


def _fail(waiting: list[Waiting], error: RaftlogError) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
            future.exception()  # read: who does not wait for it is not told

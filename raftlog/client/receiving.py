"""Asking for the messages of a queue-style group, and giving back what nobody waits for any more.

::

    receive --> request under handle 7 --> leased --> messages, each with its handle
        cancelled or closed meanwhile  --> the same again, without waiting: whatever is leased
                                           under 7 comes, and is released
"""

import asyncio
import secrets
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from raftlog.base.entry import Buffer
from raftlog.base.errors import Closed, ProtocolError, RaftlogError
from raftlog.base.ids import Offset
from raftlog.client.asking import Asker
from raftlog.client.calls import Calls
from raftlog.client.receipts import Message
from raftlog.client.settling import Held, How, Settling
from raftlog.wire.batch import Batch, Record
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

UNTRIED: Final = How(Method.QUEUE_RETURN, how=leases.GIVE_BACK_UNTRIED)


class Leased(NamedTuple):
    """One message, leased."""

    held: Held
    message: Message | RaftlogError
    """An error: its batch can't be opened here."""
    attempts: int


class Receiving:
    """Asks for one consumer. Bound to its loop."""

    def __init__(self, asker: Asker, group: str, settling: Settling, calls: Calls) -> None:
        self._calls: Final = calls
        self._asker: Final = asker
        self._group: Final = group
        self._settling: Final = settling
        self._loop: Final = asyncio.get_running_loop()
        self._chores: Final[set[asyncio.Task[None]]] = set()

    async def ask(
        self, count: int, wait_s: float
    ) -> tuple[leases.MessagesReceived, Iterator[Leased]]:
        """Lease up to ``count`` messages; return the answer, and what is in it.

        Raises:
            Closed: The consumer was closed meanwhile.

        Then, and cancelled, what was leased is released behind the scenes.
        """
        asked = leases.ReceiveMessages(
            group=self._group,
            handle=secrets.randbits(62) + 1,
            count_max=count,
            wait_ms=round(wait_s * 1000),
        )
        asking = self._asker.ask(
            Method.QUEUE_RECEIVE,
            asked,
            leases.MessagesReceived,
            timeout_s=self._asker.timeout_s + wait_s,
            wait_s=wait_s,
            repeats=True,
            ends=True,
        )
        try:
            answer, payload = await self._calls.until_closed(asking)
        except (asyncio.CancelledError, Closed):
            self._do(self._undo(asked))
            raise
        return answer, _opened(asked.handle, _batches(answer, payload))

    async def ended(self) -> None:
        """Wait until what was asked for in vain is released."""
        await asyncio.gather(*self._chores, return_exceptions=True)

    def close(self) -> None:
        """Release nothing more."""
        for chore in self._chores:
            chore.cancel()

    async def _undo(self, asked: leases.ReceiveMessages) -> None:
        """Release what a request has leased whose answer nobody waited for."""
        asked.wait_ms = 0
        with suppress(RaftlogError):  # then it is when the leases end
            answer, _ = await self._asker.ask(
                Method.QUEUE_RECEIVE, asked, leases.MessagesReceived, repeats=True
            )
            for leased in answer.leased:
                for number in leased.numbers:
                    offset = leased.base_offset + number
                    self._settling.say(UNTRIED, Held(asked.handle, leased.queue, offset))
            await self._settling.ended()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        chore = self._loop.create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


_Batches = list[tuple[leases.LeasedBatch, str, int, memoryview]]
"""With the topic and place of their queue."""


def _batches(answer: leases.MessagesReceived, payload: Buffer) -> _Batches:
    """Return the batches of an answer."""
    view = memoryview(payload)
    names = {each.queue: (each.topic, each.place) for each in answer.queues}
    found = []
    position = 0
    for leased in answer.leased:
        topic, place = names.get(leased.queue, ("", 0))
        found.append((leased, topic, place, view[position : position + leased.length]))
        position += leased.length
        if not leased.attempts:
            raise ProtocolError("a leased batch without attempts")
    if position != len(view):
        raise ProtocolError(f"batches of {position} bytes in {len(view)}")
    return found


def _opened(handle: int, batches: _Batches) -> Iterator[Leased]:
    """Yield the messages of batches that were leased under ``handle``."""
    for leased, topic, place, data in batches:
        error: RaftlogError | None = None
        records: Sequence[Record] = ()
        try:
            records = tuple(Batch(data).records())
        except RaftlogError as failed:
            error = failed
        attempts = leased.attempts
        for at, number in enumerate(leased.numbers):
            held = Held(handle, leased.queue, leased.base_offset + number)
            tried = attempts[at] if len(attempts) > 1 else attempts[0]
            if error is not None:
                yield Leased(held, error, tried)
                continue
            record = records[at if leased.picked else number]
            message = Message(
                *(topic, place, Offset(held.offset), record.key, record.value),
                *(record.headers, record.timestamp_ms, record.tag, record.id),
            )
            yield Leased(held, message, tried)

"""The relay: forwards the outbox, in order, each message once.

::

    take over      epoch E := old + 2, written down
    left behind    a batch of epoch e that is not settled: fence its queue with e + 1; the answer
                   says whether it was stored, and from then on it never will be
    for ever       fence each queue with E before its first batch, write the batch down
                   (queue, E, sequence, which messages), send it, write down that it is stored

Wherever that is cut off, the next relay finds the batch written down, and the fence tells
what became of it. The schedule that needs the odd epochs::

    R1 (4): batch at sequence 0 is stored; R1 stops before it is settled
    R2 (6): fences with its own epoch 6, is told "3 records stored", stops before it says so
    R3 (8): fences with 8, and is told of epoch 6: "nothing stored": it would send again

With ``e + 1`` R2 and R3 ask the same question, and a fence that is repeated gives the same
answer. Two relays at once: whoever has taken over last writes, the other one is refused by
the database (``Fenced``), its late batches by the queues; it stands by from then on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Final, Literal, ParamSpec, Self, TypeVar

import msgspec

from raftlog.base.errors import (
    DuplicateForgotten,
    Fenced,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    Refused,
    Retriable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.limits import BATCH_RECORDS_MAX, COALESCE_BYTES_MAX
from raftlog.client.ages import Ages, Doubt, run_s
from raftlog.client.catalog import Queues
from raftlog.client.client import Client
from raftlog.client.durations import Duration, seconds
from raftlog.client.forwarding import ClusterForwarding, Forwarding
from raftlog.client.packing import Columns, place_of_key, size_of
from raftlog.sql.ledger import Ledger, Waiting, WrittenBatch
from raftlog.sql.outbox import Outbox, now_ms
from raftlog.wire.batch import Producer

P = ParamSpec("P")
R = TypeVar("R")

PAUSE_S: Final = 0.2
"""After a failure of the cluster or the database."""
FORGET_S: Final = 60.0
"""Between two looks for what was sent long ago."""
STEP_BACK_MS_MAX: Final = 60_000
"""By so much clocks are set back in passing; behind that they have lost the time."""


class RelayStatus(msgspec.Struct, frozen=True):
    """What a relay does.

    Attributes:
        is_active: Whether it forwards; else it stands by, for another one does.
        sent: Messages that it has sent.
        parked: Messages that it has parked, with ``on_refused="park"``.
        trouble: Why it could not go on the last time; None while all is well.
    """

    is_active: bool
    sent: int
    parked: int
    trouble: Exception | None


class Relay:
    """Forwards one outbox. Bound to the loop that runs it.

    Args:
        client: A client of the cluster.
        outbox: Made by ``Outbox.create`` before.
        poll: Seconds between two looks at an outbox that was empty; ``wake`` looks at once.
        takeover: Seconds of silence after which another relay takes over.
        batch: Messages that are looked at together.
        keep: How long the rows of sent messages are kept.
        on_refused: A message that the cluster refuses (its topic is gone, or not writable):
            "stop" ends ``run`` with the error, nothing overtakes it; "park" sets it aside.

    A second relay stands by. ``async with`` runs it beside what else the program does.
    """

    def __init__(
        self,
        client: Client,
        outbox: Outbox[object],
        *,
        poll: Duration = 0.1,
        takeover: Duration = 10.0,
        batch: int = 1_000,
        keep: Duration = timedelta(days=1),
        on_refused: Literal["stop", "park"] = "stop",
    ) -> None:
        self._cluster: Forwarding = ClusterForwarding(client._asker, client._catalog)
        self._ledger: Final = Ledger(outbox.database)
        self._passing: tuple[type[Exception], ...] = (
            *(_Anew, Retriable),
            *outbox.database.failures,
        )
        self._poll_s: Final = seconds(poll)
        self._takeover_s: Final = seconds(takeover)
        self._batch: Final = batch
        self._keep_s: Final = seconds(keep)
        self._parks: Final = on_refused == "park"
        self._woken: Final = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ages: Final = Ages(now_ms, run_s=run_s, back_ms=STEP_BACK_MS_MAX)
        self._producer = 0
        self._sequences: dict[int, int] = {}
        """The next one, by queue; a queue that is not here was not fenced in this epoch."""
        self._refused: dict[WrittenBatch, RaftlogError] = {}
        """Why a batch is not taken, until it is settled: another relay may have done that."""
        self._turn = 0
        self._said_at = self._forgot_at = 0.0
        self._is_active = False
        self._sent = self._parked = 0
        self._trouble: Exception | None = None

    async def __aenter__(self) -> Self:
        """Run beside the caller."""
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; raises what has stopped it before."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def wake(self) -> None:
        """Look at the outbox now: something was committed."""
        self._woken.set()

    @property
    def status(self) -> RelayStatus:
        """What it does, and what hinders it."""
        return RelayStatus(self._is_active, self._sent, self._parked, self._trouble)

    async def run(self, *, once: bool = False) -> None:
        """Forward for ever; or, ``once``, until nothing waits.

        What can change by itself is waited for: a cluster without a leader, a locked database,
        another relay.

        Raises:
            Refused: A message was refused, and others are not to overtake it.
            OutcomeUnknown: Batches were left behind so long ago that their queues may have
                forgotten them; see ``Outbox.settle_by_hand``.
        """
        try:
            while True:
                try:
                    if await self._session(once=once):
                        return
                except Fenced as error:
                    self._trouble = error
                    self._is_active = False  # it stands by
                except self._passing as error:
                    self._trouble = error
                    await self._pause(PAUSE_S)
        finally:
            self._is_active = False
            with suppress(Fenced, *self._passing):
                await self._write(self._ledger.still, ends=True)

    # -- one reign

    async def _session(self, *, once: bool) -> bool:
        """Forward as long as this is the relay; return whether nothing waits any more."""
        if not self._is_active:
            await self._write(self._ledger.complete)
            await self._stand_by()
        self._producer = await self._write(self._ledger.take_over)
        self._is_active = True
        self._sequences.clear()
        if not self._producer:
            self._producer = await self._patiently(self._cluster.draw_producer)
            await self._write(self._ledger.keep_producer, self._producer)
        await self._resolve_all(await self._write(self._ledger.left_behind))
        while True:
            waiting = await self._write(self._ledger.waiting, self._batch)
            if waiting:
                await self._forward(waiting)
                continue
            self._trouble = None
            if once:
                return True
            await self._rest()

    async def _stand_by(self) -> None:
        """Wait until no other relay is there: none was, or it is silent (by this clock)."""
        loop = asyncio.get_running_loop()
        seen_ms = await self._write(self._ledger.seen_ms)
        silent_since = loop.time()
        while seen_ms and loop.time() < silent_since + self._takeover_s:
            await asyncio.sleep(min(self._poll_s, self._takeover_s / 4))
            before_ms, seen_ms = seen_ms, await self._write(self._ledger.seen_ms)
            if seen_ms != before_ms:
                silent_since = loop.time()

    async def _rest(self) -> None:
        """Nothing waits: say that this relay lives, clear up, and wait."""
        now = asyncio.get_running_loop().time()
        if now >= self._said_at + self._takeover_s / 4:
            self._said_at = now
            await self._write(self._ledger.still)
        if now >= self._forgot_at + FORGET_S:
            self._forgot_at = now
            await self._write(self._ledger.forget, self._keep_s)
        await self._pause(self._poll_s)

    async def _resolve_all(self, batches: Sequence[WrittenBatch]) -> None:
        """Find out what became of all that was left behind; then only say of what nobody can.

        Raises:
            OutcomeUnknown: These; they are written down as such.
            Refused: Messages that are refused, and not parked.
        """
        doubts: list[OutcomeUnknown] = []
        refusals: list[Refused] = []
        for batch in batches:
            try:
                await self._resolve(batch)
            except Fenced:
                raise
            except OutcomeUnknown as error:
                await self._write(self._ledger.doubt, batch, str(error))
                doubts.append(error)
            except Refused as error:
                refusals.append(error)
        if len(doubts) > 1:
            raise OutcomeUnknown("; ".join(map(str, doubts)))
        for failure in (*doubts, *refusals):
            raise failure

    async def _resolve(self, batch: WrittenBatch) -> None:
        """Find out what became of a batch that was left behind, once for all."""
        try:
            fenced = await self._patiently(
                lambda: self._cluster.fence(batch.queue, self._producer, batch.epoch + 1)
            )
        except WrongQueue:  # what it held is gone with it
            self._cluster.forget_queues(batch.topic)
            self._refused.pop(batch, None)
            await self._write(self._ledger.give_back, batch)
            return
        if fenced.next_sequence >= batch.sequence + batch.records:
            self._refused.pop(batch, None)
            await self._write(self._ledger.settle, [(batch, None)])
            self._sent += batch.records
            return
        if (doubt := self._ages.doubt(batch, fenced.next_sequence)) is not None:
            raise _unknown(batch, doubt)
        refusal = self._refused.pop(batch, None)
        if refusal is None:
            await self._write(self._ledger.give_back, batch)
        elif self._parks:
            await self._write(self._ledger.park, batch, refusal)
            self._parked += batch.records
        else:
            await self._write(self._ledger.give_back, batch)
            raise refusal

    # -- forwarding

    async def _forward(self, waiting: Sequence[Waiting]) -> None:
        """Send some messages, and write down that they are sent."""
        batches = await self._divide(waiting)
        written: list[tuple[WrittenBatch, Sequence[Waiting]]] = []
        for (topic, place, queue), messages in batches.items():
            if queue not in self._sequences:
                await self._begin(topic, queue)
            batch = WrittenBatch(
                *(queue, self._ledger.epoch, self._sequences[queue], len(messages)),
                *(topic, place, now_ms(), self._ages.idle_days(queue)),
            )
            written.append((batch, messages))
        if not written:
            return
        await self._write(self._ledger.write_down, written)
        for batch, _ in written:
            self._ages.begin(batch)
        ends = await asyncio.gather(
            *(self._send(*each) for each in written), return_exceptions=True
        )
        stored = [
            (batch, base)
            for (batch, _), base in zip(written, ends, strict=True)
            if not isinstance(base, BaseException)
        ]
        await self._write(self._ledger.settle, stored)
        self._sent += sum(batch.records for batch, _ in stored)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        self._trouble = None

    async def _divide(
        self, waiting: Sequence[Waiting]
    ) -> dict[tuple[str, int, int], list[Waiting]]:
        """Return messages by topic, place and number of their queues: what fits into a batch."""
        found: dict[tuple[str, int, int], list[Waiting]] = {}
        sizes: dict[int, int] = {}
        self._turn += 1
        for message in waiting:
            try:
                queues = await self._queues(message)
                place = self._place(message, len(queues))
            except Refused as error:
                if not self._parks:
                    raise
                await self._write(self._ledger.park_waiting, message, error)
                self._parked += 1
                continue
            key = (message.topic, place, queues[place])
            messages = found.setdefault(key, [])
            size = sizes.get(queues[place], 0) + size_of(message.record)
            if messages and (size > COALESCE_BYTES_MAX or len(messages) >= BATCH_RECORDS_MAX):
                # It is full: nothing may overtake what did not fit, though it takes no room.
                size = COALESCE_BYTES_MAX + 1
            else:
                messages.append(message)
            sizes[queues[place]] = size
        return found

    async def _queues(self, message: Waiting) -> Queues:
        """Return a topic's queues, looked up again if it does not take the message as it is."""
        queues = await self._patiently(lambda: self._cluster.queues(message.topic))
        is_there = message.place is None or message.place < len(queues)
        needs_key = message.record.key is None and self._cluster.needs(message.topic).keys
        if is_there and not needs_key:
            return queues
        self._cluster.forget_queues(message.topic)
        return await self._patiently(lambda: self._cluster.queues(message.topic))

    def _place(self, message: Waiting, queues: int) -> int:
        key, needs = message.record.key, self._cluster.needs(message.topic)
        if key is None and needs.keys:  # it alone, and not all that would share its batch
            raise needs.refusal
        if message.place is not None:
            if message.place >= queues:
                raise WrongQueue(f"{message.topic!r} has {queues} queues, no {message.place}")
            return message.place
        return self._turn % queues if key is None else place_of_key(key, queues)

    async def _begin(self, topic: str, queue: int) -> None:
        """Begin this relay's epoch in a queue: before a batch for it is written down."""
        try:
            await self._patiently(
                lambda: self._cluster.fence(queue, self._producer, self._ledger.epoch)
            )
        except WrongQueue as error:
            self._cluster.forget_queues(topic)
            raise _Anew from error
        self._sequences[queue] = 0

    async def _send(self, batch: WrittenBatch, messages: Sequence[Waiting]) -> int | None:
        """Store a batch; return its offset, None if that is forgotten."""
        columns = Columns()
        for message in messages:
            columns.add_record(message.record)
        producer = Producer(self._producer, batch.epoch, batch.sequence, batch.sequence)
        needs = self._cluster.needs(batch.topic)
        fifo = needs.hashes

        def data_while_young() -> bytes:
            if not self._ages.may_be_sent(batch):
                raise _Anew  # it could be stored again
            return data

        try:
            data = columns.encode(producer=producer, fifo=fifo)
            stored = await self._patiently(
                lambda: self._cluster.append(batch.queue, data_while_young)
            )
            base = stored.base_offset
        except DuplicateForgotten:
            base = None
        except WrongQueue as error:
            self._cluster.forget_queues(batch.topic)
            raise _Anew from error
        except (OutOfOrder, UnknownProducer) as error:  # it was silent here for too long
            raise _Anew from error
        except Fenced:
            raise
        except Refused as error:  # a copy may be under way still: a fence decides first
            if fifo or not needs.hashes:  # else it has just learnt that they are wanted
                self._refused[batch] = error
            raise _Anew from error
        self._sequences[batch.queue] += batch.records
        return base

    # -- waiting

    async def _patiently(self, ask: Callable[[], Awaitable[R]]) -> R:
        """Ask until there is an answer that does not change by itself; say meanwhile: I live."""
        while True:
            try:
                return await ask()
            except OutOfOrder:
                raise
            except (Retriable, OutcomeUnknown) as error:
                self._trouble = error
            await self._pause(PAUSE_S)
            await self._write(self._ledger.still)

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        self._woken.clear()

    async def _write(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Work with the database, on a thread: it may wait for a lock.

        Cancelled, it waits for the thread: what that wrote afterwards, this relay would have
        written in its next reign, about batches that are others by then.
        """
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(None, partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            writing.exception()  # read, or asyncio complains that nobody did
            raise


class _Anew(Exception):
    """Take over again: what is written down and not settled is resolved then."""


def _unknown(batch: WrittenBatch, doubt: Doubt) -> OutcomeUnknown:
    what = f"{batch.records} messages for queue {batch.place} of {batch.topic!r} were left behind"
    if doubt is Doubt.UNDATED:
        return OutcomeUnknown(
            f"{what}, and this machine's clock stands before that, or was never set: nobody knows "
            "how long ago it was, and whether the queue has forgotten them. Set the clock; or "
            "look, then call Outbox.settle_by_hand"
        )
    return OutcomeUnknown(
        f"{what} so long ago that the queue may have forgotten whether it has them: look, then "
        "call Outbox.settle_by_hand"
    )

"""How an atomic transaction is committed: one command, asked until its outcome is known.

Every transaction goes out under a producer identity of its own, so its batches are known when
they come twice; the identity is free for another one only when the outcome is known. A try
without an answer leaves a copy that may still arrive. Then nothing is believed but a success,
or a fence (decision 8): it commits a new epoch in every queue of the transaction, and says
whether the old one had come so far::

    T (producer 7: sequence 3 in queue 0, 5 in queue 1) is sent, no answer, time is over
    OutcomeUnknown; meanwhile: fence queue 0, fence queue 1
    queue 0 had come to 3: T was not committed, and its copy is refused as a whole from now on

A queue forgets its producers: what no fence has found is not committed if one queue at least
knows it for certain (``client.ages``); else it is unknown for ever.

What is more than one command takes was staged before (``atomic_staging``). Until the commit is
sent nothing is unknown that anybody must know.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec

from raftlog.base.errors import (
    DuplicateForgotten,
    NotLeader,
    NotStored,
    Outcome,
    OutcomeUnknown,
    OutOfOrder,
    PeerRefused,
    ProtocolError,
    RaftlogError,
    Refused,
    Retriable,
    Throttled,
    TransactionTooLarge,
    Unavailable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import TRANSACTION_BYTES_MAX
from raftlog.client.asking import ANSWER_TIMEOUT_S, RETRY_PAUSE_S, Asker
from raftlog.client.atomic_packing import ToSend
from raftlog.client.atomic_staging import Stager
from raftlog.client.identities import Identity
from raftlog.client.receipts import Receipt
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, producers, transactions

IDENTITIES_MAX: Final = 16
"""Transactions of one client that are under way at once; others wait for their turn."""
ERRAND_S: Final = 5.0
"""One try of a fence; it is tried as long as the client lives."""
_UNKNOWN: Final = (
    "no answer in time: it may have been committed, or still be; resolve() with this error's "
    "ticket tells"
)
_FORGOTTEN: Final = (
    "sent so long ago that its queues may have forgotten it: it may have been committed; look "
    "into them before it is done again"
)
_NOTHING_SENT: Final = (
    "no answer in time: what it finished may count as finished; it sent no records, so doing it "
    "again is harmless"
)


GONE: Final = Offset(-1)
"""Instead of the offset of a part that was stored, and whose topic was deleted since."""


class Committed(msgspec.Struct, frozen=True, gc=False):
    """A transaction that is in the log: the first offset by queue, and where."""

    base_offsets: dict[int, int]
    term: int
    index: int
    durability: str
    duplicate: bool = False


class Attempt:
    """A transaction that is to be committed, and what becomes of it.

    Attributes:
        fate: Ends when it is known for good: as committed, or with why it was not and never
            will be. With ``OutcomeUnknown`` if nobody will ever know.
    """

    def __init__(
        self,
        batches: Sequence[ToSend],
        offsets: Sequence[groups.CommitOffsets],
        acks: Sequence[leases.AckMessages],
        receipts_of: "Callable[[Committed], tuple[Receipt, ...]]",
    ) -> None:
        self.batches: Final = batches
        self.receipts_of: Final = receipts_of
        self.offsets: Final = offsets
        self.acks: Final = acks
        self.fate: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self.loose = 0
        """Copies that were sent and neither carried out nor refused, as far as known."""

    def decide(self, fate: Committed | RaftlogError) -> None:
        """It is known, unless it was known before."""
        if self.fate.done():
            return
        if isinstance(fate, RaftlogError):
            self.fate.set_exception(fate)
            self.fate.exception()  # read, or asyncio complains that nobody did
        else:
            self.fate.set_result(fate)


class AtomicDispatch:
    """Commits the transactions of one client. Bound to its loop."""

    def __init__(self, asker: Asker) -> None:
        self.asker: Final = asker
        self.turn = 0
        """Rises with every transaction: which queue takes what has no key."""
        self._loop: Final = asyncio.get_running_loop()
        self._slots: Final = asyncio.Semaphore(IDENTITIES_MAX)
        self._free: Final[list[Identity]] = []
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._open: Final[set[Attempt]] = set()
        """What is fenced at this moment."""
        self.trouble: RaftlogError | None = None
        """Why nobody could be asked the last time."""

    async def commit(self, attempt: Attempt, deadline: float, codec: str) -> Committed:
        """Commit it. When this ends ``attempt.fate`` is known, or will be after a fence.

        Args:
            attempt: What is to be committed.
            deadline: By the loop's time.
            codec: For its batches.

        Raises:
            OutcomeUnknown: It may have been committed; ``attempt.fate`` will tell.
            Retriable: Time is over, and it was not committed and never will be.
            RaftlogError: It was refused, and never will be committed.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            why = f" ({self.trouble})" if self.trouble else ""
            error = Unavailable(
                f"{IDENTITIES_MAX} transactions are under way, or being looked for{why}"
            )
            attempt.decide(error)
            raise error from None
        except BaseException:
            # Cancelled: nothing was sent. Whoever waits for its fate, a consumer, must learn it.
            attempt.fate.cancel()
            raise
        work = _Work(self, attempt, deadline, codec)
        try:
            committed = await work.run()
        except BaseException as error:
            if attempt.loose and not attempt.fate.done():
                self._resolve_later(attempt, work.identity)
                if isinstance(error, OutcomeUnknown) or not isinstance(error, RaftlogError):
                    raise
                return await self._ask_fence(attempt, deadline, error)
            if isinstance(error, RaftlogError):
                attempt.decide(error)
            else:
                attempt.fate.cancel()
            self._release(work.identity)
            raise
        attempt.decide(committed)
        self._release(work.identity)
        return committed

    async def _ask_fence(
        self, attempt: Attempt, deadline: float, refusal: RaftlogError
    ) -> Committed:
        """A copy was refused, and another one may have been carried out before: which is it?"""
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(attempt.fate)
        except NotStored:
            raise refusal from None
        except TimeoutError:
            raise OutcomeUnknown(_UNKNOWN, AtomicTicket(attempt)) from refusal

    # -- identities

    async def identity(self, deadline: float) -> Identity:
        """Return one that nobody uses."""
        if self._free:
            return self._free.pop()
        try:
            begun, _ = await self.asker.ask(
                Method.PRODUCER_INIT,
                producers.InitProducer(),
                producers.ProducerBegun,
                timeout_s=deadline - self._loop.time(),
                repeats=True,  # at worst it wastes a number
            )
        except OutcomeUnknown as error:
            raise Unavailable(f"nothing was sent: {error}") from error
        return Identity(begun.producer)

    def _release(self, identity: Identity | None) -> None:
        if identity is not None and identity.is_good:
            self._free.append(identity)
        self._slots.release()

    # -- what is unknown

    def _resolve_later(self, attempt: Attempt, identity: Identity | None) -> None:
        if not attempt.batches or identity is None:
            # Nothing shuts the door for it, and nothing has to: it is idempotent.
            attempt.decide(OutcomeUnknown(_NOTHING_SENT))
            self._release(identity)
            return
        self._open.add(attempt)
        self.spawn(self._resolve(attempt, identity))

    async def _resolve(self, attempt: Attempt, identity: Identity) -> None:
        try:
            fences = [self._fence(batch, identity) for batch in attempt.batches]
            answers = await asyncio.gather(*fences)
            attempt.decide(_fate_of(attempt.batches, identity, answers))
            for batch, answer in zip(attempt.batches, answers, strict=True):
                if isinstance(answer, RaftlogError):
                    identity.is_good = False
                else:
                    row = identity.row(batch.queue)
                    row.epoch, row.next, row.known = row.epoch + 1, 0, 0
        except asyncio.CancelledError:
            identity.is_good = False
            attempt.decide(OutcomeUnknown("the client was closed before anybody could tell"))
            raise
        finally:
            self._open.discard(attempt)
            self._release(identity)

    async def _fence(
        self, batch: ToSend, identity: Identity
    ) -> "producers.ProducerFenced | RaftlogError":
        """Shut the door of a queue; return how far the epoch had come, or why nobody can."""
        request = producers.FenceProducer(
            queue=batch.queue, producer=identity.number, epoch=identity.row(batch.queue).epoch + 1
        )
        while True:
            try:
                answer, _ = await self.asker.ask(
                    Method.PRODUCER_FENCE,
                    request,
                    producers.ProducerFenced,
                    timeout_s=ERRAND_S,
                    repeats=True,
                )
            except (Retriable, OutcomeUnknown) as error:
                self.trouble = error
                await asyncio.sleep(RETRY_PAUSE_S)
            except (Refused, PeerRefused) as error:
                return error
            else:
                return answer

    # -- tasks

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until it ends or the client is closed."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End everything that goes on behind the scenes; what is unknown then stays unknown."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for attempt in self._open:  # its task had not begun
            attempt.decide(OutcomeUnknown("the client was closed before anybody could tell"))


_Begun = tuple[transactions.CommitTransaction, list[bytes]]
"""The commit and its payload."""


class _Work:
    """One commit: tries until there is an answer or time is over."""

    def __init__(
        self, dispatch: AtomicDispatch, attempt: Attempt, deadline: float, codec: str
    ) -> None:
        self.identity: Identity | None = None
        self._is_too_old = False
        """Whether a copy is perhaps committed, and another one might be, too."""
        self._dispatch: Final = dispatch
        self._attempt: Final = attempt
        self._deadline: Final = deadline
        self._codec: Final = codec
        self._loop: Final = asyncio.get_running_loop()

    async def run(self) -> Committed:
        """Return that it is committed; raises as ``AtomicDispatch.commit``."""
        attempt = self._attempt
        begun = await self._begin()
        while True:
            pause_s = RETRY_PAUSE_S
            try:
                answer = await self._try(*begun)
            except (UnknownProducer, OutOfOrder) as error:
                if attempt.loose or self.identity is None:
                    raise
                self.identity.is_good = False  # the cluster has forgotten it
                begun = await self._begin()
                trouble: RaftlogError = error
            except Throttled as error:
                trouble, pause_s = error, error.retry_after
            except (Retriable, OutcomeUnknown, ProtocolError) as error:
                trouble = error
            except RaftlogError:
                if attempt.loose and not attempt.batches:
                    raise OutcomeUnknown(_NOTHING_SENT) from None
                raise
            else:
                if self.identity is not None:
                    self.identity.advance(attempt.batches)
                return _committed(attempt.batches, answer)
            self._dispatch.trouble = trouble
            if self._is_too_old or self._loop.time() + pause_s >= self._deadline:
                if not attempt.loose:
                    raise trouble
                if not attempt.batches:
                    raise OutcomeUnknown(_NOTHING_SENT) from trouble
                raise OutcomeUnknown(_UNKNOWN, AtomicTicket(attempt)) from trouble
            await asyncio.sleep(pause_s)

    async def _begin(self) -> _Begun:
        """Return the command under an identity of its own; what is too large is staged then."""
        attempt = self._attempt
        payload: list[bytes] = []
        staged: list[transactions.StagedBatch] = []
        if attempt.batches:
            identity, staged = await self._stage()
            payload = [
                identity.encode(batch.queue, batch.columns, self._codec)
                for batch in attempt.batches
            ]
            size = sum(map(len, payload))
            if size > TRANSACTION_BYTES_MAX:
                raise TransactionTooLarge(
                    f"its batches have {size} bytes; {TRANSACTION_BYTES_MAX} at most"
                )
        parts = [
            transactions.TransactionPart(queue=batch.queue, length=len(data))
            for batch, data in zip(attempt.batches, payload, strict=True)
        ]
        message = transactions.CommitTransaction(
            parts=parts,
            offsets=attempt.offsets,
            acks=attempt.acks,
            staged=staged,
            client=self._dispatch.asker.client_id,
        )
        return message, payload

    async def _stage(self) -> tuple[Identity, list[transactions.StagedBatch]]:
        """Stage what goes before the commit, under an identity that the cluster knows."""
        dispatch, attempt = self._dispatch, self._attempt
        while True:
            identity = self.identity = await dispatch.identity(self._deadline)
            identity.begin(attempt.batches)
            stager = Stager(dispatch.asker, identity, self._deadline, self._codec)
            try:
                return identity, await stager.stage(attempt.batches)
            except UnknownProducer:  # it was silent for long; the next one
                if self._loop.time() >= self._deadline:
                    raise

    async def _try(
        self, message: transactions.CommitTransaction, payload: list[bytes]
    ) -> transactions.TransactionCommitted:
        """Ask once; count the copy as loose until it is known what became of it."""
        asker, attempt, identity = self._dispatch.asker, self._attempt, self.identity
        channel = await asker.router.find(max(self._deadline - self._loop.time(), 0.001))
        if attempt.loose and identity is not None and not identity.may_be_sent(attempt.batches):
            self._is_too_old = True  # the machine has slept: a fence tells, perhaps
            raise OutcomeUnknown(_UNKNOWN)
        left_s = max(self._deadline - self._loop.time(), 0.001)
        attempt.loose += 1
        try:
            answer, _ = await channel.call(
                Method.TRANSACTION_COMMIT,
                message,
                transactions.TransactionCommitted,
                payload=payload,
                shard=asker.shard,
                timeout_s=min(left_s, ANSWER_TIMEOUT_S),
            )
        except ProtocolError:  # an answer that can't be read says nothing
            raise
        except RaftlogError as error:
            if error.outcome is Outcome.NOT_APPLIED:
                attempt.loose -= 1
            if isinstance(error, NotLeader):
                asker.router.demote(channel, error)
            elif isinstance(error, Unavailable | OutcomeUnknown):
                asker.router.demote(channel)
            raise
        return answer


class AtomicTicket:
    """For ``Client.resolve``: names one transaction whose outcome was unknown."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt: Final = attempt

    def __repr__(self) -> str:
        """Show nothing of its insides."""
        return "<Ticket of a transaction>"

    async def result(self, timeout_s: float) -> tuple[Receipt, ...]:
        """Wait for what became of it: the receipts, in the order of the sends.

        Raises:
            NotStored: It was not committed and never will be.
            OutcomeUnknown: Nobody could be asked in time; ask again with the same ticket. Or its
                queues may have forgotten it: without a ticket.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return self.attempt.receipts_of(await asyncio.shield(self.attempt.fate))
        except TimeoutError:
            raise OutcomeUnknown("nobody could be asked in time", self) from None


def _committed(batches: Sequence[ToSend], answer: transactions.TransactionCommitted) -> Committed:
    bases = {part.queue: part.base_offset for part in answer.parts}
    return Committed(
        _first_offsets(batches, bases),
        *(answer.term, answer.index, answer.durability, answer.duplicate),
    )


def _first_offsets(batches: Sequence[ToSend], bases: dict[int, int]) -> dict[int, int]:
    """Return where the records of each queue begin, by where those of the commit do."""
    return {
        batch.queue: base if (base := bases[batch.queue]) == GONE else base - batch.staged_count
        for batch in batches
    }


def _fate_of(
    batches: Sequence[ToSend],
    identity: Identity,
    answers: "Sequence[producers.ProducerFenced | RaftlogError]",
) -> Committed | RaftlogError:
    """Return what the fences say: any of them, for all parts are stored or none."""
    found: dict[int, producers.RememberedBatch] = {}
    durability = ""
    is_stored = is_known = False
    may_be_stored = True
    for batch, answer in zip(batches, answers, strict=True):
        if isinstance(answer, RaftlogError):
            continue
        is_known, durability = True, answer.durability
        row = identity.row(batch.queue)
        first = row.next
        is_stored = is_stored or answer.next_sequence > first
        may_be_stored = may_be_stored and row.may_be_stored(answer.next_sequence)
        for each in answer.remembered:
            if (each.base_sequence, each.count) == (first, batch.count):
                found[batch.queue] = each
    if not is_known:
        errors = [answer for answer in answers if isinstance(answer, RaftlogError)]
        gone = all(isinstance(error, WrongQueue) for error in errors)
        return errors[0] if gone else OutcomeUnknown(f"it cannot be resolved: {errors[0]}")
    if not is_stored and may_be_stored:
        return OutcomeUnknown(_FORGOTTEN)
    if not is_stored:
        return NotStored("no copy was committed, and none ever will be")
    if len(found) < len(batches):
        return DuplicateForgotten("it was committed; where is not known any more")
    bases = {queue: each.base_offset for queue, each in found.items()}
    one = next(iter(found.values()))
    return Committed(_first_offsets(batches, bases), one.term, one.index, durability)

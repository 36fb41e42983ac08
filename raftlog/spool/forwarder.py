"""Sends what a spool holds, in order, each record once.

::

    take over      epoch E := old + 2 or more, written down
    left behind    a batch of an epoch e before: fence its queue with e + 1; the answer says
                   whether it is stored, and from then on it never will be
    rounds         fence each queue with E before its first batch, write the batches down
                   (queue, E, sequence, which records), send them, write down what is stored

Wherever that is cut off, the next one finds the batch written down, and the fence tells
what became of it. ``raftlog.sql.relay`` has the schedule that needs the odd epochs. Epochs
follow the clock: two that begin from copies of one directory meet in different ones, and
the later one fences the other, instead of taking its receipts for their own. A clock that is
behind can't part them: then chance does, and one of them fences the other.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from random import randrange
from typing import Final

from raftlog.base.errors import (
    DuplicateForgotten,
    Fenced,
    NoRoom,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    Refused,
    Retriable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import BATCH_RECORDS_MAX, COALESCE_BYTES_MAX
from raftlog.client.ages import BEGINNING_S, Ages
from raftlog.client.forwarding import Forwarding
from raftlog.client.packing import Columns, place_of_key
from raftlog.client.receipts import Receipt
from raftlog.spool.contents import (
    Attempt,
    Contents,
    Held,
    Note,
    Spooled,
    decode_note,
    ready_batches,
)
from raftlog.spool.doubts import Doubts
from raftlog.spool.journal import FORMAT, Identity, Journal
from raftlog.spool.writer import Writer
from raftlog.wire.batch import Producer
from raftlog.wire.schema import client, producers

PAUSE_S: Final = 0.2
"""After a failure of the cluster."""
LOOK_RECORDS: Final = 4 * BATCH_RECORDS_MAX
"""Of one topic, in one round."""
RETRY_S: Final = 30.0
"""What was refused is tried again after it: a topic may have been made meanwhile."""
EPOCHS_APART: Final = 128
"""Among so many epochs a run draws its own, when the clock does not tell copies apart."""
EPOCH_BY_CLOCK_MAX: Final = 1 << 31
"""A clock that is wrong leaves room for epochs to come."""

Told = Callable[[int, Receipt | RaftlogError], None]
"""What becomes of a record, by its number."""


class Forwarder:
    """The way of one spool's records into the cluster.

    Attributes:
        trouble: Why it could not go on the last time; None while all is well.
        stuck: Topics that stand still, and why.
        doubts: Those of their batches of which nobody can say what became of them.
        in_hand: Those of them that somebody settles just now.
        sent: Records that it has seen stored.
        changed: Set after every round.
    """

    def __init__(
        self,
        cluster: Forwarding,
        journal: Journal,
        writer: Writer,
        contents: Contents,
        told: Told,
        now_ms: Callable[[], int],
    ) -> None:
        self.trouble: Exception | None = None
        self.stuck: dict[str, RaftlogError] = {}
        self.doubts: Final = Doubts()
        self.in_hand: set[str] = set()
        self.sent = 0
        self.changed: Final = asyncio.Event()
        self._cluster: Final = cluster
        self._journal: Final = journal
        self._writer: Final = writer
        self._contents: Final = contents
        self._told: Final = told
        self._now_ms: Final = now_ms
        self._ages: Final = Ages(now_ms, contents.noted_ms)
        self._woken: Final = asyncio.Event()
        self._has_begun = False
        self._sequences: dict[int, int] = {}
        """The next one, by queue; a queue that is not here was not fenced in this epoch."""
        self._refused: dict[int, RaftlogError] = {}
        """Why a queue takes nothing; settled when its batch is."""
        self._mislaid: set[str] = set()
        """Topics whose queues were not there, the last time."""
        self._still: set[str] = set()
        """Topics that stood still at some time of this round: it leaves them alone to its end."""
        self._turn = randrange(1 << 16)  # many spools of few records must not share a queue
        self._step = 2 * randrange(1, EPOCHS_APART + 1)
        """From the last run's epoch to this one's, when the clock is behind."""
        self._retried_at = 0.0

    def wake(self) -> None:
        """Look again: something waits."""
        self._woken.set()

    def let_go(self, topic: str, ended: Sequence[Attempt] = ()) -> None:
        """Let a topic that stood still go on, unless other batches of it are in doubt.

        Args:
            topic: It goes on with the next round: this one does not know what was ended.
            ended: Its batches of which a human, not the cluster, has said what became of them.
        """
        for attempt in ended:
            self.doubts.end(attempt)
            self._refused.pop(attempt.queue, None)
            if attempt.epoch == self._journal.identity.epoch:
                # The queue may have it: under its sequence it would take the next batch for it.
                self._has_begun = False
        if self.doubts.of(topic):
            self.stuck[topic] = self.doubts.error(topic)
        else:
            self.stuck.pop(topic, None)
        self.wake()

    async def run(self) -> None:
        """Forward for ever.

        Raises:
            Fenced: A copy of this spool sends, too.
            StorageError: The spool's own disk fails, or lies.
        """
        while True:
            self._woken.clear()
            pause_s = 0.0
            is_done = False
            try:
                is_done = await self._round()
                self.trouble = None
            except _Anew as error:
                self._has_begun = False
                self.trouble = error.error
                pause_s = PAUSE_S
            except (Retriable, OutcomeUnknown, NoRoom) as error:
                self.trouble = error
                pause_s = max(PAUSE_S, getattr(error, "retry_after", PAUSE_S))
            self.changed.set()
            if is_done:
                await self._rest()
            elif pause_s:
                await asyncio.sleep(pause_s)  # a new record does not bring the cluster back

    async def _rest(self) -> None:
        """Wait for a record; where topics stand still, not longer than they may."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S if self.stuck else None):
                await self._woken.wait()

    def _retry_refused(self) -> None:
        """Let topics go on that were refused long ago: it may be otherwise now."""
        now = asyncio.get_running_loop().time()
        if now < self._retried_at + RETRY_S:
            return
        self._retried_at = now
        for topic, error in list(self.stuck.items()):
            if topic in self.in_hand:
                continue
            if not isinstance(error, OutcomeUnknown) or self._has_come_right(topic):
                del self.stuck[topic]

    def _has_come_right(self, topic: str) -> bool:
        """Whether the clock tells again how old a topic's batches are, and did not before."""
        if not self.doubts.has_undated(topic):
            return False
        ages = map(self._ages.of, self._contents.attempts_of(topic))
        return all(age is not None for age in ages)

    # -- one round

    async def _round(self) -> bool:
        """Send a batch to each queue that has some; return whether nothing can be sent now."""
        contents = self._contents
        if not contents.waiting and not contents.attempts:
            return True
        self._retry_refused()
        self._still = set(self.stuck)
        if not self._has_begun:
            await self._take_over()
        epoch = self._journal.identity.epoch
        await self._resolve_all(
            [
                each
                for each in contents.attempts.values()
                if each.epoch != epoch and each.topic not in self._still
            ]
        )
        fresh: list[Attempt] = []
        for topic in list(contents.waiting):
            if topic not in self._still:
                fresh += await self._divide(topic)
        if fresh:
            await self._writer.write(fresh)
            for attempt in fresh:
                self._ages.begin(attempt)  # not before: a round that fails has sent nothing
        under_way = [
            each
            for each in contents.attempts.values()
            if each.epoch == epoch and each.topic not in self._still
        ]
        await self._send_all(under_way)
        return not under_way

    def _stop(self, topic: str, error: RaftlogError) -> None:
        """Let a topic stand still."""
        self.stuck[topic] = error
        self._still.add(topic)

    async def _send_all(self, attempts: Sequence[Attempt]) -> None:
        """Send batches at once, and write down which are stored.

        Raises:
            Exception: What became of another one; the gravest.
        """
        ends = await asyncio.gather(*map(self._send, attempts), return_exceptions=True)
        stored = [
            (attempt, end)
            for attempt, end in zip(attempts, ends, strict=True)
            if not isinstance(end, BaseException)
        ]
        await self._settle(stored)
        failures = [end for end in ends if isinstance(end, BaseException)]
        if failures:
            raise min(failures, key=_passes)

    async def _take_over(self) -> None:
        """Begin an epoch that nobody had, with a producer's id of its own."""
        identity = self._journal.identity
        producer = identity.producer or await self._cluster.draw_producer()
        # They have 32 bits.
        by_clock = min(self._now_ms() // 1000 - BEGINNING_S, EPOCH_BY_CLOCK_MAX) & ~1
        epoch = by_clock if by_clock >= identity.epoch + 2 else identity.epoch + self._step
        await self._writer.do(self._journal.rename_to, Identity(FORMAT, producer, epoch))
        self._step = 2
        self._sequences.clear()
        self._has_begun = True

    async def _resolve_all(self, attempts: Sequence[Attempt]) -> None:
        """Find out what became of batches of epochs before, once for all.

        Then only does a topic stand still: for those of which the cluster can't tell, no others.
        """
        unasked: dict[str, RaftlogError] = {}
        refused: dict[str, RaftlogError] = {}
        topics = {each.topic for each in attempts}
        for topic in topics:
            self.doubts.forget(topic)
        for attempt in attempts:
            try:
                refusal = await self._resolve(attempt)
            except _Unasked as error:
                unasked[attempt.topic] = error.error
            else:
                if refusal is not None:
                    refused[attempt.topic] = refusal
        for topic in topics:
            if topic in unasked:
                self.doubts.forget(topic)  # asked again with the others
                self._stop(topic, unasked[topic])
            elif self.doubts.of(topic):
                self._stop(topic, self.doubts.error(topic))
            elif topic in refused:
                self._stop(topic, refused[topic])

    async def _resolve(self, attempt: Attempt) -> RaftlogError | None:
        """Find out what became of a batch, or note a doubt; return why its queue takes nothing.

        Raises:
            _Unasked: The queue does not tell.
        """
        producer = self._journal.identity.producer
        try:
            fenced = await self._cluster.fence(attempt.queue, producer, attempt.epoch + 1)
        except WrongQueue:  # what it held is gone with it
            self._cluster.forget_queues(attempt.topic)
            self._refused.pop(attempt.queue, None)
            await self._writer.write([self._contents.gave_back(attempt)])
            return None
        except Fenced:
            raise
        except Refused as error:
            raise _Unasked(error) from error
        if fenced.next_sequence >= attempt.sequence + len(attempt.numbers):
            self._refused.pop(attempt.queue, None)
            await self._settle([(attempt, _answer_of(attempt, fenced))])
            return None
        if (doubt := self._ages.doubt(attempt, fenced.next_sequence)) is not None:
            self.doubts.note(attempt, doubt)
            return None
        await self._writer.write([self._contents.gave_back(attempt)])
        return self._refused.pop(attempt.queue, None)

    async def _divide(self, topic: str) -> list[Attempt]:
        """Return the batches that a topic's records make now, each for a queue that is free."""
        identity = self._journal.identity
        found = []
        try:
            for place, queue, batch in await self._batches(topic):
                if queue not in self._sequences:
                    await self._cluster.fence(queue, identity.producer, identity.epoch)
                    self._sequences[queue] = 0
                numbers = tuple(held.at.number for held in batch)
                attempt = Attempt(
                    *(queue, identity.epoch, self._sequences[queue], topic, place),
                    *(self._now_ms(), numbers, self._ages.idle_days(queue)),
                )
                found.append(attempt)
        except Fenced:
            raise
        except WrongQueue as error:
            self._cluster.forget_queues(topic)
            if topic in self._mislaid:  # it is no older topic's queue
                self._stop(topic, error)
            self._mislaid ^= {topic}
            raise _Anew(error) from error
        except Refused as error:
            self._stop(topic, error)
            return []
        self._mislaid.discard(topic)
        return found

    async def _batches(self, topic: str) -> list[tuple[int, int, list[Held]]]:
        """Return what can be sent: places and numbers of queues, and records for them."""
        queues = await self._cluster.queues(topic)
        attempts = self._contents.attempts_of(topic)
        self._turn += 1
        batches = ready_batches(
            list(islice(self._contents.waiting.get(topic, {}).values(), LOOK_RECORDS)),
            lambda held: self._place(held, len(queues)),
            frozenset(each.place for each in attempts),
            BATCH_RECORDS_MAX,
            COALESCE_BYTES_MAX,
        )
        return [(place, queues[place], batch) for place, batch in batches]

    def _place(self, held: Held, queues: int) -> int:
        if held.place is not None:
            if held.place >= queues:
                raise WrongQueue(f"{held.topic!r} has {queues} queues, no {held.place}")
            return held.place
        return self._turn % queues if held.route is None else place_of_key(held.route, queues)

    async def _send(self, attempt: Attempt) -> client.BatchAppended | None:
        """Store a batch; return where, None if that is forgotten."""
        notes = await self._writer.do(self._read, self._contents.held(attempt))
        columns = Columns()
        for note in notes:
            columns.add_record(note.record)
        number = self._journal.identity.producer
        producer = Producer(number, attempt.epoch, attempt.sequence, attempt.sequence)
        needs = self._cluster.needs(attempt.topic)
        fifo = needs.hashes

        def data_while_young() -> bytes:
            if not self._ages.may_be_sent(attempt):
                raise _Anew(None)  # it could be stored again
            return data

        try:
            data = columns.encode(producer=producer, fifo=fifo)
            return await self._cluster.append(attempt.queue, data_while_young)
        except DuplicateForgotten:
            return None
        except WrongQueue as error:
            self._cluster.forget_queues(attempt.topic)
            raise _Anew(error) from error
        except (OutOfOrder, UnknownProducer) as error:  # it was silent here for too long
            raise _Anew(error) from error
        except Fenced:
            raise
        except Refused as error:  # a copy may be under way still: a fence decides first
            if fifo or not needs.hashes:  # else it has just learnt that they are wanted
                self._refused[attempt.queue] = error
            raise _Anew(error) from error

    def _read(self, batch: Sequence[Held]) -> list[Spooled]:
        found = []
        for held in batch:
            note = decode_note(self._journal.read(held.at))
            assert isinstance(note, Spooled), "only records wait"
            found.append(note)
        return found

    async def _settle(self, stored: Sequence[tuple[Attempt, client.BatchAppended | None]]) -> None:
        """Write down what is stored, tell who waits, and remove files that nobody needs."""
        if not stored:
            return
        notes: list[Note] = [self._contents.stored(attempt) for attempt, _ in stored]
        await self._writer.write(notes)
        for attempt, answer in stored:
            if attempt.epoch == self._journal.identity.epoch:
                self._sequences[attempt.queue] = attempt.sequence + len(attempt.numbers)
            self.sent += len(attempt.numbers)
            for place, number in enumerate(attempt.numbers):
                self._told(number, _receipt(attempt, answer, place))
        await self.clear_up()

    async def clear_up(self) -> None:
        """Remove files that nobody needs."""
        oldest = self._contents.oldest_file
        await self._writer.do(self._journal.drop_before, 1 << 63 if oldest is None else oldest)


def _answer_of(attempt: Attempt, fenced: producers.ProducerFenced) -> client.BatchAppended | None:
    for batch in fenced.remembered:
        if batch.base_sequence == attempt.sequence and batch.count == len(attempt.numbers):
            return client.BatchAppended(
                base_offset=batch.base_offset,
                term=batch.term,
                index=batch.index,
                durability=fenced.durability,
                duplicate=True,
            )
    return None


def _receipt(
    attempt: Attempt, answer: client.BatchAppended | None, place: int
) -> Receipt | RaftlogError:
    if answer is None:
        return DuplicateForgotten("it was stored; the broker has forgotten where")
    return Receipt(
        *(attempt.topic, attempt.place, Offset(answer.base_offset + place), Term(answer.term)),
        *(Index(answer.index), answer.durability, answer.duplicate),
    )


class _Unasked(Exception):
    """A queue refuses to tell what became of a batch."""

    def __init__(self, error: RaftlogError) -> None:
        super().__init__(error)
        self.error = error


class _Anew(Exception):
    """Take over again: what is written down and not settled is resolved then."""

    def __init__(self, error: RaftlogError | None) -> None:
        super().__init__(error)
        self.error = error


def _passes(error: BaseException) -> int:
    """Order what has happened to batches, the gravest first."""
    if isinstance(error, Retriable | OutcomeUnknown | NoRoom):
        return 2
    return 1 if isinstance(error, _Anew) else 0

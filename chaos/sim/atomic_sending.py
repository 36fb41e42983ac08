"""How a transaction is sent until somebody knows what became of it.

::

    parts staged, if it has some (``atomic_staging``); never, if that does not end well
    sent --stored: where--------------------------------> stored
     ^ |   no answer: again, the same; then a fence in
     | |   one of its queues says what became of it ----> stored | never
     +-+   refused, and no copy may be on its way ------> never

Each transaction has a producer's epoch to itself as long as nobody knows what became of it:
one that was refused while a copy may still be on its way is fenced like one that nobody
answered.
"""

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.sim.atomic_staging import Stager
from chaos.sim.client_world import Client
from chaos.sim.events import MS_NS
from raftlog.base.errors import Outcome, RaftlogError, Refused
from raftlog.wire.batch import Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, producers, transactions

Ended = Callable[[bool, RaftlogError | None], None]
"""Told once whether it is stored, and the last error; None: it was answered, at once or late."""


class Result:
    """What a transaction has for one queue: the batch of its commit, and what comes before."""

    def __init__(
        self, queue: int, values: list[bytes], known: int, staged: Sequence[list[bytes]] = ()
    ) -> None:
        self.queue: Final = queue
        self.values: Final = values
        self.staged: Final = staged
        self.known: Final = known
        """Where it begins in the sequence of its producer."""
        self.sequence: Final = known + sum(map(len, staged))
        """Where the batch of the commit begins."""

    def batches(self, producer: int, now_ms: int) -> list[bytes]:
        """Return them; the last one is the commit's."""
        found = []
        sequence = self.known
        for values in (*self.staged, self.values):
            # One transaction is on its way at a time: all before it is known.
            maker = Producer(producer, 0, sequence, self.known)
            found.append(encode_columns(values, timestamp_ms=now_ms, producer=maker))
            sequence += len(values)
        return found

    @property
    def all_values(self) -> list[bytes]:
        """Those of all its records, in order."""
        return [value for values in (*self.staged, self.values) for value in values]


class Seat:
    """A producer's identity, for one transaction at a time."""

    def __init__(self, producer: int) -> None:
        self.producer: Final = producer
        self.sequences: Final[dict[int, int]] = {}


class Transaction:
    """A transaction on its way: the same, however often it is sent."""

    def __init__(
        self,
        seat: Seat,
        results: list[Result],
        now_ms: int,
        offsets: Sequence[groups.CommitOffsets] = (),
        acks: Sequence[leases.AckMessages] = (),
    ) -> None:
        self.seat: Final = seat
        self.results: Final = results
        self.parts: Final[list[tuple[int, bytes]]] = []
        """Queues and batches that are staged before the commit."""
        self.names: Final[list[transactions.StagedBatch]] = []
        """Of those that are."""
        batches = []
        for result in results:
            *before, last = result.batches(seat.producer, now_ms)
            self.parts.extend((result.queue, batch) for batch in before)
            batches.append(last)
        self.payload: Final = b"".join(batches)
        self.tries = 0
        self.may_be_stored = False
        """Whether a copy was sent that nobody has answered."""
        self.is_behind = False
        """Whether it is certain that all its parts are staged, and nothing else is stored."""
        self._lengths: Final = [*map(len, batches)]
        self.offsets: Final = offsets
        self._acks: Final = acks

    @property
    def values(self) -> frozenset[bytes]:
        """Those of all its records."""
        return frozenset(value for result in self.results for value in result.all_values)

    def message(
        self, names: Sequence[transactions.StagedBatch] | None = None
    ) -> transactions.CommitTransaction:
        """Return the commit; ``names``: of staged parts, if not of all."""
        return transactions.CommitTransaction(
            parts=[
                transactions.TransactionPart(queue=result.queue, length=length)
                for result, length in zip(self.results, self._lengths, strict=True)
            ],
            offsets=self.offsets,
            acks=self._acks,
            staged=self.names if names is None else names,
        )


COPY_SHARE: Final = 0.05
"""Transactions of which a copy comes when they are answered."""


class TransactionSender:
    """Sends the transactions of one client."""

    def __init__(self, client: Client) -> None:
        self._client: Final = client
        self._world: Final = client.world
        self._stager: Final = Stager(client)

    def begin(self, done: Callable[[Seat | None], None]) -> None:
        """Ask for an identity; None: it did not come."""

        def answered(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                done(None)
                return
            assert isinstance(answer, producers.ProducerBegun), f"answered by {answer!r}"
            done(Seat(answer.producer))

        self._client.ask(Method.PRODUCER_INIT, producers.InitProducer(), answered)

    def results(
        self, seat: Seat, queues: Sequence[int], parts: Sequence[int] | None = None
    ) -> list[Result]:
        """Return new records for each of these queues; ``parts``: so many batches are staged."""
        found = []
        for queue, count in zip(queues, parts or (0,) * len(queues), strict=True):
            staged = [self._values() for _ in range(count)]
            known = seat.sequences.get(queue, 0)
            found.append(Result(queue, self._values(), known, staged))
        return found

    def _values(self) -> list[bytes]:
        world = self._world
        count = world.random.choice((1, 1, 2))
        return [world.value(self._client.name) for _ in range(count)]

    def now_ms(self) -> int:
        """Return the time of a record that is made now."""
        return self._world.queue.now_ns // MS_NS

    def send(self, it: Transaction, cares: Callable[[], bool], ended: Ended) -> None:
        """Send it, until it is known what became of it.

        ``cares``: whether its owner goes on if it is not stored, for which it must be certain.
        The first result's topic stays: its queue is asked by fences.
        """

        def staged(error: RaftlogError | None) -> None:
            if error is None:
                self._commit(it, cares, ended)
            else:
                self._never(it, error, ended)

        self._stager.stage(it, cares, staged)

    def _commit(self, it: Transaction, cares: Callable[[], bool], ended: Ended) -> None:
        world = self._world
        it.tries += 1

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, transactions.TransactionCommitted), f"{answer!r}"
                self._stored(it, [part.base_offset for part in answer.parts])
                ended(True, None)
                if world.random.random() < COPY_SHARE:
                    world.soon(lambda: self._send_copy(it))
                return
            it.may_be_stored |= error.outcome is Outcome.UNKNOWN
            if not cares() and not it.may_be_stored:
                self._never(it, error, ended)
            elif isinstance(error, Refused) or it.tries >= world.random.choice((1, 3, 9)):
                world.marks[f"transactions refused: {error.code}"] += 1
                self._resolve(it, error, ended)
            else:
                world.soon(lambda: self._commit(it, cares, ended))

        self._client.ask(Method.TRANSACTION_COMMIT, it.message(), done, payload=it.payload)

    def _send_copy(self, it: Transaction) -> None:
        """Send what was answered again, as a network may: it is known, and nobody listens."""
        message = Method.TRANSACTION_COMMIT, it.message()
        self._client.ask(*message, lambda *_: None, payload=it.payload)

    def _resolve(self, it: Transaction, error: RaftlogError, ended: Ended) -> None:
        """Learn what became of it; its identity is not used again if that was in doubt."""
        if not it.may_be_stored:
            it.is_behind = bool(it.parts)
            self._never(it, error, ended)
            return
        one = it.results[0]  # a fence in one queue is one for all of it

        def done(
            answer: Message | None, _parts: Sequence[bytes], error_now: RaftlogError | None
        ) -> None:
            if error_now is not None:
                assert not isinstance(error_now, Refused), f"a fence is refused: {error_now}"
                self._world.soon(lambda: self._resolve(it, error, ended))
                return
            assert isinstance(answer, producers.ProducerFenced), f"answered by {answer!r}"
            self._world.marks["transactions resolved"] += 1
            if answer.next_sequence > one.sequence:
                ended(True, error)
            else:
                self._never(it, error, ended)

        message = producers.FenceProducer(queue=one.queue, producer=it.seat.producer, epoch=1)
        self._client.ask(Method.PRODUCER_FENCE, message, done)

    def _stored(self, it: Transaction, offsets: Sequence[int]) -> None:
        facts = self._world.facts
        for result, base in zip(it.results, offsets, strict=True):
            it.seat.sequences[result.queue] = result.sequence + len(result.values)
            first = base - (result.sequence - result.known)
            for number, value in enumerate(result.all_values):
                if base < 0:
                    is_deleted = result.queue in facts.deleted
                    facts.sends.gone(value, result.queue, is_deleted=is_deleted)
                else:
                    facts.sends.acked(value, result.queue, first + number)

    def _never(self, it: Transaction, error: RaftlogError, ended: Ended) -> None:
        for result in it.results:
            if it.is_behind:
                it.seat.sequences[result.queue] = result.sequence
            for value in result.all_values:
                self._world.facts.sends.never(value, str(error))
        ended(False, error)

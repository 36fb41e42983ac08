"""Members that read, make something of it, and commit both in one transaction.

::

    claim --> read [first, after) --> commit { results: a batch each, offsets: after }
                 ^                        |
                 |    stored: after       |  no answer: again, the same; then a fence
                 +---- refused: first ----+  in one of its queues says what became of it

Each transaction has a producer's epoch to itself as long as nobody knows what became of it:
one that was refused while a copy may still be on its way is fenced like one that nobody
answered.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.check.atomic_visibility import Intent
from chaos.sim.atomic_work import GROUP, RESULTS
from chaos.sim.client_world import ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.group_members import GroupMember, Held, Identity
from raftlog.base.errors import Fenced, Outcome, RaftlogError, Refused
from raftlog.wire.batch import Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, producers, transactions

ASTRAY_SHARE: Final = 0.2
"""Results that go where somebody reads them, or where a topic may be gone."""


class _Result:
    """One batch of a transaction."""

    def __init__(self, queue: int, values: list[bytes], sequence: int) -> None:
        self.queue: Final = queue
        self.values: Final = values
        self.sequence: Final = sequence


class _Transaction:
    """A transaction on its way: the same, however often it is sent."""

    def __init__(
        self,
        seat: "_Seat",
        message: transactions.CommitTransaction,
        payload: bytes,
        results: list[_Result],
    ) -> None:
        self.seat: Final = seat
        self.message: Final = message
        self.payload: Final = payload
        self.results: Final = results
        self.tries = 0
        self.may_be_stored = False
        """Whether a copy was sent that nobody has answered."""


class _Seat:
    """A producer's identity, for one transaction at a time."""

    def __init__(self, producer: int) -> None:
        self.producer: Final = producer
        self.sequences: Final[dict[int, int]] = {}


class AtomicMember(GroupMember):
    """A member of ``GROUP``."""

    def __init__(self, world: ClientWorld, name: str, topics: Sequence[str]) -> None:
        super().__init__(world, name, GROUP, topics)
        self._wanted = None
        self._seats: dict[int, _Seat] = {}
        """Those that are free, by the queue that is read."""

    def start(self) -> None:
        """Join; what an earlier life had on its way is for its queue's next owner."""
        self._seats = {}
        super().start()

    def _consume(self, life: int, since: int, queue: int) -> None:
        offset = self._held[queue].position
        identity = self.identity

        def done(after: int) -> None:
            if not self._owns(life, since, queue):
                return
            if after > offset:
                self.world.facts.groups.gives(self.group, queue, offset, after)
                self._settle(life, since, queue, (identity, offset, after))
            else:
                self._go_on(life, since, queue, after)

        self.read(queue, offset, done)

    def _go_on(
        self, life: int, since: int, queue: int, position: int, *, is_committed: bool = False
    ) -> None:
        if self._owns(life, since, queue):
            committed = position if is_committed else self._held[queue].committed
            self._held[queue] = Held(since, position, committed)
            self.world.soon(
                lambda: (
                    self._consume(life, since, queue) if self._owns(life, since, queue) else None
                )
            )

    # -- a transaction

    def _settle(self, life: int, since: int, queue: int, read: tuple[Identity, int, int]) -> None:
        """Make something of what was read, under an identity that is free."""
        if any(name not in self.world.topics for name in RESULTS):
            self._go_on(life, since, queue, read[1])
            return
        seat = self._seats.pop(queue, None)
        if seat is not None:
            self._send(life, since, queue, self._made(seat, queue, since, read), read)
            return

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._owns(life, since, queue):
                return
            if error is None:
                assert isinstance(answer, producers.ProducerBegun), f"answered by {answer!r}"
                self._seats[queue] = _Seat(answer.producer)
            self._go_on(life, since, queue, read[1])

        self.ask(Method.PRODUCER_INIT, producers.InitProducer(), done)

    def _made(
        self, seat: _Seat, queue: int, since: int, read: tuple[Identity, int, int]
    ) -> _Transaction:
        world, (identity, first, after) = self.world, read
        results = []
        for to in self._targets():
            values = [world.value(self.name) for _ in range(world.random.choice((1, 1, 2)))]
            results.append(_Result(to, values, seat.sequences.get(to, 0)))
        batches = [
            encode_columns(
                result.values,
                timestamp_ms=world.queue.now_ns // MS_NS,
                # One is on its way at a time: all before it is known.
                producer=Producer(seat.producer, 0, result.sequence, result.sequence),
            )
            for result in results
        ]
        message = transactions.CommitTransaction(
            parts=[
                transactions.TransactionPart(queue=result.queue, length=len(batch))
                for result, batch in zip(results, batches, strict=True)
            ],
            offsets=[
                groups.CommitOffsets(
                    group=self.group,
                    member=identity.member,
                    generation=since,
                    life=identity.life,
                    offsets=[
                        groups.QueueOffset(
                            queue=queue, offset=after, read_from=self._held[queue].committed
                        )
                    ],
                )
            ],
        )
        made = frozenset(value for result in results for value in result.values)
        world.facts.atomic.begins(Intent(made, (self.group, queue), first, after))
        return _Transaction(seat, message, b"".join(batches), results)

    def _targets(self) -> list[int]:
        """Return one or two queues to write to; there are some."""
        world = self.world
        own = [each.queue for name in RESULTS for each in world.topics[name].queues]
        found = [world.random.choice(own)]
        astray = None if world.stopped else world.some_queue()
        is_astray = astray is not None and world.random.random() < ASTRAY_SHARE
        other = astray if is_astray and astray is not None else world.random.choice(own)
        return found if other in found else [*found, other]

    def _send(
        self,
        life: int,
        since: int,
        queue: int,
        it: _Transaction,
        read: tuple[Identity, int, int],
    ) -> None:
        world = self.world
        it.tries += 1

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, transactions.TransactionCommitted), f"{answer!r}"
                self._stored(it, [part.base_offset for part in answer.parts])
                world.facts.groups.acked(self.group, queue, read[2])
                self._seats[queue] = it.seat
                self._go_on(life, since, queue, read[2], is_committed=True)
                return
            it.may_be_stored |= error.outcome is Outcome.UNKNOWN
            if not self._owns(life, since, queue) and not it.may_be_stored:
                self._never(it, error)
            elif isinstance(error, Refused) or it.tries >= world.random.choice((1, 3, 9)):
                world.marks[f"transactions refused: {error.code}"] += 1
                self._resolve(life, since, queue, it, read, error)
            else:
                world.soon(lambda: self._send(life, since, queue, it, read))

        self.ask(Method.TRANSACTION_COMMIT, it.message, done, payload=it.payload)

    def _resolve(
        self,
        life: int,
        since: int,
        queue: int,
        it: _Transaction,
        read: tuple[Identity, int, int],
        error: RaftlogError,
    ) -> None:
        """Learn what became of it; its identity is not used again."""
        if not it.may_be_stored:
            self._never(it, error)
            self._go_back(life, since, queue, read[1], error)
            return
        one = it.results[0]  # in a topic that stays; a fence in one queue is one for all of it

        def done(
            answer: Message | None, _parts: Sequence[bytes], error_now: RaftlogError | None
        ) -> None:
            if error_now is not None:
                assert not isinstance(error_now, Refused), f"a fence is refused: {error_now}"
                self.world.soon(lambda: self._resolve(life, since, queue, it, read, error))
            else:
                assert isinstance(answer, producers.ProducerFenced), f"answered by {answer!r}"
                self.world.marks["transactions resolved"] += 1
                if answer.next_sequence > one.sequence:
                    self._go_on(life, since, queue, read[2], is_committed=True)
                else:
                    self._never(it, error)
                    self._go_back(life, since, queue, read[1], error)

        message = producers.FenceProducer(queue=one.queue, producer=it.seat.producer, epoch=1)
        self.ask(Method.PRODUCER_FENCE, message, done)

    def _go_back(
        self, life: int, since: int, queue: int, position: int, error: RaftlogError
    ) -> None:
        """It was not stored; if it was fenced, ask what is committed and whose the queue is."""
        if isinstance(error, Fenced) and self._owns(life, since, queue):
            self.world.marks["transactions fenced"] += 1
            self._claim(life, since, queue)
        else:
            self._go_on(life, since, queue, position)

    def _stored(self, it: _Transaction, offsets: Sequence[int]) -> None:
        facts = self.world.facts
        for result, base in zip(it.results, offsets, strict=True):
            it.seat.sequences[result.queue] = result.sequence + len(result.values)
            for number, value in enumerate(result.values):
                if base < 0:
                    is_deleted = result.queue in facts.deleted
                    facts.sends.gone(value, result.queue, is_deleted=is_deleted)
                else:
                    facts.sends.acked(value, result.queue, base + number)

    def _never(self, it: _Transaction, error: RaftlogError) -> None:
        for result in it.results:
            for value in result.values:
                self.world.facts.sends.never(value, str(error))

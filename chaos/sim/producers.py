"""Producers: they send records and write down what they were told.

The idempotent one is the client library's own sequencing, driven by simulated
time and calls: it sends again after lost answers, pipelines, fences and resolves.
The plain one sends each record once, and believes what it hears.
"""

from collections.abc import Sequence

from google.protobuf.message import Message

from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.clocks import true_ms
from chaos.sim.events import MS_NS
from raftlog.base.errors import (
    DuplicateForgotten,
    Outcome,
    RaftlogError,
    Refused,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.later import Later
from raftlog.client.sequencing import (
    Action,
    Fence,
    LookUp,
    Parcel,
    Remembered,
    Retry,
    Send,
    Sequencer,
    Settle,
    Stored,
)
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, delays, producers

HOUR_MS = 3_600_000
TOO_LONG_MS = 41 * 24 * HOUR_MS

KEYED_SHARE = 0.6
"""Batches whose records have keys, in the seeds whose topics take some types."""
IDS_SHARE = 0.4
"""Batches that are one record with a business id, in the seeds that have some."""


class Records:
    """Records of one batch, their owner's name for them, and what they were told."""

    def __init__(
        self, world: ClientWorld, owner: str, queue: int, later: Later | None = None
    ) -> None:
        self.queue = queue
        self.later = later
        """When they are to be visible, if not at once."""
        self.id: str | None = None
        count = world.random.choice((1, 1, 2, 5))
        if later is None and world.config.ids and world.random.random() < IDS_SHARE:
            self.id = f"id-{world.random.randrange(world.config.ids)}"
            count = 1
        self.values = [world.value(owner) for _ in range(count)]
        self.keys: Sequence[bytes | None] | None = None
        self.fifo = False
        """Whether the hashes of the keys are told."""
        if world.config.types and world.random.random() < KEYED_SHARE:
            some = (b"a", b"b") if world.random.random() < 0.8 else (b"a", None)
            self.keys = [world.random.choice(some) for _ in range(count)]
            self.fifo = world.random.random() < 0.9
        self._world = world
        self._after_heal = world.healed

    def batch(self, producer: Producer) -> bytes:
        """Return their bytes."""
        numbers = [int(value.split(b":")[1]) for value in self.values]
        return encode_columns(
            self.values,
            self.keys,
            headers={at: [("n", b"%d" % (n % 10))] for at, n in enumerate(numbers) if n % 4},
            tags=["third" if n % 3 == 0 else None for n in numbers],
            timestamp_ms=self._world.queue.now_ns // MS_NS,
            producer=producer,
            codec=self._world.config.codec,
            id_=self.id,
            fifo=self.fifo,
        )

    def told(self, result: Stored | RaftlogError) -> None:
        """Write down what their owner hears; a second time when it was unknown at first."""
        world, sends = self._world, self._world.facts.sends
        if isinstance(result, Stored):
            world.marks["acked"] += 1
            world.acks_after_heal += self._after_heal
            if self.later is not None:
                for value in self.values:
                    sends.acked_later(value, (self.queue, result.hidden_id))
                return
            if self._is_another_s(result.base_offset):
                return
            for number, value in enumerate(self.values):
                sends.acked(value, self.queue, result.base_offset + number)
            end = result.base_offset + len(self.values)
            world.facts.reads.sees(self.queue, end)
            world.facts.staleness.sees(self.queue, end, world.queue.now_ns)
        elif isinstance(result, DuplicateForgotten):
            world.marks["acked without an offset"] += 1
            for value in () if self._is_another_s(None) else self.values:
                sends.somewhere(value)
        elif isinstance(result, WrongQueue):
            world.marks["queues gone"] += 1
            is_deleted = self.queue in world.facts.deleted
            for value in self.values:
                sends.gone(value, self.queue, is_deleted=is_deleted)
        elif result.outcome is Outcome.UNKNOWN:
            world.marks["unknown"] += 1
        else:
            world.marks[f"never: {result.code}"] += 1
            for value in self.values:
                sends.never(value, str(result))

    def _is_another_s(self, offset: int | None) -> bool:
        """Whether what is stored under the id is not this record; it is there, in any case."""
        if self.id is None:
            return False
        facts = self._world.facts
        facts.ids.told(self.queue, self.id, offset)
        return facts.sends.instead(self.values[0])


def send_once(sender: Client, records: Records, queue: int) -> None:
    """Send records without an identity, and never again."""

    def done(answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None) -> None:
        if error is not None:
            records.told(error)
            return
        assert isinstance(answer, client.BatchAppended), f"append answered by {answer!r}"
        records.told(Stored(Offset(answer.base_offset), Term(answer.term), Index(answer.index)))

    message = client.AppendBatch(queue=queue)
    sender.ask(Method.APPEND, message, done, payload=records.batch(ANONYMOUS))


class PlainProducer(Client):
    """Sends without an identity, each record once."""

    def start(self) -> None:
        """Begin to send."""
        self.world.every(self.world.config.plain_per_s, self._send)

    def _send(self) -> None:
        queue = self.world.some_queue()
        if queue is None:
            return
        send_once(self, Records(self.world, self.name, queue), queue)


class _Parcel(Parcel):
    """A batch on its way, and its records."""

    __slots__ = ("records",)

    def __init__(self, records: Records) -> None:
        super().__init__(len(records.values))
        self.records = records


class IdempotentProducer(Client):
    """A producer of the client library, with a lane for every queue."""

    def __init__(self, world: ClientWorld, name: str) -> None:
        super().__init__(world, name)
        self.producer = 0
        self._lanes: dict[int, Sequencer[_Parcel]] = {}
        self._crashed = False

    def start(self) -> None:
        """Draw an id, then send."""
        self._begin()
        self.world.every(self.world.config.idempotent_per_s, self._send_some)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        return self._crashed or all(lane.is_empty for lane in self._lanes.values())

    def crash(self) -> None:
        """Forget everything: nobody will ever know what became of what is under way."""
        self._crashed = True

    def _begin(self) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                assert not isinstance(error, Refused), f"no producer id: {error}"
                self.world.soon(self._begin)
                return
            assert isinstance(answer, producers.ProducerBegun), f"answered by {answer!r}"
            self.producer = answer.producer

        self.ask(Method.PRODUCER_INIT, producers.InitProducer(), done)

    def _send_some(self) -> None:
        queue = self.world.some_queue()
        if queue is None or not self.producer or self._crashed:
            return
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = Sequencer(self.world.config.in_flight_max)
            self._do(queue, lane, lane.resume())
        if lane.end is not None:
            return
        random, later = self.world.random, None
        if self.world.config.delayed and random.random() < self.world.config.delayed:
            later = self._some_time()
        parcel = _Parcel(Records(self.world, self.name, queue, later))
        self._do(queue, lane, lane.add(parcel))
        patience_ns = self.world.random.choice((300, 1_500, 8_000)) * MS_NS
        self.world.queue.after(patience_ns, lambda: self._do(queue, lane, lane.expired(parcel)))

    def _do(
        self, queue: int, lane: Sequencer[_Parcel], actions: Sequence[Action[_Parcel]]
    ) -> None:
        if self._crashed:
            return
        world = self.world
        for action in actions:
            match action:
                case Send(parcel, copy):
                    self._send(queue, lane, parcel, copy)
                case Settle(parcel, result):
                    parcel.records.told(result)
                    if isinstance(result, Stored) and parcel.records.later is not None:
                        self._perhaps_cancel(parcel.records, result)
                case Retry():
                    world.marks["retries"] += 1
                    world.soon(lambda: self._do(queue, lane, lane.resume()))
                case LookUp(error):
                    self._look_up(queue, lane, error)
                case Fence(epoch):
                    self._fence(queue, lane, epoch)

    def _send(self, queue: int, lane: Sequencer[_Parcel], parcel: _Parcel, copy: int) -> None:
        producer = Producer(self.producer, parcel.epoch, parcel.sequence, parcel.known_through)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            result = error if error is not None else _stored(answer)
            if not self._crashed:
                self._do(queue, lane, lane.answered(parcel, copy, result))

        method, later = Method.APPEND, parcel.records.later
        message: Message = client.AppendBatch(queue=queue)
        if later is not None:
            method = Method.DELAYED_APPEND
            message = delays.AppendDelayed.FromString(later.header(queue))
        self.ask(method, message, done, payload=parcel.records.batch(producer))

    # -- what is to be visible later

    def _some_time(self) -> Later:
        """Draw when: mostly soon, at times never in this run, and rarely too far away."""
        random, world = self.world.random, self.world
        ms = random.choice((0, 30, 300, 1_000, 3_000, 3_000, 8_000, 15_000, HOUR_MS, TOO_LONG_MS))
        if random.random() < 0.5:
            return Later(ms, relative=True)
        now_ms = max(true_ms(world.queue), 1)
        return Later(now_ms + ms - random.choice((0, 5_000)), relative=False)

    def _perhaps_cancel(self, records: Records, stored: Stored) -> None:
        world = self.world
        if world.random.random() >= world.config.cancels:
            return
        message = delays.CancelDelayed(
            queue=records.queue, id=stored.hidden_id, due_ms=stored.due_ms
        )

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, Refused):
                assert isinstance(error, WrongQueue), f"a cancel is refused: {error}"
            elif error is not None:
                world.soon(ask)
            else:
                assert isinstance(answer, delays.DelayedCancelled), f"answered by {answer!r}"
                _cancelled(world, records, answer.how)

        def ask() -> None:
            if not world.stopped and not self._crashed:
                self.ask(Method.DELAYED_CANCEL, message, done)

        world.queue.after(world.random.randrange(4_000) * MS_NS, ask)
        if world.random.random() < 0.3:  # asked twice, it must be answered the same
            world.queue.after(world.random.randrange(8_000) * MS_NS, ask)

    def _look_up(self, queue: int, lane: Sequencer[_Parcel], error: RaftlogError) -> None:
        """Believe that a queue is gone when the topic that had it has it no more."""
        for name, topic in self.world.topics.items():
            if any(each.queue == queue for each in topic.queues):
                self.describe(
                    name, lambda: self.world.soon(lambda: self._look_up(queue, lane, error))
                )
                return
        self._do(queue, lane, lane.abandon(error))

    def _fence(self, queue: int, lane: Sequencer[_Parcel], epoch: int) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if self._crashed or lane.end is not None:
                return
            if isinstance(error, Refused):
                self._do(queue, lane, lane.fence_refused(error))
            elif error is not None:
                self.world.soon(lambda: self._fence(queue, lane, epoch))
            else:
                assert isinstance(answer, producers.ProducerFenced), f"answered by {answer!r}"
                remembered = [_remembered(each) for each in answer.remembered]
                self._do(queue, lane, lane.fenced(answer.next_sequence, remembered))

        message = producers.FenceProducer(queue=queue, producer=self.producer, epoch=epoch)
        self.ask(Method.PRODUCER_FENCE, message, done)


def _cancelled(world: ClientWorld, records: Records, how: int) -> None:
    """Write down what somebody hears who wanted to cancel."""
    sends = world.facts.sends
    for value in records.values:
        if how == delays.CANCELLATION_CANCELLED:
            sends.cancelled(value)
        elif how == delays.CANCELLATION_DELIVERED:
            sends.delivered(value)


def _stored(answer: Message | None) -> Stored:
    if isinstance(answer, delays.BatchDelayed):
        return Stored(
            *(Offset(0), Term(answer.term), Index(answer.index)),
            duplicate=answer.duplicate,
            hidden_id=answer.id,
            due_ms=answer.due_ms,
        )
    assert isinstance(answer, client.BatchAppended), f"append answered by {answer!r}"
    return Stored(
        *(Offset(answer.base_offset), Term(answer.term), Index(answer.index)),
        duplicate=answer.duplicate,
    )


def _remembered(batch: producers.RememberedBatch) -> Remembered:
    stored = Stored(
        *(Offset(batch.base_offset), Term(batch.term), Index(batch.index)),
        hidden_id=batch.hidden_id,
        due_ms=batch.due_ms,
    )
    return Remembered(batch.base_sequence, batch.count, stored)

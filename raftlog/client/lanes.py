"""One producer's way to one queue: packs of records out, receipts back.

::

    add, add, add .. --> open pack --(end of the turn)--> sequencer --> channel
                            ^                                 |
                            +-- grows while there is no room  +--> one receipt per record

What happens when, and in which order, is the sequencer's; here are bytes, timers
and futures. All adds of one turn of the loop share a pack; per record there is one
future and its places in the columns, everything else costs per pack.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    NotLeader,
    OutcomeUnknown,
    ProtocolError,
    RaftlogError,
    Unavailable,
    WrongMessageType,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import BATCH_RECORDS_MAX, COALESCE_BYTES_MAX
from raftlog.client.ages import Sent
from raftlog.client.catalog import TopicNeeds
from raftlog.client.channel import Channel
from raftlog.client.later import DelayedReceipt, Later, handle_of
from raftlog.client.packing import Columns
from raftlog.client.receipts import BatchReceipt, Receipt
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
from raftlog.client.tickets import Answer, WholeReceipt, with_ticket
from raftlog.wire.batch import Producer, Record
from raftlog.wire.batch_header import stamped
from raftlog.wire.frame import Frame, Method
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import client, delays

if TYPE_CHECKING:
    from raftlog.client.dispatch import Dispatch


class Whole(NamedTuple):
    """A batch of ``records`` that came as one; ``later`` if it is to be visible later."""

    data: Buffer
    records: int
    future: "asyncio.Future[BatchReceipt] | asyncio.Future[DelayedReceipt]"
    later: Later | None = None


class Pack(Parcel):
    """The records that share a batch, or a batch that came as one."""

    __slots__ = (
        *("answer", "bytes", "columns", "data", "futures", "is_plain", "number", "parts"),
        *("deadline", "later", "sent", "timeout_s", "whole"),
    )

    def __init__(self, timeout_s: float) -> None:
        super().__init__(1)
        self.timeout_s = timeout_s
        self.deadline = 0.0
        """When its time is over, by ``time.monotonic``; 0 while its time does not run."""
        self.columns = Columns()
        self.is_plain = True
        """Whether no record has anything but a value."""
        self.futures: list[asyncio.Future[Receipt]] = self.columns.futures
        self.whole: asyncio.Future[Any] | None = None
        """For a batch that came as one: its only future."""
        self.later: Later | None = None
        """When such a one is to be visible, if not at once."""
        self.bytes = 0
        self.data: Buffer | None = None
        self.parts: tuple[Buffer, ...] = ()
        """The batch as it was last sent, with ``number``."""
        self.number = (-1, -1)
        self.sent: Sent | None = None
        """When it was first sent with that number."""
        self.answer: Answer | None = None
        """For the tickets of its owners, once they were told that the outcome is unknown."""

    def payload(self, producer: int, codec: str, *, fifo: bool) -> tuple[Buffer, ...]:
        """Return the bytes to send; the same ones for the same number."""
        number = (self.epoch, self.sequence)
        if number == self.number:
            return self.parts
        self.number = number
        header = Producer(producer, self.epoch, self.sequence, self.known_through)
        if self.data is None:
            self.data = self.columns.encode(producer=header, codec=codec, fifo=fifo)
            self.columns = _EMPTY
            self.parts = (self.data,)
        else:
            self.parts = stamped(self.data, header)
        return self.parts

    @property
    def may_be_sent(self) -> bool:
        """Whether its queue knows it for certain, if it is stored."""
        return self.sent is None or self.sent.may_be_sent

    def may_be_stored(self, stored_through: int, next_sequence: int) -> bool:
        """Whether it may be stored although a fence has not found it."""
        return self.sent is not None and self.sent.may_be_stored(stored_through, next_sequence)


_EMPTY: Final = Columns()


class Lane:
    """A way to one queue. Bound to the loop of its dispatch."""

    def __init__(
        self, dispatch: "Dispatch", topic: str, place: int, number: int, needs: TopicNeeds
    ) -> None:
        self.topic = topic
        self.place = place
        self.number = number
        """Of the queue."""
        self.producer = 0
        """Its id; drawn before the first batch leaves."""
        self.is_dirty = False
        """Whether it will be flushed at the end of this turn."""
        self.is_looking = False
        """Whether it waits to hear if its queue is still there."""
        self._needs = needs
        self._dispatch = dispatch
        self._loop = dispatch.loop
        self._sequencer = Sequencer[Pack]()
        self._header = dispatch.append_header(number)
        self._open: Pack | None = None
        self._sent: Sent | None = None
        """When a batch was sent for the first time, the last time."""
        self.moved: list[Pack] = []
        """What was for a queue that is gone; whoever abandons the lane sends it elsewhere."""

    # -- taking

    def add(
        self,
        value: bytes,
        key: bytes | None,
        record: Record | None,
        size: int,
        timeout_s: float,
        future: "asyncio.Future[Receipt]",
    ) -> None:
        """Take one record of about ``size`` bytes; ``record`` if it is more than key and value."""
        if record is not None and record.id is not None:
            self._add_alone(record, size, timeout_s, future)
            return
        if self._needs.keys and (key if record is None else record.key) is None:
            # It will be refused, unless the topic was altered: it alone, not all of a batch.
            self._add_alone(record or Record(value), size, timeout_s, future)
            return
        pack = self._open
        if (
            pack is None
            or pack.bytes + size > COALESCE_BYTES_MAX
            or len(pack.futures) >= BATCH_RECORDS_MAX
            or pack.timeout_s != timeout_s
        ):
            pack = self._begin_pack(timeout_s)
        if record is not None:
            pack.columns.add_record(record)
            pack.is_plain = False
        elif key is None and pack.is_plain:
            pack.columns.values.append(value)
        else:
            pack.columns.add(value, key)
            pack.is_plain = False
        pack.bytes += size
        pack.futures.append(future)

    def _add_alone(
        self, record: Record, size: int, timeout_s: float, future: "asyncio.Future[Receipt]"
    ) -> None:
        """Take a record that has a batch of its own: as one with a business id has (ruling 11)."""
        if self._open is not None:
            self._seal()
        pack = Pack(timeout_s)
        pack.columns.add_record(record)
        pack.is_plain = False
        pack.bytes = size
        pack.futures.append(future)
        self.take(pack)

    def _begin_pack(self, timeout_s: float) -> Pack:
        if self._open is not None:
            self._seal()
        pack = self._open = Pack(timeout_s)
        if not self.is_dirty:
            self._dispatch.touch(self)
        return pack

    def add_batch(self, whole: Whole, timeout_s: float) -> None:
        """Take a batch that came as one; it goes after what was added before."""
        if self._open is not None:
            self._seal()
        pack = Pack(timeout_s)
        pack.count, pack.bytes, pack.data = whole.records, len(whole.data), whole.data
        pack.whole, pack.later = whole.future, whole.later
        self.take(pack)

    def take(self, pack: Pack) -> None:
        """Take a whole pack."""
        self._dispatch.begin(pack, self)
        self.perform(self._sequencer.add(pack))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._open is None and self._sequencer.is_empty

    @property
    def end(self) -> RaftlogError | None:
        """Why nothing can be sent here any more."""
        return self._sequencer.end

    def flush(self) -> None:
        """Send what is open if there is room; else it grows, and its time runs."""
        self.is_dirty = False
        pack = self._open
        if pack is None:
            return
        if self._sequencer.has_room:
            self._seal()
        elif not pack.deadline:
            self._dispatch.begin(pack, self)
            self._ask_to_go_on()

    def give_open(self) -> Pack | None:
        """Return what was added and not taken yet; it is somebody else's now."""
        pack, self._open = self._open, None
        if pack is not None:
            pack.count = len(pack.futures)
        return pack

    def _seal(self) -> None:
        pack, self._open = self._open, None
        assert pack is not None, "nothing is open"
        pack.count = len(pack.futures)
        self.take(pack)

    # -- what the sequencer wants

    def perform(self, actions: list[Action[Pack]]) -> None:
        """Do what the sequencer asks for."""
        for action in actions:
            if isinstance(action, Send):  # these two are every pack's, and patterns take time
                self._send(action.parcel, action.copy)
                continue
            if isinstance(action, Settle):
                self._settle(action.parcel, action.result)
                continue
            match action:
                case Retry(error):
                    self._dispatch.stall(self, error)
                case Fence(epoch):
                    self._dispatch.fence(self, epoch)
                case LookUp(error):
                    self.is_looking = True
                    self._dispatch.look_up(self, error)
        if self._sequencer.is_held or self._sequencer.end is not None:
            self._cannot_go_on()
        elif self._open is not None and not self.is_dirty and self._sequencer.has_room:
            # What has waited for room has waited long enough, whatever the linger.
            self._dispatch.touch(self, lingers=not self._open.deadline)

    def _cannot_go_on(self) -> None:
        if self._sequencer.end is not None:
            self._dispatch.ended(self)
        else:
            self._ask_to_go_on()

    def _ask_to_go_on(self) -> None:
        if self._sequencer.is_held and not self.is_idle and not self.is_looking:
            self._dispatch.stall(self, None)

    def resume(self) -> None:
        """There is a leader, and an id."""
        self.is_looking = False
        self.perform(self._sequencer.resume())

    def fenced(self, next_sequence: int, remembered: Sequence[Remembered]) -> None:
        """The fence is committed."""
        self.perform(self._sequencer.fenced(next_sequence, remembered))

    def abandon(self, error: RaftlogError) -> None:
        """Nothing can be sent here any more."""
        actions = self._sequencer.abandon(error)
        pack = self.give_open()
        if pack is not None:
            actions.append(Settle(pack, error))
        self.perform(actions)

    def _send(self, pack: Pack, copy: int) -> None:
        dispatch = self._dispatch
        channel = dispatch.router.leader
        if channel is None:
            self._answered(pack, copy, Unavailable("the connection to the leader is gone"))
            return
        if pack.number != (pack.epoch, pack.sequence):
            pack.sent = self._sent = Sent.now(self._sent)

        def on_answer(result: Frame | RaftlogError) -> None:
            self._on_answer(pack, copy, channel, result)

        method, header = Method.APPEND, self._header
        if pack.later is not None:
            method, header = (
                Method.DELAYED_APPEND,
                pack.later.header(self.number, dispatch.client_id),
            )
        try:
            channel.request(
                *(method, header),
                pack.payload(self.producer, dispatch.codec, fifo=self._needs.hashes),
                on_answer,
                shard=dispatch.shard,
            )
        except RaftlogError as error:  # nothing was sent
            self._answered(pack, copy, error)

    def _on_answer(
        self, pack: Pack, copy: int, channel: Channel, result: Frame | RaftlogError
    ) -> None:
        if isinstance(result, Frame):
            try:
                stored = _stored(result) if pack.later is None else _hidden(result)
            except ProtocolError as error:
                self._answered(pack, copy, OutcomeUnknown(f"no answer that can be read: {error}"))
                return
            self._answered(pack, copy, stored)
            return
        if isinstance(result, NotLeader):
            self._dispatch.router.demote(channel, result)
        self._answered(pack, copy, result)

    def _answered(self, pack: Pack, copy: int, answer: Stored | RaftlogError) -> None:
        self.perform(self._sequencer.answered(pack, copy, answer))

    def expire(self, pack: Pack) -> None:
        """The time of a pack is over."""
        trouble = self._dispatch.trouble
        if pack is self._open:
            self._open = None
            self._settle(pack, trouble or Unavailable("nothing was sent in time"))
            return
        if pack.last_error is None:
            pack.last_error = trouble
        self.perform(self._sequencer.expired(pack))

    # -- telling

    def _settle(self, pack: Pack, result: Stored | RaftlogError) -> None:
        if pack.answer is not None:  # its owners were told that nobody knew
            pack.answer.tell(self._receipt(pack, result) if isinstance(result, Stored) else result)
            return
        if isinstance(result, WrongQueue) and self.end is not None:  # else its time is over
            self.moved.append(pack)
            return
        if isinstance(result, WrongMessageType):  # the topic was altered since it was looked up
            self._needs.learn(result.takes)
        self._dispatch.settled(pack)
        if pack.is_unknown:
            pack.answer = Answer(self._dispatch, self._loop)
        if pack.whole is not None:
            self._settle_whole(pack, pack.whole, result)
        elif isinstance(result, Stored):
            topic, place, duplicate = self.topic, self.place, result.duplicate
            term, index, durability = result.term, result.index, result.durability
            for offset, future in enumerate(pack.futures, result.base_offset):
                if not future.done():
                    receipt = Receipt(
                        topic, place, Offset(offset), term, index, durability, duplicate
                    )
                    future.set_result(receipt)
        else:
            fail(pack, result)

    def _settle_whole(
        self,
        pack: Pack,
        future: "asyncio.Future[Any]",
        result: Stored | RaftlogError,
    ) -> None:
        if future.done():
            return
        if isinstance(result, Stored):
            future.set_result(self._receipt(pack, result))
        elif isinstance(result, OutcomeUnknown) and pack.answer is not None:
            future.set_exception(with_ticket(result, pack.answer, None))
        else:
            future.set_exception(result)

    def _receipt(self, pack: Pack, stored: Stored) -> WholeReceipt:
        if pack.later is not None:
            handle = handle_of(self.number, stored.hidden_id, stored.due_ms)
            return DelayedReceipt(
                topic=self.topic,
                queue=self.place,
                handle=handle,
                due_ms=stored.due_ms,
                term=stored.term,
                index=stored.index,
                durability=stored.durability,
                duplicate=stored.duplicate,
            )
        return BatchReceipt(
            *(self.topic, self.place, stored.base_offset, pack.count),
            *(stored.term, stored.index, stored.durability, stored.duplicate),
        )


def _stored(answer: Frame) -> Stored:
    found = parse_header(client.BatchAppended, answer.header)
    return Stored(
        *(Offset(found.base_offset), Term(found.term), Index(found.index)),
        *(found.durability, found.duplicate),
    )


def _hidden(answer: Frame) -> Stored:
    found = parse_header(delays.BatchDelayed, answer.header)
    return Stored(
        *(Offset(0), Term(found.term), Index(found.index), found.durability, found.duplicate),
        *(found.id, found.due_ms),
    )


def fail(pack: Pack, error: RaftlogError) -> None:
    """Tell every owner of a pack's records."""
    for place, future in enumerate(pack.futures):
        if future.done():
            continue
        if isinstance(error, OutcomeUnknown) and pack.answer is not None:
            future.set_exception(with_ticket(error, pack.answer, place))
        else:
            future.set_exception(error)
    if pack.whole is not None and not pack.whole.done():
        pack.whole.set_exception(error)

"""Delayed batches: never early by the log time, exactly once, cancelled never."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadDelay,
    Fenced,
    LimitReached,
    NotPermitted,
    OutOfOrder,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.limits import CANCELLED_KNOWN_MS, DELAY_MS_MAX
from raftlog.broker import delays
from raftlog.broker.commands import Command
from raftlog.broker.delays import CancelDelayed, CancelEnded, Cancellation, Delay, Delayed
from raftlog.broker.invariants import check
from raftlog.broker.producers import FenceProducer, ProducerFenced
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, TopicChanges
from raftlog.wire.batch import Producer
from tests.broker.logs import Shard, append, batch_of, delayed, sent, stored_at

PRODUCER = 7 << 16


class World(Shard):
    """A queue, and delays."""

    def __init__(self) -> None:
        super().__init__()
        (self.queue,) = self.topic()

    @property
    def end(self) -> int:
        return self.machine.queues.find(self.queue).end_offset

    def delayed(self, ms: int, by: Producer | None = None, *, absolute: bool = False) -> object:
        delay = Delay(ms, relative=not absolute)
        return self(
            delayed(delay, self.queue) if by is None else delayed(delay, self.queue, by=by)
        )

    def made(self, ms: int) -> Delayed:
        made = self.delayed(ms)
        assert isinstance(made, Delayed), made
        return made

    def at(self, log_time_ms: int) -> None:
        self.log_time_ms = log_time_ms
        self(PassTime())
        check(self.machine)

    def cancel(self, made: Delayed, due_ms: int | None = None) -> Cancellation:
        command = CancelDelayed(self.queue, made.id, made.due_ms if due_ms is None else due_ms)
        ended = self(command)
        assert isinstance(ended, CancelEnded), ended
        return ended.how


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_visible_from_when_it_is_due_and_not_a_millisecond_before(world: World) -> None:
    """The log time of an entry alone decides."""
    made = world.made(500)
    assert made.due_ms == world.log_time_ms + 500
    world.at(made.due_ms - 1)
    assert world.end == 0
    world.at(made.due_ms)
    assert world.end == 1
    world.at(made.due_ms + 1_000)
    assert world.end == 1


def test_what_is_due_comes_before_the_entry_s_own_commands(world: World) -> None:
    """Oldest first, whatever order it was sent in; equal times in the order of sending."""
    for ms in (300, 100, 200, 100):
        world.made(ms)
    world.log_time_ms += 1_000
    stored = world(append(batch_of(b"now"), world.queue))
    assert stored == stored_at(4, 1, len(world.entries))
    postings = world.machine.open_postings(world.queue)
    assert postings is not None
    assert [postings[number].index for number in range(4)] == [3, 5, 4, 2]


@pytest.mark.parametrize("ms", [0, 5_000])
def test_what_is_past_is_delivered_with_the_next_entry(world: World, ms: int) -> None:
    """Zero delay, and a time that was."""
    world.at(10_000)
    made = world.delayed(ms, absolute=bool(ms))
    assert isinstance(made, Delayed)
    assert made.due_ms == 10_000
    assert world.machine.next_due_ms <= world.machine.log_time_ms, "the leader must see to it"
    world(PassTime())
    assert world.end == 1


def test_forty_days_and_not_more(world: World) -> None:
    """By either way of saying it; a refusal takes no sequence number."""
    too_far = Delay(DELAY_MS_MAX + 1, relative=True)
    assert world.refusal(delayed(too_far, world.queue)) is BadDelay
    too_late = Delay(world.log_time_ms + DELAY_MS_MAX + 1, relative=False)
    assert world.refusal(delayed(too_late, world.queue)) is BadDelay
    assert world.refusal(delayed(Delay((1 << 64) - 1, relative=False), world.queue)) is BadDelay
    assert isinstance(world.delayed(DELAY_MS_MAX), Delayed)


def test_what_is_sent_again_is_the_first_one(world: World) -> None:
    """Also after it was delivered, and whatever delay the copy says by then."""
    by = Producer(PRODUCER, 0, 0)
    first = world.delayed(500, by)
    assert isinstance(first, Delayed)
    assert not first.duplicate
    again = world.delayed(900, by)
    assert again == Delayed(first.id, first.due_ms, 1, first.term, first.index, duplicate=True)
    world.at(first.due_ms)
    assert world.delayed(500, by) == again
    assert world.end == 1
    assert len(world.machine.state.delays) == 0


def test_delayed_and_other_batches_share_one_sequence(world: World) -> None:
    """A gap is a gap, and one kind is not the other sent again."""
    world.delayed(500, Producer(PRODUCER, 0, 0))
    assert world(sent(world.queue, PRODUCER, 1)) == stored_at(0, 1, len(world.entries))
    assert world.refusal(sent(world.queue, PRODUCER, 0)) is BadBatch
    assert world.refusal(_by(world, 1)) is BadBatch
    assert world.refusal(_by(world, 3)) is OutOfOrder
    assert world.refusal(delayed(Delay(5, relative=True), world.queue, by=Producer(9, 0, 1))) is (
        UnknownProducer
    )


def _by(world: World, sequence: int) -> Command:
    by = Producer(PRODUCER, 0, sequence)
    return delayed(Delay(5, relative=True), world.queue, by=by)


def test_a_fence_tells_the_handles_of_the_epoch_before(world: World) -> None:
    """Who lost the answer resolves, and may still cancel."""
    made = world.delayed(500, Producer(PRODUCER, 0, 0))
    assert isinstance(made, Delayed)
    fenced = world(FenceProducer(world.queue, PRODUCER, 1))
    assert isinstance(fenced, ProducerFenced)
    (known,) = fenced.remembered
    assert (known.hidden_id, known.due_ms) == (made.id, made.due_ms)
    assert world.refusal(_by(world, 0)) is Fenced


def test_a_topic_that_is_not_writable_delivers_what_it_took_in(world: World) -> None:
    """And takes in no more."""
    made = world.made(500)
    world(AlterTopic("orders", TopicChanges(writable=False)))
    assert world.refusal(delayed(Delay(5, relative=True), world.queue)) is NotPermitted
    world.at(made.due_ms)
    assert world.end == 1


def test_a_queue_that_is_not_there(world: World) -> None:
    """Neither takes nor gives."""
    assert world.refusal(delayed(Delay(5, relative=True), 99)) is WrongQueue
    assert world.refusal(CancelDelayed(99, 5, 5)) is WrongQueue


def test_a_cancel_is_answered_the_same_again(world: World) -> None:
    """The answer was lost with the leader: the second one must not say that it was delivered."""
    made = world.made(500)
    assert world.cancel(made) is Cancellation.CANCELLED
    assert world.cancel(made) is Cancellation.CANCELLED
    world.at(made.due_ms + CANCELLED_KNOWN_MS - 1)
    assert world.cancel(made) is Cancellation.CANCELLED
    assert world.end == 0
    world.at(made.due_ms + CANCELLED_KNOWN_MS)
    assert world.cancel(made) is Cancellation.UNKNOWN


def test_a_cancel_that_comes_late(world: World) -> None:
    """It is told that it is visible, for as long as that is certain."""
    made = world.made(500)
    world.at(made.due_ms)
    assert world.cancel(made) is Cancellation.DELIVERED
    world.at(made.due_ms + CANCELLED_KNOWN_MS)
    assert world.cancel(made) is Cancellation.UNKNOWN


def test_a_handle_that_nobody_was_given(world: World) -> None:
    """It cancels nothing, whatever of it is right."""
    made = world.made(500)
    assert world.cancel(made, due_ms=made.due_ms + 1) is Cancellation.UNKNOWN
    future = Delayed(99 << 16, world.log_time_ms + 5, 1, made.term, made.index)
    assert world.cancel(future) is Cancellation.UNKNOWN
    world.at(made.due_ms)
    assert world.end == 1


def test_so_many_and_not_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound for every table (18): what was cancelled counts until it is forgotten."""
    monkeypatch.setattr(delays, "DELAYED_ROWS_MAX", 2)
    first = world.made(500)
    world.made(500)
    assert world.refusal(delayed(Delay(5, relative=True), world.queue)) is LimitReached
    world.cancel(first)
    assert world.refusal(delayed(Delay(5, relative=True), world.queue)) is LimitReached
    world.at(first.due_ms)
    assert isinstance(world.delayed(500), Delayed)


def test_who_is_due_soon_is_told_in_parts(world: World) -> None:
    """In the order of time, each once, for who copies them before."""
    rows = [world.made(ms) for ms in (300, 100, 200, 5_000)]
    table = world.machine.state.delays
    found, after = table.soon(world.log_time_ms + 1_000, None, 2)
    assert [row.id for row in found] == [rows[1].id, rows[2].id]
    found, after = table.soon(world.log_time_ms + 1_000, after, 2)
    assert [row.id for row in found] == [rows[0].id]
    assert table.soon(world.log_time_ms + 1_000, after, 2) == ([], after)

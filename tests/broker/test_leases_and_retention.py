"""What queue-style groups keep, and what goes on whatever they hold."""

import pytest

from raftlog.base.ids import Offset, Term
from raftlog.broker.lease_commands import (
    AckMessages,
    Leased,
    ReceiveMessages,
    ReturnMessages,
    Settled,
)
from raftlog.broker.queue_groups import (
    DEAD_LETTER_RETENTION_MS,
    OpenQueueGroup,
    Poison,
    QueueGroupChanges,
)
from raftlog.broker.topics import (
    DEFAULT_RETENTION_MS,
    AlterTopic,
    MoveConsumed,
    MoveStart,
    StartMoved,
    TopicChanges,
)
from tests.broker.leases import GROUP, A, B, C, Queue
from tests.broker.logs import FIRST


def test_what_is_nobodys_is_swept_although_a_new_leader_holds_all_leases() -> None:
    """A replica restored from a snapshot swept it, one that had applied everything never did."""
    queue = Queue(in_flight_max=2)
    assert queue.lease(A, 2) == [0, 1]
    queue.give(A, 0, 1, delay_ms=0)
    queue.pass_ms(DEFAULT_RETENTION_MS)
    queue(MoveStart(FIRST, 2))
    queue.term = Term(queue.term + 1)
    queue.pass_ms(1)
    queue.pass_ms(1)
    assert queue.in_flight == 0
    assert queue.lease(B, 2) == [2, 3]


def test_what_a_group_has_not_begun_is_not_consumed() -> None:
    """A queue that its topic was given later: retention took what the group had never seen."""
    queue = Queue(0)
    changes = TopicChanges(queues=2, until_consumed=True, retention_ms=1_000_000_000)
    queue(AlterTopic("orders", changes))
    topic = queue.machine.topics.get("orders")
    assert topic is not None
    second = topic.queues[1]
    queue.send(3, second)
    queue(OpenQueueGroup("other", ("orders",), QueueGroupChanges()))
    leased = queue(ReceiveMessages("other", B, 10))
    assert isinstance(leased, Leased)
    offsets = tuple(offset for number, offset, _ in leased.messages if number == second)
    queue(AckMessages("other", ((B, second, offsets),)))
    queue(MoveConsumed(second, 3))
    stored = queue.machine.queues.get(second)
    assert stored is not None
    assert stored.start_offset == 0
    mine = queue(ReceiveMessages(GROUP, A, 10))
    assert isinstance(mine, Leased)
    assert len(mine.messages) == len(offsets) == 3


def test_what_is_leased_is_not_taken_by_retention() -> None:
    """Nor is a key freed by it: two consumers would work on one."""
    queue = Queue(2, fifo=True)
    assert queue.lease(A, 1, [b"k", b"k"]) == [0]
    assert queue(MoveStart(FIRST, 2)) == StartMoved(Offset(0))
    queue.pass_ms(1)
    assert queue.lease(B, 1, [b"k", b"k"]) == []
    assert queue.ack(A, 0) == Settled()
    assert queue(MoveStart(FIRST, 1)) == StartMoved(Offset(1))
    assert queue.lease(B, 1, [b"k", b"k"]) == [1]
    assert queue.row.expired == 0


def test_what_waits_to_be_tried_again_is_kept_for_one_retention_from_then() -> None:
    """A group that nobody works for any more does not hold its topic for ever."""
    queue = Queue(3)
    assert queue.lease(A, 2) == [0, 1]
    queue.give(A, 0, 1, delay_ms=7_000)
    queue.pass_ms(7_000 + DEFAULT_RETENTION_MS - 1)
    assert queue(MoveStart(FIRST, 2)) == StartMoved(Offset(0))
    queue.pass_ms(1)
    assert queue(MoveStart(FIRST, 2)) == StartMoved(Offset(2))
    queue.pass_ms(0)
    assert (queue.in_flight, queue.row.expired) == (0, 2)


@pytest.mark.parametrize("poison", [Poison.DEAD_LETTER, Poison.BLOCK])
def test_what_is_dead_or_blocked_is_kept_as_long_as_dead_letters(poison: Poison) -> None:
    """A letter that is not stored yet was lost: retention was faster."""
    queue = Queue(1, attempts_max=1, poison=poison)
    queue.lease(A)
    queue.give(A, 0)
    queue.pass_ms(DEAD_LETTER_RETENTION_MS - 1)
    assert queue(MoveStart(FIRST, 1)) == StartMoved(Offset(0))
    queue.pass_ms(1)
    assert queue(MoveStart(FIRST, 1)) == StartMoved(Offset(1))


def test_what_is_parked_goes_with_what_it_waits_for() -> None:
    """One after the other it would hold its topic for a retention each."""
    queue = Queue(5, fifo=True)
    queue.lease(A, 5, [b"k"] * 5)
    queue.give(A, 0)
    queue.pass_ms(2 * DEFAULT_RETENTION_MS)
    assert queue(MoveStart(FIRST, 5)) == StartMoved(Offset(5))
    queue.pass_ms(0)
    assert queue.in_flight == 0


def test_what_waits_in_a_queue_that_cannot_be_read_is_leased_to_nobody() -> None:
    """And to whoever asks first when it can be again, also on a replica that was restored."""
    queue = Queue(2)
    (other,) = queue.topic("other", 1)
    queue(OpenQueueGroup(GROUP, ("other",), QueueGroupChanges()))
    queue.send(1, other)
    leased = queue(ReceiveMessages(GROUP, A, 3))
    assert isinstance(leased, Leased)
    names = tuple((A, number, (offset,)) for number, offset, _ in leased.messages)
    queue(ReturnMessages(GROUP, names, delay_ms=0))
    queue(AlterTopic("orders", TopicChanges(readable=False)))
    found = queue(ReceiveMessages(GROUP, B, 3))
    assert isinstance(found, Leased)
    assert found.messages == ((other, 0, 2),)
    assert queue.machine.leasing.ready(queue.row, queue.log_time_ms, 1) == 0
    queue(AlterTopic("orders", TopicChanges(readable=True)))
    assert queue.machine.leasing.ready(queue.row, queue.log_time_ms, 1) == 1
    assert queue.lease(C, 3) == [0, 1]

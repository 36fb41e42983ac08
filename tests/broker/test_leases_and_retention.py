"""What queue-style groups keep, and what goes on whatever they hold."""

from raftlog.base.ids import Term
from raftlog.broker.lease_commands import AckMessages, Leased, ReceiveMessages
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.topics import AlterTopic, MoveConsumed, MoveStart, TopicChanges
from tests.broker.leases import GROUP, A, B, Queue
from tests.broker.logs import FIRST


def test_what_is_nobodys_is_swept_although_a_new_leader_holds_all_leases() -> None:
    """A replica restored from a snapshot swept it, one that had applied everything never did."""
    queue = Queue(in_flight_max=2)
    assert queue.lease(A, 2) == [0, 1]
    queue.give(A, 0, 1, delay_ms=0)
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

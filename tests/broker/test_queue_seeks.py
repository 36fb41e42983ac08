"""Seeks of queue-style groups: where a group goes on, and what becomes of what is in flight."""

import pytest

from raftlog.base.errors import (
    BadRequest,
    GroupNotFound,
    GroupStyle,
    LimitReached,
    OffsetOutOfRange,
    StaleLease,
    WrongQueue,
)
from raftlog.broker import queue_seeks
from raftlog.broker.flights import BLOCKED, DEAD
from raftlog.broker.group_commands import JoinGroup
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import GiveBack, Settled
from raftlog.broker.queue_groups import OpenQueueGroup, Poison, QueueGroupChanges
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup, SoughtQueue
from raftlog.broker.topics import MoveStart
from tests.broker.leases import GROUP, A, B, C, Queue
from tests.broker.logs import FIRST, Shard


class Seeking(Queue):
    """A queue whose group seeks."""

    def seek(self, offset: int) -> SoughtQueue:
        """Look, then do it: both say the same."""
        command = SeekQueueGroup(GROUP, ((FIRST, offset),))
        planned = self.machine.leasing.seeks.plan(command)
        done = self(command)
        assert isinstance(done, QueueGroupSought), done
        assert done == planned
        check(self.machine)
        return done.queues[0]

    @property
    def cursor(self) -> int:
        found = self.machine.leasing.groups.cursor(self.row, FIRST)
        return -1 if found is None else found.next


def test_back_to_the_beginning_all_is_leased_again() -> None:
    """What was acknowledged, too; with a first attempt."""
    queue = Seeking()
    queue.lease(A, 3)
    queue.ack(A, 0, 1, 2)
    assert queue.seek(0) == SoughtQueue(FIRST, 3, 0, 0, 0, 0, 0)
    assert queue.lease(B, 9) == [0, 1, 2, 3, 4]
    assert queue.attempts(B) == [1] * 5


def test_to_the_end_what_was_never_leased_is_passed_over() -> None:
    """And comes no more."""
    queue = Seeking()
    assert queue.seek(5) == SoughtQueue(FIRST, 0, 5, 0, 0, 0, 0)
    assert queue.lease(A, 9) == []
    queue.send(1)
    assert queue.lease(B, 9) == [5]


def test_what_is_leased_before_the_place_is_settled_as_ever() -> None:
    """Somebody works on it: to end it would be to lose it."""
    queue = Seeking(retry_ms=(0,))
    queue.lease(A, 2)
    assert queue.seek(5).kept == 2
    assert queue.ack(A, 0) == Settled()
    queue.give(A, 1)
    assert queue.lease(B, 9) == [1]


def test_what_is_leased_from_there_on_is_somebody_else_s() -> None:
    """Who holds it is told so, before and after it is leased again."""
    queue = Seeking()
    queue.lease(A, 4)
    assert queue.seek(1) == SoughtQueue(FIRST, 4, 1, 1, 3, 0, 0)
    assert isinstance(queue.ack(A, 2), StaleLease)
    assert queue.lease(B, 2) == [1, 2]
    assert isinstance(queue.ack(A, 2), StaleLease)
    assert queue.ack(A, 0) == Settled()
    assert queue.in_flight == 2


def test_what_waits_is_blocked_or_dead_is_ended_as_well() -> None:
    """A letter that is not stored yet is not stored any more."""
    queue = Seeking(attempts_max=1, poison=int(Poison.BLOCK))
    queue.lease(A, 1)
    queue.give(A, 0)
    assert queue.state_of(0) == BLOCKED
    assert queue.seek(0).failed == 1
    queue(OpenQueueGroup(GROUP, (), QueueGroupChanges(poison=int(Poison.DEAD_LETTER))))
    queue.lease(B, 1)
    queue.give(B, 0, how=GiveBack.REJECT)
    assert queue.state_of(0) == DEAD
    assert queue.seek(0).failed == 1
    assert isinstance(queue.bury(0), StaleLease)
    queue(OpenQueueGroup(GROUP, (), QueueGroupChanges(attempts_max=3)))
    queue.lease(C, 1)
    queue.give(C, 0)
    assert queue.seek(0).waiting == 1
    assert queue.in_flight == 0


def test_a_dead_letter_that_is_stored_stays() -> None:
    """The message comes again, and is perhaps a second one."""
    queue = Seeking(attempts_max=1)
    queue.lease(A, 1)
    queue.give(A, 0)
    queue.bury(0)
    queue.seek(0)
    assert queue.row.dead_letters == 1
    assert queue.lease(B, 1) == [0]


def test_in_order_by_key_the_line_begins_anew() -> None:
    """Those that were parked stand in line again when they are leased again."""
    queue = Seeking(fifo=True)
    keys = (b"k", b"k", b"k", b"k", b"k")
    assert queue.lease(A, 5, keys) == [0]
    assert queue.seek(1) == SoughtQueue(FIRST, 5, 1, 1, 0, 4, 0)
    assert queue.lease(B, 5, keys) == []
    queue.ack(A, 0)
    assert queue.lease(C, 5, keys) == [1]
    assert queue.seek(0).waiting == 3
    assert queue.lease(A, 1, keys) == [0]


def test_who_finishes_it_the_second_time_may_say_so_twice() -> None:
    """Who had finished it the first time does not matter any more."""
    queue = Seeking(retry_ms=(0,))
    queue.lease(A, 1)
    queue.give(A, 0)
    queue.lease(B, 1)
    queue.ack(B, 0)
    queue.seek(0)
    queue.lease(C, 1)
    assert queue.ack(C, 0) == queue.ack(C, 0) == Settled()
    queue.pass_ms(10**9)


def test_retention_until_consumed_counts_from_there() -> None:
    """What is to come again is not consumed."""
    queue = Seeking()
    queue.lease(A, 5)
    queue.ack(A, 0, 1, 2, 3, 4)
    assert queue.machine.leasing.finished_through("orders", FIRST) == 5
    queue.seek(2)
    assert queue.machine.leasing.finished_through("orders", FIRST) == 2


def test_what_can_not_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its own error, and nothing is changed."""
    queue = Seeking()
    (bills,) = queue.topic("bills")
    queue(JoinGroup("stream", "m", ("orders",), 10_000))
    queue(MoveStart(FIRST, 1))
    queue.lease(A, 3)
    cases = [
        (OffsetOutOfRange, GROUP, ((FIRST, 6),)),
        (OffsetOutOfRange, GROUP, ((FIRST, 0),)),
        (WrongQueue, GROUP, ((FIRST, 1), (99, 0))),
        (BadRequest, GROUP, ((bills, 0),)),
        (GroupNotFound, "nobody", ((FIRST, 1),)),
        (GroupStyle, "stream", ((FIRST, 1),)),
    ]
    for error, group, offsets in cases:
        assert queue.refusal(SeekQueueGroup(group, offsets)) is error
    monkeypatch.setattr(queue_seeks, "MESSAGES_SOUGHT_MAX", 2)
    assert queue.refusal(SeekQueueGroup(GROUP, ((FIRST, 1),))) is LimitReached
    assert queue.seek(2).leased == 2


def test_below_level_4_there_is_none() -> None:
    """An older member could not read it."""
    shard = Shard(3)
    shard.topic("orders")
    shard(OpenQueueGroup(GROUP, ("orders",), QueueGroupChanges()))
    assert shard.refusal(SeekQueueGroup(GROUP, ((FIRST, 0),))) is BadRequest


def test_what_retention_took_before_it_was_leased_is_counted() -> None:
    """Also where the group goes on behind it by a seek instead of a lease."""
    queue = Seeking()
    queue.lease(A, 1)
    queue.ack(A, 0)
    queue(MoveStart(FIRST, 3))
    assert queue.seek(4) == SoughtQueue(FIRST, 3, 4, 0, 0, 0, 0)
    assert queue.row.expired == 2
    queue.seek(3)
    assert queue.row.expired == 2

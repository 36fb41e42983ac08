"""What is blocked, and since when: told without a look at what else is in flight."""

import pytest

from raftlog.broker.flights import BLOCKED
from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import DecideBlocked, GiveBack, Verdict
from raftlog.broker.queue_groups import Poison
from raftlog.broker.queue_seeks import SeekQueueGroup
from tests.broker.leases import GROUP, A, Queue
from tests.broker.logs import FIRST
from tests.broker.test_due import cut


def blocking(records: int = 4) -> Queue:
    """Return a group that blocks, with all of its messages leased."""
    queue = Queue(records, attempts_max=1, poison=int(Poison.BLOCK))
    queue.lease(A, records)
    return queue


def blocked(queue: Queue, after: int = -1) -> list[int]:
    """Return the offsets that are blocked."""
    found = queue.machine.leasing.flights.blocked.after(queue.group.number, (FIRST, after))
    return [offset for _, _, offset in found]


def since_ms(queue: Queue) -> int | None:
    """Return since when the oldest one is."""
    return queue.machine.leasing.flights.blocked.since_ms().get(queue.group.number)


def test_the_oldest_tells_since_when_a_group_waits() -> None:
    """It is not the first one of the queue; and what is decided waits no more."""
    queue = blocking()
    assert since_ms(queue) is None
    queue.give(A, 3)
    first_ms = queue.log_time_ms
    queue.pass_ms(1_000)
    queue.give(A, 0, 1, how=GiveBack.REJECT)
    second_ms = queue.log_time_ms
    assert (blocked(queue), blocked(queue, after=0)) == ([0, 1, 3], [1, 3])
    assert since_ms(queue) == first_ms < second_ms
    queue(DecideBlocked(GROUP, FIRST, 3, Verdict.RETRY))
    assert (blocked(queue), since_ms(queue)) == ([0, 1], second_ms)
    queue(DecideBlocked(GROUP, FIRST, 0, Verdict.SKIP))
    queue(DecideBlocked(GROUP, FIRST, 1, Verdict.DEAD_LETTER))
    assert (blocked(queue), since_ms(queue)) == ([], None)
    assert len(queue.machine.leasing.flights.blocked) == 0
    check(queue.machine)


def test_a_lease_that_ends_blocks_by_the_entry_that_ended_it() -> None:
    """Nobody has said anything: the log time of that entry counts."""
    queue = blocking(1)
    queue.pass_ms(31_000)
    assert queue.state_of(0) == BLOCKED
    assert since_ms(queue) == queue.log_time_ms


def test_a_seek_and_the_end_of_a_group_end_it_too() -> None:
    """As they end everything in flight."""
    queue = blocking()
    queue.give(A, 0, 1, 2, 3)
    queue(SeekQueueGroup(GROUP, ((FIRST, 2),)))
    assert blocked(queue) == [0, 1]
    check(queue.machine)
    queue(DeleteGroup(GROUP))
    queue.pass_ms(1)
    assert (blocked(queue), since_ms(queue)) == ([], None)


def test_a_snapshot_loses_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no row: a replica that begins with a snapshot makes it from the rows in flight."""
    queue = blocking()
    queue.give(A, 2)
    first_ms = queue.log_time_ms
    queue.pass_ms(1_000)
    queue.give(A, 1)
    late = cut(queue, monkeypatch)
    assert late.leasing.flights.blocked.since_ms() == {queue.group.number: first_ms}
    assert len(late.leasing.flights.blocked) == 2
    check(late)

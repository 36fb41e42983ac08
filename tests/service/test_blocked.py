"""The alarm of what is blocked: it names who waits longest, and how many, in one sentence."""

from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.lease_commands import (
    DecideBlocked,
    GiveBack,
    ReceiveMessages,
    ReturnMessages,
    Verdict,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import OpenQueueGroup, Poison, QueueGroupChanges
from raftlog.service.blocked import blocked_alarm
from tests.broker.leases import A, Queue
from tests.broker.logs import FIRST

BLOCKS = QueueGroupChanges(poison=int(Poison.BLOCK))


def block(queue: Queue, group: str, count: int) -> None:
    """Let a group block the first messages of the queue."""
    queue(OpenQueueGroup(group, ("orders",), BLOCKS))
    queue(ReceiveMessages(group, A, count))
    names = ((A, FIRST, tuple(range(count))),)
    queue.log_time_ms += 1_000
    queue(ReturnMessages(group, names, GiveBack.REJECT, reason="no"))


def said(machine: BrokerMachine) -> str:
    alarm = blocked_alarm(machine)
    assert alarm is not None
    return alarm


def test_nothing_is_said_while_nobody_has_to_decide() -> None:
    """What waits for a retry, or goes to the dead letters, waits for nobody."""
    queue = Queue(2)
    queue.lease(A, 2)
    queue.give(A, 0)
    queue.give(A, 1, how=GiveBack.REJECT)
    assert blocked_alarm(queue.machine) is None


def test_a_group_is_named_with_how_many_since_when() -> None:
    """And is not any more when somebody has decided about the last one."""
    queue = Queue(3)
    queue.log_time_ms = 1_700_000_000_000
    block(queue, "careful", 2)
    alarm = said(queue.machine)
    assert alarm.startswith("2 message(s)")
    assert "2 of group 'careful' since 2023-11-14T22:13:21+00:00" in alarm
    assert "raftlog queue-group in-flight careful --blocked" in alarm
    queue(DecideBlocked("careful", FIRST, 0, Verdict.SKIP))
    assert "1 of group 'careful' since" in said(queue.machine)
    queue(DecideBlocked("careful", FIRST, 1, Verdict.RETRY))
    assert blocked_alarm(queue.machine) is None


def test_of_many_groups_those_that_wait_longest_are_named() -> None:
    """The sentence stays one; all of them count."""
    queue = Queue(1)
    for name in ("d", "c", "b", "a", "z"):
        block(queue, name, 1)
    alarm = said(queue.machine)
    assert alarm.startswith("5 message(s)")
    places = [alarm.index(f"group '{name}'") for name in ("d", "c", "b")]
    assert places == sorted(places)
    assert "those of 2 more group(s)" in alarm
    assert "in-flight d --blocked" in alarm


def test_a_group_that_is_deleted_raises_no_alarm() -> None:
    """Its rows are swept away a few at a time; nobody can decide about them."""
    queue = Queue(1)
    block(queue, "careful", 1)
    queue(DeleteGroup("careful"))
    assert len(queue.machine.leasing.flights.blocked) == 1
    assert blocked_alarm(queue.machine) is None

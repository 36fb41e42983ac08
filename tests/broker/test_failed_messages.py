"""Messages that nobody can handle, and those that wait behind them."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    GroupInUse,
    NotPermitted,
    StaleLease,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import FINISHERS_KNOWN_MS
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.dead_letters import DeadLetterStored
from raftlog.broker.flights import BLOCKED, PARKED, WAITING
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    GiveBack,
    ReturnMessages,
    Settled,
    Verdict,
)
from raftlog.broker.queue_groups import (
    OpenQueueGroup,
    Poison,
    QueueGroup,
    QueueGroupChanges,
)
from raftlog.broker.topics import AlterTopic, TopicChanges
from tests.broker.leases import GROUP, A, B, C, Queue, held
from tests.broker.logs import FIRST, batch_of

# -- messages that nobody can handle


def test_a_dead_letter_is_stored_once() -> None:
    """A second leader reads the message too, and comes second."""
    queue = Queue(2)
    queue.lease(A, 2)
    assert queue.give(A, 0, how=GiveBack.REJECT) == Settled()
    assert queue.in_flight == 2, "until the letter is stored, it is in flight"
    assert queue.bury(0) == DeadLetterStored("%DLQ%work", 2, Offset(0))
    assert queue.in_flight == 1
    assert isinstance(queue.bury(0), StaleLease)
    assert isinstance(queue.bury(1), StaleLease), "a message that is leased is not dead"
    assert isinstance(queue.bury(1, group=5), StaleLease)
    topic = queue.machine.topics.find("%DLQ%work")
    (number,) = topic.queues
    letters = queue.machine.queues.find(number)
    assert (letters.start_offset, letters.end_offset) == (0, 1)
    postings = queue.machine.open_postings(number)
    assert postings is not None
    posting = postings[0]
    body = queue.entries[int(posting.index) - 1].body
    batch = batch_of(b"dead")
    assert bytes(body[posting.position : posting.position + posting.length]) == batch
    assert queue.row.dead_letters == 1


def test_no_letter_is_stored_that_is_none() -> None:
    """Bytes of a foreign hand are refused, whatever they are."""
    queue = Queue(1)
    for data in (b"", b"x" * 19, b"x" * 300):
        (outcome,) = queue.all_of(Command(CommandType.DEAD_LETTER, (data,)))
        assert isinstance(outcome, BadBatch)


def test_a_letter_waits_for_its_topic() -> None:
    """It stays in flight while it can't be stored; nothing of it is lost."""
    queue = Queue(2)
    queue.lease(A, 2)
    queue.give(A, 0, 1, how=GiveBack.REJECT)
    queue.bury(0)
    queue(AlterTopic("%DLQ%work", TopicChanges(writable=False)))
    assert isinstance(queue.bury(1), NotPermitted)
    queue(AlterTopic("%DLQ%work", TopicChanges(writable=True)))
    assert queue.bury(1) == DeadLetterStored("%DLQ%work", 2, Offset(1))


def test_poison_may_be_skipped() -> None:
    """Counted, so that it is not silent."""
    queue = Queue(1, attempts_max=1, poison=int(Poison.SKIP))
    queue.lease(A)
    queue.give(A, 0)
    assert (queue.in_flight, queue.row.skipped) == (0, 1)


@pytest.mark.parametrize("verdict", Verdict)
def test_poison_may_block_until_somebody_decides(verdict: Verdict) -> None:
    """Retry begins to count anew; skip and dead letter are what a policy would have done."""
    queue = Queue(1, attempts_max=1, poison=int(Poison.BLOCK))
    decide = DecideBlocked(GROUP, FIRST, 0, verdict)
    queue.lease(A)
    assert queue.refusal(decide) is StaleLease
    queue.give(A, 0)
    assert queue.state_of(0) == BLOCKED
    queue.pass_ms(10**9)
    assert queue.lease(B) == []
    assert queue(decide) == Settled()
    match verdict:
        case Verdict.RETRY:
            assert queue.attempts(C) == [1]
        case Verdict.SKIP:
            assert (queue.in_flight, queue.row.skipped) == (0, 1)
        case _:
            assert isinstance(queue.bury(0), DeadLetterStored)


# -- order by key


def test_a_key_goes_on_only_when_the_message_before_is_finished() -> None:
    """Another key's messages overtake; those without a key wait for nobody."""
    queue = Queue(5, fifo=True)
    keys = (b"x", b"x", b"y", None, b"x")
    assert queue.lease(A, 9, keys) == [0, 2, 3]
    assert queue.state_of(1) == queue.state_of(4) == PARKED
    assert queue.lease(B, 9, keys) == []
    queue.ack(A, 2)
    assert queue.lease(B, 9, keys) == []
    queue.ack(A, 0)
    assert queue.lease(B, 9, keys) == [1]
    queue.ack(B, 1)
    assert queue.lease(C, 9, keys) == [4]
    assert queue.attempts(C) == [1]


@pytest.mark.parametrize("end", ["retry", "dead letter", "skip"])
def test_what_comes_back_keeps_its_place_in_line(end: str) -> None:
    """A failed message holds its key until it is done, skipped or a dead letter: no longer."""
    poison = Poison.SKIP if end == "skip" else Poison.DEAD_LETTER
    queue = Queue(2, fifo=True, attempts_max=2, poison=int(poison))
    keys = (b"x", b"x")
    queue.lease(A, 9, keys)
    queue.give(A, 0, delay_ms=50)
    assert queue.lease(B, 9, keys) == []
    queue.pass_ms(50)
    assert queue.lease(B, 9, keys) == [0]
    if end == "retry":
        queue.ack(B, 0)
    else:
        queue.give(B, 0)
    if end == "dead letter":
        assert queue.lease(C, 9, keys) == [], "until the letter is stored it may still change"
        queue.bury(0)
    assert queue.lease(C, 9, keys) == [1]


def test_records_of_which_no_key_is_told_are_not_leased() -> None:
    """The machine can't know whether somebody is before them in line."""
    queue = Queue(3, fifo=True)
    assert queue.lease(A, 9) == []
    assert queue.lease(A, 9, (b"x",)) == [0]
    assert queue.lease(B, 9, (b"x", b"y", b"z")) == [1, 2]


def test_order_is_not_switched_while_messages_are_in_flight() -> None:
    """Those have no place in any line."""
    queue = Queue(1)
    queue.lease(A)
    change = OpenQueueGroup(GROUP, (), QueueGroupChanges(fifo=True))
    assert queue.refusal(change) is GroupInUse
    queue.ack(A, 0)
    assert isinstance(queue(change), QueueGroup)


# -- who finished it


def test_who_is_late_is_told_that_somebody_else_has_finished() -> None:
    """It was told that all is well, as if nobody else had worked on it."""
    queue = Queue(2)
    queue.lease(A, 2)
    queue.pass_ms(30_000)
    assert queue.lease(B, 2) == [0, 1]
    for _ in range(2):
        assert queue.ack(B, 0) == Settled()
        assert queue.refusal(AckMessages(GROUP, held(A, 0))) is StaleLease
    assert queue.refusal(ReturnMessages(GROUP, held(A, 0))) is StaleLease
    queue.pass_ms(FINISHERS_KNOWN_MS)
    assert queue.ack(A, 0) == Settled(), "long after, what is finished is so for everybody"
    assert len(queue.machine.leasing.finishers.table) == 0


def test_who_is_late_is_told_that_it_became_a_dead_letter() -> None:
    """Its lease ended, and that was the last attempt."""
    queue = Queue(1, attempts_max=1)
    queue.lease(A)
    queue.pass_ms(30_000)
    queue.bury(0)
    assert queue.refusal(AckMessages(GROUP, held(A, 0))) is StaleLease


def test_so_many_finishers_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first, in the same order on every replica."""
    monkeypatch.setattr("raftlog.broker.finishers.FINISHER_ROWS_MAX", 2)
    queue = Queue(3)
    queue.lease(A, 3)
    queue.give(A, 0, 1, 2, delay_ms=0)
    queue.lease(B, 3)
    queue.ack(B, 0, 1, 2)
    assert [row.offset for row in queue.machine.leasing.finishers.table.after(None)] == [1, 2]


@pytest.mark.parametrize("verdict", Verdict)
def test_a_decision_may_be_sent_again(verdict: Verdict) -> None:
    """It comes to the same, whatever became of the message meanwhile."""
    queue = Queue(1, attempts_max=1, poison=int(Poison.BLOCK))
    decide = DecideBlocked(GROUP, FIRST, 0, verdict)
    queue.lease(A)
    queue.give(A, 0)
    assert queue(decide) == queue(decide) == Settled()
    other = DecideBlocked(GROUP, FIRST, 0, (verdict + 1) % len(Verdict))
    assert queue.refusal(other) is StaleLease
    match verdict:
        case Verdict.RETRY:
            assert queue.lease(B) == [0]
            assert queue(decide) == Settled()
            queue.ack(B, 0)
        case Verdict.DEAD_LETTER:
            queue.bury(0)
        case _:
            pass
    assert queue(decide) == Settled()
    assert queue.in_flight == 0
    assert (queue.row.skipped, queue.row.dead_letters) == (
        verdict == Verdict.SKIP,
        verdict == Verdict.DEAD_LETTER,
    )


def test_what_is_blocked_again_is_decided_again() -> None:
    """The same verdict is a new one then, not the old one asked again (seed 95)."""
    queue = Queue(1, attempts_max=1, poison=int(Poison.BLOCK))
    decide = DecideBlocked(GROUP, FIRST, 0, Verdict.RETRY)
    for handle in (A, B, A):
        assert queue.lease(handle) == [0]
        queue.pass_ms(60_000)
        assert queue.state_of(0) == BLOCKED
        assert queue(decide) == Settled()
        assert queue.state_of(0) == WAITING

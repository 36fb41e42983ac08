"""Queue-style groups: a message is with one holder at a time, and ends in one place."""

from collections.abc import Callable

import pytest

from raftlog.base.errors import (
    BadRequest,
    GroupInUse,
    GroupNotFound,
    GroupStyle,
    LimitReached,
    StaleLease,
    Throttled,
    TopicNotFound,
)
from raftlog.base.ids import Offset, Term
from raftlog.base.limits import DUE_PER_ENTRY_MAX, LEASE_GRACE_MS_MAX, LEASE_GRACE_MS_MIN
from raftlog.broker import leasing, queue_groups
from raftlog.broker.codec import write_command
from raftlog.broker.commands import Command
from raftlog.broker.dead_letters import DeadLetterStored
from raftlog.broker.flights import DEAD, WAITING
from raftlog.broker.group_commands import (
    DeleteGroup,
    JoinGroup,
)
from raftlog.broker.lease_commands import (
    AckMessages,
    ExtendLeases,
    GiveBack,
    Leased,
    ReceiveMessages,
    ReturnMessages,
    Settled,
)
from raftlog.broker.queue_groups import (
    RETRY_MS,
    OpenQueueGroup,
    QueueGroup,
    QueueGroupChanges,
)
from raftlog.broker.timetable import NEVER_MS, PassTime
from raftlog.broker.topics import (
    DEFAULT_RETENTION_MS,
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveStart,
    TopicChanges,
)
from tests.broker.leases import GROUP, A, B, C, Queue, held
from tests.broker.logs import FIRST

# -- leases


def test_each_message_is_leased_to_one() -> None:
    """Two consumers that ask at once share the work."""
    queue = Queue()
    assert queue.lease(A, 2) == [0, 1]
    assert queue.lease(B, 9) == [2, 3, 4]
    assert queue.lease(C, 9) == []
    assert queue.ack(A, 0, 1) == queue.ack(B, 2, 3, 4) == Settled()
    assert queue.in_flight == 0
    queue.pass_ms(10**9)
    assert queue.lease(C, 9) == [], "what is acknowledged never comes again"


def test_who_asks_again_after_a_lost_answer_gets_the_same_messages() -> None:
    """Else they would lie with nobody until their leases end."""
    queue = Queue()
    assert queue.lease(A, 2) == queue.lease(A, 2) == [0, 1]
    queue.ack(A, 0)
    assert queue.lease(A, 2) == [1]
    assert queue.attempts(A) == [1], "asking again is no attempt"


def test_an_acknowledgement_may_be_sent_again() -> None:
    """Its answer may be lost, with the leader that gave it."""
    queue = Queue()
    queue.lease(A, 2)
    assert queue.ack(A, 0) == queue.ack(A, 0) == queue.ack(A, 0, 1) == Settled()


def test_an_old_handle_is_told_so() -> None:
    """A handler that was too slow must not count its work as done: it is done again."""
    queue = Queue(1)
    queue.lease(A)
    queue.pass_ms(30_000)
    waiting = AckMessages(GROUP, held(A, 0))
    assert queue.refusal(waiting) is StaleLease
    assert queue.lease(B) == [0]
    assert queue.refusal(waiting) is StaleLease
    assert queue.refusal(ExtendLeases(GROUP, held(A, 0), 5_000)) is StaleLease
    assert queue.refusal(ReturnMessages(GROUP, held(A, 0))) is StaleLease
    assert queue.ack(B, 0) == Settled()


def test_giving_back_may_be_sent_again() -> None:
    """Its answer may be lost, too; what is leased again since is somebody else's."""
    queue = Queue(2, attempts_max=1)
    queue.lease(A, 2)
    for _ in range(2):
        assert queue.give(A, 0, how=GiveBack.UNTRIED, delay_ms=5_000) == Settled()
        assert queue.give(A, 1) == Settled()
    assert (queue.state_of(0), queue.state_of(1)) == (WAITING, DEAD)
    assert queue.refusal(AckMessages(GROUP, held(A, 0, 1))) is StaleLease, "that is no ack"
    queue.bury(1)
    assert queue.give(A, 1) == Settled(), "its letter is what came of it"
    queue.pass_ms(5_000)
    assert queue.lease(B) == [0]
    assert queue.give(A, 0) == Settled(), "that was done, and is B's now"
    assert queue.state_of(0) == B
    queue.ack(B, 0)
    assert queue.give(A, 0) == Settled()
    assert queue.refusal(AckMessages(GROUP, held(A, 0))) is StaleLease


@pytest.mark.parametrize(
    ("lease_ms", "grace_ms"),
    [(1_000, LEASE_GRACE_MS_MIN), (20_000, 20_000), (600_000, LEASE_GRACE_MS_MAX)],
)
def test_a_new_leader_lets_no_lease_end_at_once(lease_ms: int, grace_ms: int) -> None:
    """Its holder may have had nobody to tell that it works on: a whole lease (ruling 25)."""
    queue = Queue(1, lease_ms=lease_ms)
    queue.lease(A)
    queue.log_time_ms += lease_ms
    queue.term = Term(queue.term + 1)
    queue.pass_ms(0)
    queue.pass_ms(grace_ms - 1)
    assert queue.lease(B) == [], "it is A's still"
    queue.pass_ms(1)
    assert queue.lease(B) == [0]


def test_what_is_stale_is_told_with_its_handle() -> None:
    """One consumer has the message under both: the good one must not be told stale."""
    queue = Queue()
    assert queue.lease(A, 1) == [0]
    queue.pass_ms(60_000)
    assert queue.lease(B, 1) == [0]
    both = AckMessages(GROUP, held(A, 0) + held(B, 0))
    assert queue(both) == Settled(((FIRST, 0, A),))


def test_a_message_that_was_never_leased_is_not_acknowledged() -> None:
    """Or the cursor would lease it again, or never."""
    queue = Queue()
    queue.lease(A)
    assert queue.refusal(AckMessages(GROUP, held(A, 3))) is StaleLease
    assert queue.refusal(AckMessages(GROUP, ((A, 99, (0,)),))) is StaleLease
    assert queue.ack(A, 0, 3) == Settled(((FIRST, 3, A),)), "what is held is done all the same"
    assert queue.lease(B, 9) == [1, 2, 3, 4]


def test_a_lease_that_ends_was_an_attempt() -> None:
    """A message that takes its consumer down with it must not do so for ever."""
    queue = Queue(1, attempts_max=2)
    for handle in (A, B):
        assert queue.lease(handle) == [0]
        queue.pass_ms(30_000)
    assert queue.lease(C) == []
    assert queue.machine.leasing.flights.tally(queue.group.number).dead == 1


def test_a_lease_ends_at_its_time_and_not_before() -> None:
    """To the millisecond of log time, and what waits says since when."""
    queue = Queue(1)
    queue.lease(A)
    assert queue.machine.next_due_ms == queue.log_time_ms + 30_000
    queue.pass_ms(29_999)
    assert queue.lease(B) == []
    assert queue.ack(A, 0) == Settled()
    assert queue.machine.leasing.flights.next_end_ms == NEVER_MS, "nobody wakes for it"


def test_an_extended_lease_ends_later() -> None:
    """A handler that takes its time keeps its message; the others end as they would."""
    queue = Queue(3)
    queue.lease(A, 3)
    queue.log_time_ms += 20_000
    assert queue(ExtendLeases(GROUP, held(A, 1), 60_000)) == Settled()
    queue.pass_ms(10_000)
    assert queue.lease(B, 9) == [0, 2]
    queue.pass_ms(49_999)
    assert queue.ack(A, 1) == Settled()
    queue.lease(A, 9)


def test_a_shorter_lease_may_be_asked_for() -> None:
    """And extended downwards: it ends after what was asked for last."""
    queue = Queue(1)
    outcome = queue(ReceiveMessages(GROUP, A, 1, 5_000))
    assert outcome == Leased(((FIRST, 0, 1),), queue.log_time_ms + 5_000)
    queue(ExtendLeases(GROUP, held(A, 0), 1_000))
    queue.pass_ms(1_000)
    assert queue.lease(B) == [0]
    queue.pass_ms(4_000)
    assert queue.ack(B, 0) == Settled()


def test_no_entry_ends_more_leases_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply stays short; the rest is done by the next one (8, 18)."""
    monkeypatch.setattr("raftlog.broker.timetable.DUE_PER_ENTRY_MAX", 2)
    queue = Queue(5)
    queue.lease(A, 5)
    tally = queue.machine.leasing.flights.tally(queue.group.number)
    seen = []
    queue.log_time_ms += 30_000
    while queue.machine.next_due_ms <= queue.log_time_ms:
        queue(PassTime())
        seen.append(tally.leased)
    assert seen == [3, 1, 0]
    assert DUE_PER_ENTRY_MAX > 2


# -- giving back


def test_the_schedule_of_retries() -> None:
    """10 s, 30 s, 1 min ... 2 h; after sixteen attempts it is a dead letter."""
    queue = Queue(1)
    assert len(RETRY_MS) == 16
    for number, delay_ms in enumerate(RETRY_MS[:-1], start=1):
        assert queue.attempts(100 + number) == [number]
        queue.give(100 + number, 0)
        queue.pass_ms(delay_ms - 1)
        assert queue.lease(A) == []
        queue.pass_ms(1)
    assert queue.attempts(C) == [16]
    queue.give(C, 0)
    queue.pass_ms(10**8)
    assert queue.lease(A) == []
    assert queue.bury(0) == DeadLetterStored("%DLQ%work", 2, Offset(0))


def test_a_delay_of_one_s_own() -> None:
    """What a handler knows better than the schedule."""
    queue = Queue(2)
    queue.lease(A, 2)
    queue.give(A, 0, delay_ms=100)
    queue.give(A, 1, delay_ms=0)
    assert queue.lease(B, 9) == [1]
    queue.pass_ms(100)
    assert queue.lease(B + 9, 9) == [0]


def test_what_nobody_tried_is_no_attempt() -> None:
    """A consumer that closes gives back what it fetched ahead, at once."""
    queue = Queue(1, attempts_max=1)
    for handle in range(20, 25):
        assert queue.attempts(handle) == [1]
        queue.give(handle, 0, how=GiveBack.UNTRIED)


def test_what_comes_back_goes_before_what_is_new() -> None:
    """In the order of its time: nothing starves behind a stream of new messages."""
    queue = Queue(5)
    queue.lease(A, 3)
    queue.give(A, 2, delay_ms=10)
    queue.give(A, 0, delay_ms=20)
    queue.pass_ms(20)
    assert queue.lease(B, 9) == [2, 0, 3, 4]


# -- bounds


def test_a_group_has_only_so_much_in_flight() -> None:
    """Who asks is told why there is nothing; what comes back is leased all the same."""
    queue = Queue(5, in_flight_max=2)
    assert queue.lease(A, 9) == [0, 1]
    assert queue.refusal(ReceiveMessages(GROUP, B, 9)) is Throttled
    queue.give(A, 1, delay_ms=0)
    assert queue.lease(B, 9) == [1]
    queue.ack(A, 0)
    assert queue.lease(C, 9) == [2]


def test_a_shard_has_only_so_much_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with its type, before memory is what decides (18)."""
    monkeypatch.setattr(leasing, "MESSAGES_IN_FLIGHT_MAX", 3)
    queue = Queue(5)
    assert queue.lease(A, 9) == [0, 1, 2]
    assert queue.refusal(ReceiveMessages(GROUP, B, 9)) is Throttled


def test_parked_messages_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue full of one key is not read into memory behind its first message."""
    monkeypatch.setattr(leasing, "MESSAGES_IN_FLIGHT_MAX", 3)
    queue = Queue(5, fifo=True)
    assert queue.lease(A, 9, [b"x"] * 5) == [0]
    assert queue.in_flight == 3


def test_there_are_only_so_many_groups_and_cursors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed by one too many."""
    queue = Queue()
    other = OpenQueueGroup("other", ("orders",), QueueGroupChanges())
    monkeypatch.setattr(queue_groups, "CURSORS_MAX", 1)
    assert queue.refusal(other).code == "limit_reached"
    monkeypatch.setattr(queue_groups, "CURSORS_MAX", 9)
    monkeypatch.setattr(queue_groups, "QUEUE_GROUPS_MAX", 1)
    assert queue.refusal(other).code == "limit_reached"


# -- what goes away


def test_what_retention_passed_is_nobody_s_and_counted() -> None:
    """Its body may be gone: nobody gets it, and its key's line goes on."""
    queue = Queue(6, fifo=True)
    keys = (b"x", b"x", b"x", b"y", b"y", b"z")
    assert queue.lease(A, 1, keys) == [0]
    queue.give(A, 0, delay_ms=0)
    queue.pass_ms(DEFAULT_RETENTION_MS)
    queue(MoveStart(FIRST, 2))
    queue.pass_ms(0)
    assert queue.in_flight == 0
    assert queue.row.expired == 1
    assert queue.lease(B, 9, keys) == [2, 3, 5]
    assert queue.row.expired == 2, "1 was never leased"
    queue(MoveStart(FIRST, 4))
    assert queue.lease(C, 9, keys) == [], "3 is leased, and holds the start"
    queue.ack(B, 2, 3)
    assert queue.lease(C, 9, keys) == [4]
    assert queue.in_flight == 2


def test_the_queues_of_a_deleted_topic_are_forgotten() -> None:
    """A topic of the same name has other queues; the group reads those."""
    queue = Queue(3)
    queue.lease(A, 2)
    queue(DeleteTopic("orders"))
    queue.pass_ms(0)
    assert queue.in_flight == 0
    assert queue.refusal(AckMessages(GROUP, held(A, 0))) is StaleLease
    (number,) = queue.topic()
    queue.send(2, number)
    outcome = queue(ReceiveMessages(GROUP, B, 9))
    assert isinstance(outcome, Leased)
    assert outcome.messages == ((number, 0, 1), (number, 1, 1))


def test_a_group_is_deleted_when_nobody_works_for_it() -> None:
    """What waits goes with it; a group of the same name begins anew."""
    queue = Queue(3)
    queue.lease(A, 2)
    assert queue.refusal(DeleteGroup(GROUP)) is GroupInUse
    queue.give(A, 0, 1)
    queue(DeleteGroup(GROUP))
    queue.pass_ms(0)
    assert queue.in_flight == 0
    assert queue.refusal(ReceiveMessages(GROUP, B, 1)) is GroupNotFound
    made = queue(OpenQueueGroup(GROUP, ("orders",), QueueGroupChanges()))
    assert isinstance(made, QueueGroup)
    assert made.number != queue.group.number
    assert queue.lease(B, 9) == [0, 1, 2]


# -- groups


def test_a_group_reads_all_queues_of_its_topics_in_turn() -> None:
    """Also those that a topic gets later; none starves behind a full one."""
    queue = Queue(0)
    queue(CreateTopic("more", TopicChanges(queues=1)))
    queue(OpenQueueGroup(GROUP, ("more",), QueueGroupChanges()))
    queue(AlterTopic("more", TopicChanges(queues=2)))
    for number in (1, 2, 3):
        queue.send(4, number)
    seen = []
    for handle in range(20, 26):
        outcome = queue(ReceiveMessages(GROUP, handle, 2))
        assert isinstance(outcome, Leased)
        seen.append({number for number, _, _ in outcome.messages})
    assert seen[0] | seen[1] | seen[2] == {1, 2, 3}
    assert queue.in_flight == 12


def test_a_group_may_begin_at_the_end() -> None:
    """It skips what was there before it, and nothing that came after."""
    queue = Queue(3)
    queue(OpenQueueGroup("late", ("orders",), QueueGroupChanges(), from_end=True))
    queue.send(1)
    outcome = queue(ReceiveMessages("late", A, 9))
    assert isinstance(outcome, Leased)
    assert outcome.messages == ((FIRST, 3, 1),)


def test_opening_again_changes_only_what_is_said() -> None:
    """A client that starts again asks again."""
    queue = Queue(0, attempts_max=3)
    again = queue(OpenQueueGroup(GROUP, ("orders",), QueueGroupChanges(lease_ms=5_000)))
    assert isinstance(again, QueueGroup)
    assert again.number == queue.group.number
    assert (again.settings.attempts_max, again.settings.lease_ms) == (3, 5_000)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (OpenQueueGroup("new", (), QueueGroupChanges()), BadRequest),
        (OpenQueueGroup("new", ("order",), QueueGroupChanges()), TopicNotFound),
        (ReceiveMessages("nobody", A, 1), GroupNotFound),
        (AckMessages("nobody", held(A, 0)), GroupNotFound),
        (JoinGroup(GROUP, "m", ("orders",), 1_000), GroupStyle),
        (OpenQueueGroup("stream", ("orders",), QueueGroupChanges()), GroupStyle),
    ],
)
def test_what_is_wrong_is_refused(command: object, expected: type[Exception]) -> None:
    """Typed, and without a change."""
    queue = Queue()
    queue(JoinGroup("stream", "m", ("orders",), 1_000))
    assert queue.refusal(command) is expected  # type: ignore[arg-type]


def test_a_topic_that_may_not_be_read_is_not_leased_from() -> None:
    """Its messages wait for its settings."""
    queue = Queue(1)
    queue(AlterTopic("orders", TopicChanges(readable=False)))
    assert queue.lease(A) == []
    queue(AlterTopic("orders", TopicChanges(readable=True)))
    assert queue.lease(A) == [0]


def test_somebody_is_told_when_a_message_becomes_free() -> None:
    """Who waits for one is woken by that, not by looking again and again."""
    queue = Queue(1)
    machine = queue.machine
    machine.leasing.news.take_stirred()
    queue.lease(A)
    assert machine.leasing.news.take_stirred() == set()
    assert not machine.leasing.ready(queue.row, machine.log_time_ms, 9)
    queue.pass_ms(30_000)
    assert machine.leasing.news.take_stirred() == {GROUP}
    assert machine.leasing.ready(queue.row, machine.log_time_ms, 9)


def test_leases_of_one_command_apply_in_one_entry_with_their_end() -> None:
    """Receive, acknowledge and give back may share an entry; each has its outcome."""
    queue = Queue(2)
    make: Callable[..., Command] = write_command
    outcomes = queue.all_of(
        make(ReceiveMessages(GROUP, A, 2)),
        make(AckMessages(GROUP, held(A, 0))),
        make(ReturnMessages(GROUP, held(A, 1), GiveBack.RETRY, 0)),
        make(ReceiveMessages(GROUP, B, 2)),
    )
    assert [type(outcome) for outcome in outcomes] == [Leased, Settled, Settled, Leased]
    assert queue.attempts(B) == [2]


def test_until_consumed_waits_for_what_is_in_flight() -> None:
    """A message that waits for its retry still needs its record."""
    queue = Queue(3)
    consumed = queue.machine.state.consumed_through
    assert consumed(FIRST) == 0
    queue.lease(A, 2)
    queue.ack(A, 1)
    assert consumed(FIRST) == 0
    queue.ack(A, 0)
    assert consumed(FIRST) == 2
    queue(OpenQueueGroup("other", ("orders",), QueueGroupChanges()))
    assert consumed(FIRST) == 0
    queue(DeleteGroup("other"))
    assert consumed(FIRST) == 2


def test_a_lease_that_is_extended_again_and_again_takes_no_more_room() -> None:
    """Nor do those that were given and settled meanwhile. Each ends when it is to."""
    queue = Queue(3)
    flights = queue.machine.leasing.flights
    queue.lease(A, 2)
    for _ in range(50):
        queue.log_time_ms += 1_000
        queue(ExtendLeases(GROUP, held(A, 0), 3_600_000))
    assert len(flights._ends) == 1
    assert queue.lease(B) == [1], "it was not extended, and ended"
    queue.pass_ms(29_999)
    assert queue.lease(C, 2) == [2]
    queue.pass_ms(1)
    assert queue.state_of(1) == WAITING
    queue.pass_ms(3_600_000 - 30_001)
    assert queue.state_of(0) == A
    queue.pass_ms(1)
    assert queue.state_of(0) == WAITING


def test_queues_that_a_topic_is_given_later_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound was passed by whoever was given messages of them first."""
    monkeypatch.setattr("raftlog.broker.queue_groups.CURSORS_MAX", 3)
    queue = Queue(1)
    assert queue.refusal(AlterTopic("orders", TopicChanges(queues=4))) is LimitReached
    queue(AlterTopic("orders", TopicChanges(queues=3)))
    assert len(queue.machine.leasing.groups.cursors) == 3
    queue(DeleteTopic("orders"))
    refused = CreateTopic("orders", TopicChanges(queues=4))
    assert queue.refusal(refused) is LimitReached
    assert len(queue.topic(queues=3)) == len(queue.machine.leasing.groups.cursors) == 3

"""What the model of queue groups takes from the log, for transactions and for counts."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from chaos.check.ends_counted import Counts, Ends
from chaos.check.lease_model import Place
from chaos.check.violation import Violation
from chaos.sim.lease_facts import LeaseFacts
from raftlog.broker.commands import CommandType
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    GiveBack,
    Leased,
    ReceiveMessages,
    ReturnMessages,
    Settled,
    Verdict,
)
from raftlog.broker.queue_groups import (
    OpenQueueGroup,
    Poison,
    QueueGroup,
    QueueGroupChanges,
    QueueGroupSettings,
)
from raftlog.broker.topics import Topic, TopicSettings
from raftlog.wire.batch import encode_columns

QUEUE, HANDLE, OTHER = 3, 11, 12
LEASE_MS = 1_000
FIRST, SECOND = ("work", QUEUE, 0, HANDLE), ("work", QUEUE, 1, HANDLE)


class Story:
    """A log that is told to the facts, command by command."""

    def __init__(self, poison: Poison) -> None:
        self.starts: dict[int, int] = {}
        self.marks: Counter[str] = Counter()
        self.facts = LeaseFacts(self.marks, self.starts, set())
        self.facts.is_watching = True
        self.now_ms = 0
        self.passes(0)
        self.facts.topic_changed(Topic("jobs", TopicSettings(queues=1), (QUEUE,)))
        settings = QueueGroupSettings(
            lease_ms=LEASE_MS, attempts_max=1, retry_ms=(0,), poison=int(poison)
        )
        command = OpenQueueGroup("work", ("jobs",), QueueGroupChanges())
        self.tell(
            CommandType.OPEN_QUEUE_GROUP, command, QueueGroup("work", 1, ("jobs",), settings)
        )
        self.facts.stored(QUEUE, 0, encode_columns([b"a", b"b"], timestamp_ms=0))
        leased = Leased(((QUEUE, 0, 1), (QUEUE, 1, 1)), LEASE_MS)
        self.tell(CommandType.RECEIVE_MESSAGES, ReceiveMessages("work", HANDLE, 2), leased)

    def passes(self, time_ms: int) -> None:
        """An entry begins, so much later."""
        self.now_ms += time_ms
        self.facts.passes(1, self.now_ms)

    def tell(self, kind: CommandType, command: msgspec.Struct, outcome: object) -> None:
        """A command was carried out."""
        self.facts.carried_out(int(kind), memoryview(msgspec.msgpack.encode(command)), outcome)

    def ack(self, place: Place) -> None:
        """A message is acknowledged alone."""
        names = ((HANDLE, place[0], (place[1],)),)
        self.tell(CommandType.ACK_MESSAGES, AckMessages("work", names), Settled())

    def give_back(self, place: Place) -> None:
        """A message can't be handled at all."""
        names = ((HANDLE, place[0], (place[1],)),)
        command = ReturnMessages("work", names, how=int(GiveBack.REJECT))
        self.tell(CommandType.RETURN_MESSAGES, command, Settled())

    def ends(self) -> Ends:
        """How the messages of the group ended."""
        found = self.facts.ends("work")
        assert found is not None
        return found[1]


@pytest.fixture
def story() -> Story:
    """Two messages are leased under one handle; a group skips what nobody can do."""
    return Story(Poison.SKIP)


def test_what_is_leased_is_held_until_its_time(story: Story) -> None:
    """Under its handle; then nobody can tell, as the log has no word of it."""
    facts = story.facts
    assert facts.holds(FIRST) is True
    assert facts.holds((*FIRST[:3], OTHER)) is False
    assert facts.holds(("work", QUEUE, 7, HANDLE)) is False
    assert facts.holds(("spare", QUEUE, 0, HANDLE)) is False
    story.passes(LEASE_MS)
    assert facts.holds(FIRST) is None


def test_what_is_forgotten_may_be_held(story: Story) -> None:
    """Until it is swept."""
    story.starts[QUEUE] = 1
    assert story.facts.holds(FIRST) is None
    assert story.facts.holds(SECOND) is True


def test_what_was_finished_in_a_transaction_is_lost_to_everybody(story: Story) -> None:
    """And is an acknowledged message as any other."""
    told: list[Any] = []
    story.facts.on_acked = lambda *of: told.append(of)
    story.facts.settled_together([FIRST])
    assert told == [("work", (QUEUE, 0))]
    assert story.facts.holds(FIRST) is False
    assert story.facts.holds(SECOND) is True
    assert story.ends() == Ends(acked=1)
    leased = Leased(((QUEUE, 0, 2),), 9_999)
    with pytest.raises(Violation, match="is leased after it was acked"):
        story.tell(CommandType.RECEIVE_MESSAGES, ReceiveMessages("work", OTHER, 1), leased)


def test_a_refused_ack_shows_that_its_lease_has_ended(story: Story) -> None:
    """If it is the only one; of several nobody knows which."""
    story.passes(LEASE_MS)
    story.facts.refused_together([FIRST, SECOND])
    assert story.facts.holds(FIRST) is None
    story.facts.refused_together([FIRST])
    assert story.facts.holds(FIRST) is False
    assert story.facts.holds(SECOND) is None


def test_each_end_is_counted(story: Story) -> None:
    """By a command, or by the end of a last lease."""
    story.give_back((QUEUE, 0))
    assert story.ends() == Ends(skipped=1)
    story.passes(LEASE_MS)
    assert story.ends() == Ends(skipped=2)


def test_what_was_decided_to_be_skipped_is(story: Story) -> None:
    """In a group that blocks."""
    story = Story(Poison.BLOCK)
    story.give_back((QUEUE, 0))
    assert story.ends() == Ends()
    command = DecideBlocked("work", QUEUE, 0, int(Verdict.SKIP))
    story.tell(CommandType.DECIDE_BLOCKED, command, Settled())
    assert story.ends() == Ends(skipped=1)


def test_nobody_can_tell_of_what_was_settled_late(story: Story) -> None:
    """It is forgotten, and perhaps was not swept yet."""
    story.starts[QUEUE] = 1
    story.ack((QUEUE, 0))
    story.ack((QUEUE, 1))
    assert story.ends() == Ends(acked=1, unsure=1)


def test_counts_are_held_against_what_was_so_when_they_were_asked_for(story: Story) -> None:
    """Of the group that it was then."""
    before = story.facts.ends("work")
    story.give_back((QUEUE, 0))
    after = story.facts.ends("work")
    story.facts.has_counted("work", Counts(0, 0, 0), before)
    story.facts.has_counted("work", Counts(0, 1, 0), before)
    assert story.marks["counts of groups told"] == 2
    with pytest.raises(Violation, match="skipped 0"):
        story.facts.has_counted("work", Counts(0, 0, 0), after)
    story.facts.deleted("work")
    story.facts.has_counted("work", Counts(0, 0, 0), after)


def test_a_finished_message_is_given_to_nobody_who_asks_later(story: Story) -> None:
    """Once somebody was told."""
    facts = story.facts
    early = facts.told_count
    story.ack((QUEUE, 0))
    facts.told_acked("work", (QUEUE, 0), 0)
    facts.given("work", (QUEUE, 0), early)
    with pytest.raises(Violation, match="asked after"):
        facts.given("work", (QUEUE, 0), facts.told_count)

"""Copying forward: the little that is needed of an old range leaves it, not again and again."""

from dataclasses import dataclass, field

import pytest

from raftlog.base.errors import FaultyEntry, NotLeader
from raftlog.base.ids import Index, Offset
from raftlog.broker import index
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import SURVIVORS_LEVEL
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.ranges import parse_range
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import MoveStart, TopicChanges
from raftlog.broker.trims import LogTrimmed, Trim
from raftlog.service import copying_forward
from raftlog.service.copying_forward import OLD_MS, ROUND_NS, CopyingForward
from raftlog.service.ports import OnPostings
from raftlog.service.produce import ProduceService
from raftlog.wire.batch import encode_columns
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service
from tests.service.test_read import FakeBodies

ORDERS, LETTERS = 1, 2


class Ranges:
    """Sealed ranges that are read at once; one may be damaged."""

    def __init__(self) -> None:
        self.files: dict[Index, dict[int, Postings]] = {}
        self.is_damaged = False

    def load(self, summary: RangeSummary, queue: int, done: OnPostings, /) -> None:
        if self.is_damaged:
            done(None, FaultyEntry(summary.first_index))
        else:
            done(self.files[summary.first_index][queue], None)


@dataclass
class World:
    """Orders that all have passed and letters that stay, in ranges of eight postings."""

    replica: FakeReplica = field(default_factory=FakeReplica)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)
    ranges: Ranges = field(default_factory=Ranges)

    def __post_init__(self) -> None:
        self.machine = self.replica.machine
        self.bodies = FakeBodies(self.replica)
        self.copying = CopyingForward(
            self.replica, self.machine, self.ranges, self.bodies, self.scheduler
        )
        topics = topic_service(self.replica, self.machine)
        for name in ("orders", "letters"):
            topics.create(name, TopicChanges(queues=1), lambda _: None)
        self.replica.commit()
        self.replica.memory_from = 10_000
        self.copying.begin()
        self.sent: list[bytes] = []
        """The letters."""

    def fill(self, letters: int = 1, count: int = 8) -> None:
        """Store batches until a range ends; letters go first."""
        append = ProduceService(self.replica, self.machine)
        for number in range(count):
            batch = encode_columns([b"%050d" % len(self.replica.entries)], timestamp_ms=5)
            if number < letters:
                self.sent.append(batch)
            append.append(LETTERS if number < letters else ORDERS, batch, lambda _: None)
            self.replica.commit()
        for sealed in self.machine.take_sealed():
            self.ranges.files[sealed.first_index] = parse_range(sealed.encoded)[1]
            self.machine.stored(sealed.summary)

    def do(self, value: CommandValue) -> object:
        """Commit a command."""
        outcomes: list[object] = []
        command = write_command(value)
        self.replica.propose(
            command.type, command.parts, lambda outcome, *_: outcomes.append(outcome)
        )
        self.replica.commit()
        return outcomes[0]

    def forget(self, queue: int = ORDERS) -> None:
        """Retention passes everything of a queue."""
        self.do(MoveStart(queue, self.machine.queues.find(queue).end_offset))

    def pass_ms(self, ms: int = OLD_MS) -> None:
        self.replica.log_time_ms += ms
        self.do(PassTime())

    def old(self, letters: int = 1) -> None:
        """Make a range of which only letters are needed, an hour ago."""
        self.fill(letters)
        self.forget()
        self.pass_ms()

    def round(self) -> int:
        """Let a round pass, and whatever it proposes be committed; return how much that was."""
        self.scheduler.advance(ROUND_NS)
        self.bodies.answer()
        proposed = self.replica.proposed
        if proposed:
            self.replica.commit()
            check(self.machine)
        return proposed

    def letter(self, offset: int) -> bytes:
        """Return the bytes of a letter, where the machine says that they are."""
        found = self.machine.find(LETTERS, Offset(offset))
        if isinstance(found, RangeSummary):
            found = self.ranges.files[found.first_index][LETTERS]
        posting = found[found.find(Offset(offset))]
        body = self.replica.entries[posting.index - 1].body
        return bytes(body[posting.position : posting.position + posting.length])

    def trim(self) -> None:
        free, _ = self.machine.free_through()
        assert self.do(Trim(free)) == LogTrimmed(free)
        check(self.machine)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 8)
    return World()


def test_the_one_letter_in_an_old_range_is_copied_and_the_range_goes(world: World) -> None:
    """The very bytes, at the same offset."""
    world.fill()
    world.pass_ms()
    assert world.round() == 0, "orders need the range, too"
    world.forget()
    assert world.machine.free_through()[1] == 0
    assert world.round() == 1
    assert world.machine.free_through()[1] == 1
    assert world.round() == 0
    world.trim()
    assert world.letter(0) == world.sent[0]
    assert world.copying.copied == 1


def test_a_young_range_is_left(world: World) -> None:
    """Most of what it holds may go by itself soon."""
    world.fill()
    world.forget()
    world.pass_ms(OLD_MS - 100)
    assert world.round() == 0
    world.pass_ms(100)
    assert world.round() == 1


def test_a_range_of_which_much_is_needed_is_left(world: World) -> None:
    """What is kept as a rule would be copied round and round."""
    world.old(letters=3)
    world.old(letters=3)
    assert world.round() == 0


def test_but_not_if_it_keeps_others_of_which_little_is_needed(world: World) -> None:
    """They can't go before it."""
    world.old(letters=3)
    world.old(letters=0)
    world.fill(letters=0)
    assert world.round() == 1
    assert world.machine.free_through()[1] >= 2


def test_one_does_not_look_far_ahead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done every second."""
    monkeypatch.setattr(copying_forward, "RANGES_AHEAD", 1)
    world.old(letters=3)
    world.old(letters=0)
    assert world.round() == 0


def test_a_part_that_fits_into_an_entry_is_copied_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least one batch, however large; in the order of offsets."""
    monkeypatch.setattr(copying_forward, "COALESCE_BYTES_MAX", 10)
    world.old(letters=2)
    assert [world.round() for _ in range(3)] == [1, 1, 0]
    world.trim()
    assert [world.letter(0), world.letter(1)] == world.sent


def test_so_many_batches_are_copied_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apply does not take long for one command."""
    monkeypatch.setattr(copying_forward, "BATCHES_MAX", 1)
    world.old(letters=2)
    assert [world.round() for _ in range(3)] == [1, 1, 0]


def test_what_is_in_memory_is_copied_from_there(world: World) -> None:
    """It may not be on this disk yet (14)."""
    world.old()
    world.replica.memory_from = 1
    assert world.round() == 1
    assert world.bodies.asked == []
    world.trim()
    assert world.letter(0) == world.sent[0]


def test_a_copy_is_copied_again_when_its_range_is_old(world: World) -> None:
    """With letters of that range, until retention passes them."""
    world.old()
    world.round()
    world.trim()
    world.old()
    assert [world.round() for _ in range(3)] == [1, 1, 0]
    world.trim()
    assert [world.letter(0), world.letter(1)] == world.sent
    assert world.copying.copied == 3
    world.forget(LETTERS)
    assert len(world.machine.survivors) == 0


def test_damage_is_waited_for(world: World) -> None:
    """A peer's copy replaces it; then it is looked for again."""
    world.old()
    world.ranges.is_damaged = True
    assert world.round() == 0
    world.ranges.is_damaged = False
    world.bodies.error = FaultyEntry(Index(3))
    assert world.round() == 0
    world.bodies.error = None
    assert world.round() == 1


def test_what_is_refused_is_tried_again_later(world: World) -> None:
    """Not at once: whoever refuses has a reason."""
    world.old()
    world.replica.refusal = NotLeader(None)
    assert world.round() == 0
    world.replica.refusal = None
    assert world.round() == 1


def test_nothing_is_proposed_that_an_older_member_cannot_apply(world: World) -> None:
    """Its shard's level is lower (15)."""
    world.old()
    world.machine.state.feature_level = SURVIVORS_LEVEL - 1
    assert world.round() == 0
    world.machine.state.feature_level = SURVIVORS_LEVEL
    assert world.round() == 1


def test_a_full_table_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the log is kept, as it would be without this."""
    monkeypatch.setattr(copying_forward, "SURVIVOR_ROWS_MAX", 1)
    world.old()
    assert world.round() == 1
    world.trim()
    world.old()
    assert [world.round() for _ in range(2)] == [1, 0], "the copy again, but no other one"


def test_who_leads_no_more_copies_nothing(world: World) -> None:
    """Not even what was read already."""
    world.old()
    world.scheduler.advance(ROUND_NS)
    world.copying.end()
    world.bodies.answer()
    assert world.replica.proposed == 0
    assert world.scheduler.armed == 0

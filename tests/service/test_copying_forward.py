"""Copying forward: the little that is needed of an old range leaves it, not again and again."""

from dataclasses import dataclass, field

import pytest

from raftlog.base.errors import FaultyEntry, NotLeader
from raftlog.base.ids import Index, Offset
from raftlog.base.space import DiskLevel
from raftlog.broker import index
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import SURVIVORS_LEVEL, CommandType
from raftlog.broker.delays import Delay, delayed_parts
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.queue_index import RangeUse
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

    def hide(self, ms: int) -> None:
        """Store a letter that is due in a while."""
        batch = encode_columns([b"%050d" % len(self.replica.entries)], timestamp_ms=5)
        parts = delayed_parts(LETTERS, Delay(ms, relative=True), batch)
        self.replica.propose(CommandType.APPEND_DELAYED, parts, lambda *_: None)
        self.replica.commit()

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

    def turn(self) -> None:
        """Make the calls that are wanted soon."""
        calls, self.scheduler.soon = self.scheduler.soon, []
        for call in calls:
            call()

    def round(self) -> int:
        """Let a round pass, and whatever it proposes be committed; return how much that was."""
        self.scheduler.advance(ROUND_NS)
        while self.scheduler.soon:
            self.turn()
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
    """Nor at all where the disk is full, which has no room for much at once."""
    world.old(letters=3)
    world.old(letters=0)
    world.replica.disk_level = DiskLevel.FULL
    assert world.round() == 0
    world.replica.disk_level = DiskLevel.ROOM
    monkeypatch.setattr(copying_forward, "AHEAD_BYTES", 500)
    assert world.round() == 0
    monkeypatch.setattr(copying_forward, "AHEAD_BYTES", 5_000)
    assert world.round() == 1


def test_a_knot_of_small_ranges_is_looked_beyond(world: World) -> None:
    """After a backlog there are many, each of which holds nothing but copies."""
    for _ in range(20):
        world.fill()
    world.forget()
    world.pass_ms()
    while world.round():
        world.trim()
    for _ in range(14):
        world.fill(letters=0)
    world.forget()
    world.pass_ms()
    assert world.round() == 1


def test_a_range_that_is_held_by_what_is_hidden_is_left(world: World) -> None:
    """It would not go, and each delivery would be copied after it."""
    world.hide(OLD_MS * 2)
    for _ in range(4):
        world.hide(OLD_MS * 700)
    world.fill(letters=0, count=3)
    for _ in range(6):
        world.fill(letters=0)
    world.forget()
    world.pass_ms(OLD_MS * 2 + 10)
    rounds = []
    for _ in range(3):
        world.fill(letters=0, count=2)
        rounds.append(world.round())
        world.forget()
        world.pass_ms()
    assert rounds == [0, 0, 0]


def test_a_range_for_whose_batches_there_is_no_room_is_left_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it copied would free nothing."""
    monkeypatch.setattr(copying_forward, "SURVIVOR_ROWS_MAX", 1)
    world.old(letters=2)
    assert [world.round() for _ in range(2)] == [0, 0]


def test_one_command_has_batches_of_several_queues(world: World) -> None:
    """Of ten thousand, say: an entry for each would take a long time."""
    more = topic_service(world.replica, world.machine)
    more.create("more", TopicChanges(queues=2), lambda _: None)
    world.replica.commit()
    append = ProduceService(world.replica, world.machine)
    for queue in (3, 4):
        append.append(queue, encode_columns([b"x"], timestamp_ms=5), lambda _: None)
        world.replica.commit()
    world.fill(letters=0, count=6)
    world.forget()
    world.pass_ms()
    assert [world.round() for _ in range(2)] == [1, 0]
    assert len(world.machine.survivors) == 2


def test_one_range_is_weighed_in_a_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be of ten thousand queues; none is where an older member is."""
    world.old(letters=3)
    world.old(letters=3)
    looks: list[Index] = []
    use_of = world.machine.use_of

    def counted(first: Index, ended_ms: int) -> RangeUse | None:
        looks.append(first)
        return use_of(first, ended_ms)

    monkeypatch.setattr(world.machine, "use_of", counted)
    world.machine.state.feature_level = SURVIVORS_LEVEL - 1
    world.scheduler.advance(ROUND_NS)
    assert looks == []
    world.machine.state.feature_level = SURVIVORS_LEVEL
    world.scheduler.advance(ROUND_NS)
    assert len(looks) == 1
    world.turn()
    assert len(looks) == 2


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
    while world.scheduler.soon:
        world.turn()
    world.copying.end()
    world.bodies.answer()
    assert world.replica.proposed == 0
    assert world.scheduler.armed == 0

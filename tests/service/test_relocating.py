"""Relocating: what is hidden leaves an old range in time, and not again and again (ruling 7)."""

from dataclasses import dataclass, field

import pytest

from raftlog.base.errors import FaultyEntry, NotLeader
from raftlog.base.ids import Index, Offset
from raftlog.base.space import DiskLevel
from raftlog.broker import index
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import CancelDelayed, Delay, delayed_parts
from raftlog.broker.hidden import HiddenBatch
from raftlog.broker.invariants import check
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, MoveStart, TopicChanges
from raftlog.broker.trims import Trim
from raftlog.service import relocating
from raftlog.service.produce import ProduceService
from raftlog.service.relocating import ROUND_NS, Relocating
from raftlog.wire.batch import encode_columns
from tests.broker.logs import FIRST
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service
from tests.service.test_read import FakeBodies

DAY_MS = 24 * 3_600_000
BATCH = encode_columns([b"v" * 50], timestamp_ms=5)


@dataclass
class World:
    """A topic whose ranges have three postings, and a leader that relocates."""

    replica: FakeReplica = field(default_factory=FakeReplica)
    scheduler: FakeScheduler = field(default_factory=FakeScheduler)

    def __post_init__(self) -> None:
        self.machine = self.replica.machine
        self.bodies = FakeBodies(self.replica)
        self.relocating = Relocating(self.replica, self.machine, self.bodies, self.scheduler)
        topics = topic_service(self.replica, self.machine)
        topics.create("t", TopicChanges(queues=1), lambda _: None)
        self.replica.commit()
        self.replica.memory_from = 10_000
        self.relocating.begin()
        self.sent: dict[int, bytes] = {}
        """Delayed batches, by the entry that brought them."""

    def lies(self, row: HiddenBatch) -> bool:
        """Whether a batch's own bytes are where its row says."""
        body = self.replica.entries[row.index - 1].body
        here = bytes(body[row.position : row.position + row.length])
        return here == self.sent[row.id >> 16]

    def fill(self) -> None:
        """Store three batches: a range ends."""
        append = ProduceService(self.replica, self.machine)
        for _ in range(3):
            append.append(FIRST, BATCH, lambda _: None)
        self.replica.commit()
        for sealed in self.machine.take_sealed():
            self.machine.stored(sealed.summary)

    def hide(self, ms: int = 30 * DAY_MS) -> HiddenBatch:
        """Store a batch that is due in a while."""
        batch = encode_columns([b"%050d" % len(self.replica.entries)], timestamp_ms=5)
        self.sent[len(self.replica.entries) + 1] = batch
        parts = delayed_parts(FIRST, Delay(ms, relative=True), batch)
        self.replica.propose(CommandType.APPEND_DELAYED, parts, lambda *_: None)
        self.replica.commit()
        row = self.machine.hidden.get((FIRST, len(self.replica.entries) << 16))
        assert row is not None
        return row

    def do(self, value: CommandValue) -> None:
        """Commit a command."""
        command = write_command(value)
        self.replica.propose(command.type, command.parts, lambda *_: None)
        self.replica.commit()

    def forget(self) -> None:
        """Retention passes everything that is visible."""
        self.do(MoveStart(FIRST, self.machine.queues.find(FIRST).end_offset))

    def pass_ms(self, ms: int) -> None:
        self.replica.log_time_ms += ms
        self.do(PassTime())

    def round(self) -> int:
        """Let a round pass, and whatever it proposes be committed; return how much that was."""
        self.scheduler.advance(ROUND_NS)
        self.bodies.answer()
        proposed = self.replica.proposed
        if proposed:
            self.replica.commit()
            check(self.machine)
        return proposed


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 3)
    monkeypatch.setattr(index, "RANGE_BODY_BYTES", 10_000)
    return World()


def test_a_range_that_could_go_but_for_what_it_hides_is_freed(world: World) -> None:
    """The copy has the very bytes, and is what becomes visible."""
    row = world.hide()
    world.fill()
    assert world.round() == 0, "others need the range too"
    world.forget()
    assert world.machine.free_through() == (0, 0)
    assert world.round() == 1
    assert row.index == len(world.replica.entries)
    assert world.lies(row)
    assert world.machine.free_through() == (3, 1)
    assert world.round() == 0
    assert world.relocating.relocated == 1


def test_what_is_in_memory_is_copied_from_there(world: World) -> None:
    """It may not be on this disk yet (14)."""
    row = world.hide()
    world.fill()
    world.forget()
    world.replica.memory_from = 1
    assert world.round() == 1
    assert world.bodies.asked == []
    assert world.lies(row)


def test_a_range_that_hides_much_is_left_alone_for_a_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of timers alone would else be copied round and round."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 5)
    for _ in range(2):
        world.hide()
    world.fill()
    world.forget()
    assert world.round() == 0
    world.pass_ms(relocating.LONG_MS)
    assert world.round() == 1


def test_an_entry_has_a_bounded_size_and_the_rest_comes_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least one batch in each, however large."""
    monkeypatch.setattr(relocating, "COALESCE_BYTES_MAX", 10)
    monkeypatch.setattr(relocating, "LITTLE_SHARE", 1)
    rows = [world.hide() for _ in range(3)]
    world.fill()
    world.forget()
    before = len(world.replica.entries)
    assert [world.round() for _ in range(4)] == [1, 1, 1, 0]
    assert [row.index for row in rows] == [before + number for number in (1, 2, 3)]


def test_what_is_due_soon_leaves_an_old_range_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the range would be needed for the whole retention, counted from then."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 6)
    row = world.hide(2 * DAY_MS)
    soon = world.hide(2 * DAY_MS + 1)
    late = world.hide(3 * DAY_MS)
    world.fill()
    world.pass_ms(2 * DAY_MS - relocating.SOON_MS + 1)
    young = world.hide(1_000)
    world.fill()
    assert world.round() == 1
    copied = Index(len(world.replica.entries))
    assert (row.index, soon.index) == (copied, copied)
    assert late.index < young.index < copied
    assert world.lies(row)
    assert world.lies(soon)
    assert world.round() == 0
    world.pass_ms(relocating.SOON_MS)
    found = world.machine.find(FIRST, Offset(6))
    assert isinstance(found, index.Postings)
    assert world.machine.hidden.get(row.key) is None


def test_what_must_be_read_again_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that did not fit, a damaged body, a lost leadership: all are looked for again."""
    monkeypatch.setattr(relocating, "COALESCE_BYTES_MAX", 10)
    rows = [world.hide(2 * DAY_MS + number) for number in range(3)]
    world.fill()
    world.pass_ms(2 * DAY_MS - relocating.SOON_MS + 10)
    world.bodies.error = FaultyEntry(rows[0].index)
    assert world.round() == 0
    world.bodies.error = None
    world.replica.refusal = NotLeader(None)
    assert world.round() == 0
    world.replica.refusal = None
    assert [world.round() for _ in range(4)] == [1, 1, 1, 0]


def test_what_is_kept_for_ever_is_not_copied_for_being_due(world: World) -> None:
    """Its range is needed for ever, wherever it lies."""
    world.do(AlterTopic("t", TopicChanges(retention_ms=0)))
    world.hide(2 * DAY_MS)
    world.fill()
    world.pass_ms(2 * DAY_MS - 100)
    assert world.round() == 0


def test_a_full_disk_is_not_filled_for_what_can_wait(world: World) -> None:
    """But a range is freed all the same: that is what gives space back."""
    world.hide(2 * DAY_MS)
    world.fill()
    world.pass_ms(2 * DAY_MS - 100)
    world.replica.disk_level = DiskLevel.FULL
    assert world.round() == 0
    world.forget()
    assert world.round() == 1


def test_what_was_cancelled_meanwhile_is_left(world: World) -> None:
    """The copy lies there for nobody."""
    row = world.hide()
    world.fill()
    world.forget()
    world.scheduler.advance(ROUND_NS)
    world.bodies.answer()
    assert world.replica.proposed == 1
    world.do(CancelDelayed(FIRST, row.id, row.held))
    check(world.machine)
    assert world.round() == 0
    assert world.machine.free_through()[1] == 1


def test_who_leads_no_more_copies_nothing(world: World) -> None:
    """Not even what was read already."""
    world.hide()
    world.fill()
    world.forget()
    world.scheduler.advance(ROUND_NS)
    world.relocating.end()
    world.bodies.answer()
    assert world.replica.proposed == 0
    assert world.scheduler.armed == 0


def test_a_trim_follows(world: World) -> None:
    """What was relocated is the last thing that kept the range."""
    world.hide()
    world.fill()
    world.forget()
    world.round()
    free, _ = world.machine.free_through()
    world.do(Trim(free))
    assert world.machine.trimmed == free
    check(world.machine)


def test_a_shard_of_timers_alone_is_left_alone(world: World) -> None:
    """Copied, it would be a range of nothing but timers again, and so for ever."""
    for _ in range(9):
        world.hide()
    assert world.machine.range_count == 3
    assert [world.round() for _ in range(5)] == [0] * 5

"""Tracing a message: how it came into the log, who has read it, and what nobody knows any more."""

from typing import Any

from raftlog.base.errors import (
    FaultyEntry,
    NotLeader,
    OffsetOutOfRange,
    RaftlogError,
    Unavailable,
    WrongQueue,
)
from raftlog.base.ids import Index
from raftlog.broker.claims import ClaimQueue, CommitOffsets
from raftlog.broker.commands import CommandType
from raftlog.broker.dead_letters import dead_letter_parts
from raftlog.broker.delays import Delay, delayed_parts
from raftlog.broker.group_commands import JoinGroup
from raftlog.broker.lease_commands import AckMessages, ReceiveMessages, ReturnMessages
from raftlog.broker.origins import Origin
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.relocations import Moving, relocate_command
from raftlog.broker.survivors import Copying, copy_command
from raftlog.broker.topics import DeleteTopic, MoveStart
from raftlog.broker.transactions import Decide, half_parts
from raftlog.broker.transactors import InitTransactor
from raftlog.service.proposing import propose_unheard
from raftlog.service.tracing import Progress, Traced, TraceService
from raftlog.wire.batch import Record, encode_batch
from tests.service.fakes import FakeEntries, FakeReader
from tests.service.test_read import World


def batch(*values: bytes) -> bytes:
    """Return a batch."""
    return encode_batch([Record(value) for value in values], timestamp_ms=1)


class Tracing:
    """A shard of which nothing but the newest is in memory."""

    def __init__(self) -> None:
        self.world = World()
        self.replica = self.world.replica
        self.entries = FakeEntries(self.replica)
        self.reader = FakeReader()
        self.service = TraceService(self.world.service, self.reader, self.entries)
        self.outcomes: list[Any] = []

    def commit(self, *values: Any, at_ms: int = 0) -> int:
        """Commit values of commands, or (type, parts), as one entry; return its index."""
        self.replica.log_time_ms = max(self.replica.log_time_ms, at_ms)
        for value in values:
            if isinstance(value, tuple):
                self.replica.propose(*value, lambda outcome, *_: self.outcomes.append(outcome))
            else:
                propose_unheard(self.replica, value)
        self.replica.commit()
        return len(self.replica.entries)

    def ask(self, offset: int, queue: int | None = None) -> list[Traced | RaftlogError]:
        """Ask; nothing is answered before somebody confirms."""
        answers: list[Traced | RaftlogError] = []
        self.service.trace(self.world.queue if queue is None else queue, offset, answers.append)
        assert not answers or isinstance(answers[0], RaftlogError)
        return answers

    def trace(self, offset: int, queue: int | None = None) -> Traced:
        """Trace a message that is there."""
        (answer,) = self.answered(self.ask(offset, queue))
        assert isinstance(answer, Traced), answer
        return answer

    def refusal(self, offset: int, queue: int | None = None) -> type[object]:
        """Trace what is refused."""
        answers = self.ask(offset, queue)
        (answer,) = self.answered(answers)
        return type(answer)

    def answered(self, answers: list[Traced | RaftlogError]) -> list[Traced | RaftlogError]:
        """Let everything be confirmed, read and looked into."""
        for _ in range(4):
            self.replica.confirm()
            self.world.bodies.answer()
            self.reader.run()
        return answers


def test_a_message_that_was_sent() -> None:
    """It is found in the middle of a batch, in the middle of an entry; from memory and files."""
    it = Tracing()
    it.world.store(batch(b"a"), batch(b"b", b"c"))
    for memory_from in (1, 100):
        it.replica.memory_from = memory_from
        traced = it.trace(2)
        assert (traced.posting.base_offset, traced.posting.count) == (1, 2)
        assert bytes(traced.batch) == batch(b"b", b"c")
        brought = traced.brought
        assert (brought.origin, brought.index, brought.log_time_ms) == (Origin.SENT, 2, 2)
        assert (traced.copied, traced.staged, traced.buried) == (None, None, None)


def test_a_delayed_message_and_its_copy() -> None:
    """When it was sent and due; also if its bytes lie in a copy, as long as the log has both."""
    it = Tracing()
    queue, data = it.world.queue, batch(b"later")
    parts = delayed_parts(queue, Delay(50, relative=True), data)
    sent = it.commit((CommandType.APPEND_DELAYED, parts), at_ms=100)
    (row,) = it.replica.machine.hidden.of_queue(queue)
    moving = Moving(row.key, row.index, row.position, row.length)
    command = relocate_command([moving], [data])
    copied = it.commit((command.type, command.parts), at_ms=120)
    it.commit(MoveStart(queue, 0), at_ms=160)
    it.replica.memory_from = 100

    traced = it.trace(0)
    brought = traced.brought
    assert (brought.origin, brought.index, brought.log_time_ms) == (Origin.DELAYED, sent, 100)
    assert brought.due_ms == 150
    assert traced.copied is not None
    assert (traced.copied.index, traced.copied.log_time_ms) == (copied, 120)
    assert (traced.posting.log_time_ms, traced.posting.index) == (160, copied)

    it.entries.trimmed = sent  # the old range has gone
    traced = it.trace(0)
    assert (traced.brought.origin, traced.brought.log_time_ms) == (Origin.UNKNOWN, 0)
    assert traced.brought.index == sent
    assert traced.copied is not None


def test_what_was_copied_forward() -> None:
    """The copy says nothing of who brought it, and is not told as if it had."""
    it = Tracing()
    it.world.store(batch(b"a"))
    posting = it.trace(0).posting
    command = copy_command([Copying(it.world.queue, posting)], [batch(b"a")])
    copied = it.commit((command.type, command.parts), at_ms=120)

    traced = it.trace(0)
    brought = traced.brought
    assert (brought.origin, brought.index, brought.log_time_ms) == (Origin.UNKNOWN, 0, 0)
    assert traced.copied is not None
    assert (traced.copied.index, traced.copied.log_time_ms) == (copied, 120)
    assert (traced.posting.log_time_ms, traced.posting.index) == (posting.log_time_ms, copied)


def test_a_half_message() -> None:
    """Whose it was; it is visible since it was committed."""
    it = Tracing()
    it.commit(InitTransactor("billing-1", "billing"), at_ms=10)
    (owner,) = it.replica.machine.state.transactors.table.rows
    parts = half_parts(owner, 1, 1, it.world.queue, batch(b"half"))
    it.commit((CommandType.STAGE_HALF, parts), at_ms=20)
    it.commit(Decide(owner, 1, ((1, 1),)), at_ms=70)

    traced = it.trace(0)
    assert (traced.brought.origin, traced.brought.log_time_ms) == (Origin.HALF, 20)
    assert traced.posting.log_time_ms == 70
    assert traced.staged is not None
    assert (traced.staged.owner, traced.staged.group) == ("billing-1", "billing")
    assert traced.staged.transaction == f"{owner}.1"


def test_how_far_stream_groups_are() -> None:
    """Nothing committed, before it, behind it."""
    it = Tracing()
    it.world.store(batch(b"a", b"b"))
    queue = it.world.queue
    it.commit(JoinGroup("g", "m", ("first",), 1_000), JoinGroup("h", "n", ("first",), 1_000))
    it.commit(ClaimQueue("g", queue, 1, "m"), ClaimQueue("h", queue, 1, "n"))
    it.commit(CommitOffsets("h", "n", 1, ((queue, 1),)))

    found = [(each.group, each.member, each.committed) for each in it.trace(0).streams]
    assert found == [("g", "m", None), ("h", "n", 1)]


def test_what_queue_groups_have_done_with_it() -> None:
    """Each state that a message can be in; and the dead letter that becomes of one."""
    it = Tracing()
    it.world.store(batch(b"a", b"b", b"c", b"d"))
    queue = it.world.queue
    changes = QueueGroupChanges(attempts_max=1, lease_ms=1_000)
    it.commit(OpenQueueGroup("work", ("first",), changes), at_ms=1_000)
    it.commit(ReceiveMessages("work", 7, 3), at_ms=1_000)
    it.commit(AckMessages("work", ((7, queue, (0,)),)), at_ms=1_000)
    it.commit(ReturnMessages("work", ((7, queue, (1,)),), 0, 0, "broken"), at_ms=1_000)

    def reading(offset: int) -> tuple[Progress, int, int, str]:
        (found,) = it.trace(offset).queues
        return found.progress, found.attempts, found.until_ms, found.reason

    assert reading(0) == (Progress.FINISHED, 0, 0, "")
    assert reading(1) == (Progress.DEAD, 1, 0, "broken")
    assert reading(2) == (Progress.LEASED, 1, 2_000, "")
    assert reading(3) == (Progress.UNREAD, 0, 0, "")

    group = it.replica.machine.leasing.groups.find("work")
    letter = dead_letter_parts(group.number, queue, 1, batch(b"b"))
    it.commit((CommandType.DEAD_LETTER, letter), at_ms=1_000)
    assert reading(1) == (Progress.FINISHED, 0, 0, "")
    assert it.trace(1).queues[0].dead_letters == group.dead_letter_topic
    topic = it.replica.machine.topics.get(group.dead_letter_topic)
    assert topic is not None
    traced = it.trace(0, topic.queues[0])
    assert traced.brought.origin is Origin.DEAD_LETTER
    assert traced.buried is not None
    buried = traced.buried
    assert (buried.group, buried.topic, buried.place, buried.offset) == ("work", "first", 0, 1)


def test_what_is_not_there_is_said() -> None:
    """By name; and what goes while it is looked at."""
    it = Tracing()
    it.world.store(batch(b"a"), batch(b"b"))
    assert it.refusal(2) is OffsetOutOfRange
    assert it.refusal(9) is OffsetOutOfRange
    assert it.refusal(0, queue=99) is WrongQueue
    it.commit(MoveStart(it.world.queue, 1))
    assert it.refusal(0) is OffsetOutOfRange
    answers = it.ask(1)
    it.replica.confirm(NotLeader(None))
    assert isinstance(answers[0], NotLeader)

    it.replica.memory_from = 100
    it.entries.error = FaultyEntry(Index(2))
    assert it.refusal(1) is Unavailable
    it.entries.error = None
    it.entries.trimmed = 9
    assert it.refusal(1) is Unavailable, "the state is behind the log for a moment"
    it.entries.trimmed = 0
    answers = it.ask(1)
    it.replica.confirm()
    it.commit(DeleteTopic("first"))
    assert [type(answer) for answer in it.answered(answers)] == [WrongQueue]


def test_nobody_is_answered_who_has_left() -> None:
    """A cancelled trace ends."""
    it = Tracing()
    it.world.store(batch(b"a"))
    answers: list[Traced | RaftlogError] = []
    cancel = it.service.trace(it.world.queue, 0, answers.append)
    cancel()
    assert it.answered(answers) == []

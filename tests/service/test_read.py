"""Reading: the applied prefix, from wherever it is, without ever blocking or polling."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raftlog.base.errors import (
    FaultyEntry,
    NotLeader,
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    Unavailable,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import REPAIR_WAIT_NS_MAX
from raftlog.broker import index
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import Delay, delayed_parts
from raftlog.broker.index import RangeSummary
from raftlog.broker.topics import MoveStart, TopicChanges
from raftlog.service.ports import OnBodies, OnPostings
from raftlog.service.produce import ProduceService
from raftlog.service.proposing import propose_unheard
from raftlog.service.read import READ_BATCHES_MAX, Reading, ReadRequest, ReadResult, ReadService
from raftlog.storage.span import Place
from raftlog.wire.batch import encode_columns
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service

SECOND = 1_000_000_000


class FakeBodies:
    """The files of the log: they answer when the test lets them."""

    def __init__(self, replica: FakeReplica) -> None:
        self.reads = 0
        self.asked: list[list[int]] = []
        self.error: RaftlogError | None = None
        self._replica = replica
        self._waiting: list[Callable[[], None]] = []

    def read(self, places: Sequence[Place], done: OnBodies, /) -> None:
        """Keep the read for ``answer``."""
        self.reads += 1
        self.asked.append([place.index for place in places])
        found = []
        for at in places:
            body = self._replica.entries[at.index - 1].body
            found.append(body[at.offset : at.offset + at.length])
        error = self.error
        self._waiting.append(lambda: done(() if error else found, error))

    def answer(self) -> None:
        """Answer every read that waits."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


class FakeRanges:
    """The files of the index: they answer when the test lets them."""

    def __init__(self) -> None:
        self.loads: list[tuple[RangeSummary, OnPostings]] = []
        self.queues: list[int] = []

    def load(self, summary: RangeSummary, queue: int, done: OnPostings, /) -> None:
        """Keep the load."""
        self.queues.append(queue)
        self.loads.append((summary, done))


def read_service(replica: FakeReplica, scheduler: FakeScheduler) -> ReadService:
    """Return one whose files answer nothing: everything is in memory."""
    bodies, ranges = FakeBodies(replica), FakeRanges()
    return ReadService(replica, replica.machine, bodies, ranges, scheduler)


class World:
    """One shard with everything round a ``ReadService``, and a topic: that is entry 1."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.scheduler = FakeScheduler()
        self.bodies = FakeBodies(self.replica)
        self.ranges = FakeRanges()
        self.append = ProduceService(self.replica, self.replica.machine)
        self.service = ReadService(
            self.replica, self.replica.machine, self.bodies, self.ranges, self.scheduler
        )
        self.topics = topic_service(self.replica, self.replica.machine)
        self.answers: list[ReadResult | RaftlogError] = []
        (self.queue,) = self.create("first", retention_ms=0)

    def store(self, *batches: bytes, queue: int | None = None) -> None:
        """Commit the batches as one entry."""
        for batch in batches:
            self.append.append(self.queue if queue is None else queue, batch, lambda _: None)
        self.replica.commit()

    def create(self, name: str, queues: int = 1, **changes: Any) -> tuple[int, ...]:
        """Make a topic; return the numbers of its queues."""
        self.topics.create(name, TopicChanges(queues=queues, **changes), lambda _: None)
        self.replica.commit()
        topic = self.replica.machine.topics.get(name)
        assert topic is not None
        return topic.queues

    def read(
        self,
        offset: int,
        *,
        queue: int | None = None,
        bytes_max: int = 1 << 20,
        wait_ns: int = 0,
        session: int = 0,
        staleness_ns: int | None = None,
    ) -> Reading:
        """Read, and collect the answer."""
        asked = self.queue if queue is None else queue
        place = (asked, Offset(offset))
        request = ReadRequest(*place, bytes_max, wait_ns, Index(session), staleness_ns)
        return self.service.read(request, self.answers.append)

    def result(self) -> ReadResult:
        """Return the only answer, which is no error."""
        (answer,) = self.answers
        assert isinstance(answer, ReadResult), answer
        return answer

    def results(self) -> list[ReadResult]:
        """Return all answers, none of which is an error."""
        return [answer for answer in self.answers if isinstance(answer, ReadResult)]


def batch_of(*values: bytes) -> bytes:
    return encode_columns(values, timestamp_ms=5)


A, B, C = batch_of(b"a", b"aa"), batch_of(b"b"), batch_of(b"c" * 300)


@pytest.fixture
def world() -> World:
    made = World()
    made.store(A, B)
    made.store(C)
    return made


@pytest.mark.parametrize(
    ("offset", "bases", "batches"),
    [(0, [0, 2, 3], [A, B, C]), (1, [0, 2, 3], [A, B, C]), (2, [2, 3], [B, C]), (3, [3], [C])],
)
def test_a_read_gives_stored_batches_from_the_one_that_holds_the_offset(
    world: World, offset: int, bases: list[int], batches: list[bytes]
) -> None:
    """Batches go out as they were stored; a reader skips inside the first one."""
    world.read(offset)
    result = world.result()
    assert list(result.base_offsets) == bases
    assert [bytes(batch) for batch in result.batches] == batches
    assert (result.end_offset, result.applied) == (4, 3)


def test_a_read_from_memory_copies_nothing(world: World) -> None:
    """The bytes in the answer are the bytes of the entry."""
    world.read(0)
    first = world.result().batches[0]
    assert isinstance(first, memoryview)
    assert first.obj is world.replica.entries[1].frame


@pytest.mark.parametrize(
    ("bytes_max", "count"),
    [(0, 1), (1, 1), (len(A) + len(B) - 1, 1), (len(A) + len(B), 2), (1 << 20, 3)],
)
def test_a_read_ends_at_its_limit_but_has_at_least_one_batch(
    world: World, bytes_max: int, count: int
) -> None:
    """A batch larger than the limit must not stop a consumer for ever."""
    world.read(0, bytes_max=bytes_max)
    assert len(world.result().batches) == count


def test_an_answer_has_a_bounded_number_of_batches() -> None:
    """Their offsets and lengths must fit into the header of one frame."""
    world = World()
    world.store(*[B] * (READ_BATCHES_MAX + 5))
    world.read(0, bytes_max=1 << 30)
    assert len(world.result().batches) == READ_BATCHES_MAX


@pytest.mark.parametrize("offset", [-1, 5, 1 << 62])
def test_an_offset_outside_the_queue_is_told_the_range(world: World, offset: int) -> None:
    """The caller can go on from either end."""
    world.read(offset)
    world.replica.confirm()
    (error,) = world.answers
    assert isinstance(error, OffsetOutOfRange)
    assert (error.offset, error.start, error.end) == (offset, 0, 4)


def test_a_queue_that_does_not_exist_is_refused_when_that_is_certain(world: World) -> None:
    """An empty answer would be read as an empty queue; and a new leader may not know it yet."""
    world.read(0, queue=77, wait_ns=SECOND)
    assert world.answers == []
    world.replica.confirm()
    assert [type(answer) for answer in world.answers] == [WrongQueue]


def test_a_queue_that_becomes_known_meanwhile_is_read(world: World) -> None:
    """The creation was committed before the read came, and is applied now."""
    world.read(0, queue=2)
    assert world.create("orders") == (2,)
    world.replica.confirm()
    assert list(world.result().batches) == []


def test_a_topic_that_is_not_readable_refuses_reads(world: World) -> None:
    """Also those that wait already, when they look again."""
    (queue,) = world.create("orders")
    world.read(0, queue=queue, wait_ns=SECOND)
    world.topics.alter("orders", TopicChanges(readable=False), lambda _: None)
    world.replica.commit()
    world.read(0, queue=queue)
    world.scheduler.advance(SECOND)
    assert [type(answer) for answer in world.answers] == [NotPermitted, NotPermitted]


@pytest.mark.parametrize("reason", ["not readable", "beyond the end"])
def test_a_bounded_read_is_refused_by_what_is_true_and_not_by_what_is_old(
    world: World, reason: str
) -> None:
    """Within its bound a replica may lack the order to let it read, or where its reader began."""
    world.read(0, staleness_ns=SECOND)
    world.replica.confirm()
    world.answers.clear()
    if reason == "not readable":
        world.topics.alter("first", TopicChanges(readable=False), lambda _: None)
        world.replica.commit()
        world.read(0, staleness_ns=SECOND)
        world.topics.alter("first", TopicChanges(readable=True), lambda _: None)
        world.replica.commit()
    else:
        world.read(6, staleness_ns=SECOND)
        world.store(A, A)
    assert not world.answers, "it is not certain"
    world.replica.confirm()
    assert world.result().batches[-1] == (C if reason == "not readable" else A)


def test_a_leader_that_has_just_begun_does_not_say_that_a_queue_ends_before_its_end(
    world: World,
) -> None:
    """What a reader was told of by the leader before is committed, and not applied here yet.

    A consumer would take records for lost that are there: it would end, or go back over them.
    """
    world.read(6, wait_ns=SECOND)
    assert not world.answers, "it is not certain"
    world.store(A, A)
    world.replica.confirm()
    assert world.result().batches[-1] == A


def test_a_bounded_read_that_must_be_refused_is(world: World) -> None:
    """Once it is certain; and where the bound is zero, that was asked already."""
    for staleness_ns in (SECOND, 0):
        world.read(9, staleness_ns=staleness_ns)
        world.replica.confirm()
        world.replica.confirm()
    assert [type(answer) for answer in world.answers] == [OffsetOutOfRange] * 2


def test_a_queue_that_is_deleted_while_a_read_waits_ends_it_at_once(world: World) -> None:
    """Its deadline may be a minute away, and nothing will ever come."""
    (queue,) = world.create("orders")
    world.read(0, queue=queue, wait_ns=60 * SECOND)
    world.topics.delete("orders", lambda _: None)
    world.replica.commit()
    assert [type(answer) for answer in world.answers] == [WrongQueue]
    assert world.replica.reads == []


def test_records_of_other_queues_wake_nobody(world: World) -> None:
    """Ten thousand idle consumers must not cost a busy queue anything."""
    first, second = world.create("orders", 2)
    woken: list[int] = []
    add = world.service.waiting.add
    for _ in range(3):
        add(first, SECOND, lambda _late: woken.append(first))
    add(second, SECOND, lambda _late: woken.append(second))
    world.store(A, queue=second)
    world.store(B)
    assert woken == [second]
    world.store(C, queue=first)
    assert woken == [second, first, first, first]


def test_below_a_start_that_moved_is_out_of_range_also_for_who_waits(world: World) -> None:
    """A consumer slower than retention must learn what it lost."""
    (queue,) = world.create("orders")
    world.store(A, B, queue=queue)
    world.read(3, queue=queue, wait_ns=SECOND)
    propose_unheard(world.replica, MoveStart(queue, 2))
    world.replica.commit()
    world.read(1, queue=queue)
    (error,) = world.answers
    assert isinstance(error, OffsetOutOfRange)
    assert (error.offset, error.start, error.end) == (1, 2, 3)
    world.read(2, queue=queue)
    result = world.answers[-1]
    assert isinstance(result, ReadResult)
    assert (result.start_offset, result.end_offset) == (2, 3)


def test_a_queue_that_moves_on_while_its_range_is_read_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk may be slow; what was forgotten meanwhile is not served."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    world = World()
    (queue,) = world.create("orders")
    world.store(A, queue=queue)
    world.store(B, queue=queue)
    machine = world.replica.machine
    sealed = machine.take_sealed()
    for each in sealed:
        machine.stored(each.summary)
    world.read(0, queue=queue)
    ((summary, done),) = world.ranges.loads
    assert world.ranges.queues == [queue]
    propose_unheard(world.replica, MoveStart(queue, 2))
    world.replica.commit()
    done(next(each.postings[queue] for each in sealed if each.summary == summary), None)
    assert [type(answer) for answer in world.answers] == [OffsetOutOfRange]


def test_a_read_at_the_end_without_a_wait_is_empty_at_once(world: World) -> None:
    """That is how a caller asks whether there is more."""
    world.read(4)
    assert (list(world.result().batches), world.scheduler.armed) == ([], 0)


def test_a_read_at_the_end_is_woken_by_apply(world: World) -> None:
    """Woken, not polled: no timer but the deadline's, and that is disarmed."""
    world.read(4, wait_ns=SECOND)
    assert world.answers == []
    world.store(B)
    assert [bytes(batch) for batch in world.result().batches] == [B]
    assert world.scheduler.armed == 0


def test_progress_without_records_does_not_end_a_wait(world: World) -> None:
    """A no-op moves applied; the reader asked for records, until its own deadline."""
    world.read(4, wait_ns=SECOND)
    world.scheduler.advance(SECOND // 2)
    world.store()
    assert world.answers == []
    world.scheduler.advance(SECOND // 2)
    assert list(world.result().batches) == []


def test_a_cancelled_read_is_never_answered(world: World) -> None:
    """Its connection is gone."""
    reading = world.read(4, wait_ns=SECOND)
    reading.cancel()
    world.store(B)
    world.scheduler.advance(2 * SECOND)
    assert world.answers == []


def test_a_session_never_goes_back(world: World) -> None:
    """A replica that has applied less waits until it has what the session saw (ruling 23)."""
    world.read(0, wait_ns=SECOND, session=4)
    assert world.answers == []
    world.store(B)
    assert len(world.result().batches) == 4


def test_a_replica_that_stays_behind_a_session_says_so(world: World) -> None:
    """An empty or out-of-range answer would be a lie about the queue."""
    world.read(9, wait_ns=SECOND, session=4)
    world.scheduler.advance(SECOND)
    assert isinstance(world.answers[0], Unavailable)


def test_what_is_not_in_memory_comes_from_the_file(world: World) -> None:
    """And the loop goes on until it has come."""
    world.replica.memory_from = 3
    world.read(0)
    assert (world.answers, world.bodies.asked) == ([], [[2, 2]])
    world.bodies.answer()
    assert [bytes(batch) for batch in world.result().batches] == [A, B]


def test_what_is_in_memory_is_never_asked_of_the_file(world: World) -> None:
    """It may not be on this disk yet: a leader applies before its own fsync (ruling 14)."""
    world.replica.memory_from = 3
    world.read(1)
    assert world.bodies.asked == [[2, 2]]
    world.read(3)
    assert len(world.bodies.asked) == 1


def test_what_lies_in_memory_between_older_batches_is_never_asked_of_the_file() -> None:
    """A batch that was hidden for long comes after one that is not on this disk yet (7, 14)."""
    world = World()
    for batch, due_ms in ((A, 4), (C, 6)):
        parts = delayed_parts(world.queue, Delay(due_ms, relative=False), batch)
        world.replica.propose(CommandType.APPEND_DELAYED, parts, lambda *_: None)
        world.replica.commit()
    world.store()
    world.store(B)
    world.store()
    world.replica.memory_from = 5
    world.read(0)
    assert world.bodies.asked == [[2]]
    world.read(3)
    assert world.bodies.asked == [[2], [3]]
    world.bodies.answer()
    assert [list(each.base_offsets) for each in world.results()] == [[0], [3]]


def test_an_entry_that_leaves_memory_meanwhile_ends_the_answer_before_it() -> None:
    """An answer is a run of batches; a hole in it would shift offsets."""
    world = World()
    world.store(A)
    world.store(B)
    world.replica.memory_from = 1
    tail = world.replica.tail
    world.replica.tail = lambda at: tail(at) if at <= 2 else None  # type: ignore[method-assign]
    world.read(0)
    assert [bytes(batch) for batch in world.result().batches] == [A]


def test_a_damaged_batch_is_an_error_and_not_an_empty_answer(world: World) -> None:
    """Corrupt is not absent (R3): without a peer that has it, the reader is told."""
    world.replica.memory_from = 4
    world.bodies.error = FaultyEntry(2)
    world.read(0)
    world.bodies.answer()
    assert world.answers == []
    world.scheduler.advance(REPAIR_WAIT_NS_MAX)
    assert world.answers == [world.bodies.error]


def test_a_damaged_batch_is_served_once_its_entry_is_repaired(world: World) -> None:
    """The reader does not notice more than a delay (ruling 17)."""
    world.replica.memory_from = 4
    world.bodies.error = FaultyEntry(2)
    world.read(0)
    world.bodies.answer()
    (repaired,) = world.replica.repair_listeners
    repaired()  # something else was repaired
    world.bodies.answer()
    assert world.answers == []
    world.bodies.error = None
    repaired()
    world.bodies.answer()
    assert world.result().batches
    world.scheduler.advance(REPAIR_WAIT_NS_MAX)
    assert len(world.answers) == 1


def test_a_read_that_waits_for_repair_can_be_cancelled(world: World) -> None:
    """Its client may be gone."""
    world.replica.memory_from = 4
    world.bodies.error = FaultyEntry(2)
    reading = world.read(0)
    world.bodies.answer()
    reading.cancel()
    world.scheduler.advance(REPAIR_WAIT_NS_MAX)
    assert world.answers == []
    assert len(world.service.waiting) == 0


def test_a_read_that_was_cancelled_while_the_file_was_read_is_not_answered(world: World) -> None:
    """The reader thread may be slow; the client need not wait for it."""
    world.replica.memory_from = 4
    world.read(0).cancel()
    world.bodies.answer()
    assert world.answers == []


def test_a_read_in_a_stored_range_loads_its_postings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stored range only the summary is in memory."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
    world = World()
    world.store(A, B)
    world.store(C)
    machine = world.replica.machine
    (sealed,) = machine.take_sealed()
    machine.stored(sealed.summary)
    world.read(2)
    ((summary, done),) = world.ranges.loads
    assert (world.answers, summary) == ([], sealed.summary)
    done(sealed.postings[world.queue], None)
    assert [bytes(batch) for batch in world.result().batches] == [B]


def test_a_range_that_cannot_be_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller asks another node meanwhile."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    world = World()
    world.store(A)
    machine = world.replica.machine
    machine.stored(machine.take_sealed()[0].summary)
    world.read(0)
    error = Unavailable("damaged")
    world.ranges.loads[0][1](None, error)
    assert world.answers == [error]


def test_the_end_is_told_only_after_the_leader_has_confirmed_itself(world: World) -> None:
    """A leader that was cut off must not tell an old end (ruling 23)."""
    ends: list[Offset | RaftlogError] = []
    world.service.end_offset(world.queue, ends.append)
    assert ends == []
    world.store(B)
    world.replica.reads[0](None)
    assert ends == [5]


def test_an_unconfirmed_end_is_an_error(world: World) -> None:
    """Nobody may take a guess for an end."""
    ends: list[Offset | RaftlogError] = []
    world.service.end_offset(world.queue, ends.append)
    world.replica.confirm(NotLeader())
    world.service.end_offset(7, ends.append)
    world.replica.confirm()
    assert [type(end) for end in ends] == [NotLeader, WrongQueue]


def test_each_queue_has_its_own_end(world: World) -> None:
    """Offsets are counted per queue."""
    first, second = world.create("orders", 2)
    world.store(A, queue=second)
    ends: list[Offset | RaftlogError] = []
    for queue in (world.queue, first, second):
        world.service.end_offset(queue, ends.append)
    world.replica.confirm()
    assert ends == [4, 0, 2]

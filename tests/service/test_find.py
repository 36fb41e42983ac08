"""Finding an offset by log time: the first batch that was stored then or later."""

import pytest

from raftlog.base.errors import NotLeader, RaftlogError, Unavailable, WrongQueue
from raftlog.base.ids import Offset
from raftlog.broker import index
from raftlog.broker.topics import MoveStart
from raftlog.service.find import FindService
from raftlog.service.proposing import propose_unheard
from tests.service.test_read import A, B, World


class Finder:
    """A queue with batches stored at log times 1 000, 2 000 and 3 000: offsets 0, 2 and 3."""

    def __init__(self) -> None:
        self.world = World()
        (self.queue,) = self.world.create("orders")
        for time_ms, batch in ((1_000, A), (2_000, B), (3_000, A)):
            self.world.replica.log_time_ms = time_ms
            self.world.store(batch, queue=self.queue)
        machine = self.world.replica.machine
        self.service = FindService(self.world.replica, machine, self.world.ranges)
        self.answers: list[Offset | RaftlogError] = []

    def find(self, log_time_ms: int, queue: int | None = None) -> None:
        """Ask, and confirm the leader."""
        asked = self.queue if queue is None else queue
        self.service.by_time(asked, log_time_ms, self.answers.append)
        self.world.replica.confirm()


@pytest.mark.parametrize(
    ("log_time_ms", "offset"),
    [(0, 0), (1_000, 0), (1_001, 2), (2_000, 2), (3_000, 3), (3_001, 5), (1 << 62, 5)],
)
def test_the_first_batch_at_or_after_the_time_is_found(log_time_ms: int, offset: int) -> None:
    """The queue's end if there is none: what comes is younger."""
    finder = Finder()
    finder.find(log_time_ms)
    assert finder.answers == [offset]


def test_an_empty_queue_is_at_its_end() -> None:
    """Nothing was stored at any time."""
    finder = Finder()
    (empty,) = finder.world.create("empty")
    finder.find(0, empty)
    assert finder.answers == [0]


def test_what_was_forgotten_is_not_found() -> None:
    """The answer can be read."""
    finder = Finder()
    propose_unheard(finder.world.replica, MoveStart(finder.queue, 2))
    finder.world.replica.commit()
    finder.find(0)
    assert finder.answers == [2]


def test_another_queue_is_refused() -> None:
    """An offset of 0 would be read as its beginning."""
    finder = Finder()
    finder.find(0, 77)
    assert [type(answer) for answer in finder.answers] == [WrongQueue]


def test_an_unconfirmed_look_is_an_error() -> None:
    """What was acknowledged before the question must be looked at."""
    finder = Finder()
    finder.service.by_time(finder.queue, 0, finder.answers.append)
    error = NotLeader()
    finder.world.replica.confirm(error)
    assert finder.answers == [error]


def test_a_stored_range_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its summary is in memory; it may be damaged, or of no use when it comes."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    finder = Finder()
    machine = finder.world.replica.machine
    sealed = {each.summary: each for each in machine.take_sealed()}
    for summary in sealed:
        machine.stored(summary)
    finder.find(1_500)
    finder.find(1_500)
    finder.find(1_500)
    assert finder.answers == []
    (summary, done), (_, fail), (_, late) = finder.world.ranges.loads
    done(sealed[summary].postings[finder.queue], None)
    error = Unavailable("damaged")
    fail(None, error)
    finder.world.topics.delete("orders", lambda _: None)
    finder.world.replica.commit()
    late(sealed[summary].postings[finder.queue], None)
    assert finder.answers[:2] == [2, error]
    assert isinstance(finder.answers[2], WrongQueue)

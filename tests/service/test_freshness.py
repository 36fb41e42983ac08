"""Reads with a bound: one confirmation serves all whose bound reaches back to it."""

from raftlog.base.errors import NotLeader, RaftlogError
from raftlog.service.freshness import Freshness
from tests.service.fakes import FakeReplica, FakeScheduler

SECOND = 1_000_000_000


class World:
    """One replica's freshness, and what those who asked were told."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.scheduler = FakeScheduler()
        self.freshness = Freshness(self.replica, self.scheduler)
        self.told: list[RaftlogError | None] = []

    def ask(self, staleness_ns: int) -> None:
        """Read with a bound."""
        self.freshness.ensure(staleness_ns, self.told.append)


def test_the_first_read_is_confirmed_whatever_its_bound() -> None:
    """A replica that just started may be a day behind."""
    world = World()
    world.ask(3600 * SECOND)

    assert world.told == []
    world.replica.confirm()
    assert world.told == [None]


def test_age_counts_from_the_question_and_not_from_the_answer() -> None:
    """What was committed while the question was under way may be missing."""
    world = World()
    world.ask(SECOND)
    world.scheduler.advance(SECOND // 2)
    world.replica.confirm()
    world.scheduler.advance(SECOND // 2)
    world.ask(SECOND)
    assert world.told == [None, None]

    world.scheduler.advance(1)
    world.ask(SECOND)
    assert world.told == [None, None]
    world.replica.confirm()
    assert world.told == [None] * 3


def test_a_bound_of_zero_asks_each_time() -> None:
    """That is a linearizable read."""
    world = World()
    for _ in range(2):
        world.ask(0)
        assert len(world.replica.reads) == 1
        world.replica.confirm()
    assert world.freshness.confirmations == 2


def test_a_late_confirmation_of_an_early_question_takes_nothing_back() -> None:
    """Answers come in any order."""
    world = World()
    world.ask(0)
    (first,) = world.replica.reads
    world.replica.reads = []
    world.scheduler.advance(SECOND)
    world.ask(0)
    world.replica.confirm()
    first(None)
    world.ask(SECOND // 2)
    assert world.told == [None] * 3


def test_who_knows_no_leader_says_so() -> None:
    """The client asks another node."""
    world = World()
    world.ask(SECOND)
    world.replica.confirm(NotLeader(None))

    assert [type(error) for error in world.told] == [NotLeader]
    world.ask(SECOND)
    assert len(world.replica.reads) == 1

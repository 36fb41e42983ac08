"""Half messages: never visible before the commit, decided exactly once, never dropped."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    Fenced,
    ForeignTransaction,
    LimitReached,
    TransactionDecided,
    TransactionForgotten,
    TransactionNotFound,
    UnknownTransactor,
    WrongQueue,
)
from raftlog.base.limits import (
    CHECK_AGAIN_MS,
    CHECK_FIRST_MS,
    CHECKS_MAX,
    DECISIONS_KNOWN_MS,
    TRANSACTOR_FORGOTTEN_MS,
)
from raftlog.broker import decisions, transactions
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.decisions import Decided, Decision
from raftlog.broker.finished_numbers import finish, is_finished
from raftlog.broker.invariants import check
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.timetable import NEVER_MS, PassTime
from raftlog.broker.topics import DeleteTopic
from raftlog.broker.transactions import (
    AnswerChecks,
    CheckAnswer,
    CheckCounted,
    ChecksAnswered,
    Decide,
    DecisionsMade,
    HalfStaged,
    ResolveTransaction,
    half_parts,
)
from raftlog.broker.transactors import InitTransactor, TransactorBegun
from raftlog.wire.batch import Producer, encode_columns
from tests.broker.logs import Shard, half

COMMIT, ROLLBACK = int(Decision.COMMITTED), int(Decision.ROLLED_BACK)


class World(Shard):
    """A queue and a transactor."""

    def __init__(self) -> None:
        super().__init__()
        (self.queue,) = self.topic()
        self.id = self.begun().id

    def begun(self, name: str = "billing") -> TransactorBegun:
        begun = self(InitTransactor(name, "payments"))
        assert isinstance(begun, TransactorBegun), begun
        return begun

    @property
    def end(self) -> int:
        return self.machine.queues.find(self.queue).end_offset

    def stage(self, number: int, epoch: int = 1) -> object:
        return self(half(self.id, number, epoch, self.queue))

    def decide(self, number: int, verdict: int, epoch: int = 1) -> object:
        made = self(Decide(self.id, epoch, ((number, verdict),)))
        check(self.machine)
        if not isinstance(made, DecisionsMade):
            return made
        (one,) = made.items
        return type(one.error) if isinstance(one, CommandRefused) else one

    def answer(
        self, number: int, check_: int, verdict: int = 0, group: str = "payments"
    ) -> object:
        made = self(AnswerChecks(group, (CheckAnswer(self.id, number, check_, verdict),)))
        assert isinstance(made, ChecksAnswered), made
        (one,) = made.items
        return type(one.error) if isinstance(one, CommandRefused) else one

    def later(self, ms: int) -> None:
        self.log_time_ms += ms
        self(PassTime())
        check(self.machine)


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_visible_from_the_commit_on_once(world: World) -> None:
    """The same decision again is told the same."""
    assert isinstance(world.stage(1), HalfStaged)
    assert world.end == 0
    made = world.decide(1, COMMIT)
    assert isinstance(made, Decided)
    assert (made.base_offset, made.count, world.end) == (0, 1, 1)
    assert world.decide(1, COMMIT) == made
    assert world.end == 1
    assert world.decide(1, ROLLBACK) is TransactionDecided
    assert world.refusal(half(world.id, 1, 1, world.queue)) is TransactionDecided


def test_a_half_that_comes_twice_is_stored_once(world: World) -> None:
    """Its number is its sequence."""
    first, again = world.stage(1), world.stage(1)
    assert isinstance(first, HalfStaged)
    assert again == HalfStaged(first.id, world.queue, duplicate=True)
    assert len(world.machine.state.transactions) == 1


def test_what_never_came_is_rolled_back_and_never_comes(world: World) -> None:
    """A tombstone: the late copy is refused."""
    assert isinstance(world.decide(5, ROLLBACK), Decided)
    assert world.refusal(half(world.id, 5, 1, world.queue)) is TransactionDecided
    assert world.decide(6, COMMIT) is TransactionNotFound
    assert world.begun().next_number == 6


def test_a_decision_that_is_forgotten_is_not_open_again(world: World) -> None:
    """Ten minutes later nobody knows how, but everybody that."""
    world.stage(1)
    world.decide(1, COMMIT)
    world.later(DECISIONS_KNOWN_MS - 1)
    assert isinstance(world.decide(1, COMMIT), Decided)
    world.later(1)
    assert world.decide(1, COMMIT) is TransactionForgotten
    assert world.decide(1, ROLLBACK) is TransactionForgotten
    assert world.refusal(half(world.id, 1, 1, world.queue)) is TransactionForgotten


def test_the_oldest_decision_gives_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number has a bound."""
    monkeypatch.setattr(decisions, "DECISIONS_MAX", 2)
    for number in (1, 2, 3):
        world.stage(number)
        world.decide(number, COMMIT)
    assert world.decide(1, COMMIT) is TransactionForgotten
    assert isinstance(world.decide(2, COMMIT), Decided)


def test_the_old_process_is_fenced(world: World) -> None:
    """A new one goes on where nothing was opened."""
    world.stage(1)
    assert world.begun() == TransactorBegun(world.id, 2, 2)
    assert isinstance(world.decide(1, COMMIT), Fenced)
    assert world.refusal(half(world.id, 2, 1, world.queue)) is Fenced
    assert world.refusal(half(world.id, 2, 3, world.queue)) is BadRequest
    assert isinstance(world.decide(1, COMMIT, epoch=2), Decided)


def test_bad_halves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a typed refusal that changes nothing."""
    assert world.refusal(half(99, 1, 1, world.queue)) is UnknownTransactor
    assert world.refusal(half(world.id, 1, 1, 77)) is WrongQueue
    assert world.refusal(half(world.id, 0, 1, world.queue)) is BadRequest
    assert world.refusal(Command(CommandType.STAGE_HALF, (b"x",))) is BadBatch
    batch = encode_columns([b"v"], timestamp_ms=5, producer=Producer(7 << 16, 0, 0))
    parts = half_parts(world.id, 1, 1, world.queue, batch)
    assert world.refusal(Command(CommandType.STAGE_HALF, parts)) is BadBatch
    monkeypatch.setattr(transactions, "OPEN_TRANSACTIONS_MAX", 0)
    assert world.refusal(half(world.id, 1, 1, world.queue)) is LimitReached


def test_checks_count_when_answered_once_and_end_in_parking(world: World) -> None:
    """It is never dropped: somebody resolves it."""
    state = world.machine.state.transactions
    world.stage(1)
    assert state.next_check_ms() == world.log_time_ms + CHECK_FIRST_MS
    for number in range(1, CHECKS_MAX + 1):
        world.later(CHECK_AGAIN_MS)
        assert state.to_check(world.log_time_ms, 0, 10)[0]
        assert world.answer(1, number) == CheckCounted(number)
        assert world.answer(1, number) == CheckCounted(number)
        assert world.answer(1, number + 2) is BadRequest
    assert state.next_check_ms() == NEVER_MS
    world.later(CHECK_AGAIN_MS - 1)
    assert state.parked == 0
    world.later(1)
    assert (state.parked, world.end) == (1, 0)
    world.later(10 * TRANSACTOR_FORGOTTEN_MS)
    assert isinstance(world(ResolveTransaction(world.id, 1, COMMIT)), Decided)
    assert (state.parked, world.end) == (0, 1)
    assert world.refusal(ResolveTransaction(world.id, 2, ROLLBACK)) is TransactionNotFound


def test_a_member_of_the_group_decides_by_its_answer(world: World) -> None:
    """Nobody of another group does."""
    world.stage(1)
    assert world.answer(1, 1, COMMIT, "others") is ForeignTransaction
    assert isinstance(world.answer(1, 1, COMMIT), Decided)
    assert world.answer(1, 1) is TransactionDecided
    assert world.answer(2, 1) is TransactionNotFound


def test_a_burst_that_was_decided_leaves_nothing_to_check(world: World) -> None:
    """Stale heads would be an entry each."""
    for number in range(1, 50):
        world.stage(number)
    world(Decide(world.id, 1, tuple((number, COMMIT) for number in range(1, 50))))
    assert world.machine.state.transactions.next_check_ms() == NEVER_MS
    assert world.end == 49


def test_a_deleted_topic_loses_its_transactions(world: World) -> None:
    """Who decides later is told."""
    world.stage(1)
    _, made = world.all_of(DeleteTopic("orders"), Decide(world.id, 1, ((1, COMMIT),)))
    assert isinstance(made, DecisionsMade)
    (refused,) = made.items
    assert isinstance(refused, CommandRefused)
    assert isinstance(refused.error, WrongQueue)
    world.later(1)
    assert len(world.machine.state.transactions) == 0
    assert world.decide(1, COMMIT) is TransactionDecided


def test_a_silent_transactor_is_forgotten_and_its_slot_used_again(world: World) -> None:
    """With something open it stays."""
    world.later(TRANSACTOR_FORGOTTEN_MS)
    assert world.refusal(half(world.id, 1, 1, world.queue)) is UnknownTransactor
    begun = world.begun("other")
    assert world.machine.state.transactors.find(begun.id).slot == 0


def test_finished_numbers_are_intervals() -> None:
    """In any order; a full list closes its lowest gap."""
    found: list[int] = []
    for number in (5, 1, 3, 2, 2, 9):
        finish(found, number)
    assert found == [1, 4, 5, 6, 9, 10]
    assert [number for number in range(12) if is_finished(found, number)] == [1, 2, 3, 5, 9]
    finish(found, 4)
    assert found == [1, 6, 9, 10]
    for number in range(100, 2_000, 2):
        finish(found, number)
    assert len(found) == 2 * 256
    assert is_finished(found, 7)
    assert not is_finished(found, 1_997)

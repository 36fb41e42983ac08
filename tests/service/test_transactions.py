"""Half messages over the wire: each outcome arrives, and the right members are asked."""

from collections.abc import Sequence

import pytest
from google.protobuf.message import Message

from raftlog.base.errors import (
    BadName,
    BadRequest,
    Fenced,
    NotLeader,
    RaftlogError,
    TransactionNotFound,
    UnknownTransactor,
)
from raftlog.base.ids import NodeId, ShardId
from raftlog.base.limits import CHECK_AGAIN_MS, CHECK_FIRST_MS, CHECKS_MAX
from raftlog.service.checks import ASK_AGAIN_NS, LOOK_NS_MAX, SOON_NS
from raftlog.wire.batch import Batch, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.requests import EXCHANGES
from raftlog.wire.schema import transactions
from tests.service.test_handlers import FakeRequest, served

COMMIT = transactions.FATE_COMMIT
ROLLBACK = transactions.FATE_ROLLBACK
UNKNOWN = transactions.FATE_UNKNOWN
NS = 1_000_000


class Halves:
    """A shard with one transactor, ``billing-1`` of the group ``billing``."""

    def __init__(self) -> None:
        self.shard, self.handlers, _ = served()
        self.replica = self.shard.replica
        self.service = self.handlers._shards[ShardId(0)]
        self.service.checks.time.begin()
        begun = self.begin("billing-1")
        assert isinstance(begun, transactions.TransactorBegun)
        self.me = {"transactor": begun.transactor, "epoch": begun.epoch}

    def ask(self, method: Method, message: Message, payload: bytes = b"") -> FakeRequest:
        """Ask; commit what is proposed."""
        assert isinstance(message, EXCHANGES[method].request)
        request = FakeRequest(message, payload)
        self.handlers.by_method[method](request)
        self.settle()
        return request

    def settle(self) -> None:
        """Commit and confirm whatever waits."""
        if self.replica.proposed:
            self.replica.commit()
        self.replica.confirm()

    def begin(self, name: str, group: str = "billing") -> Message | RaftlogError:
        asked = transactions.InitTransactor(name=name, group=group)
        return self.ask(Method.TRANSACTOR_INIT, asked).answers[0]

    def stage(
        self, *numbers: int, queue: int | None = None, **owner: int
    ) -> list[transactions.HalfStaged]:
        batches = [encode_columns([b"half %d" % number], timestamp_ms=5) for number in numbers]
        at = self.shard.queue if queue is None else queue
        rows = [
            transactions.Half(queue=at, number=number, length=len(batch))
            for number, batch in zip(numbers, batches, strict=True)
        ]
        asked = transactions.StageHalves(**{**self.me, **owner}, halves=rows)
        (answer,) = self.ask(Method.HALVES_STAGE, asked, b"".join(batches)).answers
        assert isinstance(answer, transactions.HalvesStaged), answer
        assert answer.durability == "fsync"
        return list(answer.halves)

    def decide(self, *items: tuple[int, int]) -> Message | RaftlogError:
        rows = [transactions.Decision(number=number, verdict=how) for number, how in items]  # type: ignore[arg-type]
        asked = transactions.DecideTransactions(**self.me, decisions=rows)
        return self.ask(Method.TRANSACTIONS_DECIDE, asked).answers[0]

    def poll(self, group: str = "billing", wait_ms: int = 60_000) -> FakeRequest:
        asked = transactions.PollChecks(group=group, wait_ms=wait_ms)
        request = self.ask(Method.CHECKS_POLL, asked)
        for _ in range(3):  # what is due already waits for an entry that says so
            self.shard.scheduler.advance(SOON_NS)
            self.settle()
        return request

    def answer(
        self, check: transactions.Check, verdict: int, group: str = "billing"
    ) -> transactions.TransactionDecided:
        row = transactions.CheckAnswer(
            transactor=check.transactor,
            number=check.number,
            check=check.check,
            verdict=verdict,  # type: ignore[arg-type]
        )
        asked = transactions.AnswerChecks(group=group, answers=[row])
        (answer,) = self.ask(Method.CHECKS_ANSWER, asked).answers
        assert isinstance(answer, transactions.TransactionsDecided), answer
        return answer.outcomes[0]

    def listed(self, **more: object) -> list[transactions.OpenTransaction]:
        asked = transactions.ListTransactions(**more)  # type: ignore[arg-type]
        (answer,) = self.ask(Method.TRANSACTION_LIST, asked).answers
        assert isinstance(answer, transactions.TransactionsListed)
        return list(answer.transactions)

    def pass_ms(self, ms: int) -> None:
        """Let time pass, the log's with it, as long as somebody proposes."""
        for _ in range(ms * NS // LOOK_NS_MAX + 2):
            step = min(LOOK_NS_MAX, ms * NS)
            self.replica.log_time_ms += step // NS
            self.shard.scheduler.advance(step)
            self.settle()

    def end_offset(self) -> int:
        queue = self.replica.machine.queues.get(self.shard.queue)
        assert queue is not None
        return queue.end_offset


@pytest.fixture
def halves() -> Halves:
    return Halves()


def only(request: FakeRequest) -> Sequence[transactions.Check]:
    (answer,) = request.answers
    assert isinstance(answer, transactions.ChecksDue), answer
    return answer.checks


def test_halves_are_staged_and_decided_each_with_its_outcome(halves: Halves) -> None:
    """In one request; nothing is visible before it is committed, nothing after a rollback."""
    first, second, again = halves.stage(1, 2, 1)
    assert (first.duplicate, second.duplicate, again.duplicate) == (False, False, True)
    assert (again.id, halves.end_offset()) == (first.id, 0)
    answer = halves.decide((1, COMMIT), (2, ROLLBACK), (3, COMMIT), (1, ROLLBACK))
    assert isinstance(answer, transactions.TransactionsDecided)
    committed, rolled_back, unknown, other = answer.outcomes
    assert (committed.verdict, committed.base_offset, committed.count) == (COMMIT, 0, 1)
    assert (rolled_back.verdict, rolled_back.error.code) == (ROLLBACK, "")
    assert (unknown.error.code, other.error.code) == (
        *("transaction_not_found", "transaction_decided"),
    )
    assert (answer.durability, halves.end_offset()) == ("fsync", 1)
    assert halves.decide((1, COMMIT)) == transactions.TransactionsDecided(
        outcomes=[committed], durability="fsync"
    )


def test_a_refused_half_takes_no_other_with_it(halves: Halves) -> None:
    """Each queue, each number by itself."""
    (wrong,) = halves.stage(1, queue=99)
    assert wrong.error.code == "wrong_queue"
    (zero, good) = halves.stage(0, 1)
    assert (zero.error.code, good.error.code) == ("bad_request", "")
    (old,) = halves.stage(2, epoch=0)
    assert old.error.code == "fenced"
    (huge,) = halves.stage(2, epoch=1 << 40)
    assert huge.error.code == "bad_request"
    (nobody,) = halves.stage(2, transactor=1 << 60)
    assert nobody.error.code == "unknown_transactor"


def test_lengths_must_be_those_of_the_payload(halves: Halves) -> None:
    """Otherwise the batches would be cut at the wrong places."""
    asked = transactions.StageHalves(**halves.me, halves=[transactions.Half(length=5)])
    assert isinstance(halves.ask(Method.HALVES_STAGE, asked, b"four").answers[0], BadRequest)
    many = transactions.StageHalves(**halves.me, halves=[transactions.Half()] * 1_001)
    assert isinstance(halves.ask(Method.HALVES_STAGE, many).answers[0], BadRequest)


def test_a_taken_over_transactor_is_fenced(halves: Halves) -> None:
    """Its decisions too; who never was is unknown."""
    halves.stage(1)
    begun = halves.begin("billing-1")
    assert isinstance(begun, transactions.TransactorBegun)
    assert (begun.epoch, begun.next_number) == (2, 2)
    assert isinstance(halves.decide((1, COMMIT)), Fenced)
    halves.me["transactor"] = 999
    assert isinstance(halves.decide((1, COMMIT)), UnknownTransactor)
    assert isinstance(halves.begin("no name", "g"), BadName)


@pytest.mark.parametrize("items", [((0, 1),), ((1, 0),), ((1, 1),) * 1_001])
def test_bad_decisions_are_refused_before_they_are_proposed(
    halves: Halves, items: tuple[tuple[int, int], ...]
) -> None:
    """A number that no transaction has, no verdict, too many."""
    assert isinstance(halves.decide(*items), BadRequest)


def test_a_member_is_asked_when_nobody_decided(halves: Halves) -> None:
    """With the message; its answer decides."""
    halves.stage(1)
    request = halves.poll()
    halves.pass_ms(CHECK_FIRST_MS)
    (check,) = only(request)
    assert (check.name, check.number, check.check, check.topic) == ("billing-1", 1, 1, "first")
    (record,) = Batch(request.sent).records()
    assert record.value == b"half 1"
    assert halves.answer(check, COMMIT).verdict == COMMIT
    assert halves.end_offset() == 1
    assert halves.answer(check, COMMIT).verdict == COMMIT


def test_it_is_asked_from_files_what_is_in_memory_no_more(halves: Halves) -> None:
    """The two together, in the log's order."""
    halves.stage(2)
    halves.stage(1)
    halves.pass_ms(CHECK_FIRST_MS)
    halves.replica.memory_from = len(halves.replica.entries)
    halves.replica.memory_from = 4
    request = halves.poll()
    halves.shard.bodies.answer()
    assert [check.number for check in only(request)] == [2, 1]
    values = [request.sent.index(b"half %d" % number) for number in (2, 1)]
    assert values == sorted(values)


def test_who_does_not_answer_is_waited_for_no_longer(halves: Halves) -> None:
    """Another one is asked the same check; both answers count once."""
    halves.stage(1)
    halves.pass_ms(CHECK_FIRST_MS)
    (first,) = only(halves.poll())
    other = halves.poll()
    assert not other.answers
    halves.pass_ms(ASK_AGAIN_NS // NS)
    (second,) = only(other)
    assert second == first
    assert (halves.answer(first, UNKNOWN).checks, halves.answer(second, UNKNOWN).checks) == (1, 1)


def test_only_the_group_is_asked(halves: Halves) -> None:
    """Whoever answers for another group is refused."""
    halves.stage(1)
    foreign = halves.poll("shipping", CHECK_FIRST_MS + 1_000)
    own = halves.poll()
    halves.pass_ms(CHECK_FIRST_MS + 1_000)
    assert not only(foreign)
    (check,) = only(own)
    assert halves.answer(check, COMMIT, "shipping").error.code == "foreign_transaction"


def test_what_comes_to_a_group_later_is_asked_of_it(halves: Halves) -> None:
    """Its owner began anew under another group, which had looked past its half message."""
    halves.stage(1)
    halves.pass_ms(CHECK_FIRST_MS)
    waiting = halves.poll("audit")
    assert not waiting.answers, "it is another group's"
    halves.begin("billing-1", group="audit")
    halves.pass_ms(1_000)
    (check,) = only(waiting)
    assert (check.name, check.number) == ("billing-1", 1)


def test_a_transaction_that_nobody_knows_is_parked_and_resolved_by_hand(halves: Halves) -> None:
    """After so many real checks; listed before the others."""
    halves.stage(1)
    for number in range(1, CHECKS_MAX + 1):
        halves.pass_ms(CHECK_AGAIN_MS)
        (check,) = only(halves.poll())
        assert check.check == number
        assert halves.answer(check, UNKNOWN).checks == number
    halves.stage(2)
    halves.pass_ms(CHECK_AGAIN_MS)
    halves.stage(3)
    rows = halves.listed()
    assert [(row.number, row.parked) for row in rows] == [(1, True), (2, False), (3, False)]
    assert (rows[0].checks, rows[0].records, rows[0].group) == (CHECKS_MAX, 1, "billing")
    assert [row.number for row in halves.listed(parked=True)] == [1]
    resolve = transactions.ResolveTransaction(
        transactor=halves.me["transactor"], number=1, verdict=COMMIT
    )
    (answer,) = halves.ask(Method.TRANSACTION_RESOLVE, resolve).answers
    assert isinstance(answer, transactions.TransactionDecided)
    assert (answer.verdict, halves.end_offset(), halves.listed(parked=True)) == (COMMIT, 1, [])
    resolve.number = 77
    (answer,) = halves.ask(Method.TRANSACTION_RESOLVE, resolve).answers
    assert isinstance(answer, TransactionNotFound)


def test_a_list_goes_on_where_it_ended(halves: Halves) -> None:
    """Page by page, each once."""
    halves.stage(*range(1, 6))
    found: list[int] = []
    after = ""
    while True:
        asked = transactions.ListTransactions(after=after, count_max=2)
        (page,) = halves.ask(Method.TRANSACTION_LIST, asked).answers
        assert isinstance(page, transactions.TransactionsListed)
        found += [row.number for row in page.transactions]
        after = page.after
        if not after:
            break
    assert found == [1, 2, 3, 4, 5]
    bad = transactions.ListTransactions(after="x")
    assert isinstance(halves.ask(Method.TRANSACTION_LIST, bad).answers[0], BadRequest)


def test_who_waits_when_leadership_is_lost_asks_elsewhere(halves: Halves) -> None:
    """A new leader asks anew, at once."""
    halves.stage(1)
    halves.pass_ms(CHECK_FIRST_MS)
    only(halves.poll())
    waiting, cancelled = halves.poll(), halves.poll()
    assert cancelled.on_cancelled is not None
    cancelled.on_cancelled()
    halves.replica.leads, halves.replica.leader = False, NodeId("n2")
    halves.service.checks.end()
    assert isinstance(waiting.answers[0], NotLeader)
    assert cancelled.answers == []
    halves.service.checks.begin()
    assert len(only(halves.poll())) == 1


def test_an_answer_for_no_group_is_refused(halves: Halves) -> None:
    """A name that nobody can have."""
    asked = transactions.AnswerChecks(group="x" * 200)
    assert isinstance(halves.ask(Method.CHECKS_ANSWER, asked).answers[0], BadRequest)

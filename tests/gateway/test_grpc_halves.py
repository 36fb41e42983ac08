"""Half messages over gRPC: a program with the descriptor set only, and a shard without files."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    ForeignTransaction,
    RaftlogError,
    TransactionDecided,
    TransactionNotFound,
)
from raftlog.base.limits import CHECK_FIRST_MS
from raftlog.service.checks import SOON_NS
from raftlog.wire.batch import encode_columns, records
from raftlog.wire.schema import status, transactions
from raftlog.wire.status import decode_error
from tests.gateway.stubs import PATIENCE_S, Stubs, error_of, serving
from tests.service.test_transactions import COMMIT, ROLLBACK, UNKNOWN, Halves

pytestmark = pytest.mark.asyncio
BATCHES = (
    encode_columns([b"paid"], [b"order-7"], headers={0: [("h", b"x")]}, timestamp_ms=5),
    encode_columns([b"left"], [b"order-8"], timestamp_ms=6),
)


class Program:
    """A client of one shard."""

    def __init__(self, stubs: Stubs) -> None:
        self.halves = Halves()
        self.stubs = stubs
        self.me = self.halves.me

    async def told(self, call: Awaitable[Any]) -> Any:
        """Ask; commit what is proposed until there is an answer."""
        asked = asyncio.ensure_future(call)
        async with asyncio.timeout(PATIENCE_S):
            while not asked.done():
                await asyncio.sleep(0.001)
                self.halves.shard.scheduler.advance(SOON_NS)
                self.halves.settle()
        return await asked

    async def stage(self, *numbers: int, **owner: int) -> transactions.HalvesStaged:
        message = transactions.StageHalves(
            **{**self.me, **owner},
            halves=[
                transactions.Half(queue=self.halves.shard.queue, number=number, length=len(batch))
                for number, batch in zip(numbers, BATCHES, strict=False)
            ],
            batches=BATCHES[: len(numbers)],
        )
        answer = await self.told(self.stubs.StageHalf(message))
        assert isinstance(answer, transactions.HalvesStaged)
        return answer

    async def decide(self, number: int, verdict: Any) -> transactions.TransactionDecided:
        message = transactions.DecideTransactions(
            **self.me, decisions=[transactions.Decision(number=number, verdict=verdict)]
        )
        (outcome,) = (await self.told(self.stubs.TransactionDecide(message))).outcomes
        return outcome  # type: ignore[no-any-return]

    async def answer(
        self, check: transactions.Check, verdict: Any, group: str = "billing"
    ) -> transactions.TransactionDecided:
        said = transactions.CheckAnswer(
            transactor=check.transactor,
            number=check.number,
            check=check.check,
            verdict=verdict,
        )
        message = transactions.AnswerChecks(group=group, answers=[said])
        (outcome,) = (await self.told(self.stubs.AnswerCheck(message))).outcomes
        return outcome  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def program() -> AsyncIterator[Program]:
    """One, and its shard behind a real server."""
    made: list[Program] = []

    def handle(request: Any) -> None:
        made[0].halves.handlers.by_method[request.method](request)

    async with serving(handle) as (_, stubs):
        made.append(Program(stubs))
        yield made[0]


def error(message: status.Status) -> RaftlogError:
    return decode_error(message.SerializeToString())


async def test_a_half_message_is_stored_and_decided_once(program: Program) -> None:
    """Each of a request with an outcome of its own; a repeat is told the first."""
    staged = await program.stage(1, 2)
    assert staged.durability == "fsync"
    assert len({half.id for half in staged.halves}) == 2
    again = await program.stage(1)
    assert (again.halves[0].id, again.halves[0].duplicate) == (staged.halves[0].id, True)
    assert program.halves.end_offset() == 0, "nobody sees them"

    committed = await program.decide(1, COMMIT)
    assert (committed.verdict, committed.base_offset, committed.count) == (COMMIT, 0, 1)
    assert await program.decide(1, COMMIT) == committed
    assert type(error((await program.decide(1, ROLLBACK)).error)) is TransactionDecided
    assert (await program.decide(2, ROLLBACK)).verdict == ROLLBACK
    assert type(error((await program.decide(9, COMMIT)).error)) is TransactionNotFound
    assert program.halves.end_offset() == 1


async def test_who_is_taken_over_hears_it(program: Program) -> None:
    """Of each half message, and of a request to decide."""
    asked = transactions.InitTransactor(name="billing-1", group="billing")
    begun = await program.told(program.stubs.InitTransactions(asked))
    assert begun.transactor == program.me["transactor"]
    assert begun.epoch == program.me["epoch"] + 1
    (half,) = (await program.stage(1)).halves
    assert type(error(half.error)) is Fenced
    message = transactions.DecideTransactions(**program.me)
    assert type(await error_of(program.told(program.stubs.TransactionDecide(message)))) is Fenced


async def test_a_member_is_asked_with_the_message_and_answers(program: Program) -> None:
    """The batch is in the answer, as it was sent; what is not known counts."""
    await program.stage(1)
    program.halves.pass_ms(CHECK_FIRST_MS)
    asked = transactions.PollChecks(group="billing", wait_ms=60_000)
    due = await program.told(program.stubs.PollCheck(asked))
    (check,), (batch,) = due.checks, due.batches
    (record,) = records(batch)
    assert (record.value, record.key, list(record.headers)) == (b"paid", b"order-7", [("h", b"x")])
    assert (check.name, check.number, check.check, check.length) == ("billing-1", 1, 1, len(batch))

    assert (await program.answer(check, UNKNOWN)).checks == 1
    assert (await program.answer(check, UNKNOWN)).checks == 1, "a repeat counts once"
    foreign = await program.answer(check, COMMIT, group="audit")
    assert type(error(foreign.error)) is ForeignTransaction
    assert (await program.answer(check, COMMIT)).verdict == COMMIT
    assert program.halves.end_offset() == 1


async def test_what_is_open_is_listed_and_decided_by_hand(program: Program) -> None:
    """With all that somebody needs who has to decide."""
    await program.stage(1)
    listed = await program.told(program.stubs.TransactionList(transactions.ListTransactions()))
    (row,) = listed.transactions
    assert (row.name, row.group, row.number, row.records) == ("billing-1", "billing", 1, 1)
    asked = transactions.ResolveTransaction(
        transactor=row.transactor, number=row.number, verdict=COMMIT
    )
    resolved = await program.told(program.stubs.TransactionResolve(asked))
    assert (resolved.verdict, resolved.base_offset) == (COMMIT, 0)
    asked.verdict = UNKNOWN
    refused = program.told(program.stubs.TransactionResolve(asked))
    assert type(await error_of(refused)) is BadRequest

"""Requests of ``transactions.proto``."""

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest, Outcome, RaftlogError, Throttled
from raftlog.base.limits import DECISIONS_PER_COMMAND_MAX
from raftlog.broker.atomic_commands import TransactionCommitted, TransactionHead
from raftlog.broker.decisions import Decided, Decision
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.staging import BatchStaged
from raftlog.broker.transactions import (
    CheckAnswer,
    CheckCounted,
    ChecksAnswered,
    DecisionsMade,
    HalfStaged,
    PagePlace,
)
from raftlog.broker.transactors import TransactorBegun
from raftlog.service.answers import answer_with
from raftlog.service.checks import CheckService, DueCheck
from raftlog.service.group_handlers import commit_of
from raftlog.service.lease_handlers import ack_of
from raftlog.service.log_time import NS_PER_MS
from raftlog.service.ports import ClientRequest
from raftlog.service.transactions import HalfToStage, OpenPage, OpenRow, TransactionService
from raftlog.wire.schema import status, transactions
from raftlog.wire.status import encode_error


def init(service: TransactionService, request: ClientRequest) -> None:
    """Begin a transactor."""

    def begun(outcome: TransactorBegun) -> transactions.TransactorBegun:
        return transactions.TransactorBegun(
            transactor=outcome.id, epoch=outcome.epoch, next_number=outcome.next_number
        )

    message = cast("transactions.InitTransactor", request.message)
    service.init(message.name, message.group, answer_with(request, begun))


def stage(service: TransactionService, durability: str, request: ClientRequest) -> None:
    """Store the half messages that are the request's payload."""
    message = cast("transactions.StageHalves", request.message)
    if len(message.halves) > DECISIONS_PER_COMMAND_MAX:
        request.fail(
            BadRequest(f"{len(message.halves)} half messages; send {DECISIONS_PER_COMMAND_MAX}")
        )
        return
    if sum(half.length for half in message.halves) != len(request.payload):
        request.fail(BadRequest("the lengths of the half messages are not those of the payload"))
        return

    def staged(outcomes: Sequence[HalfStaged | RaftlogError]) -> None:
        # Who leads no more, or does not know, is not asked again about the rest: copies are
        # harmless, so all of it goes to the next leader.
        lasting = [each for each in outcomes if isinstance(each, RaftlogError) and _is_ours(each)]
        if lasting:
            request.fail(lasting[0])
            return
        request.reply(
            transactions.HalvesStaged(halves=map(_half, outcomes), durability=durability)
        )

    owner = (message.transactor, message.epoch)
    service.stage(owner, _halves(message, request.payload), staged, message.client)


def _is_ours(error: RaftlogError) -> bool:
    """Whether an error is about this node and not about one half message."""
    is_open = error.retriable or error.outcome is Outcome.UNKNOWN
    return is_open and not isinstance(error, Throttled)


def _halves(message: transactions.StageHalves, payload: Buffer) -> list[HalfToStage]:
    batches = _cut(payload, [half.length for half in message.halves])
    return [
        HalfToStage(half.queue, half.number, batch)
        for half, batch in zip(message.halves, batches, strict=True)
    ]


def _cut(payload: Buffer, lengths: Sequence[int]) -> list[memoryview]:
    """Return the batches that lie in a payload one behind the other; nothing is copied."""
    view = memoryview(payload)
    ends = list(accumulate(lengths))
    return [view[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _half(outcome: HalfStaged | RaftlogError) -> transactions.HalfStaged:
    if isinstance(outcome, RaftlogError):
        return transactions.HalfStaged(error=_error(outcome))
    return transactions.HalfStaged(id=outcome.id, duplicate=outcome.duplicate)


def decide(service: TransactionService, durability: str, request: ClientRequest) -> None:
    """Commit and roll back."""

    def decided(outcome: DecisionsMade) -> transactions.TransactionsDecided:
        return transactions.TransactionsDecided(
            outcomes=map(_decided, outcome.items), durability=durability
        )

    message = cast("transactions.DecideTransactions", request.message)
    items = [(each.number, int(each.verdict)) for each in message.decisions]
    service.decide((message.transactor, message.epoch), items, answer_with(request, decided))


def commit(service: TransactionService, durability: str, request: ClientRequest) -> None:
    """Commit an atomic transaction, whose batches are the request's payload."""

    def committed(outcome: TransactionCommitted) -> transactions.TransactionCommitted:
        return transactions.TransactionCommitted(
            parts=[
                transactions.PartStored(
                    queue=part.queue, base_offset=part.base_offset, count=part.count
                )
                for part in outcome.parts
            ],
            term=outcome.term,
            index=outcome.index,
            duplicate=outcome.duplicate,
            durability=durability,
        )

    message = cast("transactions.CommitTransaction", request.message)
    if sum(part.length for part in message.parts) != len(request.payload):
        request.fail(BadRequest("the lengths of the batches are not those of the payload"))
        return
    batches = _cut(request.payload, [part.length for part in message.parts])

    def make() -> TransactionHead:
        return TransactionHead(
            tuple((part.queue, part.length) for part in message.parts),
            tuple(map(commit_of, message.offsets)),
            tuple(map(ack_of, message.acks)),
            tuple((each.queue, each.id) for each in message.staged),
        )

    service.atomic.commit(make, batches, answer_with(request, committed), message.client)


def stage_batch(service: TransactionService, durability: str, request: ClientRequest) -> None:
    """Stage the batch that is the request's payload, for a transaction that will name it."""

    def staged(outcome: BatchStaged) -> transactions.BatchStaged:
        return transactions.BatchStaged(
            id=outcome.id,
            count=outcome.count,
            term=outcome.term,
            index=outcome.index,
            duplicate=outcome.duplicate,
            durability=durability,
        )

    message = cast("transactions.StageBatch", request.message)
    answer = answer_with(request, staged)
    service.atomic.stage(message.queue, request.payload, answer, message.client)


def poll(service: CheckService, request: ClientRequest) -> None:
    """Tell a member what to check."""

    def due(outcome: Sequence[DueCheck] | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
        else:
            checks = transactions.ChecksDue(checks=map(_check, outcome))
            request.reply(checks, [each.batch for each in outcome])

    message = cast("transactions.PollChecks", request.message)
    wait_ns = message.wait_ms * NS_PER_MS
    request.on_cancelled = service.poll(message.group, wait_ns, message.count_max, due).cancel


def answer(service: CheckService, request: ClientRequest) -> None:
    """Take a member's answers."""

    def answered(outcome: ChecksAnswered) -> transactions.TransactionsDecided:
        return transactions.TransactionsDecided(outcomes=map(_decided, outcome.items))

    message = cast("transactions.AnswerChecks", request.message)
    answers = [
        CheckAnswer(each.transactor, each.number, each.check, int(each.verdict))
        for each in message.answers
    ]
    service.answer(message.group, answers, answer_with(request, answered))


def resolve(service: TransactionService, request: ClientRequest) -> None:
    """Decide by hand."""
    message = cast("transactions.ResolveTransaction", request.message)
    service.resolve(
        *(message.transactor, message.number, int(message.verdict)), answer_with(request, _decided)
    )


def list_(service: TransactionService, request: ClientRequest) -> None:
    """Tell what is open."""

    def listed(page: OpenPage) -> transactions.TransactionsListed:
        after = "" if page.after is None else f"{page.after.which}.{page.after.order:x}"
        return transactions.TransactionsListed(transactions=map(_open, page.rows), after=after)

    message = cast("transactions.ListTransactions", request.message)
    try:
        place = _place(message.after)
    except ValueError:
        request.fail(BadRequest(f"{message.after!r} is nothing to go on after"))
        return
    service.open(*(place, message.count_max), answer_with(request, listed), parked=message.parked)


def _place(after: str) -> PagePlace:
    if not after:
        return PagePlace()
    which, order = after.split(".")
    return PagePlace(int(which), int(order, 16))


def _decided(outcome: Decided | CheckCounted | CommandRefused) -> transactions.TransactionDecided:
    match outcome:
        case CommandRefused():
            return transactions.TransactionDecided(error=_error(outcome.error))
        case CheckCounted():
            return transactions.TransactionDecided(checks=outcome.checks)
        case Decided():
            return transactions.TransactionDecided(
                verdict=_verdict(outcome.decision),
                queue=outcome.queue,
                base_offset=outcome.base_offset,
                count=outcome.count,
                term=outcome.term,
                index=outcome.index,
            )


def _verdict(decision: Decision) -> "transactions.Fate.ValueType":
    assert decision in {Decision.COMMITTED, Decision.ROLLED_BACK}, f"{decision!r} was decided"
    return cast("transactions.Fate.ValueType", int(decision))


def _check(due: DueCheck) -> transactions.Check:
    row = due.open
    return transactions.Check(
        transactor=row.owner.id,
        name=row.owner.name,
        number=row.number,
        check=due.check,
        queue=row.row.queue,
        topic=row.topic,
        place=row.place,
        staged_ms=row.row.staged_ms,
        length=len(due.batch),
    )


def _open(row: OpenRow) -> transactions.OpenTransaction:
    return transactions.OpenTransaction(
        transactor=row.owner.id,
        name=row.owner.name,
        group=row.owner.group,
        number=row.number,
        queue=row.row.queue,
        topic=row.topic,
        place=row.place,
        staged_ms=row.row.staged_ms,
        next_check_ms=row.row.next_ms,
        checks=row.row.checks,
        parked=row.row.parked,
        records=row.records,
        bytes=row.bytes,
    )


def _error(error: RaftlogError) -> status.Status:
    return status.Status.FromString(encode_error(error))

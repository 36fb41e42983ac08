"""Open half messages: list them, and decide by hand what no checker could say."""

from datetime import datetime

import msgspec

from raftlog.base.errors import BadRequest
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.asking import Asker
from raftlog.client.checking import WIRE, Verdict
from raftlog.client.durations import Duration, moment_of, seconds
from raftlog.wire.frame import Method
from raftlog.wire.schema import transactions

PAGE: int = 500


class OpenTransaction(msgspec.Struct, frozen=True, gc=False):
    """A half message that nobody has decided.

    Attributes:
        transaction: What it is decided by.
        owner: The name of the producer that sent it.
        group: Whose members are asked about it.
        topic: Where it will be visible.
        queue: The place of its queue in the topic, from 0.
        staged_ms: When it was stored, in milliseconds since 1970.
        next_check_ms: When a member is asked next.
        checks: How often the answer was "unknown".
        parked: It is checked no more: decide it by hand.
        records: How many records it has.
        bytes: How many bytes.
    """

    transaction: str
    owner: str
    group: str
    topic: str
    queue: int
    staged_ms: int
    next_check_ms: int
    checks: int
    parked: bool
    records: int
    bytes: int

    @property
    def staged(self) -> datetime:
        """When it was stored."""
        return moment_of(self.staged_ms)


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A transaction is decided.

    Attributes:
        verdict: How.
        base_offset: Of its first record, if it was committed.
        count: How many records became visible.
        term: Of the leader that stored the decision.
        index: Of the log entry that holds it.
    """

    verdict: Verdict
    base_offset: Offset
    count: int
    term: Term
    index: Index


class Transactions:
    """The open half messages of a cluster: ``client.transactions``.

    Every method raises ``Unavailable`` when there is no leader within its timeout (seconds;
    without it, the client's). Asking again is harmless.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def list(
        self, *, parked: bool = False, limit: int = 1_000, timeout: Duration | None = None
    ) -> "list[OpenTransaction]":
        """Return what is open: the parked ones first, then by when they are checked next.

        Args:
            parked: Only the parked ones.
            limit: So many at most.
            timeout: Seconds for each question that it takes.
        """
        found: list[OpenTransaction] = []
        after = ""
        while len(found) < limit:
            asked = transactions.ListTransactions(
                after=after, count_max=min(PAGE, limit - len(found)), parked=parked
            )
            answer, _ = await self._asker.ask(
                *(Method.TRANSACTION_LIST, asked, transactions.TransactionsListed),
                timeout_s=None if timeout is None else seconds(timeout),
            )
            found.extend(map(_open, answer.transactions))
            after = answer.after
            if not after:
                break
        return found

    async def commit(self, transaction: str, *, timeout: Duration | None = None) -> Resolved:
        """Make a half message visible, whoever sent it; asked again, the answer is the same.

        Raises:
            TransactionNotFound: There is no such transaction.
            TransactionDecided: It was rolled back before, or its topic was deleted.
            TransactionForgotten: It was decided more than ten minutes ago.
            BadRequest: It is no name of a transaction.
        """
        return await self._decide(transaction, Verdict.COMMIT, timeout)

    async def rollback(self, transaction: str, *, timeout: Duration | None = None) -> Resolved:
        """Forget a half message: nobody will ever see it. Raises as ``commit``."""
        return await self._decide(transaction, Verdict.ROLLBACK, timeout)

    async def _decide(
        self, transaction: str, verdict: Verdict, timeout: Duration | None
    ) -> Resolved:
        transactor, number = parse_transaction(transaction)
        answer, _ = await self._asker.ask(
            Method.TRANSACTION_RESOLVE,
            transactions.ResolveTransaction(
                transactor=transactor, number=number, verdict=WIRE[verdict]
            ),
            transactions.TransactionDecided,
            timeout_s=None if timeout is None else seconds(timeout),
        )
        return Resolved(
            *(verdict, Offset(answer.base_offset), answer.count),
            *(Term(answer.term), Index(answer.index)),
        )


def parse_transaction(text: str) -> tuple[int, int]:
    """Return transactor and number.

    Raises:
        BadRequest: It names no transaction.
    """
    parts = text.split(".")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        transactor, number = map(int, parts)
        if transactor < 1 << 63 and 0 < number < 1 << 48:
            return transactor, number
    raise BadRequest(f"{text!r} names no transaction; raftlog transactions list shows them")


def _open(row: transactions.OpenTransaction) -> OpenTransaction:
    return OpenTransaction(
        transaction=f"{row.transactor}.{row.number}",
        owner=row.name,
        group=row.group,
        topic=row.topic,
        queue=row.place,
        staged_ms=row.staged_ms,
        next_check_ms=row.next_check_ms,
        checks=row.checks,
        parked=row.parked,
        records=row.records,
        bytes=row.bytes,
    )

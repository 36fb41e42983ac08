"""Half messages: stored, not visible, decided once (ruling 7, 18, 25).

::

    stage  (7, 58)   --> hidden in its queue, open
    commit (7, 58)   --> visible at the next offset, decided; again: the same offset
    rollback (7, 58) --> nothing is left of it
    no decision      --> checked after 6 s, then every 30 s; a member says commit, rollback or
                         "unknown", which counts; after 15 of those it is parked, for somebody
                         to resolve by hand. It is never dropped.

One message is one command, so that each has an id of its own in the log; an entry
takes thousands. Decisions and answers come as lists, each item with an outcome of its own.

Whom a check is sent to, and whether one is under way, is nothing that the log knows: only an
*answer* is a fact. It says which check it answers, so one that comes twice counts once.

An owner that does not know whether its message was stored rolls the number back. That is
valid also if nothing came: the number is decided, and a late copy of the message is refused.
"""

import struct
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    ForeignTransaction,
    LimitReached,
    Refused,
    TransactionDecided,
    TransactionForgotten,
    TransactionNotFound,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import (
    CHECK_AGAIN_MS,
    CHECK_FIRST_MS,
    CHECKS_MAX,
    DECISIONS_PER_COMMAND_MAX,
    OPEN_TRANSACTIONS_MAX,
)
from raftlog.base.message_types import MessageType
from raftlog.broker.decisions import Decided, DecidedRow, Decision, Decisions, answer
from raftlog.broker.finished_numbers import is_finished
from raftlog.broker.hidden import Hidden, HiddenBatch, Holder
from raftlog.broker.hiding import HiddenAppends, batch_at
from raftlog.broker.places import CommandPlace
from raftlog.broker.queues import Queues
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.sorted_keys import SortedKeys
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.transactors import (
    NUMBER_MAX,
    Number,
    Transactor,
    TransactorName,
    Transactors,
    number_of,
)
from raftlog.broker.values import Count

_HEADER: Final = struct.Struct("<QQII")
HALF_HEADER_BYTES: Final = _HEADER.size
"""Before the batch in the command: ``transactor u64 | number u64 | epoch u32 | queue u32``."""
_HANDLE_BITS: Final = 64
Verdict = Annotated[int, msgspec.Meta(ge=1, le=2)]
"""``Decision.COMMITTED`` or ``Decision.ROLLED_BACK``."""


class HalfStaged(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a half message; of one that is sent again the first one's."""

    id: int
    queue: int
    duplicate: bool = False


class Decide(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The owner decides: number and verdict of each. Outcome: ``DecisionsMade``."""

    transactor: Count
    epoch: Count
    items: Annotated[
        tuple[tuple[Number, Verdict], ...], msgspec.Meta(max_length=DECISIONS_PER_COMMAND_MAX)
    ]


class DecisionsMade(msgspec.Struct, frozen=True):
    """The outcome of each item."""

    items: tuple[Decided | CommandRefused, ...]


class ResolveTransaction(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Somebody decides by hand what is open, parked or not. Outcome: ``Decided``."""

    transactor: Count
    number: Number
    verdict: Verdict


class CheckAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a member says of a transaction."""

    transactor: Count
    number: Number
    check: Count
    """Which check this answers, from 1."""
    verdict: Annotated[int, msgspec.Meta(ge=0, le=2)]
    """0: it does not know either; else as in ``Decide``."""


class AnswerChecks(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member of a group answers checks. Outcome: ``ChecksAnswered``."""

    group: TransactorName
    items: Annotated[tuple[CheckAnswer, ...], msgspec.Meta(max_length=DECISIONS_PER_COMMAND_MAX)]


class CheckCounted(msgspec.Struct, frozen=True, gc=False):
    """Nobody knows yet."""

    checks: int


class ChecksAnswered(msgspec.Struct, frozen=True):
    """The outcome of each answer."""

    items: tuple[Decided | CheckCounted | CommandRefused, ...]


class Transaction(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """An open transaction. A row of state: only ``Transactions`` changes it."""

    handle: int
    queue: int
    id: int
    """Of its hidden batch."""
    staged_ms: int
    next_ms: int
    """When it is checked next; after the last check: when it is parked."""
    checks: int = 0
    """How many were answered with "unknown"."""
    parked: bool = False


class PagePlace(msgspec.Struct, frozen=True, gc=False):
    """Where a walk through the open transactions is: in which of its orders, and behind what."""

    which: int = 0
    order: int = 0


def half_parts(
    transactor: int, number: int, epoch: int, queue: int, batch: Buffer
) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that stages ``batch``."""
    return _HEADER.pack(transactor, number, epoch, queue), batch


def read_half(body: Buffer, position: int) -> tuple[int, int, int, int]:
    """Return transactor, number, epoch and queue of a command that stages a half message."""
    found: tuple[int, int, int, int] = _HEADER.unpack_from(body, position)
    return found


def _order_of(row: Transaction) -> int:
    return row.next_ms << _HANDLE_BITS | row.handle


class Transactions:
    """The open transactions of one shard. What falls due: parking.

    Those that wait for a check are in an order of their own and leave it when they are
    decided: a burst that was decided at once leaves nothing behind that would fall due.
    """

    def __init__(
        self,
        queues: Queues,
        hidden: Hidden,
        appends: HiddenAppends,
        transactors: Transactors,
        decisions: Decisions,
        timetable: Timetable,
    ) -> None:
        self.table: Final[Table[int, Transaction]] = Table()
        self.due_ms = NEVER_MS
        self.parked = 0
        self._queues: Final = queues
        self._hidden: Final = hidden
        self._appends: Final = appends
        self._transactors: Final = transactors
        self._decisions: Final = decisions
        self._timetable: Final = timetable
        self._waiting: SortedKeys[int] = SortedKeys()
        self._parking: SortedKeys[int] = SortedKeys()
        self._parked: SortedKeys[int] = SortedKeys()
        hidden.tell_of_lost(Holder.TRANSACTION, self._lost)

    def load(self, rows: Iterable[Transaction]) -> None:
        """Start from a snapshot; hidden batches and transactors are there."""
        self.table.load((row.handle, row) for row in rows)
        found = [row for row in self.table.rows.values() if not row.parked]
        self.parked = len(self.table) - len(found)
        self._parked = SortedKeys(_order_of(row) for row in self.table.rows.values() if row.parked)
        self._waiting = SortedKeys(_order_of(row) for row in found if row.checks < CHECKS_MAX)
        self._parking = SortedKeys(_order_of(row) for row in found if row.checks >= CHECKS_MAX)
        self._set_due()

    def __len__(self) -> int:
        """Count those that are open, the parked ones included."""
        return len(self.table)

    # -- staging

    def stage(
        self, place: CommandPlace, body: Buffer, length: int, log_time_ms: int
    ) -> HalfStaged:
        """Carry out a half message.

        Raises:
            Refused: Or Retriable: as any append is refused, and as the transactor is.
            TransactionDecided: Or ``TransactionForgotten``: this is a late copy.
            LimitReached: Too many are open.
        """
        if length < HALF_HEADER_BYTES:
            raise BadBatch("the command holds no record batch")
        transactor, number, epoch, queue = read_half(body, place.position)
        batch = batch_at(body, place.position + HALF_HEADER_BYTES, length - HALF_HEADER_BYTES)
        if batch.producer:
            raise BadBatch("the number of its transaction is a half message's only sequence")
        if not 0 < number <= NUMBER_MAX:
            raise BadRequest(f"transactions have numbers from 1 to {NUMBER_MAX}, not {number}")
        owner = self._transactors.owner(transactor, epoch)
        handle = owner.handle(number)
        known = self.table.rows.get(handle)
        if known is not None:
            if known.queue != queue:
                raise BadRequest(f"transaction {number} is open in queue {known.queue}")
            return HalfStaged(known.id, queue, duplicate=True)
        self._check_unused(owner, number)
        self._appends.known(queue, batch, MessageType.TRANSACTIONAL)
        if len(self.table) >= OPEN_TRANSACTIONS_MAX:
            raise LimitReached(f"{OPEN_TRANSACTIONS_MAX} transactions are open")
        hidden = self._appends.store(place, queue, batch, Holder.TRANSACTION, handle, log_time_ms)
        row = Transaction(handle, queue, hidden.id, log_time_ms, log_time_ms + CHECK_FIRST_MS)
        self.table.put(handle, row)
        self._waiting.add(_order_of(row))
        self._transactors.count(owner, number, 1, log_time_ms)
        return HalfStaged(hidden.id, queue)

    def _check_unused(self, owner: Transactor, number: int) -> None:
        decided = self._decisions.table.rows.get(owner.handle(number))
        if decided is not None:
            how = Decision(decided.decision).name.lower().replace("_", " ")
            raise TransactionDecided(f"transaction {number} is {how}")
        if is_finished(owner.finished, number):
            raise TransactionForgotten(f"transaction {number} of {owner.name!r} is decided")

    # -- deciding

    def decide(self, command: Decide, place: CommandPlace, log_time_ms: int) -> DecisionsMade:
        """Carry out the owner's decisions.

        Raises:
            UnknownTransactor: Or ``Fenced``: nothing was decided.
        """
        owner = self._transactors.owner(command.transactor, command.epoch)
        made: list[Decided | CommandRefused] = []
        for number, verdict in command.items:
            try:
                made.append(
                    self._decide(owner, number, Decision(verdict), place, log_time_ms, own=True)
                )
            except Refused as error:
                made.append(CommandRefused(error.with_traceback(None)))
        return DecisionsMade(tuple(made))

    def resolve(
        self, command: ResolveTransaction, place: CommandPlace, log_time_ms: int
    ) -> Decided:
        """Carry out a decision by hand.

        Raises:
            Refused: There is nothing to resolve.
        """
        owner = self._transactors.find(command.transactor)
        return self._decide(
            owner, command.number, Decision(command.verdict), place, log_time_ms, own=False
        )

    def answer(
        self, command: AnswerChecks, place: CommandPlace, log_time_ms: int
    ) -> ChecksAnswered:
        """Carry out answers to checks."""
        made: list[Decided | CheckCounted | CommandRefused] = []
        for item in command.items:
            try:
                made.append(self._answer(command.group, item, place, log_time_ms))
            except Refused as error:
                made.append(CommandRefused(error.with_traceback(None)))
        return ChecksAnswered(tuple(made))

    def _answer(
        self, group: str, item: CheckAnswer, place: CommandPlace, log_time_ms: int
    ) -> Decided | CheckCounted:
        owner = self._transactors.find(item.transactor)
        if owner.group != group:
            raise ForeignTransaction(f"transactor {owner.name!r} is of group {owner.group!r}")
        if item.verdict:
            decision = Decision(item.verdict)
            return self._decide(owner, item.number, decision, place, log_time_ms, own=False)
        row = self.table.rows.get(owner.handle(item.number))
        if row is None:
            self._check_unused(owner, item.number)
            raise TransactionNotFound(f"{owner.name!r} has no transaction {item.number}")
        if item.check > row.checks + 1:
            raise BadRequest(f"check {item.check} answers none; {row.checks} were answered")
        if item.check == row.checks + 1 and row.checks < CHECKS_MAX:
            self._count(row, log_time_ms)
        return CheckCounted(row.checks)

    def _count(self, row: Transaction, log_time_ms: int) -> None:
        self._waiting.remove(_order_of(row))
        self.table.touch(row.handle)
        row.checks += 1
        row.next_ms = log_time_ms + CHECK_AGAIN_MS
        (self._waiting if row.checks < CHECKS_MAX else self._parking).add(_order_of(row))
        self._set_due()

    def _decide(
        self,
        owner: Transactor,
        number: int,
        decision: Decision,
        place: CommandPlace,
        log_time_ms: int,
        *,
        own: bool,
    ) -> Decided:
        """Decide, or tell how it was decided; only the owner may roll back what never came."""
        handle = owner.handle(number)
        decided = self._decisions.table.rows.get(handle)
        if decided is not None:
            return answer(decided, decision)
        row = self.table.rows.get(handle)
        is_commit = decision is Decision.COMMITTED
        made = DecidedRow(
            *(handle, int(decision), log_time_ms, 0, Offset(0), 0, place.term, place.index)
        )
        if row is not None:
            if is_commit:
                self._queues.find(row.queue)
            made.queue = row.queue
            key = (row.queue, row.id)
            if is_commit:
                made.count = self._hidden.table.rows[key].count
                made.base_offset = self._hidden.reveal(key, log_time_ms)
            else:
                self._hidden.drop(key)
            self._close(row)
        else:
            self._check_unused(owner, number)
            if is_commit or not own:
                raise TransactionNotFound(f"{owner.name!r} has no transaction {number}")
        self._transactors.count(owner, number, -1 if row is not None else 0, log_time_ms)
        self._decisions.add(made)
        return answer(made, decision)

    def _close(self, row: Transaction) -> None:
        self.table.delete(row.handle)
        if row.parked:
            self._parked.remove(_order_of(row))
            self.parked -= 1
        else:
            order = self._waiting if row.checks < CHECKS_MAX else self._parking
            order.remove(_order_of(row))
        self._set_due()

    def _lost(self, hidden: HiddenBatch) -> None:
        """Its topic was deleted, and the batch went with it."""
        row = self.table.rows[hidden.held]
        log_time_ms = self._hidden.cleared_ms
        owner = self._transactors.of(row.handle)
        self._close(row)
        self._transactors.count(owner, number_of(row.handle), -1, log_time_ms)
        self._decisions.add(
            DecidedRow(
                *(row.handle, int(Decision.LOST), log_time_ms, row.queue),
                *(Offset(0), 0, Term(0), Index(0)),
            )
        )

    # -- parking, and looking

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Park the transaction whose last check was longest ago, if that is due."""
        order = self._parking.first()
        is_due = order is not None and order >> _HANDLE_BITS <= due_ms
        if order is not None and is_due:
            self._parking.remove(order)
            handle = order & (1 << _HANDLE_BITS) - 1
            self.table.touch(handle)
            self.table.rows[handle].parked = True
            self._parked.add(order)
            self.parked += 1
        self._set_due()
        return is_due

    def _set_due(self) -> None:
        order = self._parking.first()
        self.due_ms = NEVER_MS if order is None else order >> _HANDLE_BITS
        self._timetable.note(self.due_ms)

    def get(self, transactor: int, number: int) -> Transaction | None:
        """Return an open transaction, or None."""
        owner = self._transactors.table.get(transactor)
        return None if owner is None else self.table.rows.get(owner.handle(number))

    def page(self, after: PagePlace, count: int) -> tuple[list[Transaction], PagePlace | None]:
        """Return up to ``count`` open ones behind ``after``, and where to go on; None: it ends.

        First the parked ones, then those that will be, then those that wait for a check.
        """
        found: list[Transaction] = []
        orders = (self._parked, self._parking, self._waiting)
        place = after
        for which in range(after.which, len(orders)):
            if which != place.which:
                place = PagePlace(which, 0)
            for order in orders[which].after(place.order):
                if len(found) == count:
                    return found, place
                found.append(self.table.rows[order & (1 << _HANDLE_BITS) - 1])
                place = PagePlace(which, order)
        return found, None

    def next_check_ms(self, after: int = 0) -> int:
        """When a member is to be asked next, in log time; ``NEVER_MS``: nothing waits.

        ``after``: as of ``to_check``; 0: whether or not it was asked about already.
        """
        order = next(self._waiting.after(after), None)
        return NEVER_MS if order is None else order >> _HANDLE_BITS

    def to_check(self, through_ms: int, after: int, count: int) -> tuple[list[Transaction], int]:
        """Return up to ``count`` that wait for a check up to ``through_ms``, and where to go on.

        ``after`` is 0, or what an earlier call returned.
        """
        found: list[Transaction] = []
        for order in self._waiting.after(after):
            if len(found) == count or order >> _HANDLE_BITS > through_ms:
                break
            after = order
            found.append(self.table.rows[order & (1 << _HANDLE_BITS) - 1])
        return found, after

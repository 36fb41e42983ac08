"""What the committed log says about half messages, told to their invariants."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from chaos.check.delayed_delivery import Pending
from chaos.check.half_checks import check_asked, check_counted
from chaos.check.half_decided import check_forgotten, check_told_decided, check_verdict
from chaos.check.half_hidden import check_seen
from chaos.check.half_kept import OpenHalf, check_listed, expected_row
from chaos.check.half_model import HalfKey, HalfMessage, Outcome, Owner, Standing
from chaos.check.half_once import check_again, check_commit, check_staged
from chaos.check.half_owner import check_begun, check_fenced, check_group, check_owner
from chaos.check.sends_kept import Sends
from chaos.check.violation import Violation
from chaos.sim.limits import limit_of
from raftlog.base.entry import Entry
from raftlog.base.errors import (
    BadRequest,
    Fenced,
    RaftlogError,
    TransactionDecided,
    TransactionForgotten,
    TransactionNotFound,
    WrongQueue,
)
from raftlog.broker import decisions, transactions
from raftlog.broker.commands import CommandType
from raftlog.broker.decisions import Decided, Decision
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.transactions import (
    HALF_HEADER_BYTES,
    AnswerChecks,
    CheckCounted,
    ChecksAnswered,
    Decide,
    DecisionsMade,
    HalfStaged,
    ResolveTransaction,
    read_half,
)
from raftlog.broker.transactors import InitTransactor, TransactorBegun
from raftlog.wire.batch import Batch

_COMMANDS: Final[dict[int, msgspec.msgpack.Decoder[msgspec.Struct]]] = {
    int(kind): msgspec.msgpack.Decoder(command)
    for kind, command in (
        (CommandType.INIT_TRANSACTOR, InitTransactor),
        (CommandType.DECIDE, Decide),
        (CommandType.RESOLVE_TRANSACTION, ResolveTransaction),
        (CommandType.ANSWER_CHECKS, AnswerChecks),
    )
}
HALF_KINDS: Final = frozenset((*_COMMANDS, int(CommandType.STAGE_HALF)))
STANDINGS: Final = (None, Standing.COMMITTED, Standing.ROLLED_BACK)
"""By the number of a verdict."""
Visible = Callable[[int, int, Pending], None]
"""Told the queue, the offset and the batch of what became visible."""


class HalfFacts:
    """The half messages of one run."""

    def __init__(
        self,
        marks: Counter[str],
        deleted: set[int],
        sends: Sends,
        end: Callable[[int], int],
        visible: Visible,
    ) -> None:
        self.halves: Final[dict[HalfKey, HalfMessage]] = {}
        self.owners: Final[dict[int, Owner]] = {}
        self.applied = 0
        """The last entry that was taken in."""
        self.now_ms = 0
        self._keys: Final[dict[bytes, HalfKey]] = {}
        self._marks: Final = marks
        self._deleted: Final = deleted
        self._sends: Final = sends
        self._end: Final = end
        self._visible: Final = visible
        self._entry: Entry | None = None

    # -- in the order of the log

    def carried_out(self, entry: Entry, command: tuple[int, int, int], outcome: object) -> None:
        """Take in a command (kind, position, length) and what became of it.

        Raises:
            Violation: An invariant is broken.
        """
        kind, position, length = command
        self._entry = entry
        body = entry.body[position : position + length]
        if kind == CommandType.STAGE_HALF:
            self._staged(entry, position, length, outcome)
            return
        said = _COMMANDS[kind].decode(body)
        match said, outcome:
            case InitTransactor(), TransactorBegun():
                self._begun(said, outcome)
            case Decide(), DecisionsMade():
                self._decided(said, outcome)
            case Decide(), CommandRefused(error=Fenced()):
                self._fenced(said.transactor, said.epoch)
            case ResolveTransaction(), Decided() | CommandRefused():
                key = (said.transactor, said.number)
                self._marks["halves resolved by hand"] += isinstance(outcome, Decided)
                self._item(key, STANDINGS[said.verdict], outcome, own=False)
            case AnswerChecks(), ChecksAnswered():
                self._answered(said, outcome)
            case _, CommandRefused():
                raise AssertionError(f"{said!r} is refused: {outcome!r}")
            case _:
                raise AssertionError(f"{said!r} has the outcome {outcome!r}")

    def _begun(self, command: InitTransactor, outcome: TransactorBegun) -> None:
        known = self.owners.get(outcome.id)
        check_begun(known, outcome.id, outcome.epoch, outcome.next_number)
        self._marks["owners taken over"] += known is not None
        highest = 0 if known is None else known.highest
        self.owners[outcome.id] = Owner(command.name, command.group, outcome.epoch, highest)

    def _staged(self, entry: Entry, position: int, length: int, outcome: object) -> None:
        transactor, number, epoch, queue = read_half(entry.body, position)
        key = (transactor, number)
        half = self.halves.get(key)
        if isinstance(outcome, CommandRefused):
            self._not_staged(key, epoch, outcome.error)
            return
        assert isinstance(outcome, HalfStaged), f"a half message has the outcome {outcome!r}"
        owner = check_owner(self.owners.get(transactor), transactor, epoch, "stores")
        check_staged(key, half, outcome.id, duplicate=outcome.duplicate)
        if outcome.duplicate:
            self._marks["halves known"] += 1
            return
        self._marks["halves staged"] += 1
        place = position + HALF_HEADER_BYTES
        data = bytes(entry.body[place : position + length])
        values = [bytes(value) for value in Batch(data).value_views()]
        batch = Pending(queue, outcome.id, 0, len(values), entry.index, place, data)
        next_ms = self.now_ms + limit_of(transactions, "CHECK_FIRST_MS")
        self.halves[key] = HalfMessage(batch, next_ms)
        owner.highest = max(owner.highest, number)
        for value in values:
            self._keys[value] = key
            self._sends.hidden(value, (queue, outcome.id))

    def _not_staged(self, key: HalfKey, epoch: int, error: RaftlogError) -> None:
        if isinstance(error, Fenced):
            self._fenced(key[0], epoch)
        elif isinstance(error, TransactionDecided | TransactionForgotten):
            self._marks["halves too late"] += 1
            self._refused(key, None, error)

    def _fenced(self, transactor: int, epoch: int) -> None:
        self._marks["half owners fenced"] += 1
        check_fenced(self.owners.get(transactor), transactor, epoch)

    def _decided(self, command: Decide, outcome: DecisionsMade) -> None:
        id_ = command.transactor
        check_owner(self.owners.get(id_), id_, command.epoch, "decides")
        for (number, verdict), made in zip(command.items, outcome.items, strict=True):
            self._item((id_, number), STANDINGS[verdict], made, own=True)

    def _answered(self, command: AnswerChecks, outcome: ChecksAnswered) -> None:
        for item, made in zip(command.items, outcome.items, strict=True):
            owner = self.owners.get(item.transactor)
            key = (item.transactor, item.number)
            if isinstance(made, Decided | CheckCounted):
                check_group(owner, item.transactor, command.group)
            if isinstance(made, CheckCounted):
                self._counted(key, item.check, made.checks)
                continue
            if isinstance(made, CommandRefused) and isinstance(made.error, BadRequest):
                half = self.halves.get(key)
                if half is None or item.check <= half.checks + 1:
                    raise Violation("half_checks", f"check {item.check} of {key}: {made.error}")
            self._marks["halves decided by checks"] += isinstance(made, Decided)
            self._item(key, STANDINGS[item.verdict], made, own=False)

    def _counted(self, key: HalfKey, check: int, told: int) -> None:
        half = self.halves.get(key)
        count = check_counted(key, half, check, told, limit_of(transactions, "CHECKS_MAX"))
        assert half is not None, "what was counted is there"
        if count == half.checks:
            self._marks["checks answered twice"] += 1
            return
        self._marks["checks counted"] += 1
        half.checks = count
        half.next_ms = self.now_ms + limit_of(transactions, "CHECK_AGAIN_MS")
        self._marks["checks used up"] += count == limit_of(transactions, "CHECKS_MAX")

    def _item(
        self, key: HalfKey, wanted: Standing | None, made: Decided | CommandRefused, *, own: bool
    ) -> None:
        """Take in what became of one decision, whoever made it."""
        if isinstance(made, CommandRefused):
            self._refused(key, wanted, made.error)
            return
        half = self.halves.get(key)
        told = outcome_of(
            *(made.decision, made.queue, made.base_offset, made.count, made.term, made.index)
        )
        if wanted is not told.standing:
            raise Violation("half_decided", f"{key} is {told.standing}; {wanted} was asked for")
        check_verdict(key, half, told.standing)
        if half is None:
            if not own:
                raise Violation("half_decided", f"{key} never came; others than its owner decide")
            self._marks["halves rolled back before they came"] += 1
            half = self.halves[key] = HalfMessage(None)
            owner = self.owners[key[0]]
            owner.highest = max(owner.highest, key[1])
        if half.standing is not Standing.OPEN:
            self._marks["halves decided again"] += 1
            check_again(key, half, told)
            return
        if told.standing is Standing.COMMITTED:
            assert self._entry is not None, "an entry is taken in"
            check_commit(key, half, told, self._end(told.queue), self._entry.index)
        half.standing, half.outcome, half.decided_ms = told.standing, told, self.now_ms
        self._became(half, told)

    def _became(self, half: HalfMessage, told: Outcome) -> None:
        """A decision was made now."""
        self._marks[f"halves {told.standing.value}"] += 1
        if half.batch is None:
            return
        if told.standing is Standing.COMMITTED:
            self._visible(told.queue, told.base_offset, half.batch)
            return
        for value in Batch(half.batch.data).value_views():
            self._sends.cancelled(bytes(value))

    def _refused(self, key: HalfKey, wanted: Standing | None, error: RaftlogError) -> None:
        half = self.halves.get(key)
        gone = half is not None and half.batch is not None and half.batch.queue in self._deleted
        match error:
            case TransactionDecided():
                self._marks["halves decided otherwise"] += 1
                check_told_decided(key, half, wanted, may_be_lost=gone)
                if half is not None and half.standing is Standing.OPEN:
                    self._lost(half)
            case TransactionForgotten():
                self._marks["halves forgotten"] += 1
                if half is not None and gone and half.standing is Standing.OPEN:
                    self._lost(half)
                check_forgotten(key, half, self.now_ms, limit_of(decisions, "DECISIONS_KNOWN_MS"))
            case TransactionNotFound():
                if half is not None:
                    raise Violation("half_kept", f"{key} is told not to be there; it is {half}")
            case WrongQueue():
                if not gone:
                    raise Violation("half_kept", f"the queue of {key} is told to be gone: {half}")
            case _:
                pass  # it says nothing of the half message

    def _lost(self, half: HalfMessage) -> None:
        self._marks["halves lost"] += 1
        half.standing, half.decided_ms = Standing.LOST, self.now_ms

    # -- bodies

    def relocated(
        self, key: tuple[int, int], old: tuple[int, int], new: tuple[int, int], data: bytes
    ) -> bool:
        """Take in a copy of a body; return whether a half message points there now.

        Raises:
            Violation: The copy has other bytes.
        """
        for half in self._open():
            batch = half.batch
            if batch is None or (batch.queue, batch.id) != key or batch.queue in self._deleted:
                continue
            if (batch.index, batch.position) == old:
                if data != batch.data:
                    raise Violation("half_kept", f"the copy of {key} has other bytes")
                batch.index, batch.position = new
                self._marks["halves relocated"] += 1
                return True
        return False

    def trimmed(self, through: int) -> None:
        """Take in that the log is forgotten up to ``through``.

        Raises:
            Violation: A half message that is open lies there.
        """
        for half in self._open():
            batch = half.batch
            if batch is None or batch.queue in self._deleted:
                continue
            if batch.index <= through:
                raise Violation("half_kept", f"the log is trimmed to {through}: {batch}")

    # -- as clients and replicas see it

    def seen(self, value: bytes, where: str) -> None:
        """Take in that a reader was given a record."""
        key = self._keys.get(value)
        if key is not None:
            check_seen(key, self.halves[key], where)

    def asked(self, key: HalfKey, check: int, data: bytes) -> None:
        """Take in that a member was asked about a half message."""
        check_asked(key, self.halves.get(key), check, data, limit_of(transactions, "CHECKS_MAX"))

    def told(self, key: HalfKey, told: Outcome) -> None:
        """Take in that somebody was told what a decision came to."""
        half = self.halves.get(key)
        if half is None or half.standing is not told.standing:
            raise Violation("half_decided", f"{key} is told to be {told}; it is {half}")
        check_again(key, half, told)

    def told_decided(self, key: HalfKey, wanted: Standing | None) -> None:
        """Take in that somebody was told that it was decided in another way."""
        check_told_decided(key, self.halves.get(key), wanted, may_be_lost=False)

    def listed(self, before: Iterable[HalfKey], listed: Iterable[HalfKey]) -> None:
        """Take in a list of what is open; ``before``: what was, when it was asked for."""
        self._marks["halves listed"] += 1
        check_listed([*listed], [key for key in before if key in self.open_keys()])

    def open_keys(self, *, parked: bool = False) -> dict[HalfKey, HalfMessage]:
        """Return what is open for certain: of queues that are there."""
        return {
            key: half
            for key, half in self.halves.items()
            if half.standing is Standing.OPEN
            and half.batch is not None
            and half.batch.queue not in self._deleted
            and (not parked or half.is_parked(self.now_ms, limit_of(transactions, "CHECKS_MAX")))
        }

    def open_rows(self) -> Mapping[HalfKey, OpenHalf]:
        """Return what a replica has open that is as far as the log."""
        most = limit_of(transactions, "CHECKS_MAX")
        return {
            key: expected_row(half, self.now_ms, most) for key, half in self.open_keys().items()
        }

    def known(self) -> Iterator[tuple[HalfKey, HalfMessage]]:
        """Walk through what was decided a short while ago."""
        known_ms = limit_of(decisions, "DECISIONS_KNOWN_MS")
        for key, half in self.halves.items():
            is_decided = half.standing in (Standing.COMMITTED, Standing.ROLLED_BACK)
            if is_decided and self.now_ms - half.decided_ms < known_ms:
                yield key, half

    def _open(self) -> Iterator[HalfMessage]:
        return (half for half in self.halves.values() if half.standing is Standing.OPEN)


def outcome_of(
    decision: Decision, queue: int, base_offset: int, count: int, term: int, index: int
) -> Outcome:
    """Return what a decision came to."""
    standing = STANDINGS[int(decision)]
    assert standing is not None, f"{decision!r} decides nothing"
    return Outcome(standing, queue, base_offset, count, term, index)

"""Tracing a message that nobody can read yet, and what became of it when it is hidden no more.

::

    queue, id    --> a row (``broker.hidden``)          --> the entry that has its bytes
    transaction  --> a row, of which that is the message    if that is a copy: also the first one
                 --> no row: it is decided, cancelled, or visible: as far as that is remembered

What is hidden has no offset, so it is found by what its sender was given. What became of it is
told from tables that remember it for a while; a delayed message that is visible is looked for in
its queue's index, where it would lie if it came when it was due.
"""

from bisect import bisect_left
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    NotPermitted,
    RaftlogError,
    Refused,
    TransactionForgotten,
    TransactionNotFound,
    Unavailable,
)
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import CANCELLED_KNOWN_MS
from raftlog.broker.decisions import DecidedRow, Decision
from raftlog.broker.finished_numbers import is_finished
from raftlog.broker.hidden import HiddenBatch, Holder
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.origins import Brought, Origin, brought_at, first_brought
from raftlog.broker.places import index_of
from raftlog.broker.transactions import Transaction
from raftlog.broker.transactors import number_of
from raftlog.service.entry_looks import EntryLooks
from raftlog.service.proposing import Reply
from raftlog.service.read import ReadService

LOOKED_AT_MAX: Final = 4_000
"""Batches of a queue among which a delayed one is looked for: more would hold up heartbeats."""


class HiddenState(IntEnum):
    """What a message is that was hidden once."""

    GONE = 0
    """It is not hidden (any more), and what became of it nobody knows."""
    DELAYED = 1
    HALF = 2
    STAGED = 3
    VISIBLE = 4
    CANCELLED = 5
    ROLLED_BACK = 6
    LOST = 7
    """Its topic was deleted before it was decided."""


class HalfFacts(msgspec.Struct, frozen=True, gc=False):
    """Whose half message it is, and how far its transaction is."""

    transaction: str
    owner: str
    group: str
    checks: int = 0
    next_check_ms: int = 0
    """0: it is checked no more."""
    parked: bool = False
    decided_ms: int = 0
    decided_index: Index = Index(0)


class HiddenTraced(msgspec.Struct, frozen=True, gc=False):
    """Everything that is known of a message that is hidden, or was."""

    state: HiddenState
    now_ms: int
    queue: int = 0
    topic: str = ""
    place: int = 0
    id: int = 0
    count: int = 0
    batch: Buffer = b""
    """Empty once it is hidden no more."""
    index: Index = Index(0)
    """Of the entry that has its bytes."""
    stored_ms: int = 0
    """When it came; 0: nobody knows any more."""
    copied_ms: int = 0
    due_ms: int = 0
    """Delayed: visible from then on; staged: dropped then."""
    half: HalfFacts | None = None
    base_offset: int = -1
    """Where it is visible; -1: nowhere, or nobody knows."""


class HiddenTraces:
    """Traces hidden messages of one shard."""

    def __init__(self, read: ReadService, looks: EntryLooks) -> None:
        self.read: Final = read
        self.looks: Final = looks

    def by_id(
        self, queue: int, id_: int, due_ms: int, reply: Reply[HiddenTraced]
    ) -> Callable[[], None]:
        """Trace a delayed or staged message; return what cancels that.

        ``due_ms``: when a delayed one is due, as its receipt says; 0: that is not known. ``reply``
        gets ``WrongQueue``, ``NotPermitted``, or why it can't be read here.
        """
        tracing = _Tracing(self, reply)
        tracing.begin(lambda: tracing.find(queue, id_, due_ms))
        return tracing.cancel

    def by_transaction(
        self, transactor: int, number: int, reply: Reply[HiddenTraced]
    ) -> Callable[[], None]:
        """Trace a half message; return what cancels that.

        ``reply`` gets ``UnknownTransactor``, ``TransactionNotFound``, ``TransactionForgotten``
        (decided, nobody knows how), ``NotPermitted``, or why it can't be read here.
        """
        tracing = _Tracing(self, reply)
        tracing.begin(lambda: tracing.find_half(transactor, number))
        return tracing.cancel


class _Tracing:
    """One trace under way."""

    def __init__(self, traces: HiddenTraces, reply: Reply[HiddenTraced]) -> None:
        self._traces = traces
        self._machine: BrokerMachine = traces.read.machine
        self._reply = reply
        self._ended = False

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._ended = True

    def begin(self, find: Callable[[], None]) -> None:
        """Look once that is linearizable (ruling 23)."""

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                self._end(error)
            elif not self._ended:
                try:
                    find()
                except Refused as refusal:
                    self._end(refusal)

        self._traces.read.replica.read_index(ready)

    # -- a half message

    def find_half(self, transactor: int, number: int) -> None:
        """Tell how far a transaction is. Raises what there is to refuse."""
        state = self._machine.state
        owner = state.transactors.find(transactor)
        handle = owner.handle(number)
        row = state.transactions.table.rows.get(handle)
        if row is not None:
            hidden = self._machine.hidden.get((row.queue, row.id))
            assert hidden is not None, f"an open transaction has no message: {row}"
            self._tell(hidden)
            return
        decided = state.decisions.table.rows.get(handle)
        if decided is not None:
            self._tell_decided(
                decided, HalfFacts(f"{transactor}.{number}", owner.name, owner.group)
            )
        elif is_finished(owner.finished, number):
            raise TransactionForgotten(
                f"transaction {number} of {owner.name!r} is decided, and nobody knows how any more"
            )
        else:
            raise TransactionNotFound(f"{owner.name!r} has no transaction {number}")

    def _tell_decided(self, row: DecidedRow, half: HalfFacts) -> None:
        is_visible = row.decision == Decision.COMMITTED
        topic, place = self._name_of(row.queue)
        self._end(
            HiddenTraced(
                *(_DECIDED[Decision(row.decision)], self._machine.log_time_ms, row.queue),
                topic=topic,
                place=place,
                count=row.count,
                base_offset=row.base_offset if is_visible else -1,
                half=msgspec.structs.replace(
                    half, decided_ms=row.decided_ms, decided_index=row.index
                ),
            )
        )

    # -- a delayed or staged one

    def find(self, queue: int, id_: int, due_ms: int) -> None:
        """Tell what became of a message by its id. Raises what there is to refuse."""
        self._check_readable(queue)
        row = self._machine.hidden.get((queue, id_))
        if row is not None:
            self._tell(row)
            return
        cancelled = self._machine.delays.cancelled.table.get((queue, id_))
        if cancelled is not None:
            self._tell_gone(HiddenState.CANCELLED, queue, id_, cancelled.due_ms)
            return
        if not 0 < index_of(id_) <= self._machine.applied:
            self._tell_gone(HiddenState.GONE, queue, id_, 0)
            return

        def then(brought: Brought | RaftlogError | None) -> None:
            if isinstance(brought, Refused):  # the entry is there, and has no such command
                brought = Brought(Origin.UNKNOWN, index_of(id_), 0)
            if isinstance(brought, RaftlogError):
                self._end(brought)
            elif not self._ended:
                self._find_visible(queue, id_, brought, due_ms)

        self._traces.looks.look(index_of(id_), lambda body: first_brought(body, id_), then)

    def _find_visible(self, queue: int, id_: int, brought: Brought | None, due_ms: int) -> None:
        """Look where a delayed message is visible, if it came when it was due."""
        if brought is not None and brought.origin is not Origin.DELAYED:
            self._tell_gone(HiddenState.GONE, queue, id_, 0, brought.log_time_ms)
            return
        stored_ms = 0 if brought is None else brought.log_time_ms
        due_ms = due_ms if brought is None else brought.due_ms
        row = self._machine.queues.get(queue)
        since_ms = self._machine.log_time_ms - due_ms
        # Until then who was cancelled is remembered: it was not.
        is_visible = 0 <= since_ms < CANCELLED_KNOWN_MS
        state = HiddenState.VISIBLE if is_visible else HiddenState.GONE

        def loaded(postings: Postings | None, error: RaftlogError | None) -> None:
            if postings is None:
                assert error is not None, "neither postings nor an error"
                self._end(error)
                return
            assert brought is not None, "nothing to look for"
            base = visible_at(postings, brought)
            found = state if base is None else HiddenState.VISIBLE
            self._tell_gone(
                *(found, queue, id_, due_ms, stored_ms), base_offset=-1 if base is None else base
            )

        place = None
        if row is not None and brought is not None and due_ms <= self._machine.log_time_ms:
            place = self._machine.find_time(queue, due_ms)
        if isinstance(place, RangeSummary):
            self._traces.read.ranges.load(place, queue, loaded)
        elif place is not None:
            loaded(place, None)
        else:
            self._tell_gone(state, queue, id_, due_ms, stored_ms)

    def _tell_gone(
        self,
        state: HiddenState,
        queue: int,
        id_: int,
        due_ms: int,
        stored_ms: int = 0,
        *,
        base_offset: int = -1,
    ) -> None:
        topic, place = self._name_of(queue)
        self._end(
            HiddenTraced(
                *(state, self._machine.log_time_ms, queue, topic, place, id_),
                stored_ms=stored_ms,
                due_ms=due_ms,
                base_offset=base_offset,
            )
        )

    # -- what is hidden

    def _tell(self, row: HiddenBatch) -> None:
        """Tell what is known of a row, with its bytes and the entry that brought it."""
        self._check_readable(row.queue)
        topic, place = self._name_of(row.queue)
        traced = HiddenTraced(
            *(_STATES[Holder(row.holder)], self._machine.log_time_ms, row.queue),
            topic=topic,
            place=place,
            id=row.id,
            count=row.count,
            index=row.index,
            due_ms=0 if row.holder == Holder.TRANSACTION else row.held,
            half=self._half_of(row) if row.holder == Holder.TRANSACTION else None,
        )
        index, position, end = row.index, row.position, row.position + row.length

        def read(body: Buffer) -> tuple[bytes, Brought]:
            return bytes(body[position:end]), brought_at(body, index, position)

        def then(found: tuple[bytes, Brought] | RaftlogError | None) -> None:
            if isinstance(found, RaftlogError):
                self._end(found)
            elif found is None:
                self._end(Unavailable(f"entry {index} has just gone; ask again"))
            elif not self._ended:
                self._tell_brought(msgspec.structs.replace(traced, batch=found[0]), found[1])

        self._traces.looks.look(index, read, then)

    def _tell_brought(self, traced: HiddenTraced, brought: Brought) -> None:
        if not brought.copy_of:
            self._end(msgspec.structs.replace(traced, stored_ms=brought.log_time_ms))
            return

        def then(first: Brought | RaftlogError | None) -> None:
            if isinstance(first, RaftlogError):
                self._end(first)
                return
            stored_ms = 0 if first is None else first.log_time_ms
            self._end(
                msgspec.structs.replace(traced, stored_ms=stored_ms, copied_ms=brought.log_time_ms)
            )

        number = brought.copy_of
        self._traces.looks.look(index_of(number), lambda body: first_brought(body, number), then)

    def _half_of(self, hidden: HiddenBatch) -> HalfFacts:
        state = self._machine.state
        owner = state.transactors.of(hidden.held)
        row: Transaction = state.transactions.table.rows[hidden.held]
        return HalfFacts(
            *(f"{owner.id}.{number_of(row.handle)}", owner.name, owner.group, row.checks),
            next_check_ms=0 if row.parked else row.next_ms,
            parked=row.parked,
        )

    # -- inside

    def _check_readable(self, queue: int) -> None:
        """Refuse what nobody may read. Raises: ``WrongQueue``, ``NotPermitted``."""
        row = self._machine.queues.find(queue)
        if not row.readable:
            raise NotPermitted(f"topic {row.topic!r} is not readable by its settings")

    def _name_of(self, queue: int) -> tuple[str, int]:
        row = self._machine.queues.get(queue)
        return ("", 0) if row is None else (row.topic, row.place)

    def _end(self, answer: HiddenTraced | RaftlogError) -> None:
        if not self._ended:
            self._ended = True
            self._reply(answer)


_STATES: Final = {
    Holder.TIMER: HiddenState.DELAYED,
    Holder.TRANSACTION: HiddenState.HALF,
    Holder.STAGED: HiddenState.STAGED,
}
_DECIDED: Final = {
    Decision.COMMITTED: HiddenState.VISIBLE,
    Decision.ROLLED_BACK: HiddenState.ROLLED_BACK,
    Decision.LOST: HiddenState.LOST,
}


def visible_at(postings: Postings, brought: Brought) -> Offset | None:
    """Return where a delayed batch is visible; None: not soon after it was due.

    Nor is it found if its bytes were copied meanwhile: they lie in another entry then.
    """
    begin, end = brought.span
    first = bisect_left(postings.log_times_ms, brought.due_ms)
    for place in range(first, min(len(postings), first + LOOKED_AT_MAX)):
        posting = postings[place]
        if posting.index == brought.index and begin <= posting.position < end:
            return posting.base_offset
    return None

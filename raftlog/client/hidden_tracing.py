"""The trace of a message that nobody can read yet: what it waits for, or what became of it."""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.errors import BadRequest, ProtocolError
from raftlog.base.ids import Offset
from raftlog.client.asking import Asker
from raftlog.client.durations import moment_of
from raftlog.client.later import DelayedReceipt, PendingMessage, parse_handle
from raftlog.client.receipts import Message
from raftlog.client.tracing import TraceEvent, moment_or_none
from raftlog.client.transactions import OpenTransaction, parse_transaction
from raftlog.wire.batch import Batch
from raftlog.wire.frame import Method
from raftlog.wire.schema import search as messages

HiddenLike = str | DelayedReceipt | PendingMessage | OpenTransaction
"""A handle of a delayed message, the name of a half message's transaction, or what has one."""


class HiddenState(Enum):
    """What a message is that was hidden once."""

    GONE = "gone"
    """It is not hidden (any more), and what became of it nobody knows."""
    DELAYED = "delayed"
    HALF = "half message"
    """Nobody has decided yet."""
    STAGED = "staged"
    """Nobody has committed its transaction yet."""
    VISIBLE = "visible"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled back"
    LOST = "lost"
    """Its topic was deleted before it was decided."""


class HiddenTrace(msgspec.Struct, frozen=True):
    """Everything that is known of a message that is hidden, or was. Times are log times.

    Attributes:
        state: What it is now.
        name: Its handle, or that of its transaction: what was asked for.
        topic: Its topic; "" if that was deleted.
        queue: The place of its queue in the topic, from 0.
        records: How many its batch has; 0: not known any more.
        messages: They, while they are hidden; their offset is -1.
        batch_bytes: The stored bytes of these.
        index: Of the log entry that has the bytes, while it is hidden.
        stored_index: Of the log entry that brought it; 0: not known any more.
        stored: When that was; None: the log has it no more.
        copied: When its bytes were copied to the log's end, while it was hidden.
        due: Delayed: it is visible from then on. Staged: it is dropped then.
        transaction: Of a half message, with its owner's name and group.
        owner: As above.
        owner_group: As above.
        checks: Of a half message: how often a checker has answered that it does not know.
        next_check: When a checker is asked next.
        parked: It is checked no more: somebody has to decide by hand.
        decided: Of a half message: when it was decided.
        decided_index: Of the log entry that did.
        base_offset: Where it is visible; None: nowhere, or nobody knows.
        asked: When this was asked.
    """

    state: HiddenState
    name: str
    topic: str
    queue: int
    records: int
    messages: tuple[Message, ...]
    batch_bytes: int
    index: int
    stored_index: int
    stored: datetime | None
    copied: datetime | None
    due: datetime | None
    transaction: str
    owner: str
    owner_group: str
    checks: int
    next_check: datetime | None
    parked: bool
    decided: datetime | None
    decided_index: int
    base_offset: int | None
    asked: datetime

    @property
    def timeline(self) -> list[TraceEvent]:
        """What happened and what will, in order; last what has no time."""
        events = list(self._events())
        dated = sorted(
            (event for event in events if event.at is not None),
            key=lambda event: event.at or self.asked,
        )
        return [*dated, *(event for event in events if event.at is None)]

    def _events(self) -> Iterator[TraceEvent]:
        if self.stored_index:
            text = _STORED.get(self.state, "stored")
            if self.transaction:
                text += f" of {self.owner}, transaction {self.transaction}"
            if self.stored is None:
                text += "; the log has that no more"
            yield TraceEvent(self.stored, f"{text} (entry {self.stored_index})")
        if self.copied is not None:
            yield TraceEvent(self.copied, f"its bytes were copied to entry {self.index}")
        if self.state is HiddenState.HALF:
            yield self._waits()
        elif self.due is not None:
            yield TraceEvent(self.due, _DUE.get(self.state, "due"))
        if self.decided is not None:
            yield TraceEvent(self.decided, f"{self._end()} (entry {self.decided_index})")
        elif self.state not in _HIDDEN:
            yield TraceEvent(None, self._end())

    def _waits(self) -> TraceEvent:
        asked = f"checked {self.checks} times, and nobody knew"
        if self.parked:
            return TraceEvent(None, f"parked: {asked}; decide it by hand")
        if self.next_check is not None and self.next_check > self.asked:
            return TraceEvent(self.next_check, f"not decided, {asked}: a checker is asked")
        return TraceEvent(
            None, f"not decided, {asked}: a checker is asked as soon as one is there"
        )

    def _end(self) -> str:
        if self.state is not HiddenState.VISIBLE:
            return _ENDS[self.state]
        if self.base_offset is None:
            return "visible, nobody knows where"
        return f"visible at offset {self.base_offset}"


_HIDDEN: Final = frozenset({HiddenState.DELAYED, HiddenState.HALF, HiddenState.STAGED})
_STORED: Final = {
    HiddenState.HALF: "staged as a half message",
    HiddenState.STAGED: "staged for a transaction",
}
_DUE: Final = {
    HiddenState.DELAYED: "due: visible from then on",
    HiddenState.STAGED: "dropped then, if its transaction is not committed",
    HiddenState.CANCELLED: "due, if it had not been cancelled",
}
_ENDS: Final = {
    HiddenState.GONE: "not hidden (any more); what became of it nobody knows",
    HiddenState.CANCELLED: "cancelled: it will never be visible",
    HiddenState.ROLLED_BACK: "rolled back: nobody will ever see it",
    HiddenState.LOST: "lost: its topic was deleted before it was decided",
}
_STATES: Final = {
    messages.HIDDEN_STATE_GONE: HiddenState.GONE,
    messages.HIDDEN_STATE_DELAYED: HiddenState.DELAYED,
    messages.HIDDEN_STATE_HALF: HiddenState.HALF,
    messages.HIDDEN_STATE_STAGED: HiddenState.STAGED,
    messages.HIDDEN_STATE_VISIBLE: HiddenState.VISIBLE,
    messages.HIDDEN_STATE_CANCELLED: HiddenState.CANCELLED,
    messages.HIDDEN_STATE_ROLLED_BACK: HiddenState.ROLLED_BACK,
    messages.HIDDEN_STATE_LOST: HiddenState.LOST,
}


def question(hidden: HiddenLike) -> tuple[str, messages.TraceHidden]:
    """Return the name of what is meant, and how to ask for it.

    Raises:
        BadRequest: It names neither a delayed message nor a transaction.
    """
    match hidden:
        case DelayedReceipt() | PendingMessage():
            name = hidden.handle
        case OpenTransaction():
            name = hidden.transaction
        case _:
            name = hidden
    if name.count(".") == 1:
        transactor, number = parse_transaction(name)
        return name, messages.TraceHidden(transactor=transactor, number=number)
    try:
        queue, id_, due_ms = parse_handle(name)
    except BadRequest:
        raise BadRequest(
            f"{name!r} is neither the handle of a delayed message nor the name of a half "
            "message's transaction; its receipt has one"
        ) from None
    return name, messages.TraceHidden(queue=queue, id=id_, due_ms=due_ms)


async def ask_hidden(asker: Asker, hidden: HiddenLike, timeout_s: float | None) -> HiddenTrace:
    """Ask for the trace of a message that is hidden, or was."""
    name, asked = question(hidden)
    answer, payload = await asker.ask(
        Method.TRACE_HIDDEN, asked, messages.HiddenTraced, timeout_s=timeout_s
    )
    if len(payload) != answer.length:
        raise ProtocolError(f"{answer.length} bytes were promised, and {len(payload)} came")
    state = _STATES.get(answer.state, HiddenState.GONE)
    records = Batch(payload).records() if payload else ()
    return HiddenTrace(
        state=state,
        name=name,
        topic=answer.topic,
        queue=answer.place,
        records=answer.count,
        messages=tuple(
            Message(
                *(answer.topic, answer.place, Offset(-1), record.key, record.value),
                *(record.headers, record.timestamp_ms, record.tag, record.id),
            )
            for record in records
        ),
        batch_bytes=answer.length,
        index=answer.index,
        stored_index=answer.stored_index,
        stored=moment_or_none(answer.stored_ms),
        copied=moment_or_none(answer.copied_ms),
        due=moment_or_none(answer.due_ms),
        transaction=answer.transaction.transaction,
        owner=answer.transaction.owner,
        owner_group=answer.transaction.group,
        checks=answer.checks,
        next_check=moment_or_none(answer.next_check_ms),
        parked=answer.parked,
        decided=moment_or_none(answer.decided_ms),
        decided_index=answer.decided_index,
        base_offset=answer.base_offset if answer.base_offset >= 0 else None,
        asked=moment_of(answer.now_ms),
    )

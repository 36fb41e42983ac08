"""The history of one message, from the log: who has settled it, and which groups have passed it.

::

    walk 1   what commands name the message --> acks, returns, dead letters, commits, seeks
    walk 2   which commands leased under the handles that were named, or are held now

So it is told when both are at their end. A command is in the log whatever it came to: one that
came when another lease of the message had begun is marked as late.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from raftlog.client.asking import Asker
from raftlog.client.durations import moment_of
from raftlog.client.log_walking import (
    POSITION_BITS,
    LogWalk,
    WalkAnswer,
    WalkBounds,
    WalkProgress,
)
from raftlog.client.starting import described_queues
from raftlog.client.stepping import Stepping
from raftlog.client.transactions import parse_transaction
from raftlog.wire.frame import Method
from raftlog.wire.schema import search as messages

HANDLES_MAX: Final = 1_000
"""Leases that are looked for: the first ones that were named."""


class HistoryKind(Enum):
    """What a command of the log says about a message."""

    UNKNOWN = "something that a later version knows"
    LEASED = "leased"
    EXTENDED = "lease extended"
    RETURNED = "returned: an attempt has failed"
    RELEASED = "released: nobody has tried"
    REJECTED = "rejected: it can't be handled"
    ACKED = "acknowledged"
    ACKED_IN_TRANSACTION = "acknowledged in a transaction"
    DEAD_LETTER = "its dead letter was stored"
    RETRIED = "was blocked: to be tried again"
    SKIPPED = "was blocked: skipped"
    GIVEN_UP = "was blocked: to be a dead letter"
    COMMITTED = "has passed it"
    COMMITTED_IN_TRANSACTION = "has passed it in a transaction"
    SOUGHT = "was moved"
    CHECKED = "a checker did not know"
    HALF_COMMITTED = "committed"
    HALF_ROLLED_BACK = "rolled back"


class MessageEvent(msgspec.Struct, frozen=True):
    """One thing that the log says about a message.

    Attributes:
        at: The log time of its entry.
        index: Of the log entry.
        kind: What it says.
        group: Which group; "": a half message was decided, or the group was deleted.
        handle: Of the lease: its consumer has drawn it, for each answer another one; 0: none.
        lease: Which of the group's leases that are told, from 1; 0: that is not known.
        by: A member, an owner, a checker; "": no command says.
        offset: Passed: up to where its group has committed. Moved: to where. Else None.
        ms: Of a lease, for how long it is (0: as the group says), and of a return, until the next
            attempt (-1: as the group says). Else None.
        reason: Why it was returned.
        is_late: Another lease had begun, so it came to nothing.
    """

    at: datetime
    index: int
    kind: HistoryKind
    group: str = ""
    handle: int = 0
    lease: int = 0
    by: str = ""
    offset: int | None = None
    ms: int | None = None
    reason: str = ""
    is_late: bool = False

    @property
    def what(self) -> str:
        """Say it in a line."""
        text = f"group {self.group}: {self.kind.value}" if self.group else self.kind.value
        details = []
        if self.lease:
            details.append(f"lease {self.lease}")
        if self.handle:
            details.append(f"handle {self.handle:x}")
        if self.by:
            details.append(f"by {self.by}")
        if self.kind in _PASSED:
            details.append(f"up to {self.offset}")
        elif self.kind is HistoryKind.SOUGHT:
            details.append(f"to {self.offset}")
        elif self.ms is not None and self.ms > 0:
            details.append(f"{self.ms} ms")
        details.append(f"entry {self.index}")
        text += f" ({', '.join(details)})"
        if self.reason:
            text += f": {self.reason}"
        return f"{text}; too late" if self.is_late else text


_PASSED: Final = frozenset({HistoryKind.COMMITTED, HistoryKind.COMMITTED_IN_TRANSACTION})
_TIMED: Final = frozenset({HistoryKind.LEASED, HistoryKind.EXTENDED, HistoryKind.RETURNED})
_KINDS: Final = {
    messages.HISTORY_KIND_LEASED: HistoryKind.LEASED,
    messages.HISTORY_KIND_EXTENDED: HistoryKind.EXTENDED,
    messages.HISTORY_KIND_RETURNED: HistoryKind.RETURNED,
    messages.HISTORY_KIND_RELEASED: HistoryKind.RELEASED,
    messages.HISTORY_KIND_REJECTED: HistoryKind.REJECTED,
    messages.HISTORY_KIND_ACKED: HistoryKind.ACKED,
    messages.HISTORY_KIND_ACKED_IN_TRANSACTION: HistoryKind.ACKED_IN_TRANSACTION,
    messages.HISTORY_KIND_DEAD_LETTER: HistoryKind.DEAD_LETTER,
    messages.HISTORY_KIND_RETRIED: HistoryKind.RETRIED,
    messages.HISTORY_KIND_SKIPPED: HistoryKind.SKIPPED,
    messages.HISTORY_KIND_GIVEN_UP: HistoryKind.GIVEN_UP,
    messages.HISTORY_KIND_COMMITTED: HistoryKind.COMMITTED,
    messages.HISTORY_KIND_COMMITTED_IN_TRANSACTION: HistoryKind.COMMITTED_IN_TRANSACTION,
    messages.HISTORY_KIND_SOUGHT: HistoryKind.SOUGHT,
    messages.HISTORY_KIND_CHECKED: HistoryKind.CHECKED,
    messages.HISTORY_KIND_HALF_COMMITTED: HistoryKind.HALF_COMMITTED,
    messages.HISTORY_KIND_HALF_ROLLED_BACK: HistoryKind.HALF_ROLLED_BACK,
}


class _Walk(LogWalk[MessageEvent]):
    """One of the two walks: ``asked`` with another position and carry each time."""

    def __init__(self, asker: Asker, asked: messages.TraceHistory, bounds: WalkBounds) -> None:
        super().__init__(asker, bounds)
        self._question_of = asked

    async def _question(
        self, position: int, carry: bytes
    ) -> tuple[WalkAnswer, Sequence[MessageEvent]]:
        asked = messages.TraceHistory()
        asked.CopyFrom(self._question_of)
        asked.position, asked.carry = position, carry
        answer = await self._ask(Method.HISTORY, asked, messages.HistoryTold)
        return answer, list(map(_event, answer.events))


class MessageHistory(Stepping[MessageEvent]):
    """What the log says about one message: an iterator, oldest first.

    Made by ``Messages.history``. Nothing is told before all was looked at. Iterating, and
    ``step``, raise also:

    - ``TopicNotFound``, ``WrongQueue``: there is no such topic, or it has no such queue.
    - ``OffsetOutOfRange``: no message has that offset, or none any more.
    - ``NotPermitted``: the topic may not be read by its settings.
    """

    def __init__(
        self, asker: Asker, place: tuple[str, int, int], group: str, timeout_s: float
    ) -> None:
        super().__init__()
        self._asker: Final = asker
        self._place: Final = place
        self._group: Final = group
        self._timeout_s: Final = timeout_s
        self._asked = messages.TraceHistory()
        self._position = 0
        self._held: set[tuple[str, int]] = set()
        """Group and handle of each lease that there is now."""
        self._first: _Walk | None = None
        self._second: _Walk | None = None
        self._events: list[MessageEvent] = []
        self._all_told = False

    @property
    def progress(self) -> WalkProgress:
        """How far it is, both walks counted: the second begins when the first has ended."""
        walks = [each.progress for each in (self._first, self._second) if each is not None]
        return WalkProgress(
            looked_at=sum(each.looked_at for each in walks),
            total=sum(each.total for each in walks),
            found=len(self._events),
            first=walks[0].first if walks else 0,
            skipped=sum(each.skipped for each in walks),
            asked=walks[-1].asked if walks else None,
        )

    # -- inside

    async def _advance(self) -> bool:
        """Ask one question, of whichever walk it is time for."""
        if self._all_told:
            return False
        if self._first is None:
            await self._begin()
            return True
        walk = self._first if self._second is None else self._second
        found = await walk.step()
        if found is not None:
            self._events += found
            return True
        handles = {(event.group, event.handle) for event in self._events if event.handle}
        wanted = sorted(self._held | handles, key=lambda each: each[1])[:HANDLES_MAX]
        if self._second is None and wanted:
            self._begin_second([handle for _, handle in wanted])
        else:
            self._found.extend(in_order(self._events, self._held))
            self._all_told = True
        return True

    async def _begin(self) -> None:
        """Find out where the message lies, and so where its history begins."""
        topic, place, offset = self._place
        described = await described_queues(self._asker, topic, place, self._timeout_s)
        number = described[place].queue
        traced, _ = await self._asker.ask(
            Method.TRACE,
            messages.TraceMessage(queue=number, offset=offset),
            messages.MessageTraced,
            timeout_s=self._timeout_s,
        )
        asked = self._asked
        asked.queue, asked.offset, asked.group = number, offset, self._group
        asked.since_ms = traced.visible_ms
        if traced.origin == messages.MESSAGE_ORIGIN_HALF:
            asked.transactor, asked.number = parse_transaction(traced.transaction.transaction)
            self._position = traced.stored_index << POSITION_BITS
        elif traced.origin not in _LATER:
            self._position = traced.index << POSITION_BITS
        for group in traced.queue_groups:
            if group.handle and self._group in ("", group.group):
                self._held.add((group.group, group.handle))
        bounds = WalkBounds(self._position, None, self._timeout_s)
        self._first = _Walk(self._asker, asked, bounds)

    def _begin_second(self, handles: Iterable[int]) -> None:
        asked = messages.TraceHistory()
        asked.CopyFrom(self._asked)
        asked.handles.extend(handles)
        last = max((event.index for event in self._events if event.handle), default=0)
        end = None if self._held else last + 1 << POSITION_BITS
        bounds = WalkBounds(self._position, None, self._timeout_s, end)
        self._second = _Walk(self._asker, asked, bounds)


_LATER: Final = frozenset({messages.MESSAGE_ORIGIN_DELAYED, messages.MESSAGE_ORIGIN_UNKNOWN})
"""Between their entry and when they were visible nothing can have happened to them."""


def in_order(
    events: Iterable[MessageEvent], held: "set[tuple[str, int]] | frozenset[tuple[str, int]]"
) -> list[MessageEvent]:
    """Return events in the order of the log, with what follows from all of them together.

    A lease is told once, however often it was asked for, and if the message is known to have been
    in it: it was named, or is ``held`` now.
    """
    ordered = sorted(events, key=lambda event: event.index)
    named = {(event.group, event.handle) for event in ordered if _settles(event)}
    leases: dict[tuple[str, int], int] = {}
    numbers: dict[str, int] = {}
    begun: dict[str, int] = {}
    told = []
    for event in ordered:
        key = (event.group, event.handle)
        if event.kind is HistoryKind.LEASED:
            if key in leases or (key not in named and key not in held):
                continue
            numbers[event.group] = numbers.get(event.group, 0) + 1
            leases[key] = begun[event.group] = numbers[event.group]
        if event.handle:
            number = leases.get(key, 0)
            is_late = bool(number) and number < begun.get(event.group, 0)
            event = msgspec.structs.replace(event, lease=number, is_late=is_late)
        told.append(event)
    return told


def _settles(event: MessageEvent) -> bool:
    return bool(event.handle) and event.kind is not HistoryKind.LEASED


def _event(found: messages.HistoryEvent) -> MessageEvent:
    kind = _KINDS.get(found.kind, HistoryKind.UNKNOWN)
    is_offset = kind in _PASSED or kind is HistoryKind.SOUGHT
    return MessageEvent(
        at=moment_of(found.log_time_ms),
        index=found.index,
        kind=kind,
        group=found.group,
        handle=found.handle,
        by=found.by,
        offset=found.number if is_offset else None,
        ms=found.number if kind in _TIMED else None,
        reason=found.reason,
    )

"""The trace of one message: everything that the cluster knows of it, and its timeline."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.errors import OffsetOutOfRange, ProtocolError, TopicNotFound
from raftlog.base.ids import Offset
from raftlog.client.asking import Asker
from raftlog.client.durations import moment_of
from raftlog.client.receipts import Message, StoredBatch
from raftlog.client.search import Search, SearchBounds
from raftlog.client.starting import described_queues
from raftlog.wire.batch_header import parse_batch_header
from raftlog.wire.filters import record_filter
from raftlog.wire.frame import Method
from raftlog.wire.schema import search as messages
from raftlog.wire.searches import RecordSearch

LETTER_LOOKS_MAX: Final = 8
"""Questions about one group's dead letters, of 8 MiB each at most."""


class MessageOrigin(Enum):
    """How a message came into the log."""

    UNKNOWN = "unknown"
    """The log has the entry no more that brought it, or a later version has."""
    SENT = "sent"
    DELAYED = "delayed"
    HALF = "half message"
    DEAD_LETTER = "dead letter"
    ATOMIC = "transaction"


class GroupProgress(Enum):
    """How far a group is with a message."""

    UNREAD = "unread"
    """Nothing says that it was read: it was never leased, or no commit has passed it."""
    LEASED = "leased"
    WAITING = "waiting for its next attempt"
    PARKED = "waiting for another one of its key"
    DEAD = "on its way to the dead letters"
    BLOCKED = "blocked"
    FINISHED = "finished"
    """Stream style: a commit has passed it. Queue style: it was acknowledged or skipped, or it is
    a dead letter that was not found."""
    DEAD_LETTER = "a dead letter"


class TracedGroup(msgspec.Struct, frozen=True):
    """A group that reads the message's queue, and what it has done with it.

    Attributes:
        group: Its name.
        style: "stream" or "queue".
        progress: How far it is.
        committed: Stream style: everything before this offset is finished; None: nothing is.
        member: Stream style: who owns the queue; "": nobody.
        attempts: Queue style, in flight: how often it was leased.
        until: Queue style: when the lease or the wait ends.
        reason: Queue style: why it came back last.
        dead_letter_topic: Queue style; "" if there is none yet.
        dead_letter: Queue and offset there, if it was found.
    """

    group: str
    style: str
    progress: GroupProgress
    committed: int | None = None
    member: str = ""
    attempts: int = 0
    until: datetime | None = None
    reason: str = ""
    dead_letter_topic: str = ""
    dead_letter: tuple[int, int] | None = None


class TraceEvent(msgspec.Struct, frozen=True):
    """Something that happened, or will: when (None: nobody knows), and what."""

    at: datetime | None
    what: str


class Trace(msgspec.Struct, frozen=True):
    """Everything that is known of one message. Times are log times, but its own.

    Attributes:
        message: The message.
        place: Which record of its batch it is, from 0.
        batch_records: How many that has.
        batch_bytes: Its stored bytes.
        producer: The id of who sent it; 0: nobody that is known by sequence.
        epoch: Of the producer.
        sequence: The record's, in its producer's epoch in this queue.
        index: Of the log entry that has the bytes.
        position: Of the batch's first one, in that entry's body.
        origin: How it came into the log.
        stored_index: Of the log entry that brought it; 0: not known any more.
        stored: When that was; None: the log has it no more.
        due: Of a delayed one: when it was to become visible.
        visible: Since when it can be read: of a half message, since it was committed.
        copied: When its bytes were copied to the log's end, so that an old part of it could go.
        transaction: Of a half message, with its owner's name and group; "": forgotten.
        owner: As above.
        owner_group: As above.
        dead_letter_of: Which message a dead letter was: group, topic, queue, offset.
        groups: Who reads its queue.
        more_groups: There are more than 1 000 of a style.
        asked: When this was asked.
    """

    message: Message
    place: int
    batch_records: int
    batch_bytes: int
    producer: int
    epoch: int
    sequence: int
    index: int
    position: int
    origin: MessageOrigin
    stored_index: int
    stored: datetime | None
    due: datetime | None
    visible: datetime
    copied: datetime | None
    transaction: str
    owner: str
    owner_group: str
    dead_letter_of: tuple[str, str, int, int] | None
    groups: tuple[TracedGroup, ...]
    more_groups: bool
    asked: datetime

    @property
    def timeline(self) -> list[TraceEvent]:
        """What happened, in order: first its own time, by another clock; last what has none."""
        return self.timeline_with(())

    def timeline_with(self, history: Iterable[TraceEvent]) -> list[TraceEvent]:
        """Return the timeline, and among it what else is known of the past."""
        own = []
        with suppress(ValueError, OverflowError, OSError):  # a sender may say anything
            at = moment_of(self.message.timestamp_ms)
            own = [TraceEvent(at, "its own time, as its sender says")]
        events = [*self._coming(), *history, *(_reading(group) for group in self.groups)]
        dated = [event for event in events if event.at is not None]
        dated.sort(key=lambda event: event.at or self.asked)
        return [*own, *dated, *(event for event in events if event.at is None)]

    def _coming(self) -> Iterator[TraceEvent]:
        """Yield how it came, in order."""
        where = f" (entry {self.stored_index})" if self.stored_index else ""
        text = "stored" if self.stored is not None else "stored; the log has that no more"
        text = _STORED.get(self.origin, text)
        if self.origin is MessageOrigin.ATOMIC and self.visible != self.stored:
            text = "staged for a transaction"
        if self.transaction:
            text += f" of {self.owner or 'somebody'}, transaction {self.transaction}"
        if self.dead_letter_of is not None:
            group, topic, queue, offset = self.dead_letter_of
            text += f" of group {group or '?'}: {topic or '?'} {queue}:{offset}"
        yield TraceEvent(self.stored, f"{text}{where}")
        if self.due is not None:
            yield TraceEvent(self.due, "due")
        if self.copied is not None:
            yield TraceEvent(self.copied, f"its bytes were copied to entry {self.index}")
        if self.origin is MessageOrigin.HALF:
            yield TraceEvent(self.visible, "committed: visible")
        elif self.visible != self.stored:
            yield TraceEvent(self.visible, "visible")


_STORED: Final = {
    MessageOrigin.SENT: "stored and visible",
    MessageOrigin.DELAYED: "stored, to be visible later",
    MessageOrigin.HALF: "staged as a half message",
    MessageOrigin.DEAD_LETTER: "stored as a dead letter",
    MessageOrigin.ATOMIC: "stored and visible, in a transaction",
}


def _reading(group: TracedGroup) -> TraceEvent:
    """Return what a group has done with it; of what goes on, when that ends."""
    text = f"group {group.group}: {group.progress.value}"
    if group.style == "stream":
        member = f", queue of {group.member}" if group.member else ""
        committed = "nothing" if group.committed is None else f"up to {group.committed}"
        return TraceEvent(None, f"{text} (committed {committed}{member})")
    if group.dead_letter is not None:
        text += f": {group.dead_letter_topic} {group.dead_letter[0]}:{group.dead_letter[1]}"
    if group.attempts:
        text += f", attempt {group.attempts}"
    if group.progress is GroupProgress.LEASED:
        text += ": the lease ends"
    elif group.progress is GroupProgress.WAITING:
        text += ": it may be leased again"
    elif group.progress is GroupProgress.FINISHED and group.dead_letter_topic:
        text += f" (acknowledged; not found in {group.dead_letter_topic})"
    if group.reason:
        text += f" ({group.reason})"
    return TraceEvent(group.until, text)


_ORIGINS: Final = {
    messages.MESSAGE_ORIGIN_SENT: MessageOrigin.SENT,
    messages.MESSAGE_ORIGIN_DELAYED: MessageOrigin.DELAYED,
    messages.MESSAGE_ORIGIN_HALF: MessageOrigin.HALF,
    messages.MESSAGE_ORIGIN_DEAD_LETTER: MessageOrigin.DEAD_LETTER,
    messages.MESSAGE_ORIGIN_ATOMIC: MessageOrigin.ATOMIC,
}
_PROGRESS: Final = {
    messages.GROUP_PROGRESS_LEASED: GroupProgress.LEASED,
    messages.GROUP_PROGRESS_WAITING: GroupProgress.WAITING,
    messages.GROUP_PROGRESS_PARKED: GroupProgress.PARKED,
    messages.GROUP_PROGRESS_DEAD: GroupProgress.DEAD,
    messages.GROUP_PROGRESS_BLOCKED: GroupProgress.BLOCKED,
    messages.GROUP_PROGRESS_FINISHED: GroupProgress.FINISHED,
}


def _stream_group(group: messages.TracedStreamGroup, offset: int) -> TracedGroup:
    committed = group.committed if group.HasField("committed") else None
    passed = committed is not None and offset < committed
    progress = GroupProgress.FINISHED if passed else GroupProgress.UNREAD
    return TracedGroup(group.group, "stream", progress, committed, group.member)


def _queue_group(group: messages.TracedQueueGroup) -> TracedGroup:
    return TracedGroup(
        *(group.group, "queue", _PROGRESS.get(group.progress, GroupProgress.UNREAD)),
        attempts=group.attempts,
        until=moment_or_none(group.until_ms),
        reason=group.reason,
        dead_letter_topic=group.dead_letter_topic,
    )


def moment_or_none(unix_ms: int) -> datetime | None:
    """Return a time of an answer; 0: there is none."""
    return moment_of(unix_ms) if unix_ms else None


async def _with_letter(
    asker: Asker, group: TracedGroup, message: Message, visible_ms: int, timeout_s: float | None
) -> TracedGroup:
    """Look for the dead letter that became of a message, as far as that is quick."""
    condition = (
        f'"dead-letter-offset" = {message.offset} AND "dead-letter-queue" = {message.queue} '
        f"AND \"dead-letter-topic\" = '{message.topic}' "
        f"AND \"dead-letter-group\" = '{group.group}'"
    )
    bound_s = asker.timeout_s if timeout_s is None else timeout_s
    bounds = SearchBounds(moment_of(visible_ms), "latest", None, 1, bound_s)
    wanted = RecordSearch(None, None, record_filter((), condition))
    search = Search(asker, group.dead_letter_topic, wanted, bounds)
    with suppress(TopicNotFound):  # it was deleted meanwhile
        for _ in range(LETTER_LOOKS_MAX):
            found = await search.step()
            if found is None:
                break
            if found:
                where = (found[0].queue, found[0].offset)
                return msgspec.structs.replace(
                    group, progress=GroupProgress.DEAD_LETTER, dead_letter=where
                )
    return group


async def ask_trace(
    asker: Asker, topic: str, queue: int, offset: int, timeout_s: float | None
) -> Trace:
    """Ask for the trace of a message."""
    described = await described_queues(asker, topic, queue, timeout_s)
    row = described[queue]
    if offset < 0:
        raise OffsetOutOfRange(offset, row.start_offset, row.end_offset)
    answer, payload = await asker.ask(
        Method.TRACE,
        messages.TraceMessage(queue=row.queue, offset=offset),
        messages.MessageTraced,
        timeout_s=timeout_s,
    )
    place = offset - answer.base_offset
    if len(payload) != answer.length or not 0 <= place < answer.count:
        raise ProtocolError(f"offset {offset} was answered with {answer.base_offset}")
    stored = StoredBatch(Offset(answer.base_offset), payload, topic, queue)
    message = next(each for each in stored.messages(offset) if each.offset == offset)
    header = parse_batch_header(payload)
    groups = [_stream_group(each, offset) for each in answer.stream_groups]
    for each in answer.queue_groups:
        group = _queue_group(each)
        if group.progress is GroupProgress.FINISHED and group.dead_letter_topic:
            group = await _with_letter(asker, group, message, answer.visible_ms, timeout_s)
        groups.append(group)
    return Trace(
        message=message,
        place=place,
        batch_records=answer.count,
        batch_bytes=answer.length,
        producer=header.producer.id,
        epoch=header.producer.epoch,
        sequence=header.producer.base_sequence + place if header.producer.id else 0,
        index=answer.index,
        position=answer.position,
        origin=_ORIGINS.get(answer.origin, MessageOrigin.UNKNOWN),
        stored_index=answer.stored_index,
        stored=moment_or_none(answer.stored_ms),
        due=moment_or_none(answer.due_ms),
        visible=moment_of(answer.visible_ms),
        copied=moment_or_none(answer.copied_ms),
        transaction=answer.transaction.transaction,
        owner=answer.transaction.owner,
        owner_group=answer.transaction.group,
        dead_letter_of=_dead_letter(answer),
        groups=tuple(groups),
        more_groups=answer.more_groups,
        asked=moment_of(answer.now_ms),
    )


def _dead_letter(answer: messages.MessageTraced) -> tuple[str, str, int, int] | None:
    if not answer.HasField("dead_letter"):
        return None
    was = answer.dead_letter
    return was.group, was.topic, was.place, was.offset

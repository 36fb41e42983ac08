"""Tracing one message: where it lies, how it came there, and who has read it.

::

    queue, offset --> its batch (linearizable, ruling 23) --> its posting
                  --> the entry that has the bytes, read off the loop: which command, when
                  --> if that is a copy: the entry that had them first, while the log has it
                  --> what the tables know: groups, what is in flight, owners

Each kind of fact has a function. What nobody knows any more is absent, never guessed: the
log has an entry until retention has passed it, and groups have no memory of who acknowledged.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import OffsetOutOfRange, RaftlogError, Unavailable
from raftlog.base.ids import INDEX_ZERO, Index, Offset
from raftlog.broker import flights
from raftlog.broker.index import Posting, Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.origins import Brought, Origin, brought_at, first_brought
from raftlog.broker.places import index_of
from raftlog.broker.queue_groups import QueueGroup
from raftlog.node.ports import Reader
from raftlog.service.entry_looks import EntryLooks
from raftlog.service.hidden_tracing import HiddenTraces
from raftlog.service.log_walks import LogWalks
from raftlog.service.ports import StoredEntries
from raftlog.service.proposing import Reply
from raftlog.service.read import ReadRequest, ReadResult, ReadService, no_queue

GROUPS_MAX: Final = 1_000
"""Of each style, in one answer: a longer look would hold up heartbeats."""


class Progress(IntEnum):
    """How far a queue-style group is with a message."""

    UNREAD = 0
    """It was never leased."""
    LEASED = 1
    WAITING = 2
    """For its next attempt."""
    PARKED = 3
    """For another one of its key."""
    DEAD = 4
    """On its way to the dead letters."""
    BLOCKED = 5
    FINISHED = 6
    """Acknowledged, skipped, or a dead letter by now."""


class StreamReading(msgspec.Struct, frozen=True):
    """A consumer group, and how far it has committed the queue; None: nothing yet."""

    group: str
    member: str
    committed: Offset | None


class QueueReading(msgspec.Struct, frozen=True):
    """A queue-style group, and what it has done with the message."""

    group: str
    progress: Progress
    attempts: int = 0
    until_ms: int = 0
    """When the lease ends, or the wait."""
    reason: str = ""
    dead_letters: str = ""
    """Its dead-letter topic, if it has one."""
    handle: int = 0
    """Of the lease, while there is one."""


class Staged(msgspec.Struct, frozen=True):
    """Whose half message it was; "" if that owner is forgotten."""

    transaction: str
    owner: str
    group: str


class Buried(msgspec.Struct, frozen=True):
    """Which message a dead letter was; "" for what is not there any more."""

    group: str
    topic: str
    place: int
    offset: int


class Traced(msgspec.Struct, frozen=True):
    """Everything that is known of a message."""

    posting: Posting
    batch: Buffer
    brought: Brought
    """By the command that brought it first, as far as the log has that."""
    copied: Brought | None
    """By the command that has its bytes, if they were relocated."""
    staged: Staged | None
    buried: Buried | None
    streams: Sequence[StreamReading]
    queues: Sequence[QueueReading]
    has_more_groups: bool
    now_ms: int


class TraceService:
    """Traces messages of one shard."""

    def __init__(self, read: ReadService, reader: Reader, entries: StoredEntries) -> None:
        self.read: Final = read
        self.looks: Final = EntryLooks(read.replica, reader, entries)
        self.hidden: Final = HiddenTraces(read, self.looks)
        self.walks: Final = LogWalks(read.replica, read.machine, reader, entries)

    def trace(self, queue: int, offset: int, reply: Reply[Traced]) -> Callable[[], None]:
        """Trace a message; return what cancels that.

        ``reply`` gets ``OffsetOutOfRange``, ``WrongQueue``, ``NotPermitted``, or why it can't be
        read here.
        """
        tracing = _Tracing(self, queue, Offset(offset), reply)
        tracing.begin()
        return tracing.cancel


class _Tracing:
    """One trace under way."""

    def __init__(
        self, service: TraceService, queue: int, offset: Offset, reply: Reply[Traced]
    ) -> None:
        self._service = service
        self._machine: BrokerMachine = service.read.machine
        self._queue = queue
        self._offset = offset
        self._reply = reply
        self._ended = False
        self._batch: Buffer = b""
        self._posting: Posting

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._ended = True

    def begin(self) -> None:
        """Read the batch, as it is for everybody."""
        request = ReadRequest(self._queue, self._offset, 1, staleness_ns=0)
        self._service.read.read(request, self._on_read)

    def _on_read(self, found: ReadResult | RaftlogError) -> None:
        if isinstance(found, RaftlogError):
            self._end(found)
        elif not found.batches:
            self._end(OffsetOutOfRange(self._offset, found.start_offset, found.end_offset))
        elif not self._ended:
            self._batch = found.batches[0]
            self._find()

    def _find(self) -> None:
        row = self._machine.queues.get(self._queue)
        if row is None:  # it was deleted while its batch was read
            self._end(no_queue(self._queue))
        elif self._offset < row.start_offset:
            self._end(OffsetOutOfRange(self._offset, row.start_offset, row.end_offset))
        else:
            postings = self._machine.find(self._queue, self._offset)
            if isinstance(postings, RangeSummary):
                self._service.read.ranges.load(postings, self._queue, self._on_postings)
            else:
                self._on_postings(postings, None)

    def _on_postings(self, postings: Postings | None, error: RaftlogError | None) -> None:
        if postings is None:
            assert error is not None, "neither postings nor an error"
            self._end(error)
            return
        posting = self._posting = postings[postings.find(self._offset)]

        def read(body: Buffer) -> Brought:
            return brought_at(body, posting.index, posting.position)

        self._read_entry(posting.index, read, self._on_brought)

    def _read_entry(
        self,
        index: Index,
        read: Callable[[Buffer], Brought],
        then: Callable[[Brought | None], None],
    ) -> None:
        """Look into an entry, off the loop; ``then`` gets None if the log has it no more."""

        def on_look(found: Brought | RaftlogError | None) -> None:
            if isinstance(found, RaftlogError):
                self._end(found)
            elif not self._ended:
                then(found)

        self._service.looks.look(index, read, on_look)

    def _on_brought(self, brought: Brought | None) -> None:
        if brought is None:  # retention has passed it meanwhile, or a snapshot is installed here
            self._end(Unavailable(f"entry {self._posting.index} has just gone; ask again"))
        elif brought.is_survivor:
            self._finish(Brought(Origin.UNKNOWN, INDEX_ZERO, 0), brought)
        elif not brought.copy_of:
            self._finish(brought, None)
        else:
            number, copied = brought.copy_of, brought

            def then(first: Brought | None) -> None:
                self._finish(first or Brought(Origin.UNKNOWN, index_of(number), 0), copied)

            self._read_entry(index_of(number), lambda body: first_brought(body, number), then)

    def _finish(self, brought: Brought, copied: Brought | None) -> None:
        machine, queue = self._machine, self._queue
        streams, queues = stream_groups(machine, queue), queue_groups(machine, queue, self._offset)
        self._end(
            Traced(
                *(self._posting, self._batch, brought, copied),
                *(staged_by(machine, brought), buried_by(machine, brought)),
                *(streams[:GROUPS_MAX], queues[:GROUPS_MAX]),
                len(streams) > GROUPS_MAX or len(queues) > GROUPS_MAX,
                machine.log_time_ms,
            )
        )

    def _end(self, answer: Traced | RaftlogError) -> None:
        if not self._ended:
            self._ended = True
            self._reply(answer)


# -- what the tables know, one function for each kind of fact


def stream_groups(machine: BrokerMachine, queue: int) -> list[StreamReading]:
    """Return how far consumer groups are in a queue, by name; one more than are told."""
    found = []
    for name in sorted(machine.claims.groups_of(queue))[: GROUPS_MAX + 1]:
        claim = machine.claims.get(name, queue)
        assert claim is not None, f"{name} claims queue {queue}"
        found.append(StreamReading(name, claim.member, claim.committed))
    return found


def queue_groups(machine: BrokerMachine, queue: int, offset: int) -> list[QueueReading]:
    """Return what queue-style groups have done with a message, by name; one more than told."""
    row = machine.queues.get(queue)
    groups = machine.leasing.groups
    names = set() if row is None else set(groups.of_topic(row.topic))
    for number in groups.readers(queue):
        group = groups.numbered(number)
        if group is not None:
            names.add(group.name)
    found = []
    for name in sorted(names)[: GROUPS_MAX + 1]:
        group = groups.get(name)
        if group is not None:
            found.append(_reading(machine, group, queue, offset))
    return found


_STATES: Final = {
    flights.WAITING: Progress.WAITING,
    flights.PARKED: Progress.PARKED,
    flights.DEAD: Progress.DEAD,
    flights.BLOCKED: Progress.BLOCKED,
}


def _reading(machine: BrokerMachine, group: QueueGroup, queue: int, offset: int) -> QueueReading:
    topic = group.dead_letter_topic
    dead_letters = topic if machine.topics.get(topic) is not None else ""
    flight = machine.leasing.flights.get((group.number, queue, offset))
    if flight is not None:
        progress = _STATES.get(flight.handle, Progress.LEASED)
        timed = progress in (Progress.LEASED, Progress.WAITING)
        return QueueReading(
            *(group.name, progress, flight.attempts, flight.due_ms if timed else 0),
            *(flight.reason, dead_letters),
            handle=max(flight.handle, 0),
        )
    cursor = machine.leasing.groups.cursor(group, queue)
    passed = cursor is not None and offset < cursor.next
    progress = Progress.FINISHED if passed else Progress.UNREAD
    return QueueReading(group.name, progress, dead_letters=dead_letters)


def staged_by(machine: BrokerMachine, brought: Brought) -> Staged | None:
    """Return whose half message it was. It was committed when it became visible."""
    if brought.origin is not Origin.HALF:
        return None
    transactor, number = brought.transaction
    owner = machine.state.transactors.table.get(transactor)
    name = f"{transactor}.{number}"
    return Staged(name, "", "") if owner is None else Staged(name, owner.name, owner.group)


def buried_by(machine: BrokerMachine, brought: Brought) -> Buried | None:
    """Return which message a dead letter was."""
    if brought.origin is not Origin.DEAD_LETTER:
        return None
    number, queue, offset = brought.buried
    group = machine.leasing.groups.numbered(number)
    row = machine.queues.get(queue)
    return Buried(
        *("" if group is None else group.name, "" if row is None else row.topic),
        *(0 if row is None else row.place, offset),
    )

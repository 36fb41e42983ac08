"""Read a queue from an offset: what is applied, from wherever it is.

::

    offset --> machine: open range in memory, or a sealed range (loaded, cached)
           --> postings --> entries still in memory: slices of their bodies
                        --> else one span of the file: page cache, or reader thread
    offset at the end --> waits; woken by apply (never by polling)

A read sees the applied prefix of this replica (ruling 23): committed, never
changing, perhaps not the newest on a leader that was just cut off. A session
sends the highest applied index that it has seen and never goes back.

The loop is never blocked (ruling 17). A batch that came from a file is checked
by its own checksum before it is served; a bad one marks its entry, which is
fetched from a peer, and the caller is asked to come again.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    OffsetOutOfRange,
    RaftlogError,
    Throttled,
    Unavailable,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import (
    FETCH_WAIT_NS_MAX,
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
    READ_SPAN_BYTES_MAX,
)
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queues import QUEUE_ZERO, Queue
from raftlog.node.ports import Scheduler
from raftlog.service.ports import ShardReplica, StoredBodies, StoredRanges
from raftlog.service.waiting import Waiter, WaitingReads

READ_BYTES_MAX: Final = FRAME_BODY_BYTES_MAX - FRAME_HEADER_BYTES_MAX
"""Batches in one answer, so that it fits into one frame (at least one batch)."""
READ_BATCHES_MAX: Final = 4_000
"""Batches in one answer: each takes at most 15 bytes of the frame's header."""

assert READ_BATCHES_MAX * 15 < FRAME_HEADER_BYTES_MAX


class ReadRequest(msgspec.Struct, frozen=True, gc=False):
    """Read ``queue`` from ``offset``, about ``bytes_max``; wait for records up to ``wait_ns``."""

    queue: int
    offset: Offset
    bytes_max: int
    wait_ns: int = 0
    session_applied: Index = Index(0)


class ReadResult(msgspec.Struct, frozen=True, gc=False):
    """Stored batches as they are, the first of which holds the offset asked for.

    Empty when nothing came in time. ``applied`` is what the session sends with
    its next read.
    """

    base_offsets: Sequence[int]
    batches: Sequence[Buffer]
    end_offset: Offset
    applied: Index


OnResult = Callable[[ReadResult | RaftlogError], None]
"""Called once, on the loop, unless the read was cancelled."""


class ReadService:
    """Reads the queues of one shard."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        bodies: StoredBodies,
        ranges: StoredRanges,
        scheduler: Scheduler,
    ) -> None:
        self.replica: Final = replica
        self.machine: Final = machine
        self.bodies: Final = bodies
        self.ranges: Final = ranges
        self.scheduler: Final = scheduler
        self.waiting: Final = WaitingReads(scheduler)
        self.reads = 0
        replica.on_applied(lambda _: self.waiting.wake())

    @property
    def log(self) -> Queue:
        """Queue 0."""
        return self.machine.queues.find(QUEUE_ZERO)

    def read(self, request: ReadRequest, reply: OnResult) -> "Reading":
        """Start a read; ``reply`` may be called before this returns."""
        self.reads += 1
        reading = Reading(self, request, reply)
        reading.look(expired=False)
        return reading

    def end_offset(self, queue: int, reply: Callable[[Offset | RaftlogError], None]) -> None:
        """Tell the queue's end, linearizable: no record acked before this call is after it."""

        def ready(error: RaftlogError | None) -> None:
            reply(self.log.end_offset if error is None else error)

        if queue == QUEUE_ZERO:
            self.replica.read_index(ready)
        else:
            reply(WrongQueue(f"there is no queue {queue}"))


class Reading:
    """One read under way."""

    __slots__ = ("_deadline_ns", "_ended", "_reply", "_request", "_service", "_waiter")

    def __init__(self, service: ReadService, request: ReadRequest, reply: OnResult) -> None:
        self._service = service
        self._request = request
        self._reply = reply
        self._ended = False
        self._waiter: Waiter | None = None
        wait_ns = min(request.wait_ns, FETCH_WAIT_NS_MAX)
        self._deadline_ns = service.scheduler.now_ns() + wait_ns if wait_ns > 0 else 0

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        self._ended = True
        if self._waiter is not None:
            self._waiter.leave()

    def look(self, *, expired: bool) -> None:
        """Answer if there is something to answer, else wait."""
        if self._ended:
            return
        request = self._request
        machine = self._service.machine
        log = self._service.log
        if request.queue != QUEUE_ZERO:
            self._end(WrongQueue(f"there is no queue {request.queue}"))
        elif machine.applied < request.session_applied:
            behind = (
                f"this replica has applied {machine.applied}, you saw {request.session_applied}"
            )
            self._wait(Unavailable(behind), expired=expired)
        elif not log.start_offset <= request.offset <= log.end_offset:
            self._end(OffsetOutOfRange(request.offset, log.start_offset, log.end_offset))
        elif request.offset == log.end_offset:
            self._wait(self._result((), ()), expired=expired)
        else:
            found = machine.find(QUEUE_ZERO, request.offset)
            if isinstance(found, RangeSummary):
                self._service.ranges.load(found, QUEUE_ZERO, self._on_postings)
            else:
                self._serve(found)

    def _wait(self, otherwise: ReadResult | RaftlogError, *, expired: bool) -> None:
        left_ns = self._deadline_ns - self._service.scheduler.now_ns()
        waiting = self._service.waiting
        if expired or left_ns <= 0:
            self._end(otherwise)
        elif waiting.is_full:
            self._end(Throttled(f"{len(waiting)} reads wait already", 1.0))
        else:
            self._waiter = waiting.add(left_ns, lambda late: self.look(expired=late))

    def _on_postings(self, postings: Postings | None, error: RaftlogError | None) -> None:
        if self._ended:
            return
        if postings is None:
            assert error is not None, "neither postings nor an error"
            self._end(error)
        else:
            self._serve(postings)

    def _serve(self, postings: Postings) -> None:
        first = postings.find(self._request.offset)
        bytes_max = min(max(self._request.bytes_max, 1), READ_BYTES_MAX)
        if self._service.replica.tail(Index(postings.indexes[first])) is None:
            after = self._reach(postings, first, min(bytes_max, READ_SPAN_BYTES_MAX))
            after = self._below_memory(postings, after)
            self._service.bodies.read(
                postings,
                range(first, after),
                lambda batches, error: self._on_batches(postings, first, batches, error),
            )
            return
        batches = self._from_memory(postings, first, self._reach(postings, first, bytes_max))
        self._on_batches(postings, first, batches, None)

    @staticmethod
    def _reach(postings: Postings, first: int, bytes_max: int) -> int:
        """Return where a run of about ``bytes_max`` from ``first`` ends; at least one batch."""
        lengths = postings.lengths
        limit = min(len(postings), first + READ_BATCHES_MAX)
        after = first + 1
        size = lengths[first]
        while after < limit and size + lengths[after] <= bytes_max:
            size += lengths[after]
            after += 1
        return after

    def _below_memory(self, postings: Postings, after: int) -> int:
        """Leave out what is in memory: it may not be on disk here yet (ruling 14)."""
        tail = self._service.replica.tail
        while tail(Index(postings.indexes[after - 1])) is not None:
            after -= 1
        return after

    def _from_memory(self, postings: Postings, first: int, after: int) -> list[Buffer]:
        """Slice the bodies of entries in memory, as far as they are."""
        batches: list[Buffer] = []
        at = 0
        body = memoryview(b"")
        for place in range(first, after):
            index = postings.indexes[place]
            if index != at:
                entry = self._service.replica.tail(Index(index))
                if entry is None:
                    break
                at, body = index, entry.body
            position = postings.positions[place]
            batches.append(body[position : position + postings.lengths[place]])
        return batches

    def _on_batches(
        self,
        postings: Postings,
        first: int,
        batches: Sequence[Buffer],
        error: RaftlogError | None,
    ) -> None:
        if self._ended:
            return
        if error is not None:
            self._end(error)
            return
        assert batches, "a read found neither a batch nor an error"
        self._end(self._result(postings.base_offsets[first : first + len(batches)], batches))

    def _result(self, base_offsets: Sequence[int], batches: Sequence[Buffer]) -> ReadResult:
        machine = self._service.machine
        return ReadResult(base_offsets, batches, self._service.log.end_offset, machine.applied)

    def _end(self, answer: ReadResult | RaftlogError) -> None:
        self._ended = True
        self._reply(answer)

"""Read a queue from an offset: what is applied, from wherever it is.

::

    offset --> machine: open range in memory, or a sealed range (loaded, cached)
           --> postings --> entries still in memory: slices of their bodies
                        --> else one span of the file: page cache, or reader thread
    offset at the end --> waits for its queue; woken by apply (never by polling)

A read sees the applied prefix of this replica (ruling 23): committed, never
changing, perhaps not the newest on a leader that was just cut off. A session
sends the highest applied index that it has seen and never goes back.

The loop is never blocked (ruling 17). A batch that came from a file is checked
by its own checksum before it is served; a bad one marks its entry, which is
fetched from a peer before the read is answered. If no peer has it in time, the
caller is told that it is damaged here.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    FaultyEntry,
    NotPermitted,
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
    REPAIR_WAIT_NS_MAX,
)
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queues import Queue
from raftlog.node.ports import Scheduler
from raftlog.service.freshness import Freshness
from raftlog.service.ports import ShardReplica, StoredBodies, StoredRanges
from raftlog.service.proposing import Reply, look
from raftlog.service.waiting import Waiter, Waiting
from raftlog.storage.span import Place

READ_BYTES_MAX: Final = FRAME_BODY_BYTES_MAX - FRAME_HEADER_BYTES_MAX
"""Batches in one answer, so that it fits into one frame (at least one batch)."""
READ_BATCHES_MAX: Final = 4_000
"""Batches in one answer: each takes at most 15 bytes of the frame's header."""

assert READ_BATCHES_MAX * 15 < FRAME_HEADER_BYTES_MAX


class ReadRequest(msgspec.Struct, frozen=True, gc=False):
    """Read ``queue`` from ``offset``, about ``bytes_max``; wait for records up to ``wait_ns``.

    No batch that begins at ``until`` or behind it, but at least one.
    """

    queue: int
    offset: Offset
    bytes_max: int
    wait_ns: int = 0
    session_applied: Index = Index(0)
    staleness_ns: int | None = None
    """What was committed so long ago is in it; None: whatever is applied here."""
    until: int | None = None


class ReadResult(msgspec.Struct, frozen=True, gc=False):
    """Stored batches as they are, the first of which holds the offset asked for.

    Empty when nothing came in time. ``applied`` is what the session sends with
    its next read.
    """

    base_offsets: Sequence[int]
    batches: Sequence[Buffer]
    start_offset: Offset
    end_offset: Offset
    applied: Index


OnResult = Callable[[ReadResult | RaftlogError], None]
"""Called once, on the loop, unless the read was cancelled."""

PROGRESS: Final = -1
"""What a read waits for that is ahead of this replica: anything at all is applied."""
REPAIR: Final = -2
"""What a read waits for whose entry is damaged here: anything at all is repaired."""


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
        self.waiting: Final[Waiting[int]] = Waiting(scheduler)
        self.reads = 0
        self.on_touched: Callable[[set[int]], None] = lambda _queues: None
        """Told which queues have new records, or moved, or went."""
        self.freshness: Final = Freshness(replica, scheduler)
        replica.on_applied(self._applied)
        replica.on_repaired(lambda: self.waiting.wake(REPAIR))

    def read(self, request: ReadRequest, reply: OnResult) -> "Reading":
        """Start a read; ``reply`` may be called before this returns."""
        self.reads += 1
        reading = Reading(self, request, reply)
        if request.staleness_ns is None:
            reading.look(expired=False)
        else:
            self.freshness.ensure(request.staleness_ns, reading.fresh)
        return reading

    def end_offset(self, queue: int, reply: Reply[Offset]) -> None:
        """Tell the queue's end, linearizable: no record acked before this call is after it."""

        def answer() -> Offset | RaftlogError:
            found = self.machine.queues.get(queue)
            return no_queue(queue) if found is None else found.end_offset

        look(self.replica, answer, reply)

    def _applied(self, _index: Index) -> None:
        touched = self.machine.take_touched()
        waiting = self.waiting
        if len(waiting):
            for queue in touched:
                waiting.wake(queue)
            waiting.wake(PROGRESS)
        if touched:
            self.on_touched(touched)


class Reading:
    """One read under way."""

    __slots__ = (
        "_deadline_ns",
        "_ended",
        "_is_exact",
        "_is_known",
        "_repair_until_ns",
        "_reply",
        "_request",
        "_service",
        "_waiter",
    )

    def __init__(self, service: ReadService, request: ReadRequest, reply: OnResult) -> None:
        self._service = service
        self._request = request
        self._reply = reply
        self._ended = False
        self._is_known = False
        self._is_exact = False
        self._repair_until_ns = 0
        self._waiter: Waiter[int] | None = None
        wait_ns = min(request.wait_ns, FETCH_WAIT_NS_MAX)
        self._deadline_ns = service.scheduler.now_ns() + wait_ns if wait_ns > 0 else 0

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        self._ended = True
        if self._waiter is not None:
            self._waiter.leave()

    def fresh(self, error: RaftlogError | None) -> None:
        """What is applied is as new as was asked for, or nobody knows."""
        if error is None:
            self.look(expired=False)
        elif not self._ended:
            self._end(error)

    def look(self, *, expired: bool) -> None:
        """Answer if there is something to answer, else wait."""
        if self._ended:
            return
        request = self._request
        machine = self._service.machine
        if machine.applied < request.session_applied:
            behind = (
                f"this replica has applied {machine.applied}, you saw {request.session_applied}"
            )
            self._wait(PROGRESS, Unavailable(behind), expired=expired)
            return
        queue = self._queue()
        if queue is None:
            return
        if request.offset < queue.end_offset:
            found = machine.find(request.queue, request.offset)
            if isinstance(found, RangeSummary):
                self._service.ranges.load(found, request.queue, self._on_postings)
            else:
                self._serve(queue, found)
        else:
            self._wait(request.queue, self._result(queue, (), ()), expired=expired)

    def _queue(self) -> Queue | None:
        """Return the queue if the offset can be read there, now or later; else end."""
        number, offset = self._request.queue, self._request.offset
        queue = self._service.machine.queues.get(number)
        if queue is None:
            self._miss()
            return None
        self._is_known = True
        refusal: RaftlogError | None = None
        if not queue.readable:
            refusal = NotPermitted(f"topic {queue.topic!r} is not readable by its settings")
        elif not queue.start_offset <= offset <= queue.end_offset:
            refusal = OffsetOutOfRange(offset, queue.start_offset, queue.end_offset)
        if refusal is None:
            return queue
        bound_ns = self._request.staleness_ns
        may_be_old = offset > queue.end_offset if bound_ns is None else bound_ns > 0
        if may_be_old and not self._is_exact:
            # Within its bound this replica may be behind where the reader began, or behind an
            # order to let it read; so may a leader that has just begun. What is old may be
            # served, and refused is by what is true.
            self._is_exact = True
            self._service.freshness.ensure(0, self.fresh)
        else:
            self._end(refusal)
        return None

    def _miss(self) -> None:
        """Say that there is no such queue only when that is certain.

        A replica may not have applied the creation of a topic that is
        committed; one that has seen the queue knows that it was deleted.
        """
        if self._is_known:
            self._end(no_queue(self._request.queue))
            return
        self._is_known = True

        def ready(error: RaftlogError | None) -> None:
            if error is None:
                self.look(expired=False)
            elif not self._ended:
                self._end(error)

        self._service.replica.read_index(ready)

    def _wait(self, key: int, otherwise: ReadResult | RaftlogError, *, expired: bool) -> None:
        left_ns = self._deadline_ns - self._service.scheduler.now_ns()
        waiting = self._service.waiting
        if expired or left_ns <= 0:
            self._end(otherwise)
        elif waiting.is_full:
            self._end(Throttled(f"{len(waiting)} reads wait already", 1.0))
        else:
            self._waiter = waiting.add(key, left_ns, lambda late: self.look(expired=late))

    def _wait_for_repair(self, damage: FaultyEntry) -> None:
        """Look again when something was repaired; for a while (ruling 17)."""
        now_ns = self._service.scheduler.now_ns()
        if not self._repair_until_ns:
            self._repair_until_ns = now_ns + REPAIR_WAIT_NS_MAX
        left_ns = self._repair_until_ns - now_ns
        waiting = self._service.waiting

        def look_again(late: bool) -> None:  # noqa: FBT001  (as ``Waiting`` calls it)
            if late:
                self._end(damage)
            else:
                self.look(expired=False)

        if left_ns <= 0 or waiting.is_full:
            self._end(damage)
        else:
            self._waiter = waiting.add(REPAIR, left_ns, look_again)

    def _on_postings(self, postings: Postings | None, error: RaftlogError | None) -> None:
        if self._ended:
            return
        if postings is None:
            assert error is not None, "neither postings nor an error"
            self._end(error)
            return
        queue = self._queue()  # it may have moved on, or be gone, since the range was asked for
        if queue is None:
            return
        if self._request.offset < self._service.machine.survivors.copied_through(queue.number):
            self.look(expired=False)  # copied forward meanwhile: it may lie there no more
        else:
            self._serve(queue, postings)

    def _serve(self, queue: Queue, postings: Postings) -> None:
        first = postings.find(self._request.offset)
        limit = len(postings)
        until = self._request.until
        if until is not None and until - 1 < postings.end_offset:
            limit = postings.find(Offset(until - 1)) + 1
        bytes_max = min(max(self._request.bytes_max, 1), READ_BYTES_MAX)
        if self._service.replica.tail(postings.index_at(first)) is None:
            after = self._reach(postings, first, limit, min(bytes_max, READ_SPAN_BYTES_MAX))
            after = self._below_memory(postings, first, after)
            self._service.bodies.read(
                [Place(Index(index), *at) for index, *at in postings.places(first, after)],
                lambda batches, error: self._on_batches(queue, postings, first, batches, error),
            )
            return
        batches = self._from_memory(
            postings, first, self._reach(postings, first, limit, bytes_max)
        )
        self._on_batches(queue, postings, first, batches, None)

    @staticmethod
    def _reach(postings: Postings, first: int, limit: int, bytes_max: int) -> int:
        """Return where a run of about ``bytes_max`` from ``first`` ends; at least one batch."""
        limit = min(limit, first + READ_BATCHES_MAX)
        after = first
        size = 0
        for _, _, length in postings.places(first, limit):
            size += length
            if size > bytes_max and after > first:
                break
            after += 1
        return after

    def _below_memory(self, postings: Postings, first: int, after: int) -> int:
        """End a run before what is in memory: it may not be on disk here yet (ruling 14).

        As a rule that is at its end; but a batch that was hidden may lie anywhere before.
        """
        tail = self._service.replica.tail
        indexes = postings.indexes(first, after)
        if tail(Index(max(indexes))) is None:
            return after
        return next(at for at, each in enumerate(indexes, first) if tail(Index(each)) is not None)

    def _from_memory(self, postings: Postings, first: int, after: int) -> list[Buffer]:
        """Slice the bodies of entries in memory, as far as they are."""
        batches: list[Buffer] = []
        at = 0
        body = memoryview(b"")
        for index, position, length in postings.places(first, after):
            if index != at:
                entry = self._service.replica.tail(Index(index))
                if entry is None:
                    break
                at, body = index, entry.body
            batches.append(body[position : position + length])
        return batches

    def _on_batches(
        self,
        queue: Queue,
        postings: Postings,
        first: int,
        batches: Sequence[Buffer],
        error: RaftlogError | None,
    ) -> None:
        if self._ended:
            return
        if isinstance(error, FaultyEntry):
            self._wait_for_repair(error)
            return
        if error is not None:
            self._end(error)
            return
        assert batches, "a read found neither a batch nor an error"
        bases = postings.offsets(first, first + len(batches))
        self._end(self._result(queue, bases, batches))

    def _result(
        self, queue: Queue, base_offsets: Sequence[int], batches: Sequence[Buffer]
    ) -> ReadResult:
        applied = self._service.machine.applied
        return ReadResult(base_offsets, batches, queue.start_offset, queue.end_offset, applied)

    def _end(self, answer: ReadResult | RaftlogError) -> None:
        self._ended = True
        self._reply(answer)


def no_queue(number: int) -> WrongQueue:
    """Return the refusal of a queue that does not exist."""
    return WrongQueue(f"there is no queue {number}")

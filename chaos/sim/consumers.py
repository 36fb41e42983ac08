"""Readers by offset, from any node, with and without a filter."""

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.check.filtered_reads import check_filtered
from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.wishes import WISHES, Wanted
from raftlog.base.errors import (
    OffsetOutOfRange,
    RaftlogError,
)
from raftlog.base.ids import NodeId
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

READ_BYTES: Final = 2_000


class QueueReader(Client):
    """Reads one queue after the other, from any node, for one session."""

    def __init__(self, world: ClientWorld, name: str) -> None:
        super().__init__(world, name)
        self._queue = 0
        self._offset = 0
        self._session = 0

    def start(self) -> None:
        """Begin to read, and to ask for ends."""
        self.world.every(self.world.config.reads_per_s, self._read)
        self.world.every(self.world.config.reads_per_s / 4, self._ask_end)
        self.world.every(self.world.config.reads_per_s / 4, self._find)

    def _read(self) -> None:
        world = self.world
        if world.random.random() < 0.1 or not self._queue:
            self._queue = world.some_queue() or 0
            self._offset = world.random.choice((0, world.facts.reads.end(self._queue)))
        queue, offset = self._queue, self._offset

        def done(after: int) -> None:
            if (self._queue, self._offset) == (queue, offset):
                self._offset = after

        self.read(queue, offset, done, world.random.choice((None, None, *WISHES)))

    def read(
        self,
        queue: int,
        offset: int,
        done: Callable[[int], None],
        wanted: Wanted | None = None,
    ) -> None:
        """Read from ``offset``; ``done`` is told where to go on."""
        world = self.world
        session = self._session
        staleness_ms = self._draw_staleness_ms()
        floor = 0
        known = world.facts.staleness.floor(queue, world.queue.now_ns)
        if staleness_ms is not None:
            # A node's clock may be slower than time, by a few percent.
            moment_ns = world.queue.now_ns - staleness_ms * MS_NS * 21 // 20
            floor = world.facts.staleness.floor(queue, moment_ns)
        message = client.ReadBatches(
            queue=queue,
            offset=offset,
            bytes_max=world.random.choice((1, READ_BYTES)),
            wait_ms=world.random.choice((0, 100, 300)),
            session_applied=session,
            staleness_ms=staleness_ms,
            filter=None if wanted is None else wanted.filter,
        )

        def answered(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, OffsetOutOfRange):
                if staleness_ms is not None:
                    world.marks["bounded reads refused"] += 1
                    world.facts.staleness.refused(queue, known, error.end)
                done(max(offset, error.start))
            elif error is not None:
                done(offset)
            else:
                assert isinstance(answer, client.BatchesRead), f"read answered by {answer!r}"
                reads = world.facts.reads
                reads.answered_session(session, answer.applied)
                if staleness_ms is not None:
                    world.marks["bounded reads"] += 1
                    world.facts.staleness.answered(queue, floor, answer.end_offset)
                self._session = max(self._session, answer.applied)
                batches = _split(answer, parts)
                if wanted is not None:
                    self._check(queue, offset, answer, batches, wanted)
                    done(answer.next_offset)
                    return
                world.marks["batches read"] += len(parts)
                done(reads.read(queue, offset, answer.base_offsets, batches))

        node = self.believed if world.random.random() < 0.6 else world.random.choice(world.nodes)
        self.ask(Method.READ, message, answered, node=node)

    def _check(
        self,
        queue: int,
        offset: int,
        answer: client.BatchesRead,
        batches: Sequence[bytes],
        wanted: Wanted,
    ) -> None:
        """Compare what came through a filter with what matches in the log."""
        matching = [list(found.numbers) for found in answer.matching]
        self.world.marks["filtered reads"] += 1
        self.world.marks["filtered records"] += sum(map(len, matching))
        self.world.marks["filtered stretches"] += not batches and answer.next_offset > offset
        check_filtered(
            *(queue, offset, answer.next_offset),
            list(zip(answer.base_offsets, batches, matching, strict=True)),
            self.world.facts.reads.batches.get(queue, ()),
            wanted.wish,
        )

    def _draw_staleness_ms(self) -> int | None:
        return self.world.random.choice((None, None, 0, 50, 300, 2_000))

    def _ask_end(self) -> None:
        queue = self.world.some_queue()
        if queue is None:
            return
        reads = self.world.facts.reads
        floor = reads.asks_end(queue)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, client.EndOffsetIs), f"answered by {answer!r}"
                self.world.marks["ends asked"] += 1
                reads.answered_end(queue, floor, answer.end_offset)

        node: NodeId = self.world.random.choice((self.believed, *self.world.nodes))
        self.ask(Method.END_OFFSET, client.EndOffset(queue=queue), done, node=node)

    def _find(self) -> None:
        queue = self.world.some_queue()
        reads = self.world.facts.reads
        if queue is None or not reads.batches.get(queue):
            return
        known = reads.end(queue)
        chosen = self.world.random.choice(reads.batches[queue])
        log_time_ms = chosen.log_time_ms + self.world.random.choice((-1, 0, 1))

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, client.OffsetFound), f"answered by {answer!r}"
                self.world.marks["times found"] += 1
                start, _ = self.world.facts.bounds(queue)
                reads.found(queue, log_time_ms, answer.offset, start=start, known_end=known)

        message = client.FindOffset(queue=queue, log_time_ms=log_time_ms)
        self.ask(Method.FIND_OFFSET, message, done)


def _split(answer: client.BatchesRead, parts: Sequence[bytes]) -> list[bytes]:
    """Return the batches of an answer, as its lengths divide the payload."""
    payload = b"".join(parts)
    batches = []
    position = 0
    for length in answer.lengths:
        batches.append(payload[position : position + length])
        position += length
    return batches

"""Readers get what the log has, at its offset, without a gap: also from a replica that restarted.

Whatever a replica serves is compared with the batches that the committed log
holds. An end offset that was asked for is linearizable (ruling 23): it is not
before what was acked, or told as an end, before the question.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "queue_reads"


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch of a queue, as the committed log has it."""

    base_offset: int
    count: int
    log_time_ms: int
    index: int
    position: int
    """Where it lies in the body of its entry."""
    data: bytes

    @property
    def end_offset(self) -> int:
        """The offset after its last record."""
        return self.base_offset + self.count


class QueueReads:
    """The queues of the committed log, and what clients saw of them."""

    def __init__(self) -> None:
        self.batches: dict[int, list[StoredBatch]] = {}
        self._by_offset: dict[tuple[int, int], StoredBatch] = {}
        self._seen: dict[int, int] = {}

    def stored(self, queue: int, batch: StoredBatch) -> None:
        """Take in the next batch of a queue."""
        self.batches.setdefault(queue, []).append(batch)
        self._by_offset[queue, batch.base_offset] = batch

    def copied(self, queue: int, copy: StoredBatch, place: tuple[int, int]) -> bool:
        """Take in that a batch was read where ``copy`` says and lies at ``place`` again.

        Returns:
            Whether it was there; else somebody has copied it in the meantime.

        Raises:
            Violation: The queue has no such batch.
        """
        known = self._by_offset.get((queue, copy.base_offset))
        if known is None:
            raise Violation(NAME, f"queue {queue} has no batch at {copy.base_offset}: a copy")
        if (known.index, known.position) != (copy.index, copy.position):
            return False
        if copy != known:
            raise Violation(NAME, f"queue {queue} has {known}; its copy says {copy}")
        index, position = place
        moved = msgspec.structs.replace(known, index=index, position=position)
        batches = self.batches[queue]
        batches[bisect_left(batches, moved.base_offset, key=_base_of)] = moved
        self._by_offset[queue, moved.base_offset] = moved
        return True

    def end(self, queue: int) -> int:
        """Return the offset after the last stored record."""
        batches = self.batches.get(queue)
        return batches[-1].end_offset if batches else 0

    def read(
        self, queue: int, offset: int, base_offsets: Sequence[int], batches: Sequence[bytes]
    ) -> int:
        """Take in the answer to a read from ``offset``; return where the reader goes on.

        Raises:
            Violation: It does not begin with the batch that holds ``offset``, has
                a gap, or has other bytes than the log.
        """
        if len(base_offsets) != len(batches):
            raise Violation(NAME, f"{len(batches)} batches with {len(base_offsets)} offsets")
        after = offset
        for base_offset, data in zip(base_offsets, batches, strict=True):
            stored = self._by_offset.get((queue, base_offset))
            if stored is None:
                raise Violation(NAME, f"queue {queue} has no batch at {base_offset}: it was read")
            if not base_offset <= after < stored.end_offset:
                raise Violation(
                    NAME, f"a read of queue {queue} at {after} gets the batch at {base_offset}"
                )
            if stored.data != data:
                raise Violation(NAME, f"queue {queue} has other bytes at {base_offset} than read")
            after = stored.end_offset
        return after

    def answered_session(self, asked: int, applied: int) -> None:
        """Take in that a read of a session that has seen ``asked`` is served at ``applied``.

        Raises:
            Violation: The session goes back.
        """
        if applied < asked:
            raise Violation(NAME, f"a session that has seen {asked} is served at {applied}")

    def found(
        self, queue: int, log_time_ms: int, offset: int, *, start: int, known_end: int
    ) -> None:
        """Take in the answer to "from which offset on is it this log time or later?".

        Args:
            queue: Which queue.
            log_time_ms: The time.
            offset: The answer.
            start: Where the queue begins now.
            known_end: The end that was known when the question began.

        Raises:
            Violation: A batch before it is as late, or the one at it is earlier.
        """
        for batch in self.batches.get(queue, ()):
            is_late = batch.log_time_ms >= log_time_ms
            first = max(batch.base_offset, start)  # a queue may begin within a batch
            if first < offset and is_late and batch.end_offset > start:
                raise Violation(NAME, f"queue {queue}: {batch.base_offset} is before {offset}")
            if batch.base_offset == offset and not is_late and batch.end_offset <= known_end:
                raise Violation(NAME, f"queue {queue}: {offset} is earlier than {log_time_ms}")

    # -- end offsets

    def asks_end(self, queue: int) -> int:
        """Return what an end that is asked for now must include."""
        return self._seen.get(queue, 0)

    def sees(self, queue: int, end: int) -> None:
        """Take in that a client knows of ``end``: by a receipt, or as an answer."""
        self._seen[queue] = max(end, self._seen.get(queue, 0))

    def answered_end(self, queue: int, floor: int, end: int) -> None:
        """Take in the answer to a question that began when ``floor`` was known.

        Raises:
            Violation: It is older than what was known, or newer than what is.
        """
        if not floor <= end <= self.end(queue):
            raise Violation(
                NAME,
                f"the end of queue {queue} is told as {end}; {floor} was known, the log has "
                f"{self.end(queue)}",
            )
        self.sees(queue, end)


def _base_of(batch: StoredBatch) -> int:
    return batch.base_offset

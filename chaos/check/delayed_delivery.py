"""Delayed batches: never early by the log time, exactly once, cancelled never.

What is pending is followed here, command by command, and what an entry's log time makes
visible is foretold: at that entry, before its commands, in the order of due times. That
replicas have it so is ``index_projection``'s and ``queue_reads``' business, that nothing
is there twice ``sends_kept``'. A body is followed through relocations too: its copy must
have its very bytes.
"""

from collections.abc import Collection

import msgspec

from chaos.check.violation import Violation
from raftlog.base.limits import CANCELLED_KNOWN_MS

NAME = "delayed_delivery"


class Pending(msgspec.Struct):
    """A batch that nobody can read yet, and where it lies."""

    queue: int
    id: int
    due_ms: int
    count: int
    index: int
    position: int
    data: bytes


class DelayedDelivery:
    """All delayed batches of the committed log."""

    def __init__(self) -> None:
        self.pending: dict[tuple[int, int], Pending] = {}
        self._cancelled: dict[tuple[int, int], int] = {}
        self._delivered: dict[tuple[int, int], int] = {}

    def hidden(self, batch: Pending, log_time_ms: int) -> None:
        """Take in that a batch is stored, to be visible later.

        Raises:
            Violation: Its id is another's, or it was to be visible before it was stored.
        """
        key = (batch.queue, batch.id)
        if key in self.pending or key in self._cancelled or key in self._delivered:
            raise Violation(NAME, f"{key} is given to two delayed batches")
        if batch.due_ms < log_time_ms:
            raise Violation(NAME, f"{key} is stored at {log_time_ms} and due at {batch.due_ms}")
        self.pending[key] = batch

    def due(self, log_time_ms: int) -> list[Pending]:
        """Return what becomes visible at an entry of this log time, in order."""
        ready = sorted(
            (batch for batch in self.pending.values() if batch.due_ms <= log_time_ms),
            key=lambda batch: (batch.due_ms, batch.queue, batch.id),
        )
        for batch in ready:
            key = (batch.queue, batch.id)
            del self.pending[key]
            self._delivered[key] = batch.due_ms
        return ready

    def closed(self, queues: Collection[int]) -> None:
        """Take in that queues are gone, and all that was pending in them."""
        for key in [key for key in self.pending if key[0] in queues]:
            del self.pending[key]

    def cancelled(self, key: tuple[int, int], due_ms: int) -> Pending | None:
        """Take in that a cancel was answered with "cancelled"; return what it cancelled now.

        Raises:
            Violation: It is visible, or never was.
        """
        batch = self.pending.get(key)
        if batch is not None and batch.due_ms == due_ms:
            self._cancelled[key] = due_ms
            return self.pending.pop(key)
        if self._cancelled.get(key) != due_ms:
            raise Violation(NAME, f"{key}, due at {due_ms}, is told to be cancelled; it was not")
        return None

    def told_delivered(self, key: tuple[int, int], due_ms: int) -> None:
        """Take in that a cancel came too late.

        Raises:
            Violation: It did not.
        """
        if key in self.pending or key in self._cancelled:
            raise Violation(NAME, f"{key}, due at {due_ms}, is told to be visible; it is not")

    def told_unknown(self, key: tuple[int, int], due_ms: int, log_time_ms: int) -> None:
        """Take in that a cancel was answered with "unknown".

        Raises:
            Violation: It is known what became of it.
        """
        if log_time_ms - due_ms >= CANCELLED_KNOWN_MS:
            return
        batch = self.pending.get(key)
        known = (batch is not None and batch.due_ms == due_ms) or due_ms in (
            self._cancelled.get(key),
            self._delivered.get(key),
        )
        if known:
            raise Violation(NAME, f"{key}, due at {due_ms}, is told to be unknown")

    def relocated(
        self, key: tuple[int, int], old: tuple[int, int], new: tuple[int, int], data: bytes
    ) -> bool:
        """Take in a copy of a batch's body; return whether the batch points there now.

        Raises:
            Violation: The copy has other bytes.
        """
        batch = self.pending.get(key)
        if batch is None or (batch.index, batch.position) != old:
            return False
        if data != batch.data:
            raise Violation(NAME, f"the copy of {key} in entry {new[0]} has other bytes")
        batch.index, batch.position = new
        return True

    def trimmed(self, through: int) -> None:
        """Take in that the log is forgotten up to ``through``.

        Raises:
            Violation: Something that is pending lies there.
        """
        for batch in self.pending.values():
            if batch.index <= through:
                raise Violation(
                    NAME,
                    f"the log is trimmed to {through}; batch {batch.id} of queue {batch.queue}, "
                    f"due at {batch.due_ms}, lies in entry {batch.index}",
                )

"""When this replica's disk lets go of what the shard has trimmed (rulings 7, 17, 29).

::

    apply:     Trim(X) granted              the log is not *needed* up to X, anywhere
    snapshots: ... S1 (X)  S2 (X)           both that this disk keeps know that
    here:      segments and ranges up to X are removed

A snapshot is of use only with the ranges behind its own trim, and with the log
behind itself. So nothing is removed that the older of the two kept snapshots
needs: should the newer one rot, a start goes on from the other. Whole segments
go, oldest first, and whoever reads one goes on reading it.

While a peer fetches a snapshot from here nothing goes: it will want the log behind it.
Both removals are repeated by the next snapshot if a crash comes between.

The leader proposes a trim when enough is free, and proposes it *again* as long as its own
disk lacks one of the two snapshots and none is being written: that entry makes one, and
a disk that is so full that nobody may write would otherwise stay full.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.trims import Trim
from raftlog.node.ports import Reader
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import propose_unheard
from raftlog.service.sealed import IndexFiles
from raftlog.storage.snapshot_store import KEPT

FREE_RANGES_MIN: Final = 3
"""A trim ends two ranges early, by itself and when it is repeated; those alone are not worth one.
"""
MISSED_LOOKS: Final = 5
"""So often a snapshot of a trim was missed before it is proposed again: the disk may be full."""


class LogTrimming:
    """Removes the trimmed part of one shard's log and index."""

    def __init__(
        self,
        replica: ShardReplica,
        trim: Callable[[Index], None],
        machine: BrokerMachine,
        files: IndexFiles,
        reader: Reader,
        *,
        is_held: Callable[[], bool],
        is_writing: Callable[[], bool],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._replica: Final = replica
        self._trim: Final = trim
        self._machine: Final = machine
        self._files: Final = files
        self._reader: Final = reader
        self._is_held: Final = is_held
        self._is_writing: Final = is_writing
        self._on_failed: Final = on_failed
        self._kept: Final[deque[tuple[Index, Index]]] = deque(maxlen=KEPT)
        self._done = INDEX_ZERO
        self._missed = 0
        """Looks since a trim was proposed of which no snapshot here knows."""
        self.trims = 0

    def snapshot_kept(self, index: Index, trimmed: Index) -> None:
        """A snapshot is durable here, written or restored: of ``index``, behind ``trimmed``."""
        if self._kept and index <= self._kept[-1][0]:
            return
        self._kept.append((index, trimmed))
        through = min(known for _, known in self._kept)
        if len(self._kept) < KEPT or through <= self._done or self._is_held():
            return
        self._done = through
        self.trims += 1
        self._trim(through)
        self._reader.submit(lambda: self._files.drop(through), self._dropped)

    def propose(self) -> None:
        """On the leader, now and then: propose what may go."""
        machine = self._machine
        trimmed = machine.trimmed
        free, ranges = machine.free_through()
        if ranges >= FREE_RANGES_MIN or (ranges and not trimmed):
            propose_unheard(self._replica, Trim(free))
        elif self._done < trimmed and not self._is_writing() and not self._is_held():
            is_known = bool(self._kept) and self._kept[-1][1] == trimmed
            # A cut makes no snapshot while one is under way: the trim's own may be missed.
            self._missed += not is_known
            if is_known or self._missed >= MISSED_LOOKS:
                self._missed = 0
                propose_unheard(self._replica, Trim(trimmed))

    def _dropped(self, _: None, error: Exception | None) -> None:
        if error is not None:
            self._on_failed(error)

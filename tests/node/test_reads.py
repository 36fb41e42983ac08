"""Linearizable reads that wait for their confirmation, and for apply."""

from raftlog.base.errors import RaftlogError, Throttled
from raftlog.base.ids import Index
from raftlog.base.limits import PENDING_READS_MAX
from raftlog.node.outward import Outward
from raftlog.node.reads import LinearizableReads
from tests.node.replicas import raises


def test_reads_that_wait_for_apply_are_bounded() -> None:
    """Apply may stand still at damage; whoever asks again and again must not fill the memory."""
    reads = LinearizableReads(0, Outward(raises))
    told: list[RaftlogError | None] = []
    for _ in range(PENDING_READS_MAX + 1):
        reads.confirmed(reads.add(0, told.append), Index(5), Index(4))
    assert [type(error) for error in told] == [Throttled]
    reads.applied(Index(5))
    assert told[1:] == [None] * PENDING_READS_MAX

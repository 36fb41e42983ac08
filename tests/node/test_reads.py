"""Linearizable reads that wait for their confirmation, and for apply."""

from raftlog.base.errors import RaftlogError, Throttled
from raftlog.base.ids import Index, Term
from raftlog.base.limits import PENDING_READS_MAX
from raftlog.node.outward import Outward
from raftlog.node.reads import LinearizableReads
from raftlog.raft.rpcs import Heartbeat, ReadIndexReply, ReadIndexRequest
from tests.node.replicas import REPLICAS, Node, raises


def test_reads_that_wait_for_apply_are_bounded() -> None:
    """Apply may stand still at damage; whoever asks again and again must not fill the memory."""
    reads = LinearizableReads(0, Outward(raises))
    told: list[RaftlogError | None] = []
    for _ in range(PENDING_READS_MAX + 1):
        reads.confirmed(reads.add(0, told.append), Index(5), Index(4))
    assert [type(error) for error in told] == [Throttled]
    reads.applied(Index(5))
    assert told[1:] == [None] * PENDING_READS_MAX


def test_an_answer_to_a_read_of_the_last_process_answers_none_of_this_one() -> None:
    """It names an index from before the restart: what was acknowledged since would be missing."""
    node = Node(voters=3)
    told: list[RaftlogError | None] = []
    for _ in range(2):
        node.open()
        node.replica.start()
        node.replica.receive(REPLICAS[1], Heartbeat(Term(1), Index(0), 1))
        node.replica.read_index(told.append)
    asked = [message for _, message in node.sent if isinstance(message, ReadIndexRequest)]
    before, now = (message.token for message in asked)
    node.replica.receive(REPLICAS[1], ReadIndexReply(Term(1), before, Index(0)))
    assert not told
    node.replica.receive(REPLICAS[1], ReadIndexReply(Term(1), now, Index(0)))
    assert told == [None]

"""Time as a replica tells its core: from its start on, and never twice."""

from raftlog.base.ids import Index, Term
from raftlog.base.limits import HEARTBEAT_TICKS, TICK_NS
from raftlog.raft.rpcs import PreVoteRequest
from tests.node.replicas import REPLICAS, Node

SHORTEST_NS = (2 * HEARTBEAT_TICKS) * TICK_NS
"""No first patience is shorter."""


def test_time_before_the_start_is_not_patience() -> None:
    """A node recovers for long and its peers reach it first: it must still wait for a leader.

    The clock of a machine counts from its boot; a message before the start brought the whole
    of that to the core, and the timer of a lost connection asked for votes at once.
    """
    node = Node(voters=3)
    node.run(10**11)
    node.replica.receive(REPLICAS[1], PreVoteRequest(Term(2), Term(0), Index(0)))
    node.replica.connection_lost(REPLICAS[1].node)
    node.run(10**9)
    node.replica.start()
    node.run(SHORTEST_NS)
    asked = [message for _, message in node.sent if isinstance(message, PreVoteRequest)]
    assert asked == []
    node.run(10**9)
    asked = [message for _, message in node.sent if isinstance(message, PreVoteRequest)]
    assert asked, "in the end it stands for election"

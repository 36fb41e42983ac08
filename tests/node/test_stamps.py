"""What a leader stamps its entries with: others' clocks count, and older entries' stamps."""

from collections.abc import Sequence

from raftlog.base.entry import EntryKind
from raftlog.base.ids import Index, NodeId, Term
from raftlog.broker.commands import log_time_of
from raftlog.node.shard_clock import DISPUTED
from raftlog.raft import rpcs
from tests.node.replicas import REPLICAS, Node

N2, N3 = REPLICAS[1:]
WALL_MS = 1_790_000_000_000
"""Of n2. The wall clock of n1, the leader, stands at the beginning of 1970."""


def stamps(node: Node) -> list[int]:
    """Return the stamps of the entries that were applied."""
    return [log_time_of(entry.body) for entry in node.applied if entry.kind is EntryKind.COMMANDS]


def elected(*votes: tuple[int, int]) -> Node:
    """Return the leader of three, elected with votes that bring these wall clocks."""
    node = Node(voters=3)
    node.replica.start()
    while not node.replica.leads:
        node.run(10_000_000)
        term = node.replica.core.term
        for place, wall_ms in votes:
            sender = REPLICAS[place - 1]
            node.replica.receive(sender, rpcs.PreVoteReply(Term(term + 1), granted=True))
            node.replica.receive(sender, rpcs.VoteReply(term, granted=True, wall_ms=wall_ms))
    return node


def propose(node: Node, told: list[object]) -> None:
    """Propose a command."""
    node.replica.propose(1, [b"x"], lambda outcome, _term, _index: told.append(outcome))
    node.run(10_000_000)


def accept(node: Node, *, wall_ms: Sequence[int] = ()) -> None:
    """Have n2 take everything, and tell wall clocks of n2 and n3."""
    core = node.replica.core
    node.replica.receive(N2, rpcs.AppendAccepted(core.term, core.log.last_index))
    for sender, clock in zip((N2, N3), wall_ms, strict=False):
        node.replica.receive(sender, rpcs.HeartbeatReply(core.term, 0, wall_ms=clock))
    node.run(10_000_000)


def test_the_first_stamp_is_by_the_clocks_of_those_who_voted_too() -> None:
    node = elected((2, WALL_MS), (3, WALL_MS + 5))
    accept(node)
    told: list[object] = []
    propose(node, told)
    accept(node)
    (stamp,) = stamps(node)
    assert 0 <= stamp - WALL_MS < 1_000
    assert len(told) == 1


def test_nothing_is_stamped_before_the_term_has_begun_for_apply() -> None:
    """What an older entry is stamped with may not be known before."""
    node = elected((2, WALL_MS))
    told: list[object] = []
    propose(node, told)
    assert node.replica.core.log.last_index == Index(1), "only the entry of the election"
    accept(node)
    assert node.replica.core.log.last_index == Index(2)
    accept(node)
    assert len(told) == 1


def test_what_waits_is_refused_when_somebody_else_leads() -> None:
    node = elected((2, WALL_MS))
    told: list[object] = []
    propose(node, told)
    node.replica.receive(N3, rpcs.Heartbeat(Term(node.replica.core.term + 1), Index(0), 1))
    node.run(10_000_000)
    (error,) = told
    assert getattr(error, "leader_hint", None) == NodeId("n3")


def test_clocks_that_do_not_agree_are_an_alarm() -> None:
    node = elected((2, WALL_MS))
    accept(node)
    told: list[object] = []
    propose(node, told)
    accept(node, wall_ms=(WALL_MS + 3_600_000, WALL_MS + 7_200_000))
    propose(node, told)
    accept(node)
    assert DISPUTED in node.replica.upkeep.alarms.raised
    first, second = stamps(node)
    assert 0 <= second - first < 1_000

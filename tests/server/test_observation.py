"""What is concluded from what the nodes say."""

import asyncio

import pytest
from msgspec import structs

from raftlog.base.errors import Unavailable
from raftlog.base.ids import ClusterId, NodeId
from raftlog.server.observation import ClusterView, NodeView, observe
from raftlog.wire.schema import client


def leader(node: str, term: int = 2, commit: int = 9, shard: int = 0) -> NodeView:
    """A node that leads."""
    return NodeView(
        NodeId(node), shard, "", "leader", term=term, leader=node, commit=commit, applied=commit
    )


def follower(node: str, of: str, term: int = 2, applied: int = 9, shard: int = 0) -> NodeView:
    """A node that follows ``of``."""
    return NodeView(NodeId(node), shard, "", "follower", term=term, leader=of, applied=applied)


def silent(node: str) -> NodeView:
    """A node that does not answer."""
    return NodeView(NodeId(node), 0, "", problem="refused")


@pytest.mark.parametrize(
    ("views", "complaint"),
    [
        ([leader("n1"), follower("n2", "n1"), follower("n3", "n1")], ""),
        ([leader("n1"), follower("n2", "n1"), silent("n3")], ""),
        ([leader("n1")], ""),
        ([leader("n1"), silent("n2"), silent("n3")], "1 of 3 nodes follow n1"),
        ([leader("n1"), silent("n2")], "1 of 2 nodes follow n1"),
        ([follower("n1", ""), follower("n2", ""), silent("n3")], "2 of 3 nodes answer (refused)"),
        ([silent("n1")], "shard 0 has no leader; 0 of 1"),
        ([leader("n1"), follower("n2", "n1", term=3), silent("n3")], "1 of 3 nodes follow n1"),
        ([leader("n1", term=2), leader("n2", term=3), follower("n3", "n2", term=3)], ""),
        ([leader("n1"), follower("n1", "", shard=1)], "shard 1 has no leader"),
    ],
)
def test_healthy_is_a_leader_that_a_majority_follows(
    views: list[NodeView], complaint: str
) -> None:
    """Anything less can't commit, whatever a node says of itself."""
    found = ClusterView(tuple(views)).complaint

    assert complaint in found
    assert bool(found) == bool(complaint)


def test_lag_counts_committed_entries_that_are_not_applied() -> None:
    """Against the leader's commit index; nobody can say without a leader."""
    behind = follower("n2", "n1", applied=4)
    view = ClusterView((leader("n1", commit=9), behind, silent("n3")))

    assert [view.lag(each) for each in view.nodes] == [0, 5, None]
    assert ClusterView((behind,)).lag(behind) is None


def test_every_node_is_asked_about_every_shard() -> None:
    """And one that is down, or is another one, does not spoil the answers of the others."""

    async def ask(address: str, shard: int) -> client.NodeStatus:
        if address == "b":
            raise Unavailable("nobody is there")
        return client.NodeStatus(node="n1", role="leader", term=shard + 5, leader="n1")

    addresses = {NodeId("n1"): "a", NodeId("n2"): "b", NodeId("n3"): "c"}

    view = asyncio.run(observe(addresses, 2, ask))

    assert [(v.node, v.shard, v.term) for v in view.nodes if not v.problem] == [
        ("n1", 0, 5),
        ("n1", 1, 6),
    ]
    assert [v.node for v in view.missing] == ["n2", "n3", "n2", "n3"]
    assert view.missing[0].problem == "nobody is there"
    assert view.missing[1].problem.startswith("n1 answers there")


def test_nodes_of_another_cluster_are_named_and_do_not_count() -> None:
    """Another configuration has the same ports and the same names of nodes, and is healthy."""
    addresses = {NodeId("n1"): "127.0.0.1:7101", NodeId("n2"): "127.0.0.1:7102"}

    async def ask(address: str, _shard: int) -> client.NodeStatus:
        node, role = ("n1", "leader") if address == addresses[NodeId("n1")] else ("n2", "follower")
        return client.NodeStatus(cluster="theirs", node=node, role=role, term=5, leader="n1")

    view = asyncio.run(observe(addresses, 1, ask, ClusterId("ours")))

    assert "n1 answers at 127.0.0.1:7101 and belongs to another cluster, theirs" in view.complaint
    assert "the data directories here are of ours" in view.complaint
    assert [missing.node for missing in view.missing] == ["n1", "n2"]
    assert not asyncio.run(observe(addresses, 1, ask, ClusterId("theirs"))).complaint
    assert not asyncio.run(observe(addresses, 1, ask)).complaint, "no directory is known here"


def at_levels(leads: tuple[int, int], *others: int | None) -> ClusterView:
    """Say a shard's level, what its leader can apply, and what the others can; None: silent."""
    level, own = leads
    nodes = [NodeId(f"n{number}") for number in range(2, 2 + len(others))]
    first = structs.replace(
        leader("n1"),
        voters=("n1", *nodes[:1]),
        learners=tuple(nodes[1:]),
        feature_level=level,
        feature_level_max=own,
    )
    rest = [
        silent(node)
        if own is None
        else structs.replace(follower(node, "n1"), feature_level_max=own)
        for node, own in zip(nodes, others, strict=True)
    ]
    return ClusterView((first, *rest))


@pytest.mark.parametrize(
    ("leads", "others", "behind"),
    [
        ((4, 4), (4, 4), None),
        ((3, 3), (3, None), None),  # nobody can apply more
        ((0, 0), (4, 4), None),  # a leader that does not say at which level the shard is
        ((3, 4), (4, 4), {}),  # it rises in a moment
        ((3, 4), (3, 4), {"n2": "can apply 3"}),
        ((3, 4), (4, 0), {"n3": "is of an older version"}),  # a learner counts
        ((3, 4), (None, None), {"n2": "gives no answer", "n3": "gives no answer"}),
        ((3, 3), (4, 4), {"n1": "can apply 3"}),  # the leader is the old one
    ],
)
def test_who_holds_the_feature_level_back_is_known_from_the_answers(
    leads: tuple[int, int], others: tuple[int | None, ...], behind: dict[str, str] | None
) -> None:
    """Who is down, and who is old; nobody where no node could apply more."""
    held = at_levels(leads, *others).held_back
    assert ({0} if behind is not None else set()) == set(held)
    if behind is not None:
        assert held[0].behind == behind
        assert (held[0].level, held[0].possible) == (3, 4)


def test_who_is_no_member_neither_holds_it_back_nor_can_do_more() -> None:
    """It was removed, and runs still."""
    view = at_levels((3, 4), 4)
    removed = structs.replace(follower("n9", "n1"), feature_level_max=9)
    (held,) = ClusterView((*view.nodes, removed)).held_back.values()
    assert (held.able, held.possible, held.behind) == ("n1", 4, {})


def test_what_a_node_can_apply_is_in_its_answer() -> None:
    """Among its figures, which an older version lacks."""
    counters = {"feature_level_size": 3, "feature_level_max_size": 4}

    async def ask(address: str, _shard: int) -> client.NodeStatus:
        told = counters if address == "n1" else {}
        return client.NodeStatus(node=address, role="leader", term=1, counters=told)

    view = asyncio.run(observe({NodeId(each): each for each in ("n1", "n2")}, 1, ask))
    levels = [(each.feature_level, each.feature_level_max) for each in view.nodes]
    assert levels == [(3, 4), (0, 0)]

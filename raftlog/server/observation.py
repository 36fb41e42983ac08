"""How a cluster looks from outside: every node is asked what it believes.

The answers are of slightly different moments and none is linearizable. What is
concluded from them is only what a supervisor or a person needs: whether there
is a leader that a majority follows, and who is missing. Names and addresses are
not an identity: nodes that another configuration has started on the same ports
have the same names, and belong to another cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import ClusterId, NodeId
from raftlog.client.log_space import LogSpace, read_space
from raftlog.client.node_status import ForcedRecovery, read_recovery
from raftlog.client.routing import ask_status
from raftlog.wire.schema import client

LEADS: Final = "leader"
REMOVED: Final = "removed"


class NodeView(msgspec.Struct, frozen=True):
    """What one node says about one shard; ``problem`` is set if it said nothing."""

    node: NodeId
    shard: int
    address: str
    role: str = ""
    term: int = 0
    leader: str = ""
    commit: int = 0
    applied: int = 0
    durable: int = 0
    last: int = 0
    alarms: tuple[str, ...] = ()
    damaged: int = 0
    """Entries that are damaged on its disk and not repaired yet."""
    repaired: int = 0
    """Entries and files that were repaired since it was started."""
    problem: str = ""
    silent: bool = False
    """Whether there is a problem, and it is that nothing answers at all."""
    voters: tuple[str, ...] = ()
    """Who votes, as this node knows it."""
    learners: tuple[str, ...] = ()
    """Who gets the log and does not vote, as this node knows it."""
    drained: bool = False
    """Whether it leads only if nobody else can."""
    preferred: tuple[str, ...] = ()
    """Who is to lead when it can, the first one most, as this node knows it."""
    recovery: ForcedRecovery | None = None
    """A majority was given up by hand, as this node knows it."""
    feature_level: int = 0
    """By whose rules the shard's entries are applied, as this node knows it (ruling 15)."""
    feature_level_max: int = 0
    """The highest one that this node can apply; 0: its version does not say."""
    space: LogSpace = LogSpace((), 0, None)
    """What takes the shard's space, if that was asked for."""


class HeldBack(msgspec.Struct, frozen=True):
    """A shard whose feature level is lower than a node could apply (ruling 15).

    Attributes:
        level: The shard's, as its leader knows it.
        possible: The highest that a node can apply.
        able: Who can.
        behind: The members that hold it back, as far as that is known here, and why.
    """

    level: int
    possible: int
    able: NodeId
    behind: dict[NodeId, str]


class ClusterView(msgspec.Struct, frozen=True):
    """What all nodes say about all shards."""

    nodes: tuple[NodeView, ...]

    def leader(self, shard: int) -> NodeView | None:
        """Return who leads ``shard``: of several that say so, the one of the highest term."""
        leaders = [view for view in self.nodes if view.shard == shard and view.role == LEADS]
        return max(leaders, key=lambda view: view.term, default=None)

    @property
    def leaders(self) -> dict[int, NodeView]:
        """Who leads each shard that has a leader."""
        shards = sorted({view.shard for view in self.nodes})
        found = ((shard, self.leader(shard)) for shard in shards)
        return {shard: leader for shard, leader in found if leader is not None}

    def standing(self, view: NodeView) -> str:
        """Return the node's role as its leader knows it, which a node that was removed may not."""
        leader = self.leader(view.shard)
        if leader is None or not leader.voters or view.node in leader.voters:
            return view.role
        return "learner" if view.node in leader.learners else REMOVED

    def was_removed(self, view: NodeView) -> bool:
        """Whether the shard's leader knows no such member."""
        return self.standing(view) == REMOVED

    @property
    def spare(self) -> dict[int, tuple[tuple[str, ...], int]]:
        """Return for each shard that has a leader who votes, and how many of them may fail."""
        return {
            shard: (leader.voters, (len(leader.voters) - 1) // 2)
            for shard, leader in self.leaders.items()
            if leader.voters
        }

    def silent_voters(self, shard: int) -> list[NodeId]:
        """Return who votes in a shard that has a leader, and gives no answer."""
        voters, _ = self.spare.get(shard, ((), 0))
        return [view.node for view in self.missing if view.shard == shard and view.node in voters]

    def lag(self, view: NodeView) -> int | None:
        """Return how many committed entries the node has not applied; None if not known."""
        leader = self.leader(view.shard)
        if leader is None or view.problem:
            return None
        return max(0, leader.commit - view.applied)

    @property
    def recoveries(self) -> dict[int, ForcedRecovery]:
        """Return the last recovery of each shard that had one, as any node knows it."""
        found: dict[int, ForcedRecovery] = {}
        for view in self.nodes:
            known = found.get(view.shard)
            if view.recovery and (known is None or view.recovery.index > known.index):
                found[view.shard] = view.recovery
        return found

    @property
    def held_back(self) -> dict[int, HeldBack]:
        """Return each shard that has a leader, and a lower feature level than is possible."""
        found = {}
        for shard, leader in self.leaders.items():
            members = (*leader.voters, *leader.learners)
            views = [
                view
                for view in self.nodes
                if view.shard == shard and (view.node in members or not members)
            ]
            able = max([leader, *views], key=lambda view: view.feature_level_max)
            if 0 < leader.feature_level < able.feature_level_max:
                behind = {view.node: _why_behind(view, able) for view in views}
                found[shard] = HeldBack(
                    *(leader.feature_level, able.feature_level_max, able.node),
                    {node: why for node, why in behind.items() if why},
                )
        return found

    @property
    def missing(self) -> list[NodeView]:
        """The nodes that do not answer for some shard."""
        return [view for view in self.nodes if view.problem]

    @property
    def complaint(self) -> str:
        """Why the cluster is not healthy; "" if it is.

        Healthy: each shard has a leader, and a majority of its voters, it
        included, answers and follows it in its term.
        """
        for shard in sorted({view.shard for view in self.nodes}):
            views = [view for view in self.nodes if view.shard == shard]
            leader = self.leader(shard)
            if leader is None:
                silent = [view.problem for view in views if view.problem]
                why = f" ({silent[0]})" if silent else ""
                answers = f"{len(views) - len(silent)} of {len(views)} nodes answer{why}"
                return f"shard {shard} has no leader; {answers}"
            voters = leader.voters or tuple(view.node for view in views)
            following = [
                view
                for view in views
                if (view.term, view.leader) == (leader.term, leader.node) and view.node in voters
            ]
            if 2 * len(following) <= len(voters):
                return (
                    f"{len(following)} of {len(voters)} nodes follow {leader.node}, the leader of "
                    f"shard {shard}; a majority is needed"
                )
        return ""


def _why_behind(view: NodeView, able: NodeView) -> str:
    """Return why a member holds the feature level back; "": it does not, as far as it says."""
    if view.problem:
        return "gives no answer"
    if not view.feature_level_max:
        return "is of an older version"
    if view.feature_level_max < able.feature_level_max:
        return f"can apply {view.feature_level_max}"
    return ""


AskStatus = Callable[[str, int], Awaitable[client.NodeStatus]]
"""Asks the node at an address about a shard; raises a ``RaftlogError`` if it can't."""


async def ask_without_space(address: str, shard: int) -> client.NodeStatus:
    """Ask for what costs a node nothing."""
    return await ask_status(address, shard=shard)


async def ask_with_space(address: str, shard: int) -> client.NodeStatus:
    """Ask what takes space, too."""
    return await ask_status(address, shard=shard, space=True)


async def observe(
    addresses: Mapping[NodeId, str],
    shards: int = 1,
    ask: AskStatus = ask_without_space,
    cluster: ClusterId | None = None,
) -> ClusterView:
    """Ask every node about every shard, all at once; nodes not of ``cluster`` do not count."""
    views = [
        _view(node, shard, address, ask, cluster)
        for shard in range(shards)
        for node, address in addresses.items()
    ]
    return ClusterView(tuple(await asyncio.gather(*views)))


async def _view(
    node: NodeId, shard: int, address: str, ask: AskStatus, cluster: ClusterId | None
) -> NodeView:
    try:
        status = await ask(address, shard)
    except RaftlogError as error:
        silent = isinstance(error, Unavailable)
        return NodeView(node, shard, address, problem=str(error), silent=silent)
    if cluster is not None and status.cluster != cluster:
        problem = (
            f"{status.node or 'what'} answers at {address} and belongs to another cluster, "
            f"{status.cluster or 'an unknown one'}; the data directories here are of {cluster}. "
            "Stop the other one, or choose other ports"
        )
        return NodeView(node, shard, address, problem=problem)
    if status.node != node:
        problem = f"{status.node or 'another node'} answers there; correct the addresses"
        return NodeView(node, shard, address, problem=problem)
    return NodeView(
        node=node,
        shard=shard,
        address=address,
        role=status.role,
        term=status.term,
        leader=status.leader,
        commit=status.commit,
        applied=status.applied,
        durable=status.durable,
        last=status.last,
        alarms=tuple(status.alarms),
        voters=tuple(status.voters),
        learners=tuple(status.learners),
        drained=node in status.drained,
        preferred=tuple(status.preferred),
        recovery=read_recovery(status),
        space=read_space(status.space),
        feature_level=status.counters.get("feature_level_size", 0),
        feature_level_max=status.counters.get("feature_level_max_size", 0),
        damaged=status.counters.get("faulty_entries_size", 0),
        repaired=status.counters.get("entries_repaired", 0)
        + status.counters.get("files_repaired", 0),
    )

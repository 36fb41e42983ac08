"""Draining a node: it hands leadership over and leads again only if nobody else can.

It is asked of the node itself and is about all its shards. It stays a member,
votes, stores and serves followers' reads. Nothing of it is stored: a node that is
started again is not drained, because whoever drained it did so to stop it.
"""

from collections.abc import Mapping
from typing import Final, Protocol, cast

from raftlog.base.errors import BadRequest, RaftlogError
from raftlog.base.ids import ReplicaId, ShardId
from raftlog.base.membership import Membership
from raftlog.service.ports import ClientRequest
from raftlog.wire.schema import client


class Drainable(Protocol):
    """What is needed of a replica (``node.Replica``). Everything is called on the loop."""

    id: ReplicaId

    @property
    def leads(self) -> bool:
        """Whether this replica leads."""

    @property
    def membership(self) -> Membership:
        """The configuration in force."""

    def stand_aside(self, *, is_aside: bool) -> None:
        """Lead only if no other voter can, or as before."""


class DrainService:
    """One shard's part."""

    def __init__(self, replica: Drainable) -> None:
        self._replica: Final = replica

    @property
    def leads(self) -> bool:
        """Whether this node still leads the shard."""
        return self._replica.leads

    def refusal(self, shard: ShardId) -> RaftlogError | None:
        """Return why the node can't be drained, if it can't."""
        if self._replica.membership.voters != (self._replica.id,):
            return None
        return BadRequest(
            f"{self._replica.id.node} is the only voter of shard {shard}, so nobody could lead "
            "instead; let another node join first: raftlog node run --join --node NAME"
        )

    def stand_aside(self, *, is_aside: bool) -> None:
        """Drain, or undo it."""
        self._replica.stand_aside(is_aside=is_aside)


def drain(shards: Mapping[ShardId, DrainService], request: ClientRequest) -> None:
    """Drain all shards or none; tell which are still led here."""
    undo = cast("client.DrainNode", request.message).undo
    if not undo:
        for shard, service in shards.items():
            refusal = service.refusal(shard)
            if refusal is not None:
                request.fail(refusal)
                return
    for service in shards.values():
        service.stand_aside(is_aside=not undo)
    leads = [shard for shard, service in shards.items() if service.leads]
    request.reply(client.NodeDraining(drained=not undo, leads=leads))

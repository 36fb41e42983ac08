"""Whether a cluster can be used, as ``Client.health`` tells it.

Usable is what can commit: a leader that a majority follows. A leader that was cut off a moment
ago still believes in itself, so it is asked a linearizable question, which it answers
when a majority has confirmed it; what it says of the others is beside that. ``raftlog health``
asks every node of a configuration instead, for it may have to say who does not run.
"""

import asyncio

import msgspec

from raftlog.base.errors import Closed, PeerRefused, RaftlogError, WrongLoop
from raftlog.client.asking import Asker
from raftlog.client.node_status import leader_status
from raftlog.client.shard_members import ShardMembers
from raftlog.wire.frame import Method
from raftlog.wire.schema import quotas

LEARNER = "learner"
LEAST_S = 0.1


class ClusterHealth(msgspec.Struct, frozen=True):
    """Whether a cluster can be used: whether a majority follows a leader.

    Attributes:
        complaint: Why it can't be used, in a sentence; "" if it can.
        leader: The node that leads; "" if that is not known.
        voters: The nodes that decide, as the leader knows them; () if it is not known.
        silent: Those of the voters that the leader has not heard lately.
        alarms: What somebody has to look at on the leader, in sentences: a full disk, say.
    """

    complaint: str
    leader: str = ""
    voters: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether it can be used."""
        return not self.complaint

    @property
    def spare(self) -> int:
        """How many more voters may fail before it can't be used; 0 if it is not healthy."""
        if self.complaint:
            return 0
        return max(0, (len(self.voters) - 1) // 2 - len(self.silent))


async def ask_health(asker: Asker, timeout_s: float | None) -> ClusterHealth:
    """Ask a shard's leader; what hinders it is in the answer.

    Raises:
        PeerRefused: A node refused this client: it is of another cluster, or version.
        Closed, WrongLoop: As every call.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (asker.timeout_s if timeout_s is None else timeout_s)

    def left_s() -> float:
        return max(LEAST_S, deadline - loop.time())

    try:
        # The cheapest question that is linearizable, and has an answer in an empty cluster.
        confirm = quotas.ListQuotas(count_max=1)
        await asker.ask(Method.QUOTA_LIST, confirm, quotas.QuotasListed, timeout_s=left_s())
        status = await leader_status(asker, left_s())
        members = await ShardMembers(asker).list(left_s())
    except (PeerRefused, Closed, WrongLoop):
        raise
    except RaftlogError as error:
        return ClusterHealth(str(error))
    voters = [each for each in members if each.place != LEARNER]
    return ClusterHealth(
        "",
        status.node,
        tuple(each.node for each in voters),
        tuple(each.node for each in voters if not each.alive and not each.leads),
        status.alarms,
    )

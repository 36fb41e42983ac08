"""What somebody has to look at: said in the log, shown in the status, never retried away."""

from collections.abc import Callable

from raftlog.base.errors import Diverged
from raftlog.base.ids import NodeId
from raftlog.node.outward import Outward
from raftlog.node.ports import Peers
from raftlog.raft.effects import Divergence
from raftlog.raft.rpcs import DivergenceAlarm


class Alarms:
    """The alarms of one replica.

    Attributes:
        raised: In sentences, each once.
        on_raised: Told of each.
    """

    def __init__(
        self, me: NodeId, peers: Peers, outward: Outward, fail: Callable[[Exception], None]
    ) -> None:
        self._me = me
        self._peers = peers
        self._outward = outward
        self._fail = fail
        self.raised: list[str] = []
        self.on_raised: Callable[[str], None] = lambda _: None

    def receive(self, sender: NodeId, message: DivergenceAlarm) -> None:
        """A follower has stopped and says why."""
        self.sound(
            f"{sender} has stopped: its committed entry {message.index} is not the one of "
            f"{self._me}; compare their data directories with: raftlog log compare"
        )

    def diverged(self, found: Divergence) -> None:
        """Nobody knows whose log is right: serve nothing, say so everywhere, and stop."""
        self._peers.send(found.leader, DivergenceAlarm(found.index))
        self._fail(
            Diverged(
                f"entry {found.index}, which is committed, has the chain value {found.ours:08x} "
                f"here and {found.theirs:08x} on {found.leader}, the leader; keep both data "
                "directories, and compare them with: raftlog log compare"
            )
        )

    def sound(self, what: str) -> None:
        """Note it, unless it was noted before."""
        if what not in self.raised:
            self.raised.append(what)
            self._outward.call(self.on_raised, what)

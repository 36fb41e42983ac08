"""The other members, as one replica sees them: a leader what it hears, a follower itself only."""

from typing import Final

from raftlog.base.ids import Index, NodeId
from raftlog.raft.core import RaftCore


class MembersSeen:
    """Looks at what one core knows."""

    def __init__(self, core: RaftCore) -> None:
        self._core: Final = core

    def progress_of(self, node: NodeId) -> tuple[Index, bool] | None:
        """Return how far a member's log is known to be, and whether it has caught up.

        None unless this replica leads.
        """
        leadership = self._core.leadership
        if leadership is None:
            return None
        if node == self._core.replica.node:
            return self._core.durable, True
        progress = leadership.followers.get(node)
        match = progress.match if progress is not None else Index(0)
        return match, leadership.has_caught_up(node)

    def is_alive(self, node: NodeId) -> bool:
        """Whether a member was heard lately, as far as a leader can know; else False."""
        leadership = self._core.leadership
        return leadership is not None and leadership.is_alive(node)

    @property
    def are_decided(self) -> bool:
        """Whether this replica leads, and knows that the configuration in force is committed.

        As for a change (Raft §4.1): a leader that has not committed an entry of its own term may
        not know of one that is.
        """
        core = self._core
        leadership = core.leadership
        if leadership is None or core.membership.is_joint:
            return False
        return core.commit >= max(leadership.first_index, core.configured_at)

    @property
    def drained(self) -> list[NodeId]:
        """Who leads only if nobody else can."""
        core = self._core
        followers = core.leadership.followers if core.leadership is not None else {}
        others = [node for node, progress in followers.items() if progress.is_aside]
        return sorted([core.replica.node, *others] if core.is_aside else others)

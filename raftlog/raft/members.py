"""Who counts for one replica, and whether a leader may change that now.

A replica obeys the newest configuration of its log, committed or not (Raft
§4.1); a truncation brings the one before back. Every change is one entry, or
two where it is joint, and waits until the one before is committed::

    AddLearner   C                          committed: done
    Promote ...  C joint ---- committed ---> leader appends C new ---- committed: done
                              (a new leader that finds C joint committed does it, too)
"""

from raftlog.base.errors import ChangePending, MemberAlive, NotCaughtUp
from raftlog.base.ids import Index, ReplicaId
from raftlog.base.membership import Configuration, Membership, decode_membership
from raftlog.raft.changes import MemberChange, Promote, Replace, next_membership
from raftlog.raft.config import Restored
from raftlog.raft.configurations import Configurations
from raftlog.raft.effects import InForce
from raftlog.raft.leader import Leadership
from raftlog.raft.quorum import Quorum


class Members:
    """The configuration in force, and what was told of it."""

    def __init__(self, me: ReplicaId, restored: Restored) -> None:
        self._me = me
        before = Configuration(Index(0), restored.membership)
        self.configurations = Configurations((before, *restored.configurations))
        self.configurations.committed(restored.commit)
        self._look()
        self._told = (self.index, restored.commit >= self.index)
        self.is_settled = False
        """Whether all is told and done: a commit changes nothing here until ``obey`` is called."""

    def _look(self) -> None:
        # Plain attributes: they are read several times for each message.
        self.now: Membership = self.configurations.membership
        """The one in force."""
        self.index: Index = self.configurations.index
        """The entry that says it; 0 if it is in none."""
        self.quorum = Quorum.of(self.now)

    @property
    def is_voter(self) -> bool:
        """Whether this replica counts."""
        return self.now.is_voter(self._me)

    @property
    def may_stand(self) -> bool:
        """Whether this replica may stand for election.

        Also by a configuration that is no longer the newest, until its successor is known to be
        committed (Raft §4.2.2): who is being removed may have the only log that has its removal,
        and then nobody else can win.
        """
        return self.configurations.has_voter(self._me)

    @property
    def may_have_pledged_ms(self) -> int:
        """How long a pledge may be that this replica gave before it was started again."""
        return self.configurations.longest_lease_ms

    @property
    def is_alone(self) -> bool:
        """Whether this replica is the only one who counts."""
        return {*self.now.voters, *self.now.outgoing} == {self._me}

    def begin_anew(self, index: Index, configuration: bytes) -> None:
        """Know only this configuration: the log begins anew behind ``index``."""
        self.configurations.reset(Configuration(index, decode_membership(configuration)))
        self.obey()

    def obey(self) -> None:
        """Another configuration is in force: it counts from now on."""
        self.is_settled = False
        self._look()

    def news(self, commit: Index) -> InForce | None:
        """Return what is in force, if that or its being committed has changed since told."""
        index = self.index
        is_committed = commit >= index
        self.is_settled = is_committed and self.is_voter and not self.now.is_joint
        if (index, is_committed) == self._told:
            return None
        self._told = (index, is_committed)
        if is_committed:
            self.configurations.committed(commit)
        return InForce(index, self.now, is_committed)

    def begin(
        self, change: MemberChange, leadership: Leadership, commit: Index
    ) -> Membership | None:
        """Return the configuration that begins ``change``; None if all is so already.

        Raises:
            ChangePending: Not at this moment.
            NotCaughtUp: The learner that is to vote has too little of the log.
            MemberNotFound: The node that is meant is no member.
            MemberExists: Another directory of the node is a member.
            MemberAlive: The replica that is to be replaced was heard lately.
            HeldBack: The node asks to vote, and an operator has made it a learner.
            BadChange: No voter would remain, or there would be too many members.
        """
        if leadership.transferee is not None:
            raise ChangePending("leadership is being handed over; ask the next leader")
        if commit < leadership.first_index:
            # A leader that changes the members before it has an entry of its own term committed
            # may not know of a change that is (Ongaro, raft-dev 2015): two majorities that do not
            # meet.
            raise ChangePending("the leader is new and has not committed anything yet; ask again")
        if self.index > commit or self.now.is_joint:
            raise ChangePending("another change of the members is under way; ask again")
        changed = next_membership(self.now, change)
        if (
            changed is not None
            and isinstance(change, Replace)
            and leadership.is_alive(change.node)
        ):
            raise MemberAlive(
                f"{change.replica} is alive, so no other directory can take its place; give the "
                f"new node another name, or stop {change.node} first"
            )
        if (
            changed is not None
            and isinstance(change, Promote)
            and not leadership.has_caught_up(change.node)
        ):
            match = leadership.followers[change.node].match
            raise NotCaughtUp(
                f"{change.node} has only {match} entries, or did not keep up for an election "
                "timeout; ask again"
            )
        return changed

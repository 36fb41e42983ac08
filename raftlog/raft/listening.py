"""What a follower does with what its leader says.

Entries are compared, written and acknowledged; a heartbeat moves the commit index; a log
that the leader can no longer continue begins anew behind a snapshot. Who the leader is,
and whether it still is, was decided before anything gets here (``core``).
"""

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, ReplicaId
from raftlog.raft import rpcs
from raftlog.raft.effects import Role
from raftlog.raft.follower import begin_anew
from raftlog.raft.state import ReplicaState


class Listening(ReplicaState):
    """The part of a replica that hears its leader."""

    def _on_append(self, sender: ReplicaId, message: rpcs.AppendRequest) -> None:
        taken = self._following.take(message, self.commit)
        if isinstance(taken, rpcs.AppendRejected):
            self._promise(sender.node, taken)
            return
        if taken.entries:
            to = taken.truncate_to
            is_changed = to is not None and self._members.configurations.truncate(to)
            if self._members.configurations.append(taken.entries) or is_changed:
                self._obey()
            self._write(to, taken.entries)
        else:
            self._acknowledge_again()
        self._commit_up_to(min(message.commit, self._following.matched))

    def _on_heartbeat(self, sender: ReplicaId, message: rpcs.Heartbeat) -> None:
        self._commit_up_to(min(message.commit, self._following.matched))
        self._out.divergence = self._following.contradicts(sender.node, message, self.commit)
        reply = rpcs.HeartbeatReply(
            *(self.term, message.round),
            pledged_ms=self._pledge_to_leader(),
            is_aside=self.is_aside,
        )
        self._promise(sender.node, reply)
        if message.commit > self._following.matched:
            # After a restart, or a doubt about the leader, this replica no longer knows that its
            # log matches. A leader with nothing to send would never say so, and what it has
            # committed would not be committed here: tell it how little is known to match.
            self._promise(sender.node, rpcs.AppendAccepted(self.term, self._following.promised))
        for token in self._forwarded_reads.overdue():
            self._send(sender.node, rpcs.ReadIndexRequest(self.term, token))

    def _pledge_to_leader(self) -> int:
        """Pledge to help nobody else to lead, if the shard has leases; return for how long.

        Not before the configuration that says so is on this disk: after a start it alone tells
        what may have been pledged.
        """
        lease_ms = self.membership.lease_ms
        if not lease_ms or self.durable < self.configured_at:
            return 0
        return self._pledge.give(lease_ms)

    def _reset_log(self, base: LogEnd, configuration: bytes) -> None:
        """Begin the log anew behind ``base``, if nothing better has come meanwhile (Raft §7)."""
        # A candidate's log must not change: voters judge it by what it was.
        if self.role is Role.FOLLOWER and base.index > self.commit:
            assert base.term <= self.term, f"reset to {base} in term {self.term}"
            if self.log.has(base):
                # Another leader had all of it and has led here meanwhile. What lies behind may
                # be committed with the word of this replica, before it has heard so itself.
                self._following.matches(base.index)
                self._commit_up_to(base.index)
                self._acknowledge_again()
                return
            self._members.begin_anew(base.index, configuration)
            self._following, write = begin_anew(
                self.log, self.durability, self.commit, base, configuration
            )
            self._out.writes.append(write)
            self._commit_up_to(base.index)

    def _acknowledge_again(self) -> None:
        self._following.promise_again()
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Promise the leader what is both equal to its log and on this disk."""
        promised = self._following.new_promise() if self.leader is not None else None
        if promised is not None and self.leader is not None:
            self._promise(self.leader, rpcs.AppendAccepted(self.term, promised))

    def _commit_up_to(self, index: Index) -> None:
        if index > self.commit:
            assert index <= self.log.last_index, f"commit {index} beyond {self.log.last_index}"
            self.commit = index
            self._out.commit = index

    def _obey(self) -> None:
        """Another configuration is in force: it counts from now on (Raft §4.1)."""
        self._members.obey()
        if self.leadership is not None:
            self.leadership.obey(self.membership, self._members.quorum, self.configured_at)

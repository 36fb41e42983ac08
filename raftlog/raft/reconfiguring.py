"""What a leader appends, and how it changes who its members are (Raft §4).

A change is an entry, in force where it is appended. A joint configuration is left once it
is committed; a leader that is no voter any more bows out; one that is set otherwise than
the shard makes the shard have leases, or have none.
"""

import msgspec

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.errors import NotLeader, RaftlogError
from raftlog.base.ids import Index
from raftlog.base.membership import Membership
from raftlog.raft.changes import MemberChange, leave_joint
from raftlog.raft.leader import Leadership
from raftlog.raft.listening import Listening


class Reconfiguring(Listening):
    """The part of a replica that leads the others through a change."""

    def _append_as_leader(self, leadership: Leadership, entries: tuple[Entry, ...]) -> None:
        self.log.append(entries)
        if self._members.configurations.append(entries):
            self._obey()
        self._write(None, entries)
        leadership.replicate(self._out)

    def _change_members(self, change: MemberChange) -> Index | RaftlogError:
        """Append the configuration that begins ``change``; return its index, or the refusal."""
        leadership = self.leadership
        if leadership is None:
            return NotLeader(self.leader)
        try:
            changed = self._members.begin(change, leadership, self.commit)
        except RaftlogError as error:
            return error
        if changed is None:
            return Index(0)
        return self._append_configuration(leadership, changed)

    def _append_configuration(self, leadership: Leadership, membership: Membership) -> Index:
        entries = leadership.seal(EntryKind.CONFIGURATION, [[membership.encode()]])
        self._append_as_leader(leadership, entries)
        return entries[0].index

    @property
    def _leases_differ(self) -> bool:
        return self.membership.lease_ms != self.config.lease_ms

    def _finish_change(self, leadership: Leadership) -> None:
        """Do what is due once a configuration is committed.

        A joint one is left; a leader that is no voter any more bows out; one that is set
        otherwise than the shard makes the shard have leases, or have none.
        """
        if not leadership.first_index <= self.commit >= self.configured_at:
            return
        if self.membership.is_joint:
            self._append_configuration(leadership, leave_joint(self.membership))
        elif not self._members.is_voter:
            # It led until its own removal was committed, without counting itself (§4.2.2).
            leadership.bow_out(self._out)
            self._become_follower(self.term, None)
        elif self._leases_differ and leadership.transferee is None:
            leases = msgspec.structs.replace(self.membership, lease_ms=self.config.lease_ms)
            self._append_configuration(leadership, leases)

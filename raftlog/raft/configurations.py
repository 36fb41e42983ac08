"""Which configuration is in force: the newest in the log, committed or not (Raft §4.1).

An entry that is truncated takes its configuration with it, and the one before
is in force again. So what may still be truncated is remembered, and the newest
committed one below it::

    index       1            40             57
    entry   n1 n2 n3     + learner n4    n4 promoted (joint)
            ---------committed--------|
    remembered:          40             57        a truncation to 56 brings 40 back
"""

from collections.abc import Sequence

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.ids import Index, ReplicaId
from raftlog.base.membership import Configuration, Membership, decode_membership


class Configurations:
    """The configurations of one replica's log, oldest first."""

    def __init__(self, known: Sequence[Configuration]) -> None:
        assert known, "a log without any configuration"
        self._known = list(known)

    @property
    def membership(self) -> Membership:
        """The one in force."""
        return self._known[-1].membership

    @property
    def index(self) -> Index:
        """The entry that says it; 0 if it was so before the log."""
        return self._known[-1].index

    @property
    def longest_lease_ms(self) -> int:
        """The longest pledge that any of them asks for."""
        return max(known.membership.lease_ms for known in self._known)

    def has_voter(self, replica: ReplicaId) -> bool:
        """Whether it votes by any configuration that is in force or may be again."""
        return any(known.membership.is_voter(replica) for known in self._known)

    def append(self, entries: Sequence[Entry]) -> bool:
        """Take in new entries of the log; return whether another configuration is in force.

        Raises:
            CorruptFrame: No raftlog appends such an entry.
        """
        is_found = False
        for entry in entries:
            if entry.kind is not EntryKind.CONFIGURATION:
                continue
            assert entry.index > self.index, f"configuration {entry.index} after {self.index}"
            self._known.append(Configuration(entry.index, decode_membership(entry.body)))
            is_found = True
        return is_found

    def truncate(self, to: Index) -> bool:
        """Drop what a truncation takes; return whether another configuration is in force."""
        before = len(self._known)
        while self._known[-1].index > to:
            assert len(self._known) > 1, f"truncation to {to} takes the only configuration"
            self._known.pop()
        return len(self._known) < before

    def reset(self, known: Configuration) -> None:
        """Know only this one: the log begins anew behind it."""
        self._known = [known]

    def newest_committed(self, commit: Index) -> Membership:
        """Return the newest one that is committed."""
        committed = [known for known in self._known if known.index <= commit]
        return (committed or self._known)[-1].membership

    def committed(self, commit: Index) -> None:
        """Forget what can never come back."""
        while len(self._known) > 1 and self._known[1].index <= commit:
            self._known.pop(0)

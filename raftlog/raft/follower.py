"""Following one leader in one term: whose log is compared with whose, and what may be promised.

``matched`` is how far this log is known to equal the leader's; it grows with
what the leader sends and begins at the commit index, because what is committed
is in every later leader's log (§5.4.3). What is promised to the leader is never
more than what is matched *and* on this disk.
"""

from typing import Final

import msgspec

from raftlog.base.entry import Entry, LogEnd
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.writes import ResetLog
from raftlog.raft.durability import Durability
from raftlog.raft.effects import Divergence
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import AppendRejected, AppendRequest, Heartbeat

NOTHING_ACKED: Final = Index(-1)


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What of an append is new here: where to truncate first, and the entries to write."""

    truncate_to: Index | None
    entries: tuple[Entry, ...]


def begin_anew(
    log: LogView, durability: Durability, commit: Index, base: LogEnd, configuration: bytes
) -> tuple["Following", ResetLog]:
    """Forget the whole log, ``commit`` included; it goes on behind ``base``, which is committed.

    Whatever lies here behind the commit index goes with it. The log does not have ``base``: so
    what is before that is in the snapshot or was never committed, and what is at it or behind
    is of a branch that can't be (§5.3, log matching).
    """
    log.reset(base)
    following = Following(log, durability, base.index)
    following.promise_again()
    return following, ResetLog(durability.issue(base.index, commit), base, configuration)


class Following:
    """One follower's view of its log against its leader's."""

    def __init__(self, log: LogView, durability: Durability, commit: Index) -> None:
        self.matched = commit
        """The log is known to equal the leader's up to here."""
        self._acked = commit
        """How far the leader was told. What is committed it hears only with an answer: said
        unasked beside a rejection, it would end the probe that the rejection's hint begins."""
        self._log = log
        self._durability = durability

    def matches(self, index: Index) -> None:
        """The entry at ``index``, which is here, is committed: so every later leader has it."""
        self.matched = max(self.matched, index)

    def take(self, message: AppendRequest, commit: Index) -> Taken | AppendRejected:
        """Compare an append with the log (§5.3); change the view of the log to what is new."""
        previous, entries = message.previous_index, message.entries
        if previous <= commit:
            self._check_committed(message, commit)
        if previous < commit:
            # Everything committed is equal already; only what lies after it can be news.
            entries = entries[commit - previous :]
            previous = commit
        elif self._log.term_at(previous) != message.previous_term:
            hint = self._log.last_at_or_below(previous, message.previous_term)
            return AppendRejected(message.term, previous, hint.term, hint.index)
        taken = self._store(previous, entries, commit)
        self.matched = max(self.matched, Index(previous + len(entries)))
        return taken

    def contradicts(self, leader: NodeId, message: Heartbeat, commit: Index) -> Divergence | None:
        """Compare what is committed here with the leader's, where a heartbeat names it.

        The chain value names the entry and all before it, so one comparison in a heartbeat
        covers the log. Above the commit index it may differ: nobody has said that it matches.
        """
        index, theirs = message.commit, message.chain
        ours = self._log.chain_at(index) if index <= commit and theirs >= 0 else -1
        return Divergence(leader, index, ours, theirs) if ours not in (-1, theirs) else None

    def new_promise(self) -> Index | None:
        """Return how far the leader may count on this disk, if it does not know yet."""
        promised = self.promised
        if promised <= self._acked:
            return None
        self._acked = promised
        return promised

    def promise_again(self) -> None:
        """Forget what was promised: the leader asks anew, its answer may have been lost."""
        self._acked = NOTHING_ACKED

    @property
    def promised(self) -> Index:
        """What is both equal to the leader's log and on this disk."""
        return min(self.matched, self._durability.index)

    def _store(self, previous: Index, entries: tuple[Entry, ...], commit: Index) -> Taken:
        """Keep what is new of ``entries``, truncating at the first conflict."""
        last = self._log.last_index
        position = 0
        while position < len(entries) and previous + position < last:
            if self._log.term_at(entries[position].index) != entries[position].term:
                break
            position += 1
        new = entries[position:]
        if not new:
            return Taken(None, ())
        truncate_to = None
        if new[0].index <= last:
            truncate_to = Index(new[0].index - 1)
            assert truncate_to >= commit, (
                f"the leader of term {new[0].term} contradicts committed entry {new[0].index}"
            )
            self._log.truncate(truncate_to, new[0].previous)
        self._log.append(new)
        return Taken(truncate_to, new)

    def _check_committed(self, message: AppendRequest, commit: Index) -> None:
        """A leader has everything that is committed (§5.4.3): one that has not is a bug (R4)."""
        index, term = message.previous_index, message.previous_term
        known = message.entries[: commit - index]
        if known:
            index, term = known[-1].index, known[-1].term
        ours: Term | None = self._log.term_at(index)
        assert ours is None or ours == term, (
            f"the leader of term {message.term} contradicts committed entry {index} of term {ours}"
        )

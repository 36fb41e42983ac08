"""An election in progress: who was asked for what, and who answered.

Every election has two rounds (Raft §9.6). The *pre-vote* asks without changing
anything, so a node that nobody would elect cannot raise terms; only a majority
of pre-votes starts the real one.
"""

from raftlog.base.entry import EntryId
from raftlog.base.ids import NodeId, Term, WriteNumber
from raftlog.raft.quorum import Quorum, Verdict
from raftlog.raft.rpcs import PreVoteRequest, VoteRequest


class Candidacy:
    """The answers to one round of an election."""

    def __init__(self, quorum: Quorum, term: Term, *, pre_vote: bool) -> None:
        self.term = term
        self.pre_vote = pre_vote
        self.own_vote: WriteNumber | None = None
        """The write that makes the own vote durable; it counts from then on (R2)."""
        self._quorum = quorum
        self._granted: set[NodeId] = set()
        self._refused: set[NodeId] = set()

    def request(self, last: EntryId, *, transfer: bool) -> PreVoteRequest | VoteRequest:
        """Return what the voters are asked, by a candidate whose log ends with ``last``."""
        if self.pre_vote:
            return PreVoteRequest(Term(self.term + 1), last.term, last.index)
        return VoteRequest(self.term, last.term, last.index, transfer)

    def answered(self, node: NodeId, *, granted: bool) -> Verdict:
        """Count one answer; a node's first one stands."""
        if node not in self._granted and node not in self._refused:
            (self._granted if granted else self._refused).add(node)
        return self.verdict()

    def verdict(self) -> Verdict:
        """Return how the round stands."""
        return self._quorum.verdict(self._granted, self._refused)

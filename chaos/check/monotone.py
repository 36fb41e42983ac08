"""Terms never fall, a vote never changes, commit never goes back: across restarts too.

What counts is what a node let others know, so a promise that a crash takes
back shows here even if every single incarnation behaved.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.writes import HardState

NAME: Final = "monotone"


class Monotone:
    """Remembers what each node said, through all its incarnations."""

    def __init__(self) -> None:
        self._votes: dict[tuple[NodeId, Term], NodeId] = {}
        self._terms: dict[NodeId, Term] = {}
        self._commits: dict[NodeId, Index] = {}

    def renewed(self, node: NodeId) -> None:
        """Forget what ``node`` said: with a new directory it is another replica (ruling 5)."""
        self._votes = {key: vote for key, vote in self._votes.items() if key[0] != node}
        self._terms.pop(node, None)
        self._commits.pop(node, None)

    def votes(self, node: NodeId, term: Term, candidate: NodeId) -> None:
        """Take in that ``node`` tells others of its vote.

        Raises:
            Violation: It told another vote in the same term.
        """
        known = self._votes.setdefault((node, term), candidate)
        if known != candidate:
            raise Violation(NAME, f"{node} votes for {known} and {candidate} in term {term}")

    def speaks(self, node: NodeId, term: Term) -> None:
        """Take in that ``node`` makes a promise in ``term``: it must remember it.

        Promises of one incarnation may leave out of order, some wait for the disk.
        """
        if term > self._terms.get(node, 0):
            self._terms[node] = term

    def commits(self, node: NodeId, index: Index) -> None:
        """Take in a live node's commit index.

        Raises:
            Violation: It fell within one incarnation.
        """
        if index < self._commits.get(node, 0):
            raise Violation(NAME, f"commit of {node} falls from {self._commits[node]} to {index}")
        self._commits[node] = index

    def restarts(
        self, node: NodeId, recovered: HardState, commit_hint: Index, committed: Index
    ) -> None:
        """Take in what ``node`` remembers after a restart.

        ``committed`` is the end of what anybody has committed so far.

        Raises:
            Violation: Its term is older than one it spoke in, its vote is not the
                one it told, or it takes for committed what nobody committed.
        """
        if recovered.term < self._terms.get(node, 0):
            raise Violation(
                NAME, f"{node} restarts in term {recovered.term} after {self._terms[node]}"
            )
        told = self._votes.get((node, recovered.term))
        remembered = recovered.vote.node if recovered.vote is not None else None
        if told is not None and told != remembered:
            raise Violation(
                NAME,
                f"{node} voted for {told} in term {recovered.term} and remembers {remembered}",
            )
        if commit_hint > committed:
            raise Violation(
                NAME, f"{node} restarts with commit {commit_hint}; committed is {committed}"
            )
        self._commits[node] = commit_hint

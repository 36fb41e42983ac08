"""Commands on their way into the log, and who waits for what became of them.

A waiting caller is told exactly one thing (ruling 22):

===========================================  =================================
refused before append                        the refusal: it never happened
applied at its index, with its term          the machine's outcome
another term applied at its index            ``NotCommitted``: it never happened
stepped down or stopping, and still in       ``OutcomeUnknown``
somebody's log
===========================================  =================================

A leader that steps down keeps its callers for a while: the next leader's
entries decide most of their fates, and a definite answer beats "unknown". Only
what is *applied* decides: an entry that was truncated here may still live on
another replica, which may lead one day and commit it.
"""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from raftlog.base.errors import NotCommitted, OutcomeUnknown
from raftlog.base.ids import Index, Term
from raftlog.base.limits import COALESCE_BYTES_MAX, COALESCE_COMMANDS_MAX
from raftlog.broker.commands import Command

OnOutcome = Callable[[object, Term, Index], None]
"""Called once with the machine's outcome, or with a ``RaftlogError``; term and index are 0
when nothing was appended."""


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """A command, and who waits for its outcome."""

    command: Command
    size: int
    on_outcome: OnOutcome


class Intake:
    """Commands that wait to become entries. Small ones share an entry."""

    def __init__(self, *, coalesce: bool) -> None:
        self._coalesce = coalesce
        self._waiting: deque[Proposal] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        """Return the number of commands that wait."""
        return len(self._waiting)

    def add(self, proposal: Proposal) -> None:
        """Queue one command."""
        self._waiting.append(proposal)
        self.bytes += proposal.size

    def take(self) -> list[list[Proposal]]:
        """Return everything that waits, grouped into entries."""
        waiting = self._waiting
        if not self._coalesce:
            groups = [[proposal] for proposal in waiting]
        elif self.bytes <= COALESCE_BYTES_MAX and len(waiting) <= COALESCE_COMMANDS_MAX:
            groups = [list(waiting)]
        else:
            groups = self._split()
        waiting.clear()
        self.bytes = 0
        return groups

    def _split(self) -> list[list[Proposal]]:
        groups: list[list[Proposal]] = []
        group: list[Proposal] = []
        size = 0
        for proposal in self._waiting:
            full = size + proposal.size > COALESCE_BYTES_MAX or len(group) >= COALESCE_COMMANDS_MAX
            if group and full:
                groups.append(group)
                group = []
                size = 0
            group.append(proposal)
            size += proposal.size
        groups.append(group)
        return groups


class Outstanding:
    """Entries that this replica appended as leader, and who waits for each command in them."""

    def __init__(self) -> None:
        self._by_index: dict[Index, tuple[Term, list[Proposal]]] = {}
        self.commands = 0

    def add(self, first: Index, term: Term, groups: Sequence[list[Proposal]]) -> None:
        """Note that ``groups`` became the entries from ``first`` on."""
        for position, group in enumerate(groups):
            index = Index(first + position)
            assert index not in self._by_index, f"entry {index} has waiting callers already"
            self._by_index[index] = (term, group)
            self.commands += len(group)

    def applied(self, index: Index, term: Term, outcomes: Sequence[object]) -> None:
        """Tell the callers of the entry at ``index``, if there are any, what became of it."""
        found = self._by_index.pop(index, None)
        if found is None:
            return
        proposed_term, group = found
        if proposed_term != term:
            error = NotCommitted("another leader's entry took this place")
            self._end(group, error, proposed_term, index)
            return
        assert len(outcomes) == len(group), f"{len(outcomes)} outcomes for {len(group)} commands"
        self.commands -= len(group)
        for proposal, outcome in zip(group, outcomes, strict=True):
            proposal.on_outcome(outcome, term, index)

    def give_up(self, below: Term | None, reason: str) -> None:
        """Tell the callers of terms below ``below`` (None: all) that nobody knows."""
        late = [i for i, (term, _) in self._by_index.items() if below is None or term < below]
        for index in late:
            term, group = self._by_index.pop(index)
            self._end(group, OutcomeUnknown(reason), term, index)

    def _end(self, group: list[Proposal], error: Exception, term: Term, index: Index) -> None:
        self.commands -= len(group)
        for proposal in group:
            proposal.on_outcome(error, term, index)

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
from typing import Final

from raftlog.base.errors import NotCommitted, OutcomeUnknown
from raftlog.base.ids import Index, Term
from raftlog.base.limits import COALESCE_BYTES_MAX, COALESCE_COMMANDS_MAX
from raftlog.broker.commands import Command
from raftlog.node.outward import Outward

OnOutcome = Callable[[object, Term, Index], None]
"""Called once with the machine's outcome, or with a ``RaftlogError``; term and index are 0
when nothing was appended."""


class Proposal(Command, frozen=True, gc=False):
    """A command, its size in bytes, and who waits for its outcome."""

    size: int
    on_outcome: OnOutcome


class Intake:
    """Commands that wait to become entries. Small ones share an entry."""

    def __init__(self, *, coalesce: bool) -> None:
        self._coalesce = coalesce
        self._waiting: list[Proposal] = []
        self.count = 0
        """Commands that wait, and their bytes."""
        self.bytes = 0

    def add(self, proposal: Proposal) -> None:
        """Queue one command."""
        self._waiting.append(proposal)
        self.count += 1
        self.bytes += proposal.size

    def take(self) -> list[list[Proposal]]:
        """Return everything that waits, grouped into entries."""
        waiting = self._waiting
        if not self._coalesce:
            groups = [[proposal] for proposal in waiting]
        elif self.bytes <= COALESCE_BYTES_MAX and len(waiting) <= COALESCE_COMMANDS_MAX:
            groups = [waiting]
        else:
            groups = self._split()
        self._waiting = []
        self.count = self.bytes = 0
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


_TOLD: Final[list[Proposal]] = []
"""Who waits for an entry whose callers were told: nobody. Never changed."""


class _Run:
    """Consecutive entries that one flush made."""

    __slots__ = ("first", "groups", "term")

    def __init__(self, first: Index, term: Term, groups: list[list[Proposal]]) -> None:
        self.first = first
        self.term = term
        self.groups = groups


class Outstanding:
    """Entries that this replica appended as leader, and who waits for each command in them.

    Entries of the term that leads now lie in ``_runs``, in order, and are
    answered from the front. What is left of an earlier term lies in ``_past``:
    it may stand at the same indexes.
    """

    def __init__(self, outward: Outward) -> None:
        self._outward = outward
        self._runs: deque[_Run] = deque()
        self._past: list[_Run] = []
        self.commands = 0

    def add(self, first: Index, term: Term, groups: list[list[Proposal]]) -> None:
        """Note that ``groups`` became the entries from ``first`` on."""
        runs = self._runs
        if runs and runs[-1].term != term:
            self._past.extend(runs)
            runs.clear()
        runs.append(_Run(first, term, groups))
        for group in groups:
            self.commands += len(group)

    def applied(self, index: Index, term: Term, outcomes: Sequence[object]) -> None:
        """Tell the callers of the entry at ``index``, if there are any, what became of it."""
        if self._past:
            self._applied_over_past(index, term, outcomes)
        runs = self._runs
        if not runs or runs[0].first > index:
            return
        run = runs[0]
        groups = run.groups
        position = index - run.first
        if position == len(groups) - 1:
            runs.popleft()
        group = groups[position]
        if len(group) == 1 == len(outcomes) and run.term == term:
            # One command, as in an embedded log: told without a detour.
            groups[position] = _TOLD
            self.commands -= 1
            try:
                group[0].on_outcome(outcomes[0], term, index)
            except Exception:  # noqa: BLE001  (as ``Outward.call``, without a call for each)
                self._outward.raised()
        else:
            self._tell(run, position, term, outcomes)

    def give_up(self, below: Term | None, reason: str) -> None:
        """Tell the callers of terms below ``below`` (None: all) that nobody knows."""
        late = [run for run in (*self._past, *self._runs) if below is None or run.term < below]
        self._past = [run for run in self._past if run not in late]
        self._runs = deque(run for run in self._runs if run not in late)
        for run in late:
            for position, group in enumerate(run.groups):
                self._end(group, OutcomeUnknown(reason), run.term, Index(run.first + position))

    def _applied_over_past(self, index: Index, term: Term, outcomes: Sequence[object]) -> None:
        for run in list(self._past):
            position = index - run.first
            if 0 <= position < len(run.groups):
                if position == len(run.groups) - 1:
                    self._past.remove(run)
                self._tell(run, position, term, outcomes)

    def _tell(self, run: _Run, position: int, term: Term, outcomes: Sequence[object]) -> None:
        group = run.groups[position]
        run.groups[position] = _TOLD
        index = Index(run.first + position)
        if run.term != term:
            error = NotCommitted("another leader's entry took this place")
            self._end(group, error, run.term, index)
            return
        if len(outcomes) != len(group):
            # Whose are they? The callers are told so; then it is a bug like any other.
            told = f"{len(outcomes)} outcomes for {len(group)} commands of entry {index}"
            self._end(group, OutcomeUnknown(told), term, index)
            raise AssertionError(told)
        self.commands -= len(group)
        for proposal, outcome in zip(group, outcomes, strict=True):
            try:
                proposal.on_outcome(outcome, term, index)
            except Exception:  # noqa: BLE001  (as ``Outward.call``, without a call for each)
                self._outward.raised()

    def _end(self, group: list[Proposal], error: Exception, term: Term, index: Index) -> None:
        self.commands -= len(group)
        for proposal in group:
            self._outward.call(proposal.on_outcome, error, term, index)

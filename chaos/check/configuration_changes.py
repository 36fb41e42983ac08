"""Changes of the members: one at a time, from a leader that knows what is committed (Raft §4).

A leader that appends a configuration has committed the one before it, and an
entry of its own term: without that, two leaders can each change a voter of what
they believe to be in force, and commit without one another. And any
majority of the new configuration meets any majority of the one before it.
"""

from collections.abc import Collection, Sequence
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId, Term

NAME: Final = "configuration_changes"
Half = Collection[NodeId]
"""Voters of whom a majority decides."""


def check_change(
    leader: NodeId,
    before: tuple[Index, Sequence[Half]],
    after: tuple[Index, Sequence[Half]],
    commit: tuple[Index, Term],
    term: Term,
) -> None:
    """Check a configuration at the moment at which a leader appends it.

    Args:
        leader: Who appends it.
        before: The configuration that was in force: its index, its halves.
        after: The new one.
        commit: The leader's commit index, and the term of the entry there.
        term: The leader's.

    Raises:
        Violation: It comes too early, or could decide without the one before.
    """
    (index_before, halves_before), (index, halves) = before, after
    committed, committed_term = commit
    if index_before > committed:
        raise Violation(
            NAME,
            f"{leader} appends configuration {index} while {index_before} is not committed "
            f"(commit {committed})",
        )
    if committed_term != term:
        raise Violation(
            NAME,
            f"{leader} appends configuration {index} in term {term}, of which nothing is "
            f"committed (commit {committed} is of term {committed_term})",
        )
    if not any(_always_meet(old, new) for old in halves_before for new in halves):
        raise Violation(
            NAME, f"{leader} changes {_text(halves_before)} to {_text(halves)} in one step"
        )


def _always_meet(one: Half, other: Half) -> bool:
    """Whether each majority of one has a member in each majority of the other."""
    least = (len(one) // 2 + 1) + (len(other) // 2 + 1)
    return least > len({*one, *other})


def _text(halves: Sequence[Half]) -> str:
    return " and ".join(",".join(sorted(half)) for half in halves)

"""What a waiting caller is told, and when (ruling 22)."""

import pytest

from raftlog.base.errors import NotCommitted, OutcomeUnknown
from raftlog.base.ids import Index, Term
from raftlog.base.limits import COALESCE_BYTES_MAX, COALESCE_COMMANDS_MAX
from raftlog.broker.commands import CommandType
from raftlog.node.outward import Outward
from raftlog.node.proposals import Intake, Outstanding, Proposal
from tests.node.replicas import raises


class Caller:
    """Remembers everything that it was told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def __call__(self, outcome: object, term: Term, index: Index) -> None:
        """Take in an outcome."""
        self.told.append((outcome, term, index))

    def proposal(self, size: int = 10) -> Proposal:
        """Return a proposal of ``size`` bytes that this caller waits for."""
        return Proposal(CommandType.RAW, (bytes(size),), size, self)


def waiting() -> Outstanding:
    """Return nobody yet; a caller that raises fails the test."""
    return Outstanding(Outward(raises))


def test_small_commands_share_an_entry() -> None:
    """What arrives in one turn of the loop becomes one entry."""
    intake = Intake(coalesce=True)
    proposals = [Caller().proposal() for _ in range(5)]
    for proposal in proposals:
        intake.add(proposal)

    assert intake.take() == [proposals]
    assert intake.bytes == 0
    assert intake.count == 0


def test_without_coalescing_each_command_has_an_entry_of_its_own() -> None:
    """The embedded log promises an index per append."""
    intake = Intake(coalesce=False)
    proposals = [Caller().proposal() for _ in range(3)]
    for proposal in proposals:
        intake.add(proposal)

    assert intake.take() == [[proposal] for proposal in proposals]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([COALESCE_BYTES_MAX, 1], [1, 1]),  # the next one no longer fits
        ([COALESCE_BYTES_MAX + 1], [1]),  # larger than the limit: alone, never refused
        ([1, COALESCE_BYTES_MAX + 1, 1], [1, 1, 1]),
        ([COALESCE_BYTES_MAX // 2] * 4, [2, 2]),
        ([1] * (COALESCE_COMMANDS_MAX + 1), [COALESCE_COMMANDS_MAX, 1]),
    ],
)
def test_an_entry_is_closed_before_it_passes_its_limits(
    sizes: list[int], expected: list[int]
) -> None:
    """Order is kept, nothing is dropped, and no entry but a single command is over the limit."""
    intake = Intake(coalesce=True)
    proposals = [Caller().proposal(size) for size in sizes]
    for proposal in proposals:
        intake.add(proposal)

    groups = intake.take()

    assert [len(group) for group in groups] == expected
    assert [proposal for group in groups for proposal in group] == proposals


def test_a_caller_gets_the_outcome_of_its_own_position() -> None:
    """Two commands in one entry have two outcomes."""
    first, second, outstanding = Caller(), Caller(), waiting()
    outstanding.add(Index(7), Term(3), [[first.proposal(), second.proposal()]])

    outstanding.applied(Index(7), Term(3), ["a", "b"])

    assert first.told == [("a", 3, 7)]
    assert second.told == [("b", 3, 7)]
    assert outstanding.commands == 0


def test_another_term_applied_at_the_index_means_it_never_happened() -> None:
    """The place is taken for ever, so the answer is definite."""
    caller, outstanding = Caller(), waiting()
    outstanding.add(Index(7), Term(3), [[caller.proposal()]])

    outstanding.applied(Index(7), Term(4), [])

    ((outcome, _, _),) = caller.told
    assert isinstance(outcome, NotCommitted)
    assert outcome.retriable


def test_only_terms_that_are_over_are_given_up() -> None:
    """A replica that leads again must not give up what it proposed just now."""
    old, new, outstanding = Caller(), Caller(), waiting()
    outstanding.add(Index(7), Term(3), [[old.proposal()]])
    outstanding.add(Index(8), Term(5), [[new.proposal()]])

    outstanding.give_up(Term(4), "lost leadership")

    ((outcome, _, _),) = old.told
    assert isinstance(outcome, OutcomeUnknown)
    assert new.told == []


def test_a_caller_is_told_once() -> None:
    """An entry that is applied after it was given up has nobody waiting."""
    caller, outstanding = Caller(), waiting()
    outstanding.add(Index(7), Term(3), [[caller.proposal()]])

    outstanding.give_up(None, "stopping")
    outstanding.applied(Index(7), Term(3), ["late"])

    assert len(caller.told) == 1


def test_an_index_that_is_proposed_again_in_a_later_term_has_two_kinds_of_callers() -> None:
    """n1 proposes 7 and 8 in term 3, loses and regains leadership, and proposes 8 in term 5."""
    first, second, third, outstanding = Caller(), Caller(), Caller(), waiting()
    outstanding.add(Index(7), Term(3), [[first.proposal()], [second.proposal()]])
    outstanding.add(Index(8), Term(5), [[third.proposal()]])

    outstanding.applied(Index(7), Term(5), [])
    outstanding.applied(Index(8), Term(5), ["c"])

    assert [type(outcome) for outcome, _, _ in first.told + second.told] == [NotCommitted] * 2
    assert third.told == [("c", 5, 8)]
    assert outstanding.commands == 0

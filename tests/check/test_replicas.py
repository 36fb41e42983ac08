"""Invariants of single replicas and of their members, each against facts that break it."""

import pytest
from msgspec.structs import replace

from chaos.check.bounded_resources import Use, check_resources
from chaos.check.configuration_changes import check_change
from chaos.check.state_order import StateOrder, check_state_order
from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId, Term

N1 = NodeId("n1")
ORDERED = StateOrder(
    *(Index(number) for number in (10, 20, 30, 40)), durable=Index(45), last=Index(50)
)


def half(numbers: str) -> list[NodeId]:
    """Return n1, n2 .. for ``12..``."""
    return [NodeId(f"n{number}") for number in numbers]


def change(
    *, before: tuple[str, ...], after: tuple[str, ...], at: int = 3, commit: int = 7
) -> None:
    """Let n1 append configuration 9 in term 5, with an own entry committed."""
    check_change(
        N1,
        (Index(at), [half(each) for each in before]),
        (Index(9), [half(each) for each in after]),
        (Index(commit), Term(5)),
        Term(5),
    )


def test_what_is_in_order_is_fine() -> None:
    check_state_order(N1, ORDERED)
    check_state_order(N1, StateOrder(*(Index(7),) * 6))
    check_state_order(N1, replace(ORDERED, fetched=Index(60), known=Index(60)))


@pytest.mark.parametrize(
    ("field", "value", "than"),
    [
        *(("trimmed", 21, "snapshot"), ("snapshot", 31, "applied"), ("applied", 41, "commit")),
        *(("commit", 51, "last"), ("durable", 51, "last"), ("last", 39, "last")),
        *(("known", 19, "committed anywhere"), ("fetched", 61, "committed anywhere")),
    ],
)
def test_nothing_is_ahead_of_what_it_stands_on(field: str, value: int, than: str) -> None:
    known = replace(ORDERED, known=Index(60))
    with pytest.raises(Violation, match=f"state_order: .*{than} is"):
        check_state_order(N1, replace(known, **{field: Index(value)}))


def test_only_who_waits_for_a_state_may_begin_its_log_behind_it() -> None:
    behind = replace(ORDERED, trimmed=Index(35), fetched=Index(38))
    with pytest.raises(Violation, match="trimmed is 35, snapshot is 20"):
        check_state_order(N1, behind)
    check_state_order(N1, replace(behind, lacks_state=True))
    with pytest.raises(Violation, match="trimmed is 35, applied is 30"):
        check_state_order(N1, replace(behind, snapshot=Index(30), passed_over=Index(36)))


def test_who_waits_for_a_state_must_have_been_sent_one_that_leads_to_its_log() -> None:
    behind = replace(ORDERED, trimmed=Index(35), fetched=Index(34), lacks_state=True)
    with pytest.raises(Violation, match="trimmed is 35, what it was sent is 34"):
        check_state_order(N1, behind)


@pytest.mark.parametrize("waits", ["lacks_state", "is_stuck"])
def test_a_state_that_is_taken_over_is_of_what_is_committed_here(waits: str) -> None:
    """It is given its name before the machine has it, and no sooner than it is committed."""
    taken = replace(ORDERED, snapshot=Index(40), **{waits: True})
    check_state_order(N1, taken)
    with pytest.raises(Violation, match="snapshot is 41, commit is 40"):
        check_state_order(N1, replace(taken, snapshot=Index(41)))


def test_only_damage_lets_a_start_pass_over_the_newest_state() -> None:
    passed_over = replace(ORDERED, trimmed=Index(25), passed_over=Index(38))
    check_state_order(N1, replace(passed_over, is_damaged=True))
    with pytest.raises(Violation, match="a good state at 38 was passed over"):
        check_state_order(N1, passed_over)


def test_a_bound_that_is_passed_is_named() -> None:
    check_resources(N1, {"open files": Use(8, 8)})
    with pytest.raises(Violation, match="n1 has 9 open files; 8 are allowed"):
        check_resources(N1, {"bytes": Use(0, 0), "open files": Use(9, 8)})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("123",), ("1234",)),
        (("1234",), ("123",)),
        (("123",), ("145", "123")),
        (("145", "123"), ("145",)),
        (("123",), ("123",)),
    ],
)
def test_changes_that_can_decide_nothing_alone_are_fine(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    change(before=before, after=after)


@pytest.mark.parametrize(
    ("before", "after"),
    [(("123",), ("145",)), (("1",), ("2",)), (("123",), ("12345",)), (("1", "123"), ("45",))],
)
def test_two_majorities_that_can_miss_each_other_are_broken(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    with pytest.raises(Violation, match="in one step"):
        change(before=before, after=after)


def test_a_second_change_waits_for_the_first() -> None:
    with pytest.raises(Violation, match="while 8 is not committed"):
        change(before=("123",), after=("1234",), at=8)


def test_a_leader_changes_nothing_before_an_entry_of_its_own_term_is_committed() -> None:
    with pytest.raises(Violation, match="of which nothing is committed"):
        check_change(
            N1,
            (Index(3), [half("123")]),
            (Index(9), [half("1234")]),
            (Index(7), Term(4)),
            Term(5),
        )

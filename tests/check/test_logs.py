"""The invariants about logs see what they are for, and nothing else."""

import pytest

from chaos.check.commit_on_majority import check_majority, check_own_term
from chaos.check.committed_never_changes import CommittedLog
from chaos.check.leader_completeness import check_leader
from chaos.check.log_matching import LogMatching
from chaos.check.log_model import LogModel, Mark
from chaos.check.one_leader_per_term import OneLeaderPerTerm
from chaos.check.recovery import check_recovered, check_recovered_hard_state
from chaos.check.violation import Violation
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from tests.check.facts import N1, N2, N3, R2, entries_of, log_of


def test_two_leaders_in_one_term_are_seen() -> None:
    """A leader may act again and again; another node in its term may not."""
    leaders = OneLeaderPerTerm()
    leaders.leads(N1, Term(5))
    leaders.leads(N1, Term(5))
    leaders.leads(N2, Term(6))
    with pytest.raises(Violation, match="n1 and n2 both lead term 5"):
        leaders.leads(N2, Term(5))


def test_one_name_for_two_entries_is_seen() -> None:
    """Index and term name an entry and its whole past."""
    matching = LogMatching()
    matching.written(N1, entries_of(1, 1, 2))
    matching.written(N2, entries_of(1, 1, 2))
    with pytest.raises(Violation, match="n3 writes entry 1 of term 1"):
        matching.written(N3, entries_of(1, body=b"other"))


def test_a_second_entry_at_a_committed_index_is_seen() -> None:
    """News are told from repetitions, and both from a contradiction."""
    committed = CommittedLog()
    mark = log_of(1).marks[0]
    assert committed.committed(N1, Index(1), mark)
    assert not committed.committed(N2, Index(1), mark)
    with pytest.raises(Violation, match="n3 commits"):
        committed.committed(N3, Index(1), Mark(Term(2), 7))


def test_a_commit_that_a_minority_has_is_seen() -> None:
    """Two of three durable logs are enough; another entry at the index is none."""
    mark = log_of(1, 2).marks[1]
    durable = {N1: log_of(1, 2), N2: log_of(1, 2), N3: LogModel()}
    check_majority(N1, Index(2), mark, durable)
    durable[N2] = log_of(1, 1)
    with pytest.raises(Violation, match="durable only on"):
        check_majority(N1, Index(2), mark, durable)


def test_a_commit_of_an_old_term_by_counting_is_seen() -> None:
    """Figure 8: it may be on a majority and still be lost."""
    check_own_term(N1, Term(2), Index(2), log_of(1, 2).marks[1])
    with pytest.raises(Violation, match="by counting, in term 3"):
        check_own_term(N1, Term(3), Index(2), log_of(1, 2).marks[1])


@pytest.mark.parametrize("log", [LogModel(), log_of(1), log_of(1, 3)])
def test_a_leader_without_what_is_committed_is_seen(log: LogModel) -> None:
    """Too short and different are the same failure."""
    check_leader(N1, Term(4), log_of(1, 2, 3), log_of(1, 2))
    with pytest.raises(Violation, match="n1 leads term 4"):
        check_leader(N1, Term(4), log, log_of(1, 2))


APPEND = WriteEntries(WriteNumber(1), None, entries_of(1, 1, 1)[2:])
REPLACE = WriteEntries(WriteNumber(2), Index(1), entries_of(1, 2)[1:])
RECOVERIES = [
    ("nothing in flight", log_of(1, 1), [], True),
    ("an unfinished append is lost", log_of(1, 1), [APPEND], True),
    ("an unfinished append is there", log_of(1, 1, 1), [APPEND], True),
    ("a truncation had begun", log_of(1), [REPLACE], True),
    ("a truncation and its append are done", log_of(1, 2), [REPLACE], True),
    ("a durable entry is lost", log_of(1), [], False),
    ("a durable entry is lost in an append", log_of(1), [APPEND], False),
    ("more is lost than was truncated", LogModel(), [REPLACE], False),
    ("an entry was never written", log_of(1, 1, 2), [APPEND], False),
]


@pytest.mark.parametrize(("found", "in_flight", "good"), [row[1:] for row in RECOVERIES])
def test_a_recovered_log_is_between_durable_and_written(
    found: LogModel, in_flight: list[WriteEntries], *, good: bool
) -> None:
    """Storage promises 1 and 2: all that was durable, a prefix of what was written."""
    if good:
        assert check_recovered(N1, found.marks, log_of(1, 1), in_flight).marks == found.marks
    else:
        with pytest.raises(Violation, match="recovers a log"):
            check_recovered(N1, found.marks, log_of(1, 1), in_flight)


def test_an_entry_that_was_not_looked_at_is_taken_from_the_model() -> None:
    """Damaged entries keep their place: corrupt is not absent."""
    marks = log_of(1, 1).marks
    assert check_recovered(N1, [None, marks[1]], log_of(1, 1), []).marks == marks
    with pytest.raises(Violation):
        check_recovered(N1, [None, marks[0]], log_of(1, 1), [])


def test_a_forgotten_vote_is_seen() -> None:
    """Old is right only while the new one is being written, and the other way round."""
    old, new = HardState(Term(1)), HardState(Term(2), R2)
    check_recovered_hard_state(N1, new, old, [SaveHardState(WriteNumber(1), new)])
    check_recovered_hard_state(N1, old, old, [SaveHardState(WriteNumber(1), new)])
    with pytest.raises(Violation, match="n1 recovers"):
        check_recovered_hard_state(N1, old, new, [])

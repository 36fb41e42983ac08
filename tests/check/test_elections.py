"""The invariants of elections see who stands, leads or helps when it should not."""

import pytest

from chaos.check.damaged_do_not_lead import check_candidate
from chaos.check.handover import check_takes_in
from chaos.check.leaders_are_heard import LeadersAreHeard
from chaos.check.new_terms import check_new_term
from chaos.check.patient_voters import PatientVoters
from chaos.check.pre_votes_change_nothing import Standing, check_pre_vote
from chaos.check.violation import Violation
from raftlog.base.entry import LOG_ORIGIN
from raftlog.base.ids import DirectoryId, Index, ReplicaId, Term
from raftlog.base.membership import Membership
from raftlog.raft.config import CoreConfig
from raftlog.raft.effects import Role
from raftlog.raft.leader import Leadership
from raftlog.raft.lease import Lease, Moment
from raftlog.raft.log import LogView
from raftlog.raft.quorum import Quorum
from tests.check.facts import N1, N2, N3, R2

R1 = ReplicaId(N1, DirectoryId("d1"))
STANDING = Standing(Term(5), R2, Role.FOLLOWER, N2)


@pytest.mark.parametrize(
    "after",
    [
        STANDING._replace(term=Term(6)),
        STANDING._replace(vote=None),
        STANDING._replace(role=Role.CANDIDATE),
        STANDING._replace(leader=None),
    ],
    ids=repr,
)
def test_a_pre_vote_that_changes_something_is_seen(after: Standing) -> None:
    """Each of what an election is about."""
    check_pre_vote(N1, STANDING, STANDING)
    with pytest.raises(Violation, match="pre_votes_change_nothing"):
        check_pre_vote(N1, STANDING, after)


def test_a_pre_candidate_may_let_another_one_go_first() -> None:
    """That is all it may do: its term and its vote stay."""
    standing = STANDING._replace(role=Role.PRE_CANDIDATE, leader=None)
    check_pre_vote(N1, standing, standing._replace(role=Role.FOLLOWER))
    with pytest.raises(Violation, match="pre_votes_change_nothing"):
        check_pre_vote(N1, standing, standing._replace(role=Role.FOLLOWER, vote=None))
    with pytest.raises(Violation, match="pre_votes_change_nothing"):
        check_pre_vote(N1, standing, standing._replace(role=Role.CANDIDATE))


def test_who_hears_its_leader_and_helps_another_is_seen() -> None:
    """However much time has passed for others."""
    voters = PatientVoters()
    for node in (N1, N2):
        voters.begins(node, patience=10)
    voters.helps(N1, N3)  # has heard nobody
    voters.hears(N1)
    voters.passes(N2, 100)
    voters.passes(N1, 9)
    with pytest.raises(Violation, match="patient_voters"):
        voters.helps(N1, N3)


def test_who_has_waited_or_was_told_that_its_leader_is_gone_may_help() -> None:
    """A hint is taken back by a sign of life."""
    voters = PatientVoters()
    for node in (N1, N2):
        voters.begins(node, patience=10)
    voters.hears(N1)
    voters.passes(N1, 10)
    voters.helps(N1, N3)
    voters.hears(N1)
    voters.doubts(N1)
    voters.helps(N1, N3)
    voters.hears(N1)
    with pytest.raises(Violation, match="0 ticks"):
        voters.helps(N1, N3)


def test_a_candidate_with_damage_is_seen() -> None:
    """One entry is enough."""
    check_candidate(N1, 0)
    with pytest.raises(Violation, match="damaged_do_not_lead"):
        check_candidate(N1, 1)


def test_a_term_that_nobody_agreed_to_is_seen() -> None:
    """Also one after a term that the disk does not have."""
    check_new_term(N1, Term(5), Term(5), was_asked=True)
    with pytest.raises(Violation, match="nobody has agreed"):
        check_new_term(N1, Term(5), Term(5), was_asked=False)
    with pytest.raises(Violation, match="on its disk is 4"):
        check_new_term(N1, Term(5), Term(4), was_asked=True)


def test_a_leader_that_no_majority_answers_is_seen() -> None:
    """In each half that counts, from when it counts: a voter may have been silent before."""
    leaders = LeadersAreHeard()
    leaders.leads(N1)
    leaders.passes(N1, 20, 10, [[N1, N2, N3]])
    leaders.answers(N1, N2)
    leaders.passes(N1, 30, 10, [[N1, N2, N3]])
    with pytest.raises(Violation, match="leaders_are_heard"):
        leaders.passes(N1, 1, 10, [[N1, N2, N3]])
    leaders.answers(N1, N2)
    leaders.passes(N1, 1, 10, [[N1, N2, N3], [N1, N2]])
    leaders.passes(N1, 1, 10, [[N1, N2], [N1, N3]])
    leaders.answers(N1, N2)
    leaders.passes(N1, 30, 10, [[N1, N2], [N1, N3]])
    leaders.answers(N1, N2)
    with pytest.raises(Violation, match="hears only"):
        leaders.passes(N1, 1, 10, [[N1, N2], [N1, N3]])
    leaders.leads(N1)
    leaders.passes(N1, 1, 10, [[N1, N3]])


def test_a_leader_that_hands_over_and_takes_a_proposal_in_is_seen() -> None:
    """Whoever does not lead takes nothing in either."""
    membership = Membership((R1, R2))
    log = LogView(LOG_ORIGIN, LOG_ORIGIN, ())
    leadership = Leadership(
        *(R1, Term(2), CoreConfig(), log, membership, Quorum.of(membership), Index(0)),
        Lease(Moment(0), R1),
    )
    check_takes_in(N1, leadership)
    leadership.transferee = N2
    for bad in (leadership, None):
        with pytest.raises(Violation, match="handover"):
            check_takes_in(N1, bad)

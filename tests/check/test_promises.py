"""The invariants about promises see a promise that a crash would take back."""

import pytest

from chaos.check.monotone import Monotone
from chaos.check.promises_durable import DurableState, check_promise
from chaos.check.violation import Violation
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import HardState, SaveHardState
from raftlog.raft.rpcs import (
    AppendAccepted,
    Heartbeat,
    HeartbeatReply,
    PeerMessage,
    PreVoteReply,
    VoteReply,
    VoteRequest,
)
from tests.check.facts import N1, N2, N3, R2, log_of

STATE = HardState(Term(5), R2)
GOOD: list[PeerMessage] = [
    VoteReply(Term(5), granted=True),
    VoteReply(Term(9), granted=False),
    AppendAccepted(Term(5), Index(2)),
    AppendAccepted(Term(5), Index(0)),
    HeartbeatReply(Term(4), 1),
    PreVoteReply(Term(9), granted=True),
]
BAD: list[PeerMessage] = [
    VoteReply(Term(6), granted=True),
    VoteRequest(Term(5), Term(1), Index(2), transfer=False),
    Heartbeat(Term(5), Index(1), 1),
    AppendAccepted(Term(5), Index(3)),
    AppendAccepted(Term(6), Index(1)),
    HeartbeatReply(Term(6), 1),
]


@pytest.mark.parametrize("message", GOOD, ids=repr)
def test_a_promise_that_is_on_disk_passes(message: PeerMessage) -> None:
    """Pre-votes and refusals promise nothing."""
    check_promise(N1, N2, message, DurableState(STATE, log_of(1, 1)), None)


@pytest.mark.parametrize("message", BAD, ids=repr)
def test_a_promise_that_is_not_on_disk_is_seen(message: PeerMessage) -> None:
    """Whose vote, which term, how many entries: each alone is enough."""
    with pytest.raises(Violation, match="promises_durable"):
        check_promise(N1, N2, message, DurableState(STATE, log_of(1, 1)), None)


def test_an_ack_of_entries_that_the_leader_has_not_is_seen() -> None:
    """Durable is not enough: the leader counts it for its own entries (CCF 6016)."""
    durable = DurableState(STATE, log_of(1, 1))
    message = AppendAccepted(Term(5), Index(2))
    check_promise(N1, N2, message, durable, log_of(1, 1, 5))
    with pytest.raises(Violation, match="the leader"):
        check_promise(N1, N2, message, durable, log_of(1, 5))


def test_earlier_votes_are_remembered_with_later_ones() -> None:
    """A vote's answer may leave after the next term was written."""
    durable = DurableState(STATE, log_of(1))
    durable.performed(SaveHardState(WriteNumber(1), HardState(Term(6), None)))
    check_promise(N1, N2, VoteReply(Term(5), granted=True), durable, None)


def test_a_vote_that_changes_is_seen_across_restarts() -> None:
    """Ruling 1: the restart itself is innocent, the second vote is not."""
    monotone = Monotone()
    monotone.votes(N1, Term(5), N2)
    monotone.restarts(N1, HardState(Term(5), R2), Index(0), Index(0))
    with pytest.raises(Violation, match="n1 votes for n2 and n3 in term 5"):
        monotone.votes(N1, Term(5), N3)
    with pytest.raises(Violation, match="remembers None"):
        monotone.restarts(N1, HardState(Term(5), None), Index(0), Index(0))


def test_a_term_that_falls_with_a_restart_is_seen() -> None:
    """Speaking in a term is a promise to remember it."""
    monotone = Monotone()
    monotone.speaks(N1, Term(7))
    monotone.speaks(N1, Term(6))
    with pytest.raises(Violation, match="restarts in term 6 after 7"):
        monotone.restarts(N1, HardState(Term(6)), Index(0), Index(0))


def test_a_commit_that_falls_or_is_invented_is_seen() -> None:
    """It falls to the hint with a restart, never in between (ruling 14)."""
    monotone = Monotone()
    monotone.commits(N1, Index(9))
    monotone.restarts(N1, HardState(), Index(4), Index(9))
    monotone.commits(N1, Index(5))
    with pytest.raises(Violation, match="falls from 5 to 4"):
        monotone.commits(N1, Index(4))
    with pytest.raises(Violation, match="restarts with commit 10"):
        monotone.restarts(N1, HardState(), Index(10), Index(9))

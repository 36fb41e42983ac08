"""Raft paper §5.4: who may be elected, and what a leader may count."""

from typing import Final

import pytest

from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.events import Campaign
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, N3, N4, N5, R1, R2, World


@pytest.mark.parametrize(("terms", "hard_term"), [([1], 1), ([1, 2], 2), ([1, 2], 5), ([], 3)])
def test_a_vote_request_names_the_candidates_last_entry(terms: list[int], hard_term: int) -> None:
    """§5.4.1: a vote request tells about the log: its last *entry's* term and index."""
    world = World(3, logs={N1: terms}, hard_states={N1: HardState(Term(hard_term))})
    world[N1].step(Campaign())
    world[N1].receive(R2, PreVoteReply(Term(hard_term + 1), granted=True))
    last_term, last_index = Term(terms[-1] if terms else 0), Index(len(terms))
    term = Term(hard_term + 1)

    assert {sent.to: sent.message for sent in world.select(VoteRequest)} == dict.fromkeys(
        (N2, N3), VoteRequest(term, last_term, last_index, transfer=False)
    )
    assert {sent.to: sent.message for sent in world.select(PreVoteRequest)} == dict.fromkeys(
        (N2, N3), PreVoteRequest(term, last_term, last_index)
    )


LOGS: Final = [
    # the voter's log, the candidate's last term and index, granted
    ([1], (1, 1), True),  # the same
    ([1], (1, 2), True),
    ([1, 1], (1, 1), False),
    ([1], (2, 1), True),  # the later term wins
    ([1], (2, 2), True),
    ([1, 1], (2, 1), True),  # even if it is shorter
    ([2], (1, 1), False),
    ([2], (1, 2), False),  # even if it is longer
    ([2, 2], (2, 1), False),
    ([], (0, 0), True),
    ([1], (0, 0), False),
]


@pytest.mark.parametrize(("log", "last", "granted"), LOGS)
@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_voter_denies_a_candidate_whose_log_is_less_up_to_date(
    log: list[int], last: tuple[int, int], *, granted: bool, pre_vote: bool
) -> None:
    """§5.4.1: the last term decides, then the length; the same in a pre-vote."""
    world = World(3, logs={N1: log}, hard_states={N1: HardState(Term(2))})
    last_term, last_index = Term(last[0]), Index(last[1])
    if pre_vote:
        world[N1].receive(R2, PreVoteRequest(Term(3), last_term, last_index))
        assert world.take_one(PreVoteReply).granted is granted
    else:
        world[N1].receive(R2, VoteRequest(Term(3), last_term, last_index, transfer=False))
        assert world.take_one(VoteReply).granted is granted


@pytest.mark.parametrize(
    ("acknowledged", "commit"),
    [
        (1, 0),  # entries of terms 1 and 2 are on a majority, and are not committed by it
        (2, 0),
        (3, 3),  # one of the leader's own term is
    ],
)
def test_a_leader_commits_by_counting_only_in_its_own_term(acknowledged: int, commit: int) -> None:
    """§5.4.2: only log entries from the leader's current term are committed by counting."""
    world = World(3, logs={N1: [1, 2]})
    leader = world[N1]
    leader.step(Campaign())
    leader.receive(R2, PreVoteReply(Term(3), granted=True))
    leader.receive(R2, VoteReply(Term(3), granted=True))
    assert leader.terms == [1, 2, 3]
    leader.receive(R2, AppendAccepted(Term(3), Index(acknowledged)))

    assert leader.core.commit == Index(commit)


def test_an_entry_of_an_old_term_on_a_majority_can_still_be_replaced() -> None:
    """Figure 8: n1 spreads an entry of term 2 in term 4 and dies; n5 with term 3 replaces it.

    Had n1 counted the copies of the old entry, n5 would replace what is committed.
    """
    logs = {N1: [1, 2], N2: [1, 2], N3: [1], N4: [1], N5: [1, 3]}
    world = World(5, logs=logs, hard_states={node: HardState(Term(3)) for node in logs})
    world.isolate(N4, N5)
    n1, n5 = world[N1], world[N5]
    n1.step(Campaign())
    while not n1.is_leader:
        assert world.deliver()
    world.drop()
    for node, previous in ((N2, 2), (N3, 1)):  # nothing of term 4 arrives, only what is old
        before, entries = Term(logs[N1][previous - 1]), tuple(n1.view[previous:2])
        world[node].receive(R1, AppendRequest(Term(4), before, Index(previous), Index(0), entries))
    assert world.deliver(AppendAccepted) == 2
    assert world[N3].terms == [1, 2]
    assert n1.progress(N2)[0] == n1.progress(N3)[0] == 2
    assert n1.core.commit == Index(0)

    world.drop()
    world.heal()
    world.isolate(N1)
    n5.step(Campaign())
    world.settle()
    world.elect(N5)
    world.heal()
    world.run(3 * world.config.heartbeat_ticks)

    assert {tuple(node.terms) for node in world.nodes.values()} == {(1, 3, 5)}

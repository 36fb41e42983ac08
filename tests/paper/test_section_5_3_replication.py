"""Raft paper §5.3: log replication."""

from typing import Final

import pytest

from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.writes import HardState
from raftlog.raft.rpcs import AppendAccepted, AppendRejected, AppendRequest, Heartbeat
from tests.raft.harness import (
    N1,
    N2,
    N3,
    R1,
    R2,
    World,
    log_of,
    node_id,
    replica_id,
)


def test_a_leader_appends_and_sends_to_all_in_parallel() -> None:
    """§5.3: appends the command to its log as a new entry, then issues AppendEntries RPCs."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"some data")
    sent = {mail.to: mail.message for mail in world.select(AppendRequest)}

    assert leader.terms == [1, 1]
    assert bytes(leader.view[1].body) == b"some data"
    request = AppendRequest(Term(1), Term(1), Index(1), Index(1), (leader.view[1],))
    assert sent == {N2: request, N3: request}


def test_a_leader_commits_an_entry_once_a_majority_has_it() -> None:
    """§5.3: then it applies it, and the followers learn of it from the next message."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"some data")
    assert leader.core.commit == Index(1)
    world.settle()

    assert leader.core.commit == Index(2)
    assert bytes(leader.applied[1].body) == b"some data"
    leader.tick(world.config.heartbeat_ticks)
    beat = Heartbeat(Term(1), Index(2), 2, leader.core.log.end.checksum)
    assert {mail.message for mail in world.select(Heartbeat)} == {beat}
    world.settle()
    assert [node.core.commit for node in world.nodes.values()] == [2, 2, 2]


ACKNOWLEDGEMENTS: Final = [
    # size, who acknowledges besides the leader, committed
    (1, "", True),
    (3, "", False),
    (3, "2", True),
    (3, "23", True),
    (5, "", False),
    (5, "2", False),
    (5, "23", True),
    (5, "234", True),
    (5, "2345", True),
]


@pytest.mark.parametrize(("size", "acknowledges", "committed"), ACKNOWLEDGEMENTS)
def test_an_entry_is_committed_when_a_majority_acknowledged_it(
    size: int, acknowledges: str, *, committed: bool
) -> None:
    """§5.3: once the leader that created the entry has replicated it on a majority."""
    world = World(size)
    leader = world.elect(N1) if size > 1 else world[N1]
    leader.tick()
    world.drop()
    leader.propose(b"some data")
    for number in acknowledges:
        leader.receive(replica_id(int(number)), AppendAccepted(Term(1), Index(2)))

    assert (leader.core.commit == Index(2)) is committed


PRECEDING: Final = [[], [2], [1, 2], [1]]


@pytest.mark.parametrize("terms", PRECEDING)
def test_committing_an_entry_commits_everything_before_it(terms: list[int]) -> None:
    """§5.3: this also commits all preceding entries created by previous leaders."""
    world = World(3, logs={N1: terms}, hard_states={N1: HardState(Term(2))})
    leader = world.elect(N1)
    leader.propose(b"some data")
    world.settle()

    assert [entry.term for entry in leader.applied] == [*terms, 3, 3]
    assert leader.applied == leader.view


@pytest.mark.parametrize("commit", [1, 2, 3])
def test_a_follower_applies_in_log_order_up_to_the_leaders_commit(commit: int) -> None:
    """§5.3: it applies the entry to its local state machine (in log order)."""
    world = World(3)
    follower = world[N1]
    entries = log_of([1, 1, 1])
    follower.receive(R2, AppendRequest(Term(1), Term(0), Index(0), Index(commit), entries))

    assert follower.applied == list(entries[:commit])


def test_a_follower_commits_no_further_than_the_leader_has_confirmed() -> None:
    """Figure 2: commitIndex = min(leaderCommit, index of last new entry); the rest may differ."""
    world = World(3, logs={N1: [1, 1, 1]})
    follower = world[N1]
    entries = log_of([1, 1, 1])
    follower.receive(R2, AppendRequest(Term(2), Term(1), Index(1), Index(3), entries[1:2]))

    assert follower.core.commit == Index(2)


CHECKS: Final = [
    # previous term, previous index, what the follower answers; its log is [1, 2], 1 committed
    (0, 0, AppendAccepted(Term(2), Index(1))),
    (1, 1, AppendAccepted(Term(2), Index(1))),
    (2, 2, AppendAccepted(Term(2), Index(2))),
    (1, 2, AppendRejected(Term(2), Index(2), Term(1), Index(1))),
    (2, 3, AppendRejected(Term(2), Index(3), Term(2), Index(2))),
    (3, 3, AppendRejected(Term(2), Index(3), Term(2), Index(2))),
]


@pytest.mark.parametrize(("previous_term", "previous_index", "answer"), CHECKS)
def test_a_follower_refuses_entries_that_do_not_follow_its_log(
    previous_term: int, previous_index: int, answer: AppendAccepted | AppendRejected
) -> None:
    """§5.3, the consistency check; what is committed agrees by leader completeness (§5.4.3)."""
    world = World(3, logs={N1: [1, 2]}, commit=0)
    follower = world[N1]
    first = log_of([1, 2])[:1]
    follower.receive(R2, AppendRequest(Term(2), Term(0), Index(0), Index(1), first))
    world.drop()
    follower.receive(
        R2, AppendRequest(Term(2), Term(previous_term), Index(previous_index), Index(1), ())
    )

    (sent,) = world.mail
    assert (sent.to, sent.message) == (N2, answer)
    assert follower.terms == [1, 2]


APPENDS: Final = [
    # previous index, terms that the leader's log has up to the end of the message, log after it,
    # entries written; the follower has [1, 2]
    (2, [1, 2, 3], [1, 2, 3], 1),
    (1, [1, 3, 4], [1, 3, 4], 2),
    (0, [1], [1, 2], 0),
    (0, [3], [3], 1),
    (1, [1, 2], [1, 2], 0),
    (1, [1, 2, 2], [1, 2, 2], 1),
    (0, [1, 3], [1, 3], 1),
]


@pytest.mark.parametrize(("previous", "leader_log", "log", "written"), APPENDS)
def test_a_follower_replaces_only_what_conflicts(
    previous: int, leader_log: list[int], log: list[int], written: int
) -> None:
    """§5.3: a conflicting entry and all that follow it go; old entries change nothing."""
    world = World(3, logs={N1: [1, 2]})
    follower = world[N1]
    entries = log_of(leader_log)
    term = Term(4)
    before = Term(leader_log[previous - 1] if previous else 0)
    effects = follower.receive(
        R2, AppendRequest(term, before, Index(previous), Index(0), entries[previous:])
    )

    assert follower.terms == [entry.term for entry in follower.disk] == log
    new = [entry for write in effects.writes for entry in getattr(write, "entries", ())]
    assert len(new) == written
    assert world.take_one(AppendAccepted) == AppendAccepted(term, Index(len(leader_log)))


FIGURE_7_LEADER: Final = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
FIGURE_7: Final = {
    "a: an entry is missing": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b: many are missing": [1, 1, 1, 4],
    "c: one more of the last term": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d: two more of a later term": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e: missing and others instead": [1, 1, 1, 4, 4, 4, 4],
    "f: another branch since term 2": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_a_leader_brings_every_log_of_figure_7_into_line(name: str) -> None:
    """§5.3: the leader makes the followers' logs duplicate its own.

    The follower may end later than the leader, so the third server elects it.
    """
    world = World(
        3,
        logs={N1: FIGURE_7_LEADER, N2: FIGURE_7[name]},
        hard_states={number: HardState(Term(7)) for number in (N1, N2, N3)},
    )
    leader = world.elect(N1)
    world.run(3 * world.config.heartbeat_ticks)

    assert world[N2].disk == leader.disk
    assert world[N2].terms == [*FIGURE_7_LEADER, 8]
    assert world[N2].core.commit == Index(11)


def test_all_logs_of_figure_7_meet_in_one_cluster() -> None:
    """The whole figure at once: seven servers, elected by those that may vote for it."""
    logs: dict[NodeId, list[int]] = {N1: FIGURE_7_LEADER}
    logs |= {node_id(number): log for number, log in enumerate(FIGURE_7.values(), 2)}
    hard_states = {node: HardState(Term(7)) for node in logs}
    world = World(7, logs=logs, hard_states=hard_states)
    world.elect(N1)
    world.run(3 * world.config.heartbeat_ticks)

    assert {tuple(node.terms) for node in world.nodes.values()} == {(*FIGURE_7_LEADER, 8)}


def test_an_append_is_repeated_until_the_follower_has_it() -> None:
    """§5.3: the leader retries AppendEntries RPCs indefinitely."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(b"some data")
    world.run(4 * world.config.heartbeat_ticks)
    assert world[N3].terms == [1]
    world.heal()
    world.run(4 * world.config.heartbeat_ticks)

    assert world[N3].terms == [1, 1]
    assert world[N3].core.commit == Index(2)


def test_an_append_that_is_repeated_has_no_effect() -> None:
    """§5.3 and §5.5: Raft RPCs are idempotent."""
    world = World(3)
    follower = world[N2]
    append = AppendRequest(Term(1), Term(0), Index(0), Index(1), log_of([1, 1]))
    follower.receive(R1, append)
    before = (follower.core.status(), list(follower.disk))
    effects = follower.receive(R1, append)

    assert (follower.core.status(), list(follower.disk)) == before
    assert effects.writes == []
    assert world.take(AppendAccepted) == [AppendAccepted(Term(1), Index(2))] * 2

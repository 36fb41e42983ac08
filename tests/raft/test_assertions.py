"""What no message may bring about stops the replica: assertions stay on in production."""

from random import Random
from typing import Final

import msgspec
import pytest

from raftlog.base.entry import EntryKind, seal
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.config import CoreConfig
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Role
from raftlog.raft.events import Applied, Campaign, Propose
from raftlog.raft.rpcs import AppendAccepted, AppendRequest, Heartbeat, VoteReply
from tests.raft.harness import N1, N2, R1, R2, World, log_of, restored

LIES: Final = [
    # previous term and index, terms of the log that the entries after it are from
    (1, 1, [1, 3]),  # another committed entry
    (1, 1, [1, 3, 3, 3]),  # and more after it
    (0, 0, [3, 3]),
    (3, 2, [3, 3]),  # nothing but a point that cannot be
    (3, 2, [3, 3, 3]),
]


@pytest.mark.parametrize(("previous_term", "previous_index", "terms"), LIES)
def test_a_leader_without_a_committed_entry_stops_the_replica(
    previous_term: int, previous_index: int, terms: list[int]
) -> None:
    """R4: nothing committed is truncated, and who asks for it has lost it: going on is worse."""
    world = World(3)
    node = world[N2]
    kept = log_of([1, 1, 2])
    node.receive(R1, AppendRequest(Term(2), Term(0), Index(0), Index(2), kept))
    assert node.core.commit == Index(2)
    lie = AppendRequest(
        *(Term(4), Term(previous_term), Index(previous_index), Index(2)),
        log_of(terms)[previous_index:],
    )
    with pytest.raises(AssertionError, match="contradicts committed entry"):
        node.receive(R1, lie)

    assert node.disk == list(kept)


def test_an_append_that_only_repeats_what_is_committed_truncates_nothing() -> None:
    """A late message from before the commit is old news, not a contradiction."""
    world = World(3)
    node = world[N2]
    entries = log_of([1, 1, 1, 1])
    node.receive(R1, AppendRequest(Term(1), Term(0), Index(0), Index(3), entries))
    for previous, end in ((0, 2), (1, 3), (0, 0), (2, 3)):
        before = Term(1 if previous else 0)
        node.receive(
            R1,
            AppendRequest(Term(1), before, Index(previous), Index(1), entries[previous:end]),
        )

    assert node.disk == list(entries)
    assert node.core.commit == Index(3)


def test_entries_that_do_not_link_stop_the_replica() -> None:
    """Equal term and index with another history: logs have diverged under one name."""
    world = World(3, logs={N2: [1]})
    stranger = seal(EntryKind.COMMANDS, Term(1), Index(2), 12345, [b"x"])
    with pytest.raises(AssertionError, match="divergence"):
        world[N2].receive(R1, AppendRequest(Term(1), Term(1), Index(1), Index(0), (stranger,)))


def test_two_leaders_of_one_term_stop_the_replica() -> None:
    """A leader that is sent entries of its own term has been elected twice."""
    world = World(3)
    leader = world.elect(N1)
    with pytest.raises(AssertionError, match="also leads"):
        leader.receive(R2, Heartbeat(Term(1), Index(0), 1))


def test_a_second_leader_of_one_term_is_not_followed() -> None:
    """Ruling 6: appends only from the one leader that this node knows for the term."""
    world = World(3)
    node = world[N1]
    node.receive(R2, Heartbeat(Term(1), Index(0), 1))
    world.drop()
    node.receive(
        world.membership.voters[2],
        AppendRequest(Term(1), Term(0), Index(0), Index(0), log_of([1])),
    )

    assert node.view == []
    assert node.core.leader == N2
    assert world.mail == []


def test_an_acknowledgement_beyond_the_log_does_not_stop_the_leader() -> None:
    """Nobody can match what was never sent: the peer is bad, and must not end a good leader.

    Nor is it counted: once entry 2 exists, n2's lie must not have committed it.
    """
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N1)
    leader.receive(R2, AppendAccepted(Term(1), Index(2)))
    assert leader.core.commit == Index(1)
    leader.propose(b"2")
    assert leader.core.commit == Index(1)
    assert leader.core.role is Role.LEADER
    leader.receive(R2, AppendAccepted(Term(1), Index(2)))
    assert leader.core.commit == Index(2)


def test_an_acknowledgement_from_another_directory_is_not_counted() -> None:
    """Ruling 5: n2's disk was wiped; what the new one says is not n2's promise."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N1)
    leader.propose(b"2")
    wiped = msgspec.structs.replace(R2, directory="f" * 32)
    leader.receive(wiped, AppendAccepted(Term(1), Index(2)))
    assert leader.core.commit == Index(1)
    leader.receive(R2, AppendAccepted(Term(1), Index(2)))

    assert leader.core.commit == Index(2)


@pytest.mark.parametrize("applied", [0, 3])
def test_applying_backwards_or_beyond_the_commit_index_stops_the_replica(applied: int) -> None:
    """The applier is ours, so it is a bug of ours."""
    world = World(1)
    world.run(1)
    assert world[N1].core.applied == Index(1)
    with pytest.raises(AssertionError, match="applied"):
        world[N1].step(Applied(Index(applied)))


def test_an_empty_proposal_is_a_bug() -> None:
    """It would be acknowledged with no entry to wait for."""
    world = World(1)
    world.run(1)
    with pytest.raises(AssertionError, match="without bodies"):
        world[N1].step(Propose([]))


@pytest.mark.parametrize(
    ("terms", "hard_term", "commit"),
    [
        ([1, 2], 1, 0),  # the log ends in a term that was never entered
        ([1, 2], 2, 3),  # committed beyond the end: the hint must be cut first (ruling 14)
    ],
)
def test_a_disk_that_contradicts_itself_starts_no_core(
    terms: list[int], hard_term: int, commit: int
) -> None:
    """Recovery decides what to keep; the core refuses what cannot be."""
    membership = World(1).membership
    with pytest.raises(AssertionError):
        RaftCore(
            R1,
            CoreConfig(),
            restored(membership, log_of(terms), HardState(Term(hard_term)), commit),
            Random(1),
        )


@pytest.mark.parametrize(("heartbeat", "low", "high"), [(30, 50, 100), (0, 50, 100), (5, 50, 50)])
def test_timings_under_which_elections_could_not_end_are_refused(
    heartbeat: int, low: int, high: int
) -> None:
    """It is the operator's mistake, so it is said at the start."""
    with pytest.raises(ValueError, match="election timeout"):
        CoreConfig(heartbeat_ticks=heartbeat, election_ticks_min=low, election_ticks_max=high)


def test_a_vote_that_comes_too_late_changes_nothing() -> None:
    """The election was won already, or lost."""
    world = World(3)
    leader = world.elect(N1)
    before = leader.core.status()
    leader.receive(R2, VoteReply(Term(1), granted=True))
    leader.receive(R2, VoteReply(Term(1), granted=False))
    leader.step(Campaign())

    assert leader.core.status() == before


def test_a_replica_ignores_its_own_messages() -> None:
    """A network that echoes must not make it vote or ack for itself twice."""
    world = World(3)
    node = world[N1]
    node.step(Campaign())
    before = (node.core.status(), list(world.mail))
    node.receive(R1, VoteReply(Term(9), granted=True))

    assert (node.core.status(), list(world.mail)) == before

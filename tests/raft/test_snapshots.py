"""Who needs entries that the leader has trimmed is offered its snapshot (Raft §7).

The pure part: what is offered, to whom, when it ends, and what of the follower's log goes.
"""

from random import Random

import pytest

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState, ResetLog
from raftlog.raft.config import CoreConfig
from raftlog.raft.core import RaftCore
from raftlog.raft.events import Campaign, Durable, Receive, SnapshotFetched, Trimmed
from raftlog.raft.progress import Pace
from raftlog.raft.rpcs import AppendAccepted, AppendRejected, AppendRequest, SnapshotOffer
from tests.raft.harness import N1, N2, N3, R1, R2, World, log_of, restored

BASE = LogEnd(Index(5), Term(1), log_of([1] * 5)[-1].checksum)


def leading() -> World:
    """Return a world whose leader n1 has trimmed entries 1 to 5 of six."""
    world = World(3, logs={N1: [1] * 6, N2: [1] * 2, N3: [1] * 6})
    world.isolate(N2)
    world.elect(N1)
    world.settle()
    world[N1].step(Trimmed(BASE))
    world.heal()
    return world


def follower(commit: int = 2) -> RaftCore:
    """Return n2 with a log of two entries, led by n1."""
    world = World(3)
    core = RaftCore(
        R2,
        CoreConfig(),
        restored(world.membership, log_of([1, 1]), HardState(Term(2)), commit, 0),
        Random(1),
    )
    core.step(Receive(R1, AppendRequest(Term(2), Term(1), Index(2), Index(commit), ())))
    return core


def test_a_follower_behind_the_start_is_offered_a_snapshot_and_no_entries() -> None:
    world = leading()
    effects = world[N1].receive(R2, AppendRejected(Term(2), Index(6), Term(1), Index(2)))
    assert [send.message for send in effects.messages] == [SnapshotOffer(Term(2), Index(5))]
    assert world[N1].progress(N2)[2] == Pace.SNAPSHOT.value
    assert not effects.loads


def test_what_is_acknowledged_before_the_start_changes_nothing() -> None:
    """A late answer must not begin to send what is not there."""
    world = leading()
    world[N1].receive(R2, AppendRejected(Term(2), Index(6), Term(1), Index(2)))
    world[N1].receive(R2, AppendAccepted(Term(2), Index(2)))
    assert world[N1].progress(N2)[2] == Pace.SNAPSHOT.value


def test_replication_goes_on_where_the_snapshots_log_begins() -> None:
    world = leading()
    world[N1].receive(R2, AppendRejected(Term(2), Index(6), Term(1), Index(2)))
    world[N1].receive(R2, AppendAccepted(Term(2), Index(5)))
    assert world[N1].progress(N2)[:2] == (5, world[N1].core.log.last_index + 1)
    assert world[N1].progress(N2)[2] == Pace.REPLICATE.value


def test_an_offer_is_taken_up_only_by_who_needs_it() -> None:
    core = follower()
    assert core.step(Receive(R1, SnapshotOffer(Term(2), Index(5)))).fetch_from == N1
    effects = core.step(Receive(R1, SnapshotOffer(Term(2), Index(2))))
    assert effects.fetch_from is None
    assert [send.message for send in effects.messages] == [AppendAccepted(Term(2), Index(2))]


def test_the_log_begins_anew_and_is_acknowledged_when_that_is_durable() -> None:
    core = follower()
    members = core.membership.encode()
    effects = core.step(SnapshotFetched(BASE, members))
    (write,) = effects.writes
    assert isinstance(write, ResetLog)
    assert (write.base, write.configuration) == (BASE, members)
    assert (core.log.start, core.log.end, core.commit) == (BASE, BASE, 5)
    assert core.durable <= 2, "the new beginning is not on disk yet"
    assert not effects.messages
    effects = core.step(Durable(write.write))
    assert [send.message for send in effects.messages] == [AppendAccepted(Term(2), Index(5))]


@pytest.mark.parametrize("commit", [2, 5, 6])
def test_a_snapshot_that_came_too_late_takes_nothing_back(commit: int) -> None:
    """Neither what is committed here, nor what was promised and may be: another leader has led."""
    core = RaftCore(
        R2,
        CoreConfig(),
        restored(World(3).membership, log_of([1] * 6), HardState(Term(2)), commit, 0),
        Random(1),
    )
    core.step(Receive(R1, AppendRequest(Term(2), Term(1), Index(6), Index(commit), ())))
    effects = core.step(SnapshotFetched(BASE, core.membership.encode()))
    assert not effects.writes
    assert core.log.last_index == 6
    assert core.commit == max(commit, 5), "what a snapshot has is committed"


def test_entries_of_another_branch_go() -> None:
    """An entry in the place of one that is committed never will be, nor what follows it."""
    core = RaftCore(
        R2,
        CoreConfig(),
        restored(World(3).membership, log_of([1, 1, 1, 1, 2, 2]), HardState(Term(3)), 2, 0),
        Random(1),
    )
    base = LogEnd(Index(5), Term(1), BASE.checksum)
    (write,) = core.step(SnapshotFetched(base, core.membership.encode())).writes
    assert isinstance(write, ResetLog)
    assert (core.log.start, core.log.end, core.commit) == (base, base, 5)


def test_a_late_snapshot_does_not_undo_the_ack_that_committed_an_entry() -> None:
    """n1 offers its snapshot and dies; n3, whose log is whole, leads n2 on; then n1's comes.

    What n2 acknowledged to n3 is committed. If n2 gave it up, n1 could lead without it.
    """
    world = World(3, logs={N1: [1] * 10, N2: [1] * 2, N3: [1] * 10}, commit=2)
    world.isolate(N1)
    world[N3].step(Campaign())
    while world.mail:
        sent = world.mail.pop(0)
        if sent.to != N2 or getattr(sent.message, "commit", 0) <= 2:
            world.hand_over(sent)  # else it is still on its way
    assert (world[N3].core.commit, world[N2].core.commit) == (11, 2)

    world[N2].step(SnapshotFetched(BASE, world.membership.encode()))
    world.drop()
    world.heal()
    world.isolate(N3)
    world[N1].step(Campaign())
    world.settle()
    assert not world[N1].is_leader, "it does not have entry 11"
    assert world[N2].core.log.last_index == 11


def test_a_candidates_log_does_not_change() -> None:
    """Voters judge it by what its log was when it asked."""
    core = follower()
    core.step(Campaign())
    assert not core.step(SnapshotFetched(BASE, core.membership.encode())).writes

"""A leader finds the end of the common log in few round trips, by hints on both sides (§5.3)."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.rpcs import AppendAccepted, AppendRejected, AppendRequest
from tests.raft.harness import N1, N2, N3, R2, World


def repaired(leader_log: list[int], follower_log: list[int]) -> World:
    """Return a world in which n1 has been elected by n3 and has repaired n2."""
    term = Term(max([0, *leader_log, *follower_log]))
    world = World(
        3,
        logs={N1: leader_log, N2: follower_log, N3: leader_log},
        hard_states=dict.fromkeys((N1, N2, N3), HardState(term)),
    )
    world.elect(N1)
    world.run(3 * world.config.heartbeat_ticks)
    return world


def rejections(world: World) -> list[tuple[int, int, int]]:
    """Return (rejected, hint term, hint index) of n2's distinct answers, in order."""
    answers = [
        (sent.message.rejected, sent.message.hint_term, sent.message.hint_index)
        for sent in world.history
        if sent.sender == R2 and isinstance(sent.message, AppendRejected)
    ]
    return list(dict.fromkeys(answers))


def probes(world: World) -> list[int]:
    """Return the distinct points after which n1 sent entries to n2, in order."""
    points = [
        sent.message.previous_index
        for sent in world.history
        if sent.to == N2 and isinstance(sent.message, AppendRequest)
    ]
    return list(dict.fromkeys(points))


ROWS: Final = [
    # leader's log, follower's log, the follower's rejections, the leader's probes
    ([1, 1], [1, 1], [], [2]),
    ([1, 1], [1, 1, 1], [], [2]),  # a longer log of the follower is found out by the entry
    ([1, 1, 1, 3, 3], [1, 1, 1], [(5, 1, 3)], [5, 3]),  # the follower names its end
    ([1, 1, 1], [], [(3, 0, 0)], [3, 0]),
    # The leader skips its whole run of term 4: the follower has nothing above term 2.
    ([1, 1, 1, 4, 4, 4], [1, 1, 1, 2, 2, 2], [(6, 2, 6)], [6, 3]),
    # The follower skips its whole run of term 3: the leader has nothing above term 2.
    ([1, 1, 2, 2, 2, 2], [1, 1, 3, 3, 3, 3, 3], [(6, 1, 2)], [6, 2]),
    # Figure 7 (e) and (f).
    ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 4, 4, 4, 4], [(10, 4, 7)], [10, 5]),
    ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6], [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], [(10, 3, 10)], [10, 3]),
    # Interleaved terms: each side skips one run, two round trips.
    ([1, 2, 2, 4, 4, 4], [1, 3, 3, 3, 3, 3, 3], [(6, 3, 6), (3, 1, 1)], [6, 3, 1]),
    # Nothing in common at all.
    ([2, 2, 2], [1, 1, 1, 1], [(3, 1, 3)], [3, 0]),
]


@pytest.mark.parametrize(("leader_log", "follower_log", "refused", "probed"), ROWS)
def test_hints_skip_whole_terms(
    leader_log: list[int],
    follower_log: list[int],
    refused: list[tuple[int, int, int]],
    probed: list[int],
) -> None:
    """One rejection for each run of terms that only one side has, not one for each entry."""
    world = repaired(leader_log, follower_log)

    assert rejections(world) == refused
    assert probes(world)[: len(probed)] == probed
    assert world[N2].disk == world[N1].disk


@st.composite
def diverged(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two logs with a common prefix; after it no term is on both sides.

    So it is in Raft: a term has one leader, and its entries one order.
    """
    common = sorted(draw(st.lists(st.integers(1, 3), max_size=6)))
    first = max([0, *common]) + 1
    sides: tuple[list[int], list[int]] = (list(common), list(common))
    for term in range(first, first + draw(st.integers(0, 6))):
        sides[draw(st.integers(0, 1))].extend([term] * draw(st.integers(1, 4)))
    leader, follower = sides
    if (leader[-1:], len(leader)) < (follower[-1:], len(follower)):
        leader, follower = follower, leader
    return leader, follower


@given(diverged())
def test_any_two_logs_meet_within_a_round_trip_for_each_run_of_terms(
    logs: tuple[list[int], list[int]],
) -> None:
    """The bound that makes catch-up cheap, and the end state that makes it right."""
    leader_log, follower_log = logs
    world = repaired(leader_log, follower_log)

    assert world[N2].disk == world[N1].disk
    assert len(rejections(world)) <= len(set(leader_log) | set(follower_log)) + 1


def test_a_late_rejection_is_ignored() -> None:
    """It names a point that is known to match by now; going back would send all again."""
    world = repaired([1, 1, 1, 1], [1, 1])
    leader = world[N1]
    before = leader.progress(N2)
    for rejected in (1, 2, 4):
        leader.receive(R2, AppendRejected(leader.core.term, Index(rejected), Term(0), Index(0)))

    assert leader.progress(N2) == before
    assert world.mail == []


def test_a_rejection_never_leads_below_what_matches() -> None:
    """A durable promise stands, whatever a later message hints at."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"2")
    world.settle()
    world.isolate(N2)
    leader.propose(b"3")
    world.drop()
    leader.receive(R2, AppendRejected(Term(1), Index(3), Term(0), Index(0)))

    assert leader.progress(N2) == (2, 3, "probe")


def test_an_append_between_entries_that_are_known_is_answered_with_its_own_end() -> None:
    """Reordered appends: the answer names the message's end, never the log's (CCF's bug)."""
    world = World(3)
    leader = world.elect(N1)
    first, second = (leader.propose(body).messages[0].message for body in (b"2", b"3"))
    world.drop()
    follower = world[N2]
    follower.receive(world[N1].replica, first)
    follower.receive(world[N1].replica, second)
    world.drop()
    follower.receive(world[N1].replica, first)

    assert world.take_one(AppendAccepted).matched == Index(3), "both were accepted in this term"


def test_entries_after_a_gap_are_rejected_and_then_sent_again() -> None:
    """A pipelined message was lost: the next one does not fit."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"2")
    world.mail = [sent for sent in world.mail if sent.to != N2]
    leader.propose(b"3")
    world.settle()

    assert rejections(world) == [(2, 1, 1)]
    assert world[N2].disk == leader.disk


def test_a_follower_acknowledges_only_what_the_leader_has_confirmed() -> None:
    """Its own tail may be longer: it is another branch until the leader says otherwise."""
    world = World(3, logs={N2: [1, 1, 2, 2]})
    follower = world[N2]
    follower.receive(world[N1].replica, AppendRequest(Term(3), Term(1), Index(2), Index(4), ()))

    assert world.take_one(AppendAccepted).matched == Index(2)
    assert follower.core.commit == Index(2)


def test_a_new_term_on_the_disk_is_not_taken_for_an_answer_to_a_probe() -> None:
    """The report of that write acknowledged the commit index, which nobody had asked for.

    n2 missed the election. The leader took the acknowledgement for the answer to its
    probe, and sent everything from n2's commit index on although n2 has nearly all of it.
    """
    logs = {N1: [1] * 40 + [2], N2: [1] * 40, N3: [1] * 40 + [2]}
    world = World(3, logs=logs, hard_states=dict.fromkeys(logs, HardState(Term(2))))
    world.isolate(N2)
    leader = world.elect(N1)
    world.heal()
    world.run(3 * world.config.heartbeat_ticks)

    assert world[N2].terms == leader.terms
    assert probes(world)[:2] == [41, 40]
    assert min(probes(world)) == 40

"""What may be promised, and when: only what this replica's disk holds (R2, rulings 4 and 14)."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.raft.durability import Durability
from raftlog.raft.effects import Role
from raftlog.raft.events import Applied, Campaign, Durable
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, N3, R1, R2, R3, World, log_of


def append(term: int, terms: list[int], previous: int) -> AppendRequest:
    """Return an append of the entries of log ``terms`` after ``previous``."""
    before = Term(terms[previous - 1] if previous else 0)
    entries = log_of(terms)[previous:]
    return AppendRequest(Term(term), before, Index(previous), Index(0), entries)


# -- promises wait for the disk


def test_an_append_is_acknowledged_when_it_is_durable() -> None:
    """An ack is a promise: fsynced here."""
    world = World(3)
    node = world[N2]
    node.slow_disk = True
    node.receive(R1, append(1, [1, 1], 0))
    assert world.mail == []
    node.flush()

    assert world.take(AppendAccepted) == [AppendAccepted(Term(1), Index(2))]


def test_a_vote_leaves_when_it_is_durable() -> None:
    """Term and vote before the reply (PySyncObj and jraft #1241 forgot it)."""
    world = World(3)
    node = world[N2]
    node.slow_disk = True
    node.receive(R1, VoteRequest(Term(1), Term(0), Index(0), transfer=False))
    assert world.mail == []
    node.flush()

    assert world.take_one(VoteReply).granted


def test_a_repeated_vote_waits_for_the_same_write() -> None:
    """The second request finds the vote in memory, not on the disk."""
    world = World(3)
    node = world[N2]
    node.slow_disk = True
    request = VoteRequest(Term(1), Term(0), Index(0), transfer=False)
    node.receive(R1, request)
    node.receive(R1, request)

    assert world.mail == []


def test_a_heartbeat_in_a_new_term_is_answered_when_the_term_is_durable() -> None:
    """The answer speaks in the term's name: a crash must not lead back to an earlier one."""
    world = World(3)
    node = world[N2]
    node.slow_disk = True
    node.receive(R1, Heartbeat(Term(4), Index(0), 1))
    assert world.mail == []
    node.flush()

    assert world.take_one(HeartbeatReply) == HeartbeatReply(Term(4), 1)


def test_a_candidate_asks_when_its_own_vote_is_durable() -> None:
    """Else it could restart, vote for another in the term that it asked for (ElectSelf)."""
    world = World(3)
    node = world[N1]
    node.slow_disk = True
    node.step(Campaign())
    node.receive(R2, PreVoteReply(Term(1), granted=True))
    assert node.role == "candidate"
    assert world.select(VoteRequest) == []
    node.flush()

    assert len(world.select(VoteRequest)) == 2


def test_a_candidate_counts_its_own_vote_when_that_is_durable() -> None:
    """With the votes of all others in hand it still waits for itself."""
    world = World(3)
    node = world[N1]
    node.slow_disk = True
    node.step(Campaign())
    node.receive(R2, PreVoteReply(Term(1), granted=True))
    for sender in (R2, R3):
        node.receive(sender, VoteReply(Term(1), granted=True))
    assert node.role == "candidate"
    node.flush()

    assert node.is_leader


def test_a_candidate_whose_disk_hangs_raises_no_more_terms() -> None:
    """Nobody has heard of its last vote; one more term each round would disturb the others."""
    world = World(3)
    node = world[N1]
    node.slow_disk = True
    node.step(Campaign())
    node.receive(R2, PreVoteReply(Term(1), granted=True))
    node.tick(10 * world.config.election_ticks_max)
    node.receive(R2, PreVoteReply(Term(2), granted=True))

    assert node.core.term == Term(1)


def test_term_and_vote_are_one_write_before_the_entries_of_the_same_step() -> None:
    """Entries of a term that the disk does not know must not survive a crash without it."""
    world = World(3)
    effects = world[N2].receive(R1, append(3, [1, 3], 0))

    first, second = effects.writes
    assert isinstance(first, SaveHardState)
    assert first.state == HardState(Term(3))
    assert isinstance(second, WriteEntries)
    assert first.write < second.write


def test_one_report_covers_everything_before_it() -> None:
    """Group commit: one fdatasync, one acknowledgement."""
    world = World(3)
    node = world[N2]
    node.slow_disk = True
    node.receive(R1, append(1, [1], 0))
    node.receive(R1, append(1, [1, 1], 1))
    node.receive(R1, append(1, [1, 1, 1], 2))
    node.flush()

    assert world.take(AppendAccepted) == [AppendAccepted(Term(1), Index(3))]


def test_a_report_covers_nothing_after_it() -> None:
    """The first of three writes acknowledges the first entry only."""
    world = World(3)
    node = world[N2]
    node.receive(R1, Heartbeat(Term(1), Index(0), 1))
    world.drop()
    node.slow_disk = True
    for previous in range(3):
        node.receive(R1, append(1, [1] * (previous + 1), previous))
    node.flush(1)

    assert world.take(AppendAccepted) == [AppendAccepted(Term(1), Index(1))]


def test_a_repeated_append_is_acknowledged_no_further_than_the_disk() -> None:
    """The entries are in memory already; their write is still in flight."""
    world = World(3)
    node = world[N2]
    node.receive(R1, append(1, [1], 0))
    world.drop()
    node.slow_disk = True
    node.receive(R1, append(1, [1, 1], 1))
    node.receive(R1, append(1, [1, 1], 1))

    assert [reply.matched for reply in world.take(AppendAccepted)] == [1]


# -- ABA (ruling 4)


def test_a_late_report_of_a_replaced_write_promises_nothing() -> None:
    """ABA: written, truncated and written again, with one report on its way.

    W1 = (2, t2); t3 replaces it by W2 = truncate to 1, (2, t3); t4 has (2, t2)
    and sends it again as W3. The report of W1 arrives: term and index match the
    log, and yet a crash now leaves (2, t3). The leader must not hear an ack.
    """
    world = World(3)
    node = world[N2]
    node.receive(R1, append(2, [1], 0))
    world.drop()
    node.slow_disk = True
    node.receive(R1, append(2, [1, 2], 1))
    report = node.write_unreported()
    node.receive(R3, append(3, [1, 3], 1))
    node.receive(R1, append(4, [1, 2], 1))
    assert node.terms == [1, 2]
    node.step(report)

    assert node.core.durable == Index(1)
    assert world.take(AppendAccepted) == []
    node.flush()
    assert node.core.durable == Index(2)
    assert world.take(AppendAccepted, to=N1)[-1] == AppendAccepted(Term(4), Index(2))


def test_every_report_between_promises_only_what_no_write_will_cut() -> None:
    """The same race, report by report: the world checks each promise against the disk."""
    world = World(3)
    node = world[N2]
    node.receive(R1, append(2, [1], 0))
    node.slow_disk = True
    node.receive(R1, append(2, [1, 2, 2, 2], 1))
    node.receive(R3, append(3, [1, 3], 1))
    node.receive(R1, append(4, [1, 2, 2], 1))
    durable = []
    while node.pending:
        node.flush(1)
        durable.append(node.core.durable)

    assert node.disk == node.view
    assert durable[-1] == Index(3)
    assert durable[:-1] == [Index(1)] * (len(durable) - 1)


WRITES: Final = [
    # (end of the log after the write, truncated to) in order, then durable after each report
    ([(1, None), (2, None)], [1, 2]),
    ([(2, None), (2, 1), (2, 1)], [1, 1, 2]),
    ([(5, None), (3, 2), (6, None)], [2, 3, 6]),
    ([(5, None), (5, None), (1, 0)], [0, 0, 1]),
]


@pytest.mark.parametrize(("writes", "durable"), WRITES)
def test_durable_is_the_end_of_a_write_cut_by_every_later_truncation(
    writes: list[tuple[int, int | None]], durable: list[int]
) -> None:
    """Neither term nor index is ever matched (ruling 4)."""
    durability = Durability(Index(0))
    numbers = [
        durability.issue(Index(end), None if cut is None else Index(cut)) for end, cut in writes
    ]
    seen = []
    for number in numbers:
        durability.reported(number)
        seen.append(durability.index)

    assert seen == durable
    assert durability.covers(numbers[-1])


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.booleans()), max_size=12))
def test_durable_never_exceeds_what_any_crash_would_leave(
    steps: list[tuple[int, int, bool]],
) -> None:
    """By definition: the common prefix of the log and of every state the disk may end in."""
    durability = Durability(Index(0))
    log: list[int] = []
    states: list[tuple[WriteNumber, list[int]]] = [(WriteNumber(0), [])]
    for fresh, (count, cut, report) in enumerate(steps):
        truncate_to = min(cut, len(log)) if cut < len(log) else None
        log = log[:truncate_to] if truncate_to is not None else log
        log = log + [fresh] * count
        write = durability.issue(
            Index(len(log)), None if truncate_to is None else Index(truncate_to)
        )
        states.append((write, log))
        if report:
            reported = states[len(states) // 2][0]
            durability.reported(reported)
            states = [state for state in states if state[0] >= durability.done]
        for _, disk in states:
            assert disk[: durability.index] == log[: durability.index]


def test_a_report_of_a_write_that_was_never_asked_for_is_a_bug() -> None:
    """A shell that confuses two shards must not make promises."""
    with pytest.raises(AssertionError, match="never issued"):
        World(3)[N1].step(Durable(WriteNumber(99)))


def test_reports_that_repeat_or_come_late_change_nothing() -> None:
    """Numbers only rise."""
    durability = Durability(Index(0))
    first = durability.issue(Index(1), None)
    second = durability.issue(Index(2), None)
    durability.reported(second)
    durability.reported(first)
    durability.reported(second)

    assert durability.index == Index(2)


# -- the leader's own disk (ruling 14)


def test_a_leader_commits_before_its_own_disk_when_a_majority_has_it() -> None:
    """Its write and the followers' run side by side; any majority will do."""
    world = World(3)
    leader = world.elect(N1)
    leader.slow_disk = True
    leader.propose(b"2")
    assert world.deliver(AppendRequest) == 2
    world.deliver(AppendAccepted, sender=N2)
    assert leader.core.commit == Index(1)
    world.deliver(AppendAccepted, sender=N3)

    assert leader.core.commit == Index(2)
    assert leader.core.durable == Index(1)


def test_a_leader_counts_itself_only_from_its_own_disk() -> None:
    """One follower and an unsynced leader are no majority of three."""
    world = World(3)
    leader = world.elect(N1)
    leader.slow_disk = True
    world.isolate(N3)
    leader.propose(b"2")
    world.settle()
    assert leader.core.commit == Index(1)
    leader.flush()

    assert leader.core.commit == Index(2)


def test_a_leader_counts_itself_no_further_than_the_report() -> None:
    """The report is about its first write; the second is still in flight."""
    world = World(3)
    leader = world.elect(N1)
    leader.slow_disk = True
    world.isolate(N3)
    leader.propose(b"2")
    leader.propose(b"3")
    world.settle()
    assert leader.progress(N2)[0] == 3
    leader.flush(1)

    assert leader.core.commit == Index(2)


def test_a_heartbeat_names_no_more_than_the_follower_has() -> None:
    """What is committed elsewhere may be another entry there (Raft Figure 2, matchIndex)."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(b"2")
    world.settle()
    leader.tick(world.config.heartbeat_ticks)

    assert [beat.commit for beat in world.take(Heartbeat, to=N2)] == [2]
    assert [beat.commit for beat in world.take(Heartbeat, to=N3)] == [1]


def test_the_only_voter_commits_on_its_own_disk_alone() -> None:
    """It exposes nothing before that (etcd issue 14370)."""
    world = World(1)
    node = world[N1]
    world.run(1)
    node.slow_disk = True
    node.propose(b"2")
    assert node.core.commit == Index(1)
    node.flush()

    assert node.core.commit == Index(2)


def test_a_leader_that_crashes_before_its_own_disk_loses_nothing_committed() -> None:
    """The followers have it; one of them leads, or it leads after they refuse its shorter log."""
    world = World(3)
    leader = world.elect(N1)
    leader.slow_disk = True
    leader.propose(b"2")
    world.settle()
    assert leader.core.commit == Index(2)
    leader.crash()
    leader.slow_disk = False
    assert leader.terms == [1]
    world.run(300)

    assert world.leader is not None
    assert bytes(world.leader.applied[1].body) == b"2"
    assert leader.disk == world.leader.disk


def test_a_restart_commits_up_to_its_hint_and_no_further() -> None:
    """What lies after it may be replaced (ruling 14)."""
    world = World(3, logs={N2: [1, 1, 1]}, commit=0)
    node = world[N2]
    node.start(commit=2)
    assert node.core.commit == Index(2)
    assert node.core.role is Role.FOLLOWER
    node.step(Applied(Index(2)))

    assert node.core.applied == Index(2)


def test_an_idle_follower_learns_the_commit_index_after_a_restart() -> None:
    """The leader has nothing to send; its heartbeats alone must bring the follower up.

    Else an entry that was committed before the restart is applied here only
    when somebody appends again: reads on this node would hang until then.
    """
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"2")
    world.run(world.config.heartbeat_ticks)
    world[N3].crash()
    assert world[N3].core.commit == Index(0)
    world.run(4 * world.config.heartbeat_ticks)

    assert world[N3].core.commit == Index(2)


def test_an_idle_follower_learns_the_commit_index_after_a_doubt() -> None:
    """Its own pre-vote made it forget that its log matched; the leader is still the same."""
    world = World(3)
    leader = world.elect(N1)
    world.cut.add((N1, N3))
    world.drop()
    leader.propose(b"2")
    world.settle()
    world.cut.clear()
    world.run(2 * world.config.heartbeat_ticks)
    world.cut.add((N1, N3))
    world[N3].tick(world.config.election_ticks_max)
    assert world[N3].core.leader is None
    world.cut.clear()
    world.run(4 * world.config.heartbeat_ticks)

    assert leader.is_leader
    assert world[N3].core.leader == N1
    assert world[N3].core.commit == Index(2)


def test_a_heartbeat_commits_only_what_is_known_to_match() -> None:
    """A follower with another branch at that index must not apply it (DLedger's COMMIT)."""
    world = World(3, logs={N3: [1, 2, 2]}, hard_states={N3: HardState(Term(3))})
    node = world[N3]
    node.receive(R1, Heartbeat(Term(3), Index(0), 1))
    node.receive(R1, AppendRequest(Term(3), Term(1), Index(1), Index(3), ()))

    assert node.core.commit == Index(1)

"""Changing who the members are (Raft §4; Ongaro's thesis, chapter 4)."""

import pytest

from raftlog.base.errors import ChangePending, MemberExists, NotCaughtUp, NotLeader
from raftlog.base.ids import NodeId, Term
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState
from raftlog.raft.changes import AddLearner, Demote, Promote, Remove
from raftlog.raft.effects import TransferEnded
from raftlog.raft.events import Campaign, ConnectionLost, Transfer
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    HeartbeatReply,
    PreVoteReply,
    PreVoteRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import (
    N1,
    N2,
    N3,
    N4,
    R1,
    R2,
    R3,
    R4,
    Node,
    World,
    replica_id,
)

ADD_4 = AddLearner(R4, "h4:1", "h4:2")
CATCH_UP_TICKS = 200


def led(size: int = 3) -> tuple[World, Node]:
    """Return a world that n1 leads and whose no-op is committed."""
    world = World(size)
    leader = world.elect(N1)
    leader.propose(b"first")
    world.settle()
    return world, leader


def with_learner(size: int = 3) -> tuple[World, Node, Node]:
    """Return a world that n1 leads, with the learner n4 that has the whole log."""
    world, leader = led(size)
    learner = world.join(R4)
    assert isinstance(leader.change(ADD_4), int)
    world.settle()
    world.run(CATCH_UP_TICKS)
    return world, leader, learner


def voters(node: Node) -> list[str]:
    """Return the names of the voters of the configuration that ``node`` obeys."""
    assert not node.core.membership.is_joint, f"{node.core.membership}"
    return [replica.node for replica in node.core.membership.voters]


# -- learners


def test_a_learner_gets_the_whole_log() -> None:
    """Nothing is trimmed: it is filled from entry 1 by ordinary replication."""
    _, leader, learner = with_learner()

    assert learner.terms == leader.terms
    assert learner.core.commit == leader.core.commit
    assert learner.core.membership == leader.core.membership
    assert learner.core.membership.learners == (R4,)


def test_a_learner_does_not_count_for_commits() -> None:
    """n1 and the learner are two of four replicas, and one of three voters."""
    world, leader, _ = with_learner()
    commit = leader.core.commit
    world.isolate(N2, N3)
    leader.propose(b"more")
    world.settle()

    assert leader.progress(N4)[0] == leader.core.log.last_index
    assert leader.core.commit == commit


def test_a_learner_does_not_campaign() -> None:
    """Not even when nobody leads, and not when it is told to."""
    world, _, learner = with_learner()
    world.isolate(N4)
    world.run(1_000)
    learner.step(Campaign())
    learner.receive(R1, TimeoutNow(learner.core.term))

    assert learner.role == "follower"
    assert world.select(PreVoteRequest, sender=N4) == []


def test_a_learner_grants_a_vote_that_its_candidate_may_count() -> None:
    """It may be behind and a voter of the candidate's configuration (§4.2.2, ruling 6)."""
    world, _, learner = with_learner()
    world.isolate(N4)
    world.run(300)
    last = learner.core.log.last_id
    learner.receive(R2, VoteRequest(Term(9), last.term, last.index, transfer=False))

    assert learner.hard_state == HardState(Term(9), R2)


def test_a_learner_s_vote_is_not_counted() -> None:
    """n2 has its own vote and the learner's: one of three."""
    world, _, _ = with_learner()
    world.isolate(N2, N4)
    world.run(300)
    candidate = world[N2]
    candidate.step(Campaign())
    candidate.receive(R4, VoteReply(candidate.core.term, granted=True))
    world.settle()

    assert not candidate.is_leader


# -- promotion


def test_a_learner_is_promoted_once_it_has_caught_up() -> None:
    """Two entries: the joint configuration, and the one that the leader leaves it with."""
    world, leader, learner = with_learner()
    before = leader.core.log.last_index
    index = leader.change(Promote(N4))
    assert index == before + 1
    assert leader.core.membership.is_joint
    world.settle()

    assert voters(leader) == [N1, N2, N3, N4]
    assert leader.core.log.last_index == before + 2
    assert leader.core.commit == before + 2
    assert learner.core.membership.is_voter(R4)


def test_a_learner_that_lags_is_not_promoted() -> None:
    """As a voter it would hold commits back for as long as it needs to catch up (§4.2.1)."""
    world, leader = led()
    world.join(R4)
    world.isolate(N4)
    leader.change(ADD_4)
    world.settle()
    world.run(CATCH_UP_TICKS)

    assert isinstance(leader.change(Promote(N4)), NotCaughtUp)
    assert not leader.core.membership.is_joint


def test_a_learner_that_has_gone_away_is_not_promoted() -> None:
    """It had caught up, and has not been heard since."""
    world, leader, _ = with_learner()
    world.isolate(N4)
    world.run(CATCH_UP_TICKS)

    assert isinstance(leader.change(Promote(N4)), NotCaughtUp)


def test_a_learner_that_falls_behind_while_it_is_measured_is_not_promoted() -> None:
    """Its round takes longer than an election timeout, though it is heard all the time."""
    world, leader, learner = with_learner()
    learner.slow_disk = True
    leader.propose(b"more")
    world.run(120)
    assert isinstance(leader.change(Promote(N4)), NotCaughtUp)

    learner.slow_disk = False
    learner.flush()
    world.run(CATCH_UP_TICKS)
    assert isinstance(leader.change(Promote(N4)), int)


# -- when a change may begin


def test_a_follower_refuses_and_names_the_leader() -> None:
    """Only the leader can append."""
    world, _ = led()
    refusal = world[N2].change(ADD_4)

    assert isinstance(refusal, NotLeader)
    assert refusal.leader_hint == N1


def win_without_appending(candidate: Node, world: World) -> None:
    """Make ``candidate`` a leader whose no-op has not left it."""
    for node in world.nodes.values():
        if node.core.leader is not None:
            node.step(ConnectionLost(node.core.leader))
    candidate.step(Campaign())
    for kind in (PreVoteRequest, PreVoteReply, VoteRequest, VoteReply):
        world.deliver(kind)
    assert candidate.is_leader
    world.drop()


def test_a_leader_without_a_commit_of_its_own_term_changes_nothing() -> None:
    """The flaw of single-server changes (Ongaro, 2015): it may not know of an earlier one."""
    world, _ = led()
    world.isolate(N1)
    new = world[N2]
    win_without_appending(new, world)

    assert isinstance(new.change(ADD_4), ChangePending)
    world.run(20)
    assert isinstance(new.change(ADD_4), int)


def test_one_change_at_a_time() -> None:
    """The first one is appended and not committed."""
    world, leader = led()
    world.isolate(N1)
    assert isinstance(leader.change(ADD_4), int)

    assert isinstance(leader.change(Remove(N3)), ChangePending)


def test_nothing_else_begins_within_a_joint_change() -> None:
    """Neither while it is joint nor before what leaves it is committed."""
    world, leader = led()
    leader.change(Remove(N3))
    assert isinstance(leader.change(ADD_4), ChangePending)
    world.deliver()
    world.deliver(AppendAccepted)

    assert not leader.core.membership.is_joint
    assert isinstance(leader.change(ADD_4), ChangePending)
    world.settle()
    assert isinstance(leader.change(ADD_4), int)


def test_what_is_so_already_appends_nothing() -> None:
    """The answer is index 0: done before."""
    _, leader, _ = with_learner()
    last = leader.core.log.last_index

    assert leader.change(ADD_4) == 0
    assert leader.change(Promote(N2)) == 0
    assert leader.core.log.last_index == last


# -- in force when appended, gone when truncated


def test_a_configuration_counts_from_when_it_is_appended() -> None:
    """In the joint configuration of n1 and n1, n2 one of the two alone commits nothing."""
    world, leader = led(2)
    world.isolate(N2)
    leader.change(Remove(N2))
    world.settle()
    leader.propose(b"more")

    assert leader.core.membership.is_joint
    assert leader.core.commit < leader.core.log.last_index - 1
    world.heal()
    world.run(100)
    assert voters(leader) == [N1]
    assert leader.core.commit == leader.core.log.last_index


def test_a_truncated_configuration_is_in_force_no_more() -> None:
    """n1's removal of n3 reaches nobody; n2 leads, and n1 obeys the old configuration again."""
    world, leader = led()
    world.isolate(N1)
    leader.change(Remove(N3))
    assert leader.core.membership.is_joint
    world.run(300)
    assert world.leader is not None
    assert world.leader.id != N1
    world.leader.propose(b"other")
    world.settle()
    world.heal()
    world.run(200)

    assert not leader.core.membership.is_joint
    assert voters(leader) == [N1, N2, N3]
    assert leader.terms == world.leader.terms


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    """Committed or not: the newest entry on the disk."""
    world, leader, learner = with_learner()
    leader.change(Promote(N4))
    world.settle()
    for node in world.nodes.values():
        node.crash()

    assert {tuple(voters(node)) for node in world.nodes.values()} == {(N1, N2, N3, N4)}
    assert learner.core.membership.is_voter(R4)


# -- joint configurations


JOINT = Membership((R2, R3, R4), (R1, R2, R3))


HALVES = [((N1,), False), ((N3,), True), ((N4,), False), ((N1, N4), True), ((), False)]


@pytest.mark.parametrize(("answering", "is_enough"), HALVES, ids=str)
def test_an_election_in_a_joint_configuration_needs_both_majorities(
    answering: tuple[NodeId, ...],
    is_enough: bool,  # noqa: FBT001
) -> None:
    """n2 stands for election: of n2 n3 n4 and of n1 n2 n3 it needs another one each."""
    world = World(membership=JOINT)
    world.isolate(*({N1, N3, N4} - set(answering)))
    world[N2].step(Campaign())
    world.settle()

    assert world[N2].is_leader is is_enough


@pytest.mark.parametrize(("answering", "is_enough"), HALVES, ids=str)
def test_a_commit_in_a_joint_configuration_needs_both_majorities(
    answering: tuple[NodeId, ...],
    is_enough: bool,  # noqa: FBT001
) -> None:
    """n2 leads: its no-op needs another one of n2 n3 n4 and of n1 n2 n3 each."""
    world = World(membership=JOINT)
    win_without_appending(world[N2], world)
    world.isolate(*({N1, N3, N4} - set(answering)))
    world.run(20)

    assert (world[N2].core.commit >= 1) is is_enough


def test_the_next_leader_leaves_a_joint_configuration() -> None:
    """n1 dies between the two entries of a change; the next one finishes it."""
    world, leader = led(4)
    leader.change(Remove(N4))
    world.deliver(AppendRequest)
    world.isolate(N1)
    world.run(300)

    assert world.leader is not None
    assert world.leader.id != N1
    assert voters(world.leader) == [N1, N2, N3]


# -- removal


def test_a_leader_that_removes_itself_steps_down_when_that_is_committed() -> None:
    """It leads until then without counting itself, and then hands over (§4.2.2)."""
    world, leader = led()
    index = leader.change(Remove(N1))
    assert isinstance(index, int)
    assert leader.is_leader
    world.settle()

    assert not leader.is_leader
    assert leader.core.commit >= index + 1
    assert world.leader is not None
    assert voters(world.leader) == [N2, N3]
    world.leader.propose(b"without n1")
    world.settle()
    assert world.leader.core.commit == world.leader.core.log.last_index


def test_a_leader_that_leaves_does_not_count_itself() -> None:
    """After the joint entry: n2 alone has it, of n2 and n3 that is no majority."""
    world, leader = led()
    world.isolate(N3)
    leader.change(Remove(N1))
    world.settle()

    assert leader.core.membership.is_joint
    assert leader.core.commit < leader.core.log.last_index


def test_the_last_but_one_may_be_removed() -> None:
    """From two to one: both have agreed to it."""
    world, leader = led(2)
    leader.change(Remove(N2))
    world.settle()
    leader.propose(b"alone")

    assert voters(leader) == [N1]
    assert leader.core.commit == leader.core.log.last_index


def test_the_leader_of_two_may_remove_itself() -> None:
    """The other one goes on alone."""
    world, leader = led(2)
    leader.change(Remove(N1))
    world.settle()

    assert not leader.is_leader
    assert world[N2].is_leader
    assert voters(world[N2]) == [N2]


def test_who_is_being_removed_stands_for_election_if_only_it_can_win() -> None:
    """Only its log has the entry that leaves the joint configuration (Ongaro's thesis, §4.2.2).

    n2 obeys the joint one, so it needs n1's vote, and n1's log is longer. Found by the
    simulator, seed 6235: nobody led any more.
    """
    world, leader = led(2)
    leader.change(Remove(N1))
    while leader.core.membership.is_joint:
        assert world.deliver(), "the change does not go on"
    world.drop()
    assert world[N2].core.membership.is_joint
    commit = leader.core.commit
    leader.start(commit=commit - 1)
    world.run(3_000, until=lambda: world[N2].is_leader)

    assert voters(world[N2]) == [N2]


def test_who_was_removed_learns_of_it() -> None:
    """It is sent the log for a while, so that it does not stand for election for ever."""
    world, leader = led()
    leader.change(Remove(N3))
    world.settle()
    world.run(20)

    assert voters(world[N3]) == [N1, N2]
    world.run(500)
    assert N3 not in leader.core.status().followers
    assert world[N3].role == "follower"


def test_who_was_removed_without_learning_of_it_disturbs_nobody() -> None:
    """Its pre-votes are refused by those who hear the leader (§4.2.3, §9.6)."""
    world, leader = led()
    world.isolate(N3)
    leader.change(Remove(N3))
    world.settle()
    world.run(500)
    term = leader.core.term
    world.heal()
    world.run(1_000)

    assert voters(world[N3]) == [N1, N2, N3]
    assert leader.is_leader
    assert leader.core.term == term


def test_a_voter_that_is_demoted_counts_no_more_and_keeps_the_log() -> None:
    """It is a learner once the joint configuration is left."""
    world, leader = led()
    leader.change(Demote(N3))
    world.settle()
    assert leader.core.membership == Membership((R1, R2), (), (R3,), held=(N3,))
    world.isolate(N2)
    commit = leader.core.commit
    leader.propose(b"more")
    world.settle()

    assert leader.core.commit == commit
    assert world[N3].terms == leader.terms


def test_a_leader_that_demotes_itself_steps_down() -> None:
    """It becomes a learner of the next leader's."""
    world, leader = led()
    leader.change(Demote(N1))
    world.settle()
    world.run(100)

    assert world.leader is not None
    assert world.leader.id != N1
    assert leader.core.membership.learners == (R1,)
    assert leader.terms == world.leader.terms


@pytest.mark.parametrize("target", [N3, N4])
def test_leadership_is_not_handed_to_who_leaves_or_does_not_vote(target: NodeId) -> None:
    """n3 is on its way out, n4 a learner."""
    world, leader, _ = with_learner()
    world.isolate(N1)
    leader.change(Remove(N3))
    leader.step(Transfer(target))

    assert leader.transfers == [TransferEnded.REFUSED]


# -- identity


def test_a_wiped_node_comes_back_as_another_replica() -> None:
    """The old pair is removed, the new one is added, and becomes a voter when it has caught up."""
    world, leader = led()
    reborn = replica_id(3, 33)
    world.join(reborn)
    leader.propose(b"while n3 is not what it was")
    world.run(100)
    assert leader.progress(N3)[0] < leader.core.log.last_index, "its answers must not count"
    add = AddLearner(reborn, "h3:1", "h3:2")
    assert isinstance(leader.change(add), MemberExists)

    leader.change(Remove(N3))
    world.settle()
    assert isinstance(leader.change(add), int)
    world.run(CATCH_UP_TICKS)
    assert isinstance(leader.change(Promote(N3)), int)
    world.settle()

    assert leader.core.membership == Membership(
        (R1, R2, reborn), addresses=leader.core.membership.addresses
    )
    assert world[N3].terms == leader.terms


def test_answers_of_the_old_directory_do_not_count_for_the_new_one() -> None:
    """They may still be on their way: the promise was made from a disk that is gone."""
    world, leader = led()
    leader.change(Remove(N3))
    world.settle()
    leader.change(AddLearner(replica_id(3, 33), "h3:1", "h3:2"))
    world.drop()
    leader.receive(R3, AppendAccepted(leader.core.term, leader.core.log.last_index))
    leader.receive(R3, HeartbeatReply(leader.core.term, 1))

    assert leader.progress(N3)[0] == 0

"""The neutral cases of etcd's ``raft_test.go`` that no other file here has, under their names.

Which case is where, and which cannot apply and why: docs/explanation/oracles.md.
"""

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Final

import pytest

from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.writes import HardState
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign, ConnectionLost, Read, Transfer
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    PreVoteRequest,
    ReadIndexReply,
    ReadIndexRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import (
    N1,
    N2,
    N3,
    N4,
    N5,
    R1,
    R2,
    R3,
    R4,
    Node,
    World,
    log_of,
    node_id,
    replica_id,
)


def bodies(node: Node) -> list[bytes]:
    """Return what a node has applied, without the no-ops."""
    return [bytes(entry.body) for entry in node.applied if entry.body]


def beat(world: World) -> None:
    """Let a few heartbeats pass, so that everybody learns what is committed."""
    world.run(3 * world.config.heartbeat_ticks)


# -- elections


@pytest.mark.parametrize(
    ("size", "dead", "role"),
    [
        (3, [], Role.LEADER),
        (3, [N2], Role.LEADER),
        (3, [N2, N3], Role.PRE_CANDIDATE),
        (4, [N2, N3], Role.PRE_CANDIDATE),
        (5, [N2, N3], Role.LEADER),
        (5, [N2, N3, N4], Role.PRE_CANDIDATE),
    ],
)
def test_leader_election(size: int, dead: Sequence[NodeId], role: Role) -> None:
    """A majority makes a leader; less than that leaves the term alone."""
    world = World(size)
    world.isolate(*dead)
    world[N1].step(Campaign())
    world.settle()

    assert world[N1].core.role is role
    assert world[N1].core.term == (Term(1) if role is Role.LEADER else Term(0))


def test_leader_election_with_longer_logs_around_is_lost() -> None:
    """Three of five have more: they refuse, and the candidate is a follower again."""
    logs = {N1: [1], N2: [1, 1], N3: [1, 1], N4: [1, 2], N5: [1]}
    world = World(5, logs=logs, hard_states=dict.fromkeys(logs, HardState(Term(2))))
    world[N1].step(Campaign())
    world.settle()

    assert world[N1].core.role is Role.FOLLOWER
    assert world.leader is None


def test_leader_cycle() -> None:
    """Every node can be elected, whoever led before."""
    world = World(3)
    for term, number in enumerate((1, 2, 3, 1), 1):
        leader = world.elect(node_id(number))

        assert leader.core.term == Term(term)
        assert [node.core.leader for node in world.nodes.values()] == [leader.id] * 3


def test_leader_election_overwrite_newer_logs() -> None:
    """A leader of a later term replaces what a minority has of an earlier one.

    n3 led term 2 and told nobody; n1 was refused by it once and wins without it.
    """
    logs = {N1: [1], N2: [1], N3: [2], N4: [], N5: []}
    states = {node: HardState(Term(2)) for node in logs}
    world = World(5, logs=logs, hard_states=states)
    world[N1].step(Campaign())
    world.settle()
    assert world[N1].is_leader
    beat(world)

    assert [node.terms for node in world.nodes.values()] == [[1, 3]] * 5


@pytest.mark.parametrize("pre_vote", [False, True])
@pytest.mark.parametrize("role", list(Role))
def test_vote_from_any_state(role: Role, *, pre_vote: bool) -> None:
    """In any state a vote is given in a later term; a leader gives none against itself.

    The vote is asked for by a handover, and the pre-vote is asked of somebody
    who doubts its leader: else stickiness would answer. Other than in etcd a
    pre-candidate lets one go first that goes before it (decision 22).
    """
    world = World(3)
    node = world[N1]
    if role is Role.LEADER:
        world.elect(N1)
    elif role is not Role.FOLLOWER:
        node.step(Campaign())
        if role is Role.CANDIDATE:
            node.receive(R2, PreVoteReply(Term(1), granted=True))
    world.drop()
    assert node.core.role is role
    last = (node.core.log.end.term, node.core.log.last_index)
    before = node.core.term
    if pre_vote:
        node.receive(R3, PreVoteRequest(Term(before + 1), *last))

        granted = role is not Role.LEADER
        assert world.take_one(PreVoteReply).granted is granted
        stands = role is not Role.PRE_CANDIDATE
        assert (node.core.role, node.core.term) == (role if stands else Role.FOLLOWER, before)
    else:
        node.receive(R3, VoteRequest(Term(before + 1), *last, transfer=True))

        assert world.take_one(VoteReply) == VoteReply(Term(before + 1), granted=True)
        assert (node.core.role, node.core.vote) == (Role.FOLLOWER, R3)


def test_dueling_candidates() -> None:
    """n1 and n3 do not hear each other; n2 decides, and the loser does not unseat the winner."""
    world = World(3)
    world.cut |= {(N1, N3), (N3, N1)}
    world[N1].step(Campaign())
    world[N3].step(Campaign())
    world.settle()
    assert world[N1].is_leader
    assert world[N3].core.role is Role.CANDIDATE, "a pre-vote is for everybody, a vote for one"
    world.heal()
    world[N3].step(Campaign())
    world.settle()
    beat(world)

    assert world[N1].is_leader
    assert [node.core.term for node in world.nodes.values()] == [Term(1)] * 3
    assert [node.terms for node in world.nodes.values()] == [[1]] * 3


def test_candidate_concede() -> None:
    """A candidate that hears of the term's leader follows it and takes its log."""
    world = World(3)
    world.isolate(N1)
    loser = world[N1]
    loser.step(Campaign())
    loser.receive(R2, PreVoteReply(Term(1), granted=True))
    world[N3].step(Campaign())
    world.settle()
    assert (loser.core.role, loser.core.term) == (Role.CANDIDATE, Term(1))
    assert (world[N3].core.role, world[N3].core.term) == (Role.LEADER, Term(1))
    world.heal()
    world[N3].propose(b"force")
    world.settle()
    beat(world)

    assert (loser.core.role, loser.core.term, loser.core.leader) == (Role.FOLLOWER, Term(1), N3)
    assert [bodies(node) for node in world.nodes.values()] == [[b"force"]] * 3


def test_old_messages() -> None:
    """An append of a leader two terms ago, delivered late, changes nothing."""
    world = World(3)
    world.elect(N1)
    old = world[N2].core.term
    world.elect(N2)
    leader = world.elect(N1)
    late = log_of([1, 2, 2])[2:]
    leader.receive(R2, AppendRequest(old, Term(2), Index(2), Index(3), late))
    world.settle()
    leader.propose(b"somedata")
    world.settle()
    beat(world)

    assert [node.terms for node in world.nodes.values()] == [[1, 2, 3, 3]] * 3
    assert [bodies(node) for node in world.nodes.values()] == [[b"somedata"]] * 3


def test_candidate_self_vote_after_lost_election() -> None:
    """The own vote becomes durable when the election is over: it elects nobody."""
    world = World(3)
    node = world[N1]
    node.slow_disk = True
    node.step(Campaign())
    node.receive(R2, PreVoteReply(Term(1), granted=True))
    assert node.core.role is Role.CANDIDATE
    node.receive(R2, Heartbeat(Term(1), Index(0), 1))
    node.flush()
    node.receive(R3, VoteReply(Term(1), granted=True))

    assert (node.core.role, node.core.leader) == (Role.FOLLOWER, N2)


def test_pre_vote_with_split_vote() -> None:
    """n2 and n3 split the votes of term 2; the next round elects one of them."""
    world = World(3)
    world.elect(N1)
    world.isolate(N1)
    for node in (world[N2], world[N3]):
        node.step(ConnectionLost(N1))
    for node, other in ((world[N2], R3), (world[N3], R2)):
        node.step(Campaign())
        node.receive(other, PreVoteReply(Term(2), granted=True))
    world.settle()
    # Each voted for itself and was refused by the other; the third is silent.
    assert [world[node].core.role for node in (N2, N3)] == [Role.CANDIDATE] * 2
    world[N2].step(Campaign())
    world.settle()

    assert world[N2].is_leader
    assert [world[node].core.term for node in (N2, N3)] == [Term(3)] * 2


# -- the log


@pytest.mark.parametrize(
    "steps",
    [[(N1, b"somedata")], [(N1, b"somedata"), (N2, b"somedata2")], [(N2, b"a"), (N1, b"b")]],
)
def test_log_replication(steps: Sequence[tuple[NodeId, bytes]]) -> None:
    """Everybody applies everything in one order, also over a change of leaders."""
    world = World(3)
    for node, body in steps:
        world.elect(node).propose(body)
        world.settle()
    beat(world)

    expected = [body for _, body in steps]
    assert [bodies(node) for node in world.nodes.values()] == [expected] * 3


def cut_off_with_two_entries() -> World:
    """n1 leads, n1 and n2 have two entries that the other three of five do not."""
    world = World(5)
    leader = world.elect(N1)
    beat(world)
    world.isolate(N1, N2)
    leader.propose(b"a", b"b")
    world.settle()
    assert leader.core.commit == 1
    return world


def test_cannot_commit_without_new_term_entry() -> None:
    """Entries of an earlier term on a majority are not committed by that (§5.4.2)."""
    world = cut_off_with_two_entries()
    world.heal()
    world[N2].step(ConnectionLost(N1))
    for other in (N3, N4, N5):
        world[other].step(ConnectionLost(N1))
    world.isolate(N1)
    # The no-op of the new term is lost on the way; what comes before it is sent alone.
    world[N2].step(Campaign())
    while not world[N2].is_leader:
        world.deliver()
    world.drop()
    for sender in (R3, R4):
        world[N2].receive(sender, AppendAccepted(Term(2), Index(3)))

    assert world[N2].terms == [1, 1, 1, 2]
    assert world[N2].core.commit == 1


def test_commit_without_new_term_entry() -> None:
    """With the first entry of the own term, the earlier ones are committed too."""
    world = cut_off_with_two_entries()
    world.isolate(N1)
    world.cut -= {(N2, other) for other in (N3, N4, N5)} | {(other, N2) for other in (N3, N4, N5)}
    world.elect(N2)

    assert world[N2].core.commit == 4
    assert bodies(world[N2]) == [b"a", b"b"]


COMMIT_ROWS: Final = [
    # how far each follower has it, terms of the log, the leader's term, what is committed
    ([], [1], 1, 1),
    ([], [1], 2, 0),
    ([], [1, 2], 2, 2),
    ([1, 1], [1], 1, 1),
    ([1, 1], [1], 2, 0),
    ([1, 2], [1, 2], 2, 2),
    ([1, 1], [1, 2], 2, 0),
    ([1, 2], [1, 1], 2, 0),
    ([1, 1, 1], [1, 2], 2, 0),
    ([1, 2, 2], [1, 2], 2, 2),
    ([2, 2, 1], [1, 2], 2, 2),
    ([1, 1, 2], [1, 1], 2, 0),
    ([1, 1, 2, 2], [1, 2], 2, 2),
    ([1, 1, 1, 2], [1, 2], 2, 0),
]


@pytest.mark.parametrize(("matched", "terms", "term", "committed"), COMMIT_ROWS)
def test_commit(matched: Sequence[int], terms: list[int], term: int, committed: int) -> None:
    """A majority of durable logs, and an entry of the leader's own term.

    The leader's own entry of its term, with which it begins, is not on any other disk.
    """
    own = [each for each in terms if each == term]
    earlier = terms[: len(terms) - len(own)]
    size = len(matched) + 1
    nodes = [node_id(number) for number in range(1, size + 1)]
    before = HardState(Term(term - 1))
    world = World(
        size, logs=dict.fromkeys(nodes, earlier), hard_states=dict.fromkeys(nodes, before)
    )
    leader = world[N1]
    leader.step(Campaign())
    while not leader.is_leader:
        world.deliver()
    assert len(own) <= 1, "the no-op is the own entry of a row"
    for number, index in enumerate(matched, 2):
        leader.receive(replica_id(number), AppendAccepted(Term(term), Index(index)))

    if own or size > 1:
        assert leader.core.commit == committed
    else:
        assert leader.core.commit == len(terms) + 1, "alone, the no-op commits everything"


APPEND_ROWS: Final = [
    # previous term and index, terms of the new entries, commit; then: rejected, log, commit
    ((3, 2), [], 3, True, [1, 2], 0),  # the term does not match
    ((3, 3), [], 3, True, [1, 2], 0),  # no such entry
    ((1, 1), [], 1, False, [1, 2], 1),
    ((0, 0), [2], 1, False, [2], 1),  # the whole log conflicts
    ((2, 2), [2, 2], 3, False, [1, 2, 2, 2], 3),
    ((2, 2), [2], 4, False, [1, 2, 2], 3),
    ((1, 1), [2], 4, False, [1, 2], 2),
    ((1, 1), [], 3, False, [1, 2], 1),  # no further than what the message confirms
    ((1, 1), [2], 3, False, [1, 2], 2),
    ((2, 2), [], 3, False, [1, 2], 2),
    ((2, 2), [], 4, False, [1, 2], 2),
]


@pytest.mark.parametrize(
    ("previous", "new", "commit", "rejected", "terms", "committed"), APPEND_ROWS
)
def test_handle_msg_app(
    previous: tuple[int, int],
    new: list[int],
    commit: int,
    terms: list[int],
    committed: int,
    *,
    rejected: bool,
) -> None:
    """A follower with terms 1, 2 takes one append."""
    world = World(3, logs={N2: [1, 2]}, hard_states={N2: HardState(Term(2))})
    kept = [1, 2][: previous[1]]
    entries = log_of(kept + new)[previous[1] :] if not rejected else ()
    message = AppendRequest(
        Term(2), Term(previous[0]), Index(previous[1]), Index(commit), tuple(entries)
    )
    world[N2].receive(R1, message)
    accepted = world.take(AppendAccepted)

    assert (accepted == []) is rejected
    assert world[N2].terms == terms
    assert world[N2].core.commit == committed


@pytest.mark.parametrize(("told", "committed"), [(3, 3), (1, 2), (2, 2), (9, 3)])
def test_handle_heartbeat(told: int, committed: int) -> None:
    """A heartbeat commits what is known to match, and never takes a commit back."""
    world = World(3, logs={N2: [1, 1]}, hard_states={N2: HardState(Term(1))})
    node = world[N2]
    new = log_of([1, 1, 1])[2:]
    node.receive(R1, AppendRequest(Term(1), Term(1), Index(2), Index(2), new))
    world.drop()
    node.receive(R1, Heartbeat(Term(1), Index(told), 1))

    assert node.core.commit == committed
    assert world.take_one(HeartbeatReply) == HeartbeatReply(Term(1), 1)


REJECTION_ROWS: Final = [
    # the leader's log, the follower's, what is rejected with which hint, what is probed next
    ([1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3], (7, 3, 7), 3),
    ([1, 2, 2, 3, 4, 4, 4, 5], [1, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4], (8, 4, 8), 7),
    ([1, 1, 1, 1], [1, 1, 2, 2, 2, 2], (4, 1, 2), 2),
    ([1, 1, 1, 1], [1, 1, 2, 2, 4], (4, 1, 2), 2),
    ([1, 1, 1, 1, 1], [1, 1, 2, 2, 2], (5, 1, 2), 2),
    ([1, 1, 1, 1, 1, 4], [1, 1, 2, 2, 2, 2, 2], (6, 2, 6), 5),
    ([1, 1, 1, 3, 3], [1, 1, 1, 2, 2, 2], (5, 2, 5), 3),
    ([2, 2, 2], [1, 1, 1, 1], (3, 1, 3), 0),
    ([1, 1, 1, 4, 5], [1, 1, 1], (5, 1, 3), 3),
]


@pytest.mark.parametrize(("leader_log", "follower_log", "rejected", "after"), REJECTION_ROWS)
def test_fast_log_rejection(
    leader_log: list[int],
    follower_log: list[int],
    rejected: tuple[int, int, int],
    after: int,
) -> None:
    """Both sides skip whole terms; one of these pairs of logs needs two rejections."""
    term = Term(max(leader_log + follower_log))
    world = World(
        3,
        logs={N1: leader_log, N2: follower_log, N3: leader_log},
        hard_states=dict.fromkeys((N1, N2, N3), HardState(term)),
    )
    world.isolate(N2)
    leader = world.elect(N1)
    world.heal()
    request = next(
        sent.message
        for sent in world.history
        if sent.to == N2 and isinstance(sent.message, AppendRequest)
    )
    world[N2].receive(R1, request)
    (refusal,) = [sent.message for sent in world.select(to=N1, sender=N2)]
    world.drop()
    leader.receive(R2, refusal)
    second = world.take_one(AppendRequest, to=N2)

    assert (refusal.rejected, refusal.hint_term, refusal.hint_index) == rejected
    assert second.previous_index == after
    world[N2].receive(R1, second)
    world.settle()
    assert world[N2].terms == leader.terms


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_log_replication_with_reordered_message(order: Sequence[int]) -> None:
    """Three appends in every order: a gap is rejected, and in the end everything is there."""
    world = World(3)
    leader = world.elect(N1)
    for body in (b"a", b"b", b"c"):
        leader.propose(body)
    appends = world.take(AppendRequest, to=N2)
    assert len(appends) == 3
    for at in order:
        world[N2].receive(R1, appends[at])
    answers = world.select(to=N1, sender=N2)
    Random(str(order)).shuffle(answers)
    world.drop()
    for answer in answers:
        leader.receive(R2, answer.message)
    world.settle()
    beat(world)

    assert bodies(world[N2]) == [b"a", b"b", b"c"]
    assert leader.progress(N2) == (4, 5, "replicate")


# -- check-quorum


def test_leader_superseding_with_check_quorum() -> None:
    """n2 waits until n1 does not hear its leader any more; then it is elected."""
    world = World(3)
    world.elect(N3)
    world[N2].step(ConnectionLost(N3))
    world.cut |= {(N3, N1), (N3, N2)}
    world[N2].step(Campaign())
    world.settle()
    assert not world[N2].is_leader
    world[N1].tick(world.config.election_ticks_min)
    world[N2].step(Campaign())
    world.settle()

    assert world[N2].is_leader


def test_disruptive_follower() -> None:
    """n3 hears its leader late and would raise the term: pre-vote and stickiness keep it."""
    world = World(3)
    leader = world.elect(N1)
    beat(world)
    leader.tick(world.config.heartbeat_ticks)
    late = world.take(Heartbeat, to=N3)
    world[N3].tick(world.config.election_ticks_max)
    assert world[N3].core.role is Role.PRE_CANDIDATE
    for heartbeat in late:
        world[N3].receive(R1, heartbeat)
    world.settle()

    assert leader.is_leader
    assert [node.core.term for node in world.nodes.values()] == [Term(1)] * 3
    assert world[N3].core.leader == N1


def test_disruptive_follower_with_a_higher_term_and_a_long_log() -> None:
    """One that is behind in its log but ahead in its term ends one reign, and wins none."""
    world = World(3, hard_states={N3: HardState(Term(4))})
    world.isolate(N3)
    world.elect(N1).propose(b"a")
    world.settle()
    world.heal()
    took = world.run(400, until=lambda: world.leader is not None and world.leader.core.term > 4)

    assert took < 400
    assert world.leader is not None
    assert world.leader.id in {N1, N2}
    beat(world)
    assert bodies(world[N3]) == [b"a"]


# -- reads


def test_read_only_duplicate_request() -> None:
    """A request that arrives twice is answered, and the asker takes the first answer only."""
    world = World(3)
    world.elect(N1)
    follower = world[N2]
    follower.step(Read(7))
    request = world.take_one(ReadIndexRequest)
    for _ in range(2):
        world[N1].receive(R2, request)
    world.settle()

    assert [(ready.token, ready.index) for ready in follower.ready] == [(7, 1)]
    answers = [sent for sent in world.history if isinstance(sent.message, ReadIndexReply)]
    assert len(answers) == 2


# -- handing over


def test_leader_transfer_receive_higher_term_vote() -> None:
    """A leader that is handing over gives way to a higher term; the handover is at its end."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(b"2")
    world.settle()
    leader.step(Transfer(N3))
    last = (leader.core.log.end.term, leader.core.log.last_index)
    leader.receive(R2, VoteRequest(Term(2), *last, transfer=True))

    assert (leader.core.role, leader.core.term, leader.core.vote) == (Role.FOLLOWER, Term(2), R2)
    assert len(leader.transfers) == 1


def test_leader_transfer_back() -> None:
    """A handover to one that cannot be reached times out; then another one succeeds."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(b"2")
    world.settle()
    leader.step(Transfer(N3))
    world.run(world.config.election_ticks_max + 1)
    assert leader.is_leader
    leader.step(Transfer(N2))
    world.settle()

    assert world[N2].is_leader


def test_transfer_non_member() -> None:
    """Who is no voter does not campaign, also when its leader asks it to."""
    world = World(3, learners=1)
    world.elect(N1)
    beat(world)
    learner = world[N4]
    learner.receive(R1, TimeoutNow(Term(1)))
    for sender in (R2, R3):
        learner.receive(sender, VoteReply(Term(2), granted=True))

    assert learner.core.role is Role.FOLLOWER
    assert world.select(VoteRequest) == []


def test_learner_promotion_is_needed_to_campaign() -> None:
    """A learner receives the log, however long nobody leads, and stands for nothing."""
    world = World(1, learners=1)
    world[N1].tick()
    world.settle()
    beat(world)
    assert world[N2].terms == [1]
    world.isolate(N1)
    world.run(5 * world.config.election_ticks_max)

    assert (world[N2].core.role, world[N2].core.term) == (Role.FOLLOWER, Term(1))
    assert R4 not in world.membership.replicas

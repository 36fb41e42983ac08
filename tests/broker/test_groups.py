"""Groups and claims: every queue has one owner, and a zombie is fenced (ruling 12)."""

import pytest

from raftlog.base.errors import (
    BadName,
    BadRequest,
    Fenced,
    GroupInUse,
    GroupNotFound,
    LimitReached,
    OffsetGoesBack,
    OffsetOutOfRange,
    SubscriptionConflict,
    TopicNotFound,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.broker import claims, groups
from raftlog.broker.assignment import places_of
from raftlog.broker.claims import (
    NOBODY,
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    GroupLeft,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
    Subscription,
    SubscriptionSet,
)
from raftlog.broker.shares import AssignedQueue
from raftlog.broker.topics import AlterTopic, DeleteTopic, MoveStart, TopicChanges
from raftlog.wire.filters import EVERYTHING, RecordFilter, record_filter
from tests.broker.logs import Shard, append, batch_of

SESSION_MS = 30_000


def join(member: str, *topics: str, group: str = "g", client: str = "") -> JoinGroup:
    return JoinGroup(group, member, topics or ("orders",), SESSION_MS, client)


def claim(member: str, generation: int, queue: int, group: str = "g") -> ClaimQueue:
    return ClaimQueue(group, queue, generation, member)


def commit(member: str, generation: int, *offsets: tuple[int, int]) -> CommitOffsets:
    return CommitOffsets("g", member, generation, offsets)


def start_of(committed: int | None, end: int) -> QueueClaimed:
    return QueueClaimed(None if committed is None else Offset(committed), Offset(0), Offset(end))


def owned(shard: Shard, member: str, group: str = "g") -> list[int]:
    return [each.queue for each in shard.machine.groups.assignment(group, member).queues]


# -- assignment


@pytest.mark.parametrize("members", range(1, 9))
@pytest.mark.parametrize("queues", range(12))
def test_every_queue_has_one_reader_and_nobody_has_two_more_than_another(
    members: int, queues: int
) -> None:
    """Two readers of one queue deliver everything twice; none delivers nothing."""
    shares = [places_of(at, members=members, queues=queues) for at in range(members)]
    assert [place for share in shares for place in share] == list(range(queues))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_members_share_out_each_topic_of_the_group() -> None:
    """Each topic by itself, in the order of names."""
    shard = Shard()
    orders = shard.topic("orders", queues=3)
    payments = shard.topic("payments", queues=2)
    shard(join("a", "payments", "orders"))
    shard(join("b", "orders", "payments"))
    assert shard.machine.groups.assignment("g", "a") == Assignment(
        2,
        (
            AssignedQueue(orders[0], "orders", 0, 2),
            AssignedQueue(orders[1], "orders", 1, 2),
            AssignedQueue(payments[0], "payments", 0, 2),
        ),
        Subscription(("orders", "payments"), version=1),
    )
    assert owned(shard, "b") == [orders[2], payments[1]]
    group = shard.machine.groups.find("g")
    assert group.owners == dict.fromkeys([*orders[:2], payments[0]], "a") | {
        orders[2]: "b",
        payments[1]: "b",
    }


# -- generations


def test_joining_again_unchanged_begins_no_generation() -> None:
    """A lost reply is asked for again; a rebalance for that would stop everybody."""
    shard = Shard()
    (queue,) = shard.topic()
    expected = Assignment(
        1, (AssignedQueue(queue, "orders", 0, 1),), Subscription(("orders",), version=1)
    )
    assert [shard(join("a")), shard(join("a"))] == [expected, expected]
    assert shard(join("a", client="new name")) == expected
    assert shard.machine.groups.find("g").members["a"].client == "new name"
    assert shard.machine.take_regrouped() == {"g"}
    assert shard.machine.take_regrouped() == set()


def test_whatever_changes_who_reads_what_begins_a_generation() -> None:
    """An owner of the generation before must be told, or it reads on beside the new one."""
    shard = Shard()
    shard.topic("orders")
    shard.topic("payments")
    generations = []
    for command in (
        join("a"),
        join("b"),
        SetSubscription("g", ("payments", "orders")),
        AlterTopic("orders", TopicChanges(queues=2)),
        DeleteTopic("payments"),
        LeaveGroup("g", "a", expired=True),
    ):
        shard(command)
        generations.append(shard.machine.groups.find("g").generation)
        assert shard.machine.take_regrouped() == {"g"}
    shard.topic("payments")
    generations.append(shard.machine.groups.find("g").generation)
    assert generations == [1, 2, 3, 4, 5, 6, 7]
    assert len(owned(shard, "b")) == 3, "a topic that comes back is read again"


def test_what_concerns_nobody_begins_no_generation() -> None:
    """A stop of a thousand groups because somebody made a topic is the complaint of every user."""
    shard = Shard()
    shard.topic("orders")
    shard(join("a"))
    shard.machine.take_regrouped()
    shard.topic("other")
    shard(AlterTopic("orders", TopicChanges(retention_ms=9)))
    shard(DeleteTopic("other"))
    assert shard(LeaveGroup("g", "stranger")) == GroupLeft()
    assert shard(LeaveGroup("nobody", "a")) == GroupLeft()
    assert shard.machine.take_regrouped() == set()
    assert shard.machine.groups.find("g").generation == 1


def test_a_member_needs_topics_that_are_there() -> None:
    """A wrong name would be silence for ever."""
    shard = Shard()
    shard.topic("orders")
    assert shard.refusal(join("a", "orders", "order")) is TopicNotFound
    assert shard.machine.groups.get("g") is None


# -- subscriptions


def test_a_member_that_wants_something_else_is_refused_with_both_shown() -> None:
    """Each would read what the other one is to read, and pass over what it is not (#2836)."""
    shard = Shard()
    for topic in ("orders", "payments"):
        shard.topic(topic)
    paid = record_filter(["paid"], "amount > 5")
    shard(JoinGroup("g", "a", ("orders",), SESSION_MS, "", paid))
    assert isinstance(shard(JoinGroup("g", "b", ("orders",), SESSION_MS, "", paid)), Assignment)
    for topics, wanted in (
        (("orders", "payments"), paid),
        (("payments",), paid),
        (("orders",), EVERYTHING),
        (("orders",), record_filter(["paid"])),
    ):
        outcome = shard(JoinGroup("g", "c", topics, SESSION_MS, "", wanted))
        assert isinstance(outcome, SubscriptionConflict)
        text = str(outcome)
        assert "reads orders (tags paid; filter amount > 5), range, version 1;" in text
        assert f"wants {', '.join(topics)} ({wanted})" in text
        assert text.endswith("that stays while a member is left")
    shard(LeaveGroup("g", "a", expired=True))
    assert shard.refusal(join("a")) is SubscriptionConflict, "b still reads that"


def test_a_subscription_goes_with_the_last_member_and_the_offsets_stay() -> None:
    """All have expired, and the new release reads something else: nobody is there to disagree."""
    shard = Shard()
    (queue,), (payments,) = shard.topic("orders"), shard.topic("payments")
    shard.all_of(append(batch_of(b"a", b"b"), queue=queue), join("a"), claim("a", 1, queue))
    shard.all_of(commit("a", 1, (queue, 1)), LeaveGroup("g", "a", expired=True))
    paid = record_filter(["paid"])
    both = ("orders", "payments")
    assert shard(JoinGroup("g", "b", both, SESSION_MS, "", paid, "sticky")) == Assignment(
        3,
        (AssignedQueue(queue, "orders", 0, 3), AssignedQueue(payments, "payments", 0, 3)),
        Subscription(both, paid, 2, "sticky"),
    )
    claimed = shard(claim("b", 3, queue))
    assert isinstance(claimed, QueueClaimed)
    assert claimed.committed == 1
    assert shard.refusal(join("a")) is SubscriptionConflict, "who expired comes back too late"
    shard.machine.take_regrouped()
    shard.all_of(LeaveGroup("g", "b"), join("a"))
    again = shard.machine.groups.assignment("g", "a").subscription
    assert again == Subscription(("orders",), EVERYTHING, 3, "sticky"), "it named no assignor"
    shard.machine.take_regrouped()
    shard(DeleteTopic("payments"))
    assert shard.machine.take_regrouped() == set(), "the group does not read it any more"


def test_what_was_said_by_hand_outlives_the_members() -> None:
    """A consumer of the old release that is restarted must not undo it in silence."""
    shard = Shard()
    for topic in ("orders", "payments"):
        shard.topic(topic)
    shard.all_of(join("a"), SetSubscription("g", ("payments",)), LeaveGroup("g", "a"))
    outcome = shard(join("a"))
    assert isinstance(outcome, SubscriptionConflict)
    assert "was said by hand, and stays until it is changed by hand" in str(outcome)
    assert isinstance(shard(join("a", "payments")), Assignment)
    shard.all_of(LeaveGroup("g", "a"), SetSubscription("g", ("orders",)))
    assert isinstance(shard(join("a")), Assignment)


def test_what_members_have_set_can_be_kept_by_hand() -> None:
    """It is no change, and begins neither a version nor a generation."""
    shard = Shard()
    for topic in ("orders", "payments"):
        shard.topic(topic)
    shard(join("a"))
    keep = SetSubscription("g", ("orders",), version=7)
    assert [shard(keep), shard(keep)] == [SubscriptionSet(1, 1)] * 2
    shard(LeaveGroup("g", "a"))
    assert shard.refusal(join("a", "payments")) is SubscriptionConflict
    shard(DeleteGroup("g"))
    assert isinstance(shard(join("a", "payments")), Assignment)


def test_the_next_life_of_a_lone_static_member_is_nobody_else() -> None:
    """It was restarted within its session, with another filter; a late copy undoes nothing."""
    shard = Shard()
    shard.topic("orders")
    paid = record_filter(["paid"])

    def alive(life: int, wanted: RecordFilter, member: str = "depot-1") -> object:
        command = JoinGroup("g", member, ("orders",), SESSION_MS, "", wanted, life=life)
        outcome = shard(command)
        return outcome.subscription.version if isinstance(outcome, Assignment) else type(outcome)

    assert [alive(5, EVERYTHING), alive(6, paid), alive(6, paid)] == [1, 2, 2]
    assert alive(5, EVERYTHING) is Fenced
    assert alive(6, EVERYTHING) is SubscriptionConflict
    assert alive(7, paid, "depot-2") == 2
    assert alive(8, EVERYTHING) is SubscriptionConflict, "depot-2 reads that"


def test_a_subscription_is_changed_by_one_command_that_may_be_asked_again() -> None:
    """The version says which change; a lost reply is asked for again and changes nothing."""
    shard = Shard()
    for topic in ("orders", "payments"):
        shard.topic(topic)
    paid = record_filter(["paid"])
    assert shard.refusal(SetSubscription("g", ("orders",))) is GroupNotFound
    shard(join("a"))
    change = SetSubscription("g", ("payments", "orders"), paid, version=1)
    assert [shard(change), shard(change)] == [SubscriptionSet(2, 2)] * 2
    assignment = shard.machine.groups.assignment("g", "a")
    read = Subscription(("orders", "payments"), paid, 2, by_hand=True)
    assert assignment.subscription == read
    assert len(assignment.queues) == 2
    assert shard.refusal(join("b")) is SubscriptionConflict
    assert isinstance(
        shard(JoinGroup("g", "b", ("orders", "payments"), SESSION_MS, "", paid)), Assignment
    )
    other = SetSubscription("g", ("orders",), version=1)
    assert shard.refusal(other) is SubscriptionConflict, "somebody has changed it meanwhile"
    assert shard.refusal(SetSubscription("g", ("nowhere",))) is TopicNotFound
    assert shard(SetSubscription("g", ("orders",))) == SubscriptionSet(3, 4)
    shard.machine.take_regrouped()
    shard(DeleteTopic("payments"))
    assert shard.machine.take_regrouped() == set(), "the group does not read it any more"


def test_groups_and_members_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is reached is a typed refusal; who is in stays in."""
    monkeypatch.setattr(groups, "GROUPS_MAX", 2)
    monkeypatch.setattr(groups, "GROUP_MEMBERS_MAX", 2)
    monkeypatch.setattr(groups, "MEMBERS_MAX", 3)
    shard = Shard()
    shard.topic()
    shard.all_of(join("a"), join("b"), join("a", group="h"))
    assert shard.refusal(join("c")) is LimitReached
    assert shard.refusal(join("b", group="h")) is LimitReached
    assert shard.refusal(join("a", group="i")) is LimitReached
    assert isinstance(shard(join("a")), Assignment)


def test_a_group_with_members_is_not_deleted() -> None:
    """Its consumers would commit into nothing."""
    shard = Shard()
    shard.topic()
    shard(join("a"))
    assert shard.refusal(DeleteGroup("g")) is GroupInUse
    assert shard.refusal(DeleteGroup("h")) is GroupNotFound
    shard(LeaveGroup("g", "a"))
    assert shard(DeleteGroup("g")) == GroupDeleted()
    assert shard.machine.groups.get("g") is None


def test_a_group_that_begins_again_is_above_every_generation_of_the_old_one() -> None:
    """A late claim of the old group (3) would stand above the new members' (1) for ever."""
    shard = Shard()
    (queue,) = shard.topic()
    for member in ("a", "b", "c"):
        shard(join(member))
    for member in ("a", "b", "c"):
        shard(LeaveGroup("g", member))
    shard(DeleteGroup("g"))
    shard(claim("a", 6, queue))
    joined = shard(join("a"))
    assert isinstance(joined, Assignment)
    assert joined.generation == 7
    assert shard(claim("a", 7, queue)) == start_of(None, 0)


def test_groups_are_listed_in_the_order_of_their_names() -> None:
    """A page goes on after the last name of the one before."""
    shard = Shard()
    shard.topic()
    for name in ("b", "a", "c"):
        shard(join("m", group=name))
    assert [group.name for group in shard.machine.groups.after("a", 9)] == ["b", "c"]


# -- claims


def claimed(shard: Shard) -> int:
    """Make a queue of five records and two members that joined one after the other."""
    (queue,) = shard.topic()
    shard(append(batch_of(*[b"v"] * 5), queue))
    shard(join("m1"))
    shard(claim("m1", 1, queue))
    return queue


def test_a_zombie_is_fenced_where_the_offset_lies() -> None:
    """m1 (1) pauses, m2 (2) claims and reads from 2; m1 wakes and commits 5 (12)."""
    shard = Shard()
    queue = claimed(shard)
    shard(commit("m1", 1, (queue, 2)))
    shard(join("m2"))
    assert shard(claim("m2", 2, queue)) == start_of(2, 5)
    assert shard.refusal(commit("m1", 1, (queue, 5))) is Fenced
    assert shard.refusal(claim("m1", 1, queue)) is Fenced
    assert shard(commit("m2", 2, (queue, 3))) == OffsetsCommitted()


def test_a_member_of_the_same_generation_cannot_take_a_claimed_queue() -> None:
    """A generation has one owner of a queue; the second one computed a wrong assignment."""
    shard = Shard()
    queue = claimed(shard)
    shard(join("m2"))
    shard(claim("m1", 2, queue))
    assert shard.refusal(claim("m2", 2, queue)) is Fenced
    assert shard.refusal(commit("m2", 2, (queue, 1))) is Fenced
    assert shard(claim("m1", 2, queue)) == start_of(None, 5)


@pytest.mark.parametrize("begun_again", [False, True])
def test_a_late_claim_does_not_outlive_its_group(*, begun_again: bool) -> None:
    """m1's claim lies in the log behind the deletion; its offsets are not the next group's."""
    shard = Shard()
    queue = claimed(shard)
    shard.all_of(LeaveGroup("g", "m1"), DeleteGroup("g"))
    if begun_again:
        shard(join("m2"))
    assert shard.refusal(claim("m1", 1, queue)) is UnknownMember
    assert shard.refusal(commit("m1", 1, (queue, 5))) is UnknownMember
    shard(join("m2"))
    assert shard(claim("m2", 3, queue)) == start_of(None, 5)


def test_without_a_claim_nothing_is_committed() -> None:
    """A higher generation proves nothing: its owner has not read the start position here."""
    shard = Shard()
    queue = claimed(shard)
    assert shard.refusal(commit("m1", 2, (queue, 1))) is UnknownMember
    (other,) = shard.topic("other")
    assert shard.refusal(commit("m1", 1, (other, 0))) is UnknownMember
    assert shard.refusal(commit("m1", 1, (99, 0))) is WrongQueue
    assert shard.refusal(claim("m1", 1, 99)) is WrongQueue


def test_offsets_go_forward_within_the_queue() -> None:
    """Back is a seek; beyond the end is a bug of the consumer."""
    shard = Shard()
    queue = claimed(shard)
    assert shard(commit("m1", 1, (queue, 3))) == OffsetsCommitted()
    assert shard(commit("m1", 1, (queue, 3))) == OffsetsCommitted()
    assert shard.refusal(commit("m1", 1, (queue, 2))) is OffsetGoesBack
    assert shard.refusal(commit("m1", 1, (queue, 6))) is OffsetOutOfRange
    assert shard(commit("m1", 1, (queue, 5))) == OffsetsCommitted()


def test_a_commit_of_several_queues_is_all_or_nothing() -> None:
    """Half of it would be told as refused and yet be true."""
    shard = Shard()
    queue = claimed(shard)
    two, three = shard.topic("more", queues=2)
    shard(claim("m1", 1, two))
    assert shard.refusal(commit("m1", 1, (queue, 1), (two, 0), (three, 0))) is UnknownMember
    claim_of = shard.machine.claims.get("g", queue)
    assert claim_of is not None
    assert claim_of.committed is None


def test_a_seek_goes_back_and_fences_every_owner() -> None:
    """m1's commit of what it read before the seek would undo it."""
    shard = Shard()
    queue = claimed(shard)
    shard(join("m2"))
    shard(claim("m1", 2, queue))
    shard(commit("m1", 2, (queue, 4)))
    assert shard(SeekGroup("g", ((queue, 1),))) == GroupSought(3)
    assert shard.machine.take_regrouped() == {"g"}
    assert shard.refusal(commit("m1", 2, (queue, 5))) is Fenced
    assert shard.refusal(commit("m1", 3, (queue, 5))) is Fenced
    found = shard.machine.claims.get("g", queue)
    assert found is not None
    assert (found.generation, found.member, found.committed) == (3, NOBODY, 1)
    assert shard(claim("m1", 3, queue)) == start_of(1, 5)
    assert shard.refusal(claim("m2", 3, queue)) is Fenced


def test_nobody_commits_what_was_sought_and_not_claimed() -> None:
    """A commit that names no member, as any gRPC client can send it, would undo the seek."""
    shard = Shard()
    queue = claimed(shard)
    shard(SeekGroup("g", ((queue, 1),)))
    with pytest.raises(BadName):
        shard(commit(NOBODY, 2, (queue, 5)))
    assert shard(claim("m1", 2, queue)) == start_of(1, 5)


def test_a_seek_sets_what_was_never_claimed_and_nothing_outside_the_queue() -> None:
    """A dashboard may place a group before its consumers read there."""
    shard = Shard()
    queue = claimed(shard)
    (other,) = shard.topic("other")
    shard(MoveStart(queue, 2))
    assert shard.refusal(SeekGroup("g", ((other, 0), (queue, 1)))) is OffsetOutOfRange
    assert shard.refusal(SeekGroup("g", ((queue, 6),))) is OffsetOutOfRange
    assert shard.refusal(SeekGroup("g", ((99, 0),))) is WrongQueue
    assert shard.refusal(SeekGroup("h", ((queue, 2),))) is GroupNotFound
    shard(SeekGroup("g", ((other, 0), (queue, 2))))
    assert [(number, at.committed) for number, at in shard.machine.claims.of_group("g")] == [
        (queue, 2),
        (other, 0),
    ]


def test_claims_are_bounded_and_go_with_queue_and_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets of what is no more would fill the table."""
    monkeypatch.setattr(claims, "CLAIMS_MAX", 3)
    shard = Shard()
    one, two = shard.topic(queues=2)
    (other,) = shard.topic("other")
    shard.all_of(join("m"), join("m", group="h"))
    shard.all_of(claim("m", 1, one), claim("m", 1, two), claim("m", 1, one, group="h"))
    assert shard.refusal(claim("m", 1, other)) is LimitReached
    assert shard.refusal(SeekGroup("g", ((other, 0),))) is LimitReached
    shard(DeleteTopic("orders"))
    assert len(shard.machine.claims.table) == 0
    shard.all_of(join("m", "other"), join("m", "other", group="h"))
    shard.all_of(claim("m", 3, other), claim("m", 3, other, group="h"))
    shard.all_of(LeaveGroup("g", "m"), DeleteGroup("g"))
    assert [key[0] for key in shard.machine.claims.table.rows] == ["h"]


def test_values_that_no_command_can_have_are_refused_where_they_are_made() -> None:
    """Whoever proposes is told before anything is in the log."""
    with pytest.raises(BadName):
        join("m", group="%g")
    with pytest.raises(BadName):
        claim("a b", 1, 1)
    with pytest.raises(BadRequest):
        join("m", "a", "a")
    with pytest.raises(BadRequest):
        commit("m", 1, (1, 1), (1, 2))

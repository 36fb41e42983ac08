"""Sticky and cooperative assignment, and static members: who owns what, since when (ruling 12)."""

from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import Fenced, LimitReached, SubscriptionConflict, UnknownMember
from raftlog.broker import shares
from raftlog.broker.assignment import spread
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.group_commands import (
    Assignment,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
    SubscriptionSet,
)
from raftlog.broker.shares import QueuesReleased, ReleaseQueues
from raftlog.broker.topics import AlterTopic, DeleteTopic, TopicChanges
from tests.broker.logs import Shard, append, batch_of

# -- spread

MEMBERS = ["a", "b", "c", "d"]


def moves(owners: Mapping[int, str], targets: Mapping[int, str], members: list[str]) -> int:
    """Count the queues that leave a member that stays."""
    return sum(owner in members and targets[queue] != owner for queue, owner in owners.items())


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[int], list[str], dict[int, str]]:
    """Queues, members, and who owns what: some of them gone, some queues nobody's."""
    queues = draw(st.lists(st.integers(0, 30), unique=True, max_size=12))
    members = sorted(draw(st.sets(st.sampled_from(MEMBERS), min_size=1)))
    owners = {queue: draw(st.sampled_from([*MEMBERS, ""])) for queue in queues}
    return queues, members, owners


@given(situations())
def test_a_spread_is_even_and_changes_nothing_when_it_is_made_again(
    situation: tuple[list[int], list[str], dict[int, str]],
) -> None:
    """Nobody has two more than another; everybody who is given one takes part."""
    queues, members, owners = situation
    targets = spread(queues, members, owners)
    assert targets.keys() == set(queues)
    counts = [list(targets.values()).count(member) for member in members]
    assert sum(counts) == len(queues)
    assert max(counts) - min(counts) <= 1
    assert spread(queues, members, targets) == targets


@given(
    st.integers(0, 5),
    st.lists(st.sampled_from(["a", "b", "c", "x"]), min_size=5, max_size=5),
)
def test_no_even_spread_moves_less(count: int, who: list[str]) -> None:
    """Compared with every other one."""
    queues, members = list(range(count)), ["a", "b", "c"]
    owners = dict(zip(queues, who, strict=False))
    least = min(
        moves(owners, dict(zip(queues, choice, strict=True)), members)
        for choice in product(members, repeat=count)
        if max(map(choice.count, members)) - min(map(choice.count, members)) <= 1
    )
    assert moves(owners, spread(queues, members, owners), members) == least


# -- in the machine


class World:
    """A group over one topic of six queues with records."""

    def __init__(self, assignor: str, queues: int = 6) -> None:
        self.shard = Shard()
        self.assignor = assignor
        self.queues = self.shard.topic(queues=queues)
        for queue in self.queues:
            self.shard(append(batch_of(*[b"v"] * 5), queue))

    def join(self, member: str, life: int = 0) -> object:
        """Join, and return the outcome."""
        return self.shard(
            JoinGroup("g", member, ("orders",), 1_000, assignor=self.assignor, life=life)
        )

    def has(self, member: str) -> list[tuple[int, int, int]]:
        """Return what a member owns: place, since, revoked."""
        rows = self.shard.machine.groups.assignment("g", member).queues
        return [(row.place, row.since, row.revoked) for row in rows]

    def claim(self, member: str, place: int, since: int, life: int = 0) -> object:
        """Claim a queue; return the error, or None."""
        told = self.shard(ClaimQueue("g", self.queues[place], since, member, life))
        return None if isinstance(told, QueueClaimed) else told

    def commit(self, member: str, place: int, since: int, offset: int, life: int = 0) -> object:
        """Commit an offset; return the error, or None."""
        told = self.shard(CommitOffsets("g", member, since, ((self.queues[place], offset),), life))
        return None if isinstance(told, OffsetsCommitted) else told

    def release(self, member: str, *rows: tuple[int, int], life: int = 0) -> object:
        """Release places that were revoked in those generations."""
        queues = tuple((self.queues[place], revoked) for place, revoked in rows)
        return self.shard(ReleaseQueues("g", member, queues, life))


def test_sticky_moves_what_it_must_and_leaves_the_rest_alone() -> None:
    """Who keeps a queue keeps its claim: it is not asked to claim it again."""
    world = World("sticky")
    world.join("m")
    assert [world.claim("m", place, 1) for place in range(6)] == [None] * 6
    world.join("a")
    assert world.has("m") == [(0, 1, 0), (1, 1, 0), (2, 1, 0)]
    assert world.has("a") == [(3, 2, 0), (4, 2, 0), (5, 2, 0)]
    assert world.commit("m", 0, 1, 3) is None
    assert world.commit("m", 3, 1, 2) is None, "until the new owner has claimed it"
    assert isinstance(world.claim("m", 3, 1), Fenced)
    assert isinstance(world.claim("a", 0, 2), Fenced), "it is another's"
    assert isinstance(world.claim("a", 3, 1), Fenced), "in a generation of another"
    assert world.claim("a", 3, 2) is None
    assert isinstance(world.commit("m", 3, 1, 4), Fenced)
    world.shard(LeaveGroup("g", "m"))
    assert world.has("a") == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 2, 0), (4, 2, 0), (5, 2, 0)]
    world.shard(LeaveGroup("g", "a"))
    assert len(world.shard.machine.groups.shares.table) == 0


def test_an_heir_waits_for_the_release_of_its_owner() -> None:
    """And gets each queue with the release of it; a second copy changes nothing."""
    world = World("cooperative", queues=4)
    world.join("a")
    world.join("b")
    assert world.has("a") == [(0, 1, 0), (1, 1, 0), (2, 1, 2), (3, 1, 2)]
    assert world.has("b") == []
    assert isinstance(world.claim("b", 2, 2), Fenced)
    assert world.claim("a", 2, 1) is None, "it is still its own"
    assert world.commit("a", 2, 1, 4) is None
    assert world.release("a", (2, 2)) == QueuesReleased(3)
    assert (world.has("a"), world.has("b")) == (
        [(0, 1, 0), (1, 1, 0), (3, 1, 2)],
        [(2, 3, 0)],
    )
    assert world.release("a", (2, 2), (0, 1), (1, 0)) == QueuesReleased(3), "nothing of it is"
    assert world.claim("b", 2, 3) is None
    assert isinstance(world.commit("a", 2, 1, 5), Fenced)
    assert world.release("b", (3, 2)) == QueuesReleased(3), "another's"
    world.shard(LeaveGroup("g", "a", expired=True))
    assert world.has("b") == [(0, 4, 0), (1, 4, 0), (2, 3, 0), (3, 4, 0)]


def test_a_late_release_does_not_take_what_was_given_back() -> None:
    """The heir left, and a new one came: the owner has not finished for that one."""
    world = World("cooperative", queues=2)
    world.join("a")
    world.join("b")
    assert world.has("a") == [(0, 1, 0), (1, 1, 2)]
    world.shard(LeaveGroup("g", "b"))
    assert world.has("a") == [(0, 1, 0), (1, 1, 0)]
    assert world.release("a", (1, 2)) == QueuesReleased(3)
    world.join("c")
    assert world.has("a") == [(0, 1, 0), (1, 1, 4)]
    assert world.release("a", (1, 2)) == QueuesReleased(4)
    assert world.has("c") == []
    world.join("d")
    assert world.has("a") == [(0, 1, 0), (1, 1, 4)], "the heir may be another meanwhile"
    assert isinstance(world.release("nobody", (1, 4)), UnknownMember)


def test_a_seek_lets_owners_claim_again_and_moves_nothing() -> None:
    """The claim before it is over; the queues beside it go on."""
    world = World("sticky", queues=2)
    world.join("a")
    for place in range(2):
        assert world.claim("a", place, 1) is None
    world.shard(SeekGroup("g", ((world.queues[1], 2),)))
    assert world.has("a") == [(0, 1, 0), (1, 2, 0)]
    assert world.commit("a", 0, 1, 1) is None
    assert isinstance(world.commit("a", 1, 1, 5), Fenced)
    assert isinstance(world.claim("a", 1, 1), Fenced)
    assert world.claim("a", 1, 2) is None


def test_the_assignor_is_the_group_s_and_can_be_changed() -> None:
    """A member with another one is refused; one that does not care takes the group's."""
    world = World("sticky")
    world.join("a")
    world.assignor = "range"
    assert isinstance(world.join("b"), SubscriptionConflict)
    world.assignor = ""
    world.join("b")
    assert world.has("b") == [(3, 2, 0), (4, 2, 0), (5, 2, 0)]
    for version, assignor in ((2, "cooperative"), (3, "range"), (3, ""), (4, "sticky")):
        told = world.shard(SetSubscription("g", ("orders",), assignor=assignor))
        assert isinstance(told, SubscriptionSet)
        assert told.version == version
    generation = world.shard.machine.groups.find("g").generation
    assert [since for _, since, _ in world.has("a")] == [generation] * 3


def test_queues_that_come_and_go_are_shared_out() -> None:
    """Nobody reads on in a topic that is gone."""
    world = World("cooperative", queues=2)
    world.join("a")
    world.join("b")
    world.release("a", (1, 2))
    world.shard(AlterTopic("orders", TopicChanges(queues=4)))
    assert (world.has("a"), world.has("b")) == (
        [(0, 1, 0), (2, 4, 0)],
        [(1, 3, 0), (3, 4, 0)],
    )
    world.shard(DeleteTopic("orders"))
    assert (world.has("a"), world.has("b")) == ([], [])


def test_more_queues_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants them: a member, a subscription, a topic that grows or comes back."""
    monkeypatch.setattr(shares, "SHARES_MAX", 3)
    world = World("sticky", queues=4)
    assert isinstance(world.join("a"), LimitReached)
    world.shard.topic("few", queues=3)
    few = JoinGroup("g", "a", ("few",), 1_000, assignor="sticky")
    assert isinstance(world.shard(few), Assignment)
    assert isinstance(world.shard(few), Assignment), "again"
    for command in (
        SetSubscription("g", ("few", "orders")),
        AlterTopic("few", TopicChanges(queues=4)),
    ):
        assert isinstance(world.shard(command), LimitReached)


# -- static members


@pytest.mark.parametrize("assignor", ["range", "sticky", "cooperative"])
def test_a_new_process_takes_its_member_over_without_a_generation(assignor: str) -> None:
    """And fences the one before: it claims nothing, and commits until the new one has claimed."""
    world = World(assignor, queues=2)
    world.join("a", life=5)
    assert world.claim("a", 0, 1, life=5) is None
    assert world.join("a", life=9) == world.join("a", life=9)
    assert world.shard.machine.groups.find("g").generation == 1
    assert isinstance(world.join("a", life=5), Fenced)
    assert isinstance(world.join("a"), Fenced)
    assert isinstance(world.claim("a", 0, 1, life=5), Fenced)
    assert isinstance(world.claim("a", 0, 1, life=10), UnknownMember)
    assert world.commit("a", 0, 1, 2, life=5) is None
    assert isinstance(world.commit("a", 0, 1, 2, life=9), UnknownMember)
    assert world.claim("a", 0, 1, life=9) is None
    assert isinstance(world.commit("a", 0, 1, 3, life=5), Fenced)
    assert world.commit("a", 0, 1, 3, life=9) is None


def test_a_process_that_was_replaced_cannot_leave_for_its_successor() -> None:
    """Neither by its own word nor because it was silent."""
    world = World("sticky")
    world.join("a", life=5)
    world.join("a", life=9)
    world.shard(LeaveGroup("g", "a", life=5))
    world.shard(LeaveGroup("g", "a", expired=True, life=5))
    assert len(world.has("a")) == 6
    world.shard(LeaveGroup("g", "a", expired=True, life=9))
    with pytest.raises(UnknownMember):
        world.has("a")

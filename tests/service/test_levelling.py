"""The feature level of a shard: it rises once every member can apply the next one (ruling 15)."""

import msgspec
import pytest

from raftlog.base.ids import DirectoryId, NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.broker.commands import FEATURE_LEVEL, decode
from raftlog.broker.topics import TopicChanges
from raftlog.service.levelling import FIRST_NS, FIRST_ROUND_NS, ROUND_NS, Levelling
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service

N1, N2, N3 = (ReplicaId(NodeId(f"n{each}"), DirectoryId(f"d{each}")) for each in (1, 2, 3))
OLD = FEATURE_LEVEL - 1


class World:
    """A shard of three at the level before, whose leader is new."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.replica.membership = Membership((N1, N2), learners=(N3,))
        self.levels = {N2: FEATURE_LEVEL, N3: FEATURE_LEVEL}
        self.alive = {N2.node, N3.node}
        self.scheduler = FakeScheduler()
        self.levelling = Levelling(
            *(self.replica, self.replica.machine, self.scheduler),
            lambda replica: self.levels.get(replica, 0),
            lambda node: node in self.alive,
        )
        self.replica.raise_level(OLD)
        self.replica.machine.state.feature_level = OLD
        topic_service(self.replica, self.replica.machine).create(
            "orders", TopicChanges(queues=1), lambda _: None
        )
        self.replica.commit()
        assert self.level == OLD
        self.replica.raise_level(0)

    @property
    def level(self) -> int:
        """The shard's."""
        return self.replica.machine.feature_level

    def round(self) -> None:
        """Let a look come, and what it proposes be applied."""
        self.scheduler.advance(ROUND_NS)
        if self.replica.proposed:
            self.replica.commit()


def test_it_rises_when_every_member_can_apply_it() -> None:
    """By one entry, which changes nothing else; then nobody looks any more."""
    world = World()
    world.levelling.begin()
    world.round()
    assert world.level == FEATURE_LEVEL
    assert decode(world.replica.entries[-1].body).feature_level == FEATURE_LEVEL
    world.round()
    assert world.scheduler.armed == 0
    assert world.levelling.counters() == {
        "feature_level_size": FEATURE_LEVEL,
        "feature_level_max_size": FEATURE_LEVEL,
        "levels_raised": 1,
    }


@pytest.mark.parametrize("late", [N2, N3], ids=["voter", "learner"])
@pytest.mark.parametrize("level", [0, OLD], ids=["unknown", "older"])
def test_who_can_not_apply_it_yet_is_waited_for(late: ReplicaId, level: int) -> None:
    """It would stop at the first entry of that level: also a learner, and who is down."""
    world = World()
    world.levels[late] = level
    world.levelling.begin()
    for _ in range(5):
        world.round()
    assert world.level == OLD
    assert world.replica.proposed == 0
    assert world.scheduler.armed == 1, "it is looked again"
    world.levels[late] = FEATURE_LEVEL
    world.round()
    assert world.level == FEATURE_LEVEL


def test_who_is_away_holds_it_back_whatever_it_said_before() -> None:
    """It may be on its way back to the older version."""
    world = World()
    world.alive.remove(N2.node)
    world.levelling.begin()
    for _ in range(5):
        world.round()
    assert world.level == OLD
    world.alive.add(N2.node)
    world.round()
    assert world.level == FEATURE_LEVEL


def test_a_leader_that_replays_raises_nothing() -> None:
    """It does not know yet at which level the shard is."""
    world = World()
    world.replica.is_settled = False
    world.levelling.begin()
    world.round()
    assert world.level == OLD


def test_a_new_leader_looks_often_and_raises_once() -> None:
    """A new cluster refuses what needs a level until then; the entry has yet to be committed."""
    world = World()
    world.alive.clear()
    world.levelling.begin()
    world.scheduler.advance(FIRST_ROUND_NS)
    world.alive = {N2.node, N3.node}
    world.scheduler.advance(FIRST_ROUND_NS)
    world.scheduler.advance(FIRST_ROUND_NS)
    world.replica.commit()
    assert world.level == FEATURE_LEVEL
    assert world.levelling.raised == 1


def test_a_leader_that_is_held_back_looks_seldom() -> None:
    """After its first seconds."""
    world = World()
    world.alive.clear()
    world.levelling.begin()
    world.scheduler.advance(FIRST_NS)
    world.scheduler.advance(FIRST_ROUND_NS)
    world.alive = {N2.node, N3.node}
    world.scheduler.advance(2 * FIRST_ROUND_NS)
    assert not world.levelling.raised
    world.round()
    assert world.levelling.raised == 1


@pytest.mark.parametrize("others", [OLD, FEATURE_LEVEL])
def test_a_shard_that_was_never_used_begins_at_what_all_can_apply(others: int) -> None:
    """A rolling upgrade meets it: n1 is new and leads, the others perhaps are not."""
    replica, scheduler = FakeReplica(), FakeScheduler()
    replica.raise_level(0)
    replica.membership = Membership((N1, N2, N3))
    levelling = Levelling(
        *(replica, replica.machine, scheduler, lambda _: others, lambda _: True),
    )
    levelling.begin()
    scheduler.advance(ROUND_NS)
    topic_service(replica, replica.machine).create("x", TopicChanges(queues=1), lambda _: None)
    replica.commit()
    assert decode(replica.entries[-1].body).feature_level == others


def test_it_rises_as_far_as_all_can() -> None:
    """A node that is ahead of all others by two versions does not keep them back."""
    world = World()
    world.replica.machine.own_level = FEATURE_LEVEL + 7
    world.levelling.begin()
    world.round()
    assert world.level == FEATURE_LEVEL
    assert world.scheduler.armed == 1


def test_another_directory_of_the_same_name_has_said_nothing() -> None:
    """A node that was replaced may have an older binary than the one before."""
    world = World()
    again = msgspec.structs.replace(world.replica.membership)
    other = ReplicaId(N2.node, DirectoryId("another"))
    world.replica.membership = Membership((N1, other), learners=again.learners)
    world.levelling.begin()
    world.round()
    assert world.level == OLD


def test_who_does_not_lead_any_more_raises_nothing() -> None:
    """The next leader looks for itself."""
    world = World()
    world.levelling.begin()
    world.levelling.end()
    world.round()
    assert world.level == OLD
    assert world.scheduler.armed == 0

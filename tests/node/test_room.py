"""Full and stuck disks: what a leader takes in, and when it hands over."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.sim.disk import SimDisk
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId
from raftlog.base.limits import DISK_STALL_NS, SPACE_LOOK_NS
from raftlog.base.membership import NOBODY, Membership
from raftlog.base.space import DiskLevel, DiskLimits, Space
from raftlog.node.room import ShardRoom
from raftlog.node.space import NodeSpace, SpaceWatch
from raftlog.node.succession import Succession
from raftlog.raft.rpcs import HeartbeatReply
from raftlog.storage.room import Reserve
from tests.node.replicas import REPLICAS, leader_alone
from tests.service.fakes import FakeReader, FakeScheduler

N1, N2, N3 = (NodeId(f"n{n}") for n in (1, 2, 3))
ROOM, SCARCE, FULL = DiskLevel.ROOM, DiskLevel.SCARCE, DiskLevel.FULL
GIB = 1 << 30


def test_a_learner_that_knows_nobody_yet_has_a_level() -> None:
    """Its status shows it; what it may take in is not its to say."""
    space = NodeSpace()
    space.level = FULL
    assert ShardRoom(REPLICAS[0], space).level(NOBODY) is ROOM


@pytest.mark.parametrize(
    ("own", "others", "level"),
    [
        (ROOM, (ROOM, ROOM), ROOM),
        (ROOM, (FULL, ROOM), ROOM),
        (FULL, (ROOM, ROOM), ROOM),
        (ROOM, (FULL, FULL), FULL),
        (ROOM, (SCARCE, FULL), SCARCE),
        (FULL, (SCARCE, FULL), FULL),
        (SCARCE, (ROOM, FULL), SCARCE),
    ],
)
def test_what_counts_is_the_worst_disk_of_the_best_majority(
    own: DiskLevel, others: tuple[DiskLevel, DiskLevel], level: DiskLevel
) -> None:
    """Ruling 25."""
    space = NodeSpace()
    space.level = own
    room = ShardRoom(REPLICAS[0], space)
    for node, said in zip((N2, N3), others, strict=True):
        room.heard(node, said)

    assert room.level(Membership(REPLICAS)) is level


def test_a_joint_configuration_asks_both_majorities() -> None:
    """An entry must be stored by both."""
    late = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (4, 5, 6))
    room = ShardRoom(REPLICAS[0], NodeSpace())
    for replica in late[:2]:
        room.heard(replica.node, FULL)

    assert room.level(Membership(REPLICAS, outgoing=late)) is FULL


def test_a_level_of_a_later_version_is_full() -> None:
    """Higher is worse."""
    room = ShardRoom(REPLICAS[0], NodeSpace())
    room.heard(N2, 7)
    assert room.of(N2) is FULL
    room.heard(N2, 0)
    assert room.of(N2) is ROOM


def test_the_answer_to_a_heartbeat_tells_the_leader() -> None:
    """And the next one takes it back."""
    node = leader_alone()
    node.replica.receive(REPLICAS[1], HeartbeatReply(node.replica.core.term, 1, FULL))
    assert node.replica.disk_level is ROOM  # one voter: its own disk is the majority


class Rig:
    """A leader of three, as far as succession looks at it."""

    def __init__(self) -> None:
        self.space = NodeSpace()
        self.room = ShardRoom(REPLICAS[0], self.space)
        self.followers = {
            replica.node: SimpleNamespace(
                replica=replica, match=5, active=True, was_active=True, is_aside=False
            )
            for replica in REPLICAS[1:]
        }
        self.leadership: Any = SimpleNamespace(transferee=None, followers=self.followers)
        self.core: Any = SimpleNamespace(
            leadership=self.leadership, membership=Membership(REPLICAS), durable=5
        )
        self.since_ns: int | None = None
        self.chosen: list[NodeId] = []
        self.succession = Succession(
            self.core,
            self.room,
            self.chosen.append,
            writing_since_ns=lambda: self.since_ns,
        )


def test_a_leader_whose_disk_hangs_hands_over_to_one_whose_disk_does_not() -> None:
    """After a second, to the one that is furthest, and not again at once."""
    rig = Rig()
    rig.since_ns = 0
    rig.followers[N2].match = 7
    rig.followers[N3].match = 6
    rig.succession.look(DISK_STALL_NS - 1)
    assert rig.chosen == []
    rig.succession.look(DISK_STALL_NS)
    rig.succession.look(DISK_STALL_NS + 1)
    assert rig.chosen == [N2]
    rig.succession.look(2 * DISK_STALL_NS)
    assert rig.chosen == [N2, N2]


def test_where_all_disks_hang_leadership_stays() -> None:
    """Three nodes on one machine: a hand-over would only cost an election."""
    rig = Rig()
    rig.since_ns = 0
    rig.succession.look(10 * DISK_STALL_NS)
    assert rig.chosen == []


def test_a_drained_node_is_the_last_choice() -> None:
    """But it is one: a leader that hangs is worse."""
    rig = Rig()
    rig.since_ns = 0
    rig.followers[N2].match, rig.followers[N2].is_aside = 7, True
    rig.followers[N3].match = 6
    rig.succession.look(DISK_STALL_NS)
    assert rig.chosen == [N3]
    rig.followers[N3].active = rig.followers[N3].was_active = False
    rig.succession.look(2 * DISK_STALL_NS)
    assert rig.chosen == [N3, N2]


@pytest.mark.parametrize("why", ["learner", "silent", "full", "not leading", "handing over"])
def test_nobody_is_chosen_who_would_not_be_better(why: str) -> None:
    """Or at a time when there is nothing to hand over."""
    rig = Rig()
    rig.since_ns = 0
    rig.followers[N2].match = 7
    match why:
        case "learner":
            rig.core.membership = Membership((REPLICAS[0], REPLICAS[2]))
        case "silent":
            rig.followers[N2].active = rig.followers[N2].was_active = False
        case "full":
            rig.room.heard(N2, FULL)
        case "not leading":
            rig.core.leadership = None
        case _:
            rig.leadership.transferee = N3
    rig.succession.look(DISK_STALL_NS)
    assert rig.chosen == []


def test_a_leader_with_a_full_disk_hands_over_while_a_majority_has_room() -> None:
    """Otherwise producers would be refused although they need not be, or its disk would end."""
    rig = Rig()
    rig.space.level = FULL
    rig.room.heard(N3, FULL)
    rig.succession.look(1)
    assert rig.chosen == []
    rig.room.heard(N3, SCARCE)
    rig.followers[N3].match = 6
    rig.succession.look(1)
    assert rig.chosen == [N3]


class Watched:
    """A node's watch over a disk of which the test says how full it is."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.free = 90 * GIB
        self.node = NodeSpace()
        self.reader = FakeReader()
        self.scheduler = FakeScheduler()
        self.levels: list[DiskLevel] = []
        self.watch = SpaceWatch(
            *(self.node, lambda: Space(100 * GIB, self.free), Reserve(self.disk.files(), "d")),
            *(DiskLimits(plenty_bytes=60 * GIB), self.reader, self.scheduler),
        )
        self.watch.on_level = lambda level, _space: self.levels.append(level)
        self.watch.begin()
        self.reader.run()

    def second(self, free: int) -> None:
        """Let a second pass, with so many bytes free."""
        self.free = free
        self.scheduler.advance(SPACE_LOOK_NS)
        self.reader.run()


def test_the_watch_tells_each_change_of_level_once() -> None:
    """And the reserve is there from the start."""
    watched = Watched()
    assert watched.disk.paths() == ["d/reserve"]
    for free in (80, 14, 12, 9, 9, 50):
        watched.second(free * GIB)
    assert watched.levels == [SCARCE, FULL, ROOM]


def test_who_finds_no_room_gets_the_reserve_and_it_comes_back_later() -> None:
    """At once, not when somebody looks next; and not back before it could be used."""
    watched = Watched()
    watched.node.on_no_room()
    assert watched.node.level is FULL
    watched.reader.run()
    assert watched.disk.paths() == []
    watched.second(50 * GIB)
    assert watched.disk.paths() == []
    for _ in range(10):
        watched.second(50 * GIB)
    assert watched.disk.paths() == ["d/reserve"]
    assert watched.node.level is ROOM


def test_a_disk_that_fails_is_told_and_one_that_does_not_answer_is_asked_again() -> None:
    """Want of space is one thing, a broken disk another."""
    watched = Watched()
    told: list[Exception] = []
    watched.watch.on_failed = told.append
    watched.node.on_no_room()
    watched.reader.run()

    def broken(call: str, path: str) -> None:
        raise OSError(errno.EIO, call, path)

    watched.disk.on_operation = broken
    for _ in range(11):
        watched.second(50 * GIB)
    assert len(told) == 1

"""When a leader lets another one lead because an operator wishes so."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Final

import pytest

from raftlog.base.ids import NodeId
from raftlog.base.limits import (
    DISK_STALL_NS,
    PREFER_STEADY_NS,
    YIELD_CALM_NS,
    YIELD_WAIT_NS_MAX,
    YIELD_WAIT_NS_MIN,
)
from raftlog.base.membership import Membership
from raftlog.base.space import DiskLevel
from raftlog.node.room import ShardRoom
from raftlog.node.space import NodeSpace
from raftlog.node.yielding import Yielding
from tests.node.replicas import REPLICAS, leader_alone

N1, N2, N3 = (NodeId(f"n{n}") for n in (1, 2, 3))
LOOK_NS: Final = 50_000_000


class Rig:
    """n1, which leads n2 and n3, as far as is looked at."""

    def __init__(self) -> None:
        self.room = ShardRoom(REPLICAS[0], NodeSpace())
        self.followers = {
            replica.node: SimpleNamespace(
                replica=replica, match=5, active=True, was_active=True, round=1, is_aside=False
            )
            for replica in REPLICAS[1:]
        }
        self.leadership: Any = SimpleNamespace(
            transferee=None, followers=self.followers, term=3, first_index=4
        )
        self.core: Any = SimpleNamespace(
            leadership=self.leadership,
            membership=Membership(REPLICAS),
            log=SimpleNamespace(last_index=5),
            commit=5,
            is_aside=True,
            replica=REPLICAS[0],
        )
        self.chosen: list[tuple[int, NodeId]] = []
        self.now_ns = 0
        self.yielding = Yielding(self.core, self.room, self.note)

    def note(self, node: NodeId) -> None:
        """Take down a hand-over, which then fails."""
        self.chosen.append((self.now_ns, node))

    def look(self, times: int = 2) -> list[NodeId]:
        """Let some heartbeats pass; return who was chosen meanwhile."""
        before = len(self.chosen)
        for _ in range(times):
            self.now_ns += LOOK_NS
            self.yielding.look(self.now_ns)
        return [node for _, node in self.chosen[before:]]


def test_a_drained_leader_hands_over_to_the_best_that_is_not() -> None:
    """At the second look: the first one shows what a follower must have by then."""
    rig = Rig()
    rig.followers[N2].match = 6
    rig.followers[N2].is_aside = True

    assert rig.look(1) == []
    assert rig.look(1) == [N3]


def test_who_is_not_drained_leads_on() -> None:
    """Nobody wishes anything."""
    rig = Rig()
    rig.core.is_aside = False

    assert rig.look(10) == []


@pytest.mark.parametrize(
    "why",
    ["aside", "learner", "silent", "unheard", "behind", "full", "new", "changing", "follower"],
)
def test_it_leads_on_while_nobody_else_could(why: str) -> None:
    """A transfer that can't succeed would only refuse proposals for a while."""
    rig = Rig()
    del rig.followers[N3]
    match why:
        case "aside":
            rig.followers[N2].is_aside = True
        case "learner":
            rig.core.membership = Membership((REPLICAS[0], REPLICAS[2]), (), (REPLICAS[1],))
        case "silent":
            rig.followers[N2].active = rig.followers[N2].was_active = False
        case "unheard":
            rig.followers[N2].round = 0
        case "behind":
            rig.followers[N2].match = 4
        case "full":
            rig.room.heard(N2, DiskLevel.FULL)
        case "new":
            rig.core.commit = 3
        case "changing":
            rig.leadership.transferee = N2
        case _:
            rig.core.leadership = None

    assert rig.look(10) == []


def test_a_follower_under_load_need_not_have_the_very_last_entry() -> None:
    """What was in the log a heartbeat ago is enough."""
    rig = Rig()
    rig.look(1)
    rig.core.log.last_index = 900

    assert rig.look(1) == [N2]


def test_what_fails_is_tried_again_later_each_time() -> None:
    """A transfer refuses proposals while it lasts: that must not be most of the time."""
    rig = Rig()
    rig.look(20_000)
    moments = [moment for moment, _ in rig.chosen]
    waits = [after - before for before, after in pairwise(moments)]

    assert waits[0] >= YIELD_WAIT_NS_MIN
    assert all(after >= before for before, after in pairwise(waits))
    assert YIELD_WAIT_NS_MAX <= waits[-1] <= YIELD_WAIT_NS_MAX + 2 * LOOK_NS


def test_an_attempt_long_ago_and_a_new_wish_begin_anew() -> None:
    """Weeks later the first attempt is a first attempt."""
    rig = Rig()
    rig.look(2_000)
    rig.now_ns += YIELD_CALM_NS
    tried = len(rig.chosen)
    rig.look(2 + YIELD_WAIT_NS_MIN // LOOK_NS)
    assert len(rig.chosen) == tried + 2

    rig.yielding.begin_anew()
    assert rig.look(1) != []


# -- preferred leaders

STEADY_LOOKS: Final = 2 + PREFER_STEADY_NS // LOOK_NS


def preferring(*nodes: NodeId) -> Rig:
    """Return n1, which is not drained and leads, where ``nodes`` are preferred."""
    rig = Rig()
    rig.core.is_aside = False
    rig.core.membership = Membership(REPLICAS, preferred=nodes)
    return rig


def test_the_preferred_one_leads_after_it_has_answered_for_a_while() -> None:
    """A node that was started a moment ago may be gone in the next."""
    rig = preferring(N2)

    assert rig.look(STEADY_LOOKS - 2) == []
    assert rig.look(2) == [N2]


def test_the_most_preferred_one_that_can_leads() -> None:
    """The second one as long as the first one can't; and nobody less preferred than the leader."""
    rig = preferring(N3, N2, N1)
    rig.followers[N3].active = rig.followers[N3].was_active = False
    assert rig.look(STEADY_LOOKS) == [N2]

    rig = preferring(N1, N2)
    assert rig.look(STEADY_LOOKS) == []


def test_a_break_in_its_answers_begins_the_count_anew() -> None:
    """It was started again, or cut off."""
    rig = preferring(N2)
    rig.look(STEADY_LOOKS - 2)
    rig.followers[N2].active = rig.followers[N2].was_active = False
    rig.look(1)
    rig.followers[N2].active = True

    assert rig.look(STEADY_LOOKS - 2) == []
    assert rig.look(3) == [N2]


def test_a_disk_that_hangs_is_not_trusted_at_once() -> None:
    """The preferred leader handed over because of it: another hang may follow the first."""
    rig = preferring(N2)
    rig.core.log.last_index = 6  # what the new leader wrote, and n2's disk does not store
    looks = 2 + DISK_STALL_NS // LOOK_NS
    assert rig.look(looks) == []
    rig.followers[N2].match = 6

    assert rig.look(STEADY_LOOKS - 2) == []
    assert rig.look(3) == [N2]


def test_who_stores_more_all_the_time_is_well_though_it_is_never_level() -> None:
    """Under load there is always something under way; one look that finds it level is enough."""
    rig = preferring(N2)
    for _ in range(2 * STEADY_LOOKS):
        rig.core.log.last_index += 10
        rig.followers[N2].match = rig.core.log.last_index - 15
        assert rig.look(1) == []
    rig.followers[N2].match = rig.core.log.last_index

    assert rig.look(1) == [N2]


def test_health_comes_before_preference() -> None:
    """Drained, behind or full: it does not lead, whatever an operator has said before."""
    for ill in ("drained", "behind", "full"):
        rig = preferring(N2)
        rig.followers[N2].is_aside = ill == "drained"
        rig.followers[N2].match = 4 if ill == "behind" else 5
        rig.room.heard(N2, DiskLevel.FULL if ill == "full" else DiskLevel.ROOM)
        assert rig.look(2 * STEADY_LOOKS) == [], ill


def test_leadership_that_comes_back_is_handed_over_less_and_less_often() -> None:
    """The preferred one loses it at once, each time: an hour sees that some times only."""
    rig = preferring(N2)
    hour_looks = 3_600_000_000_000 // LOOK_NS
    tried = 0
    for _ in range(hour_looks // 20):
        if len(rig.chosen) > tried:  # it has led, and lost
            tried = len(rig.chosen)
            rig.leadership.term += 2
        rig.look(20)

    assert 5 <= tried <= 40


def test_a_drained_leader_prefers_who_is_preferred() -> None:
    """And waits for nothing: it is to be stopped."""
    rig = preferring(N1, N2)
    rig.core.is_aside = True
    rig.followers[N3].match = 9

    assert rig.look(2) == [N2]


def test_another_wish_is_carried_out_without_waiting_for_the_last_one() -> None:
    """What failed for n2 says nothing about n3."""
    rig = preferring(N2)
    rig.look(10 * STEADY_LOOKS)
    assert len(rig.chosen) > 1
    rig.core.membership = Membership(REPLICAS, preferred=(N3,))

    assert rig.look(1) == [N3]


def test_a_drained_replica_says_so_to_its_leader_and_in_its_status() -> None:
    """Until it is undone."""
    node = leader_alone()
    replica = node.replica
    for is_aside in (True, False):
        replica.stand_aside(is_aside=is_aside)
        assert replica.core.is_aside is is_aside
        assert replica.members.drained == ([N1] if is_aside else [])

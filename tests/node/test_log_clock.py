"""Log time follows a majority's clocks, never goes back, and is moved by no single clock."""

from random import Random

import pytest

from raftlog.base.ids import NodeId
from raftlog.node.log_clock import MS_NS, LogClock

N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))
VOTERS = (N1, N2, N3)
EPOCH_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


class World:
    """Three voters with wall clocks that are wrong by so much, and a leader, n1."""

    def __init__(self, *wrong_ms: int, last_ms: int = 0) -> None:
        self.now_ms = 0
        self.wrong_ms = dict(zip(VOTERS, wrong_ms, strict=True))
        self.clock = LogClock(N1)
        if last_ms:
            self.clock.applied(last_ms, 0)

    def hear(self, *nodes: NodeId) -> None:
        """Votes and heartbeats bring clocks."""
        for node in nodes:
            self.clock.heard(node, self.wall_ms(node), self.now_ms * MS_NS)

    def wall_ms(self, node: NodeId) -> int:
        """Return what a wall clock shows."""
        return EPOCH_MS + self.now_ms + self.wrong_ms[node]

    def stamp(self, after_ms: int = 0) -> int:
        """Stamp an entry after a while, in milliseconds since the true beginning."""
        self.now_ms += after_ms
        return self.clock.stamp(self.now_ms * MS_NS, self.wall_ms(N1), VOTERS) - EPOCH_MS


def test_a_new_log_begins_by_the_clocks() -> None:
    world = World(0, 3, 5)
    world.hear(N2, N3)
    assert world.stamp() == 3


def test_a_leader_that_has_heard_nobody_begins_a_new_log_by_its_own() -> None:
    assert World(7, 0, 0).stamp() == 7


@pytest.mark.parametrize("wrong_ms", [HOUR_MS, 8 * 24 * HOUR_MS, -HOUR_MS])
def test_a_leader_whose_clock_jumps_moves_nothing(wrong_ms: int) -> None:
    """Schedule: every lease would expire, every producer be forgotten."""
    world = World(0, 0, 0)
    world.hear(N2, N3)
    assert world.stamp() == 0
    world.wrong_ms[N1] = wrong_ms
    for step in range(1, 100):
        world.hear(N2, N3)
        assert abs(world.stamp(50) - 50 * step) <= 1


def test_one_of_the_others_moves_nothing_either() -> None:
    world = World(0, 0, 0)
    world.hear(N2, N3)
    world.stamp()
    world.wrong_ms[N3] = HOUR_MS
    world.hear(N2, N3)
    assert world.stamp(100) == 100


def test_the_next_leader_does_not_stand_still() -> None:
    """Its clock is an hour behind the old leader's, which was wrong: time goes on all the same."""
    world = World(0, 0, 0, last_ms=EPOCH_MS + HOUR_MS)
    world.hear(N2, N3)
    first = world.stamp()
    assert first == HOUR_MS
    later = world.stamp(1_000)
    assert 900 <= later - first < 1_000, "a tenth slower, towards the clocks"


def test_a_small_difference_is_steered_away() -> None:
    world = World(0, 0, 0, last_ms=EPOCH_MS - 500)
    stamps = []
    for _ in range(100):
        world.hear(N2, N3)
        stamps.append(world.stamp(100))
    assert stamps[0] == -500 + 110
    assert stamps[-1] == world.now_ms


def test_after_a_full_stop_time_moves_on_if_a_majority_agrees() -> None:
    world = World(0, HOUR_MS, 400, last_ms=EPOCH_MS - HOUR_MS)
    world.hear(N2, N3)
    assert world.stamp(1) == 401
    assert not world.clock.is_disputed


@pytest.mark.parametrize("heard", [(), (N2,), (N2, N3)])
def test_without_such_a_majority_it_goes_on_and_says_so(heard: tuple[NodeId, ...]) -> None:
    world = World(0, 2 * HOUR_MS, 4 * HOUR_MS, last_ms=EPOCH_MS - HOUR_MS)
    world.hear(*heard)
    assert world.stamp(100) == -HOUR_MS + 100
    assert world.clock.is_disputed
    world.wrong_ms[N2] = 10
    world.hear(N2)
    assert world.stamp() >= 100, "a clock was repaired"
    assert not world.clock.is_disputed


def test_what_was_heard_long_ago_is_not_used() -> None:
    world = World(0, 0, 0, last_ms=EPOCH_MS)
    world.hear(N2, N3)
    world.wrong_ms[N1] = 300
    assert world.stamp(60_000) == 60_000, "one clock is no majority: nobody steers"


def test_a_single_node_follows_its_own_clock() -> None:
    clock = LogClock(N1)
    assert clock.stamp(0, EPOCH_MS, (N1,)) == EPOCH_MS
    assert clock.stamp(1 * MS_NS, EPOCH_MS + HOUR_MS, (N1,)) == EPOCH_MS + HOUR_MS


def test_it_never_goes_back() -> None:
    for seed in range(200):
        random = Random(seed)
        world = World(*(random.randint(-5_000, 5_000) for _ in VOTERS))
        last = -(10**9)
        for _ in range(50):
            world.wrong_ms[random.choice(VOTERS)] = random.randint(-HOUR_MS, HOUR_MS)
            world.hear(*random.sample(VOTERS[1:], random.randint(0, 2)))
            stamp = world.stamp(random.choice((0, 1, 50, 7_000)))
            assert stamp >= last
            last = stamp


@pytest.mark.parametrize("wrong_ms", [0, 400, 5_000, -HOUR_MS])
def test_a_look_at_the_time_tells_the_next_stamp_and_leaves_no_trace(wrong_ms: int) -> None:
    """Also where log time is steered, moved, or disputed."""
    looked_at, left_alone = World(wrong_ms, 0, 20), World(wrong_ms, 0, 20)
    for step in range(1, 60):
        for world in (looked_at, left_alone):
            world.now_ms += 37
            if step % 3:
                world.hear(N2, N3)
            if step == 30:
                world.wrong_ms[N2] += 2_000
                world.wrong_ms[N3] += 4_000
        before = dict(vars(looked_at.clock))
        at = looked_at.now_ms * MS_NS, looked_at.wall_ms(N1), VOTERS
        now_ms = looked_at.clock.now_ms(*at)
        assert vars(looked_at.clock) == before
        assert now_ms - EPOCH_MS == looked_at.stamp() == left_alone.stamp()
    assert looked_at.clock.is_disputed == left_alone.clock.is_disputed

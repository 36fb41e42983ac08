"""Pipelines with bounds: by messages, by bytes, and by what is uncommitted."""

from raftlog.base.ids import Index, Term
from raftlog.base.limits import MIB
from raftlog.raft.config import WINDOW_ADAPT_TICKS, CoreConfig
from raftlog.raft.effects import ProposalRefused
from raftlog.raft.rpcs import AppendAccepted, AppendRequest, HeartbeatReply
from tests.raft.harness import N1, N2, N3, R2, R3, Node, World, refusal


def leading(config: CoreConfig | None = None) -> tuple[World, Node]:
    """Return a leader that replicates, with nothing on its way."""
    world = World(3, config=config)
    return world, world.elect(N1)


def appends(world: World) -> list[tuple[int, int]]:
    """Take the appends to n2; return (previous index, number of entries) of each."""
    return [
        (message.previous_index, len(message.entries))
        for message in world.take(AppendRequest, to=N2)
    ]


def test_messages_are_pipelined() -> None:
    """The next one leaves before the one before it is answered."""
    world, leader = leading()
    for body in (b"2", b"3", b"4"):
        leader.propose(body)

    assert appends(world) == [(1, 1), (2, 1), (3, 1)]
    assert leader.progress(N2) == (1, 5, "replicate")


def test_a_probe_waits_for_its_answer() -> None:
    """As long as the logs may differ, more messages would only be rejected too."""
    world = World(3, logs={N1: [1, 1]})
    world.isolate(N2)
    leader = world.elect(N1)
    assert appends(world) == []
    leader.propose(b"one more")
    assert appends(world) == []
    assert leader.progress(N2) == (0, 3, "probe")


def test_a_probe_is_repeated_at_the_next_sign_of_life() -> None:
    """It may have been lost; an answered heartbeat shows that messages arrive again."""
    world = World(3)
    world.isolate(N2)
    leader = world.elect(N1)
    world.heal()
    leader.receive(R2, HeartbeatReply(Term(1), 1))

    assert appends(world) == [(0, 1)]


def test_the_window_is_bounded_by_messages() -> None:
    """A follower that does not answer gets no more than that; one answer makes room for one."""
    world, leader = leading(CoreConfig(window_messages_max=2))
    for body in (b"2", b"3", b"4", b"5"):
        leader.propose(body)
    assert appends(world) == [(1, 1), (2, 1)]
    leader.receive(R2, AppendAccepted(Term(1), Index(2)))

    assert appends(world) == [(3, 2)], "what had to wait leaves in one message"


def test_the_window_is_bounded_by_bytes() -> None:
    """So that a slow link holds no more than it can carry soon (ruling 32)."""
    world, leader = leading(CoreConfig(message_bytes_max=MIB // 4))
    for _ in range(8):
        leader.propose(bytes(MIB // 4))

    assert len(appends(world)) == 4
    leader.receive(R2, AppendAccepted(Term(1), Index(3)))
    assert len(appends(world)) == 2


def test_the_window_grows_with_what_was_acknowledged() -> None:
    """Twice the bytes of the last 200 ms: a fast follower is never held back for long."""
    world, leader = leading(CoreConfig(message_bytes_max=MIB // 4))
    for _ in range(8):
        leader.propose(bytes(MIB // 4))
        world.settle()
    leader.tick(WINDOW_ADAPT_TICKS)
    world.settle()
    for _ in range(20):
        leader.propose(bytes(MIB // 4))

    assert len(appends(world)) == 16
    world.settle()
    world.run(2 * WINDOW_ADAPT_TICKS)
    for _ in range(20):
        leader.propose(bytes(MIB // 4))
    assert len(appends(world)) == 4, "an idle window shrinks again"


def test_many_entries_are_split_into_messages_by_bytes() -> None:
    """A message is small enough not to block what follows it."""
    world, leader = leading(CoreConfig(message_bytes_max=1_000))
    leader.propose(*[bytes(260)] * 10)

    assert [count for _, count in appends(world)] == [3, 3, 3, 1]


def test_an_entry_that_is_larger_than_a_message_travels_alone() -> None:
    """A message carries at least one entry whatever its size (ruling 32)."""
    world, leader = leading(CoreConfig(message_bytes_max=1_000))
    leader.propose(b"small", bytes(5_000), b"small")

    assert [count for _, count in appends(world)] == [1, 1, 1]


def test_proposals_are_throttled_when_too_much_is_uncommitted() -> None:
    """The memory of a leader without a majority is bounded; committing frees it."""
    world, leader = leading(CoreConfig(uncommitted_bytes_max=10_000))
    world.isolate(N1)
    while refusal(leader.propose(bytes(3_000))) is None:
        assert len(leader.view) < 10
    assert leader.propose(b"x").refused is ProposalRefused.THROTTLED
    uncommitted = len(leader.view) - 1
    world.heal()
    world.run(4 * world.config.heartbeat_ticks)

    assert leader.core.commit == Index(1 + uncommitted)
    assert refusal(leader.propose(bytes(3_000))) is None


def test_a_leader_does_not_outrun_its_own_disk() -> None:
    """n1's fsync hangs; n2 and n3 commit all it sends, so nothing is uncommitted.

    What its disk owes stays in its memory (ruling 14), which needs a bound too.
    """
    world, leader = leading(CoreConfig(uncommitted_bytes_max=10_000))
    leader.slow_disk = True
    while refusal(leader.propose(bytes(3_000))) is None:
        assert len(leader.view) < 10
        world.settle()
    assert leader.core.commit == leader.core.log.last_index
    assert refusal(leader.propose(b"x")) is ProposalRefused.THROTTLED
    leader.flush()

    assert refusal(leader.propose(bytes(3_000))) is None


def test_memory_is_bounded_while_apply_stands_still() -> None:
    """A follower whose next entry is damaged takes in the log, but not into memory for ever."""
    world, leader = leading(CoreConfig(uncommitted_bytes_max=10_000, tail_bytes_max=10_000))
    core = world[N2].core
    world[N2].applies = False
    for _ in range(30):
        leader.propose(bytes(3_000))
        world.settle()

    assert core.applied < core.durable == leader.core.log.last_index
    assert core.log.tail_bytes < 20_000
    assert leader.core.log.tail_bytes < 20_000, "it applies what it commits"


def test_a_refused_proposal_never_happened() -> None:
    """Nothing of it is in the log, on the disk or on its way (ruling 22)."""
    world, leader = leading(CoreConfig(uncommitted_bytes_max=100))
    world.isolate(N1)
    leader.propose(bytes(200))
    world.drop()
    effects = leader.propose(b"refused")

    assert effects.refused is ProposalRefused.THROTTLED
    assert (effects.writes, effects.messages, effects.proposed) == ([], [], None)
    assert world[N2].propose(b"x").refused is ProposalRefused.NOT_LEADER


def test_a_pause_with_lost_messages_is_repaired_without_an_election() -> None:
    """All that was in flight died with a connection; heartbeats uncover it."""
    world, leader = leading(CoreConfig(window_messages_max=3))
    world.isolate(N3)
    for body in (b"2", b"3", b"4", b"5", b"6"):
        leader.propose(body)
        world.settle()
    world.heal()
    took = world.run(50, until=lambda: world[N3].disk == leader.disk)

    assert took <= 4 * world.config.heartbeat_ticks
    assert leader.core.term == Term(1)


def test_duplicates_and_old_acknowledgements_change_nothing() -> None:
    """Progress only rises within a term."""
    world, leader = leading()
    leader.propose(b"2")
    leader.propose(b"3")
    leader.receive(R2, AppendAccepted(Term(1), Index(3)))
    world.drop()
    before = leader.core.status()
    for matched in (3, 2, 1, 0):
        leader.receive(R2, AppendAccepted(Term(1), Index(matched)))

    assert leader.core.status() == before
    assert appends(world) == [] or all(count == 0 for _, count in appends(world))
    assert leader.core.commit == Index(3)


def test_one_slow_follower_does_not_hold_back_the_other() -> None:
    """The window is each follower's own."""
    world, leader = leading(CoreConfig(window_messages_max=1))
    world.isolate(N2)
    for body in (b"2", b"3", b"4"):
        leader.propose(body)
        world.settle()

    assert leader.core.commit == Index(4)
    assert leader.progress(R3.node) == (4, 5, "replicate")

"""Different committed entries on two replicas: noticed by one number in a heartbeat."""

from raftlog.base.entry import EntryKind, seal
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.effects import Divergence
from raftlog.raft.events import Receive
from raftlog.raft.rpcs import Heartbeat
from tests.raft.harness import N1, N2, N3, R1, World, log_of


def follower(commit: int) -> World:
    """Return a shard whose n2 has five entries of term 1, committed as far as is said."""
    nodes = (N1, N2, N3)
    states = dict.fromkeys(nodes, HardState(Term(1)))
    return World(3, logs=dict.fromkeys(nodes, [1] * 5), hard_states=states, commit=commit)


def told(world: World, commit: int, chain: int) -> Divergence | None:
    """Return what n2 concludes from a heartbeat of n1."""
    beat = Heartbeat(Term(1), Index(commit), 1, chain)
    return world[N2].core.step(Receive(R1, beat)).divergence


def test_equal_logs_are_no_alarm() -> None:
    """The chain value of the last committed entry covers all before it."""
    entries = log_of([1] * 5)
    world = follower(commit=5)
    assert told(world, 5, entries[-1].checksum) is None


def test_another_committed_entry_is_an_alarm() -> None:
    """Same index, same term, good checksums: only the chain tells."""
    world = follower(commit=5)
    theirs = seal(EntryKind.COMMANDS, Term(1), Index(5), 7, [b"another"]).checksum
    found = told(world, 5, theirs)
    assert found == Divergence(N1, Index(5), log_of([1] * 5)[-1].checksum, theirs)


def test_a_leader_that_does_not_know_its_chain_value_accuses_nobody() -> None:
    """The entry may be old and on disk only."""
    world = follower(commit=5)
    assert told(world, 5, -1) is None


def test_what_is_not_committed_may_differ() -> None:
    """A follower's uncommitted end may be of another branch: the next append replaces it."""
    world = follower(commit=4)
    assert told(world, 5, 1) is None


def test_a_leader_names_the_chain_value_of_what_it_says_is_committed() -> None:
    """In every heartbeat, as far as it has it in memory."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"one")
    world.settle()
    leader.tick(world.config.heartbeat_ticks)
    beats = [mail.message for mail in world.select(Heartbeat)]
    assert beats
    assert {(beat.commit, beat.chain) for beat in beats} == {
        (Index(2), leader.core.log.end.checksum)
    }

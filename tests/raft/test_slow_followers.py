"""Followers that need entries which are no longer in the leader's memory (ruling 14)."""

from raftlog.base.ids import Index, Term
from raftlog.raft.config import CoreConfig
from raftlog.raft.effects import LoadEntries
from raftlog.raft.events import EntriesLoaded
from raftlog.raft.rpcs import AppendRequest
from tests.raft.harness import N1, N2, N3, R2, World, log_of

FIRST = Index(1)


def test_entries_from_before_a_restart_are_loaded_from_the_disk() -> None:
    """A core knows the terms of all its entries, but no bytes of those it did not write."""
    world = World(3, logs={N1: [1, 1, 1, 2]})
    world.elect(N1)
    world.run(world.config.heartbeat_ticks)

    assert world[N2].terms == world[N3].terms == [1, 1, 1, 2, 3]
    assert world[N3].core.commit == Index(5)


def test_a_load_names_what_is_missing_and_how_much_fits() -> None:
    """It ends where memory begins, so nothing in flight to the disk is read back."""
    world = World(3, logs={N1: [1, 1, 2]})
    world[N1].slow_reader = True
    world.elect(N1)

    size = world.config.message_bytes_max
    assert world[N1].loads == [
        LoadEntries(N2, FIRST, Index(3), size),
        LoadEntries(N3, FIRST, Index(3), size),
    ]


def test_what_cannot_be_read_is_asked_for_again() -> None:
    """An empty answer means damage here; it may be repaired by the next heartbeat."""
    world = World(3, logs={N1: [1, 1, 2]})
    leader = world[N1]
    leader.slow_reader = True
    world.elect(N1)
    leader.loads.clear()
    leader.step(EntriesLoaded(N2, FIRST, ()))
    world.settle()
    assert world[N2].terms == []
    world.run(world.config.heartbeat_ticks)

    assert [load.to for load in leader.loads] == [N2]
    leader.load()
    world.settle()
    assert world[N2].terms == [1, 1, 2, 3]


def test_entries_read_for_an_earlier_reign_are_not_sent_in_a_later_one() -> None:
    """The reader thread is slow; what it read may have been truncated since.

    n1 leads and reads its uncommitted entries 3, 4 and 5 for n3. The leader of
    the next term but one replaces 4 and 5. n1 leads again, reads entry 3 for
    n3, and now the old read returns: entries of a dead branch, which n3 would
    acknowledge as the new leader's and n1 would count.
    """
    world = World(3, logs={N1: [1, 1, 1, 2, 2], N2: [1, 1, 1], N3: [1, 1]})
    leader = world[N1]
    leader.slow_reader = True
    world.elect(N1)
    (old,) = [load for load in leader.loads if load.to == N3]
    found = tuple(leader.disk[old.first - 1 : old.last])
    replaced = log_of([1, 1, 1, 4])[3:]
    leader.receive(R2, AppendRequest(Term(4), Term(1), Index(3), Index(0), replaced))
    leader.loads.clear()
    world.drop()
    world.elect(N1)
    (new,) = [load for load in leader.loads if load.to == N3]
    assert (old.first, old.last, new.first, new.last) == (3, 5, 3, 3)

    leader.step(EntriesLoaded(N3, old.first, found))

    sent = [entry for message in world.take(AppendRequest, to=N3) for entry in message.entries]
    assert [entry for entry in sent if entry not in leader.view] == []
    leader.slow_reader = False
    world.run(3 * world.config.heartbeat_ticks)
    assert world[N3].terms == leader.terms == [1, 1, 1, 4, 5]


def test_committed_entries_leave_the_memory_when_it_is_full() -> None:
    """Only what is durable and applied here may go (ruling 14)."""
    world = World(3, config=CoreConfig(tail_bytes_max=20_000))
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(*[bytes(200)] * 400)
    assert leader.core.log.tail_first == FIRST, "nothing is committed yet"
    world.settle()

    assert leader.core.commit == Index(401)
    assert leader.core.log.tail_first > FIRST
    assert leader.core.log.tail_bytes < 40_000
    world.heal()
    world.run(3 * world.config.heartbeat_ticks)
    assert world[N3].terms == leader.terms


def test_entries_that_are_not_durable_here_stay_in_memory() -> None:
    """A majority may have committed them; a load would read a file without them."""
    world = World(3, config=CoreConfig(tail_bytes_max=20_000))
    leader = world.elect(N1)
    leader.slow_disk = True
    leader.propose(*[bytes(200)] * 400)
    world.settle()

    assert leader.core.applied == Index(401)
    assert leader.core.durable == Index(1)
    assert leader.core.log.tail_first <= Index(2)
    assert [sent for sent in world.mail if sent.sender == R2] == []

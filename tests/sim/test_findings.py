"""What the simulator has found, each as the smallest case of its class."""

from random import Random

import pytest

from chaos.sim.clocks import WallClock
from chaos.sim.disk import CrashKind, SimDisk
from chaos.sim.events import EventQueue
from chaos.sim.process import DiskPace, Life, SimReader, SimWriter
from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState, WriteEntries
from raftlog.node.log_reader import LogReader
from raftlog.node.persister import Persister
from raftlog.node.repair import Repairer
from raftlog.raft.config import CoreConfig, Restored
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Role
from raftlog.raft.events import Durable, FaultyEntries, Receive, Tick
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import (
    AppendAccepted,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    RepairMessage,
    RepairReply,
    RepairRequest,
    VoteReply,
)
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log
from raftlog.storage.unit import UNIT_BYTES

REPLICAS = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(str(n))) for n in (1, 2, 3))
CONFIG = CoreConfig()
END = LogEnd(Index(5), Term(1), 77)
OPTIONS = StoreOptions(segment_bytes=4096)


def core() -> RaftCore:
    """n1 after a restart: five entries of term 1, two of them known to be committed."""
    restored = Restored(
        hard_state=HardState(Term(1)),
        start=LogEnd(Index(0), Term(0), 0),
        end=END,
        term_runs=((Index(1), Term(1)),),
        commit=Index(2),
        applied=Index(0),
        membership=Membership(REPLICAS),
    )
    return RaftCore(REPLICAS[0], CONFIG, restored, Random(1))


def test_a_candidate_whose_disk_hangs_does_not_raise_its_term_again() -> None:
    """Each refusal with a higher term made the others give up their own elections (seed 270).

    Nobody has heard of the vote that is still being written, so nothing is lost by waiting.
    """
    candidate = core()
    for _ in range(10):
        candidate.step(Tick(CONFIG.election_ticks_max))
        for voter in REPLICAS[1:]:
            reply = PreVoteReply(Term(candidate.term + 1), granted=True)
            candidate.step(Receive(voter, reply))
    assert candidate.role is Role.CANDIDATE
    assert candidate.term == 2
    candidate.step(Durable(WriteNumber(1)))
    candidate.step(Tick(CONFIG.election_ticks_max))
    assert candidate.role is Role.PRE_CANDIDATE


def test_a_restarted_follower_of_an_idle_leader_asks_for_what_matches() -> None:
    """The leader remembers its ack from before and has nothing to send (seed 285)."""
    follower = core()
    effects = follower.step(Receive(REPLICAS[1], Heartbeat(Term(1), Index(5), 9)))
    said = [send.message for send in effects.messages]
    assert said == [HeartbeatReply(Term(1), 9), AppendAccepted(Term(1), Index(2))]
    assert follower.commit == 2, "what is not known to match is not committed"


def chain(count: int, term: int, body: bytes) -> tuple[Entry, ...]:
    """Return linked entries from index 1, all of one size."""
    entries: list[Entry] = []
    previous = 0
    for n in range(count):
        index = Index(n + 1)
        entries.append(seal(EntryKind.COMMANDS, Term(term), index, previous, [body]))
        previous = entries[-1].checksum
    return tuple(entries)


def store_with(entries: tuple[Entry, ...]) -> tuple[SimDisk, LogStore]:
    """Return a log that was closed cleanly and opened again."""
    disk = SimDisk()
    create_log(disk.files(), "shard", OPTIONS, HardState(Term(1)), list(entries))
    disk.crash(Random(0), CrashKind.LOSE)
    return disk, LogStore.open(disk.files(), "shard", OPTIONS)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_an_entry_found_bad_by_a_read_is_replaced_only_by_itself(index: int) -> None:
    """A peer's uncommitted entry of another term has the same index and length."""
    mine, other = chain(3, 1, b"mine!"), chain(3, 2, b"other")
    _, store = store_with(mine)
    store.mark_faulty(Index(index))
    assert store.plan_repair(other[index - 1 : index]) is None
    assert store.faulty_count == 1
    plan = store.plan_repair(mine[index - 1 : index])
    assert plan is not None
    plan.perform()
    store.complete(plan)
    assert store.faulty_count == 0


def test_a_read_of_entries_that_are_truncated_meanwhile_finds_nothing() -> None:
    """The reader thread asked for a place that the loop has cut away (seed 77)."""
    _, store = store_with(chain(3, 1, b"x"))
    span = store.locate(Index(3), Index(3), 1_000)
    new = seal(EntryKind.NOOP, Term(2), Index(2), chain(1, 1, b"x")[0].checksum, [])
    plan = store.plan([WriteEntries(WriteNumber(1), Index(1), (new,))], Index(0))
    plan.perform()
    store.complete(plan)
    buffer = span.read(wait=True)
    assert buffer is not None
    assert span.entries(buffer) == ()
    span.close()


def test_a_hole_that_swallowed_several_unit_heads_is_filled() -> None:
    """Rot hit the head of a unit, its entry and the next head: the length fits no entry (695)."""
    first, second, third = chain(3, 1, b"x")
    disk, store = store_with((first,))
    for write, entry in enumerate((second, third), start=1):
        plan = store.plan([WriteEntries(WriteNumber(write), None, (entry,))], Index(0))
        plan.perform()
        store.complete(plan)
    path = next(path for path in disk.paths() if path.endswith(".seg"))
    content = disk.content(path)
    start = content.index(bytes(second.frame)) - UNIT_BYTES
    for damaged in (start, start + UNIT_BYTES, content.index(bytes(third.frame)) - UNIT_BYTES):
        disk.flip_bit(path, damaged + 9, 0)
    disk.crash(Random(0), CrashKind.KEEP)
    store = LogStore.open(disk.files(), "shard", OPTIONS)
    assert store.faulty_ranges() == [(Index(2), Index(2))]
    plan_or_none = store.plan_repair((second,))
    assert plan_or_none is not None
    plan_or_none.perform()
    store.complete(plan_or_none)
    disk.crash(Random(0), CrashKind.LOSE)
    again = LogStore.open(disk.files(), "shard", OPTIONS)
    assert again.faulty_count == 0
    assert again.end == third.end


def test_a_leader_with_damage_that_nobody_can_repair_steps_down() -> None:
    """The damaged entry lay only there, so no follower could ever catch up (seed 90)."""
    leader = core()
    leader.step(Tick(CONFIG.election_ticks_max))
    leader.step(Receive(REPLICAS[1], PreVoteReply(Term(2), granted=True)))
    leader.step(Durable(WriteNumber(1)))
    leader.step(Receive(REPLICAS[1], VoteReply(Term(2), granted=True)))
    assert leader.role is Role.LEADER
    leader.step(FaultyEntries(1))
    for _ in range(CONFIG.election_ticks_min + CONFIG.election_ticks_max):
        for follower in REPLICAS[1:]:
            leader.step(Receive(follower, HeartbeatReply(Term(2), 1)))
        leader.step(Tick(1))
    assert leader.role is Role.FOLLOWER


def test_a_repair_request_is_answered_with_the_whole_range() -> None:
    """A hole is repaired whole or not at all; one entry at a time never would (seed 8)."""
    entries = chain(4, 1, b"x")
    log = LogView(LogEnd(Index(0), Term(0), 0), LogEnd(Index(0), Term(0), 0), ())
    log.append(entries)
    _, store = store_with(entries)
    queue = EventQueue()
    life = Life(queue, 0, WallClock(queue))
    reader = SimReader(queue, life, DiskPace(Random(1), 1))
    log_reader = LogReader(store, reader, lambda _: None)
    writer = SimWriter(
        *(queue, life, DiskPace(Random(1), 1)),
        on_performed=lambda _plan, _error: None,
        on_killed=lambda _plan: None,
    )
    persister = Persister(
        *(store, writer, life),
        commit_hint=lambda: Index(0),
        on_durable=lambda _: None,
        on_done=lambda: None,
        on_failed=lambda _: None,
    )
    answers: list[RepairMessage] = []
    repairer = Repairer(
        *(store, log, log_reader, persister, life),
        send=lambda _, message: answers.append(message),
        on_changed=lambda _: None,
    )
    repairer.receive(REPLICAS[1], RepairRequest(Index(2), Index(4)))
    assert answers == [RepairReply(entries[1:])]

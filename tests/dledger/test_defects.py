"""What was found in another log of this kind, each as a behaviour that must hold here.

The letters are those of ``docs/explanation/known-defects.md``, which says what the
defect was and what it led to. A test is named after its letter.
"""

from collections.abc import Sequence

import pytest

from chaos.damage.base import (
    BROKER,
    DamagedCluster,
    Owner,
    leading,
    make_base,
    run_until_converged,
)
from chaos.sim.disk import CrashKind
from chaos.sim.events import SECOND_NS
from chaos.sim.limits import small_limits
from raftlog.base.entry import HEADER_BYTES, LOG_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.broker.commands import CommandType
from raftlog.raft.effects import TransferEnded
from raftlog.raft.events import Campaign, ConnectionLost, Read, Transfer
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
)
from raftlog.storage.log_store import StoreOptions
from tests.node.replicas import leader_alone
from tests.raft.harness import N1, N2, N3, R1, R2, World
from tests.storage.logs import DIRECTORY, Logs, chain, perform, read_all

SMALL = StoreOptions(segment_bytes=512)


def bodies(entries: Sequence[Entry]) -> list[bytes]:
    return [bytes(entry.body) for entry in entries]


def checksums(entries: Sequence[Entry | None]) -> list[int | None]:
    return [entry.checksum if entry else None for entry in entries]


# -- A to F: what an acknowledgement, a truncation and a vote mean


def test_a_nothing_is_acknowledged_before_a_majority_has_synced_it() -> None:
    """A copy in memory on every node is none: one power cut of all of them takes it back."""
    world = World(3)
    leader = world.elect(N1)
    for node in world.nodes.values():
        node.slow_disk = True
    leader.propose(b"order")
    world.settle()
    before = leader.core.commit
    leader.flush()
    world.settle()
    assert leader.core.commit == before, "one disk has it"
    world[N2].flush()
    world.settle()
    assert leader.core.commit == before + 1
    for node in world.nodes.values():
        node.crash()
        node.slow_disk = False
    world.drop()
    assert b"order" in bodies(world.elect(N2).view)


def test_b_a_leader_of_an_old_term_changes_no_log() -> None:
    """n1 was cut off with an entry of its own; n2 and n3 have committed three since.

    Whatever n1 still sends (append, truncation, commit) is refused for its term, and the
    refusal tells it so. Then n2 dies, and nothing is missing.
    """
    world = World(3)
    old = world.elect(N1)
    world.isolate(N1)
    old.propose(b"pending")
    world.settle()
    new = world.elect(N2)
    new.propose(b"6", b"7", b"8")
    world.settle()
    committed = checksums(world[N3].view)
    world.heal()
    last = old.view[-2].end
    for commit, entries in ((0, (old.view[-1],)), (len(old.view), ()), (len(old.view), ())):
        request = AppendRequest(Term(1), last.term, last.index, Index(commit), entries)
        world[N3].receive(R1, request)
    assert checksums(world[N3].view) == committed
    world.settle()
    assert old.core.term == new.core.term, "it was told"
    world.isolate(N2)
    third = world.elect(N3)
    assert checksums(third.view)[: len(committed)] == committed


def test_c_entries_of_old_terms_are_not_committed_by_counting() -> None:
    """A majority that has an old entry is not enough: it may still be replaced (Figure 8)."""
    world = World(3, logs={N1: [1, 2]})
    leader = world[N1]
    leader.step(Campaign())
    leader.receive(R2, PreVoteReply(Term(3), granted=True))
    leader.receive(R2, VoteReply(Term(3), granted=True))
    leader.receive(R2, AppendAccepted(Term(3), Index(2)))
    assert leader.core.commit == 0
    leader.receive(R2, AppendAccepted(Term(3), Index(3)))
    assert leader.core.commit == 3


def test_d_a_vote_leaves_when_it_is_on_disk() -> None:
    """The reply waits for the sync; a power cut before it leaves nobody with a promise."""
    world = World(3)
    voter = world[N2]
    voter.slow_disk = True
    world[N1].step(Campaign())
    while not voter.pending:
        assert world.deliver(), "nobody asked"
    world.deliver()
    assert not world.select(VoteReply, sender=N2)
    voter.flush()
    assert [reply.granted for reply in world.take(VoteReply, sender=N2)] == [True]


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_d_an_error_of_the_disk_under_a_vote_is_final(call: str) -> None:
    """It is neither swallowed nor tried again."""
    logs = Logs()

    def fail(each: str, path: str) -> None:
        if each == call and path.endswith("hard.state"):
            raise OSError(5, "simulated")

    logs.disk.on_operation = fail
    plan = logs.store.plan([SaveHardState(logs.number(), HardState(Term(9)))], Index(0))
    with pytest.raises(StorageFailed):
        plan.perform()


def test_d_a_node_that_cannot_read_its_vote_does_not_start() -> None:
    """It does not begin again in term 0, free to vote for anybody."""
    logs = Logs()
    path = f"{DIRECTORY}/hard.state"
    for offset in (9, 4096 + 9):
        logs.disk.flip_bit(path, offset, 0)
    with pytest.raises(DamagedLog, match="forgotten its vote"):
        logs.crash()


def test_e_who_was_truncated_asks_for_votes_with_its_true_end() -> None:
    """n3's tail is cut by the new leader; its own requests say what is left, not what was."""
    world = World(3, logs={N1: [1, 2], N2: [1, 2], N3: [1, 1, 1, 1]})
    world.elect(N1)
    cut = world[N3]
    assert cut.terms == world[N1].terms
    world.isolate(N1)
    cut.step(ConnectionLost(N1))
    cut.step(Campaign())
    asked = world.take(PreVoteRequest, sender=N3)
    assert {(each.last_term, each.last_index) for each in asked} == {
        (cut.terms[-1], len(cut.view))
    }


def test_f_a_truncation_rebuilds_the_file_that_was_cut_and_no_other() -> None:
    """The cut goes into the second of several segments, each with a file of places."""
    logs = Logs(SMALL)
    entries = chain(20)
    logs.append_each(entries)
    places = [path for path in logs.disk.paths() if path.endswith(".idx")]
    second = int(places[1].rpartition("/")[2].removesuffix(".idx"))
    first_place = logs.disk.content(places[0])
    branch = chain(3, after=entries[second].end, term=2)
    logs.append(branch, truncate_to=second + 1)
    kept = entries[: second + 1] + branch
    assert logs.disk.content(places[0]) == first_place
    assert not logs.disk.files().exists(places[2]), "the segment after the cut is gone"
    for kind in (CrashKind.KEEP, CrashKind.LOSE):
        logs.crash(kind)
        assert checksums(read_all(logs.store)) == checksums(kept)


# -- G to L: recovery, reads, batches, checksums, the edge of the log


def reads_at_start(logs: Logs) -> dict[str, int]:
    """Start again; return how many bytes of each file were read."""
    reads: dict[str, int] = {}

    def count(path: str, _offset: int, length: int) -> bool:
        reads[path] = reads.get(path, 0) + length
        return False

    logs.disk.read_error = count
    logs.crash(CrashKind.KEEP)
    return reads


def test_g_entries_without_commands_do_not_cost_a_scan_at_a_start() -> None:
    """A no-op in a full segment: its places are still good."""
    logs = Logs(SMALL)
    end = LOG_ORIGIN
    for number in range(24):
        kind = EntryKind.COMMANDS if number % 4 else EntryKind.NOOP
        body = b"x" * 40 if number % 4 else b""
        entry = seal(kind, Term(1), Index(end.index + 1), end.checksum, [body])
        logs.append([entry])
        end = entry.end
    reads = reads_at_start(logs)
    *sealed, last = sorted(path for path in reads if path.endswith(".seg"))
    assert len(sealed) >= 2
    assert all(reads[path] < 150 for path in sealed), "header, and header of the last entry"
    assert reads[last] >= 512


def test_h_after_a_restart_everything_is_there_without_a_new_write() -> None:
    """The new leader's own no-op commits what was committed before; nobody proposes."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"a", b"b")
    world.settle()
    for node in world.nodes.values():
        node.crash()
    world.drop()
    again = world.elect(N2)
    world.run(2 * world.config.heartbeat_ticks)
    assert bodies(again.applied)[1:3] == [b"a", b"b"]
    assert {tuple(bodies(node.applied)) for node in world.nodes.values()} == {
        tuple(bodies(again.applied))
    }


def test_h_what_is_committed_is_remembered_by_the_log() -> None:
    """So a restarted replica serves it at once, before it has heard of a leader."""
    logs = Logs()
    entries = chain(3)
    logs.append(entries[:2])
    write = WriteEntries(logs.number(), None, tuple(entries[2:]))
    perform(logs.store, logs.store.plan([write], Index(2)))
    assert logs.crash(CrashKind.LOSE).commit_hint == 2


def test_i_a_leader_that_was_cut_off_serves_neither_new_nor_uncommitted_data() -> None:
    """It still believes that it leads. Its linearizable read waits, and fails in the end."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N1)
    old.propose(b"uncommitted")
    old.step(Read(1))
    world.elect(N2)
    world.run(3 * world.config.election_ticks_max)
    assert old.ready == []
    assert old.failed_reads == [1]
    assert b"uncommitted" not in bodies(old.applied)


def test_j_commands_of_one_turn_share_an_entry_and_a_sync() -> None:
    """A hundred records that arrive together cost what one costs."""
    node = leader_alone()
    applied, syncs = len(node.applied), node.store.fdatasyncs
    told: list[object] = []
    for number in range(100):
        node.replica.propose(
            CommandType.RAW, [b"%d" % number], lambda outcome, *_: told.append(outcome)
        )
    node.run()
    assert len(told) == 100
    assert len(node.applied) == applied + 1
    assert node.store.fdatasyncs - syncs <= 2, "the log, and when it is idle the mark"


@pytest.mark.parametrize("at", [3, HEADER_BYTES + 3], ids=["header", "body"])
def test_k_a_damaged_entry_is_neither_served_nor_cut(at: int) -> None:
    """It was acknowledged: what lies behind it stays, and it is fetched again."""
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    logs.sync_mark()
    logs.rot(entries[1], at)
    store = logs.crash(CrashKind.LOSE)
    assert checksums(read_all(store)) == [entries[0].checksum, None, entries[2].checksum]
    perform(store, store.plan_repair(entries[1:2]))
    assert checksums(read_all(store)) == checksums(entries)


def test_l_the_term_at_the_edge_of_a_trimmed_log_is_the_true_one() -> None:
    """It is what the first append after the edge is compared with."""
    logs = Logs(SMALL)
    entries: list[Entry] = []
    for term in range(1, 9):
        end = entries[-1].end if entries else LOG_ORIGIN
        entries += chain(3, after=end, term=term)
    logs.append_each(entries)
    perform(logs.store, logs.store.plan_trim(Index(12)))
    for _ in range(2):
        store = logs.store
        start = store.start
        assert 0 < start.index <= 12
        assert start == entries[start.index - 1].end
        view = LogView(start, store.end, store.term_runs)
        for index in range(start.index, store.end.index + 1):
            assert view.term_at(Index(index)) == entries[index - 1].term
        logs.crash(CrashKind.LOSE)


# -- M to Q: replicas that fall behind, queues that overflow, disks that stall, positions


def test_m_a_replica_with_an_empty_log_catches_up_in_a_bounded_number_of_messages() -> None:
    """It neither asks for ever nor is sent the same again and again."""
    size = 60
    world = World(3, logs={N1: [1] * size, N2: [1] * size})
    world.elect(N1)
    world.run(4 * world.config.heartbeat_ticks)
    assert world[N3].terms == world[N1].terms
    sent = [each for each in world.history if each.to == N3]
    assert len([each for each in sent if isinstance(each.message, AppendRequest)]) < 10


def test_n_no_committed_entry_is_dropped_on_the_way_to_the_state_machine() -> None:
    """Apply is driven by the index of what was applied, not by a queue that can be full."""
    node = leader_alone()
    count = 3_000
    told: list[Index] = []
    for number in range(count):
        node.replica.propose(
            CommandType.RAW, [b"%d" % number], lambda _outcome, _term, index: told.append(index)
        )
        if number % 7 == 0:
            node.run(1_000)
    node.run()
    indexes = [entry.index for entry in node.applied]
    assert len(told) == count
    assert indexes == list(range(1, len(indexes) + 1))


def test_o_a_leader_whose_disk_fails_stops_at_once_and_says_why() -> None:
    """It does not go on leading from memory."""
    node = leader_alone()

    def fail(call: str, path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "simulated", path)

    node.disk.on_operation = fail
    told: list[object] = []
    node.replica.propose(CommandType.RAW, [b"x"], lambda outcome, *_: told.append(outcome))
    node.run()
    assert node.replica.stopped
    assert [type(failure) for failure in node.failures] == [StorageFailed]
    assert len(told) == 1, "whoever waited knows that the outcome is unknown"


def test_o_leadership_is_not_handed_to_a_node_whose_disk_hangs() -> None:
    """It has to have the whole log on disk first; until then the old leader goes on."""
    world = World(3)
    leader = world.elect(N1)
    world[N2].slow_disk = True
    leader.propose(b"x")
    world.settle()
    leader.step(Transfer(N2))
    world.run(2 * world.config.election_ticks_max)
    assert leader.transfers == [TransferEnded.TIMED_OUT]
    assert leader.is_leader
    leader.propose(b"goes on")
    world.settle()
    assert b"goes on" in bodies(leader.applied)


def test_o_a_leader_whose_disk_hangs_hands_leadership_over() -> None:
    """It still commits, through the others, and nobody would notice that it is half dead."""
    with small_limits(BROKER):
        cluster = DamagedCluster(make_base())
        for machine in cluster.machines.values():
            cluster.start(machine)
        run_until_converged(cluster, "nothing is damaged")
        leader = leading(cluster)
        assert leader is not None
        pace = cluster.machines[leader.id.node].pace
        pace.slow_until_ns, pace.slow_factor = cluster.queue.now_ns + 30 * SECOND_NS, 1_000_000
        owner = Owner(cluster, "hang")
        for _ in range(20):
            owner.send(leader)
            cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 5)
        successor = leading(cluster)
        assert successor is not None
        assert successor is not leader
        assert not leader.stopped


@pytest.mark.parametrize("slow", [N1, N2], ids=["the leader's", "a follower's"])
def test_p_a_disk_that_hangs_delays_no_heartbeat_and_no_answer_to_one(slow: str) -> None:
    """Nothing but the writer waits for the disk, so nobody starts an election."""
    world = World(3)
    leader = world.elect(N1)
    term = leader.core.term
    node = next(each for each in world.nodes.values() if each.id == slow)
    node.slow_disk = True
    leader.propose(b"x")
    world.run(5 * world.config.election_ticks_max)
    assert node.pending, "its disk hangs all the time"
    assert leader.is_leader
    assert {each.core.term for each in world.nodes.values()} == {term}


def test_q_a_truncation_is_by_index_whatever_the_positions_of_the_others() -> None:
    """Two replicas have the same entries at other places: other segments, other write units."""
    entries = chain(20)
    branch = chain(4, after=entries[11].end, term=2)
    found = []
    for options, step in ((SMALL, 1), (StoreOptions(segment_bytes=4096), 7)):
        logs = Logs(options)
        for first in range(0, len(entries), step):
            logs.append(entries[first : first + step])
        logs.append(branch, truncate_to=12)
        logs.crash(CrashKind.LOSE)
        found.append(checksums(read_all(logs.store)))
    assert found == [checksums(entries[:12] + branch)] * 2

"""Repair of damaged entries: what a peer sends, or asks for, never fills this node's memory."""

from collections.abc import Callable
from typing import cast

import pytest

from raftlog.base.entry import LOG_ORIGIN, Entry, EntryKind, seal
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.limits import (
    KIB,
    REPAIR_BYTES_MAX,
    REPAIR_MESSAGES_MAX,
    REPAIR_READS_MAX,
)
from raftlog.node.log_reader import LogReader, OnEntries
from raftlog.node.persister import Persister
from raftlog.node.repair import RETRY_NS, Repairer
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import AppendRequest, RepairMessage, RepairReply, RepairRequest
from raftlog.storage.plan import StorePlan
from tests.node.replicas import REPLICAS, Node
from tests.storage.logs import chain, perform


class HungDisk:
    """The persister and the reader of a node whose disk hangs."""

    def __init__(self) -> None:
        self.errands: list[Callable[[], StorePlan | None]] = []
        self.reads: list[OnEntries] = []

    def errand(self, plan: Callable[[], StorePlan | None]) -> None:
        """Queue an errand."""
        self.errands.append(plan)

    def read(self, *asked: object) -> None:
        """Begin a read."""
        done = asked[2]
        assert callable(done)
        self.reads.append(done)


class Repairing:
    """The repairer of a node with some entries, some of which are damaged."""

    def __init__(self, entries: list[Entry], damaged: int) -> None:
        self.node = Node(voters=3, entries=entries)
        for entry in entries[:damaged]:
            self.node.store.mark_faulty(entry.index)
        self.disk = HungDisk()
        self.sent: list[tuple[NodeId, RepairMessage]] = []
        self.repairer = Repairer(
            self.node.store,
            LogView(LOG_ORIGIN, self.node.store.end, self.node.store.term_runs),
            cast("LogReader", self.disk),
            cast("Persister", self.disk),
            self.node.life,
            send=lambda to, message: self.sent.append((to, message)),
            on_changed=lambda _: None,
        )
        self.repairer.peers = [replica.node for replica in REPLICAS[1:]]


def test_answers_that_wait_for_a_disk_are_bounded() -> None:
    """A peer repeats its answers while the disk hangs; each holds up to a message of entries."""
    entries = chain(4, size=12 * KIB)
    repairing = Repairing(entries, damaged=2)
    size = sum(entry.size for entry in entries)
    for _ in range(2 * REPAIR_BYTES_MAX // size):
        repairing.repairer.receive(REPLICAS[1], RepairReply(tuple(entries)))
    held = len(repairing.disk.errands)
    assert 0 < held * size <= REPAIR_BYTES_MAX
    while repairing.disk.errands:
        plan = repairing.disk.errands.pop()()
        if plan is not None:
            perform(repairing.node.store, plan)
    repairing.repairer.receive(REPLICAS[1], RepairReply(tuple(entries)))
    assert repairing.disk.errands, "there is room again"


def test_an_answer_of_any_size_is_taken_if_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest entry must be repairable too."""
    monkeypatch.setattr("raftlog.node.repair.REPAIR_BYTES_MAX", 1)
    entries = chain(1)
    repairing = Repairing(entries, damaged=1)
    repairing.repairer.receive(REPLICAS[1], RepairReply(tuple(entries)))
    assert len(repairing.disk.errands) == 1


def test_reads_for_a_peer_that_asks_and_asks_are_bounded() -> None:
    """Each one that the disk answers becomes a message of up to 1 MiB."""
    repairing = Repairing(chain(3), damaged=0)
    for _ in range(2 * REPAIR_READS_MAX):
        repairing.repairer.receive(REPLICAS[1], RepairRequest(Index(1), Index(1)))
    assert len(repairing.disk.reads) == REPAIR_READS_MAX
    for done in list(repairing.disk.reads):
        done((), None)
    repairing.repairer.receive(REPLICAS[1], RepairRequest(Index(1), Index(1)))
    assert len(repairing.disk.reads) == REPAIR_READS_MAX + 1, "an end makes room"


def test_many_damaged_places_are_asked_for_in_turn() -> None:
    """What no peer can repair must not keep the rest from being asked for."""
    repairing = Repairing(chain(2 * REPAIR_MESSAGES_MAX), damaged=REPAIR_MESSAGES_MAX + 1)
    repairing.repairer.begin()
    assert len(repairing.sent) == REPAIR_MESSAGES_MAX
    repairing.node.run(2 * RETRY_NS)
    asked = {message.first for _, message in repairing.sent if type(message) is RepairRequest}
    assert len(asked) == REPAIR_MESSAGES_MAX + 1


def test_a_log_that_is_cut_while_a_peer_is_answered_ends_the_answer() -> None:
    """Found by reading: what came next was looked for behind the end of the log."""
    entries = chain(9)
    repairing = Repairing(entries, damaged=0)
    repairing.repairer.receive(REPLICAS[1], RepairRequest(Index(1), Index(9)))
    (done,) = repairing.disk.reads
    repairing.repairer._log.truncate(Index(3), entries[2].checksum)
    done(tuple(entries[:6]), None)
    assert repairing.sent == [(REPLICAS[1].node, RepairReply(tuple(entries[:6])))]


def test_what_lies_before_other_damage_is_applied_when_it_is_repaired() -> None:
    """Found by reading: on a shard where nothing is written apply stood still until all was good.

    So did linearizable reads of this replica.
    """
    entries: list[Entry] = []
    end = LOG_ORIGIN
    for index in range(1, 11):
        entries.append(seal(EntryKind.NOOP, Term(1), Index(index), end.checksum, [bytes(index)]))
        end = entries[-1].end
    node = Node(voters=3, entries=entries)
    node.replica.start()
    for damaged in (4, 8):
        node.store.mark_faulty(Index(damaged))
    last = entries[-1]
    leads = AppendRequest(Term(1), last.term, last.index, last.index, ())
    node.replica.receive(REPLICAS[1], leads)
    node.run(RETRY_NS)
    assert node.replica.applied == 3
    node.replica.receive(REPLICAS[1], RepairReply((entries[3],)))
    node.run(RETRY_NS)
    assert node.store.faulty_ranges() == [(8, 8)]
    assert node.replica.applied == 7

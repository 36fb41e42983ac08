"""Damage that is larger than a message, repaired by a peer that is asked piece by piece."""

from collections.abc import Callable
from random import Random

import pytest

from chaos.sim.disk import CrashKind
from chaos.sim.events import SECOND_NS
from raftlog.base.entry import Entry
from raftlog.base.ids import Index, NodeId
from raftlog.base.limits import KIB
from raftlog.node.repair import RETRY_NS
from raftlog.raft.rpcs import PreVoteRequest, RepairReply, RepairRequest
from tests.node.replicas import OPTIONS, REPLICAS, Node
from tests.storage.logs import Logs, chain, read_all

SMALL = 2 * KIB
"""Bytes of entries in one answer."""


class Peer:
    """What another replica has; answers as far as a message goes."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.asked: list[RepairRequest] = []

    def answer(self, request: RepairRequest) -> RepairReply:
        """Return entries from the first asked for, at least one."""
        self.asked.append(request)
        found: list[Entry] = []
        for entry in self.entries[request.first - 1 : request.last]:
            found.append(entry)
            if sum(each.size for each in found) >= SMALL:
                break
        return RepairReply(tuple(found))


def damaged(entries: list[Entry], first: int, last: int) -> Node:
    """Return a node whose entries ``first`` to ``last`` are lost in one piece."""
    node = Node(voters=3, entries=entries)
    (path,) = [path for path in node.disk.paths() if path.endswith(".seg")]
    content = node.disk.content(path)
    start = content.find(bytes(entries[first - 1].frame))
    stop = content.find(bytes(entries[last - 1].frame)) + len(entries[last - 1].frame)
    node.disk.zero(path, start, stop - start)
    node.disk.crash(Random(0), CrashKind.KEEP)
    node.open()
    return node


def converse(node: Node, peers: dict[NodeId, Peer], rounds: int = 40) -> None:
    """Let repair messages go back and forth, and time pass."""
    for _ in range(rounds):
        node.run(RETRY_NS)
        sent, node.sent[:] = list(node.sent), []
        for to, message in sent:
            if isinstance(message, RepairRequest) and to in peers:
                replica = next(each for each in REPLICAS if each.node == to)
                node.replica.receive(replica, peers[to].answer(message))


@pytest.mark.parametrize("terms", [(1, 1), (1, 2)])
def test_a_hole_larger_than_any_message_is_repaired(terms: tuple[int, int]) -> None:
    """Twelve KiB of damage, two KiB at a time; a change of terms in it, too."""
    entries = chain(10, size=KIB, term=terms[0])
    entries += chain(10, after=entries[-1].end, size=KIB, term=terms[1])
    node = damaged(entries, 4, 15)
    assert node.store.faulty_count == 12
    node.replica.start()
    peer = Peer(entries)
    converse(node, {NodeId("n2"): peer, NodeId("n3"): peer})
    assert node.store.faulty_count == 0
    assert node.replica.upkeep.repairer.repaired == 12
    assert read_all(node.store) == entries
    assert [node.replica.core.log.term_at(Index(index)) for index in (4, 10, 11, 15)] == [
        *(terms[0], terms[0], terms[1], terms[1])
    ]
    assert node.failures == []


@pytest.mark.parametrize("back", [900, 5 * KIB])
def test_a_hole_larger_than_a_message_may_have_no_room(back: int) -> None:
    """The last write went too far forward, into the place of those before (seed 538).

    No piece may be put in place by itself; each round ended where it had begun, for ever.
    """
    logs, entries = Logs(OPTIONS), chain(20, size=KIB)
    logs.append_each(entries[:15])
    logs.append(entries[15:])
    logs.sync_mark()
    path, start = logs.place(entries[3])
    _, at = logs.place(entries[15])
    block = b"".join(bytes(entry.frame) for entry in entries[15:])
    logs.disk.zero(path, start, at + len(block) - start)
    logs.disk.misplace(path, at - back, block)
    node = Node(voters=3, entries=entries)
    node.disk = logs.disk
    node.disk.crash(Random(0), CrashKind.LOSE)
    node.open()
    assert node.store.faulty_ranges() == [(4, 15)], "the others are good, where they are"
    node.replica.start()
    peer = Peer(entries)
    converse(node, {NodeId("n2"): peer, NodeId("n3"): peer})
    assert node.store.faulty_count == 0
    assert read_all(node.store) == entries
    node.disk.crash(Random(0), CrashKind.LOSE)
    node.open()
    assert read_all(node.store) == entries


def test_a_replica_that_does_not_know_its_terms_waits_for_them() -> None:
    """A guessed term would look like a conflict with what is committed (ruling 20)."""
    entries = chain(10, size=KIB)
    entries += chain(10, after=entries[-1].end, size=KIB, term=2)
    node = damaged(entries, 4, 15)
    node.replica.start()
    node.run()
    assert node.replica.core.log.term_at(Index(15)) == 1, "a guess"
    assert {type(message) for _, message in node.sent} == {RepairRequest}
    errors: list[object] = []
    node.replica.read_index(errors.append)
    assert len(errors) == 1
    node.run(5 * SECOND_NS)
    (alarm,) = node.replica.upkeep.alarms.raised
    assert "entries 4 to 15" in alarm
    peer = Peer(entries)
    converse(node, {NodeId("n2"): peer, NodeId("n3"): peer})
    assert node.replica.core.log.term_at(Index(15)) == 2


def test_a_replica_that_has_learned_its_terms_is_no_longer_damaged() -> None:
    """The repair that told them was the last one; it counted as damaged and never stood again.

    Preferred as the leader, it was handed leadership again and again (seed 587).
    """
    entries = chain(10, size=100)
    entries += chain(10, after=entries[-1].end, size=100, term=2)
    node = damaged(entries, 10, 11)
    node.replica.start()
    peer = Peer(entries)
    converse(node, {NodeId("n2"): peer, NodeId("n3"): peer}, rounds=4)
    assert node.store.faulty_count == 0
    node.run(5 * SECOND_NS)
    assert any(isinstance(message, PreVoteRequest) for _, message in node.sent)


def test_a_peer_with_another_branch_is_passed_over() -> None:
    """Its survey ends in nothing, and the next peer's is followed."""
    entries = chain(20, size=KIB)
    other = [*entries[:8], *chain(12, after=entries[7].end, size=KIB, term=2)]
    node = damaged(entries, 4, 15)
    node.replica.start()
    converse(node, {NodeId("n2"): Peer(other), NodeId("n3"): Peer(entries)}, rounds=80)
    assert node.store.faulty_count == 0
    assert read_all(node.store) == entries


def test_a_peer_that_falls_silent_is_given_up() -> None:
    """Half of a survey helps nobody else: it begins anew with another peer."""
    entries = chain(20, size=KIB)
    node = damaged(entries, 4, 15)
    node.replica.start()
    silent = Peer(entries)
    answer: Callable[[RepairRequest], RepairReply] = silent.answer

    def twice(request: RepairRequest) -> RepairReply:
        return answer(request) if len(silent.asked) < 2 else RepairReply(())

    silent.answer = twice  # type: ignore[method-assign]
    converse(node, {NodeId("n2"): silent, NodeId("n3"): Peer(entries)}, rounds=60)
    assert node.store.faulty_count == 0


def test_what_was_repaired_stays_repaired() -> None:
    """After a power cut right behind it, too."""
    entries = chain(20, size=KIB)
    node = damaged(entries, 4, 20)
    node.replica.start()
    peer = Peer(entries)
    converse(node, {NodeId("n2"): peer, NodeId("n3"): peer})
    node.disk.crash(Random(0), CrashKind.LOSE)
    node.open()
    assert node.store.faulty_count == 0
    assert read_all(node.store) == entries

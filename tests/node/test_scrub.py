"""The scrubber finds what nobody has read, at its pace, and has it repaired."""

from random import Random

import pytest

from chaos.sim.events import SECOND_NS
from raftlog.base.ids import Index
from raftlog.base.limits import KIB
from raftlog.node.scrub import Check
from raftlog.raft.rpcs import RepairRequest
from tests.node.replicas import Node
from tests.storage.logs import chain


def scrubbing(count: int = 40) -> Node:
    """Return a node of three with entries of 1 KiB, which scrubs them every second."""
    node = Node(voters=3, entries=chain(count, size=KIB))
    scrubber = node.replica.upkeep.scrubber
    scrubber.rest_ns = SECOND_NS
    return node


def rot(node: Node, entry: int) -> None:
    """Flip a bit of a stored entry's body."""
    body = Random(f"1/{entry}").randbytes(KIB)
    for path in node.disk.paths():
        at = node.disk.content(path).find(body)
        if at >= 0:
            node.disk.flip_bit(path, at + 100, 3)
            return
    raise AssertionError(f"entry {entry} is nowhere")


def test_a_good_log_is_looked_at_again_and_again() -> None:
    """Every byte of it, each time."""
    node = scrubbing()
    node.replica.start()
    node.run(10 * SECOND_NS)
    scrubber = node.replica.upkeep.scrubber
    assert scrubber.passes >= 3
    assert scrubber.bytes >= scrubber.passes * 40 * KIB
    assert scrubber.found == 0


@pytest.mark.parametrize("entry", [1, 20, 40])
def test_damage_that_nobody_has_read_is_found(entry: int) -> None:
    """And a peer is asked for it."""
    node = scrubbing()
    node.replica.start()
    rot(node, entry)
    node.run(3 * SECOND_NS)
    assert node.replica.upkeep.scrubber.found >= 1
    assert node.store.faulty_ranges() == [(entry, entry)]
    assert RepairRequest(Index(entry), Index(entry)) in [message for _, message in node.sent]


def test_damage_that_a_look_at_other_entries_has_shown_is_asked_for() -> None:
    """Nothing is written meanwhile, and what was asked for is good (seed 3041)."""
    node = scrubbing()
    node.replica.start()
    node.run(SECOND_NS // 2)
    node.store.mark_faulty(Index(20))
    node.run(SECOND_NS)
    assert RepairRequest(Index(20), Index(20)) in [message for _, message in node.sent]


def test_it_keeps_to_its_rate() -> None:
    """Ten KiB a second: forty take four."""
    node = scrubbing()
    scrubber = node.replica.upkeep.scrubber
    scrubber.rate = 10 * KIB
    node.replica.start()
    node.run(SECOND_NS + 3 * SECOND_NS)
    assert scrubber.is_running
    node.run(4 * SECOND_NS)
    assert scrubber.passes == 1


def test_it_begins_at_once_and_hurries_when_somebody_waits() -> None:
    """``raftlog log scrub``."""
    node = scrubbing()
    scrubber = node.replica.upkeep.scrubber
    scrubber.rate = 1
    node.replica.start()
    assert scrubber.scrub_now() == 1
    assert scrubber.scrub_now() == 1, "the pass that is under way"
    node.run(SECOND_NS // 2)
    assert scrubber.passes == 1


def test_files_are_looked_at_after_the_log() -> None:
    """One after the other; a bad one counts."""
    node = scrubbing()
    asked: list[int] = []

    def check(number: int) -> Check:
        def look(done: object) -> None:
            asked.append(number)
            assert callable(done)
            node.life.call_soon(lambda: done(number != 2))

        return look

    scrubber = node.replica.upkeep.scrubber
    scrubber.files = lambda: [check(1), check(2), check(3)]
    node.replica.start()
    scrubber.scrub_now()
    node.run(SECOND_NS // 2)
    assert (asked, scrubber.found, scrubber.passes) == ([1, 2, 3], 1, 1)


def test_a_stopped_replica_scrubs_no_more() -> None:
    """No timer is left that would read."""
    node = scrubbing()
    node.replica.start()
    node.replica.stop()
    node.run(5 * SECOND_NS)
    assert node.replica.upkeep.scrubber.bytes == 0

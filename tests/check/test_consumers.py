"""The invariants about readers, groups, indexes and files see what they are for."""

from collections.abc import Callable

import msgspec
import pytest

from chaos.check.assignments import Assignments
from chaos.check.group_offsets import GroupOffsets
from chaos.check.index_projection import Indexed, check_projection
from chaos.check.queue_reads import QueueReads, StoredBatch
from chaos.check.same_files import SameFiles
from chaos.check.state_machine_safety import StateMachineSafety
from chaos.check.violation import Violation
from raftlog.base.ids import Index
from tests.check.facts import N1, N2

QUEUE = 3
BATCHES = [
    StoredBatch(0, 2, log_time_ms=10, index=5, position=40, data=b"first"),
    StoredBatch(2, 1, log_time_ms=20, index=6, position=40, data=b"second"),
    StoredBatch(3, 4, log_time_ms=20, index=6, position=90, data=b"third"),
]


def reads() -> QueueReads:
    """A queue of three batches."""
    known = QueueReads()
    for batch in BATCHES:
        known.stored(QUEUE, batch)
    return known


@pytest.mark.parametrize("offset", [0, 1])
def test_a_read_that_gives_what_is_stored_passes(offset: int) -> None:
    """It may begin within a batch, and end early."""
    known = reads()
    assert known.read(QUEUE, offset, [0, 2], [b"first", b"second"]) == 3
    assert known.read(QUEUE, 3, [3], [b"third"]) == known.end(QUEUE) == 7
    assert known.read(QUEUE, 7, [], []) == 7


@pytest.mark.parametrize(
    ("offset", "bases", "batches", "why"),
    [
        (0, [0], [b"other"], "other bytes at 0"),
        (0, [2], [b"second"], "at 0 gets the batch at 2"),
        (2, [0], [b"first"], "at 2 gets the batch at 0"),
        (0, [0, 3], [b"first", b"third"], "at 2 gets the batch at 3"),
        (0, [0, 0], [b"first", b"first"], "at 2 gets the batch at 0"),
        (0, [1], [b"first"], "no batch at 1"),
        (0, [0, 2], [b"first"], "1 batches with 2 offsets"),
    ],
)
def test_a_read_that_gives_something_else_is_seen(
    offset: int, bases: list[int], batches: list[bytes], why: str
) -> None:
    """Wrong bytes, gaps, repetitions."""
    with pytest.raises(Violation, match=why):
        reads().read(QUEUE, offset, bases, batches)


def test_an_end_that_is_old_or_invented_is_seen() -> None:
    """What one client knows, no later question may deny (ruling 23)."""
    known = reads()
    floor = known.asks_end(QUEUE)
    known.answered_end(QUEUE, floor, 3)
    known.answered_end(QUEUE, floor, 2)
    assert known.asks_end(QUEUE) == 3
    for end in (2, 8):
        with pytest.raises(Violation, match=f"is told as {end}"):
            known.answered_end(QUEUE, known.asks_end(QUEUE), end)
    with pytest.raises(Violation, match="has seen 9"):
        known.answered_session(9, 8)


def test_an_untrue_search_by_time_is_seen() -> None:
    """A batch that came after the question is no part of the answer."""
    known = reads()
    known.found(QUEUE, 20, 2, start=0, known_end=7)
    known.found(QUEUE, 10, 2, start=2, known_end=7)
    known.found(QUEUE, 30, 3, start=0, known_end=3)
    with pytest.raises(Violation, match="2 is before 3"):
        known.found(QUEUE, 20, 3, start=0, known_end=7)
    with pytest.raises(Violation, match="0 is earlier than 20"):
        known.found(QUEUE, 20, 0, start=0, known_end=7)


# -- groups

GROUP = "billing"


def owned() -> GroupOffsets:
    """m2 has taken the queue over from m1, who had committed 2 of what it was given."""
    groups = GroupOffsets()
    groups.claimed(GROUP, QUEUE, 5, "m1", None)
    groups.gives(GROUP, QUEUE, 0, 3)
    groups.commits(GROUP, QUEUE, 5, "m1", 2)
    groups.claimed(GROUP, QUEUE, 6, "m2", 2)
    return groups


def test_a_handover_passes() -> None:
    """m2 goes on where m1 had committed; a seek may go anywhere, whoever was there."""
    groups = owned()
    groups.claimed(GROUP, QUEUE, 6, "m2", 2)
    groups.commits(GROUP, QUEUE, 6, "m2", 3)
    groups.sought(GROUP, QUEUE, 7, 1)
    groups.claimed(GROUP, QUEUE, 7, "m1", 1)
    groups.starts(QUEUE, 9)
    groups.commits(GROUP, QUEUE, 7, "m1", 9)
    groups.forgotten(GROUP)
    groups.claimed(GROUP, QUEUE, 1, "m1", None)


BROKEN: list[tuple[str, Callable[[GroupOffsets], None]]] = [
    ("commits what", lambda groups: groups.commits(GROUP, QUEUE, 5, "m1", 3)),
    ("commits what", lambda groups: groups.commits(GROUP, QUEUE, 6, "m1", 3)),
    ("commits what", lambda groups: groups.commits(GROUP, QUEUE, 7, "m2", 3)),
    ("commits 1 after 2", lambda groups: groups.commits(GROUP, QUEUE, 6, "m2", 1)),
    ("nobody was given 3", lambda groups: groups.commits(GROUP, QUEUE, 6, "m2", 4)),
    ("claims what", lambda groups: groups.claimed(GROUP, QUEUE, 5, "m1", 2)),
    ("claims what", lambda groups: groups.claimed(GROUP, QUEUE, 6, "m1", 2)),
    ("is told 1, committed is 2", lambda groups: groups.claimed(GROUP, QUEUE, 7, "m1", 1)),
    ("is told None", lambda groups: groups.claimed(GROUP, QUEUE, 7, "m1", None)),
]


@pytest.mark.parametrize(("why", "act"), BROKEN)
def test_a_broken_fence_is_seen(why: str, act: Callable[[GroupOffsets], None]) -> None:
    """The schedule of ruling 12, and what it would lead to."""
    with pytest.raises(Violation, match=why):
        act(owned())


def test_a_forgotten_acknowledged_commit_is_seen() -> None:
    """Unless somebody asked for a seek, which may come true late."""
    groups = owned()
    groups.acked(GROUP, QUEUE, 2)
    floor = groups.floor(GROUP, QUEUE)
    groups.told(GROUP, QUEUE, floor, 2)
    with pytest.raises(Violation, match="2 was acked"):
        groups.told(GROUP, QUEUE, floor, None)
    groups.seeks(GROUP, QUEUE, 1)
    groups.told(GROUP, QUEUE, floor, 1)


def test_two_owners_in_one_generation_are_seen() -> None:
    """And one whose share changes without a new generation."""
    assignments = Assignments()
    assignments.told(GROUP, 1, "m1", [1, 2])
    assignments.told(GROUP, 1, "m1", [2, 1])
    assignments.told(GROUP, 2, "m2", [1])
    with pytest.raises(Violation, match="m1 and m2 of billing both own queue 2"):
        assignments.told(GROUP, 1, "m2", [2])
    with pytest.raises(Violation, match="m1 of billing has"):
        assignments.told(GROUP, 1, "m1", [1])


# -- replicas

INDEX = [
    Indexed(0, 2, 10, 5, 40, 5),
    Indexed(2, 1, 20, 6, 40, 6),
    Indexed(3, 4, 20, 6, 90, 5),
]


def test_an_index_that_is_the_projection_passes() -> None:
    """From the start offset on, which may lie within a batch."""
    check_projection(N1, QUEUE, 0, INDEX, BATCHES)
    check_projection(N1, QUEUE, 2, INDEX[1:], BATCHES)
    check_projection(N1, QUEUE, 1, INDEX, BATCHES)


@pytest.mark.parametrize(
    "found",
    [
        INDEX[:2],
        INDEX[1:],
        [*INDEX, INDEX[2]],
        [INDEX[1], INDEX[0], INDEX[2]],
        *(
            [INDEX[0], msgspec.structs.replace(INDEX[1], **{field: 99}), INDEX[2]]
            for field in Indexed.__struct_fields__
        ),
    ],
)
def test_any_other_index_is_seen(found: list[Indexed]) -> None:
    """Missing, invented, shifted, moved: each serves other records at an offset (ruling 3)."""
    with pytest.raises(Violation, match="n1"):
        check_projection(N1, QUEUE, 0, found, BATCHES)


def test_files_of_one_name_and_different_bytes_are_seen() -> None:
    """On two nodes, and on one at two times."""
    same = SameFiles()
    same.found(N1, {"1.qx": b"a"})
    same.found(N2, {"1.qx": b"a", "2.qx": b"b"})
    with pytest.raises(Violation, match=r"2.qx has other bytes on n2 than on n2"):
        same.found(N2, {"2.qx": b"c"})


def test_a_restored_state_that_differs_is_seen() -> None:
    """A snapshot that was changed while it was written would be another state."""
    safety = StateMachineSafety()
    safety.state(N1, Index(5), "state")
    safety.state(N2, Index(5), "state")
    with pytest.raises(Violation, match="n2 has state other at 5"):
        safety.state(N2, Index(5), "other")

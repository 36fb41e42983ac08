"""Staged parts: named by their own commit or dropped by time: on histories made by hand."""

import pytest

from chaos.check.delayed_delivery import Pending
from chaos.check.producer_sequences import Kept, Row
from chaos.check.staged_parts import StagedParts, StagedRow, check_rows
from chaos.check.violation import Violation

QUEUE = 3
DUE_MS = 1_000
IDS = [100, 200]


def part(id_: int) -> Pending:
    return Pending(QUEUE, id_, DUE_MS, 2, id_ // 100, 30, b"batch")


def row(*hidden: int, known_through: int = 0) -> Row:
    """Return what a producer has stored: two records each, hidden under these ids, 0: visible."""
    row = Row(0)
    for number, id_ in enumerate(hidden):
        row.kept[2 * number] = Kept(2 * number, 2, 0, 1, number + 1, id_)
    row.known_through = known_through
    return row


@pytest.fixture
def parts() -> StagedParts:
    """Two parts of one producer's transaction."""
    parts = StagedParts()
    for id_ in IDS:
        parts.staged(part(id_))
    return parts


def test_a_commit_reveals_what_was_staged_and_nothing_is_left(parts: StagedParts) -> None:
    """What its producer has stored before is no part of it."""
    why_not = parts.why_not({QUEUE: IDS}, {QUEUE: row(0, *IDS)})
    assert not why_not
    assert parts.revealed(QUEUE, IDS, why_not) == [part(100), part(200)]
    check_rows("n1", {}, parts.pending)
    assert parts.ever


BAD = {
    "the last one left out": (IDS[:1], row(*IDS)),
    "one between left out": (IDS, row(100, 150, 200)),
    "another producer's": (IDS, row(*IDS[:1])),
    "of an epoch before": (IDS, None),
    "something stored behind": (IDS, row(*IDS, 0)),
    "confirmed already": (IDS, row(*IDS, known_through=2)),
    "one that never was": ([*IDS, 300], row(*IDS, 300)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_commit_of_anything_else_is_a_violation(parts: StagedParts, case: str) -> None:
    """And to refuse it is right."""
    ids, stored = BAD[case]
    why_not = parts.why_not({QUEUE: ids}, {QUEUE: stored})
    with pytest.raises(Violation, match="is committed, and"):
        parts.revealed(QUEUE, ids, why_not)
    parts.told_expired(why_not)


def test_a_refusal_of_what_is_there_is_a_violation(parts: StagedParts) -> None:
    """Its owner would be told that it is too late."""
    with pytest.raises(Violation, match="all of it is there"):
        parts.told_expired(parts.why_not({QUEUE: IDS}, {QUEUE: row(*IDS)}))


def test_they_are_dropped_at_their_time_and_not_before(parts: StagedParts) -> None:
    """Then no commit has them, and a replica that has is wrong."""
    rows = {(QUEUE, id_): StagedRow(id_ // 100, 30, 5, DUE_MS) for id_ in IDS}
    assert parts.passes(DUE_MS - 1) == 0
    check_rows("n1", rows, parts.pending)
    with pytest.raises(Violation, match="n1 has None"):
        check_rows("n1", {}, parts.pending)
    assert parts.passes(DUE_MS) == 2
    with pytest.raises(Violation, match="it is None"):
        check_rows("n1", rows, parts.pending)
    assert parts.why_not({QUEUE: IDS}, {QUEUE: row(*IDS)}) == "[100, 200] of queue 3 are not there"


def test_an_id_is_given_once(parts: StagedParts) -> None:
    """Also after the part has gone."""
    parts.passes(DUE_MS)
    with pytest.raises(Violation, match="two parts"):
        parts.staged(part(100))


def test_a_body_is_followed(parts: StagedParts) -> None:
    """A copy has its bytes, and the log is not trimmed below it; a deleted queue needs none."""
    key = (QUEUE, 100)
    assert not parts.relocated((QUEUE, 300), (1, 30), (7, 40), b"batch")
    assert not parts.relocated(key, (1, 31), (7, 40), b"batch")
    with pytest.raises(Violation, match="other bytes"):
        parts.relocated(key, (1, 30), (7, 40), b"patch")
    assert parts.relocated(key, (1, 30), (7, 40), b"batch")
    with pytest.raises(Violation, match="trimmed to 2"):
        parts.trimmed(2)
    parts.trimmed(1)
    parts.closed([QUEUE])
    parts.trimmed(9)
    assert not parts.pending

"""The invariant of filtered reads sees what it is for."""

import pytest

from chaos.check.filtered_reads import check_filtered
from chaos.check.queue_reads import StoredBatch
from chaos.check.violation import Violation
from raftlog.wire.batch import Record, encode_batch


def stored(base: int, *tags: str) -> StoredBatch:
    data = encode_batch([Record(b"v", tag=tag) for tag in tags], timestamp_ms=1)
    return StoredBatch(base, len(tags), 0, 1, 0, data)


LOG = [stored(0, "a", "b"), stored(2, "b", "b"), stored(4, "a", "a")]


def is_a(record: Record) -> bool:
    return record.tag == "a"


@pytest.mark.parametrize(
    ("offset", "after", "found"),
    [
        (0, 6, [(0, LOG[0].data, [0]), (4, LOG[2].data, [0, 1])]),
        (0, 4, [(0, LOG[0].data, [0])]),
        (1, 4, []),
        (5, 6, [(4, LOG[2].data, [1])]),
        (6, 6, []),
    ],
)
def test_right_answers_pass(
    offset: int, after: int, found: list[tuple[int, bytes, list[int]]]
) -> None:
    """Whole stretches, and such that begin within a batch."""
    check_filtered(1, offset, after, found, LOG, is_a)


@pytest.mark.parametrize(
    ("offset", "after", "found"),
    [
        (0, 6, [(0, LOG[0].data, [0])]),
        (0, 6, [(0, LOG[0].data, [0]), (4, LOG[2].data, [1])]),
        (0, 4, [(0, LOG[0].data, [0, 1])]),
        (0, 2, [(0, LOG[1].data, [0])]),
        (1, 4, [(0, LOG[0].data, [0])]),
        (0, 7, [(0, LOG[0].data, [0]), (4, LOG[2].data, [0, 1])]),
        (4, 3, []),
    ],
)
def test_wrong_answers_are_seen(
    offset: int, after: int, found: list[tuple[int, bytes, list[int]]]
) -> None:
    """A match left out, one too many, other bytes, looked beyond the end."""
    with pytest.raises(Violation, match="filtered_reads"):
        check_filtered(1, offset, after, found, LOG, is_a)

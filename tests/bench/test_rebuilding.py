"""What the demo says of a stream of records is true."""

import hashlib
from collections.abc import Sequence

import pytest

from bench.rebuilding import Comparison, Rebuilding

LINES = [b"zero\n", b"one\n", b"two\n", b"three"]
HASHES = {b"f": hashlib.sha256(b"".join(LINES)).hexdigest()}


def came(order: Sequence[int]) -> Comparison:
    rebuilding = Rebuilding()
    for number in order:
        rebuilding.take(b"f", number, LINES[number])
    return rebuilding.compare(len(LINES), HASHES)


@pytest.mark.parametrize(
    ("order", "lost", "duplicated", "reordered", "same"),
    [
        ([0, 1, 2, 3], 0, 0, 0, True),
        ([0, 1, 3], 1, 0, 0, False),
        ([0, 1, 2], 1, 0, 0, False),
        ([1, 2, 3], 1, 0, 0, False),
        ([0, 1, 1, 2, 3], 0, 1, 0, True),
        ([0, 1, 2, 3, 0, 1, 2, 3], 0, 4, 0, True),
        ([0, 2, 1, 3], 0, 0, 1, True),
        ([3, 2, 1, 0], 0, 0, 3, True),
        ([0, 3, 3, 1], 1, 1, 1, False),
    ],
)
def test_each_kind_of_fault_is_counted_as_what_it_is(
    order: list[int], lost: int, duplicated: int, reordered: int, *, same: bool
) -> None:
    """A demo that could not fail would prove nothing."""
    found = came(order)
    assert (found.lost, found.duplicated, found.reordered) == (lost, duplicated, reordered)
    assert (not found.mismatches) is same
    assert found.is_exact == (order == [0, 1, 2, 3])


def test_a_changed_byte_is_a_mismatch() -> None:
    """The records may all be there and one of them be wrong."""
    rebuilding = Rebuilding()
    for number, line in enumerate(LINES):
        rebuilding.take(b"f", number, line.replace(b"o", b"0"))
    found = rebuilding.compare(len(LINES), HASHES)
    assert (found.lost, found.duplicated, found.reordered) == (0, 0, 0)
    assert found.mismatches == ("f",)
    assert not found.is_exact


def test_a_file_that_nobody_sent_is_a_mismatch() -> None:
    """Invented records are as bad as lost ones."""
    rebuilding = Rebuilding()
    for number, line in enumerate(LINES):
        rebuilding.take(b"f", number, line)
    rebuilding.take(b"g", 0, b"")
    assert rebuilding.compare(len(LINES), HASHES).mismatches == ("g",)

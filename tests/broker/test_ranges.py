"""Sealed index ranges: the same bytes everywhere, every damaged byte noticed."""

import pytest

from raftlog.base.errors import CorruptFrame, IncompatibleFormat
from raftlog.base.ids import Index, Offset
from raftlog.broker.index import OpenRange, Posting, Postings, QueueSpan, RangeDirectory
from raftlog.broker.ranges import BLOCK_BYTES, parse_range, seal_range

Row = tuple[int, int, int, int, int, int, int]
ROWS: list[Row] = [
    (0, 3, 10, 9, 1, 25, 200),
    (3, 1, 11, -5, 1, 231, 80),
    (4, 10_000, 12, 12, 7, 25, 1 << 21),
]


def range_of(queues: dict[int, list[Row]], first_index: int = 1) -> OpenRange:
    built = OpenRange(Index(first_index))
    for queue, rows in queues.items():
        for row in rows:
            built.postings_of(queue).append(*row)
            built.count += 1
    return built


def rows_of(postings: Postings) -> list[tuple[int, ...]]:
    return list(zip(*postings.columns, strict=True))


def posting_of(row: Row) -> Posting:
    base, count, log_time_ms, record_time_ms, index, position, length = row
    times = (log_time_ms, record_time_ms)
    return Posting(Offset(base), count, *times, Index(index), position, length)


def test_a_sealed_range_reads_back_as_it_was() -> None:
    """Fetches below the open range are answered from these bytes alone."""
    sealed = seal_range(range_of({5: ROWS[1:], 0: ROWS}), Index(9), 12)
    summary, postings = parse_range(sealed.encoded)
    assert summary == sealed.summary
    assert summary.queues == (
        QueueSpan(0, Offset(0), Offset(10_004), 3, 280 + (1 << 21), 12),
        QueueSpan(5, Offset(3), Offset(10_004), 2, 80 + (1 << 21), 12),
    )
    assert {queue: rows_of(found) for queue, found in postings.items()} == {0: ROWS, 5: ROWS[1:]}


def test_the_order_in_which_queues_appeared_does_not_show() -> None:
    """The bytes name the content among replicas (ruling 27), so they must not depend on luck."""
    one = seal_range(range_of({5: ROWS, 0: ROWS}), Index(9), 12)
    two = seal_range(range_of({0: ROWS, 5: ROWS}), Index(9), 12)
    assert one.encoded == two.encoded


def test_a_range_without_postings_is_a_range() -> None:
    """64 MiB of other commands are cut too, or ranges would not follow one another."""
    summary, postings = parse_range(seal_range(OpenRange(Index(4)), Index(4), 0).encoded)
    assert (summary.first_index, summary.last_index, postings) == (4, 4, {})


def test_every_flipped_bit_is_noticed() -> None:
    """A wrong position would serve other bytes under a right offset."""
    encoded = seal_range(range_of({0: ROWS}), Index(9), 12).encoded
    for place in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises((CorruptFrame, IncompatibleFormat)):
            parse_range(damaged)


def test_every_cut_is_noticed() -> None:
    """A crash between write and rename must not leave a shorter index."""
    encoded = seal_range(range_of({0: ROWS}), Index(9), 12).encoded
    for size in range(len(encoded)):
        with pytest.raises(CorruptFrame):
            parse_range(encoded[:size])


def test_damage_is_told_by_block() -> None:
    """One bad block names itself, so that a repair need not doubt the rest."""
    rows = [(at, 1, 1, 1, 1, 1, 1) for at in range(4000)]
    damaged = bytearray(seal_range(range_of({0: rows}), Index(9), 12).encoded)
    damaged[-1] ^= 1
    last = (4000 * 44 - 1) // BLOCK_BYTES
    with pytest.raises(CorruptFrame, match=f"block {last} of index range 1 "):
        parse_range(damaged)


@pytest.mark.parametrize(("offset", "place"), [(0, 0), (2, 0), (3, 1), (4, 2), (10_003, 2)])
def test_an_offset_is_found_in_the_batch_that_holds_it(offset: int, place: int) -> None:
    """A reader may start in the middle of a batch."""
    postings = range_of({0: ROWS}).postings_of(0)
    assert postings.find(Offset(offset)) == place
    assert postings[place] == posting_of(ROWS[place])
    assert postings[place].base_offset <= offset < postings[place].end_offset


@pytest.mark.parametrize("offset", [2, 9])
def test_an_offset_that_the_range_does_not_hold_is_our_bug(offset: int) -> None:
    """The caller asked the directory first; a wrong answer must not become wrong bytes."""
    postings = range_of({0: [(3, 6, 1, 1, 1, 1, 1)]}).postings_of(0)
    with pytest.raises(AssertionError):
        postings.find(Offset(offset))


def test_the_directory_finds_the_range_of_an_offset() -> None:
    """One look per fetch, however long the log is."""
    directory = RangeDirectory()
    summaries = []
    for number in range(3):
        rows = [(number * 10, 10, 1, 1, 1, 1, 1)]
        summary = seal_range(range_of({0: rows}, number + 1), Index(number + 1), 1).summary
        directory.add(summary.queues[0], summary)
        summaries.append(summary)
    for offset, number in [(0, 0), (9, 0), (10, 1), (29, 2)]:
        assert directory.find(Offset(offset)) is summaries[number]


def test_a_cut_makes_no_bytes_and_whoever_asks_first_makes_them_once() -> None:
    """Apply must not stop for the columns of ten thousand queues; the reader thread may."""
    sealed = seal_range(range_of({0: ROWS, 5: ROWS}), Index(9), 12)
    assert sealed._made is None
    assert (sealed.first_index, sealed.last_index, sealed.postings.keys()) == (1, 9, {0, 5})
    assert sealed.encoded is sealed.encoded
    assert sealed.summary is sealed.summary

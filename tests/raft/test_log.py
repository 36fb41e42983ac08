"""The core's view of the log: terms of everything retained, bytes of the tail."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.entry import LOG_ORIGIN, Entry, EntryId
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.log import LogView
from tests.raft.harness import World, log_of, restored

TERMS = (1, 1, 2, 2, 2, 5)


def in_memory(terms: Sequence[int]) -> LogView:
    """Return a log whose entries were all appended in this life."""
    log = LogView(LOG_ORIGIN, LOG_ORIGIN, ())
    if terms:
        log.append(log_of(terms))
    return log


def from_disk(terms: Sequence[int]) -> LogView:
    """Return a log that was there before the start: names are known, no bytes."""
    found = restored(World(1).membership, log_of(terms), HardState())
    return LogView(found.start, found.end, found.term_runs)


def trimmed(terms: Sequence[int], to: int) -> LogView:
    """Return a log whose entries up to ``to`` were dropped."""
    log = in_memory(terms)
    log.trim(log_of(terms)[to - 1].end)
    return log


@pytest.mark.parametrize("make", [in_memory, from_disk])
def test_terms_of_all_entries_are_known(make: object) -> None:
    """The consistency check needs them, whether or not the bytes are in memory."""
    assert callable(make)
    log = make(TERMS)

    assert [log.term_at(Index(index)) for index in range(8)] == [0, *TERMS, None]
    assert log.last_id == EntryId(Term(5), Index(6))


@pytest.mark.parametrize("to", range(1, 7))
def test_after_a_trim_the_start_keeps_its_term_and_nothing_before_it(to: int) -> None:
    """The entry after the start must still find the term of the one before it."""
    log = trimmed(TERMS, to)
    expected = [None] * to + [*TERMS[to - 1 :], None]

    assert [log.term_at(Index(index)) for index in range(8)] == expected


@given(st.lists(st.integers(1, 5), max_size=10).map(sorted), st.integers(0, 12), st.integers(0, 6))
def test_the_last_entry_at_or_below_a_term_is_found(
    terms: list[int], index: int, term: int
) -> None:
    """By definition: go back until the term is not above; the origin is below everything."""
    log = in_memory(terms)
    at = min(index, len(terms))
    while at > 0 and terms[at - 1] > term:
        at -= 1
    expected = EntryId(Term(terms[at - 1] if at else 0), Index(at))

    assert log.last_at_or_below(Index(index), Term(term)) == expected


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=10).map(sorted),
    st.data(),
)
def test_a_truncated_log_is_the_log_that_never_had_the_rest(
    terms: list[int], data: st.DataObject
) -> None:
    """Also what is derived from it: terms, bytes, and what can be appended."""
    to = data.draw(st.integers(0, len(terms) - 1))
    log, short = in_memory(terms), in_memory(terms[:to])
    log.truncate(Index(to), short.end.checksum)
    everything = Index(0)

    assert log.end == short.end
    assert log.tail_bytes == short.tail_bytes == log.bytes_after(everything)
    assert [log.term_at(Index(i)) for i in range(12)] == [
        short.term_at(Index(i)) for i in range(12)
    ]
    more = log_of([*terms[:to], 9, 9])[to:]
    log.append(more)
    assert log.entries(Index(to + 1), log.last_index) == list(more)


def test_a_slice_takes_what_fits_and_at_least_one() -> None:
    """The size of a message; one entry goes whatever its size."""
    log = in_memory([1] * 4)
    size = log.tail_bytes // 4
    rows = [(1, 0, 1), (1, size, 1), (1, 2 * size, 2), (3, 2 * size - 1, 1), (2, 99 * size, 3)]

    for first, bytes_max, count in rows:
        found = log.slice(Index(first), bytes_max)
        assert found is not None
        assert [entry.index for entry in found] == list(range(first, first + count))


def test_what_is_not_in_memory_is_no_slice() -> None:
    """The shell must read it from the disk; nothing is made up."""
    log = from_disk([1, 1])
    new = log_of([1, 1, 1])[2]
    log.append((new,))

    assert log.slice(Index(2), 1_000) is None
    assert log.slice(Index(3), 1_000) == (new,)
    assert log.entry(Index(2)) is None
    assert log.tail_first == Index(3)


def test_eviction_keeps_the_newest_and_what_is_still_needed() -> None:
    """Only up to the index that is durable and applied."""
    log = in_memory([1] * 200)
    size = log.tail_bytes // 200
    log.evict(Index(100), 10 * size)
    assert log.tail_first == Index(101)
    log.evict(Index(200), 10 * size)

    kept: list[Entry] = log.entries(log.tail_first, Index(200))
    assert log.tail_bytes <= 10 * size + size
    assert [entry.index for entry in kept] == list(range(log.tail_first, 201))
    assert log.bytes_after(Index(199)) == kept[-1].size
    assert log.term_at(Index(1)) == Term(1)

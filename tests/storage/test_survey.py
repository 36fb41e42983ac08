"""Damage that is larger than a message: proven as a whole, repaired in pieces (ruling 20)."""

from random import Random

import pytest

from chaos.sim.disk import CrashKind
from raftlog.base.entry import LOG_ORIGIN, Entry
from raftlog.base.ids import Index, NodeId
from raftlog.base.limits import KIB
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.survey import Survey
from tests.storage.logs import DIRECTORY, OPTIONS, Logs, chain, perform, read_all

PEER = NodeId("n2")


def terms_in_units(size: int = 40, options: StoreOptions = OPTIONS) -> tuple[Logs, list[Entry]]:
    """Return twelve entries of three terms, two in each write unit."""
    logs = Logs(options)
    entries: list[Entry] = []
    for term in (1, 2, 4):
        after = entries[-1].end if entries else LOG_ORIGIN
        entries += chain(4, after=after, term=term, size=size)
    for first in range(0, 12, 2):
        logs.append(entries[first : first + 2])
    logs.sync_mark()
    return logs, entries


def lose(logs: Logs, entries: list[Entry], first: int, last: int, *, cut: bool) -> LogStore:
    """Zero entries ``first`` to ``last``, or cut the file before ``first``; start again."""
    path, start = logs.place(entries[first - 1])
    _, stop = logs.place(entries[last - 1])
    stop += len(entries[last - 1].frame)
    file = logs.disk.files().open(path)
    if cut:
        file.truncate(start)
    else:
        file.pwrite([bytes(stop - start)], start)
    file.sync()
    logs.disk.crash(Random(0), CrashKind.LOSE)
    return LogStore.open(logs.disk.files(), DIRECTORY, OPTIONS)


def surveyed(store: LogStore, entries: list[Entry], step: int) -> Survey:
    hole = max(store.holes(), key=lambda each: each.last - each.first)
    survey = Survey(hole, PEER)
    while not survey.is_complete:
        assert survey.take(entries[survey.next - 1 : survey.next - 1 + step])
    return survey


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("places", [(3, 10), (4, 11), (2, 12), (5, 6)])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_large_hole_is_healed_piece_by_piece(
    places: tuple[int, int], step: int, *, cut: bool, backwards: bool
) -> None:
    """Whatever the sizes of messages, and in whichever order they come."""
    first, last = places
    if cut:
        last = 12
    logs, entries = terms_in_units()
    store = lose(logs, entries, first, last, cut=cut)
    assert store.end == entries[-1].end
    assert store.faulty_ranges() == [(first, last)]
    perform(store, store.plan_split(surveyed(store, entries, step)))
    assert store.term_runs == [(1, 1), (5, 2), (9, 4)], "terms are known before the entries are"
    assert not store.terms_in_doubt
    places_left = store.faulty_ranges()
    assert [low for low, _ in places_left] == list(range(first, last + 1, step))
    for low, high in reversed(places_left) if backwards else places_left:
        perform(store, store.plan_repair(entries[low - 1 : high]))
        served = read_all(store)
        assert len(served) == 12
        assert all(e is None or e == entries[i] for i, e in enumerate(served))
    assert store.faulty_count == 0
    later = chain(3, after=entries[-1].end, term=5)
    logs.store = store
    logs.append(later)
    logs.sync_mark()
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_count == 0
    assert read_all(store) == [*entries, *later]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("done", range(4))
def test_a_crash_between_two_pieces_is_a_smaller_or_the_same_hole(done: int, *, cut: bool) -> None:
    """Nothing that was put in place is ever taken for something else."""
    logs, entries = terms_in_units()
    store = lose(logs, entries, 3, 12 if cut else 10, cut=cut)
    perform(store, store.plan_split(surveyed(store, entries, 3)))
    for low, high in store.faulty_ranges()[:done]:
        perform(store, store.plan_repair(entries[low - 1 : high]))
    logs.disk.crash(Random(0), CrashKind.LOSE)
    store = LogStore.open(logs.disk.files(), DIRECTORY, OPTIONS)
    assert store.end == entries[-1].end
    served = read_all(store)
    assert all(e is None or e == entries[i] for i, e in enumerate(served))
    while store.faulty_count:
        (low, high), *_ = store.faulty_ranges()
        perform(store, store.plan_repair(entries[low - 1 : high]))
    assert read_all(store) == entries
    assert store.term_runs == [(1, 1), (5, 2), (9, 4)]


def test_another_branch_proves_nothing() -> None:
    """A peer's uncommitted entries that link to the same entry are found out at their end."""
    logs, entries = terms_in_units()
    store = lose(logs, entries, 3, 10, cut=False)
    other = [*entries[:5], *chain(7, after=entries[4].end, term=3)]
    (hole,) = store.holes()
    survey = Survey(hole, PEER)
    assert survey.take(other[2:6])
    assert not survey.take(other[6:12])
    assert not Survey(hole, PEER).take(other[5:8]), "does not link to what is before the hole"


def test_a_hole_that_has_changed_is_not_split() -> None:
    """A conflict with the leader may have cut into it since the survey began."""
    logs, entries = terms_in_units()
    store = lose(logs, entries, 3, 10, cut=False)
    survey = surveyed(store, entries, 3)
    logs.store = store
    logs.append(chain(1, after=entries[4].end, term=9), truncate_to=5)
    assert store.plan_split(survey) is None
    assert store.faulty_ranges() == [(3, 5)]
    assert store.end.index == Index(6)


def large_entries() -> tuple[Logs, list[Entry]]:
    """Return entries that are larger than what a disk can or cannot read."""
    return terms_in_units(3_000, StoreOptions(segment_bytes=48 * KIB))


def fail_reads(logs: Logs, path: str, start: int, stop: int) -> None:
    """Let reads that touch these bytes fail, as if they could not be read for a while."""
    logs.disk.read_error = lambda read, offset, length: (
        read == path and offset < stop and offset + length > start
    )


@pytest.mark.parametrize("done", range(1, 10))
@pytest.mark.parametrize("backwards", [False, True])
def test_what_lay_in_a_hole_before_misleads_no_later_scan(done: int, *, backwards: bool) -> None:
    """Nothing could be read, pieces were put in place, and a crash: old heads must be gone.

    A read error may pass, and the heads of the entries tell then where they lay once.
    """
    logs, entries = large_entries()
    path, start = logs.place(entries[2])
    for entry in entries[2:]:
        logs.rot(entry, len(entry.frame) - 1)
    fail_reads(logs, path, start, 1 << 30)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(2, 2), (3, 12)], "2 ends in the block where 3 begins"
    perform(store, store.plan_split(surveyed(store, entries, 1)))
    pieces = store.faulty_ranges()
    for low, high in (list(reversed(pieces)) if backwards else pieces)[:done]:
        perform(store, store.plan_repair(entries[low - 1 : high]))
    logs.disk.read_error = None
    store = logs.crash(CrashKind.LOSE)
    for low, high in store.faulty_ranges():
        perform(store, store.plan_repair(entries[low - 1 : high]))
    assert read_all(store) == entries
    assert logs.crash(CrashKind.LOSE).faulty_count == 0
    assert read_all(logs.store) == entries


def test_an_idx_that_says_where_entries_lay_before_a_repair_goes() -> None:
    """Read from it later, good entries would be looked for where they lie no more."""
    logs, entries = large_entries()
    path, start = logs.place(entries[2])
    _, stop = logs.place(entries[8])
    while logs.place(entries[-1])[0] == path:
        entries += chain(1, after=entries[-1].end, term=4, size=3_000)
        logs.append(entries[-1:])
    logs.sync_mark()
    store = logs.crash(CrashKind.LOSE)
    index_path = path.removesuffix(".seg") + ".idx"
    assert store.files.exists(index_path)
    logs.disk.read_error = lambda read, offset, length: (
        read == index_path or (read == path and offset < stop and offset + length > start)
    )
    store.mark_faulty(Index(3))
    logs.disk.read_error = None
    assert store.faulty_count > 2, "the scan for the places met more"
    perform(store, store.plan_split(surveyed(store, entries, 2)))
    assert not store.files.exists(index_path)
    for low, high in store.faulty_ranges():
        perform(store, store.plan_repair(entries[low - 1 : high]))
    assert read_all(store) == entries
    assert logs.crash(CrashKind.LOSE).faulty_count == 0
    assert read_all(logs.store) == entries
    assert logs.store.files.exists(index_path), "made again at the start, as it is now"

"""Rot: marked and repaired below the watermark, cut above it, never served (storage.md 3)."""

from contextlib import suppress
from random import Random

import pytest

from chaos.sim.disk import CrashKind, Killed
from raftlog.base.entry import HEADER_BYTES, Entry, EntryKind, seal
from raftlog.base.errors import CorruptFrame, DamagedLog, StorageFailed
from raftlog.base.ids import Index, Term
from raftlog.base.writes import WriteEntries
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.scan import is_padding
from raftlog.storage.segment import SEGMENT_HEADER_BYTES
from tests.storage.logs import DIRECTORY, OPTIONS, Logs, chain, perform, read_all


def two_terms() -> tuple[Logs, list[Entry]]:
    """Return a synced log of five entries, a change of terms in it, three write units."""
    logs = Logs()
    entries = chain(2)
    logs.append_each(entries)
    entries += chain(3, after=entries[-1].end, term=2)
    logs.append(entries[2:])
    logs.sync_mark()
    return logs, entries


def frames(entries: list[Entry]) -> list[bytes]:
    return [bytes(entry.frame) for entry in entries]


def used_bytes(logs: Logs) -> tuple[str, int]:
    """Return the one segment and where its last frame ends."""
    (path,) = [path for path in logs.disk.paths() if path.endswith(".seg")]
    return path, len(logs.disk.content(path).rstrip(b"\0"))


def test_a_flipped_bit_anywhere_below_the_watermark_is_found_and_healed() -> None:
    """Every byte of a small log: right bytes or none, the whole log, and a repair that lasts."""
    logs, entries = two_terms()
    path, end = used_bytes(logs)
    good = frames(entries)
    damaged = 0
    for offset in range(end):
        disk = logs.disk.fork()
        disk.flip_bit(path, offset, offset % 8)
        disk.crash(Random(0), CrashKind.LOSE)
        try:
            store = LogStore.open(disk.files(), DIRECTORY, OPTIONS)
        except DamagedLog:
            raise AssertionError(f"bit at {offset} stops the node") from None
        found = read_all(store)
        assert store.end == entries[-1].end, f"bit at {offset} shortens the log"
        assert store.term_runs == [(1, 1), (3, 2)], f"bit at {offset} changes a term"
        served = [entry is None or bytes(entry.frame) for entry in found]
        assert all(a in (True, b) for a, b in zip(served, good, strict=True)), f"at {offset}"
        damaged += store.faulty_count
        for first, last in store.faulty_ranges():
            perform(store, store.plan_repair(entries[first - 1 : last]))
        disk.crash(Random(0), CrashKind.LOSE)
        store = LogStore.open(disk.files(), DIRECTORY, OPTIONS)
        assert frames([entry for entry in read_all(store) if entry]) == good, f"at {offset}"
    assert damaged > end // 2, "most bytes of a log are somebody's"


def test_a_flipped_bit_above_the_watermark_cuts_there() -> None:
    """Unsynced and bad: whatever follows was promised to nobody."""
    logs, entries = two_terms()
    _, start = used_bytes(logs)
    later = chain(3, after=entries[-1].end, term=2)
    plan = logs.store.plan([WriteEntries(logs.number(), None, tuple(later))], Index(0))

    def die(call: str, _path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "power cut")

    logs.disk.on_operation = die
    with pytest.raises(StorageFailed):
        plan.perform()
    path, end = used_bytes(logs)
    everything = frames(entries + later)
    for offset in range(start, end):
        disk = logs.disk.fork()
        disk.flip_bit(path, offset, offset % 8)
        disk.crash(Random(0), CrashKind.KEEP)
        store = LogStore.open(disk.files(), DIRECTORY, OPTIONS)
        assert store.faulty_count == 0, f"bit at {offset} of a torn write is called damage"
        found = frames([entry for entry in read_all(store) if entry])
        assert len(found) >= len(entries)
        assert found == everything[: len(found)]
        following = chain(1, after=store.end, term=9)
        perform(store, store.plan([WriteEntries(logs.number(), None, tuple(following))], Index(0)))
        disk.crash(Random(0), CrashKind.LOSE)
        again = LogStore.open(disk.files(), DIRECTORY, OPTIONS)
        assert again.end == store.end, f"an append after the cut at {offset} is lost"


def test_what_looks_like_a_frame_inside_a_record_is_no_entry() -> None:
    """Records are anybody's bytes, also a frame that claims index 10^12.

    Believed, it would make a trillion entries faulty, and the process run out
    of memory while it opens its log.
    """
    for claimed in (4, 5, 10**12):
        logs = Logs()
        entries = chain(2)
        inner = seal(EntryKind.COMMANDS, Term(9), Index(claimed), 7, [b"x"])
        entries.append(
            seal(EntryKind.COMMANDS, Term(1), Index(3), entries[-1].checksum, [inner.frame])
        )
        following = chain(3, after=entries[-1].end)
        logs.append(entries + following)
        logs.sync_mark()
        logs.rot(entries[-1], 5)
        store = logs.crash(CrashKind.LOSE)
        assert store.faulty_ranges() == [(3, 3)]
        served = [entry.end for entry in read_all(store) if entry]
        assert served == [entry.end for entry in entries[:2] + following]


def someones_segment(count: int) -> bytes:
    """Return the used bytes of another log's segment, with ``count`` entries and unit heads."""
    other = Logs(StoreOptions(segment_bytes=65536))
    other.append_each(chain(count, term=5))
    path, end = used_bytes(other)
    return other.disk.content(path)[:end]


def with_a_segment_inside(count: int) -> tuple[Logs, list[Entry]]:
    """Return a log whose entry 4 holds a copy of another log's segment, and its six entries."""
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(3)
    body = someones_segment(count)
    entries.append(seal(EntryKind.COMMANDS, Term(1), Index(4), entries[-1].checksum, [body]))
    entries += chain(2, after=entries[-1].end)
    return logs, entries


@pytest.mark.parametrize(("damaged", "count"), [([4], 6), ([4, 5], 6), ([4], 4), ([4, 5], 5)])
@pytest.mark.parametrize("units", [1, 2, 6])
def test_a_segment_stored_as_a_value_is_no_part_of_the_log(
    damaged: list[int], count: int, units: int
) -> None:
    """A user backs raftlog up into raftlog. Its unit heads claim what another log had promised.

    Taken for real, they would raise the watermark and the unit number of this log, and its
    entries would be served as entries of this one.
    """
    logs, entries = with_a_segment_inside(30)
    entries = entries[:count]
    step = -(-len(entries) // units)
    for first in range(0, len(entries), step):
        logs.append(entries[first : first + step])
    logs.sync_mark()
    number = logs.store.unit_number
    for index in damaged:
        logs.rot(entries[index - 1], 3)
    store = logs.crash(CrashKind.LOSE)
    ranges = store.faulty_ranges()
    assert [n for first, last in ranges for n in range(first, last + 1)] == damaged
    assert (store.end, store.unit_number) == (entries[-1].end, number)
    for first, last in ranges:
        perform(store, store.plan_repair(entries[first - 1 : last]))
    assert read_all(logs.crash(CrashKind.LOSE)) == entries


@pytest.mark.parametrize("part", [3, HEADER_BYTES + 3], ids=["header", "body"])
@pytest.mark.parametrize("count", [4, 6])
def test_a_segment_in_a_torn_write_promises_nothing(part: int, count: int) -> None:
    """The write never finished; what its record claims must not make damage of it."""
    logs, entries = with_a_segment_inside(30)
    logs.append(entries[:3])
    logs.sync_mark()
    number = logs.store.unit_number
    write = WriteEntries(logs.number(), None, tuple(entries[3:count]))
    plan = logs.store.plan([write], Index(0))

    def die(call: str, _path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "power cut")

    logs.disk.on_operation = die
    with pytest.raises(StorageFailed):
        plan.perform()
    logs.disk.on_operation = None
    logs.rot(entries[3], part)
    store = logs.crash(CrashKind.KEEP)
    assert (store.faulty_count, store.end) == (0, entries[2].end)
    assert store.unit_number <= number + 2, "the torn unit's, and the cut's"


@pytest.mark.parametrize("part", [3, HEADER_BYTES + 3], ids=["header", "body"])
def test_rot_in_a_sealed_segment_is_found_when_it_is_read(part: int) -> None:
    """A sealed segment is opened by its ``.idx``; its entries are verified by whoever reads."""
    logs = Logs(StoreOptions(segment_bytes=512))
    entries = chain(20)
    logs.append_each(entries)
    logs.sync_mark()
    logs.rot(entries[1], part)
    store = logs.crash(CrashKind.LOSE)
    span = store.locate(Index(1), Index(4), 4096)
    assert [entry.index for entry in span.entries(span.read(wait=True) or b"")] == [1]
    span.close()
    store.mark_faulty(Index(2))
    perform(store, store.plan_repair(entries[1:2]))
    store = logs.crash(CrashKind.LOSE)
    assert frames([entry for entry in read_all(store) if entry]) == frames(entries)


@pytest.mark.parametrize("lost", [1, 3, 5], ids=["first", "middle", "last"])
def test_a_repair_needs_the_very_entry_that_was_lost(lost: int) -> None:
    """A peer may have another, uncommitted entry of that index, just as long (ruling 20)."""
    logs = Logs()
    entries = chain(5)
    logs.append(entries)
    logs.store.mark_faulty(Index(lost))
    before = entries[lost - 1]
    stranger = seal(EntryKind.COMMANDS, Term(1), Index(lost), before.previous, [bytes(40)])
    assert logs.store.plan_repair([stranger]) is None
    perform(logs.store, logs.store.plan_repair([before]))
    assert frames([entry for entry in read_all(logs.store) if entry]) == frames(entries)


def test_several_damaged_entries_are_repaired_together_or_not_at_all() -> None:
    """Between bad headers nobody knows where one entry ends and the next begins."""
    logs, entries = two_terms()
    for index in (2, 3):
        logs.rot(entries[index], 3)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 4)]
    assert store.plan_repair(entries[2:3]) is None
    assert store.plan_repair(entries[3:4]) is None
    perform(store, store.plan_repair(entries[2:5]))
    assert logs.crash(CrashKind.LOSE).faulty_count == 0


def test_a_conflict_that_cuts_into_damage_keeps_the_promised_part_of_it() -> None:
    """Entries 3 to 5 are damaged, the leader's log differs from 5 on: 3 and 4 stay promised."""
    logs = Logs()
    entries = chain(6)
    logs.append_each(entries)
    logs.sync_mark()
    path, at = logs.place(entries[2])
    _, last = logs.place(entries[4])
    for offset in range(at, last + 50):
        logs.disk.flip_bit(path, offset, 3)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 5)]
    branch = chain(2, after=entries[3].end, term=2)
    logs.append(branch, truncate_to=4)
    assert store.faulty_ranges() == [(3, 4)]
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 4)]
    assert store.end == branch[-1].end
    perform(store, store.plan_repair(entries[2:4]))
    store = logs.crash(CrashKind.LOSE)
    assert frames([entry for entry in read_all(store) if entry]) == frames(entries[:4] + branch)


def test_good_entries_between_damage_and_the_end_of_a_segment_are_kept() -> None:
    """No unit head follows them; that they lead to where the next segment begins is proof enough.

    A repair of entry 2 that a power cut has torn leaves this. Were 3 and 4 called damaged too,
    and a peer had its own damage there, nobody would have them any more.
    """
    logs = Logs(StoreOptions(segment_bytes=512))
    entries = chain(8)
    logs.append(entries[:4])
    logs.append(entries[4:])
    logs.sync_mark()
    path, at = logs.place(entries[1])
    assert logs.place(entries[4])[0] != path, "they share a segment"
    files = logs.disk.files()
    file = files.open(path)
    file.pwrite([bytes(entries[1].size)], at)
    file.sync()
    files.remove(path.replace(".seg", ".idx"))
    store = logs.crash(CrashKind.KEEP)
    assert store.faulty_ranges() == [(2, 2)]
    perform(store, store.plan_repair(entries[1:2]))
    assert frames([entry for entry in read_all(store) if entry]) == frames(entries)


def test_a_log_goes_on_behind_damage_whose_length_nobody_knows() -> None:
    """Its place is kept for the repair; new entries go to a new segment."""
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    logs.sync_mark()
    logs.rot(entries[2], 3)
    store = logs.crash(CrashKind.LOSE)
    following = chain(3, after=store.end)
    logs.append_each(following)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 3)]
    perform(store, store.plan_repair(entries[2:]))
    store = logs.crash(CrashKind.LOSE)
    assert frames([entry for entry in read_all(store) if entry]) == frames(entries + following)


def test_a_bad_segment_header_in_the_middle_is_made_again() -> None:
    """The segment before it says where it belongs."""
    logs = Logs(StoreOptions(segment_bytes=512))
    entries = chain(20)
    logs.append_each(entries)
    logs.sync_mark()
    path = [path for path in logs.disk.paths() if path.endswith(".seg")][1]
    logs.disk.flip_bit(path, SEGMENT_HEADER_BYTES // 4, 1)
    store = logs.crash(CrashKind.LOSE)
    assert frames([entry for entry in read_all(store) if entry]) == frames(entries)
    assert logs.crash(CrashKind.LOSE).faulty_count == 0


def test_a_stale_branch_cannot_link() -> None:
    """A good frame of the right index, from a branch that was truncated, in the right place."""
    logs, entries = two_terms()
    other = chain(2, after=entries[1].end, term=1)[1]
    path, at = logs.place(entries[3])
    file = logs.disk.files().open(path)
    file.pwrite([other.frame], at)
    file.sync()
    store = logs.crash(CrashKind.LOSE)
    assert [entry.index if entry else None for entry in read_all(store)] == [1, 2, 3, None, 5]
    with pytest.raises(CorruptFrame):
        store.plan([WriteEntries(logs.number(), None, (other,))], Index(0))


@pytest.mark.parametrize("offset", [0, 1, 262_143, 262_144, 600_000, 786_436])
def test_padding_ends_with_the_first_bit_that_is_set(offset: int) -> None:
    """It is compared in pieces; wherever the bit lies, what is behind it is padding again."""
    data = bytearray(3 * 262_144 + 5)
    assert is_padding(bytes(data), 0)
    data[offset] = 1
    assert not is_padding(bytes(data), 0)
    assert not is_padding(bytes(data), offset)
    assert is_padding(bytes(data), offset + 1)


def test_damage_that_the_scan_for_places_meets_is_one_hole() -> None:
    """A read finds an entry bad; where it lies was forgotten, and looking for that finds it too.

    Two equal holes: one was repaired, the other was asked for again and again.
    """
    logs, entries = two_terms()
    store = logs.store
    (segment,) = store._segments
    path, end = used_bytes(logs)
    logs.disk.flip_bit(path, end - 1, 0)
    segment.places = None
    for index_path in [path for path in logs.disk.paths() if path.endswith(".idx")]:
        logs.disk.files().remove(index_path)
    store.mark_faulty(Index(5))
    assert store.faulty_ranges() == [(5, 5)]
    perform(store, store.plan_repair(entries[4:]))
    assert store.faulty_ranges() == []


@pytest.mark.parametrize("further", [20, 48, 100])
def test_what_follows_a_hole_may_lie_further_back_than_it_was(further: int) -> None:
    """A misdirected write put entry 6 there, and another lost it in its place.

    The hole has more room than what was lost: it is filled all the same.
    """
    logs, entries = Logs(), chain(6)
    logs.append_each(entries)
    logs.sync_mark()
    path, start = logs.place(entries[2])
    _, at = logs.place(entries[5])
    logs.disk.zero(path, start, at + entries[5].size - start)
    logs.disk.misplace(path, at + further, bytes(entries[5].frame))
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 5)]
    perform(store, store.plan_repair(entries[2:5]))
    assert read_all(store) == entries
    logs.append(chain(1, after=entries[-1].end))
    assert read_all(logs.crash(CrashKind.LOSE))[:6] == entries
    assert logs.store.faulty_count == 0


def moved_forward(moved: int, behind: int, into: int) -> tuple[Logs, list[Entry]]:
    """Return a log that lost entries 3 to 5, into whose place a write of those behind went."""
    logs, entries = Logs(), chain(5 + moved + behind)
    logs.append_each(entries[:5])
    logs.append(entries[5 : 5 + moved])
    logs.append_each(entries[5 + moved :])
    logs.sync_mark()
    path, start = logs.place(entries[2])
    _, at = logs.place(entries[4 + moved])
    block = b"".join(bytes(entry.frame) for entry in entries[5 : 5 + moved])
    logs.disk.zero(path, start, at + entries[4 + moved].size - start)
    logs.disk.misplace(path, start + into, block)
    logs.crash(CrashKind.LOSE)
    return logs, entries


@pytest.mark.parametrize("kind", list(CrashKind))
@pytest.mark.parametrize("behind", [0, 1, 3])
@pytest.mark.parametrize("moved", [1, 2, 3])
@pytest.mark.parametrize("into", [0, 60, 100, 150])
def test_what_follows_a_hole_may_lie_further_forward_than_it_was(
    into: int, moved: int, behind: int, kind: CrashKind
) -> None:
    """There is no room for what was lost: it was fetched and refused for ever (seed 595).

    The good entries behind are written again where they were, as many as it takes.
    """
    logs, entries = moved_forward(moved, behind, into)
    store = logs.store
    ((first, last),) = store.faulty_ranges()
    assert first == 3
    assert store.plan_repair(entries[2 : last - 1]) is None, "not all of them"
    perform(store, store.plan_repair(entries[2:last]))
    assert store.faulty_ranges() == []
    assert read_all(store) == entries
    assert read_all(logs.crash(kind)) == entries
    more = chain(1, after=entries[-1].end)
    logs.append(more)
    assert read_all(logs.crash(kind)) == [*entries, *more]
    assert logs.store.faulty_count == 0


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_a_repair_that_writes_good_entries_again_and_is_cut_short_can_be_done_again(
    moved: int,
) -> None:
    """Whatever a crash leaves is damage, and repaired."""
    base, entries = moved_forward(moved, 0, 150)
    assert base.store.faulty_ranges() == [(3, 5)], "the others are good, and there is no room"
    for kind in CrashKind:
        for operations in range(8):
            logs = Logs(disk=base.disk.fork())
            plan = logs.store.plan_repair(entries[2:5])
            assert plan is not None
            logs.disk.kill_after(operations)
            with suppress(Killed):
                plan.perform()
            logs.disk.on_operation = None
            store = logs.crash(kind, seed=operations)
            assert store.end == entries[-1].end
            for _ in range(3):
                for first, last in store.faulty_ranges():
                    perform(store, store.plan_repair(entries[first - 1 : last]))
            assert read_all(store) == entries, f"{kind} at {operations}"

"""Opening a log after a crash: the table and the schedules of ruling 2."""

from collections.abc import Callable
from random import Random

import pytest

from chaos.sim.disk import CrashKind, Killed
from raftlog.base.entry import HEADER_BYTES
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.writes import WriteEntries
from raftlog.storage.log_store import StoreOptions
from raftlog.storage.segment import first_index_of
from raftlog.storage.unit import UNIT_BYTES
from tests.storage.logs import DIRECTORY, Logs, chain, perform, read_all

MARK = f"{DIRECTORY}/durable.mark"


def torn_unit(logs: Logs, count: int, lost: int) -> None:
    """Write ``count`` entries as one unit that is never synced, and lose the ``lost``-th."""
    entries = chain(count, after=logs.store.end)
    write = WriteEntries(logs.number(), None, tuple(entries))
    plan = logs.store.plan([write], Index(0))

    def die(call: str, _path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "power cut")

    logs.disk.on_operation = die
    with pytest.raises(StorageFailed):
        plan.perform()
    logs.disk.on_operation = None
    path, at = logs.place(entries[lost])
    logs.disk.flip_bit(path, at + 3, 1)


def test_a_lost_entry_before_a_good_one_in_an_unsynced_unit_is_cut() -> None:
    """Schedule (a): a plain power cut is not damage, or a lone node could never start again."""
    logs = Logs()
    kept = chain(9)
    logs.append(kept)
    torn_unit(logs, 2, lost=0)
    store = logs.crash(CrashKind.KEEP)
    assert store.faulty_count == 0
    assert store.end == kept[-1].end
    again = chain(2, after=store.end, term=2)
    logs.append(again)
    assert read_all(logs.crash(CrashKind.LOSE))[-1].end == again[-1].end  # type: ignore[union-attr]


@pytest.mark.parametrize("part", [3, HEADER_BYTES + 3], ids=["header", "body"])
@pytest.mark.parametrize("kind", [CrashKind.KEEP, CrashKind.LOSE])
def test_rot_of_the_last_acked_entry_is_damage(part: int, kind: CrashKind) -> None:
    """Schedule (b): no later unit claims it, so only the mark tells it from a torn tail.

    E is acked by n1 and n2; the cluster is idle; one bit of E rots on n1. If n1
    cut it, n1 could vote for n3, and E would be gone with one damaged disk.
    """
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    logs.sync_mark()
    logs.rot(entries[-1], part)
    store = logs.crash(kind)
    assert store.faulty_ranges() == [(3, 3)]
    assert store.end == entries[-1].end, "faulty counts as present"
    assert store.durable_end == entries[-1].end


def test_after_kill_9_the_mark_is_exact_without_a_sync() -> None:
    """It is written after every fdatasync of the log, and the kernel keeps it."""
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    logs.rot(entries[-1], 3)
    assert logs.crash(CrashKind.KEEP).faulty_ranges() == [(3, 3)]


def test_a_power_cut_before_the_mark_was_synced_may_take_rot_for_a_torn_write() -> None:
    """Two faults at once: the documented limit, at most 20 ms of entries."""
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    logs.rot(entries[-1], 3)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_count == 0
    assert store.end == entries[1].end


@pytest.mark.parametrize("operations", range(16))
@pytest.mark.parametrize("kind", list(CrashKind))
@pytest.mark.parametrize("bad_slot", [None, 0, 1])
def test_a_truncation_cut_short_is_no_damage(
    operations: int, kind: CrashKind, bad_slot: int | None
) -> None:
    """Schedule (c): durable to 7, truncated to 4, crash before the new 5 is on disk.

    Nor is it one when a slot of the mark rots: with the older claim alone, entries 5 to 7,
    which nobody may have any more, would be missed.
    """
    logs = Logs()
    old = chain(7)
    logs.append_each(old)
    logs.sync_mark()
    new = chain(2, after=old[3].end, term=3)
    snapshots = [logs.disk.fork()]
    logs.disk.after_operation = lambda: snapshots.append(logs.disk.fork())
    logs.append(new, truncate_to=4)
    logs.disk = snapshots[min(operations, len(snapshots) - 1)]
    logs.disk.crash(Random(operations), kind)
    if bad_slot is not None:
        logs.disk.flip_bit(MARK, bad_slot * BLOCK_BYTES + 10, 0)
    store = logs.open()
    assert store.faulty_count == 0
    branches = ([*old], [*old[:4]], [*old[:4], new[0]], [*old[:4], *new])
    found = [entry.checksum for entry in read_all(store) if entry is not None]
    assert found in [[entry.checksum for entry in branch] for branch in branches]


def test_what_only_the_page_cache_has_is_written_again_before_it_is_promised() -> None:
    """Schedule (d): after a failed fsync the pages are clean and not on disk."""
    logs = Logs()
    first, second = chain(2)
    logs.append([first])
    logs.sync_mark()
    plan = logs.store.plan([WriteEntries(logs.number(), None, (second,))], Index(0))
    logs.disk.on_operation = _fail("fdatasync")
    with pytest.raises(StorageFailed, match=r"fdatasync of shard/log/.*seg failed"):
        plan.perform()
    logs.disk.on_operation = None
    store = logs.crash(CrashKind.KEEP)
    assert store.durable_end == second.end, "the page cache still shows it"
    store = logs.crash(CrashKind.LOSE)
    assert store.durable_end == second.end, "it was promised at the start before"
    assert store.faulty_count == 0, "promised from the page cache, and then it was gone"


@pytest.mark.parametrize("kind", list(CrashKind))
def test_a_cut_that_only_the_page_cache_knows_is_on_disk_before_it_is_finished(
    kind: CrashKind,
) -> None:
    """The mark's own sync fails: the next start obeyed the cut, and a power cut forgot it.

    Then entry 3 was missed, which nobody may have any more (seed 42 of another branch).
    """
    logs = Logs(StoreOptions(segment_bytes=400))
    old = chain(3, size=100)
    logs.append_each(old)
    logs.sync_mark()
    new = chain(1, after=old[1].end, term=2)
    assert first_index_of(logs.place(old[2])[0]) == 3, "a segment goes, and nothing is cut"
    plan = logs.store.plan([WriteEntries(logs.number(), Index(2), tuple(new))], Index(0))

    def fail(call: str, path: str) -> None:
        if call == "fdatasync" and path == MARK:
            raise OSError(5, "simulated")

    logs.disk.on_operation = fail
    with pytest.raises(StorageFailed, match=r"durable\.mark"):
        plan.perform()
    logs.disk.on_operation = None
    store = logs.crash(CrashKind.KEEP)
    assert (store.end, store.faulty_count) == (old[1].end, 0)
    store = logs.crash(kind)
    assert (store.end, store.faulty_count) == (old[1].end, 0)


def test_a_header_that_only_the_page_cache_has_is_written_again_before_the_log_begins_there() -> (
    None
):
    """Schedule (d) for the header of a segment that holds nothing yet (found by seed 595).

    The sync of the entries behind it brought only their pages to the disk. Once the log was
    trimmed to that segment, nothing else said where it belongs.
    """
    logs = Logs()
    entries = chain(2, size=3_500)
    plan = logs.store.plan([WriteEntries(logs.number(), None, tuple(entries))], Index(0))
    new = f"{2:020d}.seg"

    def fail(call: str, path: str) -> None:
        if call == "fdatasync" and path.endswith(new):
            raise OSError(5, "simulated")

    logs.disk.on_operation = fail
    with pytest.raises(StorageFailed):
        plan.perform()
    logs.disk.on_operation = None
    store = logs.crash(CrashKind.KEEP)
    assert store.end == entries[0].end, "the new segment is empty"
    logs.append(entries[1:])
    logs.sync_mark()
    perform(logs.store, logs.store.plan_trim(Index(1)))
    store = logs.crash(CrashKind.LOSE)
    assert (store.first_index, store.end) == (2, entries[1].end)


def _fail(call: str) -> Callable[[str, str], None]:
    def hook(operation: str, _path: str) -> None:
        if operation == call:
            raise OSError(5, "simulated")

    return hook


def test_an_unreadable_block_below_the_watermark_is_faulty_and_may_come_back() -> None:
    """Schedule (e): a read error marks entries, it does not stop the node, and nothing is cut."""
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(4, size=6000)
    logs.append_each(entries)
    logs.sync_mark()
    path, at = logs.place(entries[-1])
    logs.disk.crash(Random(0), CrashKind.KEEP)
    logs.disk.read_error = lambda name, offset, length: (
        name == path and offset <= at < offset + length
    )
    store = logs.open()
    assert store.faulty_ranges()[-1][1] == 4
    assert read_all(store)[0] is not None, "the good ones are served"
    logs.disk.read_error = None
    assert logs.crash(CrashKind.KEEP).faulty_count == 0


def test_a_watermark_in_damage_keeps_what_was_promised_and_cuts_the_rest() -> None:
    """One hole with promised and unpromised entries in it."""
    logs = Logs()
    promised = chain(3)
    logs.append_each(promised)
    logs.sync_mark()
    torn_unit(logs, 2, lost=0)
    path, at = logs.place(promised[2])
    for offset in range(at, at + 200):
        logs.disk.flip_bit(path, offset, 2)
    store = logs.crash(CrashKind.KEEP)
    assert store.faulty_ranges() == [(3, 3)]
    assert store.end == promised[-1].end
    following = chain(2, after=store.end, term=4)
    logs.append(following)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(3, 3)]
    perform(store, store.plan_repair(promised[2:]))
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_count == 0
    assert store.end == following[-1].end


def test_a_segment_missing_in_the_middle_is_damage() -> None:
    """A hole, never a shorter log."""
    logs = Logs(StoreOptions(segment_bytes=512))
    entries = chain(30)
    logs.append_each(entries)
    logs.sync_mark()
    names = [path for path in logs.disk.paths() if path.endswith(".seg")]
    assert len(names) >= 4
    files = logs.disk.files()
    files.remove(names[1])
    files.sync_directory(f"{DIRECTORY}/log")
    store = logs.crash(CrashKind.LOSE)
    assert store.end == entries[-1].end
    ((first, last),) = store.faulty_ranges()
    assert names[1].endswith(f"{first:020d}.seg")
    assert names[2].endswith(f"{last + 1:020d}.seg")


def test_a_log_whose_segments_are_all_gone_refuses_to_start() -> None:
    """The mark remembers that there was one (R3)."""
    logs = Logs()
    logs.append(chain(3))
    logs.sync_mark()
    files = logs.disk.files()
    for path in logs.disk.paths():
        if "/log/" in path:
            files.remove(path)
    with pytest.raises(DamagedLog, match="durable up to 3"):
        logs.crash(CrashKind.KEEP)


@pytest.mark.parametrize("slot", [0, 1])
def test_one_bad_slot_of_the_mark_is_survived(slot: int) -> None:
    """The other slot, or the head of a unit, still says enough to keep the log whole."""
    logs = Logs()
    entries = chain(5)
    logs.append_each(entries)
    logs.sync_mark()
    logs.disk.flip_bit(MARK, slot * BLOCK_BYTES + 10, 0)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_count == 0
    assert store.end == entries[-1].end


@pytest.mark.parametrize("slot", [0, 1])
def test_one_bad_slot_forgets_no_unit_that_was_promised(slot: int) -> None:
    """A cut has a unit number of its own, which only the mark knows: peers have heard of it.

    n2 starts, cuts a torn tail and says hello; one bit of the mark rots; n2 starts again. Its
    peers would take it for a directory older than its promises, and refuse it for ever.
    """
    logs = Logs()
    entries = chain(3)
    logs.append_each(entries)
    torn_unit(logs, 2, lost=0)
    promised = logs.crash(CrashKind.KEEP).durable_promises
    logs.disk.flip_bit(MARK, slot * BLOCK_BYTES + 10, 0)
    store = logs.crash(CrashKind.LOSE)
    assert store.durable_promises >= promised
    assert (store.faulty_count, store.end) == (0, entries[-1].end)


def test_the_commit_hint_is_cut_to_the_log() -> None:
    """Ruling 14: a hint ahead of the log would fail every start."""
    logs = Logs()
    entries = chain(4)
    logs.append(entries[:2])
    write = WriteEntries(logs.number(), None, tuple(entries[2:]))
    perform(logs.store, logs.store.plan([write], Index(2)))
    assert logs.crash(CrashKind.LOSE).commit_hint == 2
    logs.append(chain(1, after=entries[0].end, term=2), truncate_to=1)
    assert logs.crash(CrashKind.LOSE).commit_hint <= 2


def test_opening_twice_finds_the_same() -> None:
    """Storage.md 4: recovery is idempotent."""
    logs = Logs(StoreOptions(segment_bytes=512))
    logs.append_each(chain(20))
    torn_unit(logs, 2, lost=1)
    first = logs.crash(CrashKind.KEEP)
    facts = (first.end, first.start, first.term_runs, first.unit_number)
    before = {path: logs.disk.content(path) for path in logs.disk.paths()}
    again = logs.crash(CrashKind.KEEP)
    assert (again.end, again.start, again.term_runs, again.unit_number) == facts
    assert {path: logs.disk.content(path) for path in logs.disk.paths()} == before


def test_the_unit_number_never_goes_back() -> None:
    """Peers remember it (ruling 16)."""
    logs = Logs()
    number = 0
    for term in range(1, 6):
        logs.append(chain(2, after=logs.store.end, term=term))
        assert logs.store.unit_number > number
        number = logs.store.unit_number
        assert logs.crash(CrashKind.KEEP).unit_number == number
    assert logs.store.term_runs[-1][1] == Term(5)


def test_a_roll_cut_short_behind_a_damaged_end_is_no_damage() -> None:
    """The log went on in a new segment, and the power failed before that had a header.

    What is in front of it ends too early to say where it belongs; the mark does.
    """
    logs = Logs()
    entries = chain(5)
    logs.append_each(entries)
    logs.sync_mark()
    path, at = logs.place(entries[3])
    file = logs.disk.files().open(path)
    file.pwrite([bytes(500)], at - UNIT_BYTES)
    file.sync()
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(4, 5)]

    def die(call: str, path: str) -> None:
        if call == "write" and path.endswith(f"{6:020d}.seg"):
            raise Killed

    logs.disk.on_operation = die
    write = WriteEntries(logs.number(), None, tuple(chain(1, after=entries[-1].end)))
    with pytest.raises(Killed):
        store.plan([write], Index(0)).perform()
    logs.disk.on_operation = None
    store = logs.crash(CrashKind.KEEP)
    assert store.faulty_ranges() == [(4, 5)]
    assert store.end == entries[-1].end
    perform(store, store.plan_repair(entries[3:]))
    assert [entry and entry.end for entry in read_all(store)] == [entry.end for entry in entries]

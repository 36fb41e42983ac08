"""Segments: rolled, sealed, indexed, trimmed; and what one write costs."""

from pathlib import Path

import pytest

from chaos.sim.disk import CrashKind
from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.limits import WRITE_UNIT_BYTES_MAX
from raftlog.base.writes import HardState, ResetLog, SaveHardState, WriteEntries
from raftlog.storage.files import OsFiles
from raftlog.storage.loaded import LOADED_SEGMENTS_MAX
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log
from tests.storage.logs import DIRECTORY, OPTIONS, Logs, chain, perform, read_all

SMALL = StoreOptions(segment_bytes=512)


def names(logs: Logs, suffix: str) -> list[str]:
    return [path for path in logs.disk.paths() if path.endswith(suffix)]


def rolled(count: int = 40) -> Logs:
    logs = Logs(SMALL)
    logs.append_each(chain(count))
    logs.sync_mark()
    return logs


def test_every_segment_is_allocated_whole_before_it_is_written() -> None:
    """A size that grows would be journalled by every fdatasync (ruling 24). The first one too."""
    logs = Logs(SMALL)
    calls: list[tuple[str, str]] = []
    logs.disk.on_operation = lambda call, path: calls.append((call, path))
    logs.append_each(chain(40))
    assert {len(logs.disk.content(path)) for path in names(logs, ".seg")} == {512}
    created = {path for call, path in calls if call == "create" and path.endswith(".seg")}
    allocated = {path for call, path in calls if call == "fallocate"}
    assert created == allocated


def test_an_append_costs_two_writes_and_one_sync() -> None:
    """One gathered write, one fdatasync, one unsynced write of the mark (ruling 2)."""
    logs = Logs()
    calls: list[tuple[str, str]] = []
    logs.disk.on_operation = lambda call, path: calls.append((call, path.rpartition(".")[2]))
    entries = chain(5)
    writes = [WriteEntries(logs.number(), None, (entry,)) for entry in entries]
    before = logs.store.fdatasyncs
    perform(logs.store, logs.store.plan(writes, Index(0)))
    assert calls == [("write", "seg"), ("fdatasync", "seg"), ("write", "mark")]
    assert logs.store.fdatasyncs == before + 1


def test_a_write_unit_is_bounded() -> None:
    """What lies between two fdatasyncs is what a power cut can tear."""
    logs = Logs(StoreOptions(segment_bytes=64 << 20))
    entries = chain(10, size=1 << 20)
    before = logs.store.unit_number
    logs.append(entries)
    total = sum(entry.size for entry in entries)
    assert logs.store.unit_number - before == -(-total // WRITE_UNIT_BYTES_MAX)


def test_an_entry_larger_than_a_segment_gets_one_of_its_own() -> None:
    """Limits say it cannot happen with real sizes; simulations have tiny segments."""
    logs = Logs(SMALL)
    entries = chain(1) + chain(3, after=chain(1)[0].end, size=2000)
    logs.append(entries)
    store = logs.crash(CrashKind.LOSE)
    assert [entry.index if entry else 0 for entry in read_all(store)] == [1, 2, 3, 4]


def test_the_mark_is_synced_once_when_idle() -> None:
    """A second plan would cost a sync for nothing."""
    logs = Logs()
    logs.append(chain(1))
    perform(logs.store, logs.store.plan_mark())
    assert logs.store.plan_mark() is None


def test_sealed_segments_are_opened_without_reading_them() -> None:
    """A start is bounded by one segment, however long the log is."""
    logs = rolled()
    reads: dict[str, int] = {}

    def count(path: str, _offset: int, length: int) -> bool:
        reads[path] = reads.get(path, 0) + length
        return False

    logs.disk.read_error = count
    logs.crash(CrashKind.KEEP)
    *sealed, last = names(logs, ".seg")
    assert all(reads[path] < 150 for path in sealed)
    assert reads[last] > 512


@pytest.mark.parametrize("harm", ["lost", "rotten", "cut", "foreign"])
def test_a_bad_index_is_made_again_from_its_segment(harm: str) -> None:
    """``.idx`` is derived: it may cost time, never an entry."""
    logs = rolled()
    entries = [entry.end for entry in read_all(logs.store) if entry]
    files = logs.disk.files()
    first, second, *_ = names(logs, ".idx")
    good = {path: logs.disk.content(path) for path in (first, second)}
    for path in names(logs, ".idx"):
        if harm == "lost":
            files.remove(path)
        elif harm == "rotten":
            logs.disk.flip_bit(path, 30, 2)
        elif harm == "cut":
            files.open(path).truncate(20)
        else:
            files.open(path).pwrite([good[second if path == first else first]], 0)
    store = logs.crash(CrashKind.KEEP)
    assert [entry.end for entry in read_all(store) if entry] == entries
    assert {path: logs.disk.content(path) for path in (first, second)} == good


def test_rotten_positions_are_found_before_they_are_used() -> None:
    """Their CRC is checked when they are loaded, long after the start."""
    logs = rolled()
    for path in names(logs, ".idx"):
        logs.disk.flip_bit(path, len(logs.disk.content(path)) - 6, 1)
    store = logs.crash(CrashKind.LOSE)
    assert len([entry for entry in read_all(store) if entry]) == 40


def test_positions_of_few_sealed_segments_stay_in_memory() -> None:
    """A log of any length is read in bounded memory."""
    logs = rolled(200)
    store = logs.crash(CrashKind.LOSE)
    assert len(store._segments) > 3 * LOADED_SEGMENTS_MAX
    read_all(store)
    loaded = [segment for segment in store._segments if segment.places is not None]
    assert len(loaded) <= LOADED_SEGMENTS_MAX + 1


def test_a_trim_unlinks_oldest_first() -> None:
    """A crash in between leaves a log without a hole."""
    logs = rolled()
    calls: list[str] = []
    segments = names(logs, ".seg")
    logs.disk.on_operation = lambda call, path: (
        calls.append(path) if call == "unlink" and path.endswith(".seg") else None
    )
    perform(logs.store, logs.store.plan_trim(Index(20)))
    assert calls == segments[: len(calls)]
    assert calls
    assert all(path not in logs.disk.paths() for path in calls)


def test_a_trim_never_takes_the_last_segment() -> None:
    """It knows where the log begins."""
    logs = rolled()
    perform(logs.store, logs.store.plan_trim(Index(40)))
    assert len(names(logs, ".seg")) == 1
    store = logs.crash(CrashKind.LOSE)
    assert store.end.index == 40
    logs.append(chain(2, after=store.end))
    assert logs.crash(CrashKind.LOSE).end.index == 42


def test_a_truncation_unlinks_newest_first_and_reopens_the_segment() -> None:
    """Ruling 2: mark, sync, unlink, cut, sync; then the next append."""
    logs = rolled()
    entries = [entry for entry in read_all(logs.store) if entry]
    calls: list[tuple[str, str]] = []
    logs.disk.on_operation = lambda call, path: calls.append((call, path))
    branch = chain(1, after=entries[9].end, term=2)
    segments = names(logs, ".seg")
    logs.append(branch, truncate_to=10)
    unlinked = [path for call, path in calls if call == "unlink" and path.endswith(".seg")]
    assert unlinked == [path for path in reversed(segments) if path in unlinked]
    assert [call for call, _ in calls[:2]] == ["write", "fdatasync"]
    assert calls[0][1] == calls[1][1] == f"{DIRECTORY}/durable.mark"
    append = max(at for at, call in enumerate(calls) if call[0] == "write" and "seg" in call[1])
    cut = next(at for at, call in enumerate(calls) if call[0] == "ftruncate")
    synced = [call for call, path in calls[cut:append] if call in ("fdatasync", "fsync")]
    assert synced == ["fdatasync", "fsync"]
    assert logs.crash(CrashKind.LOSE).end == branch[-1].end


def test_os_cache_syncs_no_entries_but_votes() -> None:
    """Ruling 26: named, and never for term and vote."""
    logs = Logs(StoreOptions(segment_bytes=4096, durable=False))
    calls: list[str] = []
    logs.disk.on_operation = lambda call, path: calls.append(path) if call == "fdatasync" else None
    logs.append(chain(3))
    logs.sync_mark()
    assert calls == []


def on_real_files(tmp_path: Path, count: int) -> LogStore:
    """Return a log of ``count`` entries of several segments, on a disk that knows closed files."""
    files, directory = OsFiles(), str(tmp_path)
    create_log(files, directory, OPTIONS, HardState(Term(1), None), [])
    store = LogStore.open(files, directory, OPTIONS)
    write = WriteEntries(WriteNumber(1), None, tuple(chain(count, size=150)))
    perform(store, store.plan([write], Index(0)))
    return store


def test_a_segment_that_a_plan_writes_to_and_drops_is_closed_behind_it(tmp_path: Path) -> None:
    """Found by reading: a slow disk, an append that waits, and a new leader that contradicts it.

    Both came into one plan. The segment was closed when the plan was made, so the append in front
    of the truncation failed, and the node ended.
    """
    store = on_real_files(tmp_path, 30)
    old = chain(32, size=150)
    new = chain(1, after=old[9].end, term=2)
    writes = [
        WriteEntries(WriteNumber(2), None, tuple(old[30:])),
        WriteEntries(WriteNumber(3), Index(10), tuple(new)),
    ]
    perform(store, store.plan(writes, Index(0)))
    assert read_all(store) == [*old[:10], *new]


def test_so_is_one_that_a_reset_drops(tmp_path: Path) -> None:
    """A vote between the two has the append written before it."""
    store = on_real_files(tmp_path, 30)
    base = LogEnd(Index(50), Term(2), 7)
    writes = [
        WriteEntries(WriteNumber(2), None, tuple(chain(32, size=150)[30:])),
        SaveHardState(WriteNumber(3), HardState(Term(2), None)),
        ResetLog(WriteNumber(4), base, b"who the members are"),
    ]
    perform(store, store.plan(writes, Index(0)))
    assert store.start == base


def test_a_segment_that_a_plan_makes_and_drops_leaves_no_handle() -> None:
    """It was dropped before there was anything to close."""
    logs = Logs()
    first = chain(5, size=150)
    logs.append(first)
    handles = logs.store.files.open_count  # type: ignore[attr-defined]  # of a simulated disk
    more = chain(60, after=first[-1].end, size=150)
    new = chain(1, after=first[-1].end, term=2)
    writes = [
        WriteEntries(logs.number(), None, tuple(more)),
        WriteEntries(logs.number(), Index(5), tuple(new)),
    ]
    perform(logs.store, logs.store.plan(writes, Index(0)))
    assert read_all(logs.store) == [*first, *new]
    assert logs.store.files.open_count == handles  # type: ignore[attr-defined]

"""A segment's header is lost, and the power fails under load, before the mark is synced.

The header says of which log the segment is and what is before it; heads of units are known by
it, and they alone claim what was promised since the mark was synced.
"""

from collections.abc import Callable, Sequence

import pytest

from chaos.sim.contents import SECTOR_BYTES
from chaos.sim.disk import CrashKind
from raftlog.base.entry import HEADER_BYTES, Entry
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import Index
from raftlog.base.writes import ResetLog, WriteEntries
from raftlog.storage.log_store import StoreOptions
from raftlog.storage.segment import SEGMENT_HEADER_BYTES
from raftlog.storage.unit import UNIT_BYTES
from tests.storage.logs import Logs, chain, perform, read_all

SMALL = StoreOptions(segment_bytes=1024)
LARGE = StoreOptions(segment_bytes=16384)
PARTS = pytest.mark.parametrize("part", [3, HEADER_BYTES + 3], ids=["header", "body"])


def flip(logs: Logs, path: str) -> None:
    logs.disk.flip_bit(path, 20, 0)


def lose_header(logs: Logs, path: str) -> None:
    logs.disk.zero(path, 0, SEGMENT_HEADER_BYTES)


def lose_sector(logs: Logs, path: str) -> None:
    logs.disk.zero(path, 0, SECTOR_BYTES)


def make_unreadable(logs: Logs, path: str) -> None:
    logs.disk.lose_sectors(path, 0, 1)


Harm = Callable[[Logs, str], None]
LOSSES = pytest.mark.parametrize("lose", [flip, lose_header, lose_sector, make_unreadable])
LOSSES_OF_HEADER = pytest.mark.parametrize("lose", [flip, lose_header])


def segments(logs: Logs) -> list[str]:
    return [path for path in logs.disk.paths() if path.endswith(".seg")]


def reset_log(options: StoreOptions) -> tuple[Logs, list[Entry]]:
    """Return a log behind a snapshot at 10, and the entries that were promised since."""
    logs = Logs(options)
    entries = chain(40, term=2)
    logs.append_each(chain(14))
    write = ResetLog(logs.number(), entries[9].end, b"members")
    perform(logs.store, logs.store.plan([write], Index(0)))
    logs.append_each(entries[10:])
    return logs, entries[10:]


def trimmed_log() -> tuple[Logs, list[Entry]]:
    """Return a log that begins with its second segment."""
    logs = Logs(SMALL)
    entries = chain(40)
    logs.append_each(entries)
    perform(logs.store, logs.store.plan_trim(logs.store._segments[0].end.index))
    return logs, entries[logs.store.start.index :]


def heal(logs: Logs, entries: Sequence[Entry]) -> None:
    """Repair what is damaged, from what a peer has."""
    store, start = logs.store, entries[0].index
    for first, last in store.faulty_ranges():
        perform(store, store.plan_repair(entries[first - start : last + 1 - start]))
    assert read_all(logs.crash(CrashKind.LOSE)) == list(entries)
    assert logs.store.faulty_count == 0


@LOSSES
@PARTS
@pytest.mark.parametrize("damaged", [12, 18, 28])
def test_a_header_and_an_entry_behind_it(lose: Harm, part: int, damaged: int) -> None:
    """The heads that are left know how far the log was durable."""
    logs = Logs(LARGE)
    entries = chain(30)
    logs.append_each(entries)
    logs.rot(entries[damaged - 1], part)
    lose(logs, segments(logs)[0])
    store = logs.crash(CrashKind.LOSE)
    assert store.end == entries[-1].end
    assert any(first <= damaged <= last for first, last in store.faulty_ranges())
    heal(logs, entries)


@LOSSES
@PARTS
@pytest.mark.parametrize("damaged", [None, 22, 30])
def test_a_header_behind_a_snapshot(lose: Harm, part: int, damaged: int | None) -> None:
    """The newest claim on the disk is the reset's: was this there before, or did it come after?

    Without a header it was taken for one that was being made, and removed with all in it.
    """
    logs, entries = reset_log(LARGE)
    (path,) = segments(logs)
    if damaged is not None:
        logs.rot(entries[damaged - 11], part)
    lose(logs, path)
    store = logs.crash(CrashKind.LOSE)
    assert (store.start.index, store.end) == (10, entries[-1].end)
    heal(logs, entries)


@LOSSES_OF_HEADER
def test_headers_of_several_segments_behind_a_snapshot(lose: Harm) -> None:
    """Each says by its first unit that it came after the reset."""
    logs, entries = reset_log(SMALL)
    assert len(segments(logs)) > 2
    for path in segments(logs):
        lose(logs, path)
    logs.crash(CrashKind.LOSE)
    heal(logs, entries)


def test_what_holds_something_and_says_nothing_is_not_removed() -> None:
    """It cannot be classified: perhaps it was promised."""
    logs, _ = reset_log(SMALL)
    path = segments(logs)[1]
    lose_sector(logs, path)
    before = logs.disk.content(path)
    with pytest.raises(DamagedLog, match="older than the snapshot"):
        logs.crash(CrashKind.LOSE)
    assert logs.disk.content(path) == before


@LOSSES_OF_HEADER
@pytest.mark.parametrize("kind", [CrashKind.KEEP, CrashKind.LOSE])
def test_what_a_reset_did_not_come_to_remove_is_not_taken_for_new(
    lose: Harm, kind: CrashKind
) -> None:
    """Leftovers of the old log lie behind the new beginning, one of them with its very name."""
    logs = Logs(SMALL)
    logs.append_each(chain(40))
    store = logs.store
    base = chain(store._segments[1].base.index, term=2)[-1].end
    plan = store.plan([ResetLog(logs.number(), base, b"members")], Index(0))

    def die(call: str, path: str) -> None:
        if call == "unlink" and path.endswith(".seg"):
            raise OSError(5, "power cut")

    logs.disk.on_operation = die
    with pytest.raises((OSError, StorageFailed)):
        plan.perform()
    logs.disk.on_operation = None
    for path in segments(logs):
        lose(logs, path)
    store = logs.crash(kind)
    assert (store.start, store.end, store.faulty_count) == (base, base, 0)
    following = chain(3, after=base, term=3)
    logs.append_each(following)
    assert read_all(logs.crash(CrashKind.LOSE)) == following


@LOSSES_OF_HEADER
@PARTS
@pytest.mark.parametrize("damaged", [None, 0, 1, 20])
def test_the_first_header_of_a_trimmed_log(lose: Harm, part: int, damaged: int | None) -> None:
    """Nothing but its first unit says where it belongs, what lay before it is gone."""
    logs, entries = trimmed_log()
    if damaged is not None:
        logs.rot(entries[damaged], part)
    lose(logs, segments(logs)[0])
    for path in logs.disk.paths():
        if path.endswith(".idx"):
            logs.disk.files().remove(path)
    store = logs.crash(CrashKind.LOSE)
    assert store.end == entries[-1].end
    heal(logs, entries)


@LOSSES_OF_HEADER
@PARTS
def test_a_header_and_the_entry_before_it(lose: Harm, part: int) -> None:
    """The segment in front cannot say where this one begins, but its first unit can."""
    logs = Logs(SMALL)
    entries = chain(40)
    logs.append_each(entries)
    last = logs.store._segments[-1]
    logs.rot(entries[last.base.index - 1], part)
    lose(logs, segments(logs)[-1])
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(last.base.index, last.base.index)]
    assert store.end == entries[-1].end
    heal(logs, entries)


def test_a_beginning_that_nobody_knows_is_refused() -> None:
    """Header and first unit are lost, and what lay before: the heads behind prove nothing."""
    logs, _ = trimmed_log()
    lose_sector(logs, segments(logs)[0])
    with pytest.raises(DamagedLog, match="no readable header"):
        logs.crash(CrashKind.LOSE)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_beginning_that_cannot_be_read_now_is_not_called_bad(failing: int) -> None:
    """Whoever does what the refusal says gives a whole directory up, for an error that may pass.

    Met by the chaos suite: the first reads of a log that was trimmed failed, and the node told its
    operator to let it join as new.
    """
    logs, entries = trimmed_log()
    first = segments(logs)[0]
    left = failing

    def fails(path: str, _offset: int, _length: int) -> bool:
        nonlocal left
        left -= path == first
        return path == first and left >= 0

    logs.disk.read_error = fails
    if failing > 2:
        with pytest.raises(StorageFailed, match=r"pread of .*\.seg at 0 failed"):
            logs.crash(CrashKind.LOSE)
        logs.disk.read_error = None
    store = logs.crash(CrashKind.LOSE)
    assert (store.end, store.faulty_count) == (entries[-1].end, 0)
    assert read_all(store) == entries


@LOSSES
@PARTS
@pytest.mark.parametrize("torn", [0, 1, 2])
def test_a_torn_tail_is_cut(lose: Harm, part: int, torn: int) -> None:
    """What was promised to nobody is no damage, whatever else is."""
    logs = Logs(LARGE)
    entries = chain(30)
    logs.append_each(entries[:27])
    write = WriteEntries(logs.number(), None, tuple(entries[27:]))
    plan = logs.store.plan([write], Index(0))

    def die(call: str, _path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "power cut")

    logs.disk.on_operation = die
    with pytest.raises(StorageFailed):
        plan.perform()
    logs.disk.on_operation = None
    logs.rot(entries[27 + torn], part)
    lose(logs, segments(logs)[0])
    store = logs.crash(CrashKind.KEEP)
    assert store.end == entries[26].end, "also what is good of a unit that is not whole"
    heal(logs, entries[:27])


@pytest.mark.parametrize("same_base", [True, False])
def test_a_recycled_beginning_is_not_believed(*, same_base: bool) -> None:
    """A disk lost what replaced a branch: its old units lie there, behind a header that is bad.

    With the same entry before it the old branch has the same salt, and links.
    """
    logs = Logs(SMALL)
    old = chain(40)
    logs.append_each(old)
    path = segments(logs)[1]
    base = logs.store._segments[1].base.index
    before = logs.disk.content(path)
    kept = base if same_base else base - 1
    new = old[:kept] + chain(12, after=old[kept - 1].end, term=2)
    logs.append([new[kept]], truncate_to=kept)
    logs.append_each(new[kept + 1 :])
    assert path in segments(logs), "the new branch has a segment of that name"
    logs.disk.misplace(path, 0, before[:SECTOR_BYTES])
    flip(logs, path)
    try:
        store = logs.crash(CrashKind.LOSE)
    except DamagedLog:
        assert not same_base
        return
    served = {entry.checksum for entry in read_all(store) if entry}
    assert served <= {entry.checksum for entry in new}
    assert store.end == new[-1].end
    heal(logs, new)


@pytest.mark.parametrize("offset", range(UNIT_BYTES))
def test_a_first_unit_that_is_bad_itself_is_not_believed(offset: int) -> None:
    """By a wrong salt no head would be good: all that was promised would look like a torn tail."""
    logs, _ = trimmed_log()
    path = segments(logs)[0]
    flip(logs, path)
    logs.disk.flip_bit(path, SEGMENT_HEADER_BYTES + offset, offset % 8)
    with pytest.raises(DamagedLog, match="no readable header"):
        logs.crash(CrashKind.LOSE)


def test_heads_in_a_record_that_agree_on_a_salt_are_not_believed() -> None:
    """A copy of another segment, moved by 4 KiB: each head of it fits the same wrong salt.

    The log is trimmed, and the sector with header and first unit is gone.
    """
    other = Logs(StoreOptions(segment_bytes=4096))
    other.append_each(chain(30, term=5))
    copy = other.disk.content(segments(other)[0]).rstrip(b"\0")
    logs = Logs(LARGE)
    entries = chain(200)
    logs.append_each(entries)
    perform(logs.store, logs.store.plan_trim(logs.store._segments[0].end.index))
    path = segments(logs)[0]
    logs.disk.misplace(path, 4096, copy)
    lose_sector(logs, path)
    with pytest.raises(DamagedLog):
        logs.crash(CrashKind.LOSE)


def test_anothers_beginning_is_not_believed() -> None:
    """A misdirected write puts the first sector of another segment there, good in itself."""
    logs, _ = trimmed_log()
    first, second, *_ = segments(logs)
    logs.disk.misplace(first, 0, logs.disk.content(second)[:SECTOR_BYTES])
    with pytest.raises(DamagedLog):
        logs.crash(CrashKind.LOSE)


def test_a_header_that_is_made_again_promises_no_less_than_was_promised() -> None:
    """Of a torn unit only the head got to the disk. It claims what the header must not outrank."""
    logs = Logs(LARGE)
    entries = chain(10)
    logs.append_each(entries)
    path, at = logs.place(entries[-1])
    logs.disk.zero(path, at, entries[-1].size)
    flip(logs, path)
    assert logs.crash(CrashKind.LOSE).end == entries[8].end
    logs.rot(entries[4], HEADER_BYTES + 3)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(5, 5)]
    assert store.end == entries[8].end


def test_a_header_is_made_again_as_it_was() -> None:
    """The first unit's number says when the segment was made, as its header did."""
    logs, entries = reset_log(LARGE)
    (path,) = segments(logs)
    header = logs.disk.content(path)[:SEGMENT_HEADER_BYTES]
    flip(logs, path)
    logs.crash(CrashKind.LOSE)
    assert logs.disk.content(path)[:SEGMENT_HEADER_BYTES] == header
    heal(logs, entries)

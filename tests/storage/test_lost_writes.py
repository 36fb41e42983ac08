"""A disk that confirmed a write and never made it: what was there before is not the log.

An older frame in the place is good by its own checksums and has the right
index; one of a branch that was truncated even links to the entry before it.
"""

import errno
import struct

import pytest
from crc32c import crc32c

from chaos.sim.disk import CrashKind
from raftlog.base.entry import Entry, LogEnd
from raftlog.base.errors import DamagedLog, FaultyEntry, StorageFailed
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.writes import WriteEntries
from raftlog.storage.durable_mark import CUTS_MAX, Cut, DurableMark, claim_done
from raftlog.storage.log_store import StoreOptions
from raftlog.storage.unit import UNIT_BYTES
from tests.storage.logs import DIRECTORY, Logs, chain, perform, put_back, read_all

SMALL = StoreOptions(segment_bytes=1024)


def branched(options: StoreOptions) -> tuple[Logs, list[Entry], list[Entry]]:
    """Return a log whose entries 4 to 6 were replaced, and both branches."""
    logs = Logs(options)
    old = chain(6)
    logs.append_each(old)
    new = old[:3] + chain(9, after=old[2].end, term=2)
    logs.append([new[3]], truncate_to=3)
    logs.append_each(new[4:])
    logs.sync_mark()
    return logs, old, new


@pytest.mark.parametrize("lost", [[4], [5], [4, 5], [4, 5, 6], [6]])
@pytest.mark.parametrize("sealed", [False, True])
def test_an_older_frame_in_an_entrys_place_is_faulty(lost: list[int], *, sealed: bool) -> None:
    """It is not handed out, not to apply, not to a follower; the peer's copy heals it."""
    logs, old, new = branched(SMALL if sealed else StoreOptions(segment_bytes=65536))
    if sealed:
        assert logs.place(new[5])[0] != logs.place(new[-1])[0]
        logs.crash(CrashKind.LOSE)
    for index in lost:
        path, at = logs.place(new[index - 1])
        put_back(logs.disk, path, bytes(at) + bytes(old[index - 1].frame), at, old[0].size)
    store = logs.store
    for index in range(1, len(new) + 1):
        try:
            span = store.locate(Index(index), Index(len(new)), 1 << 20)
            found = span.entries(span.read(wait=True) or b"")
            span.close()
        except FaultyEntry:
            store.mark_faulty(Index(index))
            assert index in lost
        else:
            assert list(found) == new[index - 1 : index - 1 + len(found)]
    assert store.faulty_ranges() == [(index, index) for index in lost]
    for index in lost:
        perform(store, store.plan_repair(new[index - 1 : index]))
    assert read_all(logs.crash(CrashKind.LOSE)) == new


def branch_that_came_back(length: int, *, rolled: bool = False) -> tuple[Logs, list[Entry]]:
    """Return a disk that lost all since a truncation to 3 behind which ``length`` were promised.

    The segment is again as it was before the truncation, with six entries. The mark, a file of
    its own, knows better.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    old = chain(6)
    logs.append_each(old)
    path, _ = logs.place(old[0])
    before = logs.disk.content(path)
    new = old[:3] + chain(length, after=old[2].end, term=2)
    logs.append([new[3]], truncate_to=3)
    logs.append_each(new[4:])
    if rolled:
        logs.append(chain(1, after=new[-1].end, term=2, size=65_000))
    logs.sync_mark()
    put_back(logs.disk, path, before, 0, len(before))
    return logs, new


@pytest.mark.parametrize("length", [1, 3, 9])
def test_a_branch_that_was_cut_and_came_back_is_damage(length: int) -> None:
    """Ruling 16: what was durable was taken back. Each frame is good, and they form one chain.

    Trusted as far as it goes, entry 4 of the old branch would be applied here as soon as the
    leader of the new one says that all of it is committed.
    """
    logs, new = branch_that_came_back(length)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(4, 3 + length)]
    assert store.end == new[-1].end, "what was promised counts as present"
    following = chain(2, after=store.end, term=3)
    logs.append_each(following)
    store = logs.crash(CrashKind.LOSE)
    perform(store, store.plan_repair(new[3:]))
    assert read_all(logs.crash(CrashKind.LOSE)) == new + following


@pytest.mark.parametrize("rolled", [False, True])
def test_a_log_that_is_not_the_promised_one_stops_the_node(*, rolled: bool) -> None:
    """Without a word of the truncation only the end shows it; nobody knows from where on."""
    logs, _ = branch_that_came_back(3, rolled=rolled)
    end = logs.store.end
    mark = DurableMark.open(logs.disk.files(), f"{DIRECTORY}/durable.mark")
    mark.repeat(())
    for _ in range(2):
        mark.write(claim_done(logs.store.unit_number, end))
    mark.sync()
    with pytest.raises(DamagedLog, match="does not follow" if rolled else "promised"):
        logs.crash(CrashKind.LOSE)


def test_a_tail_that_was_cut_and_came_back_is_cut_again() -> None:
    """Nothing was written behind the cut: there is nothing to miss."""
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(3)
    logs.append_each(entries)
    path, _ = logs.place(entries[0])
    before = logs.disk.content(path)
    logs.append(chain(1, after=entries[0].end, term=2), truncate_to=1)
    logs.disk = logs.disk.fork()
    mark = DurableMark.open(logs.disk.files(), f"{DIRECTORY}/durable.mark")
    unit = mark.cuts[-1].unit
    for _ in range(2):
        mark.write(claim_done(unit, entries[0].end))
    mark.sync()
    put_back(logs.disk, path, before, 0, len(before))
    store = logs.crash(CrashKind.LOSE)
    assert (store.end, store.faulty_count) == (entries[0].end, 0)


def twice_branched(*, fourth: int) -> tuple[Logs, str, bytes, list[Entry]]:
    """Return a log that was truncated to 6, then to 8, and the segment as it was before both.

    Behind that, ``fourth`` more truncations, each one entry further on.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(10)
    logs.append_each(entries)
    path, _ = logs.place(entries[0])
    before = logs.disk.content(path)
    for number, to in enumerate((6, 8, *range(9, 9 + fourth))):
        more = chain(4, after=entries[to - 1].end, term=2 + number)
        entries = entries[:to] + more
        logs.append(more[:1], truncate_to=to)
        logs.append_each(more[1:])
    return logs, path, before, entries


@pytest.mark.parametrize("later", [0, 1, CUTS_MAX - 2])
def test_a_branch_of_before_several_truncations_is_damage(later: int) -> None:
    """The last one alone does not tell: entries 7 and 8 of the first branch are in front of it."""
    logs, path, before, entries = twice_branched(fourth=later)
    logs.sync_mark()
    put_back(logs.disk, path, before, 0, len(before))
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(7, entries[-1].index)]
    perform(store, store.plan_repair(entries[6:]))
    assert read_all(logs.crash(CrashKind.LOSE)) == entries


def test_a_branch_of_before_too_many_truncations_stops_the_node() -> None:
    """The first is repeated no more; that the log was another one at the others is known."""
    logs, path, before, _ = twice_branched(fourth=CUTS_MAX - 1)
    logs.sync_mark()
    put_back(logs.disk, path, before, 0, len(before))
    with pytest.raises(DamagedLog, match=r"entry 8 .* is not the one that was promised"):
        logs.crash(CrashKind.LOSE)


def test_a_branch_is_damage_also_while_a_later_truncation_is_under_way() -> None:
    """The newest claim of all is one, and its own tail is cut, not missed."""
    logs, path, before, entries = twice_branched(fourth=0)
    write = WriteEntries(logs.number(), Index(8), tuple(chain(1, after=entries[7].end, term=9)))
    plan = logs.store.plan([write], Index(0))
    plan.steps = plan.steps[:4]  # the claim, twice
    perform(logs.store, plan)
    put_back(logs.disk, path, before, 0, len(before))
    store = logs.crash(CrashKind.LOSE)
    assert (store.end, store.faulty_ranges()) == (entries[7].end, [(7, 8)])


def test_a_branch_stays_damage_after_a_truncation_in_a_later_segment() -> None:
    """It was not repaired yet, and the node starts again."""
    logs, path, before, entries = twice_branched(fourth=0)
    logs.sync_mark()
    put_back(logs.disk, path, before, 0, len(before))
    store = logs.crash(CrashKind.LOSE)
    more = chain(3, after=store.end, term=5)
    logs.append_each(more)
    assert logs.place(more[0])[0] != path
    more = more[:2] + chain(1, after=more[1].end, term=6)
    logs.append(more[2:], truncate_to=more[1].index)
    store = logs.crash(CrashKind.LOSE)
    assert store.faulty_ranges() == [(7, 12)]
    perform(store, store.plan_repair(entries[6:]))
    assert read_all(logs.crash(CrashKind.LOSE)) == entries + more


@pytest.mark.parametrize("junk", [b"", b"\1" * 512])
@pytest.mark.parametrize("starts", [1, 2, 3])
def test_a_lost_unit_is_told_by_what_the_log_promises(junk: bytes, starts: int) -> None:
    """The last unit and its mark are lost, part of an unsynced one is there (ruling 16).

    The junk is cut, and that is a unit with the number of the lost one: it is no promise, or
    peers would take this directory for the one that they have heard of.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(5)
    logs.append_each(entries[:4])
    logs.sync_mark()
    path, _ = logs.place(entries[0])
    paths = (path, f"{DIRECTORY}/durable.mark")
    before = [logs.disk.content(each) for each in paths]
    kept = logs.store.durable_promises
    logs.append(entries[4:])
    logs.sync_mark()
    promised = logs.store.durable_promises
    at = logs.store._segments[-1].end_position
    for each, old in zip(paths, before, strict=True):
        put_back(logs.disk, each, old, 0, len(old))
    logs.disk.misplace(path, at, junk)
    for _ in range(starts):
        store = logs.crash(CrashKind.LOSE)
        assert store.end == entries[3].end
        assert store.durable_promises == kept < promised
    logs.append(entries[4:])
    assert logs.store.durable_promises > kept
    assert read_all(logs.crash(CrashKind.LOSE)) == entries


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_unit_that_is_not_whole_is_no_promise(lost: int) -> None:
    """Its head has landed, and tells its number: not all of its entries have, nor has its mark."""
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(7)
    logs.append_each(entries[:4])
    logs.sync_mark()
    mark = logs.disk.content(f"{DIRECTORY}/durable.mark")
    kept = logs.store.durable_promises
    logs.append(entries[4:])
    path, at = logs.place(entries[4 + lost])
    logs.disk.zero(path, at, entries[4 + lost].size)
    put_back(logs.disk, f"{DIRECTORY}/durable.mark", mark, 0, len(mark))
    for _ in range(2):
        store = logs.crash(CrashKind.LOSE)
        assert (store.end, store.faulty_count) == (entries[3].end, 0)
        assert store.durable_promises == kept
    logs.append(entries[4:])
    assert read_all(logs.crash(CrashKind.LOSE)) == entries


@pytest.mark.parametrize("synced", [True, False])
def test_what_was_written_over_a_branch_is_not_forgotten_with_it(*, synced: bool) -> None:
    """The sync of a truncation failed: clean in the cache, and not on the disk (ruling 2 d).

    The node starts again, appends and acknowledges. After a power cut the old tail is there again,
    behind what was acknowledged: older than the truncation, but the entry in front is not.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    old = chain(6)
    logs.append_each(old)
    logs.sync_mark()
    new = chain(1, after=old[2].end, term=2)
    plan = logs.store.plan([WriteEntries(logs.number(), Index(3), tuple(new))], Index(0))

    def fail(call: str, path: str) -> None:
        if call == "fdatasync" and path.endswith(".seg"):
            logs.disk.on_operation = None
            raise OSError(errno.EIO, "i/o error")

    logs.disk.on_operation = fail
    with pytest.raises(StorageFailed):
        plan.perform()
    logs.crash(CrashKind.KEEP)
    logs.append(new)
    if synced:
        logs.sync_mark()
    promised = logs.store.durable_promises
    store = logs.crash(CrashKind.LOSE)
    assert (store.durable_promises, store.faulty_count) == (promised, 0)
    assert read_all(store) == old[:3] + new


def test_the_head_of_a_torn_unit_tells_no_promise() -> None:
    """Only that was written of it, behind what recovery had cut. It goes: some day it might rot.

    The unit before its own is that cut, which was promised to nobody.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(3)
    logs.append_each(entries)
    logs.sync_mark()
    kept = logs.store.durable_promises
    path, _ = logs.place(entries[0])
    logs.disk.misplace(path, logs.store._segments[-1].end_position, b"\1" * 40)
    store = logs.crash(CrashKind.LOSE)
    start = store._segments[-1].end_position
    mark = f"{DIRECTORY}/durable.mark"
    before = logs.disk.content(mark)
    logs.append(chain(1, after=entries[-1].end, size=1_000))
    logs.disk.zero(path, start + UNIT_BYTES, len(logs.disk.content(path)))
    put_back(logs.disk, mark, before, 0, len(before))
    for _ in range(2):
        store = logs.crash(CrashKind.LOSE)
        assert (store.end, store.durable_promises) == (entries[-1].end, kept)
        assert not any(logs.disk.content(path)[start:])


def test_a_claim_that_only_an_idx_makes_is_put_into_the_mark() -> None:
    """The power failed between both. Then the idx rots, and an entry with it: that is damage."""
    logs = Logs(StoreOptions(segment_bytes=1024))
    entries = chain(6)
    logs.append_each(entries[:5])
    logs.sync_mark()
    mark = logs.disk.content(f"{DIRECTORY}/durable.mark")
    logs.append_each(entries[5:])
    more = chain(1, after=entries[-1].end, size=900)
    plan = logs.store.plan([WriteEntries(logs.number(), None, tuple(more))], Index(0))
    plan.steps[0]()
    for path in logs.disk.paths():
        logs.disk.files().open(path).sync()
    put_back(logs.disk, f"{DIRECTORY}/durable.mark", mark, 0, len(mark))
    store = logs.crash(CrashKind.KEEP)
    promised = store.durable_promises
    logs.disk.flip_bit(store._segments[-1].index_path, 20, 0)
    logs.rot(entries[5], 20)
    store = logs.crash(CrashKind.LOSE)
    assert (store.durable_promises, store.faulty_ranges()) == (promised, [(6, 6)])


def test_a_start_claims_in_both_slots_what_nothing_else_does() -> None:
    """The last unit was damaged and repaired: its head has no number. Then a slot rots."""
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(6)
    logs.append_each(entries)
    logs.sync_mark()
    path, at = logs.place(entries[5])
    logs.disk.zero(path, at - UNIT_BYTES, UNIT_BYTES + entries[5].size)
    store = logs.crash(CrashKind.LOSE)
    promised = store.durable_promises
    perform(store, store.plan_repair(entries[5:]))
    for slot in (0, 1):
        logs.crash(CrashKind.LOSE)
        logs.disk.flip_bit(f"{DIRECTORY}/durable.mark", slot * BLOCK_BYTES + 9, 0)
        store = logs.crash(CrashKind.LOSE)
        assert (store.durable_promises, store.faulty_count) == (promised, 0)
        assert read_all(store) == entries


def test_a_mark_of_version_1_is_read() -> None:
    """It names the last truncation, and not with which entry the log ended."""
    logs = Logs()
    files = logs.disk.files()
    path = f"{DIRECTORY}/durable.mark"
    record = struct.pack("<IHHQQQIQQ", 0x4B4D4452, 1, 0, 9, 7, 3, 77, 5, 4)
    files.open(path).pwrite([record + struct.pack("<I", crc32c(record))], 0)
    mark = DurableMark.open(files, path)
    assert mark.newest == claim_done(9, LogEnd(Index(7), Term(3), 77))
    assert (mark.promised, mark.cuts) == (9, (Cut(5, Index(4), 0xFFFF_FFFF),))
    assert not mark.cuts[0].contradicts(1)
    mark.write(claim_done(10, LogEnd(Index(8), Term(3), 78)))
    again = DurableMark.open(files, path)
    assert (again.promised, again.cuts) == (10, mark.cuts)


def test_lost_heads_between_repaired_entries_make_no_branch() -> None:
    """Damage hit heads of units, too; the entries were repaired one by one, while the node ran.

    Then the unit before them seems to go on to where the next good head is. It is older than
    the last truncation, and what was promised behind that was taken for a branch that came back.
    """
    logs = Logs(StoreOptions(segment_bytes=65536))
    entries = chain(6)
    logs.append_each(entries)
    logs.append(chain(1, after=entries[-1].end))
    entries += chain(6, after=entries[-1].end, term=2)
    logs.append([entries[6]], truncate_to=6)
    logs.append_each(entries[7:])
    path, start = logs.place(entries[4])
    _, end = logs.place(entries[8])
    logs.disk.zero(path, start, end + entries[8].size - start)
    store = logs.store
    for entry in entries[4:9]:
        store.mark_faulty(entry.index)
        perform(store, store.plan_repair([entry]))
    assert read_all(logs.crash(CrashKind.LOSE)) == entries


def test_the_idx_of_another_segment_is_not_believed() -> None:
    """A misdirected write put it there, whole, and of as many entries.

    Good entries looked damaged by it, and no peer had what was asked for.
    """
    logs = Logs(SMALL)
    entries = chain(60)
    logs.append_each(entries)
    logs.sync_mark()
    store = logs.crash(CrashKind.LOSE)
    one, other = store._segments[1:3]
    assert len(range(one.base.index, one.end.index)) == len(
        range(other.base.index, other.end.index)
    )
    logs.disk.misplace(one.index_path, 0, logs.disk.content(other.index_path))
    assert read_all(store) == entries
    assert store.faulty_count == 0

"""A disk that confirmed a write and never made it: what was there before is not the log.

An older frame in the place is good by its own checksums and has the right
index; one of a branch that was truncated even links to the entry before it.
"""

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import Entry
from raftlog.base.errors import DamagedLog, FaultyEntry
from raftlog.base.ids import Index
from raftlog.storage.durable_mark import NEVER_CUT, DurableMark, claim_done
from raftlog.storage.log_store import StoreOptions
from tests.storage.logs import DIRECTORY, Logs, chain, perform, read_all

SMALL = StoreOptions(segment_bytes=1024)


def put_back(disk: SimDisk, path: str, old: bytes, at: int, length: int) -> None:
    """Make a part of a file what it was before."""
    file = disk.files().open(path)
    file.pwrite([old[at : at + length]], at)
    file.sync()


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
    mark.cut = NEVER_CUT
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
    unit, _ = mark.cut
    for _ in range(2):
        mark.write(claim_done(unit, entries[0].end))
    mark.sync()
    put_back(logs.disk, path, before, 0, len(before))
    store = logs.crash(CrashKind.LOSE)
    assert (store.end, store.faulty_count) == (entries[0].end, 0)


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

"""A disk that confirmed a write and never made it: what was there before is not the log.

An older frame in the place is good by its own checksums and has the right
index; one of a branch that was truncated even links to the entry before it.
"""

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import Entry
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import Index
from raftlog.storage.log_store import StoreOptions
from tests.storage.logs import Logs, chain, perform, read_all

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

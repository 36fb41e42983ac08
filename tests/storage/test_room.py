"""A disk without room: nothing is lost, nothing is done twice, and it goes on by itself."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.errors import NoRoom, StorageFailed
from raftlog.base.ids import Index
from raftlog.base.writes import WriteEntries
from raftlog.broker.ranges import parse_range
from raftlog.storage.configurations import MEMBERS
from raftlog.storage.files import OsFiles
from raftlog.storage.log_store import StoreOptions
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.plan import StorePlan
from raftlog.storage.room import Reserve
from raftlog.storage.shard_files import FileKind, FileName, write_chunk
from raftlog.storage.snapshot_store import SnapshotStore
from tests.storage.logs import Logs, chain, read_all
from tests.storage.test_configurations import configuration

SMALL = StoreOptions(segment_bytes=512)


class Failing:
    """Fails some calls, until it is told otherwise."""

    def __init__(self, *calls: str, number: int = errno.ENOSPC) -> None:
        self.calls = calls
        self.number = number

    def __call__(self, call: str, path: str) -> None:
        """Fail, if it is one of them."""
        if call in self.calls:
            raise OSError(self.number, "simulated", path)


def planned(logs: Logs, count: int) -> StorePlan:
    """Plan entries for several segments."""
    writes = [WriteEntries(logs.number(), None, (entry,)) for entry in chain(count)]
    return logs.store.plan(writes, Index(0))


@pytest.mark.parametrize("call", ["fallocate", "create"])
def test_what_finds_no_room_goes_on_where_it_stood(call: str) -> None:
    """The next segment cannot be made; what came before it is durable and stays so."""
    logs = Logs(SMALL)
    plan = planned(logs, 40)
    full = Failing(call)
    logs.disk.on_operation = full

    for _ in range(3):
        with pytest.raises(NoRoom):
            plan.perform()
    full.calls = ()
    plan.perform()
    logs.store.complete(plan)

    assert read_all(logs.store) == chain(40)
    logs.disk.on_operation = None
    logs.crash(CrashKind.LOSE)
    assert read_all(logs.store) == chain(40)


def test_a_power_cut_while_there_is_no_room_leaves_a_prefix() -> None:
    """Nothing was reported as durable, so any prefix will do; nothing else may be there."""
    for seed in range(20):
        logs = Logs(SMALL)
        plan = planned(logs, 40)
        logs.disk.on_operation = Failing("fallocate")
        with pytest.raises(NoRoom):
            plan.perform()
        logs.disk.on_operation = None
        logs.crash(CrashKind.TORN, seed)
        kept = read_all(logs.store)
        assert kept == chain(40)[: len(kept)]
        assert kept


@pytest.mark.parametrize(
    ("call", "number"),
    [("fallocate", errno.EIO), ("fdatasync", errno.ENOSPC), ("fdatasync", errno.EIO)],
)
def test_every_other_failure_is_final(call: str, number: int) -> None:
    """A failed sync is never tried again, whatever it says (R2)."""
    logs = Logs(SMALL)
    plan = planned(logs, 40)
    logs.disk.on_operation = Failing(call, number=number)

    with pytest.raises(StorageFailed) as raised:
        plan.perform()

    assert not isinstance(raised.value, NoRoom)


@pytest.mark.parametrize("call", ["create", "write"])
def test_a_change_of_the_members_waits_for_room(call: str) -> None:
    """It is what an operator of a full node does; and every member would have ended at it."""
    logs = Logs(SMALL)
    logs.append_each(chain(3))
    entry = configuration(logs.store.end)
    plan = logs.store.plan([WriteEntries(logs.number(), None, (entry,))], Index(0))

    def full(operation: str, path: str) -> None:
        if operation == call and MEMBERS in path:
            raise OSError(errno.ENOSPC, "simulated", path)

    logs.disk.on_operation = full
    for _ in range(2):
        with pytest.raises(NoRoom):
            plan.perform()
    logs.disk.on_operation = None
    plan.perform()
    logs.store.complete(plan)
    logs.crash(CrashKind.LOSE)
    assert [row.index for row in logs.store.configurations] == [4]
    assert read_all(logs.store) == [*chain(3), entry]


def begin_snapshot(files: OsFiles, shard: str) -> None:
    """Begin the first snapshot of a shard."""
    SnapshotStore(files, f"{shard}/snapshot").begin(Index(7)).close()


def store_range(files: OsFiles, shard: str) -> None:
    """Store its first range."""
    OffsetIndex(files, f"{shard}/index", parse_range).store(Index(1), b"range")


def fetch_file(files: OsFiles, shard: str) -> None:
    """Fetch its first file from a peer."""
    write_chunk(files, FileName(FileKind.SNAPSHOT, Index(7)).path(shard), 0, b"tables")


@pytest.mark.parametrize("work", [begin_snapshot, store_range, fetch_file])
def test_a_folder_that_finds_no_room_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[OsFiles, str], None]
) -> None:
    """A young shard on a full disk: its node ended, though the file in the folder could wait."""

    def full(path: str) -> None:
        raise OSError(errno.ENOSPC, "simulated", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", full)
        with pytest.raises(NoRoom):
            work(OsFiles(), str(tmp_path))
    work(OsFiles(), str(tmp_path))


def test_the_reserve_is_kept_given_up_and_kept_again() -> None:
    """It is blocks, not promises: what is given up is there for others at once."""
    disk = SimDisk()
    reserve = Reserve(disk.files(), "d", 1000)

    assert not reserve.release()
    assert reserve.keep()
    assert len(disk.content("d/reserve")) == 1000
    assert reserve.keep()
    assert reserve.release()
    assert not reserve.is_kept
    assert disk.paths() == []


def test_a_reserve_that_does_not_fit_leaves_nothing_behind() -> None:
    """Half a reserve would only make the disk fuller."""
    disk = SimDisk()
    disk.on_operation = Failing("fallocate")

    assert not Reserve(disk.files(), "d", 1000).keep()
    assert disk.paths() == []

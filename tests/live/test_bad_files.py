"""A power cut takes back what was not synced, all of it or some; a sick disk says so."""

from pathlib import Path
from typing import Final

import pytest

from chaos.live.bad_files import BadFiles, Disk, Trouble
from raftlog.base.entry import EntryKind, seal
from raftlog.base.errors import NoRoom, StorageFailed
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.space import Space
from raftlog.base.writes import WriteEntries
from raftlog.storage.directory import form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions

SMALL: Final = StoreOptions(segment_bytes=512)
OLD: Final = b"a" * 4096
NEW: Final = b"b" * 4096


def files_of(tmp_path: Path) -> tuple[Disk, BadFiles, str]:
    disk = Disk()
    return disk, BadFiles(disk, tmp_path / "aside"), str(tmp_path / "data")


def settled(files: BadFiles, name: str, content: bytes) -> None:
    """Make a file that any power cut leaves."""
    file = files.open(name, create=True)
    file.pwrite([content], 0)
    file.sync()
    file.close()
    files.sync_directory(str(Path(name).parent))


def test_what_was_synced_stays_and_the_rest_goes(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD)
    file = files.open(f"{data}/f")
    file.pwrite([b"kept"], 0)
    file.sync()
    file.pwrite([b"lost", b"too"], 2)
    file.pwrite([NEW], 5000)
    assert file.pread(9, 0) == b"kelosttoo"
    assert disk.journal.cut_power("lose", 1) == {"unsynced": 2, "made": 0}
    assert (Path(data) / "f").read_bytes() == b"kept" + OLD[4:]


def test_sizes_are_taken_back(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD + NEW)
    file = files.open(f"{data}/f")
    file.truncate(10)
    file.allocate(20_000)
    assert file.size() == 20_000
    disk.journal.cut_power("lose", 1)
    assert (Path(data) / "f").read_bytes() == OLD + NEW


def test_names_are_taken_back(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    for name in ("gone", "replaced", "moved"):
        settled(files, f"{data}/{name}", name.encode())
    files.remove(f"{data}/gone")
    files.rename(f"{data}/moved", f"{data}/replaced")
    files.open(f"{data}/new", create=True).close()
    disk.journal.cut_power("lose", 1)
    found = {path.name: path.read_bytes() for path in Path(data).iterdir()}
    assert found == {name: name.encode() for name in ("gone", "replaced", "moved")}


def test_names_that_were_synced_stay(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/a", b"a")
    settled(files, f"{data}/b", b"b")
    files.rename(f"{data}/a", f"{data}/c")
    files.remove(f"{data}/b")
    files.sync_directory(data)
    assert disk.journal.cut_power("lose", 1) == {"unsynced": 0, "made": 0}
    assert [path.name for path in Path(data).iterdir()] == ["c"]
    assert not list((tmp_path / "aside").iterdir())


@pytest.mark.parametrize("kind", ["subset", "torn"])
def test_some_of_it_may_be_there(tmp_path: Path, kind: str) -> None:
    contents = set()
    for seed in range(12):
        place = tmp_path / str(seed)
        disk, files, data = files_of(place)
        files.make_directory(data)
        settled(files, f"{data}/f", OLD)
        file = files.open(f"{data}/f")
        file.pwrite([NEW], 0)
        disk.journal.cut_power(kind, seed)
        contents.add((Path(data) / "f").read_bytes())
    assert {OLD, NEW} == contents if kind == "subset" else len(contents) > 2
    sectors = {each[at : at + 512] for each in contents for at in range(0, 4096, 512)}
    assert sectors == {OLD[:512], NEW[:512]}


@pytest.mark.parametrize("name", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_change_fails_as_often_as_it_was_told_to(
    tmp_path: Path, operation: str, name: str
) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD)
    disk.set([Trouble(operation, name, times=1, path="/f")])
    file = files.open(f"{data}/f")
    try_it = {"write": lambda: file.pwrite([NEW], 0), "sync": file.sync}[operation]
    with pytest.raises(StorageFailed, match="f"):
        try_it()
    assert disk.hits == {f"{operation} {name}": 1}
    file.pwrite([NEW], 0)
    file.sync()
    settled(files, f"{data}/other", OLD)


def test_a_failed_read_is_an_os_error_and_a_slow_one_is_late(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD)
    file = files.open(f"{data}/f")
    disk.set([Trouble("read", "EIO", times=1), Trouble("read", delay_s=0.001)])
    with pytest.raises(OSError, match="f"):
        file.pread(1, 0)
    assert file.pread(1, 0) == b"a"
    assert disk.hits == {"read EIO": 1, "read slow": 2}


def test_what_a_failed_sync_was_asked_for_is_lost_with_the_power(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD)
    file = files.open(f"{data}/f")
    file.pwrite([NEW], 0)
    disk.set([Trouble("sync", "EIO")])
    with pytest.raises(StorageFailed):
        file.sync()
    disk.journal.cut_power("lose", 1)
    assert (Path(data) / "f").read_bytes() == OLD


def test_a_full_disk_takes_what_needs_no_space_and_nothing_else(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f", OLD)
    disk.set([Trouble("grow", "ENOSPC")])
    file = files.open(f"{data}/f")
    file.pwrite([NEW], 0)
    file.allocate(len(OLD))
    file.sync()
    for grows in (
        lambda: file.pwrite([b"x"], len(OLD)),
        lambda: file.allocate(len(OLD) + 1),
        lambda: files.open(f"{data}/new", create=True),
        lambda: files.make_directory(f"{data}/below"),
    ):
        with pytest.raises(StorageFailed, match="No space left"):
            grows()
    assert (disk.hits, Path(data, "f").read_bytes()) == ({"grow ENOSPC": 4}, NEW)
    assert sorted(path.name for path in Path(data).iterdir()) == ["f"]
    disk.set(())
    file.pwrite([b"x"], len(OLD))
    files.open(f"{data}/new", create=True).close()


def test_a_full_disk_says_that_it_is(tmp_path: Path) -> None:
    disk, _, _ = files_of(tmp_path)
    assert disk.measured(Space(100, 40)) == Space(100, 40)
    disk.set([Trouble("grow", "ENOSPC")])
    assert disk.measured(Space(100, 40)) == Space(100, 0)


def test_a_log_on_a_full_disk_waits_and_goes_on(tmp_path: Path) -> None:
    """The product's own way: what has found no room is done again, and nothing is lost."""
    disk, files, data = files_of(tmp_path)
    form_cluster({NodeId("n1"): Path(data)}, options=SMALL)
    store = LogStore.open(files, f"{data}/shards/0", SMALL)
    entries = []
    for number in range(40):
        end = entries[-1].end if entries else store.end
        body = [b"%d" % number * 20]
        index = Index(end.index + 1)
        entries.append(seal(EntryKind.NOOP, Term(2), index, end.checksum, body))
    write = WriteEntries(WriteNumber(1), None, tuple(entries))
    plan = store.plan([write], Index(1))
    disk.set([Trouble("grow", "ENOSPC")])
    for _ in range(3):
        with pytest.raises(NoRoom):
            plan.perform()
    disk.set(())
    plan.perform()
    store.complete(plan)
    assert store.durable_end == entries[-1].end
    assert len(list(Path(data, "shards/0/log").glob("*.seg"))) > 2


def test_while_reads_may_fail_the_cache_has_nothing(tmp_path: Path) -> None:
    disk, files, data = files_of(tmp_path)
    files.make_directory(data)
    settled(files, f"{data}/f.seg", OLD)
    file = files.open(f"{data}/f.seg")
    assert file.pread_now(1, 0) == b"a"
    disk.set([Trouble("read", "EIO", path=".seg", share=0.5)])
    assert file.pread_now(1, 0) is None
    failed = 0
    for _ in range(100):
        try:
            file.pread(1, 0)
        except OSError:
            failed += 1
    assert 20 < failed < 80
    assert (disk.hits, disk.hit_files) == ({"read EIO": failed}, {".seg": failed})
    disk.set([Trouble("read", "EIO", path=".qx")])
    assert file.pread_now(1, 0) == b"a"

"""Large files that were removed give their blocks back a little at a time."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from raftlog.base.errors import StorageFailed
from raftlog.base.limits import MIB
from raftlog.spool.journal import Journal
from raftlog.storage import freeing
from raftlog.storage.files import OsFiles
from raftlog.storage.freeing import FREED_AT_ONCE_BYTES, STEP_BYTES
from raftlog.storage.room import Reserve

LARGE = FREED_AT_ONCE_BYTES + 3 * MIB


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The sizes to which files were cut, in order."""
    sizes: list[int] = []
    truncate = os.ftruncate

    def cut(descriptor: int, size: int) -> None:
        # Who opens a file while there is a lease for it has the kernel end this process.
        assert fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        sizes.append(size)
        truncate(descriptor, size)

    with (tmp_path / "lease").open("wb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip(f"the file system of {tmp_path} gives no leases")
    (tmp_path / "lease").unlink()
    monkeypatch.setattr(os, "ftruncate", cut)
    monkeypatch.setattr(freeing, "STEP_NS", 1_000)
    return sizes


def _make(path: Path, size: int) -> str:
    with path.open("wb") as file:
        file.truncate(size)
    return str(path)


def _wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "raftlog-freeing":
            thread.join(20)
            assert not thread.is_alive()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _steps_of(size: int) -> list[int]:
    return list(range(size - STEP_BYTES, 0, -STEP_BYTES))


def test_a_large_file_is_freed_step_by_step(tmp_path: Path, cuts: list[int]) -> None:
    """Its name is gone at once; the thread ends with its work."""
    path = _make(tmp_path / "x", LARGE)
    OsFiles().remove(path, gently=True)
    assert not list(tmp_path.iterdir())
    _wait()
    assert cuts == _steps_of(LARGE)
    assert all(thread.name != "raftlog-freeing" for thread in threading.enumerate())


def test_a_small_file_is_freed_at_once(tmp_path: Path, cuts: list[int]) -> None:
    """Nobody waits for it."""
    OsFiles().remove(_make(tmp_path / "x", FREED_AT_ONCE_BYTES), gently=True)
    _wait()
    assert cuts == []


def test_who_does_not_ask_for_it_has_the_room_at_once(tmp_path: Path, cuts: list[int]) -> None:
    """At a start, or for want of room."""
    OsFiles().remove(_make(tmp_path / "x", LARGE))
    _wait()
    assert cuts == []


def test_the_room_of_the_reserve_is_there_at_once(tmp_path: Path, cuts: list[int]) -> None:
    """Who gives it up writes the next moment, and must find room then."""
    reserve = Reserve(OsFiles(), str(tmp_path), LARGE)
    assert reserve.keep()
    assert reserve.release()
    _wait()
    assert cuts == []
    assert not list(tmp_path.iterdir())


def test_the_room_of_a_spool_s_file_is_there_for_its_reserve(
    tmp_path: Path, cuts: list[int]
) -> None:
    """It is made again when a file was dropped, on a disk that was full."""
    journal = Journal.open(OsFiles(), str(tmp_path / "spool"), LARGE)
    journal.append([bytes(LARGE)])
    places = journal.append([b"second"])
    del cuts[:]
    journal.drop_before(places[0].segment)
    _wait()
    assert (cuts, journal.first) == ([], 2)
    journal.close()


def test_who_has_it_open_reads_on_and_frees_it_last(tmp_path: Path, cuts: list[int]) -> None:
    """A trim under two readers (ruling 17): nothing is taken away from either."""
    files = OsFiles()
    path = _make(tmp_path / "x", LARGE)
    first, second = files.open(path), files.open(path)
    first.pwrite([b"here"], LARGE - 4)
    files.remove(path, gently=True)
    first.close()
    _wait()
    assert cuts == []
    assert second.pread(4, LARGE - 4) == b"here"
    second.close()
    second.close()
    _wait()
    assert cuts == _steps_of(LARGE)


def test_a_file_with_another_name_stays_whole(tmp_path: Path, cuts: list[int]) -> None:
    """A copy by hard link is how some people back up."""
    path = _make(tmp_path / "x", LARGE)
    (tmp_path / "copy").hardlink_to(path)
    OsFiles().remove(path, gently=True)
    _wait()
    assert cuts == []
    assert (tmp_path / "copy").stat().st_size == LARGE


def test_a_file_of_a_directory_that_is_gone_is_freed_at_once(
    tmp_path: Path, cuts: list[int]
) -> None:
    """That its name is gone could not be made durable: so it is not made shorter either."""
    directory = tmp_path / "d"
    directory.mkdir()
    file = OsFiles().open(_make(directory / "x", LARGE))
    (directory / "x").unlink()
    directory.rmdir()
    file.close()
    _wait()
    assert cuts == []


def test_many_files_are_freed_by_one_thread(tmp_path: Path, cuts: list[int]) -> None:
    """One after the other, and none is forgotten."""
    files = OsFiles()
    paths = [_make(tmp_path / str(number), LARGE) for number in range(5)]
    for path in paths:
        files.remove(path, gently=True)
        assert [thread.name for thread in threading.enumerate()].count("raftlog-freeing") <= 1
    _wait()
    assert cuts == _steps_of(LARGE) * 5


def test_where_the_kernel_gives_no_leases_a_file_is_freed_at_once(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is the last one can't be asked there."""
    monkeypatch.setattr(freeing, "_SETLEASE", 0)
    OsFiles().remove(_make(tmp_path / "x", LARGE), gently=True)
    _wait()
    assert cuts == []


def test_what_cannot_be_opened_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To remove a name takes no right to the file."""
    path = _make(tmp_path / "x", LARGE)

    def refuse(_: OsFiles, path: str, *, create: bool = False) -> None:
        raise StorageFailed("open", path, None, PermissionError(create))

    monkeypatch.setattr(OsFiles, "open", refuse)
    OsFiles().remove(path, gently=True)
    assert not list(tmp_path.iterdir())


def test_without_a_thread_files_are_freed_at_once(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was removed is removed; nobody hears of it, and no descriptor stays open."""
    opened = _descriptors()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for number in range(3):
            OsFiles().remove(_make(tmp_path / str(number), LARGE), gently=True)
    assert (cuts, _descriptors()) == ([], opened)
    OsFiles().remove(_make(tmp_path / "x", LARGE), gently=True)
    _wait()
    assert cuts == _steps_of(LARGE)


def test_no_more_than_some_files_wait(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a descriptor."""
    monkeypatch.setattr(freeing, "WAITING_FILES_MAX", 0)
    for number in range(3):
        OsFiles().remove(_make(tmp_path / str(number), LARGE), gently=True)
    _wait()
    assert len(cuts) <= 3 * len(_steps_of(LARGE))
    assert cuts == _steps_of(LARGE) * (len(cuts) // len(_steps_of(LARGE)))


def test_a_directory_that_cannot_be_synced_is_told_to_who_syncs_it_next(
    tmp_path: Path, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells an error once; it is final (R2), whoever heard it."""
    path = _make(tmp_path / "x", LARGE)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        OsFiles().remove(path, gently=True)
        _wait()
    assert cuts == []
    with pytest.raises(StorageFailed, match="fsync"):
        OsFiles().sync_directory(f"{tmp_path}/")
    freeing.FREEING.failed.clear()
    OsFiles().sync_directory(str(tmp_path))

"""What every file system behind ``storage.files.Files`` does."""

from pathlib import Path

import pytest

from chaos.sim.disk import SimDisk
from raftlog.base.errors import DirectoryLocked, StorageFailed
from raftlog.storage.files import Files, OsFiles


class World:
    """A file system and a directory in it."""

    def __init__(self, files: Files, root: str) -> None:
        self.files = files
        self.root = root
        files.make_directory(root)

    def path(self, name: str) -> str:
        """Return a path below the root."""
        return f"{self.root}/{name}"


@pytest.fixture(params=["os", "simulated"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "os":
        return World(OsFiles(), str(tmp_path / "a" / "b"))
    return World(SimDisk().files(), "a/b")


def test_what_is_written_is_read(world: World) -> None:
    """Many buffers in one call land one after the other."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"one", bytearray(b"two"), memoryview(b"three")], 4)
    file.sync()
    assert file.pread(11, 4) == b"onetwothree"
    assert file.pread(4, 0) == bytes(4)
    assert file.size() == 15
    file.close()


def test_more_buffers_than_the_kernel_takes_are_written_whole(world: World) -> None:
    """The number of buffers of one system call is bounded; the bound is not the caller's."""
    file = world.files.open(world.path("x"), create=True)
    parts = [bytes([number % 251]) * 3 for number in range(5000)]
    file.pwrite(parts, 10)
    assert file.pread(20_000, 10) == b"".join(parts)
    file.close()


def test_what_is_written_back_is_as_it_was(world: World) -> None:
    """It is a hint: also for what is not there."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"abc"], 0)
    file.write_back(2, 1)
    file.write_back(100, 50)
    assert (file.pread(3, 0), file.size()) == (b"abc", 3)


def test_a_read_past_the_end_is_short(world: World) -> None:
    """Callers see the end of a file as fewer bytes, not as an error."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"abc"], 0)
    assert file.pread(10, 1) == b"bc"
    assert file.pread(10, 50) == b""
    file.close()


def test_a_read_that_must_not_wait_gives_all_or_nothing(world: World) -> None:
    """None sends the caller to the reader thread (ruling 17)."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"abcdef"], 0)
    assert file.pread_now(4, 1) in (b"bcde", None)
    file.close()


def test_sizes_change_by_allocate_and_truncate_only_as_asked(world: World) -> None:
    """``allocate`` never cuts, ``truncate`` forgets: growing again shows zeros."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"abcdef"], 0)
    file.allocate(3)
    assert file.size() == 6
    file.allocate(10)
    assert file.pread(20, 0) == b"abcdef" + bytes(4)
    file.truncate(2)
    file.allocate(6)
    assert file.pread(20, 0) == b"ab" + bytes(4)
    file.close()


def test_names_are_listed_renamed_and_removed(world: World) -> None:
    """A rename replaces what had the name."""
    for name in ("b", "a", "c"):
        file = world.files.open(world.path(name), create=True)
        file.pwrite([name.encode()], 0)
        file.close()
    assert world.files.list(world.root) == ["a", "b", "c"]
    world.files.rename(world.path("a"), world.path("c"))
    world.files.remove(world.path("b"))
    world.files.sync_directory(world.root)
    assert world.files.list(world.root) == ["c"]
    assert not world.files.exists(world.path("a"))
    file = world.files.open(world.path("c"))
    assert file.pread(5, 0) == b"a"
    file.close()


def test_an_open_file_outlives_its_name(world: World) -> None:
    """Trim under a reader (ruling 17)."""
    file = world.files.open(world.path("x"), create=True)
    file.pwrite([b"still here"], 0)
    world.files.remove(world.path("x"))
    assert file.pread(10, 0) == b"still here"
    file.close()


def test_a_missing_directory_lists_as_empty(world: World) -> None:
    """Nothing was ever stored there."""
    assert world.files.list(world.path("none")) == []
    assert not world.files.exists(world.path("none"))


def test_a_missing_file_is_a_storage_failure_with_its_name(world: World) -> None:
    """The message says which file and which call (storage.md 5)."""
    with pytest.raises(StorageFailed, match=r"open of .*none failed"):
        world.files.open(world.path("none"))


def test_directories_are_made_with_their_parents_and_again(world: World) -> None:
    """Making one that exists is harmless."""
    for _ in range(2):
        world.files.make_directory(world.path("p/q/r"))
    assert world.files.list(world.path("p")) == ["q"]


def test_a_lock_is_held_by_one(world: World) -> None:
    """Two processes cannot open one data directory."""
    held = world.files.lock(world.path("lock"))
    with pytest.raises(DirectoryLocked, match="stop it first"):
        world.files.lock(world.path("lock"))
    held.close()
    held.close()
    world.files.lock(world.path("lock")).close()


def test_a_file_that_was_closed_can_be_used_no_more(world: World) -> None:
    """A store wrote to what it had closed, and the simulator never saw it."""
    file = world.files.open(world.path("x"), create=True)
    file.close()
    with pytest.raises(OSError, match=r"closed|Bad file"):
        file.pread(1, 0)
    with pytest.raises(StorageFailed):
        file.pwrite([b"x"], 0)


def test_a_name_that_cannot_be_looked_up_is_not_taken_for_absent(tmp_path: Path) -> None:
    """Found by reading: a start obeyed the members of the formation.

    Its disk would not say whether ``members`` is there, which names those of now.
    """
    files = OsFiles()
    assert not files.exists(str(tmp_path / "x"))
    (tmp_path / "y").touch()
    assert not files.exists(str(tmp_path / "y" / "z"))
    with pytest.raises(StorageFailed, match="stat of"):
        files.exists(str(tmp_path / ("x" * 10_000)))

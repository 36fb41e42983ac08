"""Snapshot files: whole under their name or not there, whatever the moment of a crash."""

import errno
import os
from pathlib import Path
from random import Random

import pytest

from chaos.sim.disk import CrashKind, Killed, SimDisk
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import Index
from raftlog.storage.files import Files, OsFiles
from raftlog.storage.snapshot_store import FETCHED, SnapshotStore

PIECES = (b"head", bytes(5_000), b"tail")
CONTENT = b"".join(PIECES)


def write(store: SnapshotStore, index: int) -> None:
    """Write a snapshot whose bytes end with its index."""
    writing = store.begin(Index(index))
    writing.write(PIECES[:2])
    writing.write([*PIECES[2:], b"%d" % index])
    writing.finish()


@pytest.fixture(params=["os", "simulated"])
def files(request: pytest.FixtureRequest) -> Files:
    return OsFiles() if request.param == "os" else SimDisk().files()


@pytest.fixture
def store(files: Files, tmp_path: Path) -> SnapshotStore:
    root = str(tmp_path) if isinstance(files, OsFiles) else "shard"
    return SnapshotStore(files, f"{root}/snapshot")


def test_a_new_shard_has_none(store: SnapshotStore) -> None:
    """And reading one is damage, not an error of the disk."""
    assert store.indexes() == []
    with pytest.raises(DamagedLog, match="missing"):
        store.read(Index(7))


def test_what_is_written_is_read_under_its_index(store: SnapshotStore) -> None:
    """Piece by piece in, as a whole out."""
    write(store, 7)
    assert store.indexes() == [7]
    assert store.read(Index(7)) == CONTENT + b"7"


def test_the_two_newest_are_kept(store: SnapshotStore) -> None:
    """One may be rotten; more would only fill the disk."""
    for index in (5, 90, 100):
        write(store, index)
    assert store.indexes() == [100, 90]


def test_one_that_was_not_finished_does_not_count_and_is_removed(
    files: Files, store: SnapshotStore
) -> None:
    """Its process died; the next one begins again."""
    store.begin(Index(5)).write(PIECES)
    assert store.indexes() == []
    write(store, 9)
    (name,) = files.list(store._directory)
    assert name == f"{9:020d}.tables"


def test_one_of_an_index_that_is_there_replaces_it(store: SnapshotStore) -> None:
    """Replay passes the same cuts again, after an older snapshot was taken."""
    write(store, 7)
    write(store, 7)
    assert (store.indexes(), store.read(Index(7))) == ([7], CONTENT + b"7")


@pytest.mark.parametrize("kind", [CrashKind.KEEP, CrashKind.LOSE, CrashKind.TORN])
def test_a_crash_at_any_moment_leaves_whole_snapshots_only(kind: CrashKind) -> None:
    """What has its name is complete, and the one before is still there."""
    moment = 0
    while True:
        moment += 1
        disk = SimDisk()
        store = SnapshotStore(disk.files(), "shard/snapshot")
        write(store, 5)
        disk.operations = 0

        def kill(_call: str, _path: str, at: int = moment, disk: SimDisk = disk) -> None:
            if disk.operations == at:
                raise Killed

        disk.on_operation = kill
        try:
            write(store, 9)
        except Killed:
            killed = True
        else:
            killed = False
        disk.on_operation = None
        disk.crash(Random(moment), kind)
        after = SnapshotStore(disk.files(), "shard/snapshot")
        assert after.indexes() in ([5], [9, 5])
        for index in after.indexes():
            assert after.read(index) == CONTENT + b"%d" % index
        if not killed:
            assert after.indexes() == [9, 5]
            return


@pytest.mark.parametrize("call", ["write", "fdatasync", "rename", "fsync"])
def test_a_failed_operation_is_final(call: str) -> None:
    """The node stops: nothing is tried again (R2)."""
    disk = SimDisk()
    store = SnapshotStore(disk.files(), "shard/snapshot")
    write(store, 5)

    def fail(operation: str, _path: str) -> None:
        if operation == call:
            raise OSError(errno.EIO, "Input/output error")

    disk.on_operation = fail
    with pytest.raises(StorageFailed):
        write(store, 9)


def test_one_that_is_given_up_is_closed_when_the_next_one_begins(tmp_path: Path) -> None:
    """An install gives up what is being written, a fetch what another leader has not."""
    store = SnapshotStore(OsFiles(), str(tmp_path / "snapshot"))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    given_up = [store.begin(Index(index)) for index in range(1, 6)]
    given_up += [store.begin(Index(index), FETCHED) for index in range(1, 6)]
    assert len(os.listdir("/proc/self/fd")) - before == 2  # noqa: PTH208
    with pytest.raises(AssertionError, match="given up"):
        given_up[0].write([b"of another file by now"])
    given_up[4].write([b"x"])
    given_up[4].finish()
    assert store.indexes() == [5]


def fetch(store: SnapshotStore, index: int) -> None:
    """Take one from a peer, whole."""
    writing = store.begin(Index(index), FETCHED)
    writing.write([b"of a peer, %d" % index])
    writing.finish()


def test_one_that_a_peer_has_sent_does_not_count_before_the_log_has_reached_it(
    store: SnapshotStore,
) -> None:
    """Nor does it push out those of the log that is here."""
    for index in (5, 9):
        write(store, index)
    fetch(store, 70)
    fetch(store, 80)
    assert store.indexes() == [9, 5]
    assert store.indexes(fetched=True) == [80, 9, 5], "of those of peers only the last is kept"
    assert store.open(Index(80)) is None
    write(store, 11)
    assert store.indexes(fetched=True) == [80, 11, 9], "the log is still on its way to it"
    store.use(Index(80), fetched=True)
    assert store.indexes() == store.indexes(fetched=True) == [80, 11]
    assert store.read(Index(80)) == b"of a peer, 80"


def test_one_of_a_peer_takes_the_place_of_a_bad_one(store: SnapshotStore) -> None:
    """Of the same index: equal states have equal bytes."""
    write(store, 9)
    fetch(store, 9)
    assert store.read(Index(9)) == CONTENT + b"9"
    assert store.read(Index(9), fetched=True) == b"of a peer, 9"
    store.use(Index(9), fetched=True)
    assert (store.indexes(fetched=True), store.read(Index(9))) == ([9], b"of a peer, 9")


def test_one_of_a_peer_that_the_log_has_overtaken_is_removed(store: SnapshotStore) -> None:
    """The log has come by itself, and the node was started again."""
    fetch(store, 9)
    write(store, 12)
    store.use(Index(12))
    assert store.indexes(fetched=True) == [12]


def lies_here(store: SnapshotStore, *indexes: int) -> None:
    """Put finished ones in place, good or bad, as earlier lives may have left them."""
    store._files.make_directory(store._directory)
    for index in indexes:
        store._files.open(store._path(Index(index)), create=True).close()


def test_beside_bad_newer_ones_the_one_just_written_is_kept(store: SnapshotStore) -> None:
    """Found by reading: it was removed at once, and the log trimmed to what it had.

    A start has passed over 30 and 40, which are rotten, and has taken 10. By their numbers 30 and
    40 were the two to keep, so 20 went as soon as it was whole, and 10 with it.
    """
    lies_here(store, 10, 30, 40)
    store.use(Index(10))
    assert store.indexes() == [40, 30, 10], "there is one good state, and it is not of the disk"
    write(store, 20)
    assert store.indexes() == [20, 10]
    write(store, 25)
    assert store.indexes() == [25, 20]


def test_one_that_was_passed_over_is_not_kept_because_the_log_has_passed_it(
    store: SnapshotStore,
) -> None:
    """Its cut may have been missed this time, so that nothing took its place."""
    lies_here(store, 10, 20)
    store.use(Index(10))
    write(store, 25)
    assert store.indexes() == [25, 10]


def test_without_a_good_one_the_first_that_is_written_is_kept(store: SnapshotStore) -> None:
    """The whole log was replayed."""
    lies_here(store, 30, 40)
    write(store, 20)
    assert store.indexes() == [20]


def test_behind_the_one_that_was_taken_the_next_older_is_kept(store: SnapshotStore) -> None:
    """Nobody has looked at it, and it is the one that a start goes on from if the newer rots."""
    lies_here(store, 5, 10, 20, 30)
    store.use(Index(20))
    assert store.indexes() == [30, 20, 10], "what is newer may only be unreadable today"
    write(store, 27)
    assert store.indexes() == [27, 20]


def test_installs_without_a_snapshot_between_them_leave_two(store: SnapshotStore) -> None:
    """A replica that falls behind again and again fills no disk."""
    for index in (10, 20, 30, 40):
        fetch(store, index)
        store.use(Index(index), fetched=True)
    assert store.indexes(fetched=True) == [40, 30]


def test_what_trims_rely_on_is_here_whatever_rots_between_starts() -> None:
    """The last two that were taken or written are counted; cuts are missed, and the disk rots."""
    for seed in range(200):
        random = Random(seed)
        disk = SimDisk()
        rotten: set[int] = set()
        for _life in range(6):
            store = SnapshotStore(disk.files(), "shard/snapshot")
            taken = next((each for each in store.indexes() if each not in rotten), None)
            counted = [] if taken is None else [taken]
            if taken is not None:
                store.use(taken)
            at = taken or 0
            for _ in range(random.randrange(4)):
                at += random.randint(1, 9)
                write(store, at)
                rotten.discard(at)
                counted.append(Index(at))
                assert set(counted[-2:]) <= set(store.indexes()), (seed, counted)
            assert len(store.indexes()) <= 2 or len(counted) < 2, (seed, counted)
            rotten |= {each for each in store.indexes() if random.random() < 0.4}

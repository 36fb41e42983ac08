"""os-cache and the boot that it was written in: what a restart of the machine may have lost."""

from contextlib import suppress
from random import Random

import pytest

from chaos.sim.disk import CrashKind, Killed, SimDisk
from raftlog.base.errors import DamagedLog, WritesLost
from raftlog.base.ids import Index, NodeId
from raftlog.base.membership import Membership
from raftlog.storage.cached_writes import (
    OS_CACHE,
    CachedWrites,
    newest_named,
    refuse_unless_alone,
)
from raftlog.storage.directory import form_cluster
from raftlog.storage.durable_mark import DurableMark, claim_done
from raftlog.storage.log_store import DURABLE_MARK, StoreOptions
from raftlog.storage.snapshot_store import SnapshotStore
from raftlog.storage.whole_prefix import keep_what_is_whole
from tests.raft.harness import N1, R1, R2
from tests.storage.logs import DIRECTORY, Logs, chain, put_back, read_all

CACHED = StoreOptions(segment_bytes=4096, durable=False)
CUTS = (CrashKind.LOSE, CrashKind.SUBSET, CrashKind.TORN)


def formed(*nodes: str) -> SimDisk:
    """Return a disk with the directories of a new cluster."""
    disk = SimDisk()
    directories = {NodeId(node): node for node in nodes}
    form_cluster(directories, options=StoreOptions(4096), files=disk.files())
    return disk


def note(disk: SimDisk, boot: str, node: str = "n1") -> CachedWrites:
    """Return what a start in ``boot`` finds."""
    return CachedWrites(disk.files(), node, boot)


def shards(node: str = "n1") -> list[str]:
    """Return the folders of its shards."""
    return [f"{node}/shards/0"]


# -- the note


@pytest.mark.parametrize("kind", [CrashKind.KEEP, *CUTS], ids=lambda kind: kind.value)
def test_the_note_is_there_before_anything_is_served(kind: CrashKind) -> None:
    """And names the boot: the same one has lost nothing, another one may have."""
    disk = formed("n1")
    assert not note(disk, "a").lost
    note(disk, "a").begin(shards(), durable=False)
    disk.crash(Random(1), kind)
    assert not note(disk, "a").lost
    assert note(disk, "b").lost


def test_a_clean_stop_leaves_no_note_and_everything_on_disk() -> None:
    """Then the machine may restart."""
    logs = Logs(CACHED)
    noted = CachedWrites(logs.disk.files(), DIRECTORY, "a")
    noted.begin([DIRECTORY], durable=False)
    entries = chain(40, size=150)
    logs.append_each(entries)
    noted.end([DIRECTORY])
    for kind in CUTS:
        logs.crash(kind)
        assert read_all(logs.store) == entries
        assert not CachedWrites(logs.disk.files(), DIRECTORY, "b").lost


def test_a_start_with_fsync_syncs_what_was_not() -> None:
    """The process was killed, and its successor promises more: it must have all that it reads."""
    logs = Logs(CACHED)
    CachedWrites(logs.disk.files(), DIRECTORY, "a").begin([DIRECTORY], durable=False)
    entries = chain(40, size=150)
    logs.append_each(entries)
    logs.crash(CrashKind.KEEP)
    CachedWrites(logs.disk.files(), DIRECTORY, "a").begin([DIRECTORY], durable=True)
    logs.crash(CrashKind.LOSE)
    assert read_all(logs.store) == entries
    assert not CachedWrites(logs.disk.files(), DIRECTORY, "b").lost


@pytest.mark.parametrize("boot", ["", "a"])
def test_what_is_not_known_counts_as_lost(boot: str) -> None:
    """A kernel without a boot id, or a note that is bad."""
    disk = formed("n1")
    note(disk, boot).begin(shards(), durable=False)
    if boot:
        for offset in range(len(disk.content(f"n1/{OS_CACHE}"))):
            copy = disk.fork()
            copy.flip_bit(f"n1/{OS_CACHE}", offset, 3)
            assert note(copy, boot).lost
        for size in range(len(disk.content(f"n1/{OS_CACHE}"))):
            copy = disk.fork()
            copy.cut_file(f"n1/{OS_CACHE}", size)
            assert note(copy, boot).lost
    else:
        assert note(disk, boot).lost


def test_a_crash_while_it_is_written_or_removed_is_never_taken_for_nothing_lost() -> None:
    """Until all is synced the note of the boot that wrote is there."""
    for operations in range(12):
        logs = Logs(CACHED)
        noted = CachedWrites(logs.disk.files(), DIRECTORY, "a")
        noted.begin([DIRECTORY], durable=False)
        entries = chain(4)
        logs.append_each(entries)
        left = operations

        def on_operation(_call: str, _path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        logs.disk.on_operation = on_operation
        with suppress(Killed):
            noted.end([DIRECTORY])
        logs.disk.on_operation = None
        logs.disk.crash(Random(operations), CrashKind.SUBSET)
        if not CachedWrites(logs.disk.files(), DIRECTORY, "b").lost:
            assert read_all(logs.open()) == entries


# -- one of several


def test_one_of_several_is_refused_and_one_alone_is_not() -> None:
    """Its promises were made to others."""
    disk = formed("n1", "n2", "n3")
    members = newest_named(disk.files(), "n1/shards/0", Membership((R1,)))
    assert [voter.node for voter in members.voters] == ["n1", "n2", "n3"]
    for others in (
        members,
        Membership((R1, R2)),
        Membership(()),
        Membership((R1,), outgoing=(R1, R2)),
    ):
        with pytest.raises(WritesLost, match="raftlog node run --join"):
            refuse_unless_alone("n1", [Membership((R1,)), others], N1)
    refuse_unless_alone("n1", [Membership((R1,)), Membership((R1,), learners=(R2,))], N1)


# -- what is left of a lone log


@pytest.mark.parametrize("kind", CUTS, ids=lambda kind: kind.value)
def test_a_lone_log_goes_on_with_what_is_whole(kind: CrashKind) -> None:
    """A prefix of what was written, whatever the power cut took, also from under its mark."""
    lengths = set()
    for seed in range(60):
        logs = Logs(CACHED)
        entries = chain(40, size=150)
        logs.append_each(entries)
        logs.disk.crash(Random(seed), kind)
        end = keep_what_is_whole(logs.disk.files(), DIRECTORY)
        logs.open()
        assert read_all(logs.store) == entries[: end.index]
        lengths.add(end.index)
        more = chain(3, after=end, term=2)
        logs.append(more)
        logs.crash(CrashKind.KEEP)
        assert read_all(logs.store) == [*entries[: end.index], *more]
    assert lengths == {0} if kind is CrashKind.LOSE else len(lengths) > 2


@pytest.mark.parametrize("begun", [True, False])
def test_a_tail_that_was_truncated_is_not_kept(*, begun: bool) -> None:
    """The kernel had written the mark since, and of the segment nothing.

    Kept, and claimed, the tail was found to be older than the truncation at the next start: damage
    that nobody can repair.
    """
    logs = Logs(StoreOptions(segment_bytes=65536, durable=False))
    old = chain(6)
    logs.append_each(old)
    path, _ = logs.place(old[0])
    before = logs.disk.content(path)
    logs.append(chain(1, after=old[2].end, term=2), truncate_to=3)
    mark = DurableMark.open(logs.disk.files(), f"{DIRECTORY}/{DURABLE_MARK}")
    cut = mark.cuts[-1]
    end = old[2].end if begun else old[4].end
    mark.write(claim_done(cut.unit + (not begun), end, truncation=begun))
    mark.write(claim_done(cut.unit + (not begun), end, truncation=begun))
    put_back(logs.disk, path, before, 0, len(before))
    logs.disk.crash(Random(0), CrashKind.KEEP)

    assert keep_what_is_whole(logs.disk.files(), DIRECTORY) == old[2].end
    assert read_all(logs.open()) == old[:3]


def test_a_truncated_tail_in_front_of_a_later_segment_is_cut_off() -> None:
    """The kernel had written the later segment and the mark, and not the cut."""
    logs = Logs(StoreOptions(segment_bytes=1024, durable=False))
    old = chain(6)
    logs.append_each(old)
    path, _ = logs.place(old[0])
    before = logs.disk.content(path)
    new = chain(1, after=old[3].end, term=2, size=900)
    logs.append(new, truncate_to=4)
    assert logs.place(new[0])[0] != path
    put_back(logs.disk, path, before, 0, len(before))
    logs.disk.crash(Random(0), CrashKind.KEEP)

    for _ in range(2):
        assert keep_what_is_whole(logs.disk.files(), DIRECTORY) == new[0].end
    assert read_all(logs.open()) == old[:4] + new


def test_a_state_of_what_was_given_up_is_given_up_too() -> None:
    """Found by reading: a snapshot is durable, and the log that it is of was not.

    The log went on with other entries. A later start took the snapshot, which was within the log
    by then, for a state of those: they were never applied.
    """
    logs = Logs(CACHED)
    noted = CachedWrites(logs.disk.files(), DIRECTORY, "a")
    noted.begin([DIRECTORY], durable=False)
    logs.append_each(chain(15, size=150))
    noted.end([DIRECTORY])
    logs.append_each(chain(15, after=logs.store.end, size=150))
    store = SnapshotStore(logs.disk.files(), f"{DIRECTORY}/snapshot")
    for at in (10, 20):
        writing = store.begin(Index(at))
        writing.write([b"a state"])
        writing.finish()
    logs.disk.crash(Random(7), CrashKind.LOSE)
    assert keep_what_is_whole(logs.disk.files(), DIRECTORY).index == 15
    logs.disk.crash(Random(7), CrashKind.LOSE)
    assert SnapshotStore(logs.disk.files(), f"{DIRECTORY}/snapshot").indexes() == [10]


def test_it_is_done_again_after_a_crash() -> None:
    """At any operation of it, and of the recovery behind it."""
    for operations in range(40):
        logs = Logs(CACHED)
        entries = chain(40, size=150)
        logs.append_each(entries)
        logs.disk.crash(Random(7), CrashKind.SUBSET)
        expected = keep_what_is_whole(logs.disk.fork().files(), DIRECTORY)
        left = operations

        def on_operation(_call: str, _path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        logs.disk.on_operation = on_operation
        with suppress(Killed):
            keep_what_is_whole(logs.disk.files(), DIRECTORY)
            logs.open()
        logs.disk.on_operation = None
        logs.disk.crash(Random(operations), CrashKind.SUBSET)
        assert keep_what_is_whole(logs.disk.files(), DIRECTORY) == expected
        assert read_all(logs.open()) == entries[: expected.index]


def test_a_log_whose_beginning_is_not_known_is_left_alone() -> None:
    """It was trimmed, and its first header is gone."""
    logs = Logs(CACHED)
    logs.append_each(chain(60, size=150))
    first, second, *_ = [path for path in logs.disk.paths() if path.endswith(".seg")]
    logs.disk.files().remove(first)
    logs.disk.zero(second, 0, 512)
    with pytest.raises(DamagedLog, match="restore the directory from a copy"):
        keep_what_is_whole(logs.disk.files(), DIRECTORY)

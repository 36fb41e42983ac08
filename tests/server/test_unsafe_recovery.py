"""A survivor's directory is changed by hand: whole or not at all, and never by mistake."""

from collections.abc import Callable
from random import Random

import pytest

from chaos.sim.disk import CrashKind, Killed, SimDisk
from raftlog.base.entry import Entry, EntryKind, LogEnd, check_links, seal
from raftlog.base.errors import (
    BadChange,
    DamagedLog,
    DirectoryForeign,
    DirectoryLocked,
    MemberNotFound,
    Refused,
)
from raftlog.base.ids import ClusterId, Index, NodeId, Term, WriteNumber
from raftlog.base.membership import Membership, decode_membership
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.broker.commands import Command, CommandType, envelope
from raftlog.node.recollection import newest_membership
from raftlog.server.unsafe_recovery import UnsafeRecovery
from raftlog.storage.cached_writes import OS_CACHE, CachedWrites
from raftlog.storage.directory import DataDirectory, form_cluster, format_learner
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import write_offline
from tests.storage.logs import read_all

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
LOST = [N2, N3]
PHRASE = "give up n2 n3"
OPTIONS = StoreOptions(segment_bytes=4096)
WALL_MS = 1_764_000_000_000
STAMP_MS = 1_763_999_999_000


def entries_behind(end: LogEnd) -> list[Entry]:
    """Return five entries of records, the last of them of another term."""
    made: list[Entry] = []
    for term in (1, 1, 1, 1, 2):
        index = Index(end.index + 1)
        body = envelope(STAMP_MS + index, [Command(CommandType.RAW, [b"kept %d" % index])])
        made.append(seal(EntryKind.COMMANDS, Term(term), index, end.checksum, body))
        end = made[-1].end
    return made


def with_a_log(shards: int = 1) -> SimDisk:
    """Return a disk with three directories; the log of n1 ends with entry 6, of term 2."""
    disk = SimDisk()
    files = disk.files()
    form_cluster({N1: "n1", N2: "n2", N3: "n3"}, shards=shards, options=OPTIONS, files=files)
    for shard in range(shards):
        store = LogStore.open(files, f"n1/shards/{shard}", OPTIONS)
        vote = SaveHardState(WriteNumber(1), HardState(Term(2), None))
        entries = tuple(entries_behind(store.end))
        write_offline(store, [vote, WriteEntries(WriteNumber(2), None, entries)])
    return disk


def recover(disk: SimDisk, node: NodeId = N1, *lost: NodeId) -> UnsafeRecovery:
    """Look at a directory whose process is gone."""
    files = disk.files()
    return UnsafeRecovery.open(node, node, lost or LOST, options=OPTIONS, files=files)


def killed_after(operations: int) -> Callable[[str, str], None]:
    """Return a hook that ends the process after so many operations."""
    left = operations

    def on_operation(_call: str, _path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    return on_operation


def members_of(disk: SimDisk, shard: int = 0) -> tuple[LogStore, Membership]:
    """Return the log of a shard as the next start finds it, and who its members are."""
    directory = DataDirectory.open("n1", files=disk.files())
    _, formed = directory.shards()[shard]
    directory.close()
    store = LogStore.open(disk.files(), f"n1/shards/{shard}", OPTIONS)
    return store, newest_membership(store, formed)


def test_the_log_goes_on_with_the_mark() -> None:
    """One entry more, linked to all before it, in a term of its own, durable."""
    disk = with_a_log()
    with recover(disk) as work:
        (shard,) = work.report.shards
        assert (shard.last, shard.last_term, shard.done) == (6, 2, False)
        assert shard.log_time_ms == STAMP_MS + 6
        assert [voter[:3] for voter in shard.before] == ["n1/", "n2/", "n3/"]
        assert [voter[:3] for voter in shard.after] == ["n1/"]
        assert (work.report.phrase, work.report.others) == (PHRASE, [])
        me = work.me
        work.carry_out(PHRASE, WALL_MS)
    disk.crash(Random(1), CrashKind.LOSE)
    store, members = members_of(disk)
    entries = [entry for entry in read_all(store) if entry is not None]
    check_links(entries[0].end, entries[1:])
    mark = entries[-1]
    assert (len(entries), mark.kind) == (7, EntryKind.CONFIGURATION)
    assert store.hard_state == HardState(mark.term, me)
    assert mark.term > 2
    assert members == decode_membership(mark.body)
    assert members.voters == (me,)
    recovery = members.recovery
    assert recovery is not None
    assert (recovery.index, recovery.wall_ms, recovery.by) == (7, WALL_MS, me)
    assert [each.node for each in recovery.lost] == LOST


def test_another_phrase_changes_nothing() -> None:
    """It was read, or it was not."""
    disk = with_a_log()
    for wrong in ("", "yes", "give up n2", "give up n3 n2", "GIVE UP n2 n3"):
        with recover(disk) as work, pytest.raises(Refused, match="nothing was changed"):
            work.carry_out(wrong)
    store, members = members_of(disk)
    assert store.end.index == 6
    assert len(members.voters) == 3


def test_looking_alone_changes_nothing() -> None:
    """As with --dry-run; the directory is free again afterwards."""
    disk = with_a_log()
    with recover(disk):
        pass
    assert members_of(disk)[0].end.index == 6


def test_a_node_that_runs_is_left_alone() -> None:
    """It holds its directory."""
    disk = with_a_log()
    held = DataDirectory.open("n1", files=disk.files())
    with pytest.raises(DirectoryLocked):
        recover(disk)
    held.close()
    with recover(disk), pytest.raises(DirectoryLocked):
        DataDirectory.open("n1", files=disk.files())


@pytest.mark.parametrize(
    ("lost", "kind", "part"),
    [
        ([NodeId("n4"), N2, N3], MemberNotFound, "n4 is no member; the members.*n1, n2, n3"),
        ([N2], BadChange, "n1 and n3 are a majority"),
        ([N1, N2], BadChange, "n1 is the survivor"),
    ],
)
def test_names_that_make_no_sense(lost: list[NodeId], kind: type[Exception], part: str) -> None:
    """Each is refused with what would."""
    disk = with_a_log()
    with pytest.raises(kind, match=part):
        recover(disk, N1, *lost)
    DataDirectory.open("n1", files=disk.files()).close()


def test_another_nodes_directory_is_refused() -> None:
    """Two directories were mixed up."""
    disk = with_a_log()
    with pytest.raises(DirectoryForeign):
        UnsafeRecovery.open("n1", N2, [N1, N3], options=OPTIONS, files=disk.files())


def test_a_learner_that_was_told_nothing_cannot_go_on() -> None:
    """It does not know of what it is the survivor."""
    disk = SimDisk()
    format_learner("n1", ClusterId("c" * 32), N1, options=OPTIONS, files=disk.files())
    with pytest.raises(MemberNotFound, match="not known to it"):
        recover(disk)


def test_damage_that_nobody_is_left_to_repair_is_refused() -> None:
    """A log with a hole can't be led; the sentence says what can be done."""
    disk = with_a_log()
    path = f"n1/shards/0/log/{1:020d}.seg"
    entry = read_all(members_of(disk)[0])[3]
    assert entry is not None
    disk.flip_bit(path, disk.content(path).find(bytes(entry.frame)) + 50, 0)
    with pytest.raises(DamagedLog, match=r"entries of shard 0 are damaged.*another survivor"):
        recover(disk)


def test_every_shard_gets_its_mark_and_a_second_run_finds_it_done() -> None:
    """Interrupted between two shards, the rest is done by the next run."""
    disk = with_a_log(shards=2)

    def on_operation(_call: str, path: str) -> None:
        if path.startswith("n1/shards/1"):
            raise Killed

    work = recover(disk)
    disk.on_operation = on_operation
    with pytest.raises(Killed):
        work.carry_out(PHRASE, WALL_MS)
    disk.on_operation = None
    disk.crash(Random(1), CrashKind.LOSE)
    with recover(disk) as work:
        assert [shard.done for shard in work.report.shards] == [True, False]
        work.carry_out(PHRASE, WALL_MS)
    for shard in (0, 1):
        assert [each.node for each in members_of(disk, shard)[1].voters] == [N1]
    with pytest.raises(Refused, match="went on without n2 and n3 before"):
        recover(disk)


@pytest.mark.parametrize("kind", list(CrashKind), ids=lambda kind: kind.value)
def test_a_crash_at_any_operation_leaves_a_log_that_starts(kind: CrashKind) -> None:
    """With the mark or without it, never with the vote of a term that was not begun."""
    done = 0
    for operations in range(60):
        disk = with_a_log()
        work = recover(disk)
        disk.on_operation = killed_after(operations)
        finished = True
        try:
            work.carry_out(PHRASE, WALL_MS)
        except Killed:
            finished = False
        disk.on_operation = None
        disk.crash(Random(operations), kind)
        store, members = members_of(disk)
        assert store.end.index in (6, 7)
        assert store.end.term <= store.hard_state.term
        assert len(members.voters) == (1 if store.end.index == 7 else 3)
        assert store.faulty_count == 0
        done += finished
        if finished:
            assert store.end.index == 7
        else:
            disk.crash(Random(operations), CrashKind.KEEP)
            if store.end.index == 6:
                with recover(disk) as again:
                    again.carry_out(PHRASE, WALL_MS)
                assert members_of(disk)[0].end.index == 7
    assert 0 < done < 60


def test_the_last_one_after_a_power_cut_of_all_under_os_cache() -> None:
    """Nobody is left to join: its log is kept as far as it is whole, and the note is gone."""
    disk = with_a_log()
    CachedWrites(disk.files(), "n1", "before").begin(["n1/shards/0"], durable=False)
    entry = read_all(members_of(disk)[0])[4]
    assert entry is not None
    path = f"n1/shards/0/log/{1:020d}.seg"
    disk.flip_bit(path, disk.content(path).find(bytes(entry.frame)) + 50, 0)
    for interrupted in (True, False):
        files = disk.files()
        work = UnsafeRecovery.open("n1", N1, LOST, options=OPTIONS, files=files, boot="now")
        if interrupted:

            def on_operation(call: str, path: str) -> None:
                if (call, path) == ("unlink", f"n1/{OS_CACHE}"):
                    raise Killed

            disk.on_operation = on_operation
            with pytest.raises(Killed):
                work.carry_out(PHRASE, WALL_MS)
            disk.on_operation = None
            disk.crash(Random(1), CrashKind.LOSE)
            assert CachedWrites(disk.files(), "n1", "now").lost
        else:
            work.carry_out(PHRASE, WALL_MS)
    assert not CachedWrites(disk.files(), "n1", "now").lost
    store, members = members_of(disk)
    assert (store.end.index, store.faulty_count) == (5, 0)
    assert [each.node for each in members.voters] == [N1]
    with pytest.raises(Refused, match="went on without"):
        recover(disk)

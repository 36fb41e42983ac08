"""Getting a snapshot: whole or not at all, whatever peers, connections and disks do meanwhile."""

import errno
from random import Random

import msgspec
import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import LogEnd
from raftlog.base.errors import StorageFailed
from raftlog.base.ids import INDEX_ZERO, Index, Term
from raftlog.broker import index
from raftlog.raft.rpcs import InstallChunk
from raftlog.service import install_source
from raftlog.service.install_source import FIRST_RANGE, MANIFEST, TABLES
from raftlog.service.installing import FILE_BYTES_MAX, RETRY_NS, WATCH_NS
from raftlog.service.shard import BrokerShard
from raftlog.storage.snapshot_store import SnapshotStore
from tests.service.installs import CONFIGURATION, GIVER, OTHER, TRIMMED, Giver, Taker, carry

PIECE = 40
SECOND = 10**9


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    monkeypatch.setattr(install_source, "CATCH_UP_PIECE_BYTES", PIECE)


def lacking() -> Taker:
    """Return one to which the leader has offered its snapshot."""
    taker = Taker()
    taker.installer.offered(GIVER.node)
    return taker


def ends_like(taker: Taker, giver: Giver) -> None:
    """The log has come: the machine is given the state, and has the same as the other."""
    taker.log_reaches(giver.machine.applied)
    assert taker.machine.digest() == giver.machine.digest()
    assert taker.installer.installed == 1
    assert taker.restored == [(giver.machine.applied, TRIMMED)]
    assert not taker.failures


def test_tables_and_ranges_come_and_then_the_log_begins_anew() -> None:
    """Durably, before the log is touched; the state when the entries are there."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})
    assert taker.keeping.resets == [(giver.start, CONFIGURATION)]
    assert taker.installer.installed == 0, "the entries up to it have not come"
    at = giver.machine.applied
    (left,) = taker.keeping.left
    after = Taker(left)
    assert after.snapshots.read(at, fetched=True) == giver.store.read(at)
    assert [each.last_index for each in after.index.chain(at, TRIMMED)] == [4, 6, 7, 8, 9, 10]
    ends_like(taker, giver)


@pytest.mark.parametrize("lacks_state", [False, True])
def test_the_log_begins_where_the_fetched_one_does_whatever_it_began_with(
    *, lacks_state: bool
) -> None:
    """A replica that began anew may fall behind the leader's log again (seeds 448, 472, 889).

    Its log was trimmed away at the leader's before it had come; the snapshot that it fetched
    then was not heeded, because it lacked a state already, and was offered again for ever.
    """
    giver, taker = Giver(), lacking()
    giver.write(4)
    taker.keeping.lacks_state = lacks_state
    carry(taker, {GIVER.node: giver})
    assert taker.keeping.resets == [(giver.start, CONFIGURATION)]


def test_the_state_waits_until_the_log_is_durable_and_committed_here() -> None:
    """A snapshot ahead of its log would put a hole into it (ruling 14)."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})
    at = giver.machine.applied
    taker.log_reaches(at - 1)
    assert taker.installer.installed == 0
    taker.store.durable_end = LogEnd(at, Term(2), 0)
    taker.pass_time(SECOND)
    assert taker.installer.installed == 0, "durable, but nobody has said that it is committed"
    ends_like(taker, giver)


def test_the_log_is_not_touched_before_everything_is_here() -> None:
    """A crash at any piece leaves the old log and the old state."""
    giver = Giver()
    giver.write(4)
    pieces = carry(lacking(), {GIVER.node: giver})
    assert pieces > 10
    for most in range(pieces):
        taker = lacking()
        carry(taker, {GIVER.node: giver}, most=most)
        assert taker.keeping.resets == []


def test_after_a_crash_what_is_here_whole_is_not_fetched_again() -> None:
    """Ranges by first index and checksum; tables that were finished, too."""
    giver = Giver()
    giver.write(4)
    pieces = carry(lacking(), {GIVER.node: giver})
    for most in range(0, pieces, 3):
        first = lacking()
        carry(first, {GIVER.node: giver}, most=most)
        first.disk.crash(Random(most), CrashKind.LOSE)
        again = Taker(first.disk)
        again.installer.offered(GIVER.node)
        files: list[tuple[int, int]] = []

        def note(chunk: InstallChunk, files: list[tuple[int, int]] = files) -> InstallChunk:
            files.append((chunk.file, chunk.offset))
            return chunk

        here = {each.first_index for each in again.index.chain(giver.machine.applied, TRIMMED)}
        carry(again, {GIVER.node: giver}, note)
        fetched = {file for file, _ in files if file >= FIRST_RANGE}
        assert len(fetched) + len(here) == 6
        ends_like(again, giver)


def test_a_lost_piece_or_request_is_asked_for_again_and_no_other() -> None:
    """A lost connection costs one piece."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    random = Random(1)
    seen: list[tuple[int, int]] = []
    lost = 0

    def lose(chunk: InstallChunk) -> InstallChunk | None:
        nonlocal lost
        if random.random() < 0.3:
            lost += 1
            return None
        seen.append((chunk.file, chunk.offset))
        return chunk

    for _ in range(200):
        carry(taker, {GIVER.node: giver}, lose)
        taker.pass_time(RETRY_NS)
    assert lost > 3
    assert len(seen) == len(set(seen)), "a piece that came was asked for again"
    ends_like(taker, giver)


def test_pieces_twice_late_or_of_others_change_nothing() -> None:
    """Only the one that was asked for, from the one that was asked."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    earlier: list[InstallChunk] = []

    def repeat(chunk: InstallChunk) -> InstallChunk:
        for old in earlier[-3:]:
            taker.installer.receive(GIVER, old)
        earlier.append(chunk)
        taker.installer.receive(OTHER, msgspec.structs.replace(chunk, data=b"x" * len(chunk.data)))
        later = msgspec.structs.replace(chunk, offset=chunk.offset + 1)
        taker.installer.receive(GIVER, later)
        taker.turn()
        return chunk

    carry(taker, {GIVER.node: giver}, repeat)
    ends_like(taker, giver)


def test_another_leader_goes_on_in_the_middle() -> None:
    """Equal states have equal files."""
    givers = {GIVER.node: Giver(), OTHER.node: Giver()}
    for giver in givers.values():
        giver.write(4)
    for most in range(1, 20, 2):
        taker = lacking()
        done = carry(taker, givers, most=most)
        taker.asked.clear()
        taker.leader = OTHER.node
        taker.pass_time(RETRY_NS)
        assert {to for to, _ in taker.asked} <= {OTHER.node}
        done += carry(taker, givers)
        assert done <= carry(lacking(), givers) + 1, "it has begun anew"
        ends_like(taker, givers[OTHER.node])


def test_a_leader_that_has_another_snapshot_is_begun_with_anew() -> None:
    """What was fetched of the older one stays; nothing of two is mixed."""
    giver, other, taker = Giver(), Giver(), lacking()
    giver.write(4)
    other.write(7)
    givers = {GIVER.node: giver, OTHER.node: other}
    carry(taker, givers, most=8)
    taker.asked.clear()
    taker.leader = OTHER.node
    taker.pass_time(RETRY_NS)
    carry(taker, givers)
    assert taker.keeping.resets == []
    taker.installer.offered(OTHER.node)
    carry(taker, givers)
    ends_like(taker, other)


def test_a_sender_that_is_gone_is_waited_for_and_then_passed_over() -> None:
    """No piece for long: it is asked again, at its pace; whoever leads then goes on."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver}, most=5)
    asked = 0
    for _ in range(20):
        taker.pass_time(RETRY_NS)
        asked += len(taker.asked)
        taker.asked.clear()
    assert 10 <= asked <= 21
    taker.pass_time(RETRY_NS)
    carry(taker, {GIVER.node: giver})
    ends_like(taker, giver)


def test_a_newer_snapshot_at_the_giver_does_not_disturb() -> None:
    """Those that were begun are held open there."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    digest = giver.machine.digest()
    at = giver.machine.applied
    carry(taker, {GIVER.node: giver}, most=5)
    giver.write(3)
    carry(taker, {GIVER.node: giver})
    taker.log_reaches(at)
    assert taker.machine.digest() == digest


@pytest.mark.parametrize("file", [MANIFEST, TABLES, FIRST_RANGE + 1])
def test_broken_bytes_are_never_put_in_place(file: int) -> None:
    """The transport checks each piece; what is wrong all the same is seen when it is read back."""
    giver, taker = Giver(), lacking()
    giver.write(4)

    def rot(chunk: InstallChunk) -> InstallChunk:
        if chunk.file != file:
            return chunk
        data = bytearray(chunk.data)
        data[len(data) // 2] ^= 0x10
        return msgspec.structs.replace(chunk, data=bytes(data))

    carry(taker, {GIVER.node: giver}, rot)
    assert taker.keeping.resets == []
    assert not taker.failures
    taker.log_reaches(giver.machine.applied)
    assert taker.installer.installed == 0
    taker.installer.offered(GIVER.node)
    carry(taker, {GIVER.node: giver})
    ends_like(taker, giver)


@pytest.mark.parametrize(
    "change",
    [
        {"data": b"", "size": 0},
        {"size": 10},
        {"size": FILE_BYTES_MAX + 1},
        {"data": b"x" * 1000},
    ],
    ids=["nothing", "beyond its end", "too large", "another length"],
)
def test_what_cannot_be_ends_the_fetch_and_the_next_offer_begins_anew(
    change: dict[str, object],
) -> None:
    """No piece is believed to be what it says, nor memory filled with it."""
    giver, taker = Giver(), lacking()
    giver.write(4)

    def break_(chunk: InstallChunk) -> InstallChunk:
        return msgspec.structs.replace(chunk, **change) if chunk.file == FIRST_RANGE else chunk

    carry(taker, {GIVER.node: giver}, break_)
    assert taker.keeping.resets == []
    taker.pass_time(SECOND)
    taker.installer.offered(GIVER.node)
    carry(taker, {GIVER.node: giver})
    ends_like(taker, giver)


def test_offers_meanwhile_begin_nothing_new() -> None:
    """The leader repeats them with every heartbeat."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    expected = carry(lacking(), {GIVER.node: giver})

    def offer(chunk: InstallChunk) -> InstallChunk:
        taker.installer.offered(GIVER.node)
        return chunk

    assert carry(taker, {GIVER.node: giver}, offer) == expected
    ends_like(taker, giver)


def test_an_offer_after_the_files_have_come_resets_the_log_once_more() -> None:
    """A candidate's log is not touched: the leader offers again, and nothing is fetched again."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})
    taker.keeping.lacks_state = False
    taker.installer.offered(GIVER.node)
    assert not taker.asked
    taker.turn()
    assert len(taker.keeping.resets) == 2


def failing_disk(number: int) -> SimDisk:
    """Return a disk whose next sync fails, or that has no room."""
    disk = SimDisk()

    def on_operation(call: str, path: str) -> None:
        if call == ("fdatasync" if number == errno.EIO else "write"):
            raise OSError(number, "simulated", path)

    disk.on_operation = on_operation
    return disk


def test_a_write_that_fails_stops_the_node() -> None:
    """After a failed sync the page cache lies (R2)."""
    giver = Giver()
    giver.write(4)
    taker = Taker(failing_disk(errno.EIO))
    taker.keeping.lacks_state = True
    taker.installer.offered(GIVER.node)
    carry(taker, {GIVER.node: giver})
    assert [type(error) for error in taker.failures] == [StorageFailed]
    assert taker.keeping.resets == []


def test_without_room_it_is_tried_again_with_the_next_offer() -> None:
    """A full disk ends nothing."""
    giver = Giver()
    giver.write(4)
    taker = Taker(failing_disk(errno.ENOSPC))
    taker.keeping.lacks_state = True
    taker.installer.offered(GIVER.node)
    carry(taker, {GIVER.node: giver})
    assert not taker.failures
    assert taker.keeping.resets == []
    taker.disk.on_operation = None
    taker.installer.offered(GIVER.node)
    carry(taker, {GIVER.node: giver})
    ends_like(taker, giver)


# -- without an offer


def test_a_start_without_state_takes_the_snapshot_of_its_own_disk() -> None:
    """It was fetched before a crash, and the log is still on its way."""
    giver, first = Giver(), lacking()
    giver.write(4)
    carry(first, {GIVER.node: giver})
    first.disk.crash(Random(0), CrashKind.LOSE)
    taker = Taker(first.disk)
    taker.keeping.lacks_state = True
    taker.installer.begin()
    taker.pass_time(SECOND)
    assert not taker.asked
    ends_like(taker, giver)


def test_a_start_without_state_asks_its_leader_if_it_has_none() -> None:
    """Its own have rotten."""
    giver, taker = Giver(), Taker()
    giver.write(4)
    taker.keeping.lacks_state = True
    taker.leader = None
    taker.installer.begin()
    taker.pass_time(SECOND)
    assert not taker.asked, "nobody leads"
    taker.leader = GIVER.node
    taker.pass_time(SECOND)
    carry(taker, {GIVER.node: giver})
    ends_like(taker, giver)


def test_apply_that_stands_still_goes_on_from_a_snapshot_behind_the_damage() -> None:
    """Everybody else has trimmed that entry: nobody can repair it."""
    giver, taker = Giver(), Taker()
    giver.write(4)
    taker.keeping.stuck_at = Index(2)
    taker.installer.begin()
    taker.pass_time(WATCH_NS)
    assert not taker.asked, "it may be a matter of a moment"
    taker.pass_time(WATCH_NS)
    carry(taker, {GIVER.node: giver})
    assert [base for base, _ in taker.keeping.resets] == [giver.start]
    taker.log_reaches(giver.machine.applied)
    assert taker.installer.installed == 1


def test_apply_that_stands_still_at_what_the_leader_has_waits_for_the_repair() -> None:
    """The entry is still in the leader's log."""
    giver, taker = Giver(), Taker()
    giver.write(4)
    taker.keeping.stuck_at = Index(TRIMMED + 1)
    taker.installer.begin()
    for _ in range(4):
        taker.pass_time(WATCH_NS)
        carry(taker, {GIVER.node: giver})
    assert taker.keeping.resets == []
    assert taker.installer.installed == 0


def test_what_was_fetched_does_not_count_for_the_log_that_was_here() -> None:
    """Found by reading: a crash between the last file and the reset of the log.

    The old log may be as long as the snapshot, and have other entries there, of a leader that
    nobody followed. A start believed that it led to the state, and that it was committed: this
    node contradicted every leader, and served what was never acknowledged.
    """
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})
    at = giver.machine.applied
    (left,) = taker.keeping.left
    end = Index(at + 5)
    old = BrokerShard.restore(left.fork().files(), "shard", INDEX_ZERO, end, Index(at - 1))
    assert old.machine.applied == 0
    new = BrokerShard.restore(left.fork().files(), "shard", TRIMMED, end, at)
    assert new.machine.digest() == giver.machine.digest(), "committed up to there: it is the log"


def test_what_was_fetched_counts_once_the_machine_has_it() -> None:
    """For the next start, and for peers that fetch it from here."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})
    at = giver.machine.applied
    assert taker.snapshots.indexes() == []
    ends_like(taker, giver)
    taker.disk.crash(Random(0), CrashKind.LOSE)
    files = taker.disk.files()
    assert SnapshotStore(files, "shard/snapshot").indexes() == [at]
    again = BrokerShard.restore(files, "shard", TRIMMED, at)
    assert again.machine.digest() == giver.machine.digest()


def test_a_snapshot_that_gets_no_name_ends_the_node() -> None:
    """The machine is not given what the next start would not find; nothing is tried again."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    carry(taker, {GIVER.node: giver})

    def fail(call: str, _path: str) -> None:
        if call == "rename":
            raise OSError(errno.EIO, "Input/output error")

    taker.disk.on_operation = fail
    taker.log_reaches(giver.machine.applied)
    taker.pass_time(SECOND)
    assert [type(failure) for failure in taker.failures] == [StorageFailed]
    assert (taker.machine.applied, taker.installer.installed) == (0, 0)


def test_what_is_fetched_again_and_again_leaves_the_own_states_alone() -> None:
    """The old log needs them, as long as it is here."""
    giver, taker = Giver(), lacking()
    for own in (1, 2):
        writing = taker.snapshots.begin(Index(own))
        writing.write([b"of the log that is here"])
        writing.finish()
    for _ in range(3):
        giver.write(1)
        taker.installer.offered(GIVER.node)
        carry(taker, {GIVER.node: giver})
        taker.pass_time(SECOND)
        taker.installer.offered(GIVER.node)
    assert taker.snapshots.indexes() == [2, 1]


def keep(store: SnapshotStore, at: int) -> None:
    """Write one more of the log that is here."""
    writing = store.begin(Index(at))
    writing.write([b"a state"])
    writing.finish()


def test_a_snapshot_that_was_installed_is_kept_beside_bad_newer_ones() -> None:
    """They are why it was fetched: the log here was trimmed, and no own state was good."""
    giver, taker = Giver(), lacking()
    giver.write(4)
    at = giver.machine.applied
    for bad in (at + 10, at + 20):
        keep(taker.snapshots, bad)
    again = Taker(taker.disk)
    again.installer.offered(GIVER.node)
    carry(again, {GIVER.node: giver})
    ends_like(again, giver)
    keep(again.snapshots, at + 5)
    assert again.snapshots.indexes() == [at + 5, at]


def test_what_a_start_has_passed_over_does_not_push_out_what_it_took() -> None:
    """The next one is of another index: that cut may be missed the second time."""
    giver = Giver()
    giver.write(4)
    newest, taken = giver.store.indexes()
    giver.disk.flip_bit(f"shard/snapshot/{newest:020d}.tables", 60, 3)
    shard = BrokerShard.restore(giver.disk.files(), "shard", TRIMMED, newest, newest)
    assert shard.machine.applied == taken
    keep(shard._snapshots, newest + 5)
    assert shard._snapshots.indexes() == [newest + 5, taken]

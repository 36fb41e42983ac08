"""Giving out a snapshot: piece by piece, each with its checksum, at a pace, whoever asks."""

import msgspec
import pytest
from crc32c import crc32c

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, Term
from raftlog.base.limits import CATCH_UP_BYTES_PER_S
from raftlog.broker import index
from raftlog.raft.rpcs import InstallRequest
from raftlog.service import install_source
from raftlog.service.install_source import FIRST_RANGE, HELD_NS, MANIFEST, TABLES, Manifest
from tests.service.installs import CONFIGURATION, TAKER, TRIMMED, Giver

PIECE = 40


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    monkeypatch.setattr(install_source, "CATCH_UP_PIECE_BYTES", PIECE)


def whole(giver: Giver, file: int, snapshot: int = 0) -> bytes:
    """Fetch a file."""
    data = b""
    while True:
        piece = giver.ask(file, len(data), snapshot)
        assert piece is not None
        assert piece.offset == len(data)
        assert len(piece.data) <= PIECE
        assert crc32c(piece.data) == piece.checksum
        data += bytes(piece.data)
        if len(data) >= piece.size:
            return data


def manifest_of(giver: Giver) -> Manifest:
    """Fetch the manifest of the newest snapshot."""
    return msgspec.msgpack.decode(whole(giver, MANIFEST), type=Manifest)


def test_the_files_of_the_newest_snapshot_are_given_as_they_are_on_the_disk() -> None:
    """The manifest names all of them, and where the log begins that leads on."""
    giver = Giver()
    giver.write(3)
    manifest = manifest_of(giver)
    at = giver.machine.applied
    assert (manifest.snapshot, manifest.base, manifest.configuration) == (
        at,
        giver.start,
        CONFIGURATION,
    )
    assert whole(giver, TABLES, at) == giver.store.read(at)
    assert [first for first, _ in manifest.ranges] == [4, 5, 7, 8, 9]
    for place, (first, checksum) in enumerate(manifest.ranges):
        data = whole(giver, FIRST_RANGE + place, at)
        assert data == giver.disk.content(f"shard/index/{first:020d}.qx")
        assert giver.index.read(first)[0].checksum == checksum


def test_who_has_no_snapshot_says_so() -> None:
    """An answer, not silence: the peer need not wait."""
    giver = Giver()
    for at in giver.store.indexes():
        giver.store.remove(at)
    giver.source._newest = None
    piece = giver.ask(MANIFEST)
    assert piece is not None
    assert (piece.size, bytes(piece.data)) == (0, b"")


@pytest.mark.parametrize("file", [TABLES, FIRST_RANGE, FIRST_RANGE + 7, 1 << 40])
@pytest.mark.parametrize("snapshot", [0, 2, 1 << 40])
def test_what_is_not_here_is_answered_with_nothing(file: int, snapshot: int) -> None:
    """Whatever a peer asks for."""
    giver = Giver()
    giver.write(3)
    manifest_of(giver)
    piece = giver.ask(file, 0, snapshot)
    assert piece is not None
    assert (piece.size, bytes(piece.data)) == (0, b"")
    behind = giver.ask(TABLES, 1 << 40, giver.machine.applied)
    assert behind is not None
    assert bytes(behind.data) == b""


def test_a_snapshot_whose_ranges_are_incomplete_is_not_offered() -> None:
    """It would be of no use, and the peer would begin again and again."""
    giver = Giver()
    giver.write(3)
    giver.disk.files().remove(f"shard/index/{5:020d}.qx")
    piece = giver.ask(MANIFEST)
    assert piece is not None
    assert piece.size == 0


def test_a_log_that_does_not_lead_on_from_the_ranges_is_not_offered() -> None:
    """Entries between them and the log's beginning are nowhere."""
    giver = Giver()
    giver.write(3)
    giver.start = LogEnd(Index(TRIMMED + 1), Term(2), 0)  # the snapshot says: trimmed to 3
    piece = giver.ask(MANIFEST)
    assert piece is not None
    assert piece.size == 0


def test_one_that_was_begun_is_given_to_its_end_though_newer_ones_come() -> None:
    """The disk keeps two; what is being read is held open."""
    giver = Giver()
    giver.write(2)
    at = manifest_of(giver).snapshot
    expected = giver.store.read(at)
    first = giver.ask(TABLES, 0, at)
    assert first is not None
    giver.write(3)
    assert at not in giver.store.indexes()
    data = bytes(first.data)
    while len(data) < first.size:
        piece = giver.ask(TABLES, len(data), at)
        assert piece is not None
        data += bytes(piece.data)
    assert data == expected


def test_another_one_goes_on_where_the_first_has_ended() -> None:
    """Equal states have equal files: one that was never asked for the manifest knows it, too."""
    first, second = Giver(), Giver()
    for giver in (first, second):
        giver.write(3)
    at = manifest_of(first).snapshot
    begun = first.ask(TABLES, 0, at)
    assert begun is not None
    rest = second.ask(TABLES, PIECE, at)
    assert rest is not None
    assert bytes(begun.data) + bytes(rest.data) == first.store.read(at)[: 2 * PIECE]


def test_pieces_leave_at_the_pace_of_all_that_peers_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks, and however often."""
    giver = Giver()
    giver.write(3)
    manifest_of(giver)
    monkeypatch.setattr(install_source, "CATCH_UP_PIECE_BYTES", 100)
    giver.scheduler.advance(10**9)
    size = giver.store.read(giver.machine.applied)
    assert len(size) >= 100
    for _ in range(10):
        giver.source.answer(TAKER.node, InstallRequest(giver.machine.applied, TABLES, 0))
    giver.reader.run()
    step_ns = 100 * 10**9 // CATCH_UP_BYTES_PER_S
    giver.scheduler.advance(0)
    for number in range(1, 10):
        assert len(giver.sent) == number
        giver.scheduler.advance(step_ns)
    assert len(giver.sent) == 10
    assert giver.source.bytes_sent >= 1_000


def test_nothing_is_trimmed_for_a_while_after_a_request() -> None:
    """The peer will want the log behind what it was given."""
    giver = Giver()
    giver.write(2)
    assert not giver.source.serves
    giver.ask(MANIFEST)
    assert giver.source.serves
    giver.scheduler.advance(HELD_NS)
    assert not giver.source.serves


def test_files_are_let_go_when_nobody_has_fetched_for_long() -> None:
    """One that a newer snapshot has pushed out takes its space until it is closed."""
    giver = Giver()
    giver.write(2)
    before = handles(giver)
    for file in (TABLES, FIRST_RANGE):
        assert whole(giver, file, manifest_of(giver).snapshot)
    giver.write(1)
    assert handles(giver) == before + 2, "the peer may go on"
    giver.scheduler.advance(HELD_NS)
    giver.write(1)
    giver.reader.run()
    assert handles(giver) == before


def handles(giver: Giver) -> int:
    """Count what is open."""
    opened: int = giver.store._files.open_count  # type: ignore[attr-defined]
    return opened + int(giver.index._files.open_count)  # type: ignore[attr-defined]

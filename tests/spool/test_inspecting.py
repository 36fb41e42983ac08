"""A spool looked at from outside: what it holds, and that nothing is changed."""

import threading
import time
from pathlib import Path

import pytest

from raftlog import Client, Spool
from raftlog.base.errors import DamagedLog, DirectoryForeign, DirectoryRefused, IncompatibleFormat
from raftlog.spool.contents import Spooled, encode_note
from raftlog.spool.inspecting import SpoolReport, inspect_spool
from raftlog.spool.journal import FORMAT, Identity, Journal
from raftlog.storage.files import OsFiles
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, request_late, until

NOWHERE = "127.0.0.1:1"


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def segment_of(directory: Path) -> Path:
    return max(directory.glob("*.spool"))


async def fill(directory: Path, *topics: str, begin_ms: int = 1_800_000_000_000) -> None:
    """Put a record for each of ``topics`` into a spool, a second apart."""
    now_ms = iter(range(begin_ms, begin_ms + 10**9, 1000))
    async with (
        Client(NOWHERE, timeout=5) as client,
        Spool(client, directory, now_ms=lambda: next(now_ms)) as spool,
    ):
        for number, topic in enumerate(topics):
            await spool.send(topic, b"%d" % number, key=b"k")


@pytest.mark.asyncio
async def test_what_waits_is_told_by_topic(tmp_path: Path) -> None:
    """How many, since when, and how large; and the directory is as it was."""
    await fill(tmp_path, "b", "a", "b")
    before = bytes_of(tmp_path)
    found = inspect_spool(tmp_path)
    assert bytes_of(tmp_path) == before
    assert (found.records, found.files, found.unfinished, found.damage) == (3, 1, 0, "")
    assert found.bytes == segment_of(tmp_path).stat().st_size
    assert [(each.topic, each.records, each.under_way) for each in found.topics] == [
        ("a", 1, 0),
        ("b", 2, 0),
    ]
    one, other = found.topics
    assert one.bytes + other.bytes == found.bytes
    assert found.oldest_ms == other.oldest_ms < one.oldest_ms


@pytest.mark.asyncio
async def test_a_spool_that_is_open_is_looked_at_too(tmp_path: Path) -> None:
    """What was perhaps sent is told apart; the spool itself notices nothing."""
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds, timeout=5) as client:
        cluster.fault(Method.APPEND, *[request_late] * 99)
        async with Spool(client, tmp_path) as spool:
            await spool.send("orders", b"0")
            await until(lambda: bool(cluster.late))
            await spool.send("orders", b"1")
            found = inspect_spool(tmp_path)
            assert [(each.records, each.under_way) for each in found.topics] == [(2, 1)]
            cluster.heal()
            await spool.flush(timeout=20)
            assert inspect_spool(tmp_path).records == 0
    assert cluster.values("orders") == [[b"0", b"1"]]


@pytest.mark.asyncio
async def test_an_end_that_was_never_promised_is_no_damage(tmp_path: Path) -> None:
    """The next opening cuts it; until then it stays."""
    await fill(tmp_path, "a")
    with segment_of(tmp_path).open("ab") as file:
        file.write(b"torn")
    before = bytes_of(tmp_path)
    found = inspect_spool(tmp_path)
    assert (found.records, found.unfinished, found.damage) == (1, 4, "")
    assert bytes_of(tmp_path) == before


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["mark", "identity", ".spool"])
async def test_damage_is_told_as_the_next_opening_tells_it(tmp_path: Path, name: str) -> None:
    """With file and place, and nothing is changed."""
    await fill(tmp_path, "a", "a")
    path = next(each for each in files_of(tmp_path) if each.name.endswith(name))
    data = bytearray(path.read_bytes())
    for at in (5, 4096 + 5, 2 * 4096 + 5):
        if at < len(data):
            data[at] ^= 255
    path.write_bytes(data)
    before = bytes_of(tmp_path)
    found = inspect_spool(tmp_path)
    assert str(path) in found.damage
    assert (found.records, found.topics) == (0, ())
    assert bytes_of(tmp_path) == before
    with pytest.raises(DamagedLog) as told:
        await fill(tmp_path)
    assert str(told.value) == found.damage


@pytest.mark.asyncio
async def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    """Of the mark, of the identity, of records."""
    await fill(tmp_path, "a")
    for path in files_of(tmp_path):
        if path.name in ("lock", "reserve"):
            continue
        data = path.read_bytes()
        path.unlink()
        assert (
            "mark" in inspect_spool(tmp_path).damage or path.name in inspect_spool(tmp_path).damage
        )
        path.write_bytes(data)
    assert not inspect_spool(tmp_path).damage


def test_what_is_no_spool_is_refused(tmp_path: Path) -> None:
    """No directory, an empty one, one of something else, and one of a later version."""
    with pytest.raises(DirectoryForeign, match="is no directory"):
        inspect_spool(tmp_path / "none")
    with pytest.raises(DirectoryForeign, match="no spool's"):
        inspect_spool(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(DirectoryRefused):
            inspect_spool(path)

    later = tmp_path / "later"
    journal = Journal.open(OsFiles(), str(later), 1000)
    journal.rename_to(Identity(FORMAT + 1, 0, 0))
    journal.close()
    with pytest.raises(IncompatibleFormat):
        inspect_spool(later)
    (later / "more").mkdir()
    with pytest.raises(DirectoryForeign, match="'more'"):
        inspect_spool(later)


def test_a_spool_that_was_just_made_is_empty(tmp_path: Path) -> None:
    """Nothing waits in it."""
    Journal.open(OsFiles(), str(tmp_path), 1000).close()
    assert inspect_spool(tmp_path) == SpoolReport(str(tmp_path), 0, 0, 0, None, (), 0, "")


@pytest.mark.long
def test_one_that_is_written_all_the_time_never_looks_damaged(tmp_path: Path) -> None:
    """Files come and go while it is copied.

    Schedule: the mark is copied; two files are removed and a third one begins; then the files
    are copied, of which the mark's oldest is missing.
    """
    journal = Journal.open(OsFiles(), str(tmp_path), 300)
    note = encode_note(Spooled("t", None, 1, b"v" * 50, None, (), 1, None, None))
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            (place,) = journal.append([note])
            journal.drop_before(place.segment)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = set()
        until_s = time.monotonic() + 2
        while time.monotonic() < until_s:
            found = inspect_spool(tmp_path)
            assert not found.damage
            seen.add(found.records)
        assert seen
    finally:
        over.set()
        thread.join()
        journal.close()

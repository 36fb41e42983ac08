"""Rot that the suite makes is damage by the product's own reading, and is known when mended."""

from pathlib import Path
from random import Random
from typing import Final

import pytest

from chaos.live.damage import SHARD, rot_beside, rot_entries
from raftlog.base.entry import EntryKind, seal
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.writes import WriteEntries
from raftlog.server.inspection import verify_directory
from raftlog.storage.directory import form_cluster
from raftlog.storage.files import OsFiles
from raftlog.storage.hard_state import HardStateFile
from raftlog.storage.log_store import LogStore, StoreOptions
from tests.broker.histories import History
from tests.golden.make import small_ranges

ENTRIES: Final = 60
SMALL: Final = StoreOptions(segment_bytes=4096)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A stopped node's directory: a log of some segments, ranges, and a snapshot."""
    path = tmp_path / "n1"
    form_cluster({NodeId("n1"): path}, options=SMALL)
    store = LogStore.open(OsFiles(), str(path / SHARD), SMALL)
    for number in range(ENTRIES - 1):
        end = store.end
        body = [b"%d" % number * 100]
        index = Index(end.index + 1)
        entry = seal(EntryKind.NOOP, Term(1), index, end.checksum, body)
        write = WriteEntries(WriteNumber(number + 1), None, (entry,))
        plan = store.plan([write], Index(1))
        plan.perform()
        store.complete(plan)
    closing = store.plan_close()
    closing.perform()
    store.complete(closing)
    with small_ranges():
        history = History(7).run(120)
        sealed = history.machine.take_sealed()
        frozen = history.machine.take_snapshot()
    assert frozen is not None, "a cut without tables"
    for each in sealed:
        put(path / SHARD / f"index/{each.first_index:020d}.qx", bytes(each.encoded))
    put(path / SHARD / f"snapshot/{frozen.index:020d}.tables", b"".join(frozen.chunks()))
    return path


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def damage(data: Path) -> list[tuple[str, str]]:
    (shard,) = verify_directory(str(data)).shards
    return [(Path(each.file).name, each.what) for each in shard.findings]


@pytest.mark.parametrize("seed", range(12))
def test_entries_that_rot_are_damaged(data: Path, seed: int) -> None:
    assert damage(data) == []
    rotten = rot_entries(data, 20, ENTRIES, Random(seed))
    assert 1 <= len(rotten) <= 4
    assert set(rotten) <= set(range(20, ENTRIES + 1))
    found = " ".join(what for _, what in damage(data))
    assert all(str(index) in found or "entries" in found for index in rotten), (rotten, found)


def test_an_empty_place_has_nothing_to_rot(data: Path) -> None:
    assert rot_entries(data, ENTRIES + 1, ENTRIES + 9, Random(1)) == []
    assert damage(data) == []


def test_what_rots_beside_the_log_is_bad_until_it_is_mended(data: Path) -> None:
    suffixes = set()
    for seed in range(12):
        state, beside = rot_beside(data, Random(seed))
        assert state.path.name == "hard.state"
        suffixes.add(beside.path.suffix)
        for each in (state, beside):
            assert each.is_there
            assert not each.is_mended
        assert {name for name, _ in damage(data)} >= {beside.path.name}

        HardStateFile.open(OsFiles(), str(state.path)).close()  # a node's start
        assert state.is_mended
        beside.path.write_bytes(beside.before[:-1])
        assert not beside.is_mended
        beside.path.write_bytes(beside.before)
        assert beside.is_mended
    assert suffixes == {".qx", ".tables"}


def test_what_was_trimmed_was_not_mended(data: Path) -> None:
    _, beside = rot_beside(data, Random(1))
    beside.path.unlink()
    assert not beside.is_there
    assert not beside.is_mended

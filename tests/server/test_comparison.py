"""Two directories of one cluster: what is committed must be alike, the rest need not."""

from pathlib import Path

import pytest

from raftlog.base.errors import Refused
from raftlog.base.ids import NodeId, Term
from raftlog.base.writes import HardState
from raftlog.server.comparison import compare_directories
from raftlog.storage.directory import form_cluster
from raftlog.storage.files import OsFiles
from raftlog.storage.log_store import StoreOptions
from raftlog.storage.new_log import create_log
from tests.server.test_inspection import append, flip, segments
from tests.storage.logs import chain

Pair = tuple[Path, Path]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two nodes with the same forty entries, of which they know only the first as committed."""
    paths = (tmp_path / "n1", tmp_path / "n2")
    form_cluster({NodeId("n1"): paths[0], NodeId("n2"): paths[1]})
    for path in paths:
        append(path, 39)
    return paths


def replace(path: Path, count: int, other_from: int) -> None:
    """Write a node's log anew: ``count`` entries, others from an index on."""
    entries = chain(other_from - 1)
    entries += chain(count - other_from + 1, after=entries[-1].end, term=2)
    create_log(
        *(OsFiles(), str(path / "shards/0"), StoreOptions(), HardState(Term(2)), entries),
    )


def test_equal_logs_are_equal(pair: Pair) -> None:
    """Entry by entry."""
    found = compare_directories(*map(str, pair))
    (shard,) = found.shards
    assert (found.is_different, shard.entries, shard.last_equal) == (False, 40, 40)


def test_one_that_lags_is_no_difference(pair: Pair) -> None:
    """Its entries are the same."""
    append(pair[0], 10)
    (shard,) = compare_directories(*map(str, pair)).shards
    assert (shard.entries, shard.last_equal, shard.differences) == (40, 40, ())


def test_another_committed_entry_is_a_difference(pair: Pair) -> None:
    """Each checksum of it is good; all behind it differ too, and some are told."""
    replace(pair[1], 40, other_from=20)
    append(pair[0], 1)
    found = compare_directories(*map(str, pair))
    assert found.is_different
    (shard,) = found.shards
    assert shard.differences[0].what == "entry 1", "of another log altogether"


def test_damage_is_no_difference(pair: Pair) -> None:
    """It is repaired; what it was cannot be compared."""
    (segment,) = segments(pair[0])
    flip(segment, segment.read_bytes().find(b"a body") + 3)
    (shard,) = compare_directories(*map(str, pair)).shards
    assert (shard.damaged, shard.entries, shard.differences) == (1, 39, ())


@pytest.mark.parametrize(("folder", "suffix"), [("index", "qx"), ("snapshot", "tables")])
def test_files_of_one_name_are_alike(pair: Pair, folder: str, suffix: str) -> None:
    """Index ranges and snapshots; a file that only one has is none of two."""
    for number, path in enumerate(pair):
        place = path / f"shards/0/{folder}"
        place.mkdir(exist_ok=True)
        (place / f"1.{suffix}").write_bytes(b"same")
        (place / f"2.{suffix}").write_bytes(b"other%d" % number)
    (pair[0] / f"shards/0/{folder}/3.{suffix}").write_bytes(b"alone")
    (shard,) = compare_directories(*map(str, pair)).shards
    assert (shard.files, [each.what for each in shard.differences]) == (
        2,
        [f"shards/0/{folder}/2.{suffix}"],
    )


def test_directories_that_cannot_be_compared_are_refused(pair: Pair, tmp_path: Path) -> None:
    """Of another cluster, or twice the same one."""
    form_cluster({NodeId("n1"): tmp_path / "x"})
    with pytest.raises(Refused, match="cluster"):
        compare_directories(str(pair[0]), str(tmp_path / "x"))
    with pytest.raises(Refused, match="one directory"):
        compare_directories(str(pair[0]), str(pair[0]))

"""Index files: durable before they count, and used only as an unbroken chain."""

import os
from pathlib import Path

import msgspec
import pytest

from raftlog.base.errors import CorruptFrame, DamagedLog
from raftlog.base.ids import Index
from raftlog.storage.files import OsFiles
from raftlog.storage.offset_index import LOADED_MAX, OffsetIndex


class Range(msgspec.Struct, frozen=True):
    """The smallest thing that has a first and a last index."""

    first_index: Index
    last_index: Index


def encoded(first: int, last: int) -> bytes:
    return b"%d-%d;" % (first, last)


def parse(data: bytes) -> tuple[Range, bytes]:
    if not data.endswith(b";"):
        raise CorruptFrame("no end")
    first, last = data[:-1].split(b"-")
    return Range(Index(int(first)), Index(int(last))), data


def opened(path: Path) -> OffsetIndex[Range, bytes]:
    return OffsetIndex(OsFiles(), f"{path}/index", parse)


def stored(path: Path, *ranges: tuple[int, int]) -> OffsetIndex[Range, bytes]:
    index = opened(path)
    for first, last in ranges:
        index.store(Index(first), encoded(first, last))
    return index


def chain(path: Path, through: int = 1_000) -> list[tuple[int, int]]:
    return [(each.first_index, each.last_index) for each in opened(path).chain(Index(through))]


def test_a_range_is_found_again_under_its_first_index(tmp_path: Path) -> None:
    """20 digits, so that names sort as indexes do."""
    stored(tmp_path, (1, 9))
    assert [path.name for path in (tmp_path / "index").iterdir()] == [f"{1:020d}.qx"]
    assert opened(tmp_path).read(Index(1)) == (Range(Index(1), Index(9)), encoded(1, 9))


def test_an_empty_directory_has_no_ranges(tmp_path: Path) -> None:
    """A new shard."""
    assert chain(tmp_path) == []


CHAINS: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {
    "unbroken": ([(1, 9), (10, 20), (21, 21)], [(1, 9), (10, 20), (21, 21)]),
    "begins later": ([(5, 9), (10, 20)], []),
    "gap": ([(1, 9), (11, 20)], [(1, 9)]),
}


@pytest.mark.parametrize("case", CHAINS)
def test_ranges_count_as_far_as_they_follow_one_another(tmp_path: Path, case: str) -> None:
    """An offset is the sum of everything before it; nothing may be missing."""
    ranges, used = CHAINS[case]
    stored(tmp_path, *ranges)
    assert chain(tmp_path) == used


@pytest.mark.parametrize(("through", "count"), [(8, 0), (9, 1), (19, 1), (20, 2), (50, 2)])
def test_an_index_never_knows_more_than_its_log(tmp_path: Path, through: int, count: int) -> None:
    """Offsets without entries would be a hole that acked records fall into."""
    stored(tmp_path, (1, 9), (10, 20))
    assert len(chain(tmp_path, through)) == count


def test_a_bad_range_ends_the_chain_and_is_written_again(tmp_path: Path) -> None:
    """Replay makes the same bytes; what is behind it counts again then."""
    index = stored(tmp_path, (1, 9), (10, 20), (21, 30))
    (tmp_path / "index" / f"{10:020d}.qx").write_bytes(b"10-2")
    assert chain(tmp_path) == [(1, 9)]
    with pytest.raises(DamagedLog, match="damaged"):
        index.read(Index(10))
    index.store(Index(10), encoded(10, 20))
    assert chain(tmp_path) == [(1, 9), (10, 20), (21, 30)]


def test_a_range_under_a_foreign_name_is_refused(tmp_path: Path) -> None:
    """A good file in the wrong place would shift every offset behind it."""
    stored(tmp_path, (1, 9))
    (tmp_path / "index" / f"{1:020d}.qx").rename(tmp_path / "index" / f"{10:020d}.qx")
    with pytest.raises(DamagedLog, match="holds the range from 1"):
        opened(tmp_path).read(Index(10))


def test_a_half_written_range_is_no_range(tmp_path: Path) -> None:
    """A crash before the rename leaves only the temporary name."""
    stored(tmp_path, (1, 9))
    (tmp_path / "index" / f"{10:020d}.qx.new").write_bytes(encoded(10, 20))
    assert chain(tmp_path) == [(1, 9)]
    stored(tmp_path, (10, 11))
    assert chain(tmp_path) == [(1, 9), (10, 11)]


def test_the_bytes_are_synced_before_the_name_and_the_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without its bytes would be a bad range after a power cut."""
    calls: list[str] = []
    for owner, name in (
        (os, "pwritev"),
        (os, "fdatasync"),
        (os, "replace"),
        (os, "fsync"),
    ):
        real = getattr(owner, name)

        def spy(*args: object, real: object = real, name: str = name) -> object:
            calls.append(name)
            return real(*args)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, spy)
    stored(tmp_path, (1, 9))
    assert calls == ["fsync", "pwritev", "fdatasync", "replace", "fsync"]


def test_the_ranges_used_last_stay_in_memory(tmp_path: Path) -> None:
    """Readers walk forward: the one used longest ago is not needed again soon."""
    index = opened(tmp_path)
    for first in range(1, LOADED_MAX + 1):
        index.keep(Index(first), b"%d" % first)
    assert index.cached(Index(1)) == b"1"
    index.keep(Index(9), b"9")
    assert [index.cached(Index(first)) is None for first in (1, 2, 9)] == [False, True, False]

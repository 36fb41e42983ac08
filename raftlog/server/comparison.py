"""Whether two data directories agree (ruling 27).

Identical means: the same frame bytes for each index that both have, up to where both are known
to be committed; the same bytes of index ranges and of snapshots of one index. Files may differ.
An entry's chain value covers its frame and every frame before it, so it is compared instead.

Nothing is changed, and nodes may run meanwhile: what one has already and the other has not yet
is no difference.
"""

from collections.abc import Iterator

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Entry
from raftlog.base.errors import Refused, StorageFailed
from raftlog.server.finding import Finding
from raftlog.server.inspection import ReadOnlyFiles, identity_of, log_of
from raftlog.storage.files import Files

_FOLDERS = (("index", ".qx"), ("snapshot", ".tables"))
Log = Iterator[tuple[int, Entry | Finding]]
DIFFERENCES_MAX = 20
"""Differences that are told, for each shard; one in the log makes all behind it differ."""


class Difference(msgspec.Struct, frozen=True):
    """Something that both have, and not alike."""

    what: str
    first: str
    second: str


class ShardComparison(msgspec.Struct, frozen=True):
    """One shard in two directories.

    ``entries`` are those that both have and that are good in both; ``damaged`` ones are good in
    at most one, and prove nothing.
    """

    shard: int
    entries: int
    last_equal: int
    files: int
    damaged: int
    differences: tuple[Difference, ...]


class Comparison(msgspec.Struct, frozen=True):
    """Two data directories."""

    first: str
    second: str
    shards: tuple[ShardComparison, ...]

    @property
    def is_different(self) -> bool:
        """Whether something differs that must not."""
        return any(shard.differences for shard in self.shards)


def compare_directories(first: str, second: str) -> Comparison:
    """Read two data directories and compare what must be alike.

    Raises:
        DirectoryRefused: One is not formatted, or of another format.
        Refused: They are of two clusters, or one and the same directory.
    """
    files = ReadOnlyFiles()
    identities = [identity_of(files, path) for path in (first, second)]
    if identities[0].cluster != identities[1].cluster:
        raise Refused(
            f"{first} belongs to cluster {identities[0].cluster}, {second} to "
            f"{identities[1].cluster}; name directories of one cluster"
        )
    if identities[0].directory == identities[1].directory:
        raise Refused(f"{first} and {second} are one directory, or a copy; name two nodes'")
    shards = range(len(identities[0].shards))
    compared = tuple(_compare_shard(files, first, second, shard) for shard in shards)
    return Comparison(first, second, compared)


def _compare_shard(files: Files, first: str, second: str, shard: int) -> ShardComparison:
    logs = [log_of(path, shard) for path in (first, second)]
    # What one node knows to be committed is committed, whatever the other knows of it.
    commit = max(known for known, _ in logs)
    differences: list[Difference] = []
    entries = damaged = last_equal = 0
    for index, ours, theirs in _pairs(logs[0][1], logs[1][1]):
        if isinstance(ours, Finding) or isinstance(theirs, Finding):
            damaged += 1
            continue
        entries += 1
        if ours.checksum == theirs.checksum:
            last_equal = index
        elif index <= commit and len(differences) < DIFFERENCES_MAX:
            told = [f"term {e.term}, chain value {e.checksum:08x}" for e in (ours, theirs)]
            differences.append(Difference(f"entry {index}", *told))
    count = 0
    for name in _common_files(files, first, second, shard):
        contents = [_content(files, f"{path}/{name}") for path in (first, second)]
        count += 1
        if contents[0] != contents[1]:
            told = [f"{len(each)} bytes, crc32c {crc32c(each):08x}" for each in contents]
            differences.append(Difference(name, *told))
    return ShardComparison(shard, entries, last_equal, count, damaged, tuple(differences))


def _pairs(first: Log, second: Log) -> Iterator[tuple[int, Entry | Finding, Entry | Finding]]:
    """Yield what both have."""
    ours, theirs = next(first, None), next(second, None)
    while ours is not None and theirs is not None:
        if ours[0] < theirs[0]:
            ours = next(first, None)
        elif theirs[0] < ours[0]:
            theirs = next(second, None)
        else:
            yield ours[0], ours[1], theirs[1]
            ours, theirs = next(first, None), next(second, None)


def _common_files(files: Files, first: str, second: str, shard: int) -> list[str]:
    found: list[str] = []
    for folder, suffix in _FOLDERS:
        place = f"shards/{shard}/{folder}"
        names = [set(files.list(f"{path}/{place}")) for path in (first, second)]
        both = sorted(names[0] & names[1])
        found.extend(f"{place}/{name}" for name in both if name.endswith(suffix))
    return found


def _content(files: Files, path: str) -> bytes:
    try:
        file = files.open(path)
    except StorageFailed:
        return b""  # removed meanwhile, as old snapshots are
    try:
        return file.pread(file.size(), 0)
    except OSError:
        return b""
    finally:
        file.close()

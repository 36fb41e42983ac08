"""Rot on the disk of a node that is stopped: bits that flip where a checksum shows it.

Whatever is flipped here is damage by the product's own reading, or it is not counted.
"""

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from raftlog.base.entry import Entry
from raftlog.base.errors import CorruptFrame, IncompatibleFormat
from raftlog.base.ids import Index
from raftlog.base.limits import BLOCK_BYTES
from raftlog.broker.ranges import parse_range
from raftlog.broker.snapshot import is_snapshot
from raftlog.server.inspection import entries_of
from raftlog.storage import hard_state

SHARD: Final = "shards/0"
ENTRIES: Final = (1, 4)
LOOKED_AT: Final = 20
"""Entries that follow one another, of which some are hit."""
TRIES: Final = 8


class Rotten(msgspec.Struct, frozen=True):
    """One file with rot in it.

    Attributes:
        path: The file.
        before: What it was before.
        is_good: Whether bytes are, by their checksums.
        changes: Whether a good one may have other bytes now.
    """

    path: Path
    before: bytes
    is_good: Callable[[bytes], bool]
    changes: bool = False

    @property
    def is_there(self) -> bool:
        """Whether there is such a file; a log that is trimmed lets go of some."""
        return self.path.exists()

    @property
    def is_mended(self) -> bool:
        """Whether it is what it was before, or good if it may change."""
        try:
            now = self.path.read_bytes()
        except FileNotFoundError:
            return False
        return self.is_good(now) if self.changes else now == self.before


def rot_entries(data: Path, first: int, last: int, random: Random) -> list[int]:
    """Flip a bit in some entries from ``first`` to ``last``; return which ones. Blocks."""
    begin = random.randint(first, last)
    near = entries_of(str(data), 0, begin, min(last, begin + LOOKED_AT))
    found = [each for each in islice(near, LOOKED_AT) if isinstance(each, Entry)]
    chosen = random.sample(found, min(len(found), random.randint(*ENTRIES)))
    return sorted(int(each.index) for each in chosen if _rot_entry(data, each, random))


def _rot_entry(data: Path, entry: Entry, random: Random) -> bool:
    frame = bytes(entry.frame)
    for path in sorted((data / SHARD / "log").glob("*.seg")):
        at = path.read_bytes().find(frame)
        if at >= 0:
            _flip(path, at + random.randrange(len(frame)), random.randrange(8))
            return True
    return False


def rot_beside(data: Path, random: Random) -> list[Rotten]:
    """Flip a bit in a copy of term and vote, and in an index range or a snapshot. Blocks."""
    shard = data / SHARD
    state = (shard / "hard.state").read_bytes()
    used = [at for at, byte in enumerate(state) if byte]
    found = [_rot(shard / "hard.state", used, _is_whole_state, random)]
    kinds = {"index": "*.qx", "snapshot": "*.tables"}
    there = {name: sorted((shard / name).glob(each)) for name, each in kinds.items()}
    if any(there.values()):
        path = random.choice(there[random.choice([name for name in kinds if there[name]])])
        whole = range(path.stat().st_size)
        found.append(_rot(path, whole, _check_of(path), random))
    return [each for each in found if each is not None]


def _rot(
    path: Path, places: Sequence[int], is_good: Callable[[bytes], bool], random: Random
) -> Rotten | None:
    """Flip one bit so that the file is bad; None if no bit that was tried makes it so."""
    before = path.read_bytes()
    for at in random.sample(places, min(TRIES, len(places))):
        bit = random.randrange(8)
        _flip(path, at, bit)
        if not is_good(path.read_bytes()):
            return Rotten(path, before, is_good, changes=path.name == "hard.state")
        _flip(path, at, bit)
    return None


def _flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))
        file.flush()
        os.fsync(file.fileno())


def _is_whole_state(content: bytes) -> bool:
    """Whether both copies are good and of the same promise."""
    copies = [hard_state.decode(content[at : at + BLOCK_BYTES]) for at in (0, BLOCK_BYTES)]
    return copies[0] is not None and copies[0] == copies[1]


def _check_of(path: Path) -> Callable[[bytes], bool]:
    if path.suffix == ".tables":
        return lambda content: is_snapshot(content, Index(int(path.stem)))
    return _is_range


def _is_range(content: bytes) -> bool:
    try:
        parse_range(content)
    except (CorruptFrame, IncompatibleFormat):
        return False
    return True

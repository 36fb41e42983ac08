"""What may fill a hole in the log: the same entries, proven by the chain (ruling 20)."""

from array import array
from collections.abc import Sequence
from itertools import pairwise

from raftlog.base.entry import (
    HEADER_BYTES,
    Buffer,
    Entry,
    LogEnd,
    check_link,
    parse_header,
)
from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import Index
from raftlog.storage.files import Files
from raftlog.storage.segment import Hole, Segment
from raftlog.storage.span import load_positions
from raftlog.storage.unit import UNIT_BYTES, Unit, encode_unit


def identity_of(files: Files, segment: Segment, hole: Hole, end: LogEnd) -> int | None:
    """Return the chain value that the hole's last entry must have (ruling 20).

    Its successor stores it; nothing may be put in place that does not prove
    itself, or a peer's uncommitted entry of another term could get there.
    """
    if hole.checksum is not None:
        return hole.checksum
    if hole.last == end.index:
        return end.checksum
    if hole.last == segment.end.index:
        return segment.end.checksum
    positions = load_positions(files, segment)
    own = hole.first == hole.last
    for index, field in ((hole.last + 1, "previous"), (hole.last, "checksum" if own else "")):
        if not field or segment.hole_at(Index(index)) not in (None, hole):
            continue
        try:
            data = segment.file.pread(HEADER_BYTES, positions[index - segment.first_index])
            header = parse_header(data, 0)[0]
        except (OSError, CorruptFrame):
            continue
        if header.index == index:
            found: int = header.previous if field == "previous" else header.checksum
            return found
    return None


def frames_for(hole: Hole, entries: Sequence[Entry], identity: int | None) -> list[Buffer] | None:
    """Return what to write into the hole; None if these are not the lost entries, or not all."""
    if identity is None or len(entries) != hole.last - hole.first + 1:
        return None
    try:
        if hole.before.checksum >= 0:
            check_link(hole.before, entries[0])
        for before, entry in pairwise(entries):
            check_link(before, entry)
    except CorruptFrame:
        return None
    if entries[-1].checksum != identity:
        return None
    frames: list[Buffer] = [entry.frame for entry in entries]
    total = sum(map(len, frames))
    if hole.length in (0, total):
        return frames
    heads, rest = divmod(hole.length - total, UNIT_BYTES)
    if heads < 1 or rest:
        return None
    # Heads of units were lost too. Their numbers are only compared with "newer than", and a
    # scan takes heads anywhere, so what counts is that the hole is filled exactly.
    head: Buffer = encode_unit(Unit(0, total, hole.before, Index(0)))
    return [head, *frames, *[head] * (heads - 1)]


def place(segment: Segment, hole: Hole, frames: list[Buffer]) -> None:
    """Note where the repaired entries lie now."""
    segment.changes += 1
    positions = segment.positions
    if positions is None:
        return
    position = hole.position
    index = hole.first - segment.first_index
    for frame in frames:
        if len(frame) != UNIT_BYTES or bytes(frame[:4]) != b"RLUN":
            positions[index] = position
            index += 1
        position += len(frame)
    if not hole.length:
        segment.end_position = max(segment.end_position, position)


def frame_length(segment: Segment, positions: "array[int]", index: Index) -> int:
    """Return the bytes of the frame at ``index``; 0 if the damage hides where it ends."""
    position = positions[index - segment.first_index]
    try:
        _, length, _ = parse_header(segment.file.pread(HEADER_BYTES, position), 0)
    except (OSError, CorruptFrame):
        heads = segment.unit_starts
        if heads and heads[0] < positions[0]:
            # Heads are known. Not so in a segment that a truncation opened again.
            return segment.true_end_of(positions, index) - position
        return 0
    return HEADER_BYTES + length

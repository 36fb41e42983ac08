"""What may fill a hole in the log: the same entries, proven by the chain (ruling 20)."""

from array import array
from bisect import insort
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec import structs

from raftlog.base.entry import (
    HEADER_BYTES,
    Buffer,
    Entry,
    LogEnd,
    check_links,
    parse_entry,
    parse_header,
)
from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import Index
from raftlog.storage.entry_places import EntryPlaces
from raftlog.storage.files import File, Files
from raftlog.storage.performer import LogPerformer
from raftlog.storage.scan import ZEROS
from raftlog.storage.segment import Hole, Segment
from raftlog.storage.span import load_places
from raftlog.storage.unit import UNIT_BYTES, UNIT_MAGIC, Unit, encode_unit

REWRITTEN_MAX: Final = 64
"""Good entries that are written again so that what was lost before them has room."""


def filling(
    files: Files, segment: Segment, hole: Hole, entries: Sequence[Entry]
) -> tuple[Hole, Sequence[Entry], list[Buffer]] | None:
    """Return the hole to fill, with what, and their bytes; None if these are not what was lost.

    The last one must have the hole's chain value: nothing may be put in place that does not
    prove itself, or a peer's uncommitted entry of another term could get there.

    A misdirected write may have put a copy of what follows the damage further forward, into the
    place of what was lost::

        was     | 6 | 7 | 8 | 9 | 10 |
        is      | 6 | ?.. |9|  ..| 10 |        7 and 8 do not fit before that 9

    Then the good entries behind are written again, too, as many as it takes.
    """
    if not _are_lost(hole, entries):
        return None
    wider, whole = hole, list(entries)
    places = load_places(files, segment)
    for _ in range(REWRITTEN_MAX):
        if not wider.length or sum([len(entry.frame) for entry in whole]) <= wider.length:
            break
        found = _with_next(segment, places, wider)
        if found is None:
            return None
        wider, more = found
        whole += more
    else:
        return None
    if wider is not hole:
        segment.holes = [wider if each is hole else each for each in segment.holes]
        segment.index_fits = False
    return wider, whole, _frames_for(segment, wider, whole)


def _are_lost(hole: Hole, entries: Sequence[Entry]) -> bool:
    if len(entries) != hole.last - hole.first + 1:
        return False
    try:
        check_links(hole.before, entries)
    except CorruptFrame:
        return False
    return entries[-1].checksum == hole.checksum


def _with_next(
    segment: Segment, places: EntryPlaces, hole: Hole
) -> tuple[Hole, list[Entry]] | None:
    """Return the hole with the good entry behind it, and that; None if it is damaged, too."""
    following = Index(hole.last + 1)
    if following > segment.end.index:
        # Nothing of this segment is behind it: what it takes may go beyond.
        return structs.replace(hole, length=0, is_blank=False), []
    if segment.hole_at(following) is not None:
        return None
    number = following - segment.first_index
    start = places.positions[number]
    end = segment.true_end_of(places.positions, following)
    try:
        entry = parse_entry(segment.file.pread(end - start, start), 0)
    except (OSError, CorruptFrame):
        return None
    if entry.checksum != places.checksums[number] or entry.index != following:
        return None
    wider = structs.replace(
        hole,
        last=following,
        length=end - hole.position,
        checksum=entry.checksum,
        term=entry.term,
        is_blank=False,
    )
    return wider, [entry]


def _frames_for(segment: Segment, hole: Hole, entries: Sequence[Entry]) -> list[Buffer]:
    """Return what to write into the hole, which has room for these entries.

    A tail, with nothing behind it, gets a unit head of its own: the unit before it may be older
    than a truncation that these entries came after (``SegmentScan.forget_branch``).
    """
    frames: list[Buffer] = [entry.frame for entry in entries]
    total = sum(map(len, frames))
    tail = hole.last == segment.end.index and not segment.sealed
    heads, rest = divmod(hole.length - total, UNIT_BYTES) if hole.length else (int(tail), 0)
    # A misdirected write may have put what follows further back than it was: zeros lead there.
    spare = [ZEROS[:rest]] if rest else []
    if not heads:
        return [*frames, *spare]
    # Heads of units were lost too. Nobody knows their numbers, and 0 claims nothing.
    ahead = LogEnd(Index(hole.first - 1), hole.before.term, entries[0].previous)
    frames.insert(0, encode_unit(Unit(0, total, ahead, Index(0)), segment.salt, hole.position))
    empty = Unit(0, 0, entries[-1].end, Index(0))
    position = hole.position + UNIT_BYTES + total
    rest_of_it = range(position, position + (heads - 1) * UNIT_BYTES, UNIT_BYTES)
    return [*frames, *(encode_unit(empty, segment.salt, at) for at in rest_of_it), *spare]


def steps_of_blanking(
    do: LogPerformer, segment: Segment, hole: Hole, segment_bytes: int
) -> list[Callable[[], None]]:
    """Return how to make zeros of what lies in a hole of several entries, before it is filled.

    Heads of units were lost with them, nobody knows where, so the entries may come to lie
    elsewhere than before. What a crash in the middle leaves would be read by the old headers::

        before   |head|  9  |head|  10  |head| 11 |
        filled   |  9  |   10   | 11 |                 11 is put in place first, then a crash:
        read     |head|  9 ..  ..11 |                  the old 9 says that it goes on in the new 11

    Its ``.idx`` goes too if it says where they lay.
    """
    steps: list[Callable[[], None]] = []
    if not segment.index_fits:
        steps.append(partial(do.remove_index, segment.index_path))
    if hole.is_blank or hole.first == hole.last:
        return steps  # one entry lies where it lay
    file = segment.file
    if hole.length:
        steps.append(partial(_write_zeros, do, file, hole.position, hole.length))
    else:
        steps.append(partial(file.truncate, hole.position))
        steps.append(partial(do.reserve, file, max(segment_bytes, hole.position)))
    return [*steps, partial(do.sync, file)]


def _write_zeros(do: LogPerformer, file: File, position: int, length: int) -> None:
    for at in range(position, position + length, len(ZEROS)):
        do.write(file, [ZEROS[: position + length - at]], at)


def steps_of_repair(
    do: LogPerformer, segment: Segment, hole: Hole, frames: list[Buffer], segment_bytes: int
) -> list[Callable[[], None]]:
    """Return how to write them, durably."""
    file = segment.file
    steps = steps_of_blanking(do, segment, hole, segment_bytes)
    steps.append(partial(do.write, file, frames, hole.position))
    if not hole.length and hole.last == segment.end.index:
        # What lay behind the damage is no part of the log, and appends go on here.
        stop = hole.position + sum(map(len, frames))
        steps.append(partial(file.truncate, stop))
        steps.append(partial(do.reserve, file, max(segment_bytes, stop)))
    return [*steps, partial(do.sync, file)]


def place(segment: Segment, hole: Hole, frames: list[Buffer]) -> None:
    """Note where the repaired entries lie now."""
    segment.changes += 1
    places = segment.places
    if places is None:
        return
    position = hole.position
    is_tail = not hole.length and hole.last == segment.end.index
    stop = segment.end_position if is_tail else position + sum(map(len, frames))
    if segment.unit_starts is not None:
        kept = [at for at in segment.unit_starts if not position <= at < stop]
        segment.unit_starts = array("I", kept)
    index = hole.first - segment.first_index
    for frame in frames:
        magic = bytes(frame[: len(UNIT_MAGIC)])
        if magic == UNIT_MAGIC:
            if segment.unit_starts is not None:
                insort(segment.unit_starts, position)
        elif any(magic):
            places.positions[index] = position
            places.checksums[index] = parse_header(frame, 0)[0].checksum
            index += 1
        position += len(frame)
    if not hole.length:
        segment.end_position = max(segment.end_position, position)


def hole_of(segment: Segment, places: EntryPlaces, index: Index) -> Hole:
    """Return the damage of one entry that turned out bad when it was read."""
    number = index - segment.first_index
    before = Index(index - 1)
    return Hole(
        *(index, index, places.positions[number], _frame_length(segment, places, index)),
        *(LogEnd(before, segment.term_of(before), -1), places.checksums[number]),
        segment.term_of(index),
        terms_known=True,
    )


def _frame_length(segment: Segment, places: EntryPlaces, index: Index) -> int:
    """Return the bytes of the frame at ``index``; 0 if the damage hides where it ends."""
    positions = places.positions
    number = index - segment.first_index
    position = positions[number]
    try:
        header, length, _ = parse_header(segment.file.pread(HEADER_BYTES, position), 0)
        if header.checksum == places.checksums[number]:
            return HEADER_BYTES + length
    except (OSError, CorruptFrame):
        pass
    heads = segment.unit_starts
    if heads and heads[0] < positions[0]:
        # Heads are known. Not so in a segment that a truncation opened again.
        return segment.true_end_of(positions, index) - position
    return 0

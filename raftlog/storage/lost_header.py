"""What a segment whose header is bad still says of the log before it.

The head of its first unit lies behind the header and names the same entry. A head's checksum
begins with the salt of its segment, and the salt comes from that entry: so this one head proves
itself, which no other can. From two heads somewhere in the file a salt could be computed that
fits both; but a copy of a segment in somebody's record has heads too, all of them moved by one
distance, and then they agree on a salt that is wrong. Into the first head's place no record gets.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index
from raftlog.storage.durable_mark import Claim, claim_done
from raftlog.storage.files import File
from raftlog.storage.scan import is_padding, read_what_can_be_read
from raftlog.storage.segment import SEGMENT_HEADER_BYTES, salt_of
from raftlog.storage.unit import UNIT_BYTES, UNIT_MAGIC, parse_base, parse_unit


class Remains(NamedTuple):
    """What was found in a segment without a good header."""

    newest_unit: int | None
    """The highest number of a unit; None if there is no head that can be checked."""
    is_blank: bool
    """Whether all of it can be read, and there is nothing."""


def claim_of_first_unit(file: File, first: Index) -> Claim | None:
    """Return what the lost header said, or less; None if the first unit's head is lost too.

    Raises:
        OSError: It cannot be read.
    """
    data = file.pread(SEGMENT_HEADER_BYTES + UNIT_BYTES, 0)
    before = parse_base(data, SEGMENT_HEADER_BYTES)
    if before is None or before.index + 1 != first:
        return None
    unit = parse_unit(data, SEGMENT_HEADER_BYTES, salt_of(before))
    if unit is None:
        return None
    # The segment was made right after the unit before this one. A repaired head has number 0.
    return claim_done(max(0, unit.number - 1), before)


def remains_of(file: File, first: Index, bases: Sequence[LogEnd]) -> Remains:
    """Look for heads in a whole segment that begins with ``first``, behind one of ``bases``."""
    data = read_what_can_be_read(file)
    guesses = [base for base in bases if base.index + 1 == first]
    before = parse_base(data, SEGMENT_HEADER_BYTES)
    if before is not None and before.index + 1 == first:
        guesses.append(before)
    # Number 0 is a repaired head's, and does not tell when the segment was made.
    numbers = [n for base in guesses for n in _unit_numbers(data, salt_of(base)) if n]
    return Remains(max(numbers, default=None), is_padding(data, 0) and _can_be_read(file))


def _unit_numbers(data: bytes, salt: int) -> Iterator[int]:
    at = data.find(UNIT_MAGIC)
    while at >= 0:
        unit = parse_unit(data, at, salt)
        if unit is not None:
            yield unit.number
        at = data.find(UNIT_MAGIC, at + 1)


def _can_be_read(file: File) -> bool:
    try:
        file.pread(file.size(), 0)
    except OSError:
        return False
    return True

"""How far the log is known to be durable: ``durable.mark`` (ruling 2).

A bad frame at the end of a log is either a write that never finished (cut it:
nobody was promised anything) or damage to something that was promised (never
cut it). The difference is a *claim*: "when unit number U was done, the log
ended at E". Claims lie in this file, two slots in different blocks, written in
turn after each fdatasync of the log, and at the head of each write unit, for
the unit before it. The claim with the highest unit number is the *watermark*.

The slots are synced when the writer has been idle for 20 ms, at a clean stop,
and in every truncation. After kill -9 the claim is exact; after a power cut it
is at most 20 ms old.

A truncation is a claim too, with a unit number of its own: what lies behind
it in older units is the tail that was to be cut, and recovery finishes that.
No unit's head says what it says, so it goes into both slots, one after the
other, before anything is cut. Each slot repeats those before it that still say
something: if a disk loses what it confirmed since one of them, the old tail is
there again, good and linked, and only its unit numbers show that it is no part
of the log::

    truncations to         9, then 4, then 6
    repeated               4, 6               9 is no end of anything any more

What recovery cuts was promised to nobody, and its cut is no promise either: each
slot says besides which unit, or truncation, was the newest that was one.

A *reset* is a truncation to an entry that was never here: the whole log goes, and
what follows is behind the one that a snapshot brought. It is written like one,
before anything is removed, and recovery finishes it.
"""

import struct
from typing import Final, NamedTuple

import msgspec
from crc32c import crc32c

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.storage.files import File, Files

_SLOT: Final = struct.Struct("<IHHQQQIQI")
_CUT: Final = struct.Struct("<QQI")
_SLOT_1: Final = struct.Struct("<IHHQQQIQQ")
"""Of version 1: unit and index of the last truncation, and no other."""
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = 0x4B4D4452
_VERSION: Final = 2
_TRUNCATION: Final = 1
_RESET: Final = 2
SLOTS: Final = 2

CUTS_MAX: Final = 16
"""Truncations that a slot repeats, the last ones: it has to fit into one sector."""
_SLOT_BYTES_MAX: Final = _SLOT.size + CUTS_MAX * _CUT.size + _CRC.size
_UNKNOWN: Final = 0xFFFF_FFFF
"""The checksum in a cut of version 1; one in four billion others is not compared either."""


class Cut(msgspec.Struct, frozen=True):
    """The unit number of a truncation, and the entry with which it ended the log."""

    unit: int
    index: Index
    checksum: int

    def contradicts(self, checksum: int) -> bool:
        """Whether the log had another entry at ``index`` than the one with ``checksum``."""
        return self.checksum not in (_UNKNOWN, checksum)


class Claim(msgspec.Struct, frozen=True, order=True):
    """The log ended at ``index`` when unit ``unit`` was done (``rank`` 1) or begun (0)."""

    unit: int
    rank: int
    index: Index
    term: Term
    checksum: int
    truncation: bool = False
    reset: bool = False
    """A truncation of the whole log, to an entry that it does not have."""

    @property
    def end(self) -> LogEnd:
        """Where the log ended."""
        return LogEnd(self.index, self.term, self.checksum)


def claim_done(unit: int, end: LogEnd, *, truncation: bool = False, reset: bool = False) -> Claim:
    """Return the claim that unit ``unit`` is on disk and the log ends at ``end``."""
    return Claim(unit, 1, end.index, end.term, end.checksum, truncation or reset, reset)


class DurableMark:
    """The file ``durable.mark`` of one replica."""

    def __init__(self, file: File, newest: Claim | None) -> None:
        self.newest = newest
        self.promised = 0
        """The newest unit, or truncation, that was reported durable, as far as is known here."""
        self.cuts: tuple[Cut, ...] = ()
        """The truncations that still say something, each further on than the one before."""
        self._file = file
        self._cuts_packed = b""
        self._slot = 0
        self._found: tuple[int, bytes] | None = None
        """Where the newest claim was read, and its very bytes."""

    @classmethod
    def create(cls, files: Files, path: str) -> "DurableMark":
        """Make the file, without a claim in it."""
        file = files.open(path, create=True)
        file.truncate(0)  # the claims of an interrupted formation are not this log's
        file.allocate(2 * BLOCK_BYTES)
        file.sync()
        return cls(file, None)

    @classmethod
    def open(cls, files: Files, path: str) -> "DurableMark":
        """Read the better slot; a bad one counts as absent."""
        file = files.open(path, create=True)
        slots = [_read(file, slot * BLOCK_BYTES) for slot in range(SLOTS)]
        found = [slot for slot in slots if slot is not None]
        if not found:
            return cls(file, None)
        newest = max(found, key=lambda slot: slot.claim)
        mark = cls(file, newest.claim)
        mark.promised = newest.promised
        mark.repeat(newest.cuts)
        at = slots.index(newest)
        mark._slot = at ^ 1
        mark._found = at * BLOCK_BYTES, newest.record
        return mark

    def make_durable(self) -> None:
        """Put what was read onto the disk, before anything is done because of it.

        After kill -9 it may be in the page cache only. After a failed sync it may be there and
        count as clean (ruling 2 d), so a sync alone does nothing: the same bytes are written in
        the same place, which harms nothing if they are on the disk already. Then they go into the
        other slot, too: until the next unit nothing else may say what they do.
        """
        if self._found is None:
            return
        position, record = self._found
        for slot in (position, BLOCK_BYTES - position):
            self._file.pwrite([record], slot)
            self.sync()

    def write(self, claim: Claim, *, is_promise: bool = True) -> None:
        """Put ``claim`` into the older slot. Not durable before ``sync``."""
        if is_promise:
            self.promised = claim.unit
        if claim.truncation:
            self._note_cut(claim)
        record = _SLOT.pack(
            *(_MAGIC, _VERSION, claim.truncation * _TRUNCATION | claim.reset * _RESET),
            *(claim.unit, claim.index, claim.term, claim.checksum),
            *(self.promised, len(self.cuts)),
        )
        record += self._cuts_packed
        self._file.pwrite([record + _CRC.pack(crc32c(record))], self._slot * BLOCK_BYTES)
        self._slot ^= 1

    def _note_cut(self, claim: Claim) -> None:
        kept = [cut for cut in self.cuts if cut.index < claim.index and not claim.reset]
        cut = Cut(claim.unit, claim.index, claim.checksum)
        self.repeat((*kept, cut)[-CUTS_MAX:])

    def repeat(self, cuts: tuple[Cut, ...]) -> None:
        """Repeat these truncations in each slot from now on."""
        self.cuts = cuts
        self._cuts_packed = b"".join(_CUT.pack(cut.unit, cut.index, cut.checksum) for cut in cuts)

    def sync(self) -> None:
        """Make the newest claim durable."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Slot(NamedTuple):
    """What a slot says, and its very bytes."""

    claim: Claim
    promised: int
    cuts: tuple[Cut, ...]
    record: bytes


def _read(file: File, offset: int) -> _Slot | None:
    """Return what a slot says; None if it is bad."""
    try:
        data = file.pread(_SLOT_BYTES_MAX, offset)
    except OSError:
        return None
    if len(data) < _SLOT.size or _SLOT.unpack_from(data, 0)[0] != _MAGIC:
        return None
    _, version, flags, unit, index, term, checksum, *rest = _SLOT.unpack_from(data, 0)
    if version == _VERSION:
        promised, count = rest
        size = _SLOT.size + count * _CUT.size
    elif version == 1:
        promised, size = unit, _SLOT_1.size
    else:
        return None
    if len(data) < size + _CRC.size or _CRC.unpack_from(data, size)[0] != crc32c(data[:size]):
        return None
    truncation, reset = bool(flags & _TRUNCATION), bool(flags & _RESET)
    claim = Claim(unit, 1, index, term, checksum, truncation, reset)
    cuts = _cut_of_1(data) if version == 1 else _cuts(data[_SLOT.size : size])
    return _Slot(claim, promised, cuts, data[: size + _CRC.size])


def _cuts(data: bytes) -> tuple[Cut, ...]:
    return tuple(Cut(unit, Index(index), crc) for unit, index, crc in _CUT.iter_unpack(data))


def _cut_of_1(data: bytes) -> tuple[Cut, ...]:
    unit, index = _SLOT_1.unpack_from(data, 0)[-2:]
    return (Cut(unit, Index(index), _UNKNOWN),) if unit else ()

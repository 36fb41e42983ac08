"""Log entries and their frame: the bytes that every replica stores and sends.

A frame is a fixed header and a body, little-endian::

    magic u16 | version u8 | kind u8 | body length u32 | term u64 | index u64
    previous checksum u32 | body crc32c u32 | header crc32c u32 | body

Header and body have separate checksums, so a bad body still names its (term,
index). The header's checksum covers the body's checksum and the previous
entry's header checksum: it names the entry *and everything before it*. Two
replicas that agree on one checksum agree on the whole log up to there, and a
stale tail from a truncated branch cannot link.

Frames are made once, by the leader, and travel and rest unchanged: what a
follower writes is byte for byte what it received (ruling 27).
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import INDEX_ZERO, TERM_ZERO, Index, Term
from raftlog.base.limits import ENTRY_BODY_BYTES_MAX

Buffer = bytes | bytearray | memoryview
"""Bytes that may be shared; whoever holds one never changes it."""

FRAME_MAGIC: Final = 0x4C52
FRAME_VERSION: Final = 1
HEADER: Final = struct.Struct("<HBBIQQIII")
HEADER_BYTES: Final = HEADER.size
_SEALED: Final = struct.Struct("<HBBIQQII")
_CHECKSUM: Final = struct.Struct("<I")
CHAIN_ORIGIN: Final = 0
"""The previous checksum of entry 1."""


class EntryKind(IntEnum):
    """What the body of an entry is."""

    COMMANDS = 1
    NOOP = 2
    CONFIGURATION = 3


KINDS: Final = {int(kind): kind for kind in EntryKind}


class EntryId(msgspec.Struct, frozen=True, order=True, gc=False):
    """The name of one log entry, valid for ever.

    A term has one leader and a leader never issues an index twice, so two
    entries with equal ids have equal content. The field order makes ``<`` mean
    "is less up to date than" (Raft §5.4.1).
    """

    term: Term
    index: Index


class LogEnd(msgspec.Struct, frozen=True, gc=False):
    """An entry's name and its chain value: where a log ends, or a claim about it."""

    index: Index
    term: Term
    checksum: int


LOG_ORIGIN: Final = LogEnd(INDEX_ZERO, TERM_ZERO, CHAIN_ORIGIN)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log, with the frame that names and carries it.

    ``frame`` may be a view of a larger buffer (a received message, a span read
    from a segment) and keeps that buffer alive.
    """

    term: Term
    index: Index
    kind: EntryKind
    previous: int
    checksum: int
    frame: Buffer

    @property
    def id(self) -> EntryId:
        """The entry's name."""
        return EntryId(self.term, self.index)

    @property
    def end(self) -> LogEnd:
        """The log's end if this entry is its last."""
        return LogEnd(self.index, self.term, self.checksum)

    @property
    def body(self) -> memoryview:
        """The body, without a copy."""
        return memoryview(self.frame)[HEADER_BYTES:]

    @property
    def size(self) -> int:
        """Bytes of the whole frame."""
        return len(self.frame)


def seal(
    kind: EntryKind, term: Term, index: Index, previous: int, parts: Sequence[Buffer]
) -> Entry:
    """Make the frame of a new entry from the parts of its body (the one copy)."""
    length = 0
    body_crc = 0
    for part in parts:
        length += len(part)
        body_crc = crc32c(part, body_crc)
    assert length <= ENTRY_BODY_BYTES_MAX, f"entry body of {length} bytes"
    header = _SEALED.pack(
        FRAME_MAGIC, FRAME_VERSION, kind, length, term, index, previous, body_crc
    )
    checksum = crc32c(header)
    frame = b"".join((header, _CHECKSUM.pack(checksum), *parts))
    return Entry(term, index, kind, previous, checksum, frame)


def header_checksum(
    kind: EntryKind, term: Term, length: int, index: Index, previous: int, body_crc: int
) -> int:
    """Return the checksum that a header with these fields has."""
    return crc32c(
        _SEALED.pack(FRAME_MAGIC, FRAME_VERSION, kind, length, term, index, previous, body_crc)
    )


def parse_header(buffer: Buffer, position: int) -> tuple[Entry, int, int]:
    """Return the entry at ``position`` without its body, its body length and body CRC.

    The entry's ``frame`` is empty; the caller attaches it once it has checked
    the body.

    Raises:
        CorruptFrame: Fewer bytes than a header, or a header that fails its
            checksum, magic, version, kind or length limit.
    """
    if position + HEADER_BYTES > len(buffer):
        raise CorruptFrame(f"{len(buffer) - position} bytes are less than an entry header")
    magic, version, kind, length, term, index, previous, body_crc, checksum = HEADER.unpack_from(
        buffer, position
    )
    if magic != FRAME_MAGIC:
        raise CorruptFrame(f"entry magic is {magic:#06x}, not {FRAME_MAGIC:#06x}")
    if crc32c(memoryview(buffer)[position : position + HEADER_BYTES - 4]) != checksum:
        raise CorruptFrame("entry header fails its checksum")
    if version != FRAME_VERSION or kind not in KINDS:
        raise CorruptFrame(f"entry version {version}, kind {kind}: this binary does not know it")
    if length > ENTRY_BODY_BYTES_MAX:
        raise CorruptFrame(f"entry body of {length} bytes is over {ENTRY_BODY_BYTES_MAX}")
    return Entry(term, index, KINDS[kind], previous, checksum, b""), length, body_crc


def parse_entry(buffer: Buffer, position: int) -> Entry:
    """Return the entry at ``position``; its frame is a view of ``buffer``.

    Raises:
        CorruptFrame: The header or the body is bad or incomplete.
    """
    view = memoryview(buffer)
    header, length, body_crc = parse_header(view, position)
    start = position + HEADER_BYTES
    end = start + length
    if end > len(view):
        raise CorruptFrame(f"body of entry {header.index} ends {end - len(view)} bytes too late")
    if crc32c(view[start:end]) != body_crc:
        raise CorruptFrame(f"body of entry {header.index} fails its checksum")
    return Entry(
        header.term,
        header.index,
        header.kind,
        header.previous,
        header.checksum,
        view[position:end],
    )


def parse_entries(buffer: Buffer) -> tuple[Entry, ...]:
    """Split concatenated frames into verified entries that form one chain.

    Raises:
        CorruptFrame: A frame is bad, an index does not follow, a term goes
            back, or an entry does not link to the one before it.
    """
    entries: list[Entry] = []
    position = 0
    total = len(buffer)
    while position < total:
        entry = parse_entry(buffer, position)
        if entries:
            check_link(entries[-1], entry)
        entries.append(entry)
        position += len(entry.frame)
    return tuple(entries)


def check_link(before: Entry | LogEnd, entry: Entry) -> None:
    """Refuse an entry that does not follow ``before``.

    Raises:
        CorruptFrame: It does not.
    """
    if entry.index != before.index + 1:
        raise CorruptFrame(f"entry {entry.index} does not follow {before.index}")
    if entry.term < before.term:
        raise CorruptFrame(f"term {entry.term} of entry {entry.index} is below {before.term}")
    if entry.previous != before.checksum:
        raise CorruptFrame(
            f"entry {entry.index} links to {entry.previous:#010x}, not {before.checksum:#010x}"
        )


def check_links(before: LogEnd, entries: Sequence[Entry]) -> None:
    """Refuse entries that do not follow ``before`` and each other.

    A negative checksum of ``before`` is one that nobody knows: the first entry may be any.

    Raises:
        CorruptFrame: One does not.
    """
    if before.checksum >= 0:
        check_link(before, entries[0])
    for one, entry in pairwise(entries):
        check_link(one, entry)


def frames_of(entries: Iterable[Entry]) -> list[Buffer]:
    """Return the frames, in order, for one gathered write."""
    return [entry.frame for entry in entries]

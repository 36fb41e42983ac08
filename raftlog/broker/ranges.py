"""The bytes of a sealed index range: the content of a ``.qx`` file (ruling 3).

Little-endian::

    magic u32 | version u16 | feature level u16 | first index u64 | last index u64
    log time u64 | queues u32 | blocks u32 | column bytes u32
    queues x ( queue u32 | postings u32 | base offset u64 | end offset u64
               | bytes of batches u64 | log time of the last one u64 )
    blocks x block crc32c u32 | header crc32c u32
    columns: for each queue, the seven columns of its postings, one after the other

The columns are covered in blocks of 64 KiB, each with its checksum in the
header, and the header's own checksum covers all of those: it names the content
of the whole file, and a bad block can be told from a bad file. Queues are in
ascending order. Nothing in the file depends on the replica that wrote it.
"""

import struct
from collections.abc import Sequence
from functools import partial
from typing import Final

from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import CorruptFrame, IncompatibleFormat
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import KIB
from raftlog.broker.commands import FEATURE_LEVEL, refuse_older
from raftlog.broker.index import (
    POSTING_BYTES,
    OpenRange,
    Postings,
    QueueSpan,
    RangeSummary,
    SealedRange,
)

RANGE_MAGIC: Final = 0x5851_4C52  # "RLQX"
RANGE_VERSION: Final = 1
BLOCK_BYTES: Final = 64 * KIB
_HEADER: Final = struct.Struct("<IHHQQQIII")
_QUEUE: Final = struct.Struct("<IIQQQQ")
_CHECKSUM: Final = struct.Struct("<I")


def seal_range(
    range_: OpenRange, last_index: Index, log_time_ms: int, level: int = FEATURE_LEVEL
) -> SealedRange:
    """Seal a range that ends with ``last_index``; it never changes again.

    ``level`` is what its last commands are stamped with: so the bytes are the same whichever
    version seals it.
    """
    make = partial(_encode, range_, last_index, log_time_ms, level)
    return SealedRange(range_, last_index, make)


def _encode(
    range_: OpenRange, last_index: Index, log_time_ms: int, level: int
) -> tuple[RangeSummary, bytes]:
    queues = tuple(
        QueueSpan(
            *(queue, postings.base_offset, postings.end_offset, len(postings)),
            *(postings.batch_bytes, postings.log_time_ms),
        )
        for queue, postings in sorted(range_.postings.items())
    )
    columns = b"".join(
        column.tobytes() for span in queues for column in range_.postings[span.queue].columns
    )
    checksums = [crc32c(block) for block in _blocks(columns)]
    header = b"".join(
        (
            _HEADER.pack(
                RANGE_MAGIC,
                RANGE_VERSION,
                level,
                range_.first_index,
                last_index,
                log_time_ms,
                len(queues),
                len(checksums),
                len(columns),
            ),
            *(
                _QUEUE.pack(
                    *(span.queue, span.postings, span.base_offset, span.end_offset),
                    *(span.batch_bytes, span.log_time_ms),
                )
                for span in queues
            ),
            *(_CHECKSUM.pack(checksum) for checksum in checksums),
        )
    )
    checksum = crc32c(header)
    summary = RangeSummary(range_.first_index, last_index, log_time_ms, checksum, queues)
    return summary, b"".join((header, _CHECKSUM.pack(checksum), columns))


def parse_range(data: Buffer) -> tuple[RangeSummary, dict[int, Postings]]:
    """Check every byte of a range file and return what it says.

    Raises:
        CorruptFrame: A byte is wrong, or missing, or too many.
        IncompatibleFormat: A newer raftlog wrote it.
    """
    view = memoryview(data)
    summary, checksums, columns = _parse_header(view)
    for number, (block, checksum) in enumerate(zip(_blocks(columns), checksums, strict=True)):
        if crc32c(block) != checksum:
            raise CorruptFrame(
                f"block {number} of index range {summary.first_index} fails its checksum"
            )
    found: dict[int, Postings] = {}
    position = 0
    for span in summary.queues:
        end = position + POSTING_BYTES * span.postings
        found[span.queue] = Postings.of(columns[position:end], span.postings)
        position = end
    assert position == len(columns), f"columns end at {position}, not at {len(columns)}"
    return summary, found


def _parse_header(view: memoryview) -> tuple[RangeSummary, list[int], memoryview]:
    if len(view) < _HEADER.size:
        raise CorruptFrame(f"{len(view)} bytes are less than the header of an index range")
    magic, version, level, first, last, log_time_ms, queues, blocks, size = _HEADER.unpack_from(
        view, 0
    )
    if magic != RANGE_MAGIC:
        raise CorruptFrame(f"index range magic is {magic:#010x}, not {RANGE_MAGIC:#010x}")
    end = _HEADER.size + queues * _QUEUE.size + blocks * _CHECKSUM.size
    if len(view) != end + _CHECKSUM.size + size:
        raise CorruptFrame(f"index range of {len(view)} bytes does not have the size it says")
    (checksum,) = _CHECKSUM.unpack_from(view, end)
    if crc32c(view[:end]) != checksum:
        raise CorruptFrame("index range header fails its checksum")
    if version != RANGE_VERSION or level > FEATURE_LEVEL:
        raise IncompatibleFormat(
            f"index range {first} has version {version}, feature level {level}; this binary "
            f"knows {RANGE_VERSION} and {FEATURE_LEVEL}: run the raftlog version that wrote it"
        )
    refuse_older(f"index range {first}", level)
    spans = tuple(
        QueueSpan(queue, Offset(base), Offset(after), count, size_of, time_ms)
        for queue, count, base, after, size_of, time_ms in _QUEUE.iter_unpack(
            view[_HEADER.size : _HEADER.size + queues * _QUEUE.size]
        )
    )
    if sum(span.postings for span in spans) * POSTING_BYTES != size:
        raise CorruptFrame(f"index range {first} has {size} bytes for other postings")
    checksums = [value for (value,) in _CHECKSUM.iter_unpack(view[end - 4 * blocks : end])]
    if blocks != -(-size // BLOCK_BYTES):
        raise CorruptFrame(f"index range {first} has {blocks} checksums for {size} bytes")
    summary = RangeSummary(Index(first), Index(last), log_time_ms, checksum, spans)
    return summary, checksums, view[end + _CHECKSUM.size :]


def _blocks(columns: Buffer) -> Sequence[memoryview]:
    view = memoryview(columns)
    return [view[start : start + BLOCK_BYTES] for start in range(0, len(view), BLOCK_BYTES)]

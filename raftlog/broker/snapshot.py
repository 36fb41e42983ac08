"""The bytes of all tables at one index: the content of a ``.tables`` file (ruling 18).

Little-endian::

    magic u32 | version u16 | feature level u16 | index u64 | log time u64 | length u32
    facts | crc32c u32 of everything before
    chunks x ( table u8 | 0 u8 | 0 u16 | rows u32 | length u32 | crc32c u32 | rows )
    the last chunk is of table 0 and counts those before it

Facts and rows are MessagePack arrays; a chunk's checksum covers its twelve
bytes before it and its rows. Chunks come in the order of tables and keys, so
what is missing is noticed, and equal states have equal bytes.

The queue index is not in it: a snapshot is made where a range ends, and the
sealed ranges up to there are files of their own.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import CorruptFrame, IncompatibleFormat
from raftlog.base.ids import Index
from raftlog.broker.business_ids import BusinessId, ShortenedWindow
from raftlog.broker.claims import Claim
from raftlog.broker.commands import FEATURE_LEVEL, refuse_older
from raftlog.broker.decisions import DecidedRow
from raftlog.broker.delays import CancelledBatch
from raftlog.broker.encoded_runs import Chunk
from raftlog.broker.finishers import Finisher
from raftlog.broker.flights import Flight
from raftlog.broker.groups import GroupRow, Member
from raftlog.broker.hidden import HiddenBatch
from raftlog.broker.message_types import TypedTopic
from raftlog.broker.needs import RangeNeed
from raftlog.broker.producers import ProducerRow
from raftlog.broker.queue_groups import Cursor, QueueGroup
from raftlog.broker.queue_subscriptions import QueueSubscription
from raftlog.broker.queues import Queue
from raftlog.broker.quotas import Quota
from raftlog.broker.shares import Share
from raftlog.broker.survivors import Survivor
from raftlog.broker.table import CHUNK_BYTES_MAX
from raftlog.broker.topics import Topic
from raftlog.broker.transactions import Transaction
from raftlog.broker.transactors import Transactor

SNAPSHOT_MAGIC: Final = 0x5453_4C52  # "RLST"
SNAPSHOT_VERSION: Final = 1
_HEADER: Final = struct.Struct("<IHHQQI")
_CHUNK: Final = struct.Struct("<BBHII")
_CHECKSUM: Final = struct.Struct("<I")
T = TypeVar("T")


class TableId(IntEnum):
    """Whose rows a chunk has. A number is never used again for something else."""

    END = 0
    TOPICS = 1
    QUEUES = 2
    PRODUCERS = 3
    GROUPS = 4
    MEMBERS = 5
    CLAIMS = 6
    HIDDEN = 10
    RANGE_NEEDS = 11
    CANCELLED = 12
    SURVIVORS = 13
    SHARES = 25
    QUEUE_GROUPS = 20
    CURSORS = 21
    FLIGHTS = 22
    FINISHERS = 23
    QUEUE_SUBSCRIPTIONS = 24
    TRANSACTORS = 15
    TRANSACTIONS = 16
    DECISIONS = 17
    BUSINESS_IDS = 30
    SHORTENED_WINDOWS = 31
    QUOTAS = 32
    TYPED_TOPICS = 33


class Facts(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """State that is in no table: what was given away and may not be given again."""

    next_queue: int
    heard: int
    last_deleted_generation: int
    trimmed: int = 0
    """Up to here the log may have been forgotten."""
    cleared_ms: int = 0
    """When hidden batches of closed queues went last."""
    term: int = 0
    """Of the last entry with commands."""
    leases_held_until_ms: int = 0


class Snapshot(msgspec.Struct):
    """A parsed snapshot: for a new machine, once; it keeps the rows."""

    index: Index
    log_time_ms: int
    facts: Facts
    level: int
    """The feature level of the last commands before it."""
    topics: list[Topic] = msgspec.field(default_factory=list)
    queues: list[Queue] = msgspec.field(default_factory=list)
    producers: list[ProducerRow] = msgspec.field(default_factory=list)
    groups: list[GroupRow] = msgspec.field(default_factory=list)
    members: list[Member] = msgspec.field(default_factory=list)
    claims: list[Claim] = msgspec.field(default_factory=list)
    shares: list[Share] = msgspec.field(default_factory=list)
    queue_groups: list[QueueGroup] = msgspec.field(default_factory=list)
    cursors: list[Cursor] = msgspec.field(default_factory=list)
    flights: list[Flight] = msgspec.field(default_factory=list)
    finishers: list[Finisher] = msgspec.field(default_factory=list)
    queue_subscriptions: list[QueueSubscription] = msgspec.field(default_factory=list)
    hidden: list[HiddenBatch] = msgspec.field(default_factory=list)
    needs: list[RangeNeed] = msgspec.field(default_factory=list)
    cancelled: list[CancelledBatch] = msgspec.field(default_factory=list)
    survivors: list[Survivor] = msgspec.field(default_factory=list)
    transactors: list[Transactor] = msgspec.field(default_factory=list)
    transactions: list[Transaction] = msgspec.field(default_factory=list)
    decisions: list[DecidedRow] = msgspec.field(default_factory=list)
    business_ids: list[BusinessId] = msgspec.field(default_factory=list)
    shortened_windows: list[ShortenedWindow] = msgspec.field(default_factory=list)
    quotas: list[Quota] = msgspec.field(default_factory=list)
    typed_topics: list[TypedTopic] = msgspec.field(default_factory=list)


class FrozenTable(Protocol):
    """One table that holds still (``table.Frozen``)."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows."""

    def end(self) -> None:
        """Let go."""


class FrozenTables:
    """All tables as they were when a range ended, to be written while they change.

    Attributes:
        index: The last log index that is in it.
        trimmed: The log is not needed up to here.
        ended: Whether the machine may freeze again.
    """

    def __init__(
        self,
        index: Index,
        log_time_ms: int,
        facts: Facts,
        tables: Sequence[tuple[TableId, FrozenTable]],
        *,
        level: int = FEATURE_LEVEL,
    ) -> None:
        self.index: Final = index
        self.trimmed: Final = Index(facts.trimmed)
        self.ended = False
        self._tables = tables
        encoded = msgspec.msgpack.encode(facts)
        head = (SNAPSHOT_MAGIC, SNAPSHOT_VERSION, level, index, log_time_ms)
        self._header = _HEADER.pack(*head, len(encoded)) + encoded

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes in pieces of at most 64 KiB, about a millisecond of work each.

        Between two pieces the machine may go on applying. Whoever has them all,
        or wants no more, calls ``end``: what comes then is no whole snapshot. A piece
        may be empty, where so much was looked at for nothing.
        """
        yield self._header + _CHECKSUM.pack(crc32c(self._header))
        count = 0
        for table, frozen in self._tables:
            for chunk in frozen.chunks():
                if chunk.rows:
                    count += 1
                    yield _chunk(table, chunk.rows, chunk.data)
                else:
                    yield b""
        if not self.ended:
            yield _chunk(TableId.END, count, b"")

    def end(self) -> None:
        """Let the machine freeze its tables at the next cut. Harmless when it has ended."""
        self.ended = True
        for _, frozen in self._tables:
            frozen.end()


def _chunk(table: TableId, rows: int, data: bytes) -> bytes:
    assert len(data) <= CHUNK_BYTES_MAX, f"a chunk of {len(data)} bytes"
    head = _CHUNK.pack(table, 0, 0, rows, len(data))
    return b"".join((head, _CHECKSUM.pack(crc32c(data, crc32c(head))), data))


def parse_snapshot(data: Buffer) -> Snapshot:
    """Check every byte of a snapshot and return what it says.

    Raises:
        CorruptFrame: A byte is wrong, or missing, or too many.
        IncompatibleFormat: A newer raftlog wrote it.
    """
    view = memoryview(data)
    snapshot, position = _parse_header(view)
    count = 0
    while True:
        table, rows, found, position = _parse_chunk(view, position)
        if table == TableId.END:
            break
        _take_in(snapshot, table, rows, found)
        count += 1
    if rows != count or position != len(view):
        raise CorruptFrame(f"snapshot {snapshot.index} ends at {position} after {count} chunks")
    return snapshot


def is_snapshot(data: Buffer, index: Index) -> bool:
    """Whether the bytes are a whole snapshot of ``index``, by its checksums; no row is decoded."""
    view = memoryview(data)
    try:
        snapshot, position = _parse_header(view)
        count = 0
        while True:
            table, rows, _, position = _parse_chunk(view, position)
            if table == TableId.END:
                return rows == count and position == len(view) and snapshot.index == index
            count += 1
    except (CorruptFrame, IncompatibleFormat):
        return False


def _parse_header(view: memoryview) -> tuple[Snapshot, int]:
    if len(view) < _HEADER.size:
        raise CorruptFrame(f"{len(view)} bytes are less than the header of a snapshot")
    magic, version, level, index, log_time_ms, length = _HEADER.unpack_from(view, 0)
    if magic != SNAPSHOT_MAGIC:
        raise CorruptFrame(f"snapshot magic is {magic:#010x}, not {SNAPSHOT_MAGIC:#010x}")
    end = _HEADER.size + length
    if len(view) < end + _CHECKSUM.size:
        raise CorruptFrame(f"snapshot {index} ends within its header")
    (checksum,) = _CHECKSUM.unpack_from(view, end)
    if crc32c(view[:end]) != checksum:
        raise CorruptFrame("the header of a snapshot fails its checksum")
    if version != SNAPSHOT_VERSION or level > FEATURE_LEVEL:
        raise IncompatibleFormat(
            f"snapshot {index} has version {version}, feature level {level}; this binary knows "
            f"{SNAPSHOT_VERSION} and {FEATURE_LEVEL}: run the raftlog version that wrote it"
        )
    refuse_older(f"snapshot {index}", level)
    facts = _decoded(_FACTS, view[_HEADER.size : end], f"the facts of snapshot {index}")
    return Snapshot(Index(index), log_time_ms, facts, level), end + _CHECKSUM.size


def _parse_chunk(view: memoryview, position: int) -> tuple[int, int, memoryview, int]:
    """Return table, rows, bytes of the rows, and where the next chunk begins."""
    begin = position + _CHUNK.size + _CHECKSUM.size
    if begin > len(view):
        raise CorruptFrame(f"a snapshot ends at {len(view)} within the chunk at {position}")
    table, zero, zeros, rows, length = _CHUNK.unpack_from(view, position)
    (checksum,) = _CHECKSUM.unpack_from(view, begin - _CHECKSUM.size)
    found = view[begin : begin + length]
    head = view[position : position + _CHUNK.size]
    if len(found) != length or crc32c(found, crc32c(head)) != checksum or zero or zeros:
        raise CorruptFrame(f"the chunk at {position} of a snapshot fails its checksum")
    return table, rows, found, begin + length


class _TableReader(Protocol):
    def take(self, snapshot: Snapshot, count: int, data: memoryview) -> None: ...


class _Rows(Generic[T]):
    """How the rows of one table are read, and where in a snapshot they go."""

    def __init__(self, row: type[T], into: Callable[[Snapshot], list[T]]) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(list[row])  # type: ignore[valid-type]
        self._into = into

    def take(self, snapshot: Snapshot, count: int, data: memoryview) -> None:
        rows = _decoded(self._decoder, data, "the rows of a snapshot")
        if len(rows) != count:
            raise CorruptFrame(f"a chunk has {len(rows)} rows and claims {count}")
        self._into(snapshot).extend(rows)


_FACTS: Final = msgspec.msgpack.Decoder(Facts)
_TABLES: Final[Mapping[int, _TableReader]] = {
    TableId.TOPICS: _Rows(Topic, lambda snapshot: snapshot.topics),
    TableId.QUEUES: _Rows(Queue, lambda snapshot: snapshot.queues),
    TableId.PRODUCERS: _Rows(ProducerRow, lambda snapshot: snapshot.producers),
    TableId.GROUPS: _Rows(GroupRow, lambda snapshot: snapshot.groups),
    TableId.MEMBERS: _Rows(Member, lambda snapshot: snapshot.members),
    TableId.CLAIMS: _Rows(Claim, lambda snapshot: snapshot.claims),
    TableId.SHARES: _Rows(Share, lambda snapshot: snapshot.shares),
    TableId.HIDDEN: _Rows(HiddenBatch, lambda snapshot: snapshot.hidden),
    TableId.RANGE_NEEDS: _Rows(RangeNeed, lambda snapshot: snapshot.needs),
    TableId.CANCELLED: _Rows(CancelledBatch, lambda snapshot: snapshot.cancelled),
    TableId.SURVIVORS: _Rows(Survivor, lambda snapshot: snapshot.survivors),
    TableId.TRANSACTORS: _Rows(Transactor, lambda snapshot: snapshot.transactors),
    TableId.TRANSACTIONS: _Rows(Transaction, lambda snapshot: snapshot.transactions),
    TableId.DECISIONS: _Rows(DecidedRow, lambda snapshot: snapshot.decisions),
    TableId.BUSINESS_IDS: _Rows(BusinessId, lambda snapshot: snapshot.business_ids),
    TableId.QUOTAS: _Rows(Quota, lambda snapshot: snapshot.quotas),
    TableId.TYPED_TOPICS: _Rows(TypedTopic, lambda snapshot: snapshot.typed_topics),
    TableId.QUEUE_GROUPS: _Rows(QueueGroup, lambda snapshot: snapshot.queue_groups),
    TableId.CURSORS: _Rows(Cursor, lambda snapshot: snapshot.cursors),
    TableId.FLIGHTS: _Rows(Flight, lambda snapshot: snapshot.flights),
    TableId.FINISHERS: _Rows(Finisher, lambda snapshot: snapshot.finishers),
    TableId.QUEUE_SUBSCRIPTIONS: _Rows(
        QueueSubscription, lambda snapshot: snapshot.queue_subscriptions
    ),
    TableId.SHORTENED_WINDOWS: _Rows(ShortenedWindow, lambda snapshot: snapshot.shortened_windows),
}


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: memoryview, what: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFrame(f"{what} do not decode: {error}") from error


def _take_in(snapshot: Snapshot, table: int, count: int, data: memoryview) -> None:
    rows = _TABLES.get(table)
    if rows is None:
        raise IncompatibleFormat(
            f"table {table} of a snapshot is not known to this binary; run the raftlog "
            "version that wrote it"
        )
    rows.take(snapshot, count, data)

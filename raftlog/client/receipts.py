"""What a producer and a reader get."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.ids import Index, Offset, Term
from raftlog.wire.batch import Batch, Headers, Record, batch_facts


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A record is stored: where, and what that promises.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        offset: Its position in the queue; -1 in a transaction whose first answer was lost, if the
            topic was deleted before it was asked again.
        term: Of the leader that stored it.
        index: Of the log entry that holds it.
        durability: ``fsync`` when a majority has it on disk; any other word names a
            weaker promise.
        duplicate: It was sent more than once and is stored once, or another record with its
            id was: everything else is what the first time gave.
    """

    topic: str
    queue: int
    offset: Offset
    term: Term
    index: Index
    durability: str
    duplicate: bool = False


class BatchReceipt(msgspec.Struct, frozen=True, gc=False):
    """A batch is stored: its ``count`` records have the offsets from ``base_offset`` on.

    The other attributes are those of ``Receipt``.
    """

    topic: str
    queue: int
    base_offset: Offset
    count: int
    term: Term
    index: Index
    durability: str
    duplicate: bool = False


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record as it is read.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        offset: Its position in the queue.
        key: Its key, or None.
        value: Its value, or None.
        headers: Pairs of name and value; a name may occur more than once.
        timestamp_ms: Milliseconds since 1970: the sender's time, unless it said another.
        tag: Its tag, or None.
        id: The business id that its sender gave it, or None.
    """

    topic: str
    queue: int
    offset: Offset
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0
    tag: str | None = None
    id: str | None = None

    def __repr__(self) -> str:
        """Show where it is, not what is in it."""
        size = len(self.value or b"")
        return f"<Message {self.topic}/{self.queue}@{self.offset}, {size} bytes>"


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as it lies in the log, and where: the offset of its first record.

    ``matching`` has the numbers of the records that were asked for; None: all of them.
    """

    base_offset: Offset
    data: Buffer
    topic: str
    queue: int
    matching: Sequence[int] | None = None

    @property
    def count(self) -> int:
        """Records in it, by its header alone."""
        return batch_facts(self.data)[0]

    def open(self) -> Batch:
        """Check it and reach its columns without a copy (if it is not compressed).

        Raises:
            BadBatch: It was damaged on the way, or is no batch of this version.
            CodecUnavailable: It is compressed by a codec that is not installed here.
        """
        return Batch(self.data)

    def records(self) -> Iterator[tuple[Offset, Record]]:
        """Yield the records that were asked for, with their offsets; raises as ``open``."""
        wanted = None if self.matching is None else frozenset(self.matching)
        for number, record in enumerate(self.open().records()):
            if wanted is None or number in wanted:
                yield Offset(self.base_offset + number), record

    def messages(self, start: int = 0) -> Iterator[Message]:
        """Yield the records at or after offset ``start`` as messages; raises as ``open``."""
        topic, queue = self.topic, self.queue
        found: Iterable[tuple[int, Record]] = self.records()
        if self.matching is None:  # nothing is left out: without a generator between
            found = enumerate(self.open().records(), self.base_offset)
        for offset, record in found:
            if offset >= start:
                yield Message(
                    *(topic, queue, Offset(offset), record.key, record.value),
                    *(record.headers, record.timestamp_ms, record.tag, record.id),
                )

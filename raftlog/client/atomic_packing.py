"""Which batches the sends of a transaction make.

::

    fits 1 MiB      one batch for each queue; all of them are in the commit
    is larger       queue 3: [512 KiB] [512 KiB] [rest]     the last one of each queue is in the
                    queue 5: [512 KiB] [rest]               commit, the others are staged before

A transaction that fits goes as it always did: whatever the cluster's version is, it takes it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from raftlog.base.errors import TransactionTooLarge
from raftlog.base.limits import (
    BATCH_RECORDS_MAX,
    STAGED_BATCH_BYTES_MAX,
    STAGED_PARTS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_STAGED_PARTS_MAX,
)
from raftlog.client.packing import Columns, size_of
from raftlog.wire.batch import Record
from raftlog.wire.batch_header import BATCH_HEADER_BYTES

_RECORD_BYTES: Final = 32
"""More than a record takes in the columns beside what it carries."""


class ToSend(msgspec.Struct, frozen=True):
    """The records of a transaction for one queue."""

    queue: int
    columns: Columns
    """Of the batch that is in the commit."""
    staged: tuple[Columns, ...] = ()
    """Of those that come before it, in order."""

    @property
    def count(self) -> int:
        """How many records are in the commit."""
        return len(self.columns.values)

    @property
    def staged_count(self) -> int:
        """How many come before them."""
        return sum(len(each.values) for each in self.staged)


def weight_of(record: Record) -> int:
    """Return more bytes than a record takes in its batch."""
    return size_of(record) + _RECORD_BYTES


def pack(sent: Iterable[tuple[int, Record]]) -> list[ToSend]:
    """Return what goes to each queue, by records with the numbers of their queues.

    Raises:
        TransactionTooLarge: The last records of all queues, which must be in one entry, do not
            fit; or more has to be staged than may be.
    """
    queues: dict[int, list[Record]] = {}
    for queue, record in sent:
        queues.setdefault(queue, []).append(record)
    weights = {queue: list(map(weight_of, records)) for queue, records in queues.items()}
    total = sum(map(sum, weights.values())) + BATCH_HEADER_BYTES * len(queues)
    if total <= TRANSACTION_BYTES_MAX and all(
        len(records) <= BATCH_RECORDS_MAX for records in queues.values()
    ):
        return [ToSend(queue, _columns(records)) for queue, records in queues.items()]
    share = _share_of_each(weights)
    batches = [_cut(queue, records, weights[queue], share) for queue, records in queues.items()]
    names = sum(len(each.staged) for each in batches)
    if names > TRANSACTION_STAGED_PARTS_MAX:
        raise TransactionTooLarge(
            f"it makes {names} batches before its commit, in {len(queues)} queues; "
            f"{TRANSACTION_STAGED_PARTS_MAX} at most"
        )
    return batches


def _share_of_each(weights: dict[int, list[int]]) -> int:
    """Return how many bytes each queue may have in the commit beside its last record."""
    last = sum(each[-1] + BATCH_HEADER_BYTES for each in weights.values())
    if last > TRANSACTION_BYTES_MAX:
        raise TransactionTooLarge(
            f"the last records of its {len(weights)} queues have {last} bytes together; "
            f"{TRANSACTION_BYTES_MAX} at most"
        )
    return min(STAGED_BATCH_BYTES_MAX, (TRANSACTION_BYTES_MAX - last) // len(weights))


def _cut(queue: int, records: Sequence[Record], weights: Sequence[int], share: int) -> ToSend:
    """Return the records of one queue as batches, of which the last one is small enough."""
    begin = len(records) - 1
    while begin and len(records) - begin < BATCH_RECORDS_MAX and weights[begin - 1] <= share:
        begin -= 1
        share -= weights[begin]
    staged: list[Columns] = []
    first = size = 0
    for at in range(begin):
        is_full = size >= STAGED_BATCH_BYTES_MAX or at - first >= BATCH_RECORDS_MAX
        if at > first and (is_full or size + weights[at] > TRANSACTION_BYTES_MAX):
            staged.append(_columns(records[first:at]))
            first, size = at, 0
        size += weights[at]
    if begin:
        staged.append(_columns(records[first:begin]))
    if len(staged) > STAGED_PARTS_MAX:
        raise TransactionTooLarge(
            f"it makes {len(staged)} batches before its commit in one queue; "
            f"{STAGED_PARTS_MAX} at most"
        )
    return ToSend(queue, _columns(records[begin:]), tuple(staged))


def _columns(records: Sequence[Record]) -> Columns:
    columns = Columns()
    for record in records:
        columns.add_record(record)
    return columns

"""Who reads through a filter gets every record that matches, and no other.

Told what was asked and answered; what matches is found out here anew, from the committed
log and by other code than the product's.
"""

from collections.abc import Callable, Sequence
from typing import Final

from chaos.check.queue_reads import StoredBatch
from chaos.check.violation import Violation
from raftlog.wire.batch import Record, records

NAME: Final = "filtered_reads"

Wish = Callable[[Record], bool]


def check_filtered(
    queue: int,
    offset: int,
    next_offset: int,
    found: Sequence[tuple[int, bytes, Sequence[int]]],
    stored: Sequence[StoredBatch],
    wish: Wish,
) -> None:
    """Check the answer to a read from ``offset`` that looked as far as ``next_offset``.

    Args:
        queue: Which queue.
        offset: Where the read began.
        next_offset: Everything before it was looked at.
        found: Base offset, bytes and matching records of each batch of the answer.
        stored: The batches of the queue, as the committed log has them.
        wish: What the filter means.

    Raises:
        Violation: A match is missing, something else is there, a batch has other bytes, or it
            looked beyond the end.
    """
    end = stored[-1].end_offset if stored else 0
    if not offset <= next_offset <= max(offset, end):
        raise Violation(
            NAME,
            f"a read of queue {queue} from {offset} looked to {next_offset}; it ends at {end}",
        )
    expected: dict[int, tuple[bytes, list[int]]] = {}
    for batch in stored:
        if batch.end_offset <= offset or batch.base_offset >= next_offset:
            continue
        numbers = [
            number
            for number, record in enumerate(records(batch.data))
            if batch.base_offset + number >= offset and wish(record)
        ]
        if numbers:
            expected[batch.base_offset] = batch.data, numbers
    answered = {base: (data, list(numbers)) for base, data, numbers in found}
    if answered != expected or len(answered) != len(found):
        raise Violation(
            NAME,
            f"a read of queue {queue} from {offset} to {next_offset} gives "
            f"{ {base: numbers for base, (_, numbers) in answered.items()} }, what matches is "
            f"{ {base: numbers for base, (_, numbers) in expected.items()} }",
        )

"""A trim forgets nothing that a queue may still be asked for (ruling 7).

The observer knows where every batch lies in the log, and where every queue
begins; it believes no machine that says nothing is needed.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from chaos.check.queue_reads import StoredBatch
from chaos.check.violation import Violation

NAME: Final = "trims_true"


def check_trim(
    through: int,
    batches: Mapping[int, Sequence[StoredBatch]],
    starts: Mapping[int, int],
    deleted: Collection[int],
) -> None:
    """Check that every batch up to log index ``through`` is before its queue's start.

    Raises:
        Violation: One of them can still be read.
    """
    for queue, stored in batches.items():
        if queue in deleted:
            continue
        start = starts.get(queue, 0)
        for batch in stored:
            if batch.index <= through and batch.end_offset > start:
                raise Violation(
                    NAME,
                    f"the log is trimmed to {through}; queue {queue} begins at {start} and has "
                    f"offset {batch.base_offset} in entry {batch.index}",
                )

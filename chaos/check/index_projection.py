"""The queue index is the projection of the committed log: no more, no less, no other order.

The index is state (ruling 3): a replica that made it again after a restart, from
whichever snapshot, must have the very postings that apply gave out.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from chaos.check.queue_reads import StoredBatch
from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "index_projection"


class Indexed(msgspec.Struct, frozen=True, gc=False):
    """One posting, as a replica has it."""

    base_offset: int
    count: int
    log_time_ms: int
    index: int
    position: int
    length: int


def check_projection(
    node: NodeId,
    queue: int,
    start_offset: int,
    postings: Iterable[Indexed],
    stored: Sequence[StoredBatch],
) -> None:
    """Compare one replica's index of a queue, from its start, with what was stored.

    Raises:
        Violation: A posting is missing, invented, or says something else.
    """
    expected = [
        Indexed(
            batch.base_offset,
            batch.count,
            batch.log_time_ms,
            batch.index,
            batch.position,
            len(batch.data),
        )
        for batch in stored
        if batch.end_offset > start_offset
    ]
    found = list(postings)
    for number, (mine, true) in enumerate(zip(found, expected, strict=False)):
        if mine != true:
            raise Violation(NAME, f"{node}, queue {queue}, posting {number}: {mine}, not {true}")
    if len(found) != len(expected):
        raise Violation(
            NAME, f"{node} has {len(found)} postings of queue {queue}, not {len(expected)}"
        )

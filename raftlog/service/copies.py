"""Bytes of batches that are to be copied to the log's end: from memory, or from the files."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.limits import MIB
from raftlog.service.ports import OnBodies, ShardReplica, StoredBodies
from raftlog.storage.span import Place

BYTES_PER_S: Final = 16 * MIB
"""How fast the leader copies."""
_NS_PER_S: Final = 1_000_000_000


def read_some(
    replica: ShardReplica, bodies: StoredBodies, places: Sequence[Place], done: OnBodies
) -> None:
    """Read the batches at ``places``, or the first few of them.

    What is in memory may not be in this disk's files yet (ruling 14).
    """
    found: list[Buffer] = []
    for place in places:
        entry = replica.tail(place.index)
        if entry is None:
            break
        found.append(entry.body[place.offset : place.offset + place.length])
    if found:
        done(found, None)
    else:
        bodies.read([*takewhile(lambda place: replica.tail(place.index) is None, places)], done)


def pace_ns(size: int) -> int:
    """Return how long to rest behind a copy of so many bytes."""
    return size * _NS_PER_S // BYTES_PER_S

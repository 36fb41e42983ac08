"""Claims: who may commit offsets of a queue for a group, and what was committed (ruling 12).

::

    m1 (generation 5) pauses; m2 claims in generation 6 and reads from 55
    m1 wakes and commits 60 in generation 5  -->  fenced: the claim is 6's

A claim is the only way to a start position. Offsets go back by a seek alone,
and a seek takes every claim away.
"""

import msgspec

from raftlog.base.ids import Offset


class ClaimQueue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Own a queue in a generation. Outcome: ``QueueClaimed``."""

    group: str
    queue: int
    generation: int
    member: str


class CommitOffsets(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Note how far a member has read, all of it or nothing. Outcome: ``OffsetsCommitted``.

    An offset is that of the next record to read.
    """

    group: str
    member: str
    generation: int
    offsets: tuple[tuple[int, int], ...]


class SeekGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Set offsets, also backwards, and begin a generation. Outcome: ``GroupSought``."""

    group: str
    offsets: tuple[tuple[int, int], ...]


class QueueClaimed(msgspec.Struct, frozen=True, gc=False):
    """The claim holds; ``committed`` is None if nothing ever was."""

    committed: Offset | None
    start: Offset
    end: Offset


class OffsetsCommitted(msgspec.Struct, frozen=True, gc=False):
    """They are."""


class GroupSought(msgspec.Struct, frozen=True, gc=False):
    """They are, from this generation on."""

    generation: int

"""Producers: nothing is stored twice (rulings 9 and 10).

Sequences count records, per producer, epoch and queue. For each (producer,
queue) the machine keeps what became of every batch that the producer has not
yet said it knows, at most 64 of them: a batch that is sent again gets the
first one's answer, also after a failover.
"""

from typing import Final

import msgspec

from raftlog.base.ids import Index, Offset, Term

REMEMBERED_MAX: Final = 64
"""Unconfirmed batches of one producer in one queue."""


class InitProducer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Draw a producer id. Outcome: ``ProducerBegun``."""


class FenceProducer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Begin ``epoch`` of a producer in one queue, at sequence 0 (ruling 10).

    From this entry on a late copy of an older epoch is ``Fenced``. The same
    command again has the same outcome. Outcome: ``ProducerFenced``.
    """

    queue: int
    producer: int
    epoch: int


class RememberedBatch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stored batch that its producer may ask for again."""

    base_sequence: int
    count: int
    base_offset: Offset
    term: Term
    index: Index


class ProducerBegun(msgspec.Struct, frozen=True, gc=False):
    """The producer's id: unique for ever in its shard, never 0."""

    producer: int


class ProducerFenced(msgspec.Struct, frozen=True, gc=False):
    """How far the epoch before had come.

    What is at or after ``next_sequence`` was not stored, and never will be.
    """

    next_sequence: int
    remembered: tuple[RememberedBatch, ...]

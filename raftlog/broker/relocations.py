"""Relocate: bodies of hidden batches are copied to the log's end, so that old ranges can go.

::

    range 1 (72 h old, all passed, but for h)     ...    open range
    body of h --------- read by the leader -----------> Relocate: the very bytes again
                                                         apply: h points here now, if it still
                                                         pointed to where the leader read it

Little-endian::

    count u32 | count x ( queue u32 | id u64 | index u64 | position u32 | length u32 )
    the batches, one after the other

``index`` and ``position`` are where the batch was read. Meanwhile it may have become
visible, or been dropped, or relocated already: then it is left as it is, and its bytes lie
here for nobody. Whoever proposes it has checked each batch's checksum.
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.ids import Index
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.copied_bodies import body_parts, read_bodies
from raftlog.broker.hidden import Hidden, HiddenKey

_ITEM: Final = struct.Struct("<IQQII")
ITEM_BYTES: Final = _ITEM.size


class Moving(msgspec.Struct, frozen=True, gc=False):
    """A hidden batch to be relocated: which, where it was read, and how long it is."""

    key: HiddenKey
    index: Index
    position: int
    length: int


class Relocated(msgspec.Struct, frozen=True, gc=False):
    """How many batches point to their copies now."""

    moved: int


def relocate_command(items: Sequence[Moving], bodies: Sequence[Buffer]) -> Command:
    """Return the command that relocates ``items``, of which ``bodies`` are the bytes."""
    rows = [(*item.key, item.index, item.position, item.length) for item in items]
    return Command(CommandType.RELOCATE, body_parts(_ITEM, rows, bodies))


def read_relocation(body: Buffer, position: int, length: int) -> list[tuple[Moving, int]]:
    """Return what a command relocates, and where in the entry's body each copy lies.

    Raises:
        BadRequest: The lengths do not add up.
    """
    return [
        (Moving((queue, number), Index(index), old, size), place)
        for (queue, number, index, old, size), place in read_bodies(_ITEM, body, position, length)
    ]


def relocate(
    hidden: Hidden, items: Sequence[tuple[Moving, int]], index: Index, log_time_ms: int
) -> Relocated:
    """Point hidden batches to their copies in entry ``index``, which is being applied."""
    moved = 0
    for item, place in items:
        row = hidden.get(item.key)
        if row is not None and row.length == item.length:
            old, new = (item.index, item.position), (index, place)
            moved += hidden.relocate(item.key, old, new, log_time_ms)
    return Relocated(moved)

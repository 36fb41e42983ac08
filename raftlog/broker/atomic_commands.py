"""The command that commits an atomic transaction, and what it comes to (ruling 19).

Little-endian::

    head length u32 | head, MessagePack | one record batch for each part, one behind the other

The batches must lie in the log as they are, so they are not a part of the head: it says whose
they are and how long. One command is all that such a transaction is in the log: there is no
moment between its parts, for nobody.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadRequest
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import (
    TRANSACTION_GROUPS_MAX,
    TRANSACTION_PARTS_MAX,
    TRANSACTION_STAGED_PARTS_MAX,
)
from raftlog.broker.claims import CommitOffsets
from raftlog.broker.hiding import BatchToHide, batch_at
from raftlog.broker.lease_commands import AckMessages
from raftlog.broker.places import CommandPlace
from raftlog.broker.values import QueueNumber

_HEAD: Final = struct.Struct("<I")
GONE: Final = Offset(-1)
"""Where a part is that was stored, and whose topic was deleted since."""

_Part = tuple[QueueNumber, Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]]
_Staged = tuple[QueueNumber, Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]]


class TransactionHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a transaction does: all of it, or nothing.

    Each queue has one batch, and one offset of each group. One that is asked again is known by
    its batches; one that has none is as harmless to repeat as its commits and acks are.
    """

    parts: Annotated[tuple[_Part, ...], msgspec.Meta(max_length=TRANSACTION_PARTS_MAX)]
    """Queue, and length of its batch."""
    offsets: tuple[CommitOffsets, ...] = ()
    """Of at most as many groups; of a group one for each generation in which its member has
    claimed queues, so these have no bound but the size of all."""
    acks: Annotated[tuple[AckMessages, ...], msgspec.Meta(max_length=TRANSACTION_GROUPS_MAX)] = ()
    staged: Annotated[
        tuple[_Staged, ...], msgspec.Meta(min_length=1, max_length=TRANSACTION_STAGED_PARTS_MAX)
    ] = ()
    """Queue and id of each batch that was staged before, a queue's in the order of their staging:
    they come before its batch here. Only from feature level 4 on; without any there is no such
    list, so that it is the bytes of before."""

    def __post_init__(self) -> None:
        """Refuse what is named twice, too many groups, what is in no order or does nothing."""
        if not (self.parts or self.offsets or self.acks):
            raise BadRequest("a transaction with nothing in it")
        queues = [queue for queue, _ in self.parts]
        if len(set(queues)) != len(queues):
            raise BadRequest("a transaction has two batches for one queue")
        # A member's queues may be of several generations.
        read = [(each.group, queue) for each in self.offsets for queue, _ in each.offsets]
        if len(set(read)) != len(read):
            raise BadRequest("a transaction commits two offsets of a group in one queue")
        if len({each.group for each in self.offsets}) > TRANSACTION_GROUPS_MAX:
            raise BadRequest(
                f"a transaction commits offsets of more groups than {TRANSACTION_GROUPS_MAX}"
            )
        groups = [each.group for each in self.acks]
        if len(set(groups)) != len(groups):
            raise BadRequest("a transaction has two lists of acks for one group")
        _check_staged(self.staged, frozenset(queues))


class PartStored(msgspec.Struct, frozen=True, gc=False):
    """Where one batch is; ``GONE`` if its topic was deleted before this was asked again."""

    queue: int
    base_offset: Offset
    """Of its batch in the command; its staged ones lie right before that."""
    count: int


class TransactionCommitted(msgspec.Struct, frozen=True, gc=False):
    """The outcome; of one that is sent again everything is the first one's, but ``duplicate``."""

    parts: tuple[PartStored, ...]
    """In the order of the command."""
    term: Term
    index: Index
    duplicate: bool = False


_DECODER: Final = msgspec.msgpack.Decoder(TransactionHead)


def _check_staged(staged: Sequence[tuple[int, int]], queues: frozenset[int]) -> None:
    last: dict[int, int] = {}
    for queue, id_ in staged:
        if queue not in queues:
            raise BadRequest(f"batches are staged for queue {queue}, and its last one is missing")
        if id_ <= last.get(queue, 0):
            raise BadRequest(f"the staged batches of queue {queue} are not in their order")
        last[queue] = id_


def transaction_parts(head: TransactionHead, batches: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """Return the parts of the command; ``batches`` are of the lengths that the head says.

    Raises:
        Refused: The head is none that apply would read.
    """
    data = msgspec.msgpack.encode(
        head if head.staged else (head.parts, head.offsets, head.acks)  # as of level 3
    )
    _decode(data)
    return _HEAD.pack(len(data)), data, *batches


def read_transaction(
    body: Buffer, place: CommandPlace, length: int
) -> tuple[TransactionHead, list[BatchToHide]]:
    """Return the head of a command and where its batches lie.

    Raises:
        Refused: It is malformed.
    """
    begin, at, end = _head_at(body, place.position, length)
    head = _decode(memoryview(body)[begin:at])
    batches = []
    for _, each in head.parts:
        if at + each > end:
            break
        batches.append(batch_at(body, at, each))
        at += each
    if at != end or len(batches) != len(head.parts):
        raise BadBatch("the batches of a transaction are not as long as its head says")
    return head, batches


def read_head(body: Buffer, position: int, length: int) -> TransactionHead:
    """Return the head of a command alone. Raises as ``read_transaction``."""
    begin, at, _ = _head_at(body, position, length)
    return _decode(memoryview(body)[begin:at])


def _head_at(body: Buffer, position: int, length: int) -> tuple[int, int, int]:
    """Return where the head begins and ends, and where the command does."""
    begin, end = position + _HEAD.size, position + length
    size = _HEAD.unpack_from(body, position)[0] if begin <= end else end
    if begin + size > end:
        raise BadRequest("a transaction is shorter than its head")
    return begin, begin + size, end


def _decode(data: Buffer) -> TransactionHead:
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"the head of a transaction does not decode: {error}") from None

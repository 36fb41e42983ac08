"""The envelope: how commands lie in the body of an entry (ruling 15).

Little-endian::

    format u8 | feature level u16 | log time u64, milliseconds | count u32
    count x ( type u8 | flags u8 | length u32 | command )

An entry carries the commands that arrived in one turn of the leader's loop.
The envelope is built as *parts*, so that the frame of the entry is the one
place where a payload is copied, and read as positions, so that apply copies
nothing.

``decode`` is all or nothing. An entry that holds one thing that this binary
does not know is refused before its first command: a replica that skipped or
guessed would differ from its peers for ever, and one that stopped in the
middle would have applied half an entry. What a *known* command holds is the
business of whoever applies it.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import CorruptFrame, IncompatibleFormat
from raftlog.base.limits import ENTRY_BODY_BYTES_MAX

ENVELOPE_FORMAT: Final = 1
FEATURE_LEVEL: Final = 5
"""The highest feature level that this binary can apply. A shard's own level is state: entries are
stamped with it, and it rises once all members can apply the next one (``service.levelling``).

2: who finished a leased message is remembered, who gave it back outlives the next lease,
and transactions are committed as one command.
3: what such a transaction acknowledges beside its batches is held now, and offsets may say from
where they were read; what a group reads goes with its last member, unless it was said by hand.
4: a transaction has staged batches, if it is too large for one entry; what a queue-style group
reads has a filter and a version, and where it reads can be set.
5: a topic may take messages of some types only; visible batches are copied forward, so that the
range they were stored in can go.
"""
BROKER_LEVEL_MIN: Final = 2
"""The lowest one that the broker's machine applies. With level 1 a lease's end meant something
else: to apply it as if it were 2 is to differ from a peer that did not. Raw commands mean the
same in all of them, so ``decode`` reads every level."""
NO_LEVEL: Final = 0
"""Before the first entry: whoever proposes that one says at which level the shard begins."""
RAW_LEVEL: Final = 1
"""Stamped where the machine is an embedding program's: no rule of ours decides there."""
READ_FROM_LEVEL: Final = 3
"""From here on a commit may say from where was read. To a lower one that can't be proposed."""
ACKS_ONCE_LEVEL: Final = 3
"""From here on a transaction with batches acknowledges what is held now, and nothing else. What
is in the log at a lower level is applied as it was."""
SUBSCRIPTIONS_GO_LEVEL: Final = 3
"""From here on what a group reads goes with its last member, unless it was said by hand."""
STAGED_LEVEL: Final = 4
"""From here on batches of a transaction are staged, and its commit names them."""
QUEUE_SUBSCRIPTIONS_LEVEL: Final = 4
"""From here on what a queue-style group reads has a filter and a version, and it can seek."""
MESSAGE_TYPES_LEVEL: Final = 5
"""From here on a topic may take messages of some types only."""
SURVIVORS_LEVEL: Final = 5
"""From here on visible batches are copied forward (``broker.survivors``)."""
ENVELOPE: Final = struct.Struct("<BHQI")
COMMAND: Final = struct.Struct("<BBI")
ENVELOPE_BYTES: Final = ENVELOPE.size
COMMAND_BYTES: Final = COMMAND.size
_ONE: Final = struct.Struct("<BHQIBBI")
_ONE_BYTES: Final = _ONE.size


class CommandType(IntEnum):
    """What a command is. A number is never used again for something else."""

    APPEND_BATCH = 1
    """``queue u32`` and one record batch (``broker.appends``)."""
    RAW = 2
    """Bytes of an embedding program's own state machine."""
    CREATE_TOPIC = 3
    ALTER_TOPIC = 4
    DELETE_TOPIC = 5
    MOVE_START = 6
    """Retention: a queue's start offset moves up (``broker.topics``)."""
    INIT_PRODUCER = 7
    FENCE_PRODUCER = 8
    JOIN_GROUP = 9
    LEAVE_GROUP = 10
    """A member left or expired."""
    DELETE_GROUP = 11
    CLAIM_QUEUE = 12
    COMMIT_OFFSETS = 13
    SEEK_GROUP = 14
    TRIM = 15
    """The log forgets a prefix (``broker.trims``)."""
    PASS_TIME = 16
    """Something is due, and nothing else comes (``broker.timetable``)."""
    OPEN_QUEUE_GROUP = 40
    RECEIVE_MESSAGES = 41
    ACK_MESSAGES = 42
    EXTEND_LEASES = 43
    RETURN_MESSAGES = 44
    DEAD_LETTER = 45
    """The leader has read a dead message, and stores it (``broker.dead_letters``)."""
    DECIDE_BLOCKED = 46
    SUBSCRIBE_QUEUE_GROUP = 47
    """As ``OPEN_QUEUE_GROUP``, with a filter and a version (``broker.queue_subscriptions``)."""
    RECEIVE_MATCHING = 48
    """As ``RECEIVE_MESSAGES``, for a group with a filter (``broker.first_leases``)."""
    SEEK_QUEUE_GROUP = 49
    """Where a queue-style group goes on (``broker.queue_seeks``)."""
    APPEND_DELAYED = 20
    """A record batch that becomes visible later (``broker.delays``)."""
    CANCEL_DELAYED = 21
    RELOCATE = 22
    """Bodies of hidden batches again (``broker.relocations``)."""
    COPY_FORWARD = 23
    """Visible batches again, whose range is to go (``broker.survivors``)."""
    INIT_TRANSACTOR = 30
    STAGE_HALF = 31
    """A record batch that becomes visible when it is committed (``broker.transactions``)."""
    DECIDE = 32
    RESOLVE_TRANSACTION = 33
    ANSWER_CHECKS = 34
    COMMIT_TRANSACTION = 35
    """Batches, offsets and acks, all or nothing (``broker.atomic``)."""
    STAGE_BATCH = 36
    """A record batch that its transaction's commit makes visible (``broker.staging``)."""
    SET_SUBSCRIPTION = 50
    """What a group reads is another thing now (``broker.groups``)."""
    RELEASE_QUEUES = 51
    """A member has finished with queues that have an heir (``broker.shares``)."""
    APPEND_ONCE = 60
    """As ``APPEND_BATCH``, of a record that has a business id (``broker.unique_appends``)."""
    SET_QUOTA = 61
    REMOVE_QUOTA = 62
    MOVE_CONSUMED = 63
    """Retention: a queue's start moves up behind all its groups (``broker.topics``)."""
    CREATE_TYPED_TOPIC = 64
    """As ``CREATE_TOPIC``, of one that takes some types of messages (``broker.message_types``)."""
    ALTER_TYPED_TOPIC = 65


_TYPES: Final = frozenset(int(kind) for kind in CommandType)


class Command(msgspec.Struct, frozen=True, gc=False):
    """A command that was not proposed yet: its type and the parts of its bytes."""

    type: int
    parts: Sequence[Buffer]


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A decoded body: the facts of the entry and where its commands lie in it."""

    feature_level: int
    log_time_ms: int
    places: tuple[tuple[int, int, int], ...]
    """For each command: type, position of its first byte in the body, length."""

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over type, position and length of the commands."""
        return iter(self.places)

    def __len__(self) -> int:
        """Count the commands."""
        return len(self.places)


def envelope(
    log_time_ms: int, commands: Sequence[Command], level: int | None = None
) -> list[Buffer]:
    """Return the parts of an entry body that carries ``commands``, in order.

    ``level`` is the shard's feature level; None: the highest that this binary knows.
    """
    stamp = FEATURE_LEVEL if level is None else level
    parts: list[Buffer] = [ENVELOPE.pack(ENVELOPE_FORMAT, stamp, log_time_ms, len(commands))]
    total = ENVELOPE_BYTES
    for command in commands:
        length = 0
        for part in command.parts:
            length += len(part)
        assert command.type in _TYPES, f"command type {command.type}"
        parts.append(COMMAND.pack(command.type, 0, length))
        parts.extend(command.parts)
        total += COMMAND_BYTES + length
    assert total <= ENTRY_BODY_BYTES_MAX, f"commands make a body of {total} bytes"
    return parts


def log_time_of(buffer: Buffer, position: int = 0) -> int:
    """Return the stamp of an entry's body at ``position``, in milliseconds since 1970."""
    log_time_ms: int = ENVELOPE.unpack_from(buffer, position)[2]
    return log_time_ms


def envelopes_of_one(
    log_time_ms: int, commands: Sequence[Command], level: int | None = None
) -> list[list[Buffer]]:
    """Return one body for each command: ``envelope`` for many commands that share nothing.

    The same bytes as ``envelope(log_time_ms, [command], level)``, at a third of the cost.
    """
    stamp = FEATURE_LEVEL if level is None else level
    shared = ENVELOPE.pack(ENVELOPE_FORMAT, stamp, log_time_ms, 1)
    bodies: list[list[Buffer]] = []
    for command in commands:
        length = 0
        for part in command.parts:
            length += len(part)
        bodies.append([shared + COMMAND.pack(command.type, 0, length), *command.parts])
    return bodies


def decode_one(body: Buffer) -> tuple[int, int, int] | None:
    """Return type, position and length of the command of a body that holds exactly one.

    None for anything else: ``decode`` says what it is.
    """
    if len(body) < _ONE_BYTES:
        return None
    form, level, _, count, kind, flags, length = _ONE.unpack_from(body, 0)
    is_known = form == ENVELOPE_FORMAT and 1 <= level <= FEATURE_LEVEL
    ordinary = is_known and count == 1 and not flags
    if not ordinary or kind not in _TYPES or length != len(body) - _ONE_BYTES:
        return None
    return kind, _ONE_BYTES, length


def decode(body: Buffer) -> Envelope:
    """Read the envelope of an entry body whose checksum is good.

    Raises:
        IncompatibleFormat: A newer raftlog wrote it; the text names what this
            binary lacks. The replica stops before the entry.
        CorruptFrame: The lengths do not add up. No leader of any version
            proposes such an entry.
    """
    size = len(body)
    if size >= _ONE_BYTES:
        form, level, log_time_ms, count, kind, flags, length = _ONE.unpack_from(body, 0)
        is_known = form == ENVELOPE_FORMAT and 1 <= level <= FEATURE_LEVEL
        ordinary = is_known and count == 1 and not flags
        if ordinary and kind in _TYPES and length == size - _ONE_BYTES:
            return Envelope(level, log_time_ms, ((kind, _ONE_BYTES, length),))
    if size < ENVELOPE_BYTES:
        raise CorruptFrame(f"{size} bytes are less than a command envelope")
    form, level, log_time_ms, count = ENVELOPE.unpack_from(body, 0)
    _refuse_newer("envelope format", form, ENVELOPE_FORMAT)
    _refuse_newer("feature level", level, FEATURE_LEVEL)
    if count * COMMAND_BYTES > size - ENVELOPE_BYTES:
        raise CorruptFrame(f"{count} commands do not fit into {size} bytes")
    places: list[tuple[int, int, int]] = []
    position = ENVELOPE_BYTES
    unpack = COMMAND.unpack_from
    for _ in range(count):
        if position + COMMAND_BYTES > size:
            raise CorruptFrame(f"command {len(places)} of {count} begins after the body's end")
        kind, flags, length = unpack(body, position)
        if kind not in _TYPES or flags:
            raise IncompatibleFormat(
                f"command type {kind} with flags {flags:#04x} is not known to this binary "
                f"(feature level {FEATURE_LEVEL}); run the raftlog version that wrote it or later"
            )
        position += COMMAND_BYTES
        places.append((kind, position, length))
        position += length
    if position != size:
        raise CorruptFrame(f"the commands end at {position}, the body at {size}")
    return Envelope(level, log_time_ms, tuple(places))


def refuse_older(what: str, level: int) -> None:
    """Refuse what was decided at a level whose rules this binary does not have any more.

    Raises:
        IncompatibleFormat: It is below ``BROKER_LEVEL_MIN``.
    """
    if level < BROKER_LEVEL_MIN:
        raise IncompatibleFormat(
            f"{what} has feature level {level}; this binary applies {BROKER_LEVEL_MIN} to "
            f"{FEATURE_LEVEL}, and would decide otherwise than the raftlog version that wrote it: "
            "run that one"
        )


def _refuse_newer(what: str, found: int, known: int) -> None:
    if not 1 <= found <= known:
        raise IncompatibleFormat(
            f"{what} {found} is not known to this binary, which knows 1 to {known}; "
            f"run a raftlog version that knows {what} {found}"
        )

"""Errors on the wire: which of them travel, and what becomes of the others.

An error travels as the stable name of its class, its text, and the facts that
a program acts on. What a client may meet arrives as the class it left as. A
fault of the node's own (a disk, a damaged entry) is for the client a node that
cannot serve it: it arrives as ``Unavailable``. A code from a newer version
arrives as the nearest class that makes the same promises about outcome and
retry: an unknown outcome is never taken for a definite one.

A text may repeat what somebody has sent, of any length: it is cut to what a frame, and a person,
can take.
"""

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from raftlog.base.errors import (
    NotLeader,
    NotStored,
    OffsetOutOfRange,
    Outcome,
    OutcomeUnknown,
    OutOfOrder,
    PeerRefused,
    ProtocolError,
    RaftlogError,
    RecordTooLarge,
    Refused,
    Retriable,
    Throttled,
    TopicNotFound,
    Unavailable,
    WrongMessageType,
)
from raftlog.base.ids import NodeId
from raftlog.base.limits import NAME_CHARACTERS_MAX
from raftlog.wire.schema import status

TEXT_CHARACTERS_MAX: Final = 4_096
"""Of an error's text; what is longer is cut."""


def _family(root: type[RaftlogError]) -> list[type[RaftlogError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _family(child))]


TRAVELLING: Final = {
    kind.code: kind
    for root in (Retriable, OutcomeUnknown, NotStored, Refused, PeerRefused)
    for kind in _family(root)
    if kind is not Retriable
}
"""The errors that arrive as the class they left as, by code."""


def encode_error(error: RaftlogError, leader_address: str = "") -> bytes:
    """Return the ``Status`` for ``error``; ``leader_address`` goes with a ``NotLeader``."""
    if type(error) is not TRAVELLING.get(error.code) and error.outcome is Outcome.NOT_APPLIED:
        error = Unavailable(f"the node cannot serve this: {error}")
    message = status.Status(
        code=error.code,
        text=_cut(str(error)),
        retriable=error.retriable,
        outcome_unknown=error.outcome is Outcome.UNKNOWN,
    )
    match error:
        case NotLeader():
            message.leader = error.leader_hint or ""
            message.leader_address = error.leader_address or leader_address
        case Throttled():
            message.cause = _cut(error.cause)
            message.retry_after_s = error.retry_after
        case OffsetOutOfRange():
            message.offset = error.offset
            message.start_offset = error.start
            message.end_offset = error.end
        case RecordTooLarge():
            message.size = error.size
            message.limit = error.limit
        case TopicNotFound():
            message.name = _cut(error.topic, NAME_CHARACTERS_MAX)  # a longer one is no topic's
            message.nearest = error.nearest
        case OutOfOrder():
            message.expected = error.expected
        case WrongMessageType():
            message.name, message.came = error.topic, error.came
            message.takes.extend(error.takes)
        case _:
            pass
    return message.SerializeToString()


def _cut(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """Return a text that a frame can carry: not too long, and UTF-8."""
    return text[:characters_max].encode(errors="replace").decode()


def decode_error(header: bytes) -> RaftlogError:
    """Return the error that a ``Status`` names; ``ProtocolError`` if it is none."""
    try:
        message = status.Status.FromString(header)
    except DecodeError as error:
        return ProtocolError(f"an error that does not decode: {error}")
    kind = TRAVELLING.get(message.code)
    if kind is NotLeader:
        return NotLeader(NodeId(message.leader) or None, message.leader_address or None)
    if kind is not None and issubclass(kind, Throttled):
        return kind(message.cause, message.retry_after_s)
    if kind is not None and kind in _FROM_FACTS:
        return _FROM_FACTS[kind](message)
    if kind is None:
        kind = _nearest(message)
    return kind(message.text)


_FROM_FACTS: Final[Mapping[type[RaftlogError], Callable[[status.Status], RaftlogError]]] = {
    OffsetOutOfRange: lambda found: OffsetOutOfRange(
        found.offset, found.start_offset, found.end_offset
    ),
    RecordTooLarge: lambda found: RecordTooLarge(found.size, found.limit),
    TopicNotFound: lambda found: TopicNotFound(found.name, found.nearest),
    OutOfOrder: lambda found: OutOfOrder(found.expected),
    WrongMessageType: lambda found: WrongMessageType(found.name, found.takes, found.came),
}
"""Errors that are made of what a program acts on, rather than of their text."""


def _nearest(message: status.Status) -> type[RaftlogError]:
    if message.outcome_unknown:
        return OutcomeUnknown
    return Unavailable if message.retriable else Refused

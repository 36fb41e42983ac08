"""Errors as gRPC statuses, and back.

A status has a code, which says in gRPC's words what kind of error it is, our
text as its message, and in the trailing metadata ``raftlog-status-bin`` the
very ``Status`` that framed TCP sends: every language gets the facts, and a
Python program the error that the node raised.

A status without those details was not made by a node's handler but by gRPC (a
connection that broke, a deadline), perhaps after the node had done its work: it
counts as an unknown outcome unless its code rules that out.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import grpc

from raftlog.base.errors import (
    BadBatch,
    BadDelay,
    BadFilter,
    BadFormat,
    BadName,
    BadRequest,
    BufferFull,
    DuplicateForgotten,
    GroupNotFound,
    LimitReached,
    MemberExists,
    MemberNotFound,
    NotCaughtUp,
    NotCommitted,
    NotPermitted,
    NotStored,
    OffsetOutOfRange,
    OutcomeUnknown,
    OutOfOrder,
    PeerRefused,
    ProtocolError,
    RaftlogError,
    RecordTooLarge,
    Refused,
    Retriable,
    SpoolFull,
    Throttled,
    TopicExists,
    TopicNotFound,
    TransactionNotFound,
    TransactionTooLarge,
    Unavailable,
    WrongQueue,
)
from raftlog.wire.schema import status as schema
from raftlog.wire.status import decode_error, encode_error

DETAILS_KEY: Final = "raftlog-status-bin"
TEXT_CHARACTERS_MAX: Final = 500
TEXT_BYTES_MAX: Final = 3 * TEXT_CHARACTERS_MAX
"""gRPC clients take 8 KiB of metadata, which has the text twice, encoded, and perhaps a name."""

_Code = grpc.StatusCode

CODES: Final[Mapping[type[RaftlogError], grpc.StatusCode]] = {
    Retriable: _Code.UNAVAILABLE,
    Throttled: _Code.RESOURCE_EXHAUSTED,
    BufferFull: _Code.RESOURCE_EXHAUSTED,
    SpoolFull: _Code.RESOURCE_EXHAUSTED,
    NotCommitted: _Code.ABORTED,
    OutOfOrder: _Code.FAILED_PRECONDITION,
    OutcomeUnknown: _Code.UNKNOWN,
    NotStored: _Code.ABORTED,
    NotCaughtUp: _Code.FAILED_PRECONDITION,
    Refused: _Code.FAILED_PRECONDITION,
    OffsetOutOfRange: _Code.OUT_OF_RANGE,
    RecordTooLarge: _Code.INVALID_ARGUMENT,
    BadBatch: _Code.INVALID_ARGUMENT,
    BadRequest: _Code.INVALID_ARGUMENT,
    BadName: _Code.INVALID_ARGUMENT,
    BadFormat: _Code.INVALID_ARGUMENT,
    BadDelay: _Code.INVALID_ARGUMENT,
    BadFilter: _Code.INVALID_ARGUMENT,
    TransactionTooLarge: _Code.INVALID_ARGUMENT,
    LimitReached: _Code.RESOURCE_EXHAUSTED,
    WrongQueue: _Code.NOT_FOUND,
    TopicNotFound: _Code.NOT_FOUND,
    GroupNotFound: _Code.NOT_FOUND,
    MemberNotFound: _Code.NOT_FOUND,
    TransactionNotFound: _Code.NOT_FOUND,
    TopicExists: _Code.ALREADY_EXISTS,
    MemberExists: _Code.ALREADY_EXISTS,
    DuplicateForgotten: _Code.ALREADY_EXISTS,
    NotPermitted: _Code.PERMISSION_DENIED,
    PeerRefused: _Code.FAILED_PRECONDITION,
    ProtocolError: _Code.INVALID_ARGUMENT,
}
"""An error has the code of its nearest ancestor in here."""

_DEFINITE: Final[Mapping[grpc.StatusCode, type[RaftlogError]]] = {
    _Code.INVALID_ARGUMENT: BadRequest,
    _Code.UNIMPLEMENTED: BadRequest,
    _Code.UNAUTHENTICATED: BadRequest,
}
"""Codes that gRPC itself gives only to requests that reached no handler."""


class RpcStatus(NamedTuple):
    """A failed rpc, as gRPC sends it."""

    code: grpc.StatusCode
    text: str
    details: bytes
    """A serialized ``raftlog.v1.Status``."""


def code_of(kind: type[RaftlogError]) -> grpc.StatusCode:
    """Return the gRPC code of a class of errors that travels."""
    for ancestor in kind.__mro__:
        if ancestor in CODES:
            return CODES[ancestor]
    raise AssertionError(f"{kind.__name__} has no gRPC code")


def status_of(error: RaftlogError, leader_address: str = "") -> RpcStatus:
    """Return the status for ``error``; ``leader_address`` goes with a ``NotLeader``."""
    message = schema.Status.FromString(encode_error(error, leader_address))
    text = message.text[:TEXT_CHARACTERS_MAX].encode()[:TEXT_BYTES_MAX]
    message.text = text.decode(errors="ignore")  # without half a character
    details = message.SerializeToString()
    return RpcStatus(code_of(type(decode_error(details))), message.text, details)


def typed_error(error: grpc.RpcError, *, changes: bool = True) -> RaftlogError:
    """Return the raftlog error that a failed call was, for programs in Python.

    Args:
        error: What a stub of ``grpc`` or ``grpc.aio`` raised.
        changes: Whether the rpc may have changed something. Without details from
            the node such a call ends in ``OutcomeUnknown``, and one that only
            looks in ``Unavailable``.
    """
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError), f"{error!r} has no status"
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return decode_error(value)
    code = error.code()
    text = f"{code.name.lower().replace('_', ' ')}: {error.details() or 'gRPC gives no reason'}"
    kind = _DEFINITE.get(code)
    if kind is not None:
        return kind(text)
    if changes:
        return OutcomeUnknown(f"{text}; it may have happened or still happen")
    if code is _Code.RESOURCE_EXHAUSTED:
        return Refused(f"{text}; ask for less, or allow larger messages")
    return Unavailable(text)

"""What a client may ask: for each method the message asked with and answered with."""

from collections.abc import Mapping
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from raftlog.base.errors import ProtocolError
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

M = TypeVar("M", bound=Message)

REQUESTS: Final[Mapping[int, type[Message]]] = {
    Method.APPEND: client.AppendBatch,
    Method.READ: client.ReadBatches,
    Method.END_OFFSET: client.EndOffset,
    Method.STATUS: client.GetStatus,
    Method.TRANSFER: client.TransferLeader,
}
REPLIES: Final[Mapping[int, type[Message]]] = {
    Method.APPEND: client.BatchAppended,
    Method.READ: client.BatchesRead,
    Method.END_OFFSET: client.EndOffsetIs,
    Method.STATUS: client.NodeStatus,
    Method.TRANSFER: client.TransferStarted,
}
assert REQUESTS.keys() == REPLIES.keys()


def parse_header(kind: type[M], header: bytes) -> M:
    """Return the message that a frame's header is.

    Raises:
        ProtocolError: It is not one.
    """
    try:
        return kind.FromString(header)
    except DecodeError as error:
        raise ProtocolError(f"a {kind.__name__} does not decode: {error}") from error

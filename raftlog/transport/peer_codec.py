"""Messages of replicas <-> frames.

The fields of a header in ``peer.proto`` have the names that they have in
``raft/rpcs.py``, so one table serves all messages. Entries travel as the
payload: the stored frames one after the other, written from where they are and
read as views of the one received copy.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, cast

from google.protobuf.message import Message as Proto

from raftlog.base.entry import Buffer, Entry, frames_of, parse_entries
from raftlog.base.errors import CorruptFrame, ProtocolError
from raftlog.base.ids import ShardId
from raftlog.raft import rpcs
from raftlog.wire.frame import ENTRY_METHODS, Frame, Method, encode_frame
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import peer

_KINDS: Final[Sequence[tuple[Method, type[rpcs.PeerMessage], type[Proto]]]] = (
    (Method.PRE_VOTE_REQUEST, rpcs.PreVoteRequest, peer.PreVoteRequest),
    (Method.PRE_VOTE_REPLY, rpcs.PreVoteReply, peer.PreVoteReply),
    (Method.VOTE_REQUEST, rpcs.VoteRequest, peer.VoteRequest),
    (Method.VOTE_REPLY, rpcs.VoteReply, peer.VoteReply),
    (Method.APPEND_REQUEST, rpcs.AppendRequest, peer.AppendRequest),
    (Method.APPEND_ACCEPTED, rpcs.AppendAccepted, peer.AppendAccepted),
    (Method.APPEND_REJECTED, rpcs.AppendRejected, peer.AppendRejected),
    (Method.HEARTBEAT, rpcs.Heartbeat, peer.Heartbeat),
    (Method.HEARTBEAT_REPLY, rpcs.HeartbeatReply, peer.HeartbeatReply),
    (Method.TIMEOUT_NOW, rpcs.TimeoutNow, peer.TimeoutNow),
    (Method.READ_INDEX_REQUEST, rpcs.ReadIndexRequest, peer.ReadIndexRequest),
    (Method.READ_INDEX_REPLY, rpcs.ReadIndexReply, peer.ReadIndexReply),
    (Method.REPAIR_REQUEST, rpcs.RepairRequest, peer.RepairRequest),
    (Method.REPAIR_REPLY, rpcs.RepairReply, peer.RepairReply),
)


def _fields(kind: type[rpcs.PeerMessage]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name != "entries")


def _values_of(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    """Return a function that takes these attributes of an object as a tuple."""
    if len(names) > 1:
        return cast("Callable[[object], tuple[Any, ...]]", attrgetter(*names))
    return lambda value: tuple(getattr(value, name) for name in names)


_BY_TYPE: Final = {
    kind: (method, proto, _fields(kind), _values_of(_fields(kind)))
    for method, kind, proto in _KINDS
}
_BY_METHOD: Final = {
    int(method): (
        cast("Callable[..., rpcs.PeerMessage]", kind),
        proto,
        _values_of(_fields(kind)),
    )
    for method, kind, proto in _KINDS
}


def entries_of(message: rpcs.PeerMessage) -> tuple[Entry, ...]:
    """Return the entries that a message carries; one with any belongs on its own connection."""
    if isinstance(message, rpcs.AppendRequest | rpcs.RepairReply):
        return message.entries
    return ()


def encode_message(shard: ShardId, message: rpcs.PeerMessage) -> list[Buffer]:
    """Return the buffers of the frame that carries ``message``."""
    method, proto, names, values = _BY_TYPE[type(message)]
    header = proto(**dict(zip(names, values(message), strict=True))).SerializeToString()
    entries = entries_of(message)
    return encode_frame(method, header, frames_of(entries) if entries else (), shard=shard)


def decode_message(frame: Frame) -> rpcs.PeerMessage:
    """Return the message that a frame carries. Its entries are verified and form a chain.

    Raises:
        ProtocolError: It carries none, or bad entries.
    """
    known = _BY_METHOD.get(frame.method)
    if known is None:
        raise ProtocolError(f"method {frame.method} is no message between replicas")
    make, proto, values = known
    fields = values(parse_header(proto, frame.header))
    if frame.method not in ENTRY_METHODS:
        if len(frame.payload):
            raise ProtocolError(
                f"a {proto.__name__} carries {len(frame.payload)} bytes of payload"
            )
        return make(*fields)
    try:
        message = make(*fields, parse_entries(frame.payload))
    except CorruptFrame as error:
        raise ProtocolError(f"a {proto.__name__} carries bad entries: {error}") from error
    if isinstance(message, rpcs.AppendRequest) and message.entries:
        first = message.entries[0]
        if first.index != message.previous_index + 1 or first.term < message.previous_term:
            raise ProtocolError(
                f"entry {first.index} of term {first.term} does not follow "
                f"{message.previous_index} of term {message.previous_term}"
            )
        if message.entries[-1].term > message.term:
            # It would end up in a log whose hard state is older: that never starts again.
            raise ProtocolError(
                f"an append in term {message.term} carries entry {message.entries[-1].index} of "
                f"term {message.entries[-1].term}"
            )
    return message

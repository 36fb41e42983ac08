"""Messages of replicas <-> frames.

A header has the fields that the message has in ``raft/rpcs.py``, but for its
entries. What is said for every append and every heartbeat has a fixed layout,
little-endian::

    AppendRequest    term u64 | previous term u64 | previous index u64 | commit u64
    AppendAccepted   term u64 | matched u64 | unit u64
    Heartbeat        term u64 | commit u64 | round u64 | chain i64
    HeartbeatReply   term u64 | round u64 | disk u8 | wall clock u64 | pledged u32 | is aside u8

A change of these is a new ``PROTOCOL_VERSION``, which the hello refuses. Every
other header is the message of that name in ``peer.proto``.

Entries travel as the payload: the stored frames one after the other, written
from where they are and read as views of the one received copy. So do pieces of
files, which are checked here too.
"""

import struct
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, cast

from crc32c import crc32c
from google.protobuf.message import Message as Proto

from raftlog.base.entry import Buffer, frames_of, parse_entries
from raftlog.base.errors import CorruptFrame, ProtocolError
from raftlog.base.ids import ShardId
from raftlog.raft import rpcs
from raftlog.wire.frame import ENTRY_METHODS, Frame, Method, encode_frame
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import peer

Values = tuple[Any, ...]
"""The fields of a header, in their order."""

_KINDS: Final[Sequence[tuple[Method, type[rpcs.PeerMessage], type[Proto] | struct.Struct]]] = (
    (Method.PRE_VOTE_REQUEST, rpcs.PreVoteRequest, peer.PreVoteRequest),
    (Method.PRE_VOTE_REPLY, rpcs.PreVoteReply, peer.PreVoteReply),
    (Method.VOTE_REQUEST, rpcs.VoteRequest, peer.VoteRequest),
    (Method.VOTE_REPLY, rpcs.VoteReply, peer.VoteReply),
    (Method.APPEND_REQUEST, rpcs.AppendRequest, struct.Struct("<QQQQ")),
    (Method.APPEND_ACCEPTED, rpcs.AppendAccepted, struct.Struct("<QQQ")),
    (Method.APPEND_REJECTED, rpcs.AppendRejected, peer.AppendRejected),
    (Method.HEARTBEAT, rpcs.Heartbeat, struct.Struct("<QQQq")),
    (Method.HEARTBEAT_REPLY, rpcs.HeartbeatReply, struct.Struct("<QQBQI?")),
    (Method.TIMEOUT_NOW, rpcs.TimeoutNow, peer.TimeoutNow),
    (Method.READ_INDEX_REQUEST, rpcs.ReadIndexRequest, peer.ReadIndexRequest),
    (Method.READ_INDEX_REPLY, rpcs.ReadIndexReply, peer.ReadIndexReply),
    (Method.REPAIR_REQUEST, rpcs.RepairRequest, peer.RepairRequest),
    (Method.REPAIR_REPLY, rpcs.RepairReply, peer.RepairReply),
    (Method.SNAPSHOT_OFFER, rpcs.SnapshotOffer, peer.SnapshotOffer),
    (Method.INSTALL_REQUEST, rpcs.InstallRequest, peer.InstallRequest),
    (Method.INSTALL_CHUNK, rpcs.InstallChunk, peer.InstallChunk),
    (Method.FILE_REQUEST, rpcs.FileRequest, peer.FileRequest),
    (Method.FILE_CHUNK, rpcs.FileChunk, peer.FileChunk),
    (Method.DIVERGENCE_ALARM, rpcs.DivergenceAlarm, peer.DivergenceAlarm),
)
_WITH_ENTRIES: Final = (rpcs.AppendRequest, rpcs.RepairReply)


def _payload_of(kind: type[rpcs.PeerMessage]) -> str:
    return "data" if kind is rpcs.InstallChunk else "entries"


def _fields(kind: type[rpcs.PeerMessage]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name != _payload_of(kind))


def _values_of(names: tuple[str, ...]) -> Callable[[object], Values]:
    """Return a function that takes these attributes of an object as a tuple."""
    if len(names) > 1:
        return cast("Callable[[object], Values]", attrgetter(*names))
    return lambda value: tuple(getattr(value, name) for name in names)


def _encoder(
    kind: type[rpcs.PeerMessage], header: type[Proto] | struct.Struct
) -> Callable[[rpcs.PeerMessage], bytes]:
    names = _fields(kind)
    values = _values_of(names)
    if isinstance(header, struct.Struct):
        pack = header.pack
        return lambda message: pack(*values(message))
    proto = header
    return lambda message: proto(
        **dict(zip(names, values(message), strict=True))
    ).SerializeToString()


def _decoder(
    kind: type[rpcs.PeerMessage], header: type[Proto] | struct.Struct
) -> Callable[[bytes], Values]:
    if isinstance(header, struct.Struct):
        return header.unpack
    proto, values = header, _values_of(_fields(kind))
    return lambda data: values(parse_header(proto, data))


_BY_TYPE: Final = {kind: (int(method), _encoder(kind, header)) for method, kind, header in _KINDS}
_BY_METHOD: Final = {
    int(method): (cast("Callable[..., rpcs.PeerMessage]", kind), _decoder(kind, header))
    for method, kind, header in _KINDS
}


def is_bulk(message: rpcs.PeerMessage) -> bool:
    """Whether a message belongs on the connection for what is large."""
    if isinstance(message, _WITH_ENTRIES):
        return bool(message.entries)
    return isinstance(message, rpcs.InstallChunk)


def encode_message(shard: ShardId, message: rpcs.PeerMessage) -> list[Buffer]:
    """Return the buffers of the frame that carries ``message``."""
    method, encode = _BY_TYPE[type(message)]
    payload: Sequence[Buffer] = ()
    if isinstance(message, _WITH_ENTRIES):
        payload = frames_of(message.entries)
    elif isinstance(message, rpcs.InstallChunk) and message.data:
        payload = (message.data,)
    return encode_frame(method, encode(message), payload, shard=shard)


def decode_message(frame: Frame) -> rpcs.PeerMessage:
    """Return the message that a frame carries. Its entries are verified and form a chain.

    Raises:
        ProtocolError: It carries none, or bad entries.
    """
    known = _BY_METHOD.get(frame.method)
    if known is None:
        raise ProtocolError(f"method {frame.method} is no message between replicas")
    make, decode = known
    try:
        fields = decode(frame.header)
    except struct.error as error:
        raise ProtocolError(f"{_name(frame)}: its header is wrong: {error}") from error
    if frame.method == Method.INSTALL_CHUNK:
        chunk = make(*fields, frame.payload)
        assert isinstance(chunk, rpcs.InstallChunk), "the method says so"
        if crc32c(chunk.data) != chunk.checksum:
            raise ProtocolError(f"{len(chunk.data)} bytes of a snapshot fail their checksum")
        return chunk
    if frame.method not in ENTRY_METHODS:
        if len(frame.payload):
            raise ProtocolError(f"a {_name(frame)} carries {len(frame.payload)} bytes of payload")
        return make(*fields)
    try:
        message = make(*fields, parse_entries(frame.payload))
    except CorruptFrame as error:
        raise ProtocolError(f"a {_name(frame)} carries bad entries: {error}") from error
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


def _name(frame: Frame) -> str:
    return _BY_METHOD[frame.method][0].__name__

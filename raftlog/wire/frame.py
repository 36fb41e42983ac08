"""Frames: how messages lie in a stream of bytes. Sans I/O: bytes in, frames out.

Little-endian::

    length u32 | header length u32 | request id u64 | shard u32
    method u8 | flags u8 | reserved u16 | crc32c u32
    header | payload

``length`` counts header and payload. The header is a protobuf message, or has a
fixed layout for what replicas say all the time (``transport.peer_codec``). The
checksum covers the fixed fields before it and the header; the payload brings
its own (entries and batches are checksummed end to end).

What a peer *claims* costs nothing: a length beyond the limit is refused at the
fixed header, and a large frame gets memory as its bytes really arrive. The
first frame of a connection, before a hello was accepted, has a small limit.

What it refuses to know: sockets, who is at the other end, what a message means.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError
from raftlog.base.limits import (
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
    FRAME_UNPROVEN_BYTES_MAX,
    KIB,
)

PROTOCOL_MAGIC: Final = 0x474C4652
PROTOCOL_VERSION: Final = 3
_PREFIX: Final = struct.Struct("<IIQIBBHI")
_SEALED: Final = struct.Struct("<IIQIBBH")
_CHECKSUM: Final = struct.Struct("<I")
PREFIX_BYTES: Final = _PREFIX.size
RECEIVE_BYTES: Final = 256 * KIB
"""The receive buffer of a connection; most turns of the loop need no other."""
GROWTH_MAX: Final = 8
"""A full buffer grows to at most so many times its size."""
JOIN_BYTES_MAX: Final = 16 * KIB
"""Up to here joining buffers is cheaper than handing the kernel one more of them."""


class Method(IntEnum):
    """What a frame is. A number is never used again for something else."""

    HELLO = 1
    CANCEL = 2
    """The request of this id is not wanted any more; there is no answer to this frame."""

    PRE_VOTE_REQUEST = 16
    PRE_VOTE_REPLY = 17
    VOTE_REQUEST = 18
    VOTE_REPLY = 19
    APPEND_REQUEST = 20
    APPEND_ACCEPTED = 21
    APPEND_REJECTED = 22
    HEARTBEAT = 23
    HEARTBEAT_REPLY = 24
    TIMEOUT_NOW = 25
    READ_INDEX_REQUEST = 26
    READ_INDEX_REPLY = 27
    REPAIR_REQUEST = 28
    REPAIR_REPLY = 29
    DIVERGENCE_ALARM = 30
    FILE_REQUEST = 31
    FILE_CHUNK = 32
    SNAPSHOT_OFFER = 33
    INSTALL_REQUEST = 34
    INSTALL_CHUNK = 35

    APPEND = 64
    READ = 65
    END_OFFSET = 66
    STATUS = 67
    TRANSFER = 68
    FIND_OFFSET = 69
    SCRUB = 70
    DRAIN = 71

    TOPIC_CREATE = 80
    TOPIC_ALTER = 81
    TOPIC_DELETE = 82
    TOPIC_DESCRIBE = 83
    TOPIC_LIST = 84

    PRODUCER_INIT = 88
    PRODUCER_FENCE = 89

    GROUP_JOIN = 96
    GROUP_HEARTBEAT = 97
    GROUP_LEAVE = 98
    GROUP_CLAIM = 99
    GROUP_COMMIT = 100
    GROUP_SEEK = 101
    GROUP_DESCRIBE = 102
    GROUP_LIST = 103
    GROUP_DELETE = 104

    MEMBER_LIST = 112
    MEMBER_ADD = 113
    MEMBER_PROMOTE = 114
    MEMBER_DEMOTE = 115
    MEMBER_REMOVE = 116
    LEADER_PREFER = 117

    DELAYED_APPEND = 120
    DELAYED_CANCEL = 121
    DELAYED_LIST = 122
    TRANSACTOR_INIT = 130
    HALVES_STAGE = 131
    TRANSACTIONS_DECIDE = 132
    CHECKS_POLL = 133
    CHECKS_ANSWER = 134
    TRANSACTION_LIST = 135
    TRANSACTION_RESOLVE = 136
    TRANSACTION_COMMIT = 137
    TRANSACTION_STAGE = 138

    QUEUE_OPEN = 140
    QUEUE_RECEIVE = 141
    QUEUE_ACK = 142
    QUEUE_EXTEND = 143
    QUEUE_RETURN = 144
    QUEUE_DECIDE = 145
    QUEUE_DESCRIBE = 146
    QUEUE_LIST = 147
    QUEUE_IN_FLIGHT = 148
    QUEUE_SEEK = 149

    QUOTA_SET = 160
    QUOTA_REMOVE = 161
    QUOTA_LIST = 162
    SEARCH = 163
    TRACE = 164
    TRACE_HIDDEN = 165
    GROUP_SEEKS = 166
    HISTORY = 167

    GROUP_SUBSCRIBE = 150
    GROUP_RELEASE = 151


class Flag(IntEnum):
    """What a frame is, beside its method. Plain ints: an ``IntFlag`` costs 1 µs for each ``&``."""

    REPLY = 1
    """Answers the request of the same id."""
    ERROR = 2
    """The header is a ``Status``."""


ENTRY_METHODS: Final = frozenset({int(Method.APPEND_REQUEST), int(Method.REPAIR_REPLY)})
"""What carries entries."""
BULK_METHODS: Final = ENTRY_METHODS | {int(Method.INSTALL_CHUNK)}
"""What may be large: bytes of these prove that the sender lives (ruling 32)."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One received frame.

    ``payload`` is a ``bytes`` copy, or for a frame larger than the receive
    buffer a read-only view of a buffer of its own. Either stays valid and
    never changes.
    """

    method: int
    flags: int
    request_id: int
    shard: int
    header: bytes
    payload: Buffer


def encode_frame(
    method: int,
    header: bytes,
    payload: Sequence[Buffer] = (),
    *,
    request_id: int = 0,
    shard: int = 0,
    flags: int = 0,
) -> list[Buffer]:
    """Return the buffers of one frame, for one gathered write.

    Large parts of the payload are passed on as they are, small neighbours are
    joined.
    """
    length = header_length = len(header)
    for part in payload:
        length += len(part)
    assert header_length <= FRAME_HEADER_BYTES_MAX, f"frame header of {header_length} bytes"
    assert length <= FRAME_BODY_BYTES_MAX, f"frame of {length} bytes"
    sealed = _SEALED.pack(length, header_length, request_id, shard, method, flags, 0)
    checksum = _CHECKSUM.pack(crc32c(header, crc32c(sealed)))
    if length <= JOIN_BYTES_MAX:
        return [b"".join((sealed, checksum, header, *payload))]
    small: list[Buffer] = [sealed, checksum, header]
    buffers: list[Buffer] = []
    for part in payload:
        if len(part) <= JOIN_BYTES_MAX:
            small.append(part)
            continue
        if small:
            buffers.append(b"".join(small))
            small = []
        buffers.append(part)
    if small:
        buffers.append(b"".join(small))
    return buffers


class FrameDecoder:
    """Turns received bytes into frames. Owned by one connection.

    Made for ``asyncio.BufferedProtocol``: write into ``get_buffer()``, tell
    ``buffer_updated(count)``, then ``take()`` frames until there is none. After a
    ``ProtocolError`` the decoder is of no further use.

    Attributes:
        partial_bytes: Bytes of an unfinished frame that have arrived.
        partial_method: Its method, once its header is proven good, else 0.
        partial_shard: Its shard, likewise.
    """

    def __init__(self) -> None:
        self._home = bytearray(RECEIVE_BYTES)
        self._buffer = self._home
        self._view = memoryview(self._home)
        self._start = 0
        self._end = 0
        self._limit = FRAME_UNPROVEN_BYTES_MAX
        self._needed = PREFIX_BYTES
        self.partial_bytes = 0
        self.partial_method = 0
        self.partial_shard = 0

    @property
    def allocated_bytes(self) -> int:
        """Memory held for receiving."""
        return len(self._home) + (len(self._buffer) if self._buffer is not self._home else 0)

    def prove(self) -> None:
        """The other side has said an acceptable hello: frames may be large from here on."""
        self._limit = FRAME_BODY_BYTES_MAX

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Return where the next bytes go; never empty, whatever the hint."""
        del sizehint
        return self._view[self._end :] if self._end else self._view

    def buffer_updated(self, count: int) -> None:
        """``count`` bytes were written into the last ``get_buffer()``."""
        self._end += count
        assert self._end <= len(self._buffer), f"{self._end} bytes in {len(self._buffer)}"

    def frames(self) -> Iterator[Frame]:
        """Yield every whole frame that has arrived; take all of them.

        Raises:
            ProtocolError: These bytes are no frames of this protocol.
        """
        while (frame := self.take()) is not None:
            yield frame

    def take(self) -> Frame | None:
        """Return the next whole frame; None when no other has arrived, and only then go on.

        Raises:
            ProtocolError: These bytes are no frames of this protocol.
        """
        have = self._end - self._start
        if not have:
            self._start = self._end = self.partial_bytes = 0
            return None
        if have >= self._needed:
            frame = self._parse()
            if frame is not None:
                return frame
        self.partial_bytes = have
        self._make_room(have)
        return None

    def _parse(self) -> Frame | None:
        start = self._start
        length, header_length, request_id, shard, method, flags, reserved, checksum = (
            _PREFIX.unpack_from(self._buffer, start)
        )
        if length > self._limit:
            raise ProtocolError(f"a frame of {length} bytes is over the limit of {self._limit}")
        if header_length > min(length, FRAME_HEADER_BYTES_MAX) or reserved:
            raise ProtocolError(f"a frame of {length} bytes has a header of {header_length}")
        header_at = start + PREFIX_BYTES
        payload_at = header_at + header_length
        if payload_at > self._end:
            self._needed = PREFIX_BYTES + header_length
            return None
        header = bytes(self._view[header_at:payload_at])
        if not self.partial_method:  # else it was checked when the header was complete
            sealed = self._view[start : start + _SEALED.size]
            if crc32c(header, crc32c(sealed)) != checksum:
                raise ProtocolError("a frame header fails its checksum")
            if not method:
                raise ProtocolError("a frame has method 0")
        after = header_at + length
        if after > self._end:
            self._needed = PREFIX_BYTES + length
            self.partial_method, self.partial_shard = method, shard
            return None
        payload: Buffer
        if self._buffer is self._home:
            payload = bytes(self._view[payload_at:after])
        else:  # the buffer holds this one frame and is given away with it
            payload = self._view[payload_at:after].toreadonly()
            self._buffer, self._view = self._home, memoryview(self._home)
            after = self._end = 0
        self._start = after
        self._needed = PREFIX_BYTES
        self.partial_method = self.partial_shard = 0
        return Frame(method, flags, request_id, shard, header, payload)

    def _make_room(self, size: int) -> None:
        """Leave space behind the ``size`` bytes that are here: move them, or grow for them."""
        capacity = len(self._buffer)
        if self._start + self._needed <= capacity:
            return
        if self._start:
            self._view[:size] = self._view[self._start : self._end]
            self._start, self._end = 0, size
        elif size == capacity:
            # A few times what has really arrived, and never beyond this frame, so that the
            # buffer can be given away with it. A message of 1 MiB grows once: each step costs
            # fresh pages and a copy.
            grown = bytearray(min(self._needed, GROWTH_MAX * capacity))
            grown[:size] = self._view
            self._buffer, self._view = grown, memoryview(grown)

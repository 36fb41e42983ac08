"""Messages as bytes: through the real codec, whole or with one bit that is not what it was.

A checksum must show the damage: then the receiver ends the connection, and the
message is lost. One that is taken for good would be believed.
"""

from random import Random
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.errors import ProtocolError
from raftlog.base.ids import ShardId
from raftlog.raft.rpcs import PeerMessage
from raftlog.transport.peer_codec import decode_message, encode_message, entries_of
from raftlog.wire.frame import FrameDecoder

NAME: Final = "wire"
_SHARD: Final = ShardId(0)


def through_the_wire(message: PeerMessage) -> PeerMessage:
    """Return ``message`` as its receiver reads it.

    Raises:
        Violation: It is another one, or none.
    """
    try:
        received = _read(_bytes_of(message))
    except ProtocolError as error:
        raise Violation(NAME, f"{message} cannot be read: {error}") from error
    if received != message:
        raise Violation(NAME, f"{message} is read as {received}")
    return received


def flip_a_bit(message: PeerMessage, random: Random) -> None:
    """Damage ``message`` on its way; it must be refused, or never be whole.

    Raises:
        Violation: The receiver takes something for good that was not sent.
    """
    data = bytearray(_bytes_of(message))
    place = random.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    try:
        received = _read(bytes(data))
    except ProtocolError:
        return
    if received is not None and received != message:
        raise Violation(NAME, f"{message} with bit {place} flipped is read as {received}")


def size_of(message: PeerMessage) -> int:
    """Return about how many bytes ``message`` has on the wire."""
    payload = getattr(message, "data", b"")
    return 60 + len(payload) + sum(len(entry.frame) for entry in entries_of(message))


def _bytes_of(message: PeerMessage) -> bytes:
    return b"".join(encode_message(_SHARD, message))


def _read(data: bytes) -> PeerMessage | None:
    decoder = FrameDecoder()
    decoder.prove()
    received: PeerMessage | None = None
    while data:
        buffer = decoder.get_buffer()
        length = min(len(buffer), len(data))
        buffer[:length] = data[:length]
        data = data[length:]
        decoder.buffer_updated(length)
        for frame in decoder.frames():
            received = decode_message(frame)
    return received

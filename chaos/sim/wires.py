"""Messages as bytes: through the real codec, whole or with one bit that is not what it was.

A checksum must show the damage: then the receiver ends the connection, and the
message is lost. One that is taken for good would be believed.
"""

from random import Random
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError
from raftlog.base.ids import ShardId
from raftlog.base.limits import FRAME_HEADER_BYTES_MAX
from raftlog.raft.rpcs import FileChunk, PeerMessage
from raftlog.transport.peer_codec import decode_message, encode_message, is_bulk
from raftlog.wire.frame import PREFIX_BYTES, FrameDecoder

NAME: Final = "wire"
SHARD: Final = ShardId(0)
SMALL_BYTES: Final = 60
"""What carries no data has about so many bytes."""
_MORE_BYTES: Final = PREFIX_BYTES + FRAME_HEADER_BYTES_MAX
"""Behind a header whose length was damaged so many bytes come at most until it is looked at."""


class Wire:
    """Encodes and decodes, as the two ends of a connection do."""

    def __init__(self) -> None:
        self._decoder = _new_decoder()

    def carry(self, message: PeerMessage) -> PeerMessage:
        """Return ``message`` as its receiver reads it.

        Raises:
            Violation: It is another one, or none.
        """
        try:
            received = self._read(b"".join(encode_message(SHARD, message)))
        except ProtocolError as error:
            raise Violation(NAME, f"{message} cannot be read: {error}") from error
        if received is None or received != message:
            raise Violation(NAME, f"{message} is read as {received}")
        return received

    def damage(self, message: PeerMessage, random: Random) -> None:
        """Flip a bit of ``message`` on its way; the receiver must refuse it.

        Raises:
            Violation: It takes for good what was not sent.
        """
        size = sum(map(len, encode_message(SHARD, message)))
        self.flip(message, random.randrange(size * 8))

    def flip(self, message: PeerMessage, bit: int) -> None:
        """Flip that bit of ``message``; the receiver must refuse it.

        Raises:
            Violation: It takes for good what was not sent.
        """
        sent = b"".join(encode_message(SHARD, message))
        data = bytearray(sent)
        data[bit // 8] ^= 1 << bit % 8
        try:
            received = self._read(data)
            if received is None:  # it waits for more of a header that has become a long one
                received = self._read(sent * (_MORE_BYTES // len(sent) + 1))
        except ProtocolError:
            self._decoder = _new_decoder()
            return
        raise Violation(NAME, f"{message} with bit {bit} flipped is read as {received}")

    def _read(self, data: Buffer) -> PeerMessage | None:
        """Give bytes to the receiver; return the first message that it takes from them."""
        decoder = self._decoder
        received: PeerMessage | None = None
        view = memoryview(data)
        while view:
            buffer = decoder.get_buffer()
            length = min(len(buffer), len(view))
            buffer[:length] = view[:length]
            view = view[length:]
            decoder.buffer_updated(length)
            for frame in decoder.frames():
                received = received or decode_message(frame)
        return received


def size_of(message: PeerMessage) -> int:
    """Return how many bytes ``message`` has on the wire; about, where that is cheaper."""
    if is_bulk(message) or type(message) is FileChunk:
        return sum(map(len, encode_message(SHARD, message)))
    return SMALL_BYTES


def _new_decoder() -> FrameDecoder:
    decoder = FrameDecoder()
    decoder.prove()
    return decoder

"""One framed TCP connection on the event loop, whichever side opened it.

Received bytes go straight into the decoder's buffer and frames are handled in
the same turn, by callback. Frames that are sent in one turn of the loop leave
in one gathered write when it has been handled (``base.turn``). There is no task
and no queue per connection.
"""

import asyncio
from collections.abc import Iterable
from typing import cast

from raftlog.base.entry import Buffer
from raftlog.base.errors import PeerRefused, ProtocolError
from raftlog.base.turn import turn_of
from raftlog.wire.frame import Frame, FrameDecoder, Method
from raftlog.wire.greeting import refusal_frame


class FramedConnection(asyncio.BufferedProtocol):
    """The bytes of a connection; subclasses give frames a meaning.

    Every method is called on the loop.
    """

    def __init__(self) -> None:
        self.decoder = FrameDecoder()
        self.loop = asyncio.get_running_loop()
        self.turn = turn_of(self.loop)
        self.transport: asyncio.Transport | None = None
        self.received_bytes = 0
        self.is_ended = False
        """No frame is handled or sent any more."""
        self._outgoing: list[Buffer] = []
        self._outgoing_bytes = 0

    # -- for subclasses

    def frame_received(self, frame: Frame) -> None:
        """Handle one frame.

        Raises:
            PeerRefused: The other side is told, and the connection ends.
        """
        raise NotImplementedError

    def partial_received(self) -> None:
        """Bytes of a frame have arrived that is not whole yet."""

    def ended(self, error: Exception | None) -> None:
        """The connection is gone; called once, if it was made."""

    # -- sending

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        written = 0 if self.transport is None else self.transport.get_write_buffer_size()
        return self._outgoing_bytes + written

    def send(self, buffers: Iterable[Buffer]) -> None:
        """Send a frame at the end of this turn of the loop."""
        if self.is_ended:
            return
        if not self._outgoing:
            self.turn.defer(self._flush)
        outgoing = self._outgoing
        for buffer in buffers:
            outgoing.append(buffer)
            self._outgoing_bytes += len(buffer)

    def _flush(self) -> None:
        outgoing = self._outgoing
        self._outgoing = []
        self._outgoing_bytes = 0
        if self.transport is None or not outgoing or self.transport.is_closing():
            return
        if len(outgoing) == 1:
            self.transport.write(outgoing[0])
        else:
            self.transport.writelines(outgoing)

    # -- ending

    def refuse(self, error: PeerRefused) -> None:
        """Tell the other side why, then close."""
        self.send((refusal_frame(error),))
        self.close()

    def close(self) -> None:
        """Send what is waiting, then close."""
        self.is_ended = True
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once, and forget what was not sent."""
        self.is_ended = True
        self._outgoing = []
        self._outgoing_bytes = 0
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.is_ended = True
        self._outgoing = []
        self._outgoing_bytes = 0
        self.ended(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self.decoder.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Handle what has arrived."""
        self.received_bytes += nbytes
        self.decoder.buffer_updated(nbytes)
        self.turn.handle(self._take_frames)

    def _take_frames(self) -> None:
        take = self.decoder.take
        try:
            while (frame := take()) is not None:
                if self.is_ended:
                    return
                self.frame_received(frame)
        except PeerRefused as error:
            self.refuse(error)
            return
        if self.decoder.partial_bytes and not self.is_ended:
            self.partial_received()

    def eof_received(self) -> bool:
        """Close; nobody here sends into a connection that cannot answer."""
        return False


def first_frame(frame: Frame) -> None:
    """Refuse anything before a hello.

    Raises:
        ProtocolError: It is another frame.
    """
    if frame.method != Method.HELLO or frame.flags:
        raise ProtocolError(f"a connection begins with a hello, not with method {frame.method}")

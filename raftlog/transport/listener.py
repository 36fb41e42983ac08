"""An address that accepts framed connections: limits, hellos, and who is too slow.

Whoever connects gets little until its hello is accepted: one small frame, one
deadline. Afterwards a frame that is begun must make progress. Both are watched
by one timer for all connections. At the limit of connections a new one is told
so and closed.
"""

import asyncio
from abc import abstractmethod
from typing import Final, Self

import msgspec

from raftlog.base.errors import RaftlogError, Throttled
from raftlog.base.ids import ReplicaId
from raftlog.base.limits import CONNECTIONS_MAX
from raftlog.transport.connection import FramedConnection, first_frame
from raftlog.transport.gate import Gate
from raftlog.wire.frame import Frame, Method, encode_frame
from raftlog.wire.greeting import REFUSED, accepted_frame
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import hello
from raftlog.wire.status import encode_error

BACKLOG: Final = 1_024


class ListenerLimits(msgspec.Struct, frozen=True):
    """What a listener bears."""

    connections_max: int = CONNECTIONS_MAX
    patience_s: float = 5.0
    """For a hello; for progress of a frame that has begun; for the last bytes after a close."""


class AcceptedConnection(FramedConnection):
    """A connection that somebody else opened."""

    def __init__(self, listener: "Listener") -> None:
        super().__init__()
        self.listener: Final = listener
        self.is_proven = False
        self.sender: ReplicaId | None = None
        self.said: hello.Hello | None = None
        """How it said hello."""
        self.purpose = 0
        self._seen_bytes = -1

    @abstractmethod
    def proven_frame_received(self, frame: Frame) -> None:
        """Handle a frame after the hello.

        Raises:
            PeerRefused: The other side is told, and the connection ends.
        """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        refusal = self.listener.joined(self)
        if refusal is not None:
            header = encode_error(refusal)
            self.send(encode_frame(Method.HELLO, header, flags=REFUSED))
            self.close()

    def frame_received(self, frame: Frame) -> None:
        """Handle the hello, later everything else."""
        if self.is_proven:
            self.proven_frame_received(frame)
            return
        first_frame(frame)
        gate = self.listener.gate
        message = parse_header(hello.Hello, frame.header)
        self.sender = gate.admit(message, self.listener.purposes)
        self.said = message
        self.purpose = message.purpose
        self.is_proven = True
        self.decoder.prove()
        self.send((accepted_frame(gate.cluster, gate.replica),))

    def ended(self, error: Exception | None) -> None:
        """Leave."""
        del error
        self.listener.left(self)

    def stands_still(self) -> bool:
        """Whether nothing has come since the last look although something has to."""
        moved = self.received_bytes != self._seen_bytes
        is_new = self._seen_bytes < 0
        self._seen_bytes = self.received_bytes
        if is_new:
            return False
        if not self.is_proven or self.is_ended:
            return True  # one patience is all that a hello, or a farewell, gets
        return not moved and self.decoder.partial_bytes > 0


class Listener:
    """One listening address."""

    def __init__(self, gate: Gate, purposes: frozenset[int], limits: ListenerLimits) -> None:
        self.gate: Final = gate
        self.purposes: Final = purposes
        self.limits: Final = limits
        self.connections: set[AcceptedConnection] = set()
        self.refused_connections = 0
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @abstractmethod
    def accept(self) -> AcceptedConnection:
        """Return the protocol of a new connection."""

    async def listen(self, host: str, port: int) -> Self:
        """Accept connections; port 0 picks a free one.

        Raises:
            OSError: The address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.accept, host, port, backlog=BACKLOG)
        self._look_later()
        return self

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "not listening"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def joined(self, connection: AcceptedConnection) -> RaftlogError | None:
        """Count a connection; return why it is refused, if it is."""
        if len(self.connections) >= self.limits.connections_max:
            self.refused_connections += 1
            return Throttled(f"{len(self.connections)} connections are open already", 1.0)
        self.connections.add(connection)
        return None

    def left(self, connection: AcceptedConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    async def close(self) -> None:
        """Stop listening and close every connection after what it still has to send."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.close()
        # Protocols are told of their end in the next turns; whoever does not read is cut off.
        for _ in range(3):
            await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self.limits.patience_s, self._look)

    def _look(self) -> None:
        for connection in tuple(self.connections):
            if connection.stands_still():
                connection.abort()
        self._look_later()

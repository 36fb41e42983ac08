"""The address that clients connect to: requests in, answers out, by callback.

A request costs one object and no task. Answers may come in any order, also
within the call of the handler. A client that does not take its answers is not
read from until it does; one with too many unanswered requests is throttled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest, NotLeader, ProtocolError, RaftlogError, Throttled
from raftlog.base.ids import NodeId, ShardId
from raftlog.base.limits import REQUESTS_PER_CONNECTION_MAX, WRITE_BUFFER_BYTES_MAX
from raftlog.transport.gate import CLIENTS, Gate
from raftlog.transport.listener import AcceptedConnection, Listener, ListenerLimits
from raftlog.wire.frame import Flag, Frame, Method, encode_frame
from raftlog.wire.requests import EXCHANGES, parse_header
from raftlog.wire.status import encode_error

AddressOf = Callable[[NodeId], str]
"""Where clients reach a node (``host:port``), "" if unknown: goes with ``NotLeader``."""

_FAILED: Final = int(Flag.REPLY | Flag.ERROR)


class Request:
    """One request of a client, to be answered once, with ``reply`` or ``fail``.

    Attributes:
        method: What is asked.
        shard: Of which shard.
        message: The request's header, of the class that ``wire.requests`` names.
        payload: The bytes beside it; they stay valid and never change.
        on_cancelled: Called once if the client does not want the answer any
            more, or is gone; an answer after that is dropped. Forgotten with the answer: what
            works on a request has the request, and a circle of the two waits for the collector.
    """

    __slots__ = ("_connection", "_id", "_on_cancelled", "message", "method", "payload", "shard")

    def __init__(self, connection: "_ClientConnection", frame: Frame, message: Message) -> None:
        self._connection: _ClientConnection | None = connection
        self._id = frame.request_id
        self.method = frame.method
        self.shard = ShardId(frame.shard)
        self.message = message
        self.payload = frame.payload
        self._on_cancelled: Callable[[], None] | None = None

    @property
    def on_cancelled(self) -> Callable[[], None] | None:
        """Whom to tell that the answer is not wanted any more."""
        return self._on_cancelled

    @on_cancelled.setter
    def on_cancelled(self, call: Callable[[], None] | None) -> None:
        if self._connection is not None:  # else it was answered at once
            self._on_cancelled = call

    def reply(self, message: Message, payload: Sequence[Buffer] = ()) -> None:
        """Answer; the buffers must not change any more."""
        connection = self._let_go()
        if connection is not None:
            header = message.SerializeToString()
            connection.answer(self._id, self.method, header, payload, Flag.REPLY)

    def fail(self, error: RaftlogError) -> None:
        """Answer that it failed."""
        connection = self._let_go()
        if connection is not None:
            address = ""
            if isinstance(error, NotLeader) and error.leader_hint is not None:
                address = connection.server.address_of(error.leader_hint)
            connection.answer(self._id, self.method, encode_error(error, address), (), _FAILED)

    def cancel(self) -> None:
        """The answer is not wanted any more."""
        on_cancelled = self._on_cancelled
        if self._let_go() is not None and on_cancelled is not None:
            on_cancelled()

    def _let_go(self) -> "_ClientConnection | None":
        """Return the connection, once."""
        connection, self._connection = self._connection, None
        self._on_cancelled = None
        return connection


Handler = Callable[[Request], None]
"""Starts a request, on the loop. It must not block, and raises nothing."""


class _ClientConnection(AcceptedConnection):
    """What one client asks."""

    def __init__(self, server: "ClientServer") -> None:
        super().__init__(server)
        self.server = server
        self._requests: dict[int, Request] = {}

    def proven_frame_received(self, frame: Frame) -> None:
        """Start a request, or cancel one."""
        if frame.method == Method.CANCEL:
            cancelled = self._requests.pop(frame.request_id, None)
            if cancelled is not None:
                cancelled.cancel()
            return
        if frame.flags or frame.request_id in self._requests:
            raise ProtocolError(f"request {frame.request_id} is no new request")
        server = self.server
        exchange = EXCHANGES.get(frame.method)
        handler = server.handlers.get(frame.method)
        if exchange is None or handler is None:
            self._refuse_request(frame, BadRequest(f"method {frame.method} is not served here"))
        elif len(self._requests) >= server.requests_max:
            self._refuse_request(frame, Throttled("too many requests wait on this connection"))
        else:
            request = Request(self, frame, parse_header(exchange.request, frame.header))
            self._requests[frame.request_id] = request
            server.requests += 1
            handler(request)

    def _refuse_request(self, frame: Frame, error: RaftlogError) -> None:
        self.server.refused_requests += 1
        header = encode_error(error)
        self.send(encode_frame(frame.method, header, request_id=frame.request_id, flags=_FAILED))

    def answer(
        self, request_id: int, method: int, header: bytes, payload: Sequence[Buffer], flags: int
    ) -> None:
        """Send an answer."""
        if self._requests.pop(request_id, None) is None:
            return
        if self.unsent_bytes > WRITE_BUFFER_BYTES_MAX:
            self.abort()  # it sends requests and takes no answers
            return
        self.send(encode_frame(method, header, payload, request_id=request_id, flags=flags))

    def pause_writing(self) -> None:
        """The client takes no answers: hear no more of its requests."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def ended(self, error: Exception | None) -> None:
        """Cancel what is not answered: nobody is there to hear it."""
        super().ended(error)
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.cancel()


class ClientServer(Listener):
    """Accepts the connections of clients."""

    def __init__(
        self,
        gate: Gate,
        handlers: Mapping[int, Handler],
        *,
        address_of: AddressOf = lambda _: "",
        limits: ListenerLimits | None = None,
        requests_max: int = REQUESTS_PER_CONNECTION_MAX,
    ) -> None:
        super().__init__(gate, CLIENTS, limits or ListenerLimits())
        self.handlers: Final = handlers
        self.address_of: Final = address_of
        self.requests_max: Final = requests_max
        self.requests = 0
        self.refused_requests = 0

    def accept(self) -> AcceptedConnection:
        """Return the protocol of a new connection."""
        return _ClientConnection(self)

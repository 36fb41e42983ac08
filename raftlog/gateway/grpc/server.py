"""The address that gRPC clients connect to.

::

    bytes --> message, payload --> the node's handler --> reply --> bytes
                                      |
                                      +-- NotLeader --> Forwarder --> the leader

What is made of several requests (``COMPOSED``) this node asks the leader for, one by one.
There is no generated code and no second set of handlers: generic rpc handlers
parse with the shipped schema and call what framed TCP calls. It costs a task
and 0.5 ms for each request: the public face, not the hot path (architecture.md).

gRPC reads a whole message before it calls us, so what clients can make the node
hold is bounded by the size of a message and by how many rpcs there are at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, NoReturn, Self, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from raftlog.base.errors import (
    BadRequest,
    NotLeader,
    RaftlogError,
    Throttled,
    Unavailable,
)
from raftlog.base.ids import NodeId, ShardId
from raftlog.base.limits import (
    FETCH_WAIT_NS_MAX,
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
    RPCS_MAX,
)
from raftlog.client.asking import Asker
from raftlog.client.channel import unanswered
from raftlog.gateway.grpc.calls import Answer, Call, put_payload, take_payload
from raftlog.gateway.grpc.forwarding import Forwarder
from raftlog.gateway.grpc.letters import COMPOSERS
from raftlog.gateway.grpc.statuses import DETAILS_KEY, status_of
from raftlog.service.ports import ClientRequest
from raftlog.wire.frame import Method
from raftlog.wire.requests import BROKER, COMPOSED, EXCHANGES, RPCS, parse_header
from raftlog.wire.schema import PACKAGE

Handler = Callable[[ClientRequest], None]
Context = grpc.aio.ServicerContext[bytes, bytes]

SHARD_KEY: Final = "raftlog-shard"
"""Metadata: which shard is asked; 0 without it."""
GRACE_S: Final = 0.5
"""For the last answers of a node that stops; its whole stop has 10 s (ruling 33)."""
PATIENCE_S: Final = FETCH_WAIT_NS_MAX / 1e9 + 10.0
"""For a forwarded request of a caller without a deadline: beyond the longest wait for records."""
MARGIN_S: Final = 0.05
"""So much before the caller's deadline a forwarded request is answered: an error that says what
happened is worth more than gRPC's, which can't."""
OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # or two nodes with one port would share it in silence
    ("grpc.max_receive_message_length", FRAME_BODY_BYTES_MAX),
    # As much as a frame has room for; a batch in a message costs 5 bytes more than in a payload.
    ("grpc.max_send_message_length", FRAME_BODY_BYTES_MAX + FRAME_HEADER_BYTES_MAX),
    # A client that is gone without a word must not keep its long polls: it is pinged.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A client may ping as often, also while it has nothing to ask.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class GrpcServer:
    """Serves ``raftlog.v1.Broker``. Used on one loop.

    Args:
        handlers: The node's handlers, by method.
        forwarder: Carries to the leader what only it answers; None: the caller is told.
        address_of: Where clients reach a node, "" if unknown: goes with ``NotLeader``.
        rpcs_max: So many rpcs at once are served; more are ``Throttled``.
    """

    def __init__(
        self,
        handlers: Mapping[int, Handler],
        *,
        forwarder: Forwarder | None = None,
        address_of: Callable[[NodeId], str] = lambda _: "",
        rpcs_max: int = RPCS_MAX,
    ) -> None:
        self._handlers = handlers
        self._forwarder = forwarder
        self._address_of = address_of
        self._rpcs_max = rpcs_max
        self._calls: set[Call] = set()
        self._composing: set[asyncio.Task[Message]] = set()
        self._closing = False
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port that is listened on."""

    async def listen(self, host: str, port: int) -> Self:
        """Serve; port 0 picks a free one.

        Raises:
            OSError: The address cannot be had.
        """
        # gRPC says neither why it can't listen nor that quietly: whoever asks first, learns it.
        tried = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
        tried.close()
        await tried.wait_closed()
        # Rpcs whose message has not arrived are not counted by us: gRPC's own bound is for those.
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=2 * self._rpcs_max)
        server.add_generic_rpc_handlers((self._generic_handler(),))
        shown = f"[{host}]" if ":" in host else host
        try:
            self.port = server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._server = server
        await server.start()
        return self

    async def close(self) -> None:
        """End what waits with what can be said of it, and stop listening. Idempotent."""
        self._closing = True
        server, self._server = self._server, None
        if server is not None:
            stopping = asyncio.ensure_future(server.stop(GRACE_S))
            for call in tuple(self._calls):
                call.end(unanswered(call.method, "the node is stopping"))
            for task in self._composing:
                task.cancel()
            await stopping
        if self._forwarder is not None:
            await self._forwarder.aclose()

    # -- one rpc

    def _generic_handler(self) -> grpc.GenericRpcHandler:
        served: dict[str, Callable[[bytes, Context], Awaitable[bytes]]] = {
            **{name: partial(self._serve, method) for name, method in RPCS.items()},
            **{name: partial(self._serve_composed, name) for name in COMPOSED},
        }
        return grpc.method_handlers_generic_handler(
            f"{PACKAGE}.{BROKER}",
            {name: grpc.unary_unary_rpc_method_handler(serve) for name, serve in served.items()},
        )

    async def _serve(self, method: Method, request: bytes, context: Context) -> bytes:
        try:
            call = self._read(method, request, context)
            message, payload = await self._answer(call, context)
        except RaftlogError as error:
            await self._refuse(context, error)
        put_payload(message, payload)
        return message.SerializeToString()

    def _read(self, method: Method, request: bytes, context: Context) -> Call:
        """Return the request.

        Raises:
            Unavailable, Throttled, BadRequest, ProtocolError: It is not served.
        """
        self._check_room()
        if method not in self._handlers:
            raise BadRequest(f"method {method} is not served here")
        message = parse_header(EXCHANGES[method].request, request)
        payload = take_payload(message)
        if len(request) > FRAME_HEADER_BYTES_MAX:
            _check_size(message)
        return Call(method, _shard(context), message, payload)

    def _check_room(self) -> None:
        if self._closing:
            raise Unavailable("the node is stopping; ask another one")
        if len(self._calls) + len(self._composing) >= self._rpcs_max:
            raise Throttled("too many rpcs wait on this node")

    async def _serve_composed(self, name: str, request: bytes, context: Context) -> bytes:
        try:
            message = await self._composed(name, request, context)
        except RaftlogError as error:
            await self._refuse(context, error)
        return message.SerializeToString()

    async def _composed(self, name: str, request: bytes, context: Context) -> Message:
        """Answer an rpc that is made of others.

        Raises:
            OutcomeUnknown, Unavailable: It was begun, and had to end; to ask again is harmless.
            RaftlogError: As what it is made of.
        """
        self._check_room()
        asked, composer = parse_header(COMPOSED[name].request, request), COMPOSERS[name]
        if self._forwarder is None:
            raise Unavailable("this node does not know the others")
        shard, patience_s = _shard(context), _patience_s(context)
        sender: str = getattr(asked, "client", "")
        router = self._forwarder.router(shard)
        asker = Asker(router, shard=shard, timeout_s=patience_s, client_id=sender)
        task = asyncio.ensure_future(composer.make(asker, asked))
        self._composing.add(task)
        task.add_done_callback(self._composing.discard)
        try:
            async with asyncio.timeout(patience_s):
                return await task
        except TimeoutError:
            raise composer.ended("not all of it was done in time; ask again to go on") from None
        except asyncio.CancelledError:
            if not self._closing:
                raise
            raise composer.ended("the node is stopping; ask another one to go on") from None

    async def _answer(self, call: Call, context: Context) -> Answer:
        try:
            return await self._waited_for(call, self._handlers[call.method])
        except NotLeader:
            if self._forwarder is None:
                raise
            forward = partial(self._forwarder.start, timeout_s=_patience_s(context))
            return await self._waited_for(call.again(), forward)

    async def _waited_for(self, call: Call, start: Callable[[Call], None]) -> Answer:
        self._calls.add(call)
        try:
            start(call)
            return await call.answer()
        finally:
            self._calls.discard(call)

    async def _refuse(self, context: Context, error: RaftlogError) -> NoReturn:
        address = ""
        if isinstance(error, NotLeader) and error.leader_hint is not None:
            address = self._address_of(error.leader_hint)
        status = status_of(error, address)
        await context.abort(status.code, status.text, ((DETAILS_KEY, status.details),))
        raise AssertionError("gRPC went on after an abort")


def _check_size(message: Message) -> None:
    """Refuse what a frame has no room for: the node that leads would take it, and no other.

    Raises:
        BadRequest: It is larger than that.
    """
    size = message.ByteSize()
    if size > FRAME_HEADER_BYTES_MAX:
        raise BadRequest(
            f"the request has {size} bytes beside its batches, and a node takes "
            f"{FRAME_HEADER_BYTES_MAX}; name fewer things at once"
        )


def _shard(context: Context) -> ShardId:
    """Return the shard that the metadata names.

    Raises:
        BadRequest: It is no number.
    """
    given = next((v for key, v in context.invocation_metadata() or () if key == SHARD_KEY), "0")
    text = given.decode("ascii", "replace") if isinstance(given, bytes) else given
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise BadRequest(f"the metadata {SHARD_KEY} is {text!r}; it must be the number of a shard")
    return ShardId(int(text))


def _patience_s(context: Context) -> float:
    """Return how long a forwarded request may take, a little less than its caller waits."""
    left_s = cast("float | None", context.time_remaining())
    return PATIENCE_S if left_s is None else max(left_s - MARGIN_S, left_s / 2)

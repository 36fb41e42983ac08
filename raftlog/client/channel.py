"""One connection to one node: many requests at once, answered in any order.

The hot path is ``request`` with a callback: no task, no future per call. A
request that is given up (timeout, cancellation) is forgotten here, and its late
answer dropped; giving up takes nothing back that the node may have done.

When the connection ends, whoever waits is told what can be said: a request that
changes something ends in ``OutcomeUnknown``, because it may have been carried
out; one that only looks ends in ``Unavailable``.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadRequest,
    Closed,
    OutcomeUnknown,
    PeerRefused,
    ProtocolError,
    RaftlogError,
    Throttled,
    Unavailable,
)
from raftlog.base.limits import (
    FRAME_HEADER_BYTES_MAX,
    REQUESTS_PER_CONNECTION_MAX,
    WRITE_BUFFER_BYTES_MAX,
)
from raftlog.base.turn import turn_of
from raftlog.wire.frame import Flag, Frame, FrameDecoder, Method, encode_frame
from raftlog.wire.greeting import client_hello, hello_frame, read_answer
from raftlog.wire.requests import EXCHANGES, parse_header
from raftlog.wire.schema import hello
from raftlog.wire.status import decode_error

M = TypeVar("M", bound=Message)
CONNECT_TIMEOUT_S: Final = 1.0

OnAnswer = Callable[[Frame | RaftlogError], None]
"""Called on the loop at most once: the answer, or why there is none."""


class Channel(asyncio.BufferedProtocol):
    """A connection to one node, made by ``connect``. Bound to its loop."""

    def __init__(self, cluster: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._turn = turn_of(self._loop)
        self._cluster = cluster
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, tuple[int, OnAnswer]] = {}
        self._next_id = 0
        self._outgoing: list[Buffer] = []
        self._outgoing_bytes = 0
        self._accepted: asyncio.Future[hello.HelloAccepted] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.node = ""
        """The node at the other end."""
        self.cluster = ""
        self.is_open = False
        self.heard_at = self._loop.time()
        """When something last arrived, by the loop's clock."""

    @classmethod
    async def connect(
        cls, host: str, port: int, *, cluster: str = "", timeout_s: float = CONNECT_TIMEOUT_S
    ) -> "Channel":
        """Connect and say hello.

        Args:
            host: Of the node's client address.
            port: Likewise.
            cluster: The cluster that it must be; "" takes any.
            timeout_s: For all of it.

        Raises:
            Unavailable: Nobody is there, or does not answer in time.
            PeerRefused: The node refuses this client, or is of another cluster.
        """
        channel = cls(cluster)
        try:
            async with asyncio.timeout(timeout_s):
                await channel._loop.create_connection(lambda: channel, host, port)
                accepted = await asyncio.shield(channel._accepted)
        except BaseException as error:
            channel._accepted.cancel()
            channel.abort()
            if isinstance(error, OSError | TimeoutError):
                why = _cause(error) or f"it took longer than {timeout_s:.3g} s"
                raise Unavailable(f"no node answers at {host}:{port}: {why}") from error
            raise
        channel.node = accepted.node
        channel.cluster = accepted.cluster
        return channel

    # -- asking

    @property
    def waiting_count(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def request(
        self,
        method: int,
        header: bytes,
        payload: Sequence[Buffer],
        on_answer: OnAnswer,
        *,
        shard: int = 0,
    ) -> int:
        """Send a request at the end of this turn of the loop; return its id.

        ``on_answer`` is never called before this returns.

        Raises:
            Unavailable: The connection has ended; nothing was sent.
            Throttled: Too much waits on it already; nothing was sent.
            BadRequest: It is larger than a node takes.
        """
        if len(header) > FRAME_HEADER_BYTES_MAX:
            raise BadRequest(
                f"the request has {len(header)} bytes, and a node takes {FRAME_HEADER_BYTES_MAX}; "
                "name fewer things at once"
            )
        if not self.is_open:
            raise Unavailable("the connection has ended")
        if len(self._waiting) >= REQUESTS_PER_CONNECTION_MAX:
            raise Throttled(f"{len(self._waiting)} requests wait on this connection already")
        transport = cast("asyncio.Transport", self._transport)
        if self._outgoing_bytes + transport.get_write_buffer_size() > WRITE_BUFFER_BYTES_MAX:
            raise Throttled("the node takes less than is sent")
        request_id = self._next_id = self._next_id + 1
        if not self._waiting:
            self.heard_at = self._loop.time()  # silence counts from when somebody waits
        self._waiting[request_id] = (method, on_answer)
        self._send(encode_frame(method, header, payload, request_id=request_id, shard=shard))
        return request_id

    def forget(self, request_id: int) -> None:
        """The answer is not wanted any more: tell the node, drop it if it comes."""
        if self._waiting.pop(request_id, None) is not None and self.is_open:
            self._send(encode_frame(Method.CANCEL, b"", request_id=request_id))

    async def call(
        self,
        method: int,
        message: Message,
        answer: type[M],
        *,
        payload: Sequence[Buffer] = (),
        shard: int = 0,
        timeout_s: float = 10.0,
    ) -> tuple[M, Buffer]:
        """Ask and wait; return the answer's header and payload.

        Raises:
            OutcomeUnknown: No answer in time, or the connection was lost, and the
                request may have changed something.
            Unavailable: The same for one that only looks.
            RaftlogError: What the node answered.
        """
        future: asyncio.Future[Frame] = self._loop.create_future()

        def on_answer(result: Frame | RaftlogError) -> None:
            if future.done():
                return
            if isinstance(result, RaftlogError):
                future.set_exception(result)
            else:
                future.set_result(result)

        header = message.SerializeToString()
        request_id = self.request(method, header, payload, on_answer, shard=shard)
        try:
            async with asyncio.timeout(timeout_s):
                frame = await future
        except TimeoutError:
            raise unanswered(method, f"no answer within {timeout_s:g} s") from None
        finally:
            self.forget(request_id)
        return parse_header(answer, frame.header), frame.payload

    # -- ending

    def abort(self, why: RaftlogError | None = None) -> None:
        """Close at once; whoever waits is told before this returns."""
        self._end(why or Closed("the connection was closed here"))
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close, and wait until it is closed. Idempotent."""
        self.abort()
        if self._transport is not None:
            await self._ended

    def _end(self, why: RaftlogError) -> None:
        self.is_open = False
        self._outgoing = []
        self._outgoing_bytes = 0
        if not self._accepted.done():
            self._accepted.set_exception(why)
            self._accepted.exception()  # read, or asyncio complains that nobody did
        waiting, self._waiting = self._waiting, {}
        for method, on_answer in waiting.values():
            on_answer(unanswered(method, f"the connection to {self.node} ended ({why})"))

    # -- bytes

    def _send(self, buffers: Sequence[Buffer]) -> None:
        if not self._outgoing:
            self._turn.defer(self._flush)
        for buffer in buffers:
            self._outgoing.append(buffer)
            self._outgoing_bytes += len(buffer)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        self._outgoing_bytes = 0
        if outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(outgoing)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(hello_frame(client_hello(self._cluster)))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._decoder.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has arrived."""
        self.heard_at = self._loop.time()
        self._decoder.buffer_updated(nbytes)
        self._turn.handle(self._take_frames)

    def _take_frames(self) -> None:
        try:
            while (frame := self._decoder.take()) is not None:
                if self.is_open:
                    self._answered(frame)
                elif not self._accepted.done():
                    self._greeted(frame)
        except PeerRefused as error:
            self.abort(error if self.is_open else _no_node(error))

    def _greeted(self, frame: Frame) -> None:
        try:
            accepted = read_answer(frame, self._cluster)
        except RaftlogError as error:
            self.abort(error)
            return
        self._decoder.prove()
        self.is_open = True
        self._accepted.set_result(accepted)

    def _answered(self, frame: Frame) -> None:
        if not frame.flags & Flag.REPLY:
            raise ProtocolError(f"a node asks its client for method {frame.method}")
        waiting = self._waiting.pop(frame.request_id, None)
        if waiting is None:
            return  # given up before the answer came
        on_answer = waiting[1]
        on_answer(decode_error(frame.header) if frame.flags & Flag.ERROR else frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._end(Unavailable(f"it was reset: {exc}" if exc else "the node closed it"))
        if not self._ended.done():
            self._ended.set_result(None)

    def eof_received(self) -> bool:
        """The node is done: close."""
        return False


def _cause(error: Exception) -> str:
    """Return what the system says, in its words instead of numbers."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error)


def _no_node(error: PeerRefused) -> ProtocolError:
    """Say what matters: bytes of something else are no frames, whatever is wrong with them."""
    return ProtocolError(
        f"what listens there speaks another protocol ({error}); clients connect to listen.client "
        "of cluster.yml, and not to listen.grpc"
    )


def unanswered(method: int, why: str) -> RaftlogError:
    """Return what can be said of a request whose answer never came."""
    if EXCHANGES[method].changes:
        return OutcomeUnknown(
            f"{why}; it may have happened or still happen: look before you ask again, which "
            "may repeat it"
        )
    return Unavailable(f"{why}; ask again")

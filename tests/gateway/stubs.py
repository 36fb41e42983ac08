"""A gRPC client made of nothing but the shipped descriptor set, and a node of fake handlers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio

from raftlog.base.errors import RaftlogError
from raftlog.gateway.grpc.server import GrpcServer, Handler
from raftlog.gateway.grpc.statuses import typed_error
from raftlog.service.ports import ClientRequest
from raftlog.wire.requests import BROKER, RPCS
from raftlog.wire.schema import PACKAGE, rpcs_of

PATIENCE_S: Final = 10.0
LARGE: Final = (("grpc.max_receive_message_length", 6 << 20),)


class Stubs:
    """The rpcs of one node, by name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def raw(self, name: str) -> Any:
        """Return an rpc that takes and gives bytes."""
        return self._channel.unary_unary(f"/{PACKAGE}.{BROKER}/{name}")

    def __getattr__(self, name: str) -> Any:
        """Return an rpc that takes and gives messages."""
        request, reply = rpcs_of(BROKER)[name]
        return self._channel.unary_unary(
            f"/{PACKAGE}.{BROKER}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )


@asynccontextmanager
async def dialled(address: str) -> AsyncIterator[Stubs]:
    """Give a client of the node at ``address``."""
    async with grpc.aio.insecure_channel(address, options=LARGE) as channel:
        yield Stubs(channel)


@asynccontextmanager
async def serving(
    handlers: Mapping[int, Handler] | Handler, **options: Any
) -> AsyncIterator[tuple[GrpcServer, Stubs]]:
    """Give a server of ``handlers``, one for each method or one for all, and a client of it."""
    if not isinstance(handlers, Mapping):
        handlers = dict.fromkeys(RPCS.values(), handlers)
    server = GrpcServer(handlers, **options)
    await server.listen("127.0.0.1", 0)
    try:
        async with dialled(f"127.0.0.1:{server.port}") as stubs:
            yield server, stubs
    finally:
        await server.close()


async def error_of(call: Any, *, changes: bool = True) -> RaftlogError:
    """Return the error in which ``call`` ends."""
    try:
        answer = await call
    except grpc.RpcError as error:
        return typed_error(error, changes=changes)
    raise AssertionError(f"it was answered: {answer}")


class Held:
    """A handler that keeps what it is asked, unanswered."""

    def __init__(self) -> None:
        self.requests: list[ClientRequest] = []
        self.cancelled = 0
        self._changed = asyncio.Event()

    def __call__(self, request: ClientRequest) -> None:
        """Keep a request."""
        self.requests.append(request)
        request.on_cancelled = self._cancel
        self._changed.set()

    def _cancel(self) -> None:
        self.cancelled += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a request, or the end of one, makes true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

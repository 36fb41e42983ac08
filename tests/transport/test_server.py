"""The accepting side against clients that are wrong, slow, greedy or hostile."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from raftlog.base.errors import (
    BadRequest,
    ProtocolError,
    RaftlogError,
    Throttled,
    WrongCluster,
    WrongIdentity,
    WrongVersion,
)
from raftlog.base.ids import ClusterId, DirectoryId, NodeId, ReplicaId
from raftlog.transport.gate import Gate
from raftlog.transport.listener import Listener, ListenerLimits
from raftlog.transport.peer_server import PeerServer
from raftlog.transport.server import ClientServer, Request
from raftlog.wire.frame import (
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RECEIVE_BYTES,
    Flag,
    Frame,
    FrameDecoder,
    Method,
    encode_frame,
)
from raftlog.wire.greeting import hello_frame
from raftlog.wire.schema import client, hello
from raftlog.wire.status import decode_error

pytestmark = pytest.mark.asyncio
CLUSTER: Final = ClusterId("c" * 32)
N1: Final = ReplicaId(NodeId("n1"), DirectoryId("1" * 32))
IMPATIENT: Final = ListenerLimits(connections_max=2, patience_s=0.15)


class Wire:
    """A raw connection that can say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def frame(self) -> Frame | None:
        """Return the next frame, or None when the other side has closed."""
        async with asyncio.timeout(30):
            while not self._frames:
                try:
                    data = await self._reader.read(1_000)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._decoder.get_buffer()[: len(data)] = data
                self._decoder.buffer_updated(len(data))
                self._frames.extend(self._decoder.frames())
        return self._frames.pop(0)

    async def error(self) -> RaftlogError | None:
        """Return the error that the next frame is."""
        frame = await self.frame()
        if frame is None or not frame.flags & Flag.ERROR:
            return None
        return decode_error(frame.header)


@asynccontextmanager
async def dialled(port: int) -> AsyncIterator[Wire]:
    """Give a raw connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(server: Listener) -> AsyncIterator[int]:
    """Give the port of a listening server."""
    await server.listen("127.0.0.1", 0)
    try:
        yield server.port
    finally:
        await server.close()


def peers(limits: ListenerLimits | None = None) -> PeerServer:
    """Return a peer server that must never be given a message."""

    def unexpected(*_: object) -> None:
        raise AssertionError("a message came through")

    return PeerServer(Gate(CLUSTER, N1), unexpected, lambda *_: None, limits=limits)


def clients(handler: Callable[[Request], None], **options: object) -> ClientServer:
    """Return a client server that serves statuses with ``handler``."""
    return ClientServer(Gate(CLUSTER, N1), {Method.STATUS: handler}, **options)  # type: ignore[arg-type]


def greeting(**changes: object) -> bytes:
    """Return a peer's good hello to n1, but for ``changes``."""
    fields: dict[str, object] = {
        "magic": PROTOCOL_MAGIC,
        "protocol": PROTOCOL_VERSION,
        "purpose": hello.PURPOSE_CONTROL,
        "cluster": CLUSTER,
        "node": "n2",
        "directory": "2" * 32,
        "target_node": N1.node,
        "target_directory": N1.directory,
        **changes,
    }
    return hello_frame(hello.Hello(**fields).SerializeToString())  # type: ignore[arg-type]


CLIENT_HELLO: Final = hello_frame(
    hello.Hello(
        magic=PROTOCOL_MAGIC, protocol=PROTOCOL_VERSION, purpose=hello.PURPOSE_CLIENT
    ).SerializeToString()
)


def status_request(number: int, method: int = Method.STATUS) -> bytes:
    """Return a request."""
    return b"".join(
        encode_frame(method, client.GetStatus().SerializeToString(), request_id=number)
    )


BAD_CRC: Final = bytearray(greeting())
BAD_CRC[-1] ^= 1
BAD_FIRST_BYTES: Final = [
    pytest.param(greeting(magic=1), ProtocolError, id="not raftlog"),
    pytest.param(greeting(protocol=99), WrongVersion, id="another version"),
    pytest.param(greeting(cluster="other"), WrongCluster, id="another cluster"),
    pytest.param(greeting(cluster=""), WrongCluster, id="a peer without a cluster"),
    pytest.param(greeting(target_node="n9"), WrongIdentity, id="another node"),
    pytest.param(greeting(target_node=""), WrongIdentity, id="a peer without a target"),
    pytest.param(greeting(target_directory="9" * 32), WrongIdentity, id="another directory"),
    pytest.param(greeting(node=""), WrongIdentity, id="a nameless peer"),
    pytest.param(greeting(node="n1"), WrongIdentity, id="a peer with our name"),
    pytest.param(greeting(purpose=1), ProtocolError, id="a client at the peers' address"),
    pytest.param(bytes(BAD_CRC), ProtocolError, id="bad checksum"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ProtocolError, id="http"),
    pytest.param(b"\xff" * 1_000, ProtocolError, id="rubbish"),
    pytest.param(
        struct.pack("<IIQIBBHI", 0xFFFF_FFFF, 10, 0, 0, 1, 0, 0, 0), ProtocolError, id="4 GiB"
    ),
    pytest.param(status_request(1), ProtocolError, id="a request before hello"),
]


@pytest.mark.parametrize(("data", "kind"), BAD_FIRST_BYTES)
async def test_bad_first_bytes_get_a_typed_refusal_and_the_door(
    data: bytes, kind: type[RaftlogError]
) -> None:
    """The other side can say what is wrong, and holds nothing here afterwards."""
    server = peers()
    async with serving(server) as port, dialled(port) as wire:
        wire.say(data)
        assert type(await wire.error()) is kind
        assert await wire.frame() is None
        assert not server.connections


async def test_a_bad_message_ends_the_connection_of_a_proven_peer() -> None:
    """Bytes that pass the frame and are no message: nothing guesses what was meant."""
    bad = [
        b"".join(encode_frame(Method.APPEND_REQUEST, b"", [b"no entries at all"])),
        b"".join(encode_frame(Method.HEARTBEAT, b"\xff\xff")),
        b"".join(encode_frame(Method.STATUS, b"")),
        b"".join(encode_frame(Method.VOTE_REPLY, b"", [b"unexpected payload"])),
    ]
    server = peers()
    async with serving(server) as port:
        for data in bad:
            async with dialled(port) as wire:
                wire.say(greeting() + data)
                accepted = await wire.frame()
                assert accepted is not None
                assert accepted.flags == Flag.REPLY
                assert type(await wire.error()) is ProtocolError
                assert await wire.frame() is None


async def test_a_claim_of_5_mib_and_silence_costs_no_memory_and_ends() -> None:
    """A half frame is held to its pace, and to the bytes that came (slow loris)."""
    server = peers(IMPATIENT)
    claim = b"".join(encode_frame(Method.APPEND_REQUEST, b"", [bytes(4_000_000)]))
    async with serving(server) as port, dialled(port) as wire:
        wire.say(greeting() + claim[:1_000])
        assert (await wire.frame()) is not None
        assert all(c.decoder.allocated_bytes == RECEIVE_BYTES for c in server.connections)
        assert await wire.frame() is None
        assert not server.connections


async def test_a_connection_that_never_says_hello_is_closed() -> None:
    """Also one that drips: a hello has one deadline, not one per byte."""
    server = peers(IMPATIENT)
    async with serving(server) as port, dialled(port) as silent, dialled(port) as dripping:
        hello_bytes = greeting()

        async def drip() -> None:
            for byte in hello_bytes:
                dripping.say(bytes([byte]))
                await asyncio.sleep(0.02)

        task = asyncio.create_task(drip())
        assert await silent.frame() is None
        assert await dripping.frame() is None
        task.cancel()
        assert not server.connections


async def test_a_proven_connection_may_be_idle() -> None:
    """Only a frame that has begun must make progress."""
    answered: list[Request] = []
    server = clients(answered.append, limits=IMPATIENT)
    async with serving(server) as port, dialled(port) as wire:
        wire.say(CLIENT_HELLO)
        assert await wire.frame() is not None
        for _ in range(4):  # of the server's looks
            await asyncio.sleep(IMPATIENT.patience_s)
        assert len(server.connections) == 1


async def test_one_connection_too_many_is_told_so() -> None:
    """A bound that is reached is a typed refusal."""
    server = peers(ListenerLimits(connections_max=1))
    async with serving(server) as port, dialled(port) as first, dialled(port) as second:
        first.say(greeting())
        assert await first.frame() is not None
        assert type(await second.error()) is Throttled
        assert await second.frame() is None
        assert (len(server.connections), server.refused_connections) == (1, 1)


async def test_requests_are_answered_in_any_order_by_their_ids() -> None:
    """A slow request holds nobody back."""
    requests: list[Request] = []
    both = asyncio.Event()

    def handler(request: Request) -> None:
        requests.append(request)
        if len(requests) == 2:
            both.set()

    async with serving(clients(handler)) as port, dialled(port) as wire:
        wire.say(CLIENT_HELLO + status_request(7) + status_request(8))
        assert await wire.frame() is not None
        await asyncio.wait_for(both.wait(), 30)
        requests[1].reply(client.NodeStatus(node="second"), [b"payload"])
        requests[0].reply(client.NodeStatus(node="first"))
        requests[0].fail(BadRequest("an answer is given once"))
        answers = [await wire.frame(), await wire.frame()]
        assert [(f.request_id, bytes(f.payload)) for f in answers if f] == [
            (8, b"payload"),
            (7, b""),
        ]


async def test_what_is_not_served_and_what_is_too_much_is_refused_by_request() -> None:
    """The connection, and the requests before, are not touched."""
    held: list[Request] = []
    async with serving(clients(held.append, requests_max=1)) as port, dialled(port) as wire:
        wire.say(CLIENT_HELLO + status_request(1) + status_request(2) + status_request(3, 200))
        assert await wire.frame() is not None
        assert type(await wire.error()) is Throttled
        assert type(await wire.error()) is BadRequest
        held[0].reply(client.NodeStatus())
        answer = await wire.frame()
        assert answer is not None
        assert answer.request_id == 1


@pytest.mark.parametrize("by", ["cancel", "disconnect"])
async def test_a_request_nobody_waits_for_is_cancelled(by: str) -> None:
    """A long poll must not outlive who asked."""
    cancelled = asyncio.Event()
    held: list[Request] = []

    def handler(request: Request) -> None:
        held.append(request)
        request.on_cancelled = cancelled.set

    server = clients(handler)
    async with serving(server) as port, dialled(port) as wire:
        wire.say(CLIENT_HELLO + status_request(5))
        assert await wire.frame() is not None
        if by == "cancel":
            wire.say(b"".join(encode_frame(Method.CANCEL, b"", request_id=5)))
        else:
            wire.writer.transport.abort()
        await asyncio.wait_for(cancelled.wait(), 30)
        held[0].reply(client.NodeStatus())  # dropped: nobody is there
        held[0].cancel()


async def test_whom_a_cancel_would_tell_is_forgotten_with_the_answer() -> None:
    """It has the request, as a rule: a circle of the two would wait for the collector."""
    held: asyncio.Queue[Request] = asyncio.Queue()
    async with serving(clients(held.put_nowait)) as port, dialled(port) as wire:
        wire.say(CLIENT_HELLO + status_request(5) + status_request(6))
        assert await wire.frame() is not None
        early, late = await held.get(), await held.get()
        early.on_cancelled = lambda: None
        assert early.on_cancelled is not None
        early.reply(client.NodeStatus())
        late.fail(BadRequest("no"))
        late.on_cancelled = lambda: None
        assert (early.on_cancelled, late.on_cancelled) == (None, None)

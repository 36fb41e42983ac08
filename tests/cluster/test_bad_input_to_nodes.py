"""What strangers and mistaken clients send to running nodes, on both of their ports.

The connection ends or the request gets a typed error; the node spends no
memory on what is merely claimed, and goes on serving everybody else.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest
from google.protobuf.message import Message

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    OffsetOutOfRange,
    Outcome,
    ProtocolError,
    RaftlogError,
    RecordTooLarge,
    WrongCluster,
    WrongQueue,
    WrongVersion,
)
from raftlog.base.limits import BATCH_BYTES_MAX, MIB
from raftlog.client.client import Client
from raftlog.testing.bench.usage import usage_of
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.address import parse_address
from raftlog.wire.batch import encode_columns
from raftlog.wire.frame import (
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    Flag,
    FrameDecoder,
    Method,
    encode_frame,
)
from raftlog.wire.greeting import hello_frame
from raftlog.wire.schema import client as messages
from raftlog.wire.schema import hello
from raftlog.wire.status import decode_error
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, channel_to, queue_of

pytestmark = pytest.mark.asyncio

CLAIM: Final = struct.pack("<IIQIBBHI", 0xFFFF_FFFF, 16, 1, 0, 64, 0, 0, 0)
"""A frame header that says: 4 GiB follow."""
GROWTH_BYTES_MAX: Final = 1 * MIB
QUEUE: Final = 1
"""The number that the topic's queue has."""
PATIENT: Final = "timings: {election_min_ms: 4000, election_max_ms: 8000}"
ROUNDS: Final = 4
TIMES: Final = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes for all of this module: no case may harm them.

    Nor may a busy machine: whoever leads goes on leading, so that an answer is never "not me".
    """
    with LocalCluster(tmp_path_factory.mktemp("nodes"), settings=[PATIENT]) as nodes:
        yield nodes
        nodes.check_alive()


@asynccontextmanager
async def client_of(cluster: LocalCluster) -> AsyncIterator[Client]:
    """Give a client, and a topic of one queue: the first one that this cluster opens."""
    async with Client(cluster.seeds, timeout=PATIENCE_S) as client:
        await client.topics.create(TOPIC, queues=1, exist_ok=True)
        assert (await queue_of(client))[0] == QUEUE
        yield client


class Stranger:
    """Somebody who knows all about a node but is neither a client nor a peer of it."""

    def __init__(self, cluster: LocalCluster, cluster_id: str, is_peer_port: bool) -> None:  # noqa: FBT001
        address = cluster.addresses[0]
        self.address = address.peer if is_peer_port else address.client
        self.node = cluster.nodes[address.node]
        self._cluster_id = cluster_id
        self._is_peer = is_peer_port

    def hello(self, *, protocol: int = PROTOCOL_VERSION, cluster: str | None = None) -> bytes:
        """Return a hello that this port accepts, but for what is asked otherwise."""
        message = hello.Hello(
            magic=PROTOCOL_MAGIC,
            protocol=protocol,
            purpose=hello.PURPOSE_CONTROL if self._is_peer else hello.PURPOSE_CLIENT,
            cluster=self._cluster_id if cluster is None else cluster,
        )
        if self._is_peer:
            message.node, message.directory = "n9", "0" * 32
            message.target_node = self.node.node
        return hello_frame(message.SerializeToString())

    async def say(self, data: bytes) -> list[RaftlogError]:
        """Send ``data`` and return the errors that come back until the node closes."""
        errors: list[RaftlogError] = []
        decoder = FrameDecoder()
        reader, writer = await asyncio.open_connection(*parse_address(self.address))
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(data)
                while received := await _read(reader):
                    decoder.get_buffer()[: len(received)] = received
                    decoder.buffer_updated(len(received))
                    frames = [frame for frame in decoder.frames() if frame.flags & Flag.ERROR]
                    errors += [decode_error(frame.header) for frame in frames]
        finally:
            writer.close()
        return errors


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(4096)
    except ConnectionError:
        return b""  # the node closed while it still had bytes of ours unread


def rubbish(_: Stranger) -> bytes:
    """Bytes of no protocol."""
    return bytes(range(1, 256)) * 20


def another_protocol(_: Stranger) -> bytes:
    """A browser."""
    return b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"


def a_claim(_: Stranger) -> bytes:
    """4 GiB before anything else."""
    return CLAIM


def a_claim_after_hello(stranger: Stranger) -> bytes:
    """4 GiB from somebody who was let in."""
    return stranger.hello() + CLAIM


def a_request_before_hello(_: Stranger) -> bytes:
    """No introduction."""
    return b"".join(encode_frame(Method.STATUS, b"", request_id=1))


def a_hello_that_does_not_decode(_: Stranger) -> bytes:
    """A good frame round a bad message."""
    return hello_frame(b"\xff" * 40)


def another_version(stranger: Stranger) -> bytes:
    """From the future."""
    return stranger.hello(protocol=PROTOCOL_VERSION + 1)


def another_cluster(stranger: Stranger) -> bytes:
    """Right port, wrong machine."""
    return stranger.hello(cluster="0" * 32)


STRANGE: Final = [
    (rubbish, ProtocolError),
    (another_protocol, ProtocolError),
    (a_claim, ProtocolError),
    (a_claim_after_hello, ProtocolError),
    (a_request_before_hello, ProtocolError),
    (a_hello_that_does_not_decode, ProtocolError),
    (another_version, WrongVersion),
    (another_cluster, WrongCluster),
]


@pytest.mark.long
@pytest.mark.parametrize("is_peer_port", [False, True], ids=["client port", "peer port"])
async def test_strangers_are_refused_and_cost_nothing(
    cluster: LocalCluster,
    is_peer_port: bool,  # noqa: FBT001
) -> None:
    """Each kind many times over: told why, sent away, forgotten."""
    async with client_of(cluster) as client:
        await client.send(TOPIC, b"before")
        stranger = Stranger(cluster, (await client.status()).cluster, is_peer_port)
        growths = [await _growth_of_a_round(stranger) for _ in range(ROUNDS)]
        # The first round also pays for what the allocator keeps; a leak shows in every one.
        assert min(growths) <= GROWTH_BYTES_MAX, f"bytes more, by round: {growths}"
        assert (await client.send(TOPIC, b"after")).offset >= 1
        assert stranger.node.running


async def _growth_of_a_round(stranger: Stranger) -> int:
    before = usage_of(stranger.node.pid).resident_bytes
    for strange, kind in STRANGE:
        said = await asyncio.gather(*(stranger.say(strange(stranger)) for _ in range(TIMES)))
        kinds = {type(error) for errors in said for error in errors}
        assert kinds == {kind}, f"{strange.__name__}: {kinds}"
    return usage_of(stranger.node.pid).resident_bytes - before


def _damaged() -> bytes:
    batch = bytearray(encode_columns([b"value"], timestamp_ms=1))
    batch[-1] ^= 1
    return bytes(batch)


GOOD: Final = encode_columns([b"value"], timestamp_ms=1)
MISTAKES: Final = [
    ("damaged", Method.APPEND, messages.AppendBatch(queue=QUEUE), 0, _damaged(), BadBatch),
    ("no batch", Method.APPEND, messages.AppendBatch(queue=QUEUE), 0, b"hello", BadBatch),
    ("nothing", Method.APPEND, messages.AppendBatch(queue=QUEUE), 0, b"", BadBatch),
    *(
        (name, Method.APPEND, messages.AppendBatch(queue=QUEUE), 0, bytes(size), RecordTooLarge)
        for name, size in (("a byte too long", BATCH_BYTES_MAX + 1), ("5 MB", 5_000_000))
    ),
    ("append to a queue", Method.APPEND, messages.AppendBatch(queue=7), 0, GOOD, WrongQueue),
    ("append to none", Method.APPEND, messages.AppendBatch(), 0, GOOD, WrongQueue),
    ("append to a shard", Method.APPEND, messages.AppendBatch(queue=QUEUE), 9, GOOD, BadRequest),
    (
        "read beyond",
        Method.READ,
        messages.ReadBatches(queue=QUEUE, offset=1 << 40),
        0,
        b"",
        OffsetOutOfRange,
    ),
    (
        "read before",
        Method.READ,
        messages.ReadBatches(queue=QUEUE, offset=-1),
        0,
        b"",
        OffsetOutOfRange,
    ),
    ("read of a queue", Method.READ, messages.ReadBatches(queue=7), 0, b"", WrongQueue),
    ("read of none", Method.READ, messages.ReadBatches(), 0, b"", WrongQueue),
    ("end of a queue", Method.END_OFFSET, messages.EndOffset(queue=7), 0, b"", WrongQueue),
    ("a method", 200, messages.GetStatus(), 0, b"", BadRequest),
]


@pytest.mark.parametrize(
    ("method", "message", "shard", "payload", "kind"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)
async def test_a_mistaken_request_gets_a_typed_error(
    cluster: LocalCluster,
    method: int,
    message: Message,
    shard: int,
    payload: bytes,
    kind: type[RaftlogError],
) -> None:
    """The class it left as, with its facts; the connection serves on; nothing was appended."""
    async with client_of(cluster) as client:
        await client.send(TOPIC, b"before")
        leader = await client.status()
        _, end = await queue_of(client)
        channel = await channel_to(leader.leader_address)
        try:
            with pytest.raises(kind) as caught:
                await channel.call(
                    *(method, message, messages.BatchAppended),
                    payload=[payload],
                    shard=shard,
                )
            await channel.call(Method.STATUS, messages.GetStatus(), messages.NodeStatus)
        finally:
            await channel.aclose()
        error = caught.value
        assert (type(error), error.code) == (kind, kind.code)
        assert (error.outcome, error.retriable) == (Outcome.NOT_APPLIED, False)
        assert _facts(error) in ((), (0, end), (len(payload), BATCH_BYTES_MAX))
        assert await queue_of(client) == (QUEUE, end)


def _facts(error: RaftlogError) -> Sequence[int]:
    match error:
        case OffsetOutOfRange():
            return (error.start, error.end)
        case RecordTooLarge():
            return (error.size, error.limit)
        case _:
            return ()


@pytest.mark.long
async def test_a_mistake_is_not_tried_again(cluster: LocalCluster) -> None:
    """The client passes the error on at once, however long it may try."""
    async with client_of(cluster) as client:
        await client.send(TOPIC, b"before")
        async with asyncio.timeout(PATIENCE_S / 2):
            with pytest.raises(OffsetOutOfRange) as caught:
                await anext(client.reader(TOPIC, start=1 << 40))
        assert (QUEUE, caught.value.end) == await queue_of(client)

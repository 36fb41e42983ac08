"""Fake handlers behind a real gRPC channel: what they are asked, and what becomes of answers."""

import asyncio
import socket
import time
from typing import Final

import grpc
import grpc.aio
import pytest

from raftlog.base.errors import (
    BadRequest,
    NotLeader,
    OffsetOutOfRange,
    OutcomeUnknown,
    ProtocolError,
    RaftlogError,
    Throttled,
    Unavailable,
)
from raftlog.base.ids import NodeId
from raftlog.base.limits import (
    BATCH_BYTES_MAX,
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
)
from raftlog.gateway.grpc.server import GRACE_S, SHARD_KEY, GrpcServer
from raftlog.gateway.grpc.statuses import DETAILS_KEY, typed_error
from raftlog.service.ports import ClientRequest
from raftlog.wire.frame import Method
from raftlog.wire.requests import EXCHANGES, RPCS
from raftlog.wire.schema import client, groups, transactions
from raftlog.wire.schema import status as status_schema
from tests.gateway.stubs import PATIENCE_S, Held, error_of, serving

pytestmark = pytest.mark.asyncio
APPENDED: Final = client.BatchAppended(base_offset=5, term=3, index=9, durability="fsync")


@pytest.mark.parametrize("name", RPCS)
async def test_every_rpc_reaches_the_handler_of_its_method(name: str) -> None:
    """With the message that was sent, and back with the one that was answered."""
    method = RPCS[name]
    asked: list[ClientRequest] = []

    def handler(request: ClientRequest) -> None:
        asked.append(request)
        request.reply(EXCHANGES[method].reply())

    async with serving({method: handler}) as (_, stubs):
        answer = await getattr(stubs, name)(EXCHANGES[method].request(), timeout=PATIENCE_S)
    assert type(answer) is EXCHANGES[method].reply
    assert [type(request.message) for request in asked] == [EXCHANGES[method].request]


async def test_a_handler_sees_what_it_sees_on_framed_tcp() -> None:
    """The largest batch beside the message, and the shard."""
    asked: list[ClientRequest] = []

    def handler(request: ClientRequest) -> None:
        asked.append(request)
        request.reply(APPENDED)

    batch = bytes(BATCH_BYTES_MAX)
    async with serving(handler) as (_, stubs):
        message = client.AppendBatch(queue=7, batch=batch)
        metadata = ((SHARD_KEY, "2"),)
        answer = await stubs.Append(message, metadata=metadata, timeout=PATIENCE_S)
    (request,) = asked
    assert (request.message, request.shard) == (client.AppendBatch(queue=7), 2)
    assert request.payload == batch
    assert answer == APPENDED


async def test_the_batches_of_a_read_are_in_the_answer() -> None:
    """As many bytes as a frame may carry."""
    batches = [bytes(BATCH_BYTES_MAX), bytes(900_000), b"z"]

    def handler(request: ClientRequest) -> None:
        lengths = map(len, batches)
        request.reply(client.BatchesRead(base_offsets=[0, 1, 2], lengths=lengths), batches)

    async with serving(handler) as (_, stubs):
        answer = await stubs.Read(client.ReadBatches(), timeout=PATIENCE_S)
    assert list(answer.batches) == batches
    assert list(answer.lengths) == [len(batch) for batch in batches]


async def test_an_error_is_a_code_a_text_and_our_own_status() -> None:
    """A program in any language can branch on ``code``; one in Python gets the class."""

    def handler(request: ClientRequest) -> None:
        request.fail(OffsetOutOfRange(9, 3, 7))

    async with serving(handler) as (_, stubs):
        with pytest.raises(grpc.RpcError) as caught:
            await stubs.Read(client.ReadBatches(offset=9), timeout=PATIENCE_S)
    error = caught.value
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.OUT_OF_RANGE
    assert error.details() == "offset 9 is outside 3..7; read from 3 or 7"
    given = {key: value for key, value in error.trailing_metadata()}  # noqa: C416  (no mapping)
    details = status_schema.Status.FromString(given[DETAILS_KEY])
    assert (details.code, details.start_offset) == ("offset_out_of_range", 3)
    assert isinstance(typed_error(error), OffsetOutOfRange)


async def test_not_leader_names_the_leader_s_address_where_nothing_forwards() -> None:
    """The address is known to the server, not to the handler."""

    def handler(request: ClientRequest) -> None:
        request.fail(NotLeader(NodeId("n2")))

    async with serving(handler, address_of=lambda node: f"{node}.example:1") as (_, stubs):
        error = await error_of(stubs.List(EXCHANGES[RPCS["List"]].request(), timeout=PATIENCE_S))
    assert isinstance(error, NotLeader)
    assert error.leader_address == "n2.example:1"


@pytest.mark.parametrize("shard", ["x", "-1", "1.5", "9" * 30, ""])
async def test_a_shard_that_is_no_number_is_refused(shard: str) -> None:
    """It must not become shard 0."""
    async with serving(Held()) as (_, stubs):
        call = stubs.Status(client.GetStatus(), metadata=((SHARD_KEY, shard),), timeout=PATIENCE_S)
        assert type(await error_of(call)) is BadRequest


async def test_bytes_that_are_no_message_are_refused_with_details() -> None:
    """By us: gRPC would say that something unexpected happened here."""
    async with serving(Held()) as (_, stubs):
        with pytest.raises(grpc.RpcError) as caught:
            await stubs.raw("Append")(b"\xff\xff\xff", timeout=PATIENCE_S)
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert type(typed_error(caught.value)) is ProtocolError


async def test_what_is_not_served_is_said_so() -> None:
    """A method of the schema without a handler, and one that nobody knows."""
    async with serving({Method.STATUS: Held()}) as (_, stubs):
        append = stubs.Append(client.AppendBatch(), timeout=PATIENCE_S)
        assert type(await error_of(append)) is BadRequest
        assert type(await error_of(stubs.raw("Nonsense")(b"", timeout=PATIENCE_S))) is BadRequest


async def test_a_message_over_the_limit_reaches_no_handler() -> None:
    """The refusal is gRPC's own, and has no details of ours."""
    held = Held()
    async with serving(held) as (_, stubs):
        message = client.AppendBatch(batch=bytes(FRAME_BODY_BYTES_MAX))
        error = await error_of(stubs.Append(message, timeout=PATIENCE_S))
    assert "larger than max" in str(error)
    assert not held.requests


async def test_what_no_frame_has_room_for_is_refused_by_every_node() -> None:
    """The one that leads has no frame to fill, and would take what the others can't carry."""
    many = transactions.CommitTransaction(client="x" * FRAME_HEADER_BYTES_MAX)
    large = transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=1)], batches=[bytes(FRAME_HEADER_BYTES_MAX)]
    )
    handler = Held()
    async with serving(handler) as (_, stubs):
        refused = await error_of(stubs.TransactionCommit(many, timeout=PATIENCE_S))
        assert type(refused) is BadRequest
        assert not handler.requests
        call = stubs.TransactionCommit(large)
        waiting = asyncio.ensure_future(error_of(call))
        await handler.until(lambda: len(handler.requests) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_more_rpcs_than_the_bound_are_throttled() -> None:
    """And the ones before are answered."""
    held = Held()
    async with serving(held, rpcs_max=2) as (_, stubs):
        waiting = [stubs.Status(client.GetStatus(), timeout=PATIENCE_S) for _ in range(2)]
        await held.until(lambda: len(held.requests) == 2)
        refused = await error_of(stubs.Status(client.GetStatus(), timeout=PATIENCE_S))
        assert type(refused) is Throttled
        for request in held.requests:
            request.reply(client.NodeStatus(node="n1"))
        assert [(await call).node for call in waiting] == ["n1", "n1"]
        assert not held.cancelled


@pytest.mark.parametrize("by", ["cancel", "deadline", "disconnect"])
async def test_a_request_that_nobody_waits_for_is_cancelled(by: str) -> None:
    """A long poll must not outlive who asked."""
    held = Held()
    async with serving(held) as (_, stubs):
        call = stubs.Read(
            client.ReadBatches(wait_ms=60_000), timeout=0.2 if by == "deadline" else PATIENCE_S
        )
        waiting = asyncio.ensure_future(error_of(call))
        await held.until(lambda: bool(held.requests))
        if by == "cancel":
            call.cancel()
        elif by == "disconnect":
            await stubs._channel.close()
        await held.until(lambda: held.cancelled == 1)
        held.requests[0].reply(client.BatchesRead())  # dropped: nobody is there
        await asyncio.wait([waiting])
    assert held.cancelled == 1


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("Append", client.AppendBatch(), OutcomeUnknown),
        ("Read", client.ReadBatches(wait_ms=60_000), Unavailable),
        ("Heartbeat", groups.HeartbeatGroup(wait_ms=60_000), Unavailable),
    ],
)
async def test_a_node_that_stops_tells_who_waits(
    name: str, message: object, kind: type[RaftlogError]
) -> None:
    """What can be said of each, and at once: the whole stop has 10 s (ruling 33)."""
    held = Held()
    async with serving(held) as (server, stubs):
        call = getattr(stubs, name)(message, timeout=PATIENCE_S)
        waiting = asyncio.ensure_future(error_of(call))
        await held.until(lambda: bool(held.requests))
        began = time.monotonic()
        await server.close()
        assert time.monotonic() - began < GRACE_S + 1.0
        error = await waiting
        assert type(error) is kind
        assert "stopping" in str(error)
        assert held.cancelled == 1
        await server.close()
        later = await error_of(stubs.Status(client.GetStatus(), timeout=0.5), changes=False)
        assert type(later) is Unavailable


async def test_a_port_that_is_taken_is_an_error() -> None:
    """Left alone, gRPC shares it with the other process, and each gets some of the clients."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await GrpcServer({}).listen("127.0.0.1", taken.getsockname()[1])
    async with serving(Held()) as (server, _):
        with pytest.raises(OSError, match="in use"):
            await GrpcServer({}).listen("127.0.0.1", server.port)


async def test_an_ipv6_address_is_listened_on() -> None:
    """``parse_address`` has taken off the brackets."""
    server = GrpcServer({})
    try:
        await server.listen("::1", 0)
        assert server.port > 0
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    finally:
        await server.close()

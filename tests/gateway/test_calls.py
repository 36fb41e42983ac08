"""What lies beside a frame's message lies in a field of gRPC's, and nothing else differs."""

import asyncio

import pytest

from raftlog.base.errors import BadRequest, Unavailable
from raftlog.base.ids import ShardId
from raftlog.gateway.grpc.calls import Call, put_payload, take_payload
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, search


def test_the_batch_of_an_append_becomes_its_payload() -> None:
    """What is left is the header that a frame would have."""
    message = client.AppendBatch(queue=7, batch=b"batch")
    assert take_payload(message) == b"batch"
    assert message == client.AppendBatch(queue=7)


def test_other_requests_have_no_payload() -> None:
    """As on framed TCP."""
    message = client.ReadBatches(queue=7, offset=3)
    assert take_payload(message) == b""
    assert message == client.ReadBatches(queue=7, offset=3)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param([b"one", memoryview(b"three"), b""], id="as handlers give them"),
        pytest.param([b"onethree"], id="as one frame brings them"),
        pytest.param([b"onet", b"hree"], id="cut anywhere"),
    ],
)
def test_the_payload_of_a_read_becomes_its_batches(payload: list[bytes | memoryview]) -> None:
    """``lengths`` says where each begins, also for what came from the leader in one piece."""
    message = client.BatchesRead(base_offsets=[0, 5, 6], lengths=[3, 5, 0], end_offset=6)
    put_payload(message, payload)
    assert list(message.batches) == [b"one", b"three", b""]


@pytest.mark.parametrize("kind", [search.MessageTraced, search.HiddenTraced])
def test_the_payload_of_a_trace_is_its_batch(
    kind: type[search.MessageTraced | search.HiddenTraced],
) -> None:
    """It has one; a message that was hidden and is not any more has none."""
    message = kind(length=3)
    put_payload(message, [b"on", b"e"])
    assert message.batch == b"one"


def test_a_read_of_nothing_has_no_batches() -> None:
    """An answer that waited in vain."""
    message = client.BatchesRead(end_offset=6)
    put_payload(message, ())
    assert message == client.BatchesRead(end_offset=6)


def test_a_payload_that_no_field_takes_is_a_bug() -> None:
    """Bytes must not vanish."""
    with pytest.raises(AssertionError, match="no room"):
        put_payload(client.EndOffsetIs(), [b"x"])
    with pytest.raises(AssertionError, match="3 bytes for batches of 4"):
        put_payload(client.BatchesRead(lengths=[4]), [b"abc"])


def call() -> Call:
    return Call(Method.STATUS, ShardId(0), client.GetStatus(), b"")


@pytest.mark.asyncio
async def test_a_call_is_answered_once() -> None:
    """The first answer counts, whatever comes later."""
    asked = call()
    asked.reply(client.NodeStatus(node="n1"))
    asked.fail(BadRequest("too late"))
    asked.reply(client.NodeStatus(node="n2"))
    asked.end(Unavailable("far too late"))
    assert await asked.answer() == (client.NodeStatus(node="n1"), ())


@pytest.mark.asyncio
async def test_a_call_that_is_ended_stops_who_works_on_it() -> None:
    """Whoever waits learns why, and a late answer goes nowhere."""
    asked = call()
    stopped: list[str] = []
    asked.on_cancelled = lambda: stopped.append("once")
    asked.end(Unavailable("the node is stopping"))
    asked.end(Unavailable("again"))
    asked.reply(client.NodeStatus())
    with pytest.raises(Unavailable, match="stopping"):
        await asked.answer()
    assert stopped == ["once"]


@pytest.mark.asyncio
async def test_a_call_that_nobody_waits_for_is_cancelled() -> None:
    """When a client has cancelled or its deadline is over, gRPC cancels the rpc's task."""
    asked = call()
    stopped: list[str] = []
    asked.on_cancelled = lambda: stopped.append("once")
    waiting = asyncio.ensure_future(asked.answer())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asked.fail(BadRequest("dropped"))
    assert stopped == ["once"]


@pytest.mark.asyncio
async def test_whom_a_cancel_would_tell_is_forgotten_with_the_answer() -> None:
    """It has the call, as a rule: a circle of the two would wait for the collector."""
    early, late = call(), call()
    early.on_cancelled = lambda: None
    assert early.on_cancelled is not None
    early.reply(client.NodeStatus())
    late.reply(client.NodeStatus())
    late.on_cancelled = lambda: None
    assert (early.on_cancelled, late.on_cancelled) == (None, None)

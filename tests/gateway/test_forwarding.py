"""A node that does not lead serves all the same: what only the leader answers goes there."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest

from raftlog.base.errors import BadBatch, OutcomeUnknown, RaftlogError, Throttled, Unavailable
from raftlog.client.routing import Router
from raftlog.gateway.grpc.forwarding import Forwarder
from raftlog.gateway.grpc.server import GrpcServer, Handler
from raftlog.wire.batch import encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import client
from tests.gateway.fake_broker import CLUSTER, FakeBroker, SharedLog
from tests.gateway.stubs import PATIENCE_S, Held, Stubs, error_of, serving

pytestmark = pytest.mark.asyncio
BATCH: Final = encode_columns([b"a", b"b"], timestamp_ms=5)
APPEND: Final = client.AppendBatch(batch=BATCH)


class World:
    """Two nodes of fake handlers, n1 and n2, of which n2 serves gRPC. n1 leads at first."""

    def __init__(self) -> None:
        self.log = SharedLog()
        self.n1 = FakeBroker("n1", self.log)
        self.n2 = FakeBroker("n2", self.log)

    async def start(self) -> None:
        """Have both listen."""
        await self.n1.start()
        await self.n2.start()

    async def stop(self) -> None:
        """End both."""
        await self.n1.server.close()
        await self.n2.server.close()

    @property
    def seeds(self) -> list[str]:
        """Both addresses."""
        return [self.n1.address, self.n2.address]

    @property
    def handlers(self) -> dict[int, Handler]:
        """Return n2's handlers."""
        return dict(self.n2.server.handlers)  # type: ignore[arg-type]  (they take any request)


@asynccontextmanager
async def follower(**options: Any) -> AsyncIterator[tuple[World, GrpcServer, Stubs]]:
    """Give two nodes and a gRPC client of the one that does not lead."""
    world = World()
    await world.start()
    try:
        forwarder = Forwarder(world.seeds, cluster=CLUSTER, **options)
        async with serving(world.handlers, forwarder=forwarder) as (server, stubs):
            yield world, server, stubs
    finally:
        await world.stop()


def hold(broker: FakeBroker, method: Method) -> Held:
    """Have a node leave one method unanswered."""
    held = Held()
    cast("dict[int, Handler]", broker.server.handlers)[method] = held
    return held


async def append(stubs: Stubs, timeout_s: float = PATIENCE_S) -> Any:
    """Append through gRPC."""
    return await stubs.Append(APPEND, timeout=timeout_s)


async def test_an_append_and_a_read_through_a_follower_are_the_leader_s() -> None:
    """Payloads there and back included."""
    async with follower() as (world, _, stubs):
        assert (await append(stubs)).base_offset == 0
        assert (await append(stubs)).base_offset == 2
        assert [data for _, data in world.log.batches] == [BATCH, BATCH]
        read = await stubs.Read(client.ReadBatches(bytes_max=1000), timeout=PATIENCE_S)
        assert list(read.batches) == [BATCH, BATCH]
        assert list(read.base_offsets) == [0, 2]
        assert (world.n1.appends, world.n2.appends) == (2, 2)


async def test_what_a_node_answers_itself_is_not_forwarded() -> None:
    """Its own status, for one."""
    async with follower() as (_, __, stubs):
        status = await stubs.Status(client.GetStatus(), timeout=PATIENCE_S)
        assert (status.node, status.role) == ("n2", "follower")


@pytest.mark.parametrize("error", [BadBatch("rubbish"), Throttled("too much", 1.5)])
async def test_what_the_leader_refuses_is_the_answer(error: RaftlogError) -> None:
    """With its class and its facts; only what nobody leads for is asked again."""
    async with follower() as (world, _, stubs):
        world.n1.refusals.append(error)
        told = await error_of(append(stubs))
        assert (type(told), str(told)) == (type(error), str(error))
        assert world.n1.appends == 1


async def test_a_request_waits_for_a_leader_within_its_deadline() -> None:
    """An election is no error: nothing was done, so asking again is safe."""
    async with follower() as (world, _, stubs):
        world.log.leader = ""
        waiting = asyncio.ensure_future(append(stubs))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        world.log.leader = "n1"
        assert (await waiting).base_offset == 0


async def test_the_node_itself_may_become_the_leader() -> None:
    """While one of its requests looks for one."""
    async with follower() as (world, _, stubs):
        world.log.leader = ""
        waiting = asyncio.ensure_future(append(stubs))
        await asyncio.wait([waiting], timeout=0.1)
        world.log.leader = "n2"
        assert (await waiting).base_offset == 0
        assert world.n1.appends == 0


async def test_a_leader_that_lost_its_office_is_left() -> None:
    """Its NotLeader is no answer to somebody who asked another node."""
    async with follower() as (world, _, stubs):
        await append(stubs)
        third = await FakeBroker("n3", world.log).start()
        try:
            world.log.leader, world.log.term = "n3", 2
            assert (await append(stubs)).base_offset == 2
            assert third.appends == 1
        finally:
            await third.server.close()


async def test_without_a_leader_the_answer_comes_before_the_deadline_is_over() -> None:
    """``Unavailable`` says that nothing was done; gRPC's own deadline could not."""
    async with follower() as (world, _, stubs):
        world.log.leader = ""
        told = await error_of(append(stubs, timeout_s=0.5))
        assert type(told) is Unavailable
        assert "no leader" in str(told)


async def test_an_append_without_an_answer_is_unknown_and_not_sent_again() -> None:
    """The leader may have stored it: a repetition could store it twice."""
    async with follower() as (world, _, stubs):
        world.n1.holds = lambda: True
        waiting = asyncio.ensure_future(error_of(append(stubs)))
        await world.n1.until_held()
        await world.n1.server.close()
        world.log.leader = "n2"
        told = await waiting
        assert type(told) is OutcomeUnknown
        assert world.log.batches == []


async def test_an_append_without_an_answer_in_time_is_unknown_with_details() -> None:
    """Told by us, a little before gRPC's own deadline."""
    async with follower() as (world, _, stubs):
        world.n1.holds = lambda: True
        told = await error_of(append(stubs, timeout_s=0.5))
        assert type(told) is OutcomeUnknown
        assert "no answer within" in str(told)


async def test_a_read_without_an_answer_is_asked_again() -> None:
    """It only looks."""
    async with follower() as (world, _, stubs):
        await append(stubs)
        polling = client.ReadBatches(offset=2, wait_ms=60_000)
        held = hold(world.n1, Method.READ)
        call = stubs.Read(polling, timeout=PATIENCE_S)
        await held.until(lambda: bool(held.requests))
        await world.n1.server.close()
        world.log.leader = "n2"
        world.log.batches.append((2, BATCH))
        world.log.end = 4
        assert list((await call).base_offsets) == [2]


async def test_what_is_held_for_the_leader_is_bounded() -> None:
    """Otherwise all that is sent during an election lies in the memory of one node."""
    async with follower(held_bytes_max=2 * len(BATCH)) as (world, _, stubs):
        world.n1.holds = lambda: True
        waiting = [asyncio.ensure_future(append(stubs)) for _ in range(2)]
        await world.n1.until_held(2)
        assert type(await error_of(append(stubs))) is Throttled
        world.n1.holds = lambda: False
        for request in world.n1.held:
            request.reply(client.BatchAppended())
        await asyncio.gather(*waiting)
        assert (await append(stubs)).base_offset == 0


async def test_a_cancelled_call_is_cancelled_at_the_leader() -> None:
    """Its long poll would stay there until its time is over."""
    async with follower() as (world, _, stubs):
        polling = client.ReadBatches(offset=0, wait_ms=60_000)
        held = hold(world.n1, Method.READ)
        call = stubs.Read(polling, timeout=PATIENCE_S)
        await held.until(lambda: bool(held.requests))
        call.cancel()
        await held.until(lambda: held.cancelled == 1)


async def test_a_node_that_stops_tells_whose_requests_are_with_the_leader() -> None:
    """What became of them there nobody here will learn."""
    async with follower() as (world, server, stubs):
        world.n1.holds = lambda: True
        waiting = asyncio.ensure_future(error_of(append(stubs)))
        await world.n1.until_held()
        began = time.monotonic()
        await server.close()
        told = await waiting
        assert type(told) is OutcomeUnknown
        assert "stopping" in str(told)
        assert time.monotonic() - began < 2.0


async def test_a_bug_in_forwarding_does_not_leave_the_caller_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that dies silently is the worst of answers."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Router, "find", broken)
    async with follower() as (_, __, stubs):
        told = await error_of(append(stubs))
        assert type(told) is OutcomeUnknown
        assert "ZeroDivisionError" in str(told)
        assert [record.name for record in caplog.records] == ["raftlog.gateway"]

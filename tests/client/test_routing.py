"""Finding the leader, and asking it: whoever that is, and whatever becomes of the question."""

import asyncio
import socket

import pytest

from raftlog.base.errors import (
    BadRequest,
    Closed,
    NotCommitted,
    OutcomeUnknown,
    ProtocolError,
    Retriable,
    Throttled,
    Unavailable,
    WrongCluster,
)
from raftlog.client.channel import Channel
from raftlog.client.client import Client
from raftlog.client.routing import Router, ask_status
from raftlog.testing.processes import free_ports
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages
from tests.client.fake_cluster import answer_lost, fake_cluster, refused, unanswered, until

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("tells_leader", [True, False])
async def test_the_leader_is_found_from_any_seed(tells_leader: bool) -> None:  # noqa: FBT001
    """By the hint of the node that was asked, or else by asking all."""
    async with fake_cluster(3, orders=1) as cluster:
        cluster.tells_leader = tells_leader
        seeds = cluster.seeds[1:2] if tells_leader else cluster.seeds
        async with Client(seeds) as client:
            assert (await client.send("orders", b"x")).offset == 0
            assert (await client.status()).node == "n1"


async def test_a_client_follows_a_leader_that_hands_over() -> None:
    """NotLeader is no error of the caller's: the next one is found and asked."""
    async with fake_cluster(3, orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        await client.transfer_leader("n3")
        assert (await client.topics.describe("orders")).queues[0].end_offset == 1
        assert (await client.status()).node == "n3"


async def test_another_cluster_is_refused_by_name() -> None:
    """A wrong address in a configuration must not collect records."""
    async with (
        fake_cluster(orders=1) as cluster,
        Client(cluster.seeds, cluster="other") as client,
    ):
        with pytest.raises(WrongCluster):
            await client.send("orders", b"x")
        with pytest.raises(WrongCluster):
            await client.status()
        assert cluster.values("orders") == [[]]


async def test_any_node_can_be_asked_about_itself() -> None:
    """Health checks do not go through the leader."""
    async with fake_cluster(2) as cluster:
        status = await ask_status(cluster.seeds[1])
        assert (status.node, status.role, status.leader) == ("n2", "follower", "n1")
        assert status.leader_address == cluster.seeds[0]
        assert status.counters["received"] == 1


# -- asking


@pytest.mark.parametrize(
    "refusal",
    [Throttled("full", 0.001), Unavailable("stopping"), NotCommitted("replaced")],
    ids=lambda error: type(error).__name__,
)
async def test_what_was_refused_for_the_moment_is_asked_again(refusal: Retriable) -> None:
    """A retriable refusal means that it never happened, so nothing is repeated."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TOPIC_CREATE, refused(refusal), refused(refusal))
        await client.topics.create("orders")
        assert cluster.count(Method.TOPIC_CREATE) == 3


async def test_a_refusal_that_lasts_is_told_when_time_is_up() -> None:
    """The caller learns that it was not done, and why."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TOPIC_CREATE, refused(Throttled("full", 10.0)))
        with pytest.raises(Throttled):
            await client.topics.create("orders", timeout=0.5)
        assert await client.topics.list() == []


async def test_a_definite_mistake_is_not_asked_again() -> None:
    """The same call fails again."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TOPIC_CREATE, refused(BadRequest("no")))
        with pytest.raises(BadRequest):
            await client.topics.create("orders")
        assert cluster.count(Method.TOPIC_CREATE) == 1


async def test_a_change_whose_answer_was_lost_is_unknown_and_not_repeated() -> None:
    """It may be done: asking again silently could do it twice."""
    async with fake_cluster(2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TRANSFER, answer_lost)
        with pytest.raises(OutcomeUnknown):
            await client.transfer_leader()
        assert cluster.count(Method.TRANSFER) == 1
        assert (await client.status()).node == "n2"


async def test_a_question_whose_answer_was_lost_is_asked_again() -> None:
    """Looking changes nothing."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TOPIC_DESCRIBE, answer_lost)
        assert (await client.topics.describe("orders")).name == "orders"
        assert cluster.count(Method.TOPIC_DESCRIBE) == 2


# -- one connection


async def test_an_answer_that_comes_too_late_is_dropped_and_the_connection_is_good() -> None:
    """Giving up one request must not cost the others theirs."""
    async with fake_cluster() as cluster:
        channel = await Channel.connect(*parse_address(cluster.seeds[0]))
        try:
            cluster.fault(Method.TRANSFER, unanswered)
            ask = (Method.TRANSFER, messages.TransferLeader(), messages.TransferStarted)
            with pytest.raises(OutcomeUnknown):
                await channel.call(*ask, timeout_s=0.05)
            cluster.late[0]()
            look = (Method.STATUS, messages.GetStatus(), messages.NodeStatus)
            assert (await channel.call(*look))[0].node == "n1"
            assert (channel.is_open, channel.waiting_count) == (True, 0)
        finally:
            await channel.aclose()


async def test_a_connection_that_ends_tells_everybody_what_can_be_said() -> None:
    """A change may have been done; of a look it is enough that there is no answer."""
    async with fake_cluster() as cluster:
        channel = await Channel.connect(*parse_address(cluster.seeds[0]))
        try:
            cluster.fault(Method.TRANSFER, unanswered)
            cluster.fault(Method.STATUS, unanswered)
            calls = [
                asyncio.ensure_future(
                    channel.call(
                        Method.TRANSFER, messages.TransferLeader(), messages.TransferStarted
                    )
                ),
                asyncio.ensure_future(
                    channel.call(Method.STATUS, messages.GetStatus(), messages.NodeStatus)
                ),
            ]
            await until(lambda: len(cluster.late) == 2)
            cluster.nodes[0].disconnect()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [OutcomeUnknown, Unavailable]
        finally:
            await channel.aclose()


async def test_whoever_waits_for_a_leader_is_told_that_the_client_was_closed() -> None:
    """And not that it was cancelled itself, which nobody did."""
    async with fake_cluster() as cluster:
        cluster.lead("n9")
        client = Client(cluster.seeds)
        waiting = asyncio.ensure_future(client.topics.list())
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(Closed):
            await waiting


async def test_two_rounds_share_a_connection_to_a_node() -> None:
    """A search and a doubt may run at once; what one of them opens too much is closed."""
    async with fake_cluster() as cluster:
        router = Router(cluster.seeds)
        (seed,) = cluster.seeds
        one, two = await asyncio.gather(router.channel_to(seed), router.channel_to(seed))
        assert one is two
        await until(lambda: len(cluster.nodes[0].server.connections) == 1)
        await router.aclose()


async def test_a_node_that_says_nothing_is_told_from_one_that_is_not_there() -> None:
    """A listener that never answers: the text says that it was waited for, and how long."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unavailable, match=r"it took longer than 0\.05 s$"):
            await Channel.connect("127.0.0.1", port, timeout_s=0.05)


async def test_the_port_of_another_protocol_is_told_as_that() -> None:
    """A gRPC server's first frame was read as one of 68,681,728 bytes."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00" + bytes(64))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(ProtocolError, match=r"another protocol .* not to listen.grpc"):
            await ask_status(f"{host}:{port}")


async def test_a_connection_that_is_refused_is_told_in_words() -> None:
    """An errno and a tuple are for programmers."""
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match=rf"^no node answers at .*:{port}: connection refused$"):
        await ask_status(f"127.0.0.1:{port}")

"""Topics that take messages of some types, as a client meets them: said, refused, learnt."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftlog import MessageType
from raftlog.base.errors import BadRequest, WrongMessageType
from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.client.client import Client
from raftlog.service import topic_handlers
from raftlog.wire.batch import Record
from tests.client.fake_cluster import fake_cluster, until

pytestmark = pytest.mark.asyncio

ALL = frozenset(MessageType)


async def plain(client: Client) -> object:
    return await client.send("orders", b"v")


async def keyed(client: Client) -> object:
    return await client.send("orders", b"v", key=b"k")


async def tagged(client: Client) -> object:
    return await client.send("orders", b"v", key=b"k", tag="t", headers={"h": b"1"})


async def with_id(client: Client) -> object:
    return await client.send("orders", b"v", key=b"k", id="order-17")


async def batch(client: Client) -> object:
    return await client.send_batch("orders", [Record(b"v", b"k"), Record(b"w", b"l")])


async def later(client: Client) -> object:
    return await client.send_later("orders", b"v", delay=60)


async def half(client: Client) -> object:
    async with client.transactional_producer("me", group="billing") as producer:
        staged = await producer.half("orders", b"v")
        return await staged.commit()


async def atomic(client: Client) -> object:
    async with client.atomic() as tx:
        tx.send("orders", b"v")
    return tx.receipts


SENDS: dict[Callable[[Client], Awaitable[object]], MessageType] = {
    plain: MessageType.NORMAL,
    keyed: MessageType.FIFO,
    tagged: MessageType.FIFO,
    with_id: MessageType.FIFO,
    batch: MessageType.FIFO,
    later: MessageType.DELAYED,
    half: MessageType.TRANSACTIONAL,
    atomic: MessageType.TRANSACTIONAL,
}


@pytest.mark.parametrize("takes", MessageType)
@pytest.mark.parametrize("send", SENDS, ids=lambda send: send.__name__)
async def test_each_way_to_send_is_taken_where_its_type_is(
    send: Callable[[Client], Awaitable[object]], takes: MessageType
) -> None:
    """By a client that has never met the topic, and by one that has."""
    came = SENDS[send]
    is_taken = takes is came or (takes, came) == (MessageType.NORMAL, MessageType.FIFO)
    async with fake_cluster(first=1) as cluster:
        async with Client(cluster.seeds) as admin:
            await admin.topics.create("orders", queues=2, types=[takes])
        for _ in range(2):
            async with Client(cluster.seeds, timeout=5) as client:
                for _ in range(2):
                    if is_taken:
                        await send(client)
                        continue
                    with pytest.raises(WrongMessageType) as caught:
                        await send(client)
                    error = caught.value
                    told = MessageType.NORMAL if came is MessageType.FIFO else came
                    assert (error.topic, error.takes, error.came) == ("orders", (takes,), told)
        stored = sum(map(len, cluster.values("orders")))
        pending = len(cluster.machine.hidden.table)
        assert (stored + pending > 0) is is_taken


async def test_what_has_no_key_takes_nobody_else_with_it() -> None:
    """All sends of a turn share a batch, and a batch is refused as a whole."""
    async with fake_cluster(first=1) as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1, types="fifo")
        sends = [
            client.send("orders", b"%d" % number, key=b"k" if number % 3 else None)
            for number in range(9)
        ]
        told = await asyncio.gather(*sends, return_exceptions=True)
        assert [isinstance(each, WrongMessageType) for each in told] == [True, False, False] * 3
        assert cluster.values("orders") == [[b"1", b"2", b"4", b"5", b"7", b"8"]]


async def test_a_producer_learns_what_its_topic_takes_now() -> None:
    """n1's operator alters it: what is under way is refused once, then there are hashes."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"0", key=b"k")
        async with Client(cluster.seeds) as admin:
            await admin.topics.alter("orders", types=["fifo"])
            with pytest.raises(WrongMessageType, match="has a key"):
                await client.send("orders", b"refused", key=b"k")
            await client.send("orders", b"1", key=b"k")
            with pytest.raises(WrongMessageType):
                await client.send("orders", b"without")
            await admin.topics.alter("orders", types="any")
            await client.send("orders", b"2")
            await client.send("orders", b"3", key=b"k")
        assert cluster.values("orders") == [[b"0", b"1", b"2", b"3"]]


async def test_oneway_sends_have_keys_too() -> None:
    """Nobody tells it that they are refused: so they must not be."""
    async with fake_cluster(first=1) as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1, types="fifo")
        async with client.producer() as producer:
            producer.oneway("orders", b"a", key=b"k")
            await until(lambda: cluster.values("orders") == [[b"a"]])


async def test_dead_letters_are_taken_and_sent_again_by_their_keys() -> None:
    """The letters' own topic takes everything; a resend is a plain send with the letter's key."""
    async with fake_cluster(first=1) as cluster, Client(cluster.seeds) as client:
        cluster.burying.begin()
        await client.topics.create("orders", queues=1, types="fifo")
        await client.send("orders", b"a", key=b"k")
        async with client.queue_consumer("work", "orders", attempts=1, retry=[0]) as consumer:
            (message,) = await consumer.receive(1, wait=5)
            await message.reject("no such account")
        await until(lambda: cluster.machine.topics.get("%DLQ%work") is not None)
        with pytest.raises(BadRequest, match="every type"):
            await client.topics.alter("%DLQ%work", types="fifo")
        assert (await client.dead_letters.resend("work")).count == 1
        await client.topics.alter("orders", types="delayed")
        assert cluster.values("orders") == [[b"a", b"a"]]


async def test_settings_are_told_as_they_were_said() -> None:
    """In any form; what is none is refused before it is asked for."""
    async with fake_cluster(first=1) as cluster, Client(cluster.seeds) as client:
        made = await client.topics.create("orders", types="fifo, delayed")
        assert made.types == {MessageType.FIFO, MessageType.DELAYED}
        assert (await client.topics.describe("orders")).types == made.types
        assert (await client.topics.alter("orders", queues=8)).types == made.types
        assert (await client.topics.alter("orders", types=("any",))).types == ALL
        assert (await client.topics.create("plain")).types == ALL
        for bad in ("", [], "fast", ["fifo", "%"]):
            with pytest.raises(BadRequest):
                await client.topics.create("bad", types=bad)


async def test_a_cluster_with_an_older_node_says_that_it_can_not() -> None:
    """Its leader knows better than to propose what a member does not read."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        level = FEATURE_LEVEL - 1
        cluster.machine.state.feature_level = cluster.replica.level_min = level
        for ask in (
            client.topics.create("typed", types="fifo"),
            client.topics.alter("orders", types="fifo"),
        ):
            with pytest.raises(BadRequest, match="an older version"):
                await ask
        await client.send("orders", b"v")
        assert (await client.topics.alter("orders", types="any")).types == ALL


async def test_a_leader_that_has_not_heard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one leaves out what it does not know: who asked must not believe it."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        monkeypatch.setattr(topic_handlers, "_types", lambda _: 0)
        monkeypatch.setattr(topic_handlers, "_TYPES", {})
        with pytest.raises(BadRequest, match="knows no types"):
            await client.topics.create("typed", types="fifo")
        with pytest.raises(BadRequest, match="knows no types"):
            await client.topics.alter("orders", types="fifo")
        assert (await client.topics.alter("orders", queues=2)).types == ALL
        await client.send("orders", b"v")

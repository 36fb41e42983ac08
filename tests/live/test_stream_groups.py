"""A live member of a stream group holds what it is handed against the claim that it came by."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest

from chaos.check.client_history import Records
from chaos.check.handed_order import NAME, HandedOrder
from chaos.live.topics import ORDERS
from chaos.live.workloads.groups import GROUP, StreamGroup
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Offset
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.ownership import Owned
from raftlog.client.receipts import Message
from tests.client.fake_cluster import fake_cluster


def owner_of(*queues: Owned) -> Consumer:
    """Return as much of a member as says what it owns."""
    ownership = SimpleNamespace(queues={owned.number: owned for owned in queues})
    return cast("Consumer", SimpleNamespace(_ownership=ownership))


def claimed(place: int, committed: int | None, *, generation: int = 1) -> Owned:
    owned = Owned(ORDERS, place, 100 + place, generation)
    owned.committed = committed
    return owned


@pytest.fixture
def group(world: World) -> StreamGroup:
    world.records[ORDERS] = Records(ORDERS)
    return StreamGroup(world)


def take(group: StreamGroup, order: HandedOrder, owned: Owned, *offsets: int) -> list[str]:
    messages = [Message(ORDERS, owned.place, Offset(at), None, b"v", (), 0) for at in offsets]
    group._take(owner_of(owned), order, messages)
    return [each.text for each in group._world.anomalies if each.check == NAME]


def test_batches_of_a_claim_follow_one_another(group: StreamGroup) -> None:
    order, owned = HandedOrder(), claimed(1, 4)
    assert take(group, order, owned, 4, 5) == []
    owned.committed, owned.generation = 6, 2  # it is kept in the next generation
    assert take(group, order, owned, 6) == []
    assert take(group, order, claimed(0, None), 0, 1) == []
    assert take(group, order, claimed(1, 6, generation=3), 6) == []  # lost, and claimed once more


@pytest.mark.parametrize("offset", [5, 8])
def test_a_batch_that_goes_back_or_leaves_out_is_seen(group: StreamGroup, offset: int) -> None:
    order, owned = HandedOrder(), claimed(1, 4)
    take(group, order, owned, 4, 5, 6)
    (told,) = take(group, order, owned, offset)
    assert f"queue 1, generation 1: {offset} was handed out, and 7 was due" in told


def test_a_claim_that_begins_behind_what_is_committed_is_seen(group: StreamGroup) -> None:
    (told,) = take(group, HandedOrder(), claimed(1, 4), 5)
    assert "5 was handed out, and 4 was due" in told


@pytest.mark.long
@pytest.mark.asyncio
async def test_what_a_real_member_is_handed_is_in_order(group: StreamGroup) -> None:
    """Over several claims: a member that comes takes queues, and gives them back as it goes."""
    async with fake_cluster(**{ORDERS: 2}) as cluster, Client(cluster.seeds) as client:

        async def work(polls: int) -> None:
            order = HandedOrder()
            async with client.consumer(GROUP, ORDERS, auto_commit=False) as consumer:
                for turn in range(polls):
                    messages = await consumer.poll(5, timeout=0.2)
                    group._take(consumer, order, messages)
                    if turn % 2:
                        with suppress(RaftlogError):  # the queue went to another one
                            await consumer.commit()

        for number in range(60):
            await client.send(ORDERS, b"%d" % number, queue=number % 2)
        await asyncio.gather(work(16), work(4), work(2))
    assert group._world.anomalies == []
    assert group._seen.count >= 60

"""What a group reads, as its consumers come, go, expire and come back."""

import asyncio

import pytest

from raftlog.base.errors import GroupNotFound, SubscriptionConflict
from raftlog.broker.codec import CommandValue
from raftlog.broker.group_commands import DeleteGroup, JoinGroup, LeaveGroup, SetSubscription
from raftlog.client.client import Client
from raftlog.client.groups import GroupSubscription
from raftlog.wire.filters import record_filter
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused, until

pytestmark = pytest.mark.asyncio


async def reads(client: Client) -> GroupSubscription:
    return (await client.groups.describe("billing")).subscription


async def test_who_comes_to_a_group_without_members_says_what_it_reads() -> None:
    """All were stopped, and the next release reads something else: it goes on behind the old."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        for number in range(4):
            await client.send("orders", b"%d" % number, tag="even" if number % 2 == 0 else "odd")
        async with client.consumer("billing", "orders") as consumer:
            assert [message.value for message in await consumer.poll(2)] == [b"0", b"1"]
            await consumer.commit()
        async with client.consumer("billing", "orders", tags=["odd"]) as consumer:
            assert (await anext(consumer)).value == b"3"
            with pytest.raises(SubscriptionConflict, match="stays while a member is left"):
                await client.consumer("billing", "orders").__aenter__()
        assert await reads(client) == GroupSubscription(("orders",), "", ("odd",), 2)


async def instead(cluster: FakeCluster, member: str, command: CommandValue) -> None:
    """Let a member expire, and something be decided before it can come back."""
    gone = LeaveGroup("billing", member, expired=True)
    await asyncio.gather(cluster.propose(gone), cluster.propose(command))


async def test_who_comes_back_takes_over_what_was_changed_by_hand() -> None:
    """As it would have, had it not been away: the change is for all members."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        async with client.consumer("billing", "orders") as consumer:
            await until(lambda: consumer.status.generation == 1)
            by_hand = SetSubscription("billing", ("other",), record_filter(["even"]))
            await instead(cluster, consumer.status.member, by_hand)
            await client.send("other", b"o", tag="even")
            async with asyncio.timeout(5):
                assert (await anext(consumer)).value == b"o"
            assert consumer.status.rejoins == 1
        read = GroupSubscription(("other",), "", ("even",), 2, by_hand=True)
        assert await reads(client) == read
        with pytest.raises(SubscriptionConflict, match="said by hand"):
            await client.consumer("billing", "orders").__aenter__()


async def test_who_comes_back_to_a_group_that_was_begun_anew_takes_over_what_it_reads() -> None:
    """It counts its versions from the beginning again: they say nothing about what it reads."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        async with client.consumer("billing", "orders") as consumer:
            for topic in ("other", "orders"):
                await cluster.propose(SetSubscription("billing", (topic,)))
            await until(lambda: consumer.status.generation == 3)
            await asyncio.gather(
                cluster.propose(LeaveGroup("billing", consumer.status.member, expired=True)),
                cluster.propose(DeleteGroup("billing")),
                cluster.propose(JoinGroup("billing", "m2", ("orders",), 60_000, "")),
                cluster.propose(SetSubscription("billing", ("other",))),
                cluster.propose(LeaveGroup("billing", "m2")),
            )
            await client.send("other", b"o")
            async with asyncio.timeout(5):
                assert (await anext(consumer)).value == b"o"
        assert await reads(client) == GroupSubscription(("other",), "", (), 2, by_hand=True)


async def test_what_is_what_it_wants_after_all_is_joined() -> None:
    """It was changed between the refusal and the look: that is no conflict."""
    async with (
        fake_cluster(orders=1, other=1) as cluster,
        Client(cluster.seeds) as client,
        client.consumer("billing", "orders") as consumer,
    ):
        await until(lambda: consumer.status.generation == 1)
        cluster.fault(Method.GROUP_JOIN, refused(SubscriptionConflict("it reads other")))
        await cluster.propose(SetSubscription("billing", ("orders",)))
        await cluster.expire("billing", consumer.status.member)
        await until(lambda: cluster.count(Method.GROUP_JOIN) == 3)
        await client.send("orders", b"o")
        async with asyncio.timeout(5):
            assert (await anext(consumer)).value == b"o"


async def test_who_comes_back_does_not_join_those_who_have_taken_its_place() -> None:
    """They read something else because they want to: that is told, and nothing passed over."""
    async with (
        fake_cluster(orders=1) as cluster,
        Client(cluster.seeds) as client,
        client.consumer("billing", "orders") as consumer,
    ):
        await until(lambda: consumer.status.generation == 1)
        other = JoinGroup("billing", "m2", ("orders",), 60_000, "", record_filter(["odd"]))
        await instead(cluster, consumer.status.member, other)
        with pytest.raises(SubscriptionConflict, match=r"tags odd.* wants orders \(no"):
            async with asyncio.timeout(5):
                await anext(consumer)
        assert (await reads(client)).version == 2


async def test_a_group_that_is_gone_when_it_is_looked_at_is_joined_again() -> None:
    """It was deleted between the refusal and the look at what it reads."""
    async with (
        fake_cluster(orders=1, other=1) as cluster,
        Client(cluster.seeds) as client,
        client.consumer("billing", "orders") as consumer,
    ):
        await until(lambda: consumer.status.generation == 1)
        cluster.fault(Method.GROUP_DESCRIBE, refused(GroupNotFound("it went")))
        await instead(cluster, consumer.status.member, SetSubscription("billing", ("other",)))
        await until(lambda: consumer.status.generation > 3)
        assert cluster.count(Method.GROUP_JOIN) == 4
        assert (await reads(client)).topics == ("other",)

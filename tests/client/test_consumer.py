"""Consumers of a group: nothing is lost, whoever comes, goes, sleeps or is fenced (ruling 12)."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadFilter,
    BadName,
    BadRequest,
    Closed,
    Fenced,
    GroupInUse,
    GroupNotFound,
    OffsetGoesBack,
    OffsetOutOfRange,
    OutcomeUnknown,
    SubscriptionConflict,
    TopicNotFound,
    Unavailable,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer, Rebalanced, Skipped
from raftlog.client.groups import GroupSubscription
from raftlog.client.receipts import Message, StoredBatch
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    carried_out,
    fake_cluster,
    refused,
    unanswered,
    until,
)

pytestmark = pytest.mark.asyncio


async def fill(client: Client, first: int, count: int, *, queues: int = 2) -> None:
    """Store records with rising numbers, queue by queue in turn."""
    await asyncio.gather(
        *(
            client.send("orders", b"%d" % number, queue=number % queues)
            for number in range(first, first + count)
        )
    )


def committed(cluster: FakeCluster, group: str = "billing") -> list[int | None]:
    """Return what a group has committed, by queue's place."""
    topic = cluster.machine.topics.get("orders")
    assert topic is not None, "no topic"
    claims = [cluster.machine.claims.get(group, number) for number in topic.queues]
    return [None if claim is None else claim.committed for claim in claims]


async def take(consumer: Consumer, count: int) -> list[Message]:
    """Take so many messages."""
    found: list[Message] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await consumer.poll(count - len(found), timeout=1.0)
    return found


async def test_a_consumer_gets_every_record_once_and_in_order() -> None:
    """Of all queues of all its topics."""
    async with fake_cluster(orders=2, other=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 100)
        await client.send("other", b"x")
        async with client.consumer("billing", ["orders", "other"]) as consumer:
            found = await take(consumer, 101)
            assert await consumer.poll(timeout=0.05) == []
            status = consumer.status
        for topic, queue, count in (("orders", 0, 50), ("orders", 1, 50), ("other", 0, 1)):
            offsets = [each.offset for each in found if (each.topic, each.queue) == (topic, queue)]
            assert offsets == list(range(count))
        assert (status.group, status.generation, status.last_error) == ("billing", 1, None)
        assert [(each.topic, each.queue, each.position) for each in status.queues] == [
            ("orders", 0, 50),
            ("orders", 1, 50),
            ("other", 0, 1),
        ]


async def test_what_was_handed_out_is_finished_when_the_next_is_asked_for() -> None:
    """At least once: the last one is handed out again unless it was committed."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders") as consumer:
            async for message in consumer:
                if message.offset == 4:
                    break
        assert committed(cluster) == [4]
        async with client.consumer("billing", "orders") as consumer:
            assert (await anext(consumer)).offset == 4
            await consumer.commit()
        assert committed(cluster) == [5]


async def test_finished_records_are_committed_from_time_to_time() -> None:
    """A consumer that dies has not much done twice."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", commit_interval=0.01) as consumer:
            await take(consumer, 10)
            reading = asyncio.ensure_future(consumer.poll(timeout=30))
            await until(lambda: committed(cluster) == [10])
            reading.cancel()


async def test_without_auto_commit_nothing_is_committed_but_by_word() -> None:
    """All that was handed out, or up to one message."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        options: dict[str, Any] = {"auto_commit": False}
        async with client.consumer("billing", "orders", **options) as consumer:
            messages = await take(consumer, 5)
            await take(consumer, 2)
            assert committed(cluster) == [None]
            await consumer.commit(messages[2])
            assert committed(cluster) == [3]
            with pytest.raises(OffsetGoesBack):
                await consumer.commit(messages[0])
            await consumer.commit()
            assert committed(cluster) == [7]
            await take(consumer, 3)
        assert committed(cluster) == [7]


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", 10)])
async def test_a_group_begins_where_it_is_told(start: Any, first: int) -> None:
    """And only the first time: then there is something committed."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", start=start) as consumer:
            await fill(client, 10, 5, queues=1)
            assert (await anext(consumer)).offset == first
        async with client.consumer("billing", "orders", start="latest") as consumer:
            assert (await anext(consumer)).offset == first


async def test_queues_are_shared_and_taken_over() -> None:
    """Two members have one each; one leaves, and the other goes on where it was."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        async with client.consumer("billing", "orders") as first:
            events = first.events()
            hearing = asyncio.ensure_future(anext(events))
            before = await take(first, 20)
            await first.commit()
            second = client.consumer("billing", "orders")
            async with second:
                await until(lambda: len(first.status.queues) == 1)
                assert len(second.status.queues) == 1
                event = await hearing
                assert isinstance(event, Rebalanced)
                assert (len(event.queues), len(event.lost)) == (1, 1)
                await fill(client, 20, 20)
                mine, theirs = await take(first, 10), await take(second, 10)
                await asyncio.gather(first.commit(), second.commit())
            await until(lambda: len(first.status.queues) == 2)
            await fill(client, 40, 20)
            after = await take(first, 20)
            await events.aclose()
        seen = Counter((each.queue, each.offset) for each in before + mine + theirs + after)
        again = [place for place, count in seen.items() if count > 1]
        assert len(seen) == 60
        assert not again, "everything was finished before the queue went over"


async def test_a_member_that_slept_past_its_session_is_fenced_and_loses_nothing() -> None:
    """Somebody else has read and committed; the sleeper joins again and goes on after that."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20, queues=1)
        options: dict[str, Any] = {"commit_interval": 600.0, "session": 1.0}
        cluster.fault(Method.GROUP_HEARTBEAT, unanswered)  # it says nothing for some time
        async with client.consumer("billing", "orders", **options) as sleeper:
            await take(sleeper, 5)
            member = sleeper.status.member
            async with client.consumer("billing", "orders") as other:
                await cluster.expire("billing", member)
                await until(lambda: len(other.status.queues) == 1)
                found = await take(other, 20)
                await other.commit()
                with pytest.raises(Fenced):
                    await sleeper.commit()
            await until(lambda: sleeper.status.rejoins == 1 and not sleeper.status.last_error)
            await fill(client, 20, 5, queues=1)
            messages: list[Message] = []
            async with asyncio.timeout(10):
                while not messages or messages[-1].offset < 24:
                    messages += await sleeper.poll(timeout=0.1)
            assert sleeper.status.rejoins == 1
        assert [each.offset for each in found] == list(range(20))
        assert [each.offset for each in messages][-5:] == list(range(20, 25))


async def test_a_member_that_was_expired_for_nothing_goes_on_where_it_was() -> None:
    """Nobody had the queue meanwhile: what was read ahead is not read again."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20, queues=1)
        async with client.consumer("billing", "orders") as consumer:
            first = await take(consumer, 7)
            await cluster.expire("billing", consumer.status.member)
            await until(lambda: consumer.status.rejoins == 1 and consumer.status.generation > 1)
            second = await take(consumer, 13)
        assert [each.offset for each in first + second] == list(range(20))


async def test_a_dry_run_of_a_seek_tells_where_it_would_go() -> None:
    """What would be refused is refused, and nothing is changed."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        async with client.consumer("billing", "orders") as consumer:
            await take(consumer, 20)
            await consumer.commit()
            seek = partial(client.groups.seek, dry_run=True)
            assert await seek("billing", "orders", to="earliest") == {0: 0, 1: 0}
            assert await seek("billing", "orders", to={1: 7}) == {1: 7}
            for refused in ("nobody", "orders"), ("billing", "none"):
                with pytest.raises((GroupNotFound, TopicNotFound)):
                    await seek(*refused, to="earliest")
            with pytest.raises(OffsetOutOfRange):
                await seek("billing", "orders", to=99)
            with pytest.raises(WrongQueue):
                await seek("billing", "orders", to={2: 0})
            described = await client.groups.describe("billing")
            assert [each.committed for each in described.queues] == [10, 10]
            assert not cluster.count(Method.GROUP_SEEK)


async def test_a_seek_reaches_a_running_consumer() -> None:
    """Backwards and forwards; also to exactly what was committed."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        async with client.consumer("billing", "orders") as consumer:
            await take(consumer, 20)
            await consumer.commit()
            assert await client.groups.seek("billing", "orders", to="earliest") == {0: 0, 1: 0}
            assert len(await take(consumer, 20)) == 20
            await client.groups.seek("billing", "orders", to={1: 7})
            found = await take(consumer, 3)
            assert [(each.queue, each.offset) for each in found] == [(1, 7), (1, 8), (1, 9)]
            await client.groups.seek("billing", "orders", to=7, queue=1)
            found = await take(consumer, 3)
            assert [(each.queue, each.offset) for each in found] == [(1, 7), (1, 8), (1, 9)]
            with pytest.raises(OffsetOutOfRange):
                await client.groups.seek("billing", "orders", to=99)
            with pytest.raises(ValueError, match="no start is named 'begin'"):
                await client.groups.seek("billing", "orders", to="begin")  # type: ignore[arg-type]
            for place in (-1, 2):
                with pytest.raises(WrongQueue, match=f"no queue {place}; it has 2"):
                    await client.groups.seek("billing", "orders", to={place: 0})
            assert (await client.groups.describe("billing")).queues[1].committed == 7


async def test_a_consumer_goes_on_with_the_next_leader() -> None:
    """Joins, heartbeats, claims and commits that are lost are asked again."""
    async with fake_cluster(3, orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        for method in (Method.GROUP_JOIN, Method.GROUP_CLAIM, Method.GROUP_COMMIT):
            cluster.fault(method, answer_lost)
        async with client.consumer("billing", "orders", commit_interval=0.01) as consumer:
            found = await take(consumer, 20)
            cluster.lead("n3")
            cluster.nodes[0].disconnect()
            await fill(client, 20, 20)
            found += await take(consumer, 20)
            await consumer.commit()
        assert sorted(int(each.value or b"") for each in found) == list(range(40))
        assert committed(cluster) == [20, 20]


async def test_a_topic_with_more_queues_is_read_whole() -> None:
    """A new generation brings the new queues."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 5, queues=1)
        async with client.consumer("billing", "orders", start="latest") as consumer:
            await client.topics.alter("orders", queues=2)
            async with Client(cluster.seeds) as other:
                await until(lambda: len(consumer.status.queues) == 2)
                await other.send("orders", b"new", queue=1)
            assert (await anext(consumer)).value == b"new"


async def test_records_that_are_gone_are_named_or_skipped() -> None:
    """A consumer slower than retention."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send_batch("orders", [Record(b"x")] * 10)
        async with client.consumer("billing", "orders") as consumer:
            await take(consumer, 5)
            await consumer.commit()
        await client.send_batch("orders", [Record(b"x")] * 10)
        await cluster.forget_below("orders", 0, 12)
        async with client.consumer("billing", "orders") as consumer:
            with pytest.raises(OffsetOutOfRange, match="records 5 to 11 of queue 0"):
                await anext(consumer)
            await client.groups.seek("billing", "orders", to="earliest")
            assert (await asyncio.wait_for(_first(consumer), 5)).offset == 12
        await cluster.forget_below("orders", 0, 15)
        async with client.consumer("audit", "orders", on_lost="skip", start="earliest") as other:
            events = other.events()
            assert (await anext(other)).offset == 15
            await other.commit()
            await events.aclose()
        await client.send_batch("orders", [Record(b"x")] * 10)
        await cluster.forget_below("orders", 0, 25)
        consumer = client.consumer("audit", "orders", on_lost="skip")
        hearing = asyncio.ensure_future(_skips(consumer))
        async with consumer:
            assert (await anext(consumer)).offset == 25
            assert await hearing == Skipped("orders", 0, 16, 25)


async def _first(consumer: Consumer) -> Message:
    """Return the first message after an error that a seek ends."""
    while True:
        try:
            return await anext(consumer)
        except OffsetOutOfRange:
            await asyncio.sleep(0.001)


async def _skips(consumer: Consumer) -> Skipped:
    async for event in consumer.events():
        if isinstance(event, Skipped):
            return event
    raise AssertionError("nothing was skipped")


@pytest.mark.parametrize("staleness", [0, 0.5, timedelta(hours=24)])
async def test_with_a_bound_records_come_from_followers_and_the_rest_from_the_leader(
    staleness: Any,
) -> None:
    """The followers of the fake answer nothing else: joins, claims, commits are the leader's."""
    async with fake_cluster(3, orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        async with client.consumer("billing", "orders", staleness=staleness) as consumer:
            found = await take(consumer, 20)
            await consumer.commit()
        assert sorted(int(each.value) for each in found) == list(range(20))
        assert committed(cluster) == [10, 10]
        leader, *followers = (each.received.get(Method.READ, 0) for each in cluster.nodes)
        assert (leader, any(followers)) == (0, True)


async def test_a_follower_that_is_gone_is_replaced() -> None:
    """By another one, or the leader; nothing is lost and nothing comes twice."""
    async with fake_cluster(3, orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", staleness=1.0) as consumer:
            found = await take(consumer, 10)
            for node in cluster.nodes[1:]:
                if node.received.get(Method.READ):
                    await node.server.close()
            await fill(client, 10, 10, queues=1)
            found += await take(consumer, 10)
        assert [int(each.value) for each in found] == list(range(20))


@pytest.mark.parametrize("staleness", [-1, 86_401, float("nan"), float("inf")])
async def test_a_bound_is_no_time_or_up_to_a_day(staleness: float) -> None:
    """For members of groups and for readers."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(ValueError, match=r"staleness|duration"):
            client.consumer("billing", "orders", staleness=staleness)
        with pytest.raises(ValueError, match=r"staleness|duration"):
            client.reader("orders", staleness=staleness)
        with pytest.raises(TypeError, match="'5s'"):
            client.consumer("billing", "orders", staleness="5s")  # type: ignore[arg-type]


async def test_what_cannot_be_consumed_is_told() -> None:
    """When it is entered, or first asked."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(TopicNotFound, match="orders"):
            async with client.consumer("billing", "order"):
                pass
        with pytest.raises(BadName):
            await anext(client.consumer("a b", "orders"))
        for options in ({"start": "first"}, {"on_lost": "x"}, {"session": 0.1}):
            with pytest.raises(ValueError, match=r"is|session"):
                client.consumer("billing", "orders", **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="topics"):
            client.consumer("billing", [])
        consumer = client.consumer("billing", "orders")
        await consumer.aclose()
        with pytest.raises(Closed):
            await anext(consumer)


async def test_closing_ends_iterations_and_leaves_the_group() -> None:
    """The others need not wait for the session to end; closing again is harmless."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        consumer = client.consumer("billing", "orders")
        events = asyncio.ensure_future(_all(consumer))

        async def read() -> list[Message]:
            return [message async for message in consumer]

        reading = asyncio.create_task(read())
        await until(lambda: consumer.status.generation == 1)
        await consumer.aclose()
        await consumer.aclose()
        assert await asyncio.wait_for(reading, 5) == []
        assert len(await asyncio.wait_for(events, 5)) == 1
        assert (await client.groups.describe("billing")).members == ()


async def _all(consumer: Consumer) -> list[object]:
    return [event async for event in consumer.events()]


@pytest.mark.long
async def test_closing_ends_in_time_without_a_cluster() -> None:
    """What could not be committed is handed out again."""
    async with fake_cluster(orders=1) as cluster:
        client = Client(cluster.seeds, timeout=0.2)
        consumer = client.consumer("billing", "orders")
        async with consumer:
            cluster.nodes[0].is_silent = True
            cluster.nodes[0].disconnect()
        await client.aclose()


async def test_groups_are_listed_described_and_deleted() -> None:
    """With lag, members and owners."""
    async with (
        fake_cluster(orders=2) as cluster,
        Client(cluster.seeds, client_id="shop") as client,
    ):
        await fill(client, 0, 20)
        with pytest.raises(GroupNotFound):
            await client.groups.describe("billing")
        async with client.consumer("billing", "orders") as consumer:
            await take(consumer, 6)
            await consumer.commit()
            (summary,) = await client.groups.list()
            assert (summary.name, summary.members, summary.lag) == ("billing", 1, 14)
            group = await client.groups.describe("billing")
            assert (group.lag, group.members[0].client_id) == (14, "shop")
            assert timedelta(0) <= summary.lag_time <= group.lag_time < timedelta(minutes=1)
            while (await client.groups.list())[0].lag_time <= group.lag_time:
                pass  # it grows while nothing is done
            assert {queue.owner for queue in group.queues} == {consumer.status.member}
            with pytest.raises(GroupInUse):
                await client.groups.delete("billing")
        await client.groups.delete("billing")
        await client.groups.delete("billing", missing_ok=True)
        with pytest.raises(GroupNotFound):
            await client.groups.delete("billing")


async def test_where_reading_would_begin_is_told_and_nothing_is_changed() -> None:
    """For each queue, or for one."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await client.send_batch("orders", [Record(b"v")] * 3, queue=1)
        assert await client.topics.offsets("orders", "earliest") == {0: 0, 1: 0}
        assert await client.topics.offsets("orders", "latest") == {0: 0, 1: 3}
        assert await client.topics.offsets("orders", timedelta(hours=1), queue=1) == {1: 3}
        assert await client.topics.offsets("orders", 2) == {0: 2, 1: 2}
        with pytest.raises(WrongQueue):
            await client.topics.offsets("orders", "latest", queue=2)
        with pytest.raises(TopicNotFound):
            await client.topics.offsets("order", "latest")
        with pytest.raises(ValueError, match="time zone"):
            await client.topics.offsets("orders", datetime(2026, 1, 1))  # noqa: DTZ001


async def test_topics_are_made_changed_listed_and_deleted() -> None:
    """And asking again does no harm where that was promised."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TOPIC_CREATE, answer_lost)
        made = await client.topics.create("orders", queues=2, retention=60.0, exist_ok=True)
        assert (made.name, len(made.queues)) == ("orders", 2)
        cluster.fault(Method.TOPIC_CREATE, answer_lost)
        with pytest.raises(OutcomeUnknown):
            await client.topics.create("other")
        altered = await client.topics.alter("orders", queues=3, retention=0)
        assert (len(altered.queues), altered.retention) == (3, None)
        for queues in (-1, 0):
            with pytest.raises(BadRequest, match=f"at least 1 queue, not {queues}"):
                await client.topics.create("third", queues=queues)
        with pytest.raises(TypeError, match="seconds or a timedelta, not '7d'"):
            await client.topics.create("third", retention="7d")  # type: ignore[arg-type]
        assert [topic.name for topic in await client.topics.list()] == ["orders", "other"]
        await client.topics.delete("other")
        await client.topics.delete("other", missing_ok=True)
        with pytest.raises(TopicNotFound):
            await client.topics.delete("other")
        cluster.nodes[0].is_silent = True
        with pytest.raises(Unavailable):
            await client.topics.describe("orders", timeout=0.05)


async def test_closing_is_not_taken_for_a_nudge() -> None:
    """Schedule: a commit is fenced, which asks for the new generation; its owner closes at once.

    The cancellation of the membership was taken for that question, and closing hung.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        consumer = client.consumer("billing", "orders", auto_commit=False)
        await take(consumer, 1)
        cluster.fault(Method.GROUP_COMMIT, refused(Fenced("by another")))
        with pytest.raises(Fenced):
            await consumer.commit()
        await asyncio.wait_for(consumer.aclose(), 5)


async def test_a_consumer_that_was_not_entered_is_no_member() -> None:
    """Schedule: entering is cancelled while no node leads; then one does."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.lead("n9")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), client.consumer("billing", "orders"):
                pass
        cluster.lead("n1")
        await asyncio.sleep(0.3)
        assert cluster.machine.groups.get("billing") is None


async def test_what_was_taken_before_an_error_is_handed_out_before_it() -> None:
    """Else a poll that fails takes records along, and the next one commits them.

    Schedule: queue 0 has records, queue 1 has lost some; one poll meets both.
    """
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        for queue in (0, 1):
            await client.send_batch("orders", [Record(b"x")] * 3, queue=queue)
        async with client.consumer("billing", "orders") as consumer:
            await take(consumer, 1)  # the group begins at 0
        await cluster.forget_below("orders", 1, 2)
        async with client.consumer("billing", "orders") as consumer:
            inbox = consumer._inbox
            await until(lambda: len(inbox._items) == 2)
            inbox._items = type(inbox._items)(sorted(inbox._items, key=lambda item: item[0].place))
            assert [message.offset for message in await consumer.poll(10)] == [0, 1, 2]
            for _ in range(2):
                with pytest.raises(OffsetOutOfRange):
                    await consumer.poll(10)


async def test_a_batch_that_cannot_be_opened_is_never_passed_over() -> None:
    """As often as it is asked; what is behind it is not committed.

    Schedule: three batches, the second one damaged on the way; whoever catches the error
    and goes on got the third, and the group went past the second.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        for _ in range(3):
            await client.send("orders", b"x")
        async with client.consumer("billing", "orders", commit_interval=0.01) as consumer:
            await until(lambda: bool(consumer._inbox._items))
            fetch, batches = consumer._inbox._items.popleft()
            assert isinstance(batches, tuple)
            bad = StoredBatch(Offset(1), bytes(batches[1].data)[:-1] + b"?", "orders", 0)
            consumer._inbox._items.append((fetch, (batches[0], bad, batches[2])))
            assert (await anext(consumer)).offset == 0
            for _ in range(3):
                with pytest.raises(BadBatch):
                    await anext(consumer)
        assert committed(cluster) == [1]


async def test_a_skip_does_not_overtake_what_was_read_before_it() -> None:
    """Records that are here are handed out, although retention has forgotten them since.

    Schedule: 0 to 7 are read ahead; 8 and 9 are forgotten before they are read; then the
    handler takes its first. They were passed over, and the group went to 10.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send_batch("orders", [Record(b"x")] * 8)
        cluster.fault(Method.READ, carried_out, unanswered)
        async with client.consumer(
            "billing", "orders", on_lost="skip", commit_interval=0.01
        ) as consumer:
            await until(lambda: bool(cluster.late))
            await client.send_batch("orders", [Record(b"y")] * 4)
            await cluster.forget_below("orders", 0, 10)
            cluster.late[0]()
            await until(lambda: consumer._inbox.has_items and cluster.count(Method.READ) >= 3)
            assert [message.offset for message in await consumer.poll(3)] == [0, 1, 2]
            await asyncio.sleep(0.05)
            assert committed(cluster) in ([None], [0])
            found = await take(consumer, 7)
            assert [message.offset for message in found] == [*range(3, 8), 10, 11]


async def test_topics_that_cannot_be_asked_for_are_told() -> None:
    """Schedule: the membership ended at them, and whoever iterated waited for ever."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        async with asyncio.timeout(5):
            with pytest.raises(BadRequest, match="600"):
                await anext(client.consumer("billing", "x" * 600_000))
        wrong: Any = b"name"
        for group, topic, error in (
            (wrong, "orders", TypeError),
            ("billing", [wrong], TypeError),
            ("billing", "\udcff", ValueError),
        ):
            with pytest.raises(error):
                client.consumer(group, topic)


# -- subscriptions


async def fill_numbered(client: Client, first: int, count: int) -> None:
    """Store records with a header that counts, three in a batch, in queue 0."""
    for at in range(first, first + count, 3):
        records = [
            Record(b"%d" % n, tag="odd" if n % 2 else "even", headers=[("n", b"%d" % n)])
            for n in range(at, at + 3)
        ]
        await client.send_batch("orders", records, queue=0)


async def test_a_filtered_group_commits_over_what_it_does_not_want() -> None:
    """The group has no lag then, although most of it was never sent to it."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill_numbered(client, 0, 30)
        options: dict[str, Any] = {"filter": "n BETWEEN 5 AND 12", "tags": ["odd"]}
        async with client.consumer("billing", "orders", **options) as consumer:
            found = await take(consumer, 4)
            assert [message.offset for message in found] == [5, 7, 9, 11]
            assert await consumer.poll(timeout=0.2) == []
            await consumer.commit()
            assert committed(cluster) == [30]
        assert (await client.groups.describe("billing")).lag == 0
        async with client.consumer("billing", "orders", **options) as consumer:
            await fill_numbered(client, 30, 3)
            assert await consumer.poll(timeout=1.3) == []
        assert committed(cluster) == [33]


async def test_a_message_that_is_not_finished_is_not_committed_by_what_follows_it() -> None:
    """The stretch behind it is passed over when it is done, and not before."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill_numbered(client, 0, 9)
        options: dict[str, Any] = {"filter": "n = 4", "commit_interval": 0.01}
        consumer = client.consumer("billing", "orders", **options)
        async with consumer:
            assert [message.offset for message in await consumer.poll(9)] == [4]
            await asyncio.sleep(0.1)
            assert committed(cluster) != [9]
            assert await consumer.poll(timeout=0.2) == []
            await until(lambda: committed(cluster) == [9])


async def test_a_consumer_with_another_subscription_is_refused() -> None:
    """Both are shown, and what changes it."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        async with client.consumer("billing", "orders", filter="n > 1"):
            with pytest.raises(SubscriptionConflict, match=r"filter n > 1.*wants orders \(no"):
                await client.consumer("billing", "orders").__aenter__()
            with pytest.raises(SubscriptionConflict):
                await client.consumer("billing", "other", filter="n > 1").__aenter__()
        with pytest.raises(BadFilter):
            client.consumer("billing", "orders", filter="n >")


async def test_running_consumers_take_over_another_subscription() -> None:
    """They go on from what is committed; after an expiry they join with what they took over."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        await fill_numbered(client, 0, 6)
        async with client.consumer("billing", "orders", filter="n < 3") as consumer:
            assert [message.offset for message in await take(consumer, 3)] == [0, 1, 2]
            assert await consumer.poll(timeout=0.2) == []
            topics = ["other", "orders"]
            assert await client.groups.subscribe("billing", topics, tags=["even"]) == 2
            assert await client.groups.subscribe("billing", topics, tags=["even"]) == 2
            with pytest.raises(SubscriptionConflict, match="at version 2"):
                await client.groups.subscribe("billing", "orders", version=1)
            await fill_numbered(client, 6, 3)
            await client.send("other", b"o", tag="even")
            found = await take(consumer, 3)
            assert sorted((m.topic, m.offset) for m in found) == [
                ("orders", 6),
                ("orders", 8),
                ("other", 0),
            ]
            await cluster.expire("billing", consumer.status.member)
            await until(lambda: consumer.status.rejoins == 1)
            await client.send("other", b"p", tag="even")
            async with asyncio.timeout(5):
                while (await anext(consumer)).value != b"p":
                    pass
        described = (await client.groups.describe("billing")).subscription
        assert described == GroupSubscription(("orders", "other"), "", ("even",), 2, by_hand=True)

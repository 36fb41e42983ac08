"""What a transaction was to finish comes again if even that is refused: nothing is passed over."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest

from raftlog.base.errors import Fenced, OutcomeUnknown
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.handing_over import Places, Sharing
from raftlog.client.receipts import Message
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, answer_lost, fake_cluster, refused, until
from tests.client.test_atomic import BY_WORD, COMMIT, NOT_YET, SHORT_S, fail, transact, visible
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio


async def count(
    client: Client,
    consumer: Consumer,
    messages: list[Message],
    *,
    named: Iterable[Message] | None,
    catches: tuple[type[Exception], ...] = (),
) -> None:
    """Finish messages, and send their values; an error of the first the block may catch."""
    async with client.atomic() as tx:
        with suppress(*catches):
            tx.commit_offsets(consumer, named)
        for message in messages:
            tx.send("out", message.value)


async def go_on(
    cluster: FakeCluster, client: Client, consumer: Consumer, last: bytes, *, by_list: bool
) -> None:
    """Count what is handed out until a value is there, as the loop of the how-to does."""
    async with asyncio.timeout(10):
        while last not in visible(cluster):
            found = await consumer.poll(100, timeout=3)
            with suppress(Fenced):
                await count(client, consumer, found, named=found if by_list else None)


@pytest.mark.parametrize("by_list", [True, False])
async def test_commit_offsets_that_is_refused_loses_nothing(by_list: bool) -> None:  # noqa: FBT001
    """One queue goes to another member; what was handed out of the other one comes again."""
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            found = await take(consumer, 2)
            async with client.consumer("billing", "orders", **BY_WORD):
                await until(lambda: len(consumer.status.queues) == 1)
                kept = consumer.status.queues[0].queue
                messages = sorted(found, key=lambda each: each.queue == kept)  # the lost one first
                with pytest.raises(Fenced):
                    await count(client, consumer, messages, named=messages if by_list else None)
                assert visible(cluster) == []
                await client.send("orders", b"next", queue=kept)
                await go_on(cluster, client, consumer, b"next", by_list=by_list)
            assert committed(cluster)[kept] == 2
            assert visible(cluster) == sorted([b"%d" % kept, b"next"])


@pytest.mark.parametrize("by_list", [True, False])
@pytest.mark.parametrize("sought", [0, 1])
async def test_a_seek_of_one_queue_loses_nothing_of_the_other(
    sought: int,
    by_list: bool,  # noqa: FBT001
) -> None:
    """It stays this member's, and is read anew from there."""
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            found = await take(consumer, 4)
            generation = consumer.status.generation
            await client.groups.seek("billing", "orders", to=1, queue=sought)
            await until(lambda: consumer.status.generation > generation)
            await until(lambda: len(consumer.status.queues) == 2)
            messages = sorted(found, key=lambda each: each.queue != sought)
            with pytest.raises(Fenced):
                await count(client, consumer, messages, named=messages if by_list else None)
            for queue in range(2):
                await client.send("orders", b"next %d" % queue, queue=queue)
            for queue in range(2):
                await go_on(cluster, client, consumer, b"next %d" % queue, by_list=by_list)
        assert committed(cluster) == [3, 3]
        kept = [b"%d" % number for number in range(4) if number != sought]
        assert visible(cluster) == sorted([*kept, b"next 0", b"next 1"])


async def test_what_an_earlier_failure_left_stale_loses_nothing_of_the_rest() -> None:
    """Of one list: the first transaction fails, the second has a message of its queue, too."""
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            found = await take(consumer, 4)
            first, second = ([each for each in found if each.queue == queue] for queue in (0, 1))
            with pytest.raises(ZeroDivisionError):
                await transact(client, finish=(consumer, first[0]), then=fail)
            rest = [first[1], *second]
            with pytest.raises(Fenced):
                await count(client, consumer, rest, named=rest)
            await fill(client, 4, 2)
            for last in (b"4", b"5"):
                await go_on(cluster, client, consumer, last, by_list=True)
        assert committed(cluster) == [3, 3]
        assert visible(cluster) == [b"%d" % number for number in range(6)]


async def test_what_is_refused_takes_back_what_came_after_it() -> None:
    """Its queue was lost, came again and was handed out: nobody has worked on that yet."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 3, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            *_, stale = await take(consumer, 3)
            await client.groups.seek("billing", "orders", to=0)
            await until(lambda: not consumer.status.queues[0].position)
            (message,) = await take(consumer, 1)
            with pytest.raises(Fenced):
                await count(client, consumer, [stale], named=[stale])
            with pytest.raises(Fenced):
                await count(client, consumer, [message], named=[message])
            await go_on(cluster, client, consumer, b"2", by_list=True)
        assert (committed(cluster), visible(cluster)) == ([3], [b"0", b"1", b"2"])


@pytest.mark.parametrize("by_list", [True, False])
async def test_a_refusal_that_is_caught_in_the_block_refuses_all_of_it(by_list: bool) -> None:  # noqa: FBT001
    """Else it sends what was made of a message that another member has now."""
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 2)
            async with client.consumer("billing", "orders", **BY_WORD):
                await until(lambda: len(consumer.status.queues) == 1)
                kept = consumer.status.queues[0].queue
                named = messages if by_list else None
                with pytest.raises(Fenced):
                    await count(client, consumer, messages, named=named, catches=(Fenced,))
                assert (visible(cluster), cluster.count(COMMIT)) == ([], 0)
                (message,) = await take(consumer, 1)
                assert (message.queue, message.offset) == (kept, 0)


async def test_a_queue_that_is_lost_on_the_way_back_is_told() -> None:
    """Whoever holds its messages has nothing left to do for them; it may come again."""
    lost: list[Places] = []
    sharing = Sharing(on_lost=lost.append)
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1)
        async with client.consumer("billing", "orders", sharing=sharing, **BY_WORD) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(Method.GROUP_CLAIM, refused(Fenced("it was claimed by another one")))
            with pytest.raises(ZeroDivisionError):
                await transact(client, finish=(consumer, message), then=fail)
            await until(lambda: lost)
            assert lost == [(("orders", message.queue),)]
            await client.topics.alter("orders", queues=3)  # the next generation has it again
            (again,) = await take(consumer, 1)
            assert (again.queue, again.offset) == (message.queue, message.offset)


async def test_messages_that_nobody_could_name_come_again() -> None:
    """The caller's own iterable fails: what it would have named after that is not known."""

    def sound(messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            if message.value == b"poison":
                raise ValueError("poison")
            yield message

    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            for queue, value in enumerate((b"poison", b"v")):
                await client.send("orders", value, queue=queue)
            messages = sorted(await take(consumer, 2), key=lambda each: each.queue)
            named = sound(messages)
            with pytest.raises(ValueError, match="poison"):
                await count(client, consumer, messages, named=named, catches=(ValueError,))
            again = await take(consumer, 2)
            assert sorted((each.queue, each.offset) for each in again) == [(0, 0), (1, 0)]
        assert visible(cluster) == []


@pytest.mark.parametrize("by_list", [True, False])
async def test_a_queue_that_was_away_between_two_polls_refuses_what_came_before(
    by_list: bool,  # noqa: FBT001
) -> None:
    """Somebody else has counted that meanwhile, and the queue is this member's again."""
    async with fake_cluster(orders=2, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            found = await take(consumer, 2)
            async with client.consumer("billing", "orders", **BY_WORD) as other:
                await until(lambda: len(consumer.status.queues) == 1)
                (message,) = await take(other, 1)
                await count(client, other, [message], named=[message])
            await until(lambda: len(consumer.status.queues) == 2)
            await client.send("orders", b"next", queue=message.queue)
            found += await take(consumer, 1)
            with pytest.raises(Fenced):
                await count(client, consumer, found, named=found if by_list else None)
            await client.send("orders", b"last", queue=1 - message.queue)
            for last in (b"next", b"last"):
                await go_on(cluster, client, consumer, last, by_list=by_list)
        assert (committed(cluster), visible(cluster)) == ([2, 2], [b"0", b"1", b"last", b"next"])


@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("by_list", [True, False])
async def test_what_is_tried_again_without_asking_for_more_is_refused(
    by_list: bool,  # noqa: FBT001
    arrives: bool,  # noqa: FBT001
) -> None:
    """It comes again, or was committed: what is made of it once more would be there twice."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 1)
            named = messages if by_list else None
            if arrives:
                cluster.fault(COMMIT, answer_lost, *NOT_YET)
                cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
                with pytest.raises(OutcomeUnknown):
                    await transact(client, b"0", finish=(consumer, messages[0]), timeout=SHORT_S)
                cluster.heal()
            else:
                with pytest.raises(ZeroDivisionError):
                    await transact(client, b"0", finish=(consumer, messages[0]), then=fail)
            for _ in range(2):
                with pytest.raises(Fenced):
                    await count(client, consumer, messages, named=named)
            await fill(client, 1, 1, queues=1)
            await go_on(cluster, client, consumer, b"1", by_list=by_list)
        assert (committed(cluster), visible(cluster)) == ([2], [b"0", b"1"])

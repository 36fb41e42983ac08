"""Atomic transactions of the client: all of it once, or none of it, whatever is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import pytest

from raftlog.base.errors import (
    BadRequest,
    Closed,
    CrossShard,
    DuplicateForgotten,
    Fenced,
    NotCommitted,
    NotStored,
    OffsetGoesBack,
    OutcomeUnknown,
    StaleLease,
    TopicNotFound,
    TransactionTooLarge,
    Unavailable,
    UnknownProducer,
    WrongQueue,
)
from raftlog.client.asking import Asker
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.atomic_dispatch import IDENTITIES_MAX
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.queue_message import QueueMessage
from raftlog.client.receipts import Message, Receipt
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    fake_cluster,
    refused,
    request_late,
    unanswered,
    until,
)
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

COMMIT: Final = Method.TRANSACTION_COMMIT
SHORT_S: Final = 0.3
"""Time for a request to leave, and over soon when nobody answers it."""
NOT_YET: Final = [refused(Unavailable("not yet"))] * 1000
"""Until ``heal``."""
BY_WORD: Final[dict[str, Any]] = {"auto_commit": False}


def visible(cluster: FakeCluster, topic: str = "out") -> list[bytes]:
    return sorted(value for queue in cluster.values(topic) for value in queue)


async def transact(
    client: Client,
    *values: bytes,
    finish: tuple[Consumer, Message | None] | None = None,
    acks: Iterable[QueueMessage] = (),
    then: Callable[[], Awaitable[object]] | None = None,
    timeout: float = 30.0,
) -> AtomicTransaction:
    """Commit offsets, acknowledge, send each value to the queue of its place, do something."""
    async with client.atomic(timeout=timeout) as tx:
        if finish is not None:
            tx.commit_offsets(*finish)
        for message in acks:
            tx.ack(message)
        for number, value in enumerate(values):
            tx.send("out", value, queue=number)
        if then is not None:
            await then()
    return tx


async def fail() -> None:
    raise ZeroDivisionError


def receipts_of(found: object) -> tuple[Receipt, ...]:
    """Return what a ticket of a transaction gives."""
    assert isinstance(found, tuple), found
    return found


async def test_sends_and_offsets_happen_at_one_index() -> None:
    """Not one of them before the end of the block."""
    async with fake_cluster(orders=2, out=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 4)
            async with client.atomic() as tx:
                tx.commit_offsets(consumer, messages)
                for number in range(6):
                    tx.send("out", b"%d" % number, queue=number % 2, headers={"n": b"x"})
                tx.send("orders", b"back", queue=0)
                await asyncio.sleep(0.01)
                assert (visible(cluster), cluster.count(COMMIT)) == ([], 0)
                assert tx.receipts == ()
            assert committed(cluster) == [2, 2]
        assert cluster.values("out") == [[b"0", b"2", b"4"], [b"1", b"3", b"5"]]
        places = [(each.topic, each.queue, each.offset) for each in tx.receipts]
        assert places == [
            *(("out", number % 2, number // 2) for number in range(6)),
            ("orders", 0, 2),
        ]
        assert len({(each.term, each.index) for each in tx.receipts}) == 1
        assert {each.durability for each in tx.receipts} == {"fsync"}
        assert cluster.count(COMMIT) == 1


async def test_an_error_in_the_block_leaves_nothing() -> None:
    """And what was to be finished is handed out again."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 3, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            first = await take(consumer, 2)
            with pytest.raises(ZeroDivisionError):
                await transact(client, b"v", finish=(consumer, first[0]), then=fail)
            assert [each.offset for each in await take(consumer, 3)] == [0, 1, 2]
        assert (visible(cluster), committed(cluster)) == ([], [None])
        assert cluster.count(COMMIT) == 0


@pytest.mark.parametrize(
    "fault",
    [
        answer_lost,
        request_late,
        refused(Unavailable("x")),
        refused(NotCommitted("x")),
        refused(UnknownProducer("x")),
    ],
)
async def test_what_was_lost_on_the_way_is_committed_once(fault: Any) -> None:
    """A late copy of it included."""
    async with fake_cluster(orders=1, out=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            for number, message in enumerate(await take(consumer, 2)):
                cluster.fault(COMMIT, *[fault] * (1 + number))
                async with client.atomic(timeout=10) as tx:
                    tx.commit_offsets(consumer, message)
                    tx.send("out", b"a%d" % number, queue=0)
                    tx.send("out", b"b%d" % number, queue=1)
                for request in cluster.late:
                    request()
        assert cluster.values("out") == [[b"a0", b"a1"], [b"b0", b"b1"]]
        assert committed(cluster) == [2]


async def unknown(client: Client) -> OutcomeUnknown:
    """Commit a transaction that nobody answers in time."""
    with pytest.raises(OutcomeUnknown) as raised:
        await transact(client, b"0", b"1", timeout=SHORT_S)
    return raised.value


async def test_an_unknown_outcome_is_resolved_by_a_fence() -> None:
    """It was committed: the receipts are those of the first time."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        error = await unknown(client)
        for request in cluster.late:
            request()
        cluster.heal()
        receipts = receipts_of(await client.resolve(error.ticket))
        assert [(each.queue, each.offset) for each in receipts] == [(0, 0), (1, 0)]
        assert receipts_of(await client.resolve(error.ticket)) == receipts
        assert visible(cluster) == [b"0", b"1"]


async def test_what_was_not_committed_never_will_be() -> None:
    """Its copy arrives after the fence, and after the next transaction of the same identity."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        async with client.atomic() as tx:
            tx.send("out", b"before", queue=0)
        cluster.fault(COMMIT, unanswered)
        error = await unknown(client)
        with pytest.raises(NotStored):
            await client.resolve(error.ticket)
        with pytest.raises(NotStored):
            await client.resolve(error.ticket)
        cluster.late[0]()
        await asyncio.sleep(0.01)
        async with client.atomic() as tx:
            tx.send("out", b"after", queue=0)
        cluster.late[0]()
        await asyncio.sleep(0.01)
        assert visible(cluster) == [b"after", b"before"]
        assert cluster.count(Method.PRODUCER_INIT) == 1


@pytest.mark.parametrize(("lost", "is_there"), [(answer_lost, True), (request_late, False)])
async def test_a_refusal_after_an_unknown_try_is_not_believed(lost: Any, is_there: bool) -> None:  # noqa: FBT001
    """The fence says what became of the first copy."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(COMMIT, lost, refused(Fenced("the group is somebody else's")))
        if is_there:
            async with client.atomic() as tx:
                tx.send("out", b"v")
            assert tx.receipts[0].offset == 0
        else:
            with pytest.raises(Fenced, match="somebody else"):
                async with client.atomic() as tx:
                    tx.send("out", b"v")
        for request in cluster.late:
            request()
        await asyncio.sleep(0.01)
        assert visible(cluster) == ([b"v"] if is_there else [])


async def test_time_is_over_before_anything_was_sent() -> None:
    """A definite error, and the identity is good for the next one."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(COMMIT, *[refused(Unavailable("no"))] * 100)
        with pytest.raises(Unavailable):
            async with client.atomic(timeout=0.05) as tx:
                tx.send("out", b"v")
        cluster.heal()
        async with client.atomic() as tx:
            tx.send("out", b"w")
        assert (visible(cluster), cluster.count(Method.PRODUCER_INIT)) == ([b"w"], 1)
        assert cluster.count(Method.PRODUCER_FENCE) == 0


async def test_an_identity_that_nobody_gives_leaves_nothing_unknown() -> None:
    """Nothing was sent: that is told, whatever became of the identity."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.PRODUCER_INIT, *[answer_lost] * 1000)
        with pytest.raises(Unavailable):
            await transact(client, b"v", timeout=SHORT_S)
        cluster.heal()
        await transact(client, b"w")
        assert visible(cluster) == [b"w"]


async def test_many_at_once_share_few_identities() -> None:
    """Each has one for itself while it is under way."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:

        async def one(number: int) -> None:
            async with client.atomic() as tx:
                for queue in range(2):
                    tx.send("out", b"%03d" % number, queue=queue)

        await asyncio.gather(*map(one, range(100)))
        first, second = cluster.values("out")
        assert first == second
        assert sorted(first) == [b"%03d" % number for number in range(100)]
        assert cluster.count(Method.PRODUCER_INIT) <= IDENTITIES_MAX


async def test_a_transaction_has_a_bound() -> None:
    """It is told at the send that is too much; what is smaller can be committed."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        for values in ([b"x" * 1_048_576], [b"x" * 1_000_000] * 34):
            with pytest.raises(TransactionTooLarge):
                await transact(client, *values)
        assert cluster.count(COMMIT) == 0
        async with client.atomic() as tx:
            tx.send("out", b"x" * 1_048_000, key=b"k")
        assert [len(value) for value in visible(cluster)] == [1_048_000]


async def test_what_cannot_be_in_a_transaction_is_refused_at_once() -> None:
    """Before anything was sent, and in words."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.consumer("billing", "orders") as consumer, client.atomic() as tx:
            with pytest.raises(BadRequest, match="auto_commit=False"):
                tx.commit_offsets(consumer)
        async with (
            Client(cluster.seeds) as other,
            other.consumer("others", "orders", **BY_WORD) as consumer,
        ):
            async with client.atomic() as tx:
                with pytest.raises(BadRequest, match="another client"):
                    tx.commit_offsets(consumer)
            consumer._ownership._asker = Asker(other._router, shard=1)
            async with client.atomic() as tx:
                tx.send("out", b"v")
                with pytest.raises(CrossShard, match="out"):
                    tx.commit_offsets(consumer)
                tx._is_over = True
            with pytest.raises(Closed):
                tx.send("out", b"v")
        with pytest.raises(TopicNotFound):
            async with client.atomic() as tx:
                tx.send("nothing", b"v")
        with pytest.raises(WrongQueue):
            async with client.atomic() as tx:
                tx.send("out", b"v", queue=7)
        with pytest.raises(TypeError):
            async with client.atomic() as tx:
                tx.send("out", "text")  # type: ignore[arg-type]
        with pytest.raises(BadRequest, match="used once"):
            await tx.__aenter__()
        with pytest.raises(BadRequest, match="async with"):
            client.atomic().send("out", b"v")
        assert cluster.count(COMMIT) == 0


async def test_nothing_in_it_asks_nothing() -> None:
    """A filter that drops a message need not know."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            async with client.atomic() as tx:
                tx.commit_offsets(consumer)
            async with client.atomic():
                pass
        assert (tx.receipts, cluster.count(COMMIT)) == ((), 0)


async def test_a_rebalance_in_the_middle_fences() -> None:
    """What was sent for messages that another member has now is not sent."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 3)
            with pytest.raises(Fenced):
                await transact(
                    *(client, b"v"),
                    finish=(consumer, messages[1]),
                    then=lambda: client.groups.seek("billing", "orders", to=1),
                )
            with pytest.raises(Fenced):
                await transact(client, b"v", finish=(consumer, messages[2]))
            assert (visible(cluster), committed(cluster)) == ([], [1])
            again = await take(consumer, 3)
            assert [each.offset for each in again] == [1, 2, 3]
            await transact(client, b"w", finish=(consumer, None))
            assert (visible(cluster), committed(cluster)) == ([b"w"], [4])


async def test_a_message_is_finished_by_one_transaction() -> None:
    """Also if two are under way at once."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            (message, _) = await take(consumer, 2)
            first, second = await asyncio.gather(
                *(transact(client, b"v", finish=(consumer, message)) for _ in range(2)),
                return_exceptions=True,
            )
            assert isinstance(first, AtomicTransaction)
            assert isinstance(second, OffsetGoesBack)
            assert [each.offset for each in await take(consumer, 1)] == [1]
        assert (visible(cluster), committed(cluster)) == ([b"v"], [1])


@pytest.mark.parametrize(
    ("deleted", "answer"),
    [(["other"], DuplicateForgotten), (["out", "other"], WrongQueue)],
)
async def test_a_topic_that_is_deleted_before_the_fence_hides_the_outcome(
    deleted: list[str], answer: type[Exception]
) -> None:
    """It was committed; the message that it finished does not come again."""
    async with (
        fake_cluster(orders=1, out=1, other=1) as cluster,
        Client(cluster.seeds) as client,
        client.consumer("billing", "orders", **BY_WORD) as consumer,
    ):
        await fill(client, 0, 2, queues=1)
        (message, _) = await take(consumer, 2)
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)

        async def commit() -> None:
            async with client.atomic(timeout=SHORT_S) as tx:
                tx.commit_offsets(consumer, message)
                tx.send("out", b"v")
                tx.send("other", b"v")

        with pytest.raises(OutcomeUnknown) as raised:
            await commit()
        cluster.late[0]()
        await until(lambda: committed(cluster) == [1])
        for topic in deleted:
            await client.topics.delete(topic)
        cluster.heal()
        with pytest.raises(answer):
            await client.resolve(raised.value.ticket)
        assert [each.offset for each in await take(consumer, 1)] == [1]


async def test_transactions_over_the_same_consumers_do_not_wait_for_each_other() -> None:
    """Both consumers were changing their queues: each transaction waits for the first of them."""
    async with fake_cluster(orders=1, other=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        await client.send("other", b"v")
        async with (
            client.consumer("billing", "orders", **BY_WORD) as first,
            client.consumer("stock", "other", **BY_WORD) as second,
        ):
            finished = [(each, (await take(each, 1))[0]) for each in (first, second)]
            begun = asyncio.Event()

            async def one(number: int) -> None:
                async with client.atomic(timeout=5) as tx:
                    for consumer, message in finished[:: (1, -1)[number % 2]]:
                        tx.commit_offsets(consumer, message)
                    tx.send("out", b"v")
                    await begun.wait()

            locks = [each._ownership._changing for each in (first, second)]
            for lock in locks:
                await lock.acquire()
            tasks = [asyncio.ensure_future(one(number)) for number in range(20)]
            await asyncio.sleep(0.01)
            begun.set()
            await asyncio.sleep(0.01)
            for lock in locks:
                lock.release()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert ended.count(None) == 1
        assert {type(each) for each in ended} <= {type(None), OffsetGoesBack, Fenced}
        assert (visible(cluster), committed(cluster)) == ([b"v"], [1])


async def test_no_message_comes_again_before_the_outcome_is_known() -> None:
    """Schedule: a late copy commits, and the next transaction counts the same message again."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(COMMIT, unanswered)
            cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
            with pytest.raises(OutcomeUnknown):
                await transact(client, b"0", finish=(consumer, message), timeout=SHORT_S)
            assert await consumer.poll(timeout=0.05) == []
            with pytest.raises(Fenced):
                async with client.atomic() as tx:
                    tx.commit_offsets(consumer, message)
            cluster.late[0]()
            cluster.heal()
            (message,) = await take(consumer, 1)
            assert message.offset == 1
            async with client.atomic() as tx:
                tx.commit_offsets(consumer, message)
                tx.send("out", b"1")
        assert (visible(cluster), committed(cluster)) == ([b"0", b"1"], [2])


ENDS: Final = (
    *((answer_lost, 5.0), (request_late, 5.0), (unanswered, 0.02)),
    *((answer_lost, 0.001), (request_late, 0.001)),
)


async def test_every_message_is_counted_once_whatever_goes_wrong() -> None:
    """Refused, lost, late: the loop goes on with what the consumer hands out."""
    async with fake_cluster(2, orders=2, out=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 60)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            tries = 0
            async with asyncio.timeout(60):
                while committed(cluster) != [30, 30]:
                    for message in await consumer.poll(5, timeout=0.5):
                        tries += 1
                        fault, timeout = ENDS[tries % len(ENDS)]
                        cluster.heal()
                        if tries % 2:
                            cluster.fault(COMMIT, fault)
                        try:
                            async with client.atomic(timeout=timeout) as tx:
                                tx.commit_offsets(consumer, message)
                                tx.send("out", message.value, key=message.value)
                        except (OutcomeUnknown, Unavailable, Fenced):
                            continue
                        finally:
                            if tries % 4 == 0:
                                for request in cluster.late:
                                    request()
            for request in cluster.late:
                request()
        assert visible(cluster) == sorted(b"%d" % number for number in range(60))
        assert tries >= 60


async def test_a_message_of_a_queue_group_is_settled_by_the_transaction() -> None:
    """In its process() block; if the transaction fails, the attempt has failed."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            first, second = await consumer.receive(2)
            async with first.process(), client.atomic() as tx:
                tx.ack(first)
                tx.ack(first)
                tx.send("out", b"a")
                with pytest.raises(BadRequest, match="another transaction"):
                    async with client.atomic() as other:
                        other.ack(first)
            assert first.is_settled
            with pytest.raises(ZeroDivisionError):
                async with second.process():
                    await transact(client, acks=[second], then=fail)
            (again,) = await consumer.receive()
            assert (again.offset, again.attempts) == (1, 2)
            await client.queue_groups.describe("work")
            async with client.atomic() as tx:
                tx.ack(again)
                tx.send("out", b"b")
            with pytest.raises(BadRequest, match="settled already"):
                async with client.atomic() as tx:
                    tx.ack(again)
            assert (consumer.status.acked, consumer.status.held) == (2, 0)
            found = await client.queue_groups.describe("work")
            assert (found.in_flight, found.unread) == (0, 0)
        assert visible(cluster) == [b"a", b"b"]
        assert cluster.count(Method.QUEUE_ACK) == 0


async def test_an_ack_that_comes_too_late_refuses_all_of_it() -> None:
    """Somebody else has the message."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            (first,) = await consumer.receive()
            await first.release()
            (second,) = await consumer.receive()
            first.is_settled = False  # it believes that it has it still
            with pytest.raises(StaleLease):
                await transact(client, b"v", acks=[first])
            assert visible(cluster) == []
            async with client.atomic() as tx:
                tx.ack(second)
                tx.send("out", b"w")
        assert visible(cluster) == [b"w"]


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_message_of_unknown_fate_is_in_no_other_transaction(arrives: bool) -> None:  # noqa: FBT001
    """Until the fence has said what became of the first one."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.queue_consumer("work", "orders") as consumer:
            (message,) = await consumer.receive()
            cluster.fault(COMMIT, unanswered)
            cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
            with pytest.raises(OutcomeUnknown):
                await transact(client, b"v", acks=[message], timeout=SHORT_S)
            with pytest.raises(BadRequest, match="unknown outcome"):
                async with client.atomic() as tx:
                    tx.ack(message)
            if arrives:
                cluster.late[0]()
                cluster.heal()
                await until(lambda: message.is_settled)
            else:
                cluster.heal()
                await until(lambda: message.transaction is None)
                async with client.atomic() as tx:
                    tx.ack(message)
                    tx.send("out", b"v")
                cluster.late[0]()
                await asyncio.sleep(0.01)
        assert visible(cluster) == [b"v"]


async def test_a_topic_that_was_made_anew_is_looked_up_again() -> None:
    """Its queues have other numbers."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        async with client.atomic() as tx:
            tx.send("out", b"v")
        async with Client(cluster.seeds) as other:
            await other.topics.delete("out")
            await other.topics.create("out", queues=1)
        async with client.atomic() as tx:
            tx.send("out", b"w")
        assert (visible(cluster), tx.receipts[0].offset) == ([b"w"], 0)


async def test_what_was_stored_in_a_topic_that_is_gone_has_no_offset() -> None:
    """The answer was lost; the topic went before it was asked for again."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(COMMIT, answer_lost, *NOT_YET)
        async with client.atomic() as tx:
            for topic in ("orders", "out", "out"):
                tx.send(topic, b"v")
            commit = asyncio.ensure_future(tx.__aexit__(None, None, None))
            await until(lambda: cluster.count(COMMIT) > 1)
            assert visible(cluster) == [b"v", b"v"]
            await client.topics.delete("out")
            cluster.heal()
            await commit
        assert [each.offset for each in tx.receipts] == [0, -1, -1]
        assert {each.duplicate for each in tx.receipts} == {True}


async def test_a_cancelled_commit_is_known_before_its_messages_come_again() -> None:
    """Its copy may be under way."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(COMMIT, unanswered)
            task = asyncio.ensure_future(transact(client, b"v", finish=(consumer, message)))
            await until(lambda: bool(cluster.late))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await take(consumer, 1)
            await transact(client, b"v", finish=(consumer, None))
            cluster.late[0]()
            await asyncio.sleep(0.01)
        assert (visible(cluster), committed(cluster)) == ([b"v"], [1])


async def test_who_is_cancelled_in_the_queue_for_a_turn_goes_on_afterwards() -> None:
    """Sixteen others are under way; nothing of it was sent, so its messages come again."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(COMMIT, *[unanswered] * IDENTITIES_MAX)
            others = [asyncio.ensure_future(transact(client, b"o")) for _ in range(IDENTITIES_MAX)]
            await until(lambda: len(cluster.late) == IDENTITIES_MAX)
            task = asyncio.ensure_future(transact(client, b"v", finish=(consumer, message)))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [each.offset for each in await take(consumer, 2)] == [0, 1]
            for request in cluster.late:
                request()
            await asyncio.gather(*others)
            await transact(client, b"v", finish=(consumer, None))
        assert (visible(cluster), committed(cluster)) == ([b"o"] * IDENTITIES_MAX + [b"v"], [2])


async def test_a_closed_client_leaves_nobody_waiting() -> None:
    """What is unknown then stays unknown."""
    async with fake_cluster(out=2) as cluster:
        async with Client(cluster.seeds) as client:
            cluster.fault(COMMIT, unanswered)
            cluster.fault(Method.PRODUCER_FENCE, *[unanswered] * 10)
            error = await unknown(client)
            waiting = asyncio.ensure_future(client.resolve(error.ticket))
            await asyncio.sleep(0.01)
        with pytest.raises(OutcomeUnknown, match="closed"):
            await waiting

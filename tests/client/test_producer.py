"""The producer against a cluster that refuses, loses, is late, moves the lead and forgets topics.

The rules that are checked again and again: what has a receipt is stored once, at
that place; what is said not to be stored is not; the order is kept.
"""

import asyncio
import gc
import warnings
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    BufferFull,
    Closed,
    CodecUnavailable,
    Fenced,
    LimitReached,
    NotCommitted,
    NotLeader,
    NotPermitted,
    NotStored,
    Outcome,
    OutcomeUnknown,
    OutOfOrder,
    QuotaExceeded,
    RaftlogError,
    RecordTooLarge,
    Throttled,
    TopicNotFound,
    Unavailable,
    UnknownProducer,
    WrongLoop,
    WrongQueue,
    WrongVersion,
)
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from raftlog.client.client import Client
from raftlog.client.outbox import TURN_RECORDS_MAX
from raftlog.client.receipts import BatchReceipt, Receipt
from raftlog.wire.batch import Record, encode_columns
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    Fault,
    answer_lost,
    fake_cluster,
    refused,
    request_late,
    unanswered,
    until,
)

pytestmark = pytest.mark.asyncio


# -- receipts, batches, queues


async def test_a_receipt_says_where_a_record_is() -> None:
    """Topic, place of the queue, offset; term, index and what the acknowledgement means."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        receipt = await client.send("orders", b"v", queue=1)
        assert (receipt.topic, receipt.queue, receipt.offset) == ("orders", 1, 0)
        assert (receipt.term, receipt.durability, receipt.duplicate) == (3, "fsync", False)
        assert cluster.values("orders") == [[], [b"v"]]


async def test_sends_of_one_turn_share_a_batch_and_each_has_its_own_receipt() -> None:
    """1024 sends in flight cost one request, and nobody gets another's offset."""
    async with fake_cluster(orders=4) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first", queue=0)
        before = cluster.count(Method.APPEND)
        values = [b"%d" % number for number in range(1024)]
        receipts = await asyncio.gather(*(client.send("orders", value) for value in values))
        assert cluster.count(Method.APPEND) == before + 1
        (queue,) = {receipt.queue for receipt in receipts}
        base = receipts[0].offset
        assert [receipt.offset for receipt in receipts] == list(range(base, base + 1024))
        assert cluster.values("orders")[queue][base:] == values


async def test_a_turn_with_too_much_for_one_batch_makes_several() -> None:
    """The limits of a batch are not the caller's business."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        many = BATCH_RECORDS_MAX + 5
        await asyncio.gather(*(client.send("orders", b"") for _ in range(many)))
        assert cluster.count(Method.APPEND) == 1 + 2
        large = [bytes([number]) * 700_000 for number in range(4)]
        await asyncio.gather(*(client.send("orders", value) for value in large))
        assert cluster.count(Method.APPEND) == 1 + 2 + 4
        assert cluster.values("orders") == [[b"first", *[b""] * many, *large]]


async def test_at_most_64_batches_are_in_flight_and_the_rest_shares_the_next() -> None:
    """The window of ruling 9; what waits for it is packed tighter."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        cluster.fault(Method.APPEND, *[unanswered] * 64)
        values = [b"%d" % number for number in range(80)]
        sends = []
        for value in values:
            sends.append(client.send("orders", value))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await until(lambda: len(cluster.late) == 64)
        assert cluster.count(Method.APPEND) == 1 + 64
        for request in cluster.late:
            request()
        receipts = await asyncio.gather(*sends)
        assert [receipt.offset for receipt in receipts] == list(range(1, 81))
        assert cluster.count(Method.APPEND) == 1 + 64 + 1
        assert cluster.values("orders") == [[b"first", *values]]


async def test_without_a_key_the_queues_take_turns_and_with_one_they_do_not() -> None:
    """One queue for each turn of the loop; one queue for each key."""
    async with fake_cluster(orders=4) as cluster, Client(cluster.seeds) as client:
        turns = [(await client.send("orders", b"v")).queue for _ in range(8)]
        assert sorted(turns) == [0, 0, 1, 1, 2, 2, 3, 3]
        keyed = {(await client.send("orders", b"v", key=b"k")).queue for _ in range(4)}
        assert len(keyed) == 1
        many = await asyncio.gather(
            *(client.send("orders", b"v", key=b"%d" % number) for number in range(64))
        )
        assert {receipt.queue for receipt in many} == {0, 1, 2, 3}


async def test_producers_that_send_one_record_each_fill_all_queues() -> None:
    """A command that is run for each record is such a producer: all went to one queue."""
    async with fake_cluster(orders=4) as cluster, Client(cluster.seeds) as client:
        found = set()
        for _ in range(64):  # all in three queues: once in 25 million times
            async with client.producer() as producer:
                found.add((await producer.send("orders", b"v")).queue)
        assert found == {0, 1, 2, 3}


async def test_many_records_of_one_turn_do_not_all_go_to_one_queue() -> None:
    """Whoever sends all at once would leave the other members of a group idle."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        async with client.producer() as own:
            receipts = [own.post("orders", b"v") for _ in range(2 * TURN_RECORDS_MAX)]
            found = Counter([(await receipt).queue for receipt in receipts])
        assert found == {0: TURN_RECORDS_MAX, 1: TURN_RECORDS_MAX}


async def test_everything_of_a_record_arrives() -> None:
    """Key, headers as mapping or pairs, tag, time, no value at all, any buffer."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await asyncio.gather(
            client.send("orders", b"plain"),
            client.send("orders", b"a", key=b"", headers={"h": b"1"}, tag="t", timestamp=moment),
            client.send("orders", None, key=b"k", headers=[("h", b"1"), ("h", b"2")]),
            client.send("orders", bytearray(b"buffer"), key=b"k"),
        )
        async with client.reader("orders", follow=False) as reader:
            found = [message async for message in reader]
        assert [(each.key, each.value) for each in found] == [
            (None, b"plain"),
            (b"", b"a"),
            (b"k", None),
            (b"k", b"buffer"),
        ]
        assert (found[1].headers, found[1].tag) == ([("h", b"1")], "t")
        assert found[1].timestamp_ms == moment.timestamp() * 1000
        assert found[2].headers == [("h", b"1"), ("h", b"2")]
        assert found[0].timestamp_ms > found[1].timestamp_ms


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4"])
async def test_a_batch_is_appended_as_one(codec: str) -> None:
    """Records, or bytes that are a batch already; compressed or not."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(compression=codec)
        records = [Record(b"x" * 200, tag="t"), Record(b"y" * 200, key=b"k")]
        first = await producer.send_batch("orders", records)
        second = await producer.send_batch("orders", encode_columns([b"z"], timestamp_ms=1))
        assert (first.base_offset, first.count) == (0, 2)
        assert (second.base_offset, second.count) == (2, 1)
        assert cluster.values("orders") == [[b"x" * 200, b"y" * 200, b"z"]]


async def test_lingering_packs_what_comes_later_and_flush_ends_it() -> None:
    """A batch waits for more records, but not for longer than wanted."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        async with client.producer(linger=0.001) as producer:
            await producer.send("orders", b"first")
        async with client.producer(linger=30.0) as producer:
            sends = []
            for number in range(5):
                sends.append(producer.send("orders", b"%d" % number))
                await asyncio.sleep(0.001)
            assert not any(send.done() for send in sends)
            await producer.flush()
            assert [send.result().offset for send in sends] == list(range(1, 6))
        assert cluster.count(Method.APPEND) == 2


# -- what is sent again


REFUSALS: Final = [
    refused(Throttled("full", 0.001)),
    refused(Unavailable("stopping")),
    refused(NotCommitted("replaced by another leader's entry")),
    refused(NotLeader()),
    answer_lost,
    request_late,
]


@pytest.mark.parametrize("fault", REFUSALS)
async def test_what_fails_on_the_way_is_stored_once_and_in_order(fault: Fault) -> None:
    """Whether it had been stored or not; and its late copy is not stored again."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        cluster.fault(Method.APPEND, fault, fault)
        sends = []
        for number in range(20):
            sends.append(client.send("orders", b"%d" % number))
            await asyncio.sleep(0)
        receipts = await asyncio.gather(*sends)
        for late in cluster.late:
            late()
        await client.send("orders", b"last")
        expected = [b"first", *(b"%d" % number for number in range(20)), b"last"]
        assert cluster.values("orders") == [expected]
        assert [receipt.offset for receipt in receipts] == list(range(1, 21))


async def test_a_duplicate_is_said_to_be_one() -> None:
    """The receipt is the first one's."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, answer_lost)
        receipt = await client.send("orders", b"2")
        assert (receipt.offset, receipt.duplicate) == (1, True)


async def test_a_producer_follows_the_leader() -> None:
    """From one node to the next, with many in flight."""
    async with fake_cluster(3, orders=2) as cluster, Client(cluster.seeds) as client:
        sends = []
        for turn in range(60):
            sends += [client.send("orders", b"%d" % turn, key=b"%d" % (turn % 7))]
            if turn % 20 == 10:
                cluster.lead(f"n{1 + turn // 20 % 3}")
            await asyncio.sleep(0)
        receipts = await asyncio.gather(*sends)
        places = {(receipt.queue, receipt.offset) for receipt in receipts}
        assert len(places) == 60
        stored = cluster.values("orders")
        for number, receipt in enumerate(receipts):
            assert stored[receipt.queue][receipt.offset] == b"%d" % number
        for values in stored:
            assert values == sorted(values, key=int)


async def test_a_leader_that_falls_silent_is_left_when_another_leads() -> None:
    """A machine that is cut off sends no reset; what it holds is sent again elsewhere."""
    async with fake_cluster(2, orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.nodes[0].is_silent = True
        send = client.send("orders", b"2")
        await asyncio.sleep(0.02)
        cluster.lead("n2")
        assert (await asyncio.wait_for(send, 5)).offset == 1


async def test_a_producer_that_was_fenced_by_somebody_begins_anew() -> None:
    """No restart of the process is needed (complaint 20)."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, refused(Fenced("epoch 9")))
        with pytest.raises(Fenced):
            await client.send("orders", b"2")
        assert (await client.send("orders", b"3")).offset == 1
        assert cluster.count(Method.PRODUCER_INIT) == 2


async def test_a_producer_that_was_forgotten_goes_on() -> None:
    """A week of silence."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, refused(UnknownProducer("silent for a week")))
        assert (await client.send("orders", b"2")).offset == 1


async def test_a_gap_is_healed_by_sending_again() -> None:
    """OutOfOrder is no error of the caller's."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, refused(OutOfOrder(1)))
        assert (await client.send("orders", b"2")).offset == 1


# -- unknown outcomes


async def test_an_unknown_outcome_that_was_stored_is_resolved_to_its_receipt() -> None:
    """The ticket leads to the place where it is."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, unanswered)
        sends = [
            client.send("orders", b"2", timeout=0.05),
            client.send("orders", b"3", timeout=0.05),
        ]
        await asyncio.sleep(0.02)
        cluster.late.pop()()
        for request in cluster.late:
            request()
        cluster.fault(Method.PRODUCER_FENCE, refused(Throttled("busy", 0.01)))
        results = await asyncio.gather(*sends, return_exceptions=True)
        if isinstance(results[0], Receipt):  # the answer was in time after all
            return
        errors = [result for result in results if isinstance(result, OutcomeUnknown)]
        receipts = [await client.resolve(error.ticket) for error in errors]
        assert [each.offset for each in receipts if isinstance(each, Receipt)] == [1, 2]


async def test_an_unknown_outcome_that_was_not_stored_never_will_be() -> None:
    """The late request is fenced (KIP-890's race), and the producer goes on."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, unanswered)
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send("orders", b"2", timeout=0.03)
        assert caught.value.outcome is Outcome.UNKNOWN
        with pytest.raises(NotStored):
            await client.resolve(caught.value.ticket)
        with pytest.raises(NotStored):  # as often as it is asked
            await client.resolve(caught.value.ticket)
        assert (await client.send("orders", b"3")).offset == 1
        for request in cluster.late:
            request()
        await client.send("orders", b"4")
        assert cluster.values("orders") == [[b"1", b"3", b"4"]]


async def test_nothing_is_sent_to_a_queue_before_it_is_fenced() -> None:
    """What waits behind an unknown outcome is sent in the new epoch, in order."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, unanswered)
        lost = client.send_batch("orders", [Record(b"2")], timeout=0.03)
        with pytest.raises(OutcomeUnknown) as caught:
            await lost
        behind = [client.send("orders", b"%d" % number) for number in (3, 4)]
        await asyncio.sleep(0.02)
        assert not any(send.done() for send in behind)
        for request in cluster.late:  # the append first, then the fence
            request()
        receipt = await client.resolve(caught.value.ticket)
        assert isinstance(receipt, BatchReceipt)
        assert [(await send).offset for send in behind] == [2, 3]
        assert cluster.values("orders") == [[b"1", b"2", b"3", b"4"]]


async def test_resolving_has_an_end_in_time_and_can_be_repeated() -> None:
    """Nobody answers: still unknown, with the same ticket."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.nodes[0].is_silent = True
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send("orders", b"2", timeout=0.03)
        with pytest.raises(OutcomeUnknown) as again:
            await client.resolve(caught.value.ticket, timeout=0.03)
        assert again.value.ticket is caught.value.ticket
        cluster.nodes[0].is_silent = False
        cluster.nodes[0].disconnect()
        with pytest.raises(NotStored):
            await client.resolve(again.value.ticket)


async def test_a_ticket_of_somebody_else_is_refused() -> None:
    """Each producer knows its own."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(BadRequest):
            await client.resolve(object())


async def test_a_refusal_that_lasts_is_told_when_time_is_up() -> None:
    """The caller learns that it was not stored, and why."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, *[refused(Throttled("full", 10.0))] * 9)
        with pytest.raises(Throttled):
            await client.send("orders", b"2", timeout=0.05)
        cluster.heal()
        assert cluster.values("orders") == [[b"1"]]


# -- topics that change


async def test_an_unknown_topic_is_told_with_the_nearest_name() -> None:
    """Also for everything that waited with it; and it can be created then."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        results = await asyncio.gather(
            client.send("order", b"1"), client.send("order", b"2"), return_exceptions=True
        )
        assert [type(result) for result in results] == [TopicNotFound] * 2
        assert "orders" in str(results[0])
        await client.topics.create("order", queues=1)
        assert (await client.send("order", b"3")).offset == 0


async def test_a_topic_that_was_made_again_gets_what_is_sent_from_then_on() -> None:
    """Its queues have other numbers; nobody sees that."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"old", queue=1)
        async with Client(cluster.seeds) as admin:
            await admin.topics.delete("orders")
            await admin.topics.create("orders", queues=2)
        producer = client._default_producer()
        sends = [client.send("orders", b"%d" % number, queue=1) for number in (1, 2)]
        await producer.flush(timeout=5)
        receipts = [send.result() for send in sends]
        assert [receipt.offset for receipt in receipts] == [0, 1]
        assert cluster.values("orders") == [[], [b"1", b"2"]]


async def test_a_topic_that_was_deleted_is_not_found() -> None:
    """Sends to it end; others go on."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        async with Client(cluster.seeds) as admin:
            await admin.topics.delete("orders")
        with pytest.raises(TopicNotFound):
            await client.send("orders", b"2")
        assert (await client.send("other", b"3")).offset == 0
        with pytest.raises(TopicNotFound):
            await client.send("orders", b"4")


async def test_a_queue_that_is_too_new_for_a_node_is_not_gone() -> None:
    """A new leader may refuse what it has not applied yet: looked up, and sent again."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        cluster.fault(Method.APPEND, refused(WrongQueue("not yet")))
        assert (await client.send("orders", b"2")).offset == 1


async def test_a_topic_that_cannot_be_written_refuses_and_leaves_no_hole() -> None:
    """When it can be written again, the producer goes on."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"1")
        await client.topics.alter("orders", writable=False)
        sends = []
        for number in range(5):
            sends.append(client.send("orders", b"%d" % number))
            await asyncio.sleep(0)
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(result) for result in results} == {NotPermitted}
        await client.topics.alter("orders", writable=True)
        assert (await client.send("orders", b"2")).offset == 1


# -- room


async def test_post_refuses_when_the_buffer_is_full_and_send_waits() -> None:
    """In the order in which they came."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(buffer_records=2)
        await producer.send("orders", b"0")
        cluster.fault(Method.APPEND, unanswered)
        posted = [producer.post("orders", b"1"), producer.post("orders", b"2")]
        with pytest.raises(BufferFull):
            producer.post("orders", b"x")
        waiting = [producer.send("orders", b"3"), producer.send("orders", b"4")]
        ready = asyncio.ensure_future(producer.ready())
        await asyncio.sleep(0.02)
        assert not ready.done()
        assert producer.status.records == 2
        cluster.late.pop()()
        receipts = await asyncio.gather(*posted, *waiting)
        assert [receipt.offset for receipt in receipts] == [1, 2, 3, 4]
        await ready
        await producer.post("orders", b"5")


async def test_a_send_that_finds_no_room_in_time_was_not_stored() -> None:
    """BufferFull, and the others are not disturbed."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(buffer_records=1)
        await producer.send("orders", b"0")
        cluster.fault(Method.APPEND, unanswered)
        first = producer.send("orders", b"1")
        with pytest.raises(BufferFull):
            await producer.send("orders", b"2", timeout=0.02)
        with pytest.raises(BufferFull):
            await producer.ready(timeout=0.02)
        cluster.late.pop()()
        assert (await first).offset == 1
        assert (await producer.send("orders", b"3")).offset == 2


# -- at most once


async def test_oneway_sends_and_tells_nothing() -> None:
    """Packed like everything else, without a number, without a second try."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer()
        for number in range(3):
            producer.oneway("orders", b"%d" % number)
        await until(lambda: bool(cluster.values("orders")[0]))
        cluster.fault(Method.APPEND, refused(Throttled("full")))
        producer.oneway("orders", b"gone")
        await producer.send("orders", b"last")
        assert cluster.values("orders") == [[b"0", b"1", b"2", b"last"]]
        producer.oneway("nothing", b"x")
        await until(lambda: bool(producer.status.oneway_dropped))


# -- mistakes


MISTAKES: Final = [
    pytest.param(lambda c: c.send("orders", bytes(BATCH_BYTES_MAX)), RecordTooLarge, id="large"),
    pytest.param(
        lambda c: c.send_batch("orders", [Record(b"")] * (BATCH_RECORDS_MAX + 1)),
        RecordTooLarge,
        id="many",
    ),
    pytest.param(lambda c: c.send_batch("orders", b"rubbish"), BadBatch, id="no batch"),
    pytest.param(
        lambda c: c.send_batch("orders", encode_columns([b"v"], timestamp_ms=1)[:-1] + b"x"),
        BadBatch,
        id="wrong CRC",
    ),
    pytest.param(lambda c: c.send_batch("orders", []), BadRequest, id="empty batch"),
    pytest.param(lambda c: c.send("orders", b"v", tag="t" * 128), BadRequest, id="long tag"),
    pytest.param(lambda c: c.send("orders", b"v", queue=7), WrongQueue, id="no such queue"),
    pytest.param(lambda c: c.send("orders", "text"), TypeError, id="text"),
    pytest.param(lambda c: c.send("orders", b"v", key="k"), TypeError, id="text key"),
    pytest.param(lambda c: c.send("orders", b"v", headers={"h": "x"}), TypeError, id="header"),
    pytest.param(
        lambda c: c.send("orders", b"v", timestamp=datetime(2026, 1, 1)),  # noqa: DTZ001
        ValueError,
        id="time zone",
    ),
    pytest.param(lambda c: c.producer(compression="rar"), CodecUnavailable, id="codec"),
    pytest.param(lambda c: c.producer(buffer_records=0), ValueError, id="no buffer"),
    pytest.param(lambda c: c.topics.create("a b"), RaftlogError, id="bad name"),
]


@pytest.mark.parametrize(("mistake", "kind"), MISTAKES)
async def test_a_mistake_is_told_and_the_producer_goes_on(
    mistake: Any, kind: type[Exception]
) -> None:
    """Definite, typed, and nobody else's batch is spoiled."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        good = client.send("orders", b"good")
        with pytest.raises(kind) as caught:
            await mistake(client)
        if isinstance(caught.value, RaftlogError):
            assert not caught.value.retriable
            assert caught.value.outcome is Outcome.NOT_APPLIED
            assert caught.value.hint
        assert (await good).offset == 0
        assert (await client.send("orders", b"good")).offset == 1


# -- life


async def test_without_a_node_a_send_ends_in_time_and_nothing_was_stored() -> None:
    """Unavailable, not unknown: no byte of it left."""
    async with fake_cluster() as cluster:
        seeds = cluster.seeds
    async with Client(seeds) as client:
        with pytest.raises(Unavailable):
            await client.send("orders", b"x", timeout=0.05)


async def test_a_cancelled_send_loses_its_receipt_alone() -> None:
    """The record is stored, and so are the others."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        sends = [client.send("orders", b"%d" % number) for number in range(3)]
        sends[1].cancel()
        assert (await sends[0]).offset == 0
        assert (await sends[2]).offset == 2
        assert cluster.values("orders") == [[b"0", b"1", b"2"]]


async def test_leaving_a_producer_flushes_it() -> None:
    """What was posted has its receipt."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        async with client.producer(linger=9.0) as producer:
            posted = [producer.post("orders", b"%d" % number) for number in range(3)]
        assert [post.result().offset for post in posted] == [0, 1, 2]
        with pytest.raises(Closed):
            await producer.send("orders", b"late")
        await producer.aclose()


async def test_closing_without_flushing_tells_what_can_be_said() -> None:
    """Sent and not answered is unknown, not sent is not stored."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer()
        await producer.send("orders", b"0")
        cluster.fault(Method.APPEND, unanswered)
        sent = producer.send("orders", b"1")
        await asyncio.sleep(0.02)
        unsent = producer.send("orders", b"2")
        await producer.aclose(flush=False)
        results = await asyncio.gather(sent, unsent, return_exceptions=True)
        assert [type(result) for result in results] == [OutcomeUnknown, Closed]


async def test_a_closed_client_says_so() -> None:
    """Every call, and closing again is harmless."""
    async with fake_cluster(orders=1) as cluster:
        client = Client(cluster.seeds)
        async with client:
            await client.send("orders", b"0")
        await client.aclose()
        with pytest.raises(Closed):
            client.send("orders", b"1")
        with pytest.raises(Closed):
            client.reader("orders")
        with pytest.raises(Closed):
            await client.status()


async def test_another_loop_is_told_so() -> None:
    """Instead of hanging for ever."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer()
        await producer.send("orders", b"0")

        def elsewhere() -> list[str]:
            async def use() -> list[str]:
                found = []
                for call in (
                    lambda: producer.send("orders", b"1"),
                    lambda: client.send("orders", b"1"),
                    lambda: client.topics,
                ):
                    try:
                        call()
                    except WrongLoop as error:
                        found.append(error.code)
                return found

            return asyncio.run(use())

        assert await asyncio.to_thread(elsewhere) == ["wrong_loop"] * 3


async def test_a_client_that_is_forgotten_is_complained_about() -> None:
    """With a ResourceWarning, as everywhere in asyncio."""
    async with fake_cluster(orders=1) as cluster:
        client: Client | None = Client(cluster.seeds)
        assert client is not None
        await client.status()
        await client._router.aclose()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client = None
            gc.collect()
        assert [each.category for each in caught] == [ResourceWarning]


@pytest.mark.parametrize("seeds", ["", "nowhere", ["127.0.0.1:1", "x"], []])
async def test_seeds_that_are_no_addresses_are_refused(seeds: Any) -> None:
    """At once, without I/O."""
    with pytest.raises(ValueError, match="address"):
        Client(seeds)


async def test_a_lane_that_ended_never_uses_its_sequences_again() -> None:
    """Else its successor's first record is taken for a copy of its own first, and is lost.

    Schedule: a is stored with sequence 0; the node refuses the client once, so the lane
    ends; c goes out by a new lane, with sequence 0.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"a")
        cluster.fault(Method.STATUS, refused(WrongVersion("it was upgraded")))
        cluster.nodes[0].disconnect()
        await asyncio.sleep(0.01)
        with pytest.raises(WrongVersion):
            await client.send("orders", b"b")
        receipt = await client.send("orders", b"c")
        assert (receipt.offset, receipt.duplicate) == (1, False)
        assert cluster.values("orders") == [[b"a", b"c"]]


@pytest.mark.parametrize("error", [Unavailable("no leader"), LimitReached("too many")])
async def test_a_queue_is_gone_only_if_its_topic_says_so(error: RaftlogError) -> None:
    """A node that lags behind does not know it; that nobody can be asked proves nothing.

    Schedule: a is stored; b is refused with WrongQueue by a node that is too new, nobody
    can be asked until b's time is over; c goes on, and is not taken for a copy of a.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"a")
        cluster.fault(Method.APPEND, refused(WrongQueue("queue 1 is not here")))
        cluster.fault(Method.TOPIC_DESCRIBE, *[refused(error)] * 1000)
        async with asyncio.timeout(5):
            with pytest.raises((WrongQueue, LimitReached)):
                await client.send("orders", b"b", timeout=0.2)
        await asyncio.sleep(0.05)
        cluster.heal()
        receipt = await client.send("orders", b"c", timeout=5)
        assert (receipt.offset, receipt.duplicate) == (1, False)
        assert cluster.values("orders") == [[b"a", b"c"]]


async def test_a_send_ends_in_time_although_its_queue_is_looked_for() -> None:
    """Its record does not wait for a move that never comes.

    Schedule: WrongQueue; b's time is over while the topic is looked up, and then the
    queue is still there: b was put aside for good.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer()
        await producer.send("orders", b"a")
        cluster.fault(Method.APPEND, refused(WrongQueue("queue 1 is not here")))
        cluster.fault(Method.TOPIC_DESCRIBE, unanswered)
        sends = [producer.send("orders", b"b", timeout=0.2)]
        await until(lambda: cluster.count(Method.APPEND) == 2)
        sends.append(producer.send("orders", b"c", timeout=5))
        async with asyncio.timeout(2):
            with pytest.raises(WrongQueue):
                await sends[0]
        for request in cluster.late:
            request()
        assert (await sends[1]).offset == 1
        assert producer.status.records == 0
        assert cluster.values("orders") == [[b"a", b"c"]]


async def test_a_closed_producer_leaves_nobody_waiting_for_a_queue_that_is_gone() -> None:
    """Schedule: the topic is made anew; queue 0 finds out, queue 1 lingers still: close."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(linger=30)
        await producer.send_batch("orders", [Record(b"a")], queue=0)
        lingering = producer.send("orders", b"b", queue=1)
        await client.topics.delete("orders")
        await client.topics.create("orders", queues=2)
        await producer.send_batch("orders", [Record(b"c")], queue=0)
        await producer.aclose(flush=False)
        await asyncio.wait([lingering], timeout=2)
        assert (await lingering).offset == 0
        assert producer.status.records == 0
        assert cluster.values("orders") == [[b"c"], [b"b"]]


async def test_many_that_waited_for_room_may_all_be_refused() -> None:
    """One after the other, and not one within the other: that ended at Python's depth."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(buffer_records=1)
        await producer.send("orders", b"a")
        cluster.fault(Method.APPEND, unanswered)
        first = producer.send("orders", b"b")
        waiting = [producer.send("orders", b"c", queue=9) for _ in range(2_000)]
        last = producer.send("orders", b"d")
        await until(lambda: bool(cluster.late))
        cluster.late[0]()
        assert (await first).offset == 1
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in errors} == {WrongQueue}
        assert (await last).offset == 2


async def test_a_flush_waits_for_those_before_it_and_not_for_those_behind() -> None:
    """Schedule: the buffer is full all the time, because somebody sends and sends."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(buffer_records=1)
        sent: list[asyncio.Future[Receipt]] = []
        most = 400

        def send_on(_: object = None) -> None:
            if len(sent) < most:
                sent.append(producer.send("orders", b"v"))
                sent[-1].add_done_callback(send_on)

        for _ in range(3):
            send_on()
        await producer.flush(timeout=5)
        most = 0
        assert len(sent) < 100
        await asyncio.gather(*sent)


async def test_a_flush_ends_in_time_or_not_at_all() -> None:
    """Not with BufferFull, when the producer's time is shorter than the flush's."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer(buffer_records=1, timeout=0.1)
        await producer.send("orders", b"a")
        cluster.fault(Method.APPEND, unanswered)
        sends = [producer.send("orders", b"b", timeout=5), producer.send("orders", b"c")]
        with pytest.raises(TimeoutError):
            await producer.flush(timeout=0.3)
        cluster.late[0]()
        assert (await sends[0]).offset == 1
        with pytest.raises(BufferFull):
            await sends[1]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"headers": {"name\udcff": b""}}, BadRequest),
        ({"tag": "tag\udcff"}, BadRequest),
        ({"queue": "0"}, TypeError),
    ],
)
async def test_what_cannot_be_encoded_is_its_senders_trouble_alone(
    wrong: dict[str, Any], error: type[Exception]
) -> None:
    """Schedule: it shares a turn with others (a file's name as a header, say).

    It failed when the batches of that turn were made; queues whose turn came after it were
    never flushed again.
    """
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        for _ in range(2):  # before the topic was looked up, and after
            sends = [client.send("orders", b"before", queue=0)]
            with pytest.raises(error):
                client.send("orders", b"wrong", **({"queue": 0} | wrong))
            sends.append(client.send("orders", b"behind", queue=1))
            await asyncio.wait_for(asyncio.gather(*sends), 5)
        assert cluster.values("orders") == [[b"before"] * 2, [b"behind"] * 2]


async def test_a_header_is_as_large_as_its_bytes() -> None:
    """Not as its characters: a batch of such would be over the limit when it is made."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        name = "\N{GRINNING FACE}" * 250_000
        sends = [client.send("orders", b"v", headers={name: b""}) for _ in range(4)]
        sends.append(client.send("orders", b"v", headers={name * 5: b""}))
        sends.append(client.send("orders", b"last"))
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(end) for end in ends] == [*[Receipt] * 4, RecordTooLarge, Receipt]


async def test_a_producer_whose_closing_is_cancelled_looks_for_nobody_any_more() -> None:
    """Schedule: no leader; closing waits for a receipt, and is cancelled.

    The search for a leader went on, also after the client was closed, fifty times a second.
    """
    async with fake_cluster(orders=1) as cluster:
        before = asyncio.all_tasks()
        client = Client(cluster.seeds)
        producer = client.producer()
        await producer.send("orders", b"a")
        cluster.lead("n9")
        waiting = producer.send("orders", b"b")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.aclose(), 0.1)
        assert isinstance(await asyncio.wait_for(_end_of(waiting), 5), RaftlogError)
        await client.aclose()
        assert asyncio.all_tasks() <= before


async def _end_of(waiting: "asyncio.Future[Receipt]") -> BaseException | None:
    await asyncio.wait([waiting])
    return waiting.exception()


async def test_a_record_with_an_id_is_stored_once_by_whoever_sends_it() -> None:
    """Another client, with another producer id, sends the same order."""
    async with fake_cluster(orders=4) as cluster:
        async with Client(cluster.seeds) as client:
            first = await client.send("orders", b"a", id="order-17")
        async with Client(cluster.seeds) as client:
            others = [client.send("orders", b"b", id=f"order-{number}") for number in range(30)]
            receipts = await asyncio.gather(*others, client.send("orders", b"c"))
        again = receipts[17]
        assert not first.duplicate
        assert again.duplicate
        assert (again.queue, again.offset, again.index) == (first.queue, first.offset, first.index)
        assert sum(receipt.duplicate for receipt in receipts) == 1
        assert sum(map(len, cluster.values("orders"))) == 31
        assert min(map(len, cluster.values("orders"))) > 0, "ids choose among all queues"


async def test_order_is_kept_between_records_with_an_id_and_others() -> None:
    """A record with an id leaves in a batch of its own, in its place."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        sends = [
            client.send("orders", b"%d" % number, id=None if number % 3 else f"id-{number}")
            for number in range(10)
        ]
        receipts = await asyncio.gather(*sends)
        assert [receipt.offset for receipt in receipts] == list(range(1, 11))
        assert cluster.values("orders")[0][1:] == [b"%d" % number for number in range(10)]


async def test_an_answer_that_is_lost_leaves_a_record_with_an_id_stored_once() -> None:
    """The retry is answered by its sequence, whatever became of the id meanwhile."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first")
        cluster.fault(Method.APPEND, answer_lost)
        receipt = await client.send("orders", b"a", id="order-17")
        assert (receipt.offset, receipt.duplicate) == (1, True)
        assert cluster.values("orders") == [[b"first", b"a"]]


@pytest.mark.parametrize("id_", ["", "x" * 128, "\ud800"])
async def test_an_id_that_cannot_be_is_refused_at_once(id_: str) -> None:
    """Not when others wait for the same batch."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(BadRequest, match="id"):
            client.send("orders", b"a", id=id_)
        with pytest.raises(BadRequest, match="batch of its own"):
            client.send_batch("orders", [Record(b"a", id="a"), Record(b"b")])
        receipt = await client.send_batch("orders", [Record(b"a", id="a")])
        again = await client.send("orders", b"b", id="a")
        assert (again.duplicate, again.offset) == (True, receipt.base_offset)


async def test_a_client_beyond_its_quota_waits_as_it_is_told_and_others_do_not() -> None:
    """Every record gets in, in order, and the status says what hinders."""
    async with fake_cluster(orders=1, free=1) as cluster:
        async with Client(cluster.seeds) as admin:
            await admin.quotas.set(client="job", records_per_s=20)
            assert [quota.name for quota in await admin.quotas.list()] == ["job"]
        async with Client(cluster.seeds, client_id="job") as job, Client(cluster.seeds) as other:
            loop = asyncio.get_running_loop()
            began = loop.time()
            producer = job.producer()
            for number in range(30):
                await producer.send("orders", b"%d" % number)
                if number == 25:
                    await asyncio.wait_for(other.send("orders", b"other"), 1)
            assert loop.time() - began > 0.3
            stored = cluster.values("orders")[0]
            assert [value for value in stored if value != b"other"] == [
                b"%d" % number for number in range(30)
            ]
            refused = cluster.service.produce.hindered["quota_exceeded"]
            assert 1 <= refused <= 20, "it asks when it was told to, and not all the time"
        async with Client(cluster.seeds) as admin:
            (quota,) = await admin.quotas.list()
            assert quota.refused == refused
            await admin.quotas.remove(client="job")
            assert await admin.quotas.list() == []


async def test_what_waits_beyond_its_time_is_told_that_the_quota_was_the_reason() -> None:
    """Not stored, and the error is the one of its cause."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.quotas.set(topic="orders", bytes_per_s=1)
        await client.send("orders", b"a")
        with pytest.raises(QuotaExceeded, match="topic 'orders' has a quota of 1 bytes/s"):
            await client.send("orders", b"b", timeout=0.1)
        assert cluster.values("orders") == [[b"a"]]

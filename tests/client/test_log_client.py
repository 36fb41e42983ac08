"""The client against nodes that move the lead, refuse, fall silent and die."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from raftlog.base.errors import (
    BadBatch,
    Closed,
    NotCommitted,
    OffsetOutOfRange,
    OutcomeUnknown,
    RaftlogError,
    RecordTooLarge,
    Retriable,
    Throttled,
    Unavailable,
    WrongCluster,
)
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from raftlog.client.log_client import LogClient
from raftlog.client.routing import ask_status
from raftlog.wire.batch import Record, encode_columns
from tests.client.fake_broker import FakeBroker, SharedLog

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def cluster(size: int = 1) -> AsyncIterator[list[FakeBroker]]:
    """Give nodes n1, n2, ..; n1 leads."""
    log = SharedLog()
    nodes = [await FakeBroker(f"n{number}", log).start() for number in range(1, size + 1)]
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.server.close()


def client_of(nodes: Sequence[FakeBroker], timeout_s: float = 30.0) -> LogClient:
    """Return a client that has the nodes as seeds."""
    return LogClient([node.address for node in nodes], timeout_s=timeout_s)


async def test_sends_of_one_turn_share_a_batch_and_each_has_its_own_receipt() -> None:
    """1024 sends in flight cost one request, and nobody gets another's offset."""
    async with cluster() as nodes, client_of(nodes) as log:
        await log.send(b"first")
        receipts = await asyncio.gather(*(log.send(b"%d" % number) for number in range(1024)))
        assert [receipt.offset for receipt in receipts] == list(range(1, 1025))
        assert {(r.term, r.index, r.durability, r.queue) for r in receipts} == {(1, 2, "fsync", 0)}
        assert nodes[0].appends == 2


async def test_what_was_sent_is_read_back_in_order() -> None:
    """Values, keys, headers and times survive the way through the log."""
    async with cluster() as nodes, client_of(nodes) as log:
        sent = [
            Record(b"a"),
            Record(b"b", key=b"k", headers=[("h", b"1")], timestamp_ms=5),
            Record(None, key=b""),
        ]
        for record in sent:
            await log.send(record)
        await asyncio.gather(log.send(b"plain"), *(log.send(record) for record in sent))
        await log.send_batch(sent)
        expected = [*sent, Record(b"plain"), *sent, *sent]
        assert await log.end_offset() == len(expected)
        found = [
            (offset, record)
            async for batch in log.batches(0, end=len(expected))
            for offset, record in batch.records()
        ]
        assert [offset for offset, _ in found] == list(range(len(expected)))
        for (_, record), original in zip(found, expected, strict=True):
            assert (record.value, record.key) == (original.value, original.key)
            assert list(record.headers) == list(original.headers)
            assert record.timestamp_ms == original.timestamp_ms or not original.timestamp_ms


async def test_a_turn_with_too_much_for_one_batch_makes_several() -> None:
    """The limits of a batch are not the caller's business."""
    async with cluster() as nodes, client_of(nodes) as log:
        many = BATCH_RECORDS_MAX + 5
        large = [bytes(700_000)] * 4
        await asyncio.gather(*(log.send(b"") for _ in range(many)))
        await asyncio.gather(*(log.send(value) for value in large))
        assert await log.end_offset() == many + 4
        assert nodes[0].appends == 2 + 4


@pytest.mark.parametrize("tells_leader", [True, False])
async def test_the_leader_is_found_from_any_seed(tells_leader: bool) -> None:  # noqa: FBT001
    """By the hint of the node that was asked, or else by asking all."""
    async with cluster(3) as nodes:
        for node in nodes:
            node.tells_leader = tells_leader
        seeds = nodes[1:2] if tells_leader else nodes
        async with client_of(seeds) as log:
            assert (await log.send(b"x")).offset == 0
            assert (await log.status()).node == "n1"


async def test_a_client_follows_the_leader() -> None:
    """NotLeader is no error of the caller's: it is found out and sent again."""
    async with cluster(3) as nodes, client_of(nodes) as log:
        await log.send(b"1")
        await log.transfer()
        receipts = await asyncio.gather(log.send(b"2"), log.send(b"3"))
        assert [(receipt.offset, receipt.term) for receipt in receipts] == [(1, 2), (2, 2)]
        assert await log.end_offset() == 3


REFUSALS: Final = [
    Throttled("full", 0.001),
    Unavailable("stopping"),
    NotCommitted("replaced by another leader's entry"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_what_was_refused_is_sent_again(refusal: Retriable) -> None:
    """A retriable refusal means that it never happened, so nothing is repeated."""
    async with cluster() as nodes, client_of(nodes) as log:
        nodes[0].refusals = [refusal, refusal]
        assert (await log.send(b"x")).offset == 0
        assert nodes[0].appends == 3
        assert await log.end_offset() == 1


async def test_a_refusal_that_lasts_is_told_when_time_is_up() -> None:
    """The caller learns that it was not stored, and why."""
    # The pause outlasts the time, so no attempt is under way when the time is up.
    async with cluster() as nodes, client_of(nodes, timeout_s=1.0) as log:
        nodes[0].refusals = [Throttled("full", 10.0)] * 1_000
        with pytest.raises(Throttled):
            await log.send(b"x")
        assert nodes[0].log.end == 0


async def test_a_definite_mistake_is_not_sent_again() -> None:
    """The same call fails again."""
    async with cluster() as nodes, client_of(nodes) as log:
        nodes[0].refusals = [BadBatch("no")]
        with pytest.raises(BadBatch):
            await log.send(b"x")
        assert nodes[0].appends == 1


async def test_a_connection_lost_with_an_append_on_it_leaves_the_outcome_unknown() -> None:
    """It may be stored: sending it again silently could store it twice."""
    async with cluster() as nodes, client_of(nodes) as log:
        await log.send(b"1")
        nodes[0].holds = lambda: True
        sends = [log.send(b"2"), log.send(b"3")]
        await nodes[0].until_held()
        for connection in tuple(nodes[0].server.connections):
            connection.abort()
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(result) for result in results] == [OutcomeUnknown, OutcomeUnknown]
        assert nodes[0].appends == 2


async def test_an_append_without_an_answer_in_time_is_unknown() -> None:
    """The answer that comes later is dropped, and the connection is still good."""
    async with cluster() as nodes, client_of(nodes, timeout_s=1.0) as log:
        nodes[0].holds = lambda: True
        with pytest.raises(OutcomeUnknown):
            await log.send(b"1")
        nodes[0].held[0].fail(Throttled("late"))
        nodes[0].holds = lambda: False
        assert (await log.send(b"2")).offset == 0


async def test_a_leader_that_falls_silent_is_left_when_another_leads() -> None:
    """A machine that is cut off sends no reset: its requests must not wait for ever."""
    async with cluster(2) as nodes, client_of(nodes) as log:
        await log.send(b"1")
        nodes[0].holds = lambda: True
        cut_off = log.send(b"2")
        await nodes[0].until_held()
        nodes[0].log.leader, nodes[0].log.term = "n2", 2
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(cut_off, 30)
        assert (await log.send(b"3")).term == 2


async def test_a_cancelled_send_does_not_disturb_the_others() -> None:
    """Cancelling forgets the receipt, not the record."""
    async with cluster() as nodes, client_of(nodes) as log:
        sends = [log.send(b"%d" % number) for number in range(3)]
        sends[1].cancel()
        assert (await sends[0]).offset == 0
        assert (await sends[2]).offset == 2


async def test_at_most_64_batches_are_in_flight_and_the_rest_shares_the_next() -> None:
    """The window of ruling 9; what waits for it is packed tighter."""
    async with cluster() as nodes, client_of(nodes) as log:
        await log.send(b"warm")
        nodes[0].holds = lambda: True
        sends = []
        for _ in range(80):
            sends.append(log.send(b"x"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await nodes[0].until_held(64)
        nodes[0].holds = lambda: False
        assert nodes[0].appends == 1 + 64
        for request in nodes[0].held:
            request.fail(NotCommitted("replaced"))
        receipts = await asyncio.gather(*sends)
        assert sorted(receipt.offset for receipt in receipts) == list(range(1, 81))
        assert nodes[0].appends == 1 + 64 + 64 + 1


async def test_a_read_waits_at_the_end_and_says_what_it_cannot_reach() -> None:
    """An empty answer is an answer; an offset beyond the queue is a mistake with numbers."""
    async with cluster() as nodes, client_of(nodes) as log:
        await log.send(b"x")
        found = await log.read(1, wait_s=0.01)
        assert (found.batches, found.end_offset) == ((), 1)
        with pytest.raises(OffsetOutOfRange) as caught:
            await log.read(5)
        assert (caught.value.start, caught.value.end) == (0, 1)


MISTAKES: Final = [
    pytest.param(lambda log: log.send(bytes(BATCH_BYTES_MAX)), RecordTooLarge, id="too large"),
    pytest.param(lambda log: log.send_batch(b"rubbish"), BadBatch, id="no batch"),
    pytest.param(
        lambda log: log.send_batch(encode_columns([b"v"], timestamp_ms=1)[:-1] + b"x"),
        BadBatch,
        id="damaged batch",
    ),
]


@pytest.mark.parametrize(("mistake", "kind"), MISTAKES)
async def test_a_mistake_is_told_before_anything_is_sent(
    mistake: object, kind: type[RaftlogError]
) -> None:
    """And the client goes on."""
    async with cluster() as nodes, client_of(nodes) as log:
        with pytest.raises(kind):
            await mistake(log)  # type: ignore[operator]
        assert nodes[0].appends == 0
        assert (await log.send(b"good")).offset == 0


async def test_without_a_node_a_send_ends_in_time_and_nothing_was_stored() -> None:
    """Unavailable, not unknown: no byte of it left."""
    async with cluster() as nodes:
        log = client_of(nodes, timeout_s=0.05)
    async with log:
        with pytest.raises(Unavailable):
            await log.send(b"x")


async def test_another_cluster_is_refused_by_name() -> None:
    """A wrong address in a configuration must not collect records."""
    async with cluster() as nodes, LogClient([nodes[0].address], cluster="other") as log:
        with pytest.raises(WrongCluster):
            await log.send(b"x")


async def test_closing_ends_what_waits() -> None:
    """What was sent is unknown; what comes after is refused."""
    async with cluster() as nodes, client_of(nodes) as log:
        await log.send(b"1")
        nodes[0].holds = lambda: True
        waiting = log.send(b"2")
        await nodes[0].until_held()
        await log.aclose()
        with pytest.raises(OutcomeUnknown):
            await waiting
        with pytest.raises(Closed):
            await log.send(b"3")


async def test_any_node_can_be_asked_about_itself() -> None:
    """Health checks do not go through the leader."""
    async with cluster(2) as nodes:
        status = await ask_status(nodes[1].address)
        assert (status.node, status.role, status.leader) == ("n2", "follower", "n1")
        assert status.counters["appends"] == 0

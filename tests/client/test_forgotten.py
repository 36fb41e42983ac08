"""What a queue may have forgotten is told to be unknown, and is never sent again.

A queue forgets a producer after a week. A fence of one that it does not know finds nothing,
whether the batch was stored or not; and a first batch that comes again is a new one to it.
"""

import asyncio
from typing import Any, Final

import pytest

from raftlog.base.clock import SystemClock
from raftlog.base.errors import NotStored, OutcomeUnknown, Unavailable
from raftlog.base.limits import PRODUCER_FORGOTTEN_MS
from raftlog.broker.timetable import PassTime
from raftlog.client import ages
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client import fake_cluster as fakes
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused, unanswered, until

pytestmark = pytest.mark.asyncio

WEEK_MS: Final = PRODUCER_FORGOTTEN_MS + 1
SIX_DAYS_MS: Final = PRODUCER_FORGOTTEN_MS * 6 // 7
NOT_YET: Final = [refused(Unavailable("not yet"))] * 1000
"""Until ``heal``."""


def unheard(_node: Any, request: Any, handler: Any) -> None:
    """Carry it out, and answer nothing; the connection stays."""
    request._connection = None
    handler(request)


def kept(node: Any, request: Any, handler: Any) -> None:
    """Carry it out when the test says so, and answer nothing; the connection stays."""
    request._connection = None
    node.cluster.late.append(lambda: handler(request))


class Week:
    """The clocks of a cluster and of its client's machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster_ms = self.client_ms = 0
        run_s, clock = ages.run_s, SystemClock
        week = self

        class Shifted(clock):  # type: ignore[misc, valid-type]
            def wall_ms(self) -> int:
                return super().wall_ms() + week.cluster_ms

        monkeypatch.setattr(fakes, "SystemClock", Shifted)
        monkeypatch.setattr(ages, "run_s", lambda: run_s() + self.client_ms / 1000)

    async def passes(self, cluster: FakeCluster, *, at_client_ms: int = WEEK_MS) -> None:
        """A week passes in the cluster, which forgets its producers; at the client, so much."""
        self.cluster_ms += WEEK_MS
        self.client_ms += at_client_ms
        async with asyncio.timeout(5):
            while cluster.machine.producers.table.rows:
                await cluster.propose(PassTime())


@pytest.fixture
def week(monkeypatch: pytest.MonkeyPatch) -> Week:
    """Nothing has passed yet."""
    return Week(monkeypatch)


async def ask_in_vain(client: Client, cluster: FakeCluster, fault: Any) -> OutcomeUnknown:
    """Send a record whose answer does not come, and let nobody be asked about it."""
    cluster.fault(Method.APPEND, fault)
    cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
    with pytest.raises(OutcomeUnknown) as caught:
        await client.send("orders", b"v", timeout=0.1)
    return caught.value


async def test_what_was_stored_and_forgotten_is_not_told_to_be_not_stored(week: Week) -> None:
    """A week without a cluster, as far as this client can reach it. It goes on afterwards."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        error = await ask_in_vain(client, cluster, unheard)
        await week.passes(cluster)
        cluster.heal()
        with pytest.raises(OutcomeUnknown, match="so long ago") as resolved:
            await client.resolve(error.ticket)
        assert resolved.value.ticket is None
        assert (await client.send("orders", b"w")).offset == 1
        assert cluster.values("orders") == [[b"v", b"w"]]


async def test_a_queue_that_does_not_know_what_it_had_told_has_forgotten(week: Week) -> None:
    """Whatever the clock of the client's machine says: the cluster's may have been put forward."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"u")
        error = await ask_in_vain(client, cluster, unheard)
        await week.passes(cluster, at_client_ms=0)
        cluster.heal()
        with pytest.raises(OutcomeUnknown, match="so long ago"):
            await client.resolve(error.ticket)
        assert cluster.values("orders") == [[b"u", b"v"]]


@pytest.mark.parametrize("days_before", [0, 7])
async def test_what_is_certain_is_told(week: Week, days_before: int) -> None:
    """A queue that had forgotten its producer before, or knows it still, has not stored it."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"u")
        if days_before:
            await week.passes(cluster)
        error = await ask_in_vain(client, cluster, unanswered)
        week.client_ms += 0 if days_before else WEEK_MS
        cluster.heal()
        with pytest.raises(NotStored):
            await client.resolve(error.ticket)
        assert cluster.values("orders") == [[b"u"]]


async def test_a_machine_that_has_slept_for_a_week_stores_nothing_twice(week: Week) -> None:
    """Its time does not run while it sleeps, so it would send the batch again."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.APPEND, unheard)
        sending = asyncio.ensure_future(client.send("orders", b"v"))
        await until(lambda: cluster.values("orders") == [[b"v"]])
        await week.passes(cluster)
        cluster.nodes[0].disconnect()
        with pytest.raises(OutcomeUnknown, match="so long ago"):
            await asyncio.wait_for(sending, 10)
        assert (await client.send("orders", b"w")).offset == 1
        assert cluster.values("orders") == [[b"v", b"w"]]


async def test_a_machine_that_has_slept_sends_what_was_not_stored_for_certain(week: Week) -> None:
    """Its queue knows what was before it."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"u")
        cluster.fault(Method.APPEND, kept)
        sending = asyncio.ensure_future(client.send("orders", b"v"))
        await until(lambda: len(cluster.late) == 1)
        week.client_ms += SIX_DAYS_MS
        cluster.nodes[0].disconnect()
        assert (await asyncio.wait_for(sending, 10)).offset == 1
        cluster.late[0]()
        await client.send("orders", b"w")
        assert cluster.values("orders") == [[b"u", b"v", b"w"]]
        assert cluster.count(Method.PRODUCER_FENCE) == 1


# -- transactions


async def transact(client: Client, value: bytes, timeout: float = 30.0) -> AtomicTransaction:
    """Send a value to both queues, or to none."""
    async with client.atomic(timeout=timeout) as tx:
        for queue in range(2):
            tx.send("orders", value, queue=queue)
    return tx


async def test_a_transaction_that_was_committed_and_forgotten_is_unknown(week: Week) -> None:
    """No queue knows whether it was."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TRANSACTION_COMMIT, unheard)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        with pytest.raises(OutcomeUnknown) as caught:
            await transact(client, b"v", timeout=0.3)
        await week.passes(cluster)
        cluster.heal()
        with pytest.raises(OutcomeUnknown, match="so long ago") as resolved:
            await client.resolve(caught.value.ticket)
        assert resolved.value.ticket is None
        assert len((await transact(client, b"w")).receipts) == 2
        assert cluster.values("orders") == [[b"v", b"w"]] * 2


async def test_a_transaction_that_one_queue_has_not_is_not_committed(week: Week) -> None:
    """It knows what was before it; the other one has forgotten, or never knew."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        async with client.atomic() as tx:
            tx.send("orders", b"u", queue=0)
        cluster.fault(Method.TRANSACTION_COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        with pytest.raises(OutcomeUnknown) as caught:
            await transact(client, b"v", timeout=0.3)
        week.client_ms += WEEK_MS
        cluster.heal()
        with pytest.raises(NotStored):
            await client.resolve(caught.value.ticket)
        assert cluster.values("orders") == [[b"u"], []]


async def test_a_transaction_under_way_on_a_machine_that_sleeps_is_committed_once(
    week: Week,
) -> None:
    """It is fenced instead of sent again."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TRANSACTION_COMMIT, unheard)
        sending = asyncio.ensure_future(transact(client, b"v"))
        await until(lambda: cluster.values("orders") == [[b"v"]] * 2)
        await week.passes(cluster)
        cluster.nodes[0].disconnect()
        with pytest.raises(OutcomeUnknown) as caught:
            await asyncio.wait_for(sending, 10)
        with pytest.raises(OutcomeUnknown, match="so long ago"):
            await client.resolve(caught.value.ticket)
        assert cluster.values("orders") == [[b"v"]] * 2


async def send_large(client: Client, value: bytes, timeout: float = 30.0) -> None:
    """Send 1.6 MB to both queues, or to none: most of it is staged before the commit."""
    async with client.atomic(timeout=timeout) as tx:
        for number in range(8):
            tx.send("orders", value * 200_000, queue=number % 2)


async def large_in_vain(client: Client, cluster: FakeCluster, fault: Any) -> OutcomeUnknown:
    """Send a large one whose commit is not answered, and let nobody be asked about it."""
    cluster.fault(Method.TRANSACTION_COMMIT, fault)
    cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
    with pytest.raises(OutcomeUnknown) as caught:
        await send_large(client, b"v", timeout=1.0)
    assert cluster.count(Method.TRANSACTION_STAGE) > 1
    return caught.value


async def test_a_large_transaction_that_was_committed_and_forgotten_is_unknown(week: Week) -> None:
    """Whatever the clock says: its queues had known what was staged in them."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        error = await large_in_vain(client, cluster, unheard)
        await week.passes(cluster, at_client_ms=0)
        cluster.heal()
        with pytest.raises(OutcomeUnknown, match="so long ago"):
            await client.resolve(error.ticket)
        await send_large(client, b"w")
        found = [[value[:1] for value in values] for values in cluster.values("orders")]
        assert found == [[b"v"] * 4 + [b"w"] * 4] * 2


async def test_what_is_staged_tells_that_a_large_transaction_is_not_committed(week: Week) -> None:
    """However old it is by its own clock: a queue that knows that has not forgotten."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        error = await large_in_vain(client, cluster, unanswered)
        week.client_ms += WEEK_MS
        cluster.heal()
        with pytest.raises(NotStored):
            await client.resolve(error.ticket)
        assert cluster.values("orders") == [[], []]


async def test_what_was_staged_a_week_ago_is_staged_again(week: Week) -> None:
    """The machine sleeps between the last part and the commit; that was not sent."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.TRANSACTION_COMMIT, kept)
        sending = asyncio.ensure_future(send_large(client, b"v"))
        await until(lambda: len(cluster.late) == 1)
        await week.passes(cluster)
        cluster.late.clear()  # it is lost
        cluster.nodes[0].disconnect()
        with pytest.raises(OutcomeUnknown) as caught:
            await asyncio.wait_for(sending, 10)
        with pytest.raises(OutcomeUnknown, match="so long ago"):
            await client.resolve(caught.value.ticket)
        assert cluster.values("orders") == [[], []]
        await send_large(client, b"w")
        assert [len(values) for values in cluster.values("orders")] == [4, 4]

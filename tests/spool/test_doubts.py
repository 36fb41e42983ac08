"""What nobody can say of a batch is asked of a human: of that batch, and of no other one."""

import asyncio
from typing import Any, cast

import pytest

from chaos.sim.disk import SimDisk
from raftlog import errors
from raftlog.client.ages import DECIDED_MS_MAX
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages
from tests.client.fake_cluster import (
    FakeCluster,
    Fault,
    carried_out,
    fake_cluster,
    refused,
    until,
)
from tests.spool.test_spool import spool_on

pytestmark = pytest.mark.asyncio


def stored_at(*places: int) -> Fault:
    """Answer nothing; only what is for the queues at these places is carried out."""

    def fault(node: Any, request: Any, handler: Any) -> None:
        request._connection = None
        topic = node.cluster.machine.topics.get("orders")
        queue = cast("messages.AppendBatch", request.message).queue
        if topic.queues.index(queue) in places:
            handler(request)

    return fault


def forget(cluster: FakeCluster, *places: int) -> None:
    """Let the queues at these places forget their producers."""
    topic = cluster.machine.topics.get("orders")
    assert topic is not None
    rows = cluster.machine.producers
    for key in list(rows.table.rows):
        if key[0] in {topic.queues[place] for place in places}:
            rows._forget(key)


class Left:
    """A spool that has left batches ``a``, ``b``, .. behind, one for each queue, long ago."""

    def __init__(self, cluster: FakeCluster, stored: tuple[int, ...], queues: int = 2) -> None:
        self.cluster = cluster
        self.disk = SimDisk()
        self.now_ms = 1_800_000_000_000
        self.stored = stored
        self.values = [b"a", b"b", b"c"][:queues]

    def open(self) -> Any:
        """Open it."""
        return spool_on(self.disk, self.cluster.seeds, now_ms=lambda: self.now_ms)

    async def leave(self) -> None:
        """Send to each queue, and end; time passes."""
        fault = stored_at(*self.stored)
        self.cluster.fault(Method.APPEND, *(fault for _ in self.values))
        async with self.open() as spool:
            await asyncio.gather(
                *(
                    spool.send("orders", value, queue=queue)
                    for queue, value in enumerate(self.values)
                )
            )
            await until(lambda: self.cluster.count(Method.APPEND) == len(self.values))
            await until(lambda: all(self.cluster.values("orders")[queue] for queue in self.stored))
        self.now_ms += DECIDED_MS_MAX + 1


@pytest.mark.parametrize("answer", [True, False])
async def test_settling_one_batch_by_hand_settles_no_other(*, answer: bool) -> None:
    """Two queues; the error is about one of them, the other one can tell."""
    async with fake_cluster(1, orders=2) as cluster:
        left = Left(cluster, stored=(0,) if answer else (1,))
        await left.leave()
        forget(cluster, 0)
        async with left.open() as spool:
            with pytest.raises(errors.OutcomeUnknown, match="queue 0") as raised:
                await spool.flush(timeout=5)
            doubts = await spool.in_doubt("orders")
            if not answer:
                assert "queue 1" not in str(raised.value)
                assert [each.value for each in doubts[0]] == [b"a"]
            # Somebody looks into the queues that are named, and answers truly.
            for queue in doubts:
                await spool.settle_by_hand("orders", queue, stored=queue in left.stored)
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a"], [b"b"]]


async def test_all_batches_in_doubt_are_named_and_each_has_an_answer_of_its_own() -> None:
    """The topic goes on when all of them have one."""
    async with fake_cluster(1, orders=3) as cluster:
        left = Left(cluster, stored=(1,), queues=3)
        await left.leave()
        forget(cluster, 0, 1, 2)
        async with left.open() as spool:
            with pytest.raises(errors.OutcomeUnknown) as raised:
                await spool.flush(timeout=5)
            assert all(f"1 records for queue {queue}" in str(raised.value) for queue in range(3))
            found = await spool.in_doubt("orders")
            values = {queue: [each.value for each in some] for queue, some in found.items()}
            assert values == {0: [b"a"], 1: [b"b"], 2: [b"c"]}
            await spool.settle_by_hand("orders", 0, stored=False)
            with pytest.raises(errors.BadRequest, match="queue 0 of 'orders' has no records"):
                await spool.settle_by_hand("orders", 0, stored=True)
            with pytest.raises(errors.BadRequest, match="settle_by_hand"):
                await spool.retry("orders")
            await spool.settle_by_hand("orders", 1, stored=True)
            with pytest.raises(errors.OutcomeUnknown, match="1 records for queue 2") as raised:
                await spool.flush(timeout=5)
            assert "queue 1" not in str(raised.value)
            await spool.settle_by_hand("orders", 2, stored=False)
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a"], [b"b"], [b"c"]]


async def test_a_queue_that_does_not_tell_is_asked_before_anybody_else() -> None:
    """What is in doubt beside it is told when it has answered."""
    async with fake_cluster(1, orders=2) as cluster:
        left = Left(cluster, stored=(0, 1))
        await left.leave()
        forget(cluster, 0)
        full = refused(errors.LimitReached("full"))
        cluster.fault(Method.PRODUCER_FENCE, carried_out, full)
        async with left.open() as spool:
            with pytest.raises(errors.LimitReached):
                await spool.flush(timeout=5)
            with pytest.raises(errors.BadRequest, match="the cluster can tell"):
                await spool.settle_by_hand("orders", 0, stored=True)
            await spool.retry("orders")
            with pytest.raises(errors.OutcomeUnknown):
                await spool.flush(timeout=5)
            for queue in await spool.in_doubt("orders"):
                await spool.settle_by_hand("orders", queue, stored=True)
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a"], [b"b"]]

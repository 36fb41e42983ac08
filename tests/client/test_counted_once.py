"""A message of a stream is in one committed transaction, also if it was handed out twice."""

import asyncio
from typing import Any, Final

import pytest

from raftlog.base.errors import Fenced, OutcomeUnknown, Unavailable
from raftlog.client.client import Client
from raftlog.client.handing_over import Sharing
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, unanswered, until
from tests.client.test_atomic import BY_WORD, COMMIT, NOT_YET, SHORT_S, fail, transact, visible
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

FENCE: Final = Method.PRODUCER_FENCE


async def test_a_queue_waits_for_every_transaction_of_its_own() -> None:
    """One fails and goes back, while another one, of unknown outcome, has finished more of it."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            first, second = await take(consumer, 2)
            cluster.fault(COMMIT, unanswered)
            cluster.fault(FENCE, *NOT_YET)

            async def fails_meanwhile() -> None:
                await asyncio.sleep(SHORT_S / 3)
                await fail()

            ends = await asyncio.gather(
                transact(client, b"0", finish=(consumer, first), timeout=SHORT_S),
                transact(client, finish=(consumer, second), then=fails_meanwhile),
                return_exceptions=True,
            )
            assert [type(end) for end in ends] == [OutcomeUnknown, ZeroDivisionError]
            assert await consumer.poll(timeout=SHORT_S) == []
            cluster.late[0]()
            cluster.heal()
            (message,) = await take(consumer, 1)
            assert message.offset == 1
        assert (visible(cluster), committed(cluster)) == ([b"0"], [1])


@pytest.mark.parametrize("assignor", ["range", "sticky", "cooperative"])
@pytest.mark.parametrize("arrives", [True, False], ids=["carried out", "lost"])
async def test_what_is_handed_out_again_before_the_outcome_is_known_counts_once(
    assignor: str,
    arrives: bool,  # noqa: FBT001
) -> None:
    """The group reads otherwise now, so its queues are claimed anew: nobody waits for the fence.

    With a sticky assignor the queue stays the member's since an earlier generation, so its claim
    fences nobody.
    """
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        how: dict[str, Any] = {"sharing": Sharing(assignor=assignor), **BY_WORD}
        async with client.consumer("billing", "orders", **how) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(COMMIT, unanswered)
            cluster.fault(FENCE, *NOT_YET)
            with pytest.raises(OutcomeUnknown):
                await transact(client, b"0", finish=(consumer, message), timeout=SHORT_S)
            await client.groups.subscribe("billing", ["orders"], filter="x IS NULL")
            (message,) = await take(consumer, 1)
            assert message.offset == 0
            if arrives:
                cluster.late[0]()
            if arrives and assignor != "range":  # else the claim in a new generation fences it
                await until(lambda: committed(cluster) == [1])
                with pytest.raises(Fenced):
                    await transact(client, b"0", finish=(consumer, message))
                cluster.heal()  # until then it waits for the fence
                (message,) = await take(consumer, 1)
                assert message.offset == 1
            else:
                await transact(client, b"0", finish=(consumer, message))
            cluster.heal()
            for request in cluster.late:
                request()
        assert (visible(cluster), committed(cluster)) == ([b"0"], [1])


async def test_what_nothing_is_made_of_may_be_asked_again() -> None:
    """A copy that was carried out is no reason to refuse the next one: there is nothing twice."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            await take(consumer, 2)
            cluster.fault(COMMIT, answer_lost)
            await transact(client, finish=(consumer, None))
        assert committed(cluster) == [2]


async def test_a_commit_without_an_answer_is_no_position_to_count_from() -> None:
    """The consumer does not know that it holds: it reads what is committed, and goes on there."""
    async with (
        fake_cluster(orders=1, out=1) as cluster,
        Client(cluster.seeds, timeout=SHORT_S) as client,
    ):
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            first, second = await take(consumer, 2)
            cluster.fault(Method.GROUP_COMMIT, *[answer_lost] * 1000)
            with pytest.raises((OutcomeUnknown, Unavailable)):
                await consumer.commit(first)
            cluster.heal()
            with pytest.raises(Fenced):
                await transact(client, b"1", finish=(consumer, second))
            (second,) = await take(consumer, 1)
            assert second.offset == 1
            await transact(client, b"1", finish=(consumer, second))
        assert (visible(cluster), committed(cluster)) == ([b"1"], [2])

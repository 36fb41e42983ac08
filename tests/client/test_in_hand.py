"""Half messages whose local work goes on: what their own client says when it is asked to check."""

import pytest

from raftlog.base.errors import Fenced, Unavailable
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, unanswered
from tests.client.test_halves import later, until, visible

pytestmark = pytest.mark.asyncio


async def check_round(cluster: FakeCluster) -> None:
    """Let what is open be due, and whoever is asked be through with it."""
    await until(lambda: len(cluster.checks.waiting))
    asked, polls = cluster.checks.asked, cluster.count(Method.CHECKS_POLL)
    later(cluster)
    await until(lambda: cluster.checks.asked > asked)
    await until(lambda: cluster.count(Method.CHECKS_POLL) > polls)


async def test_a_number_that_another_one_gave_up_is_not_rolled_back() -> None:
    """It never came, so the next one under the name has it: its local work goes on."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.UNKNOWN

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", timeout=30) as first:
            cluster.fault(Method.HALVES_STAGE, unanswered)
            cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            with pytest.raises(Unavailable):
                await first.half("orders", b"one", timeout=0.2)
            async with (
                client.transactional_producer("b-1", group="b", checker=check) as second,
                second.transaction("orders", b"two") as half,
            ):
                await check_round(cluster)
            for request in cluster.late:
                request()
            assert (half.receipt is not None, asked) == (True, [])
        assert visible(cluster, "orders") == [b"two"]


async def test_who_is_fenced_takes_nothing_out_of_the_hand_of_the_next_one() -> None:
    """Both count from the same number on; the half message of the first is refused."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.ROLLBACK

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b") as first,
            client.transactional_producer("b-1", group="b", checker=check) as second,
        ):
            half = await second.half("orders", b"two")
            with pytest.raises(Fenced):
                await first.half("orders", b"one")
            await first.aclose()
            await check_round(cluster)
            await half.commit()
        assert (asked, visible(cluster, "orders")) == ([], [b"two"])


async def test_what_was_refused_is_in_nobodys_hand() -> None:
    """Also if its error is kept, and the half message with it: its number is another process's."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.COMMIT

    async with (
        fake_cluster() as cluster,
        Client(cluster.seeds) as client,
        Client(cluster.seeds) as elsewhere,
    ):
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b", checker=check) as first,
            elsewhere.transactional_producer("b-1", group="b") as second,
        ):
            with pytest.raises(Fenced) as kept:
                await first.half("orders", b"one")
            (await second.half("orders", b"two")).leave()
            later(cluster)
            await until(lambda: visible(cluster, "orders"))
            assert (asked, kept.type) == ([b"two"], Fenced)

"""A consumer in trouble: it says so as long as it is, and leaves nothing behind."""

import asyncio
from typing import Any, Final

import pytest

from raftlog.base.errors import OutcomeUnknown
from raftlog.base.limits import REQUESTS_PER_CONNECTION_MAX
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.reader import Reader
from raftlog.client.routing import LONG_POLLS_MAX
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, refused, unanswered, until
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

QUICK: Final[dict[str, Any]] = {"session": 1.0, "commit_interval": 0.02}


@pytest.mark.parametrize("method", [Method.GROUP_HEARTBEAT, Method.GROUP_COMMIT])
async def test_a_trouble_that_is_over_is_not_told_any_more(method: Method) -> None:
    """No generation has to begin for that: there may be none for months."""
    async with (
        fake_cluster(orders=1) as cluster,
        Client(cluster.seeds, timeout=0.1) as client,
        client.consumer("billing", "orders", **QUICK) as consumer,
    ):
        await fill(client, 0, 3, queues=1)
        cluster.fault(method, *[refused(OutcomeUnknown("no answer"))] * 5)
        await take(consumer, 2)
        more = asyncio.create_task(take(consumer, 2))  # those before it are finished by that
        await until(lambda: isinstance(consumer.status.last_error, OutcomeUnknown))
        await until(lambda: consumer.status.last_error is None)
        assert consumer.status.generation == 1
        await fill(client, 3, 1, queues=1)
        await more


async def test_a_long_poll_may_be_longer_than_the_timeout_of_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing has happened meanwhile, and that is an answer: the leader is not looked for anew."""
    monkeypatch.setattr("raftlog.client.fetching.FOLLOW_WAIT_S", 0.3)
    async with (
        fake_cluster(orders=1) as cluster,
        Client(cluster.seeds, timeout=0.2) as client,
        client.consumer("billing", "orders", **QUICK) as consumer,
    ):
        asked = cluster.count(Method.STATUS)
        for _ in range(100):
            await asyncio.sleep(0.01)
            assert consumer.status.last_error is None
        assert cluster.count(Method.READ) > 2
        assert cluster.count(Method.GROUP_HEARTBEAT) > 2
        assert cluster.count(Method.STATUS) == asked


async def test_one_that_is_not_entered_is_no_member_for_long() -> None:
    """Cancelled after it has joined: its queues are another one's at once, not after a session."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 3, queues=1)
        cluster.fault(Method.GROUP_CLAIM, unanswered)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), client.consumer("billing", "orders"):
                raise AssertionError("it owns what it could not claim")
        group = cluster.machine.groups.get("billing")
        assert group is not None
        await until(lambda: not group.members)
        async with client.consumer("billing", "orders") as other:
            await take(other, 3)


async def test_more_queues_than_a_command_may_name_are_committed_by_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One command would be refused, and with it the new generation and all that is finished."""
    monkeypatch.setattr("raftlog.client.ownership.OFFSETS_PER_COMMAND_MAX", 2)
    monkeypatch.setattr("raftlog.client.handing_over.OFFSETS_PER_COMMAND_MAX", 2)
    async with fake_cluster(orders=5) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 50, queues=5)
        async with client.consumer("billing", "orders", auto_commit=False) as consumer:
            await take(consumer, 50)
            before = cluster.count(Method.GROUP_COMMIT)
            await consumer.commit()
            assert cluster.count(Method.GROUP_COMMIT) == before + 3
            assert committed(cluster) == [10] * 5


async def test_polling_on_and_on_does_not_keep_a_consumer_from_closing() -> None:
    """Closed it has nothing any more, at once; whoever asks on must not stop the whole loop."""

    async def poll_for_ever(source: Consumer | Reader) -> None:
        while True:
            await source.poll()

    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        consumer, reader = client.consumer("billing", "orders"), client.reader("orders")
        polling = [
            asyncio.create_task(poll_for_ever(await source.__aenter__()))
            for source in (consumer, reader)
        ]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await consumer.aclose()
            await reader.aclose()
        for task in polling:
            task.cancel()
        await asyncio.wait(polling)


async def test_more_queues_than_may_be_waited_for_at_once_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the reads that wait leave no room for a heartbeat, and the member is expired."""
    monkeypatch.setattr("raftlog.client.routing.LONG_POLLS_MAX", 2)
    monkeypatch.setattr("raftlog.client.fetching.CROWDED_WAIT_S", 0.05)
    async with (
        fake_cluster(orders=7) as cluster,
        Client(cluster.seeds) as client,
        Client(cluster.seeds) as sender,
        client.consumer("billing", "orders", **QUICK) as consumer,
    ):
        leader = client._asker.router.leader
        assert leader is not None
        for _ in range(2):
            await fill(sender, 0, 14, queues=7)
            assert len(await take(consumer, 14)) == 14
            assert leader.waiting_count <= 2 + 2  # a heartbeat, perhaps a commit
        assert cluster.count(Method.GROUP_HEARTBEAT) > 0


async def test_reads_that_wait_leave_room_on_a_connection() -> None:
    """For heartbeats, claims and commits, and the reads of another consumer's start."""
    assert LONG_POLLS_MAX <= REQUESTS_PER_CONNECTION_MAX // 2

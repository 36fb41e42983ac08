"""Closing: whoever waits is told, nobody is cancelled, and nothing goes on behind the scenes."""

import asyncio
from contextlib import suppress

import pytest

from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, until
from tests.client.test_queue_consumer import never, send


def test_a_run_that_was_closed_leaves_no_cancellation_behind() -> None:
    """Whoever goes on after it in the same task is not taken for cancelled."""

    async def fail_four_times(client: Client) -> list[int]:
        """By what a handler waits for; return the attempts that were counted."""
        attempts = []
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            for _ in range(4):
                (message,) = await consumer.receive(wait=5)
                attempts.append(message.attempts)
                gone = asyncio.get_running_loop().create_future()
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    async with message.process():
                        await gone
        return attempts

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            first = client.queue_consumer("other", "orders")

            async def work() -> list[int]:
                await first.run(never)
                own = asyncio.current_task()
                assert own is not None
                assert own.cancelling() == 0
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await asyncio.sleep(3600)
                await send(client, b"v")
                return await fail_four_times(client)

            running = asyncio.create_task(work())
            await until(lambda: cluster.count(Method.QUEUE_RECEIVE) > 0)
            await first.aclose()
            assert await running == [1, 2, 3, 4]

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(4))
def test_who_is_cancelled_while_it_is_closed_is_cancelled(turns: int) -> None:
    """``run`` ends by one or the other, and does not take a cancellation for the closing."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            consumer = client.queue_consumer("work", "orders")
            running = asyncio.create_task(consumer.run(never))
            await until(lambda: cluster.count(Method.QUEUE_RECEIVE) > 0)
            closing = asyncio.create_task(consumer.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            is_asked = running.cancel()
            assert is_asked or turns > 1
            await asyncio.wait([running])
            assert running.cancelled() == is_asked
            await closing

    asyncio.run(run())

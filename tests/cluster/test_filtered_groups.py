"""A queue-style group with a filter on real processes: leaders are killed while it works."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.client import Client
from raftlog.client.queue_message import QueueMessage
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, running
from tests.cluster.test_delayed import lose_leaders
from tests.examples.test_how_to import until_level

pytestmark = pytest.mark.asyncio

COUNT: Final = 400


async def passed_over(client: Client) -> None:
    """Wait until the last ones that nobody wants are, too: that takes a second."""
    for _ in range(100):
        if not (await client.queue_groups.describe("work")).unread:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("they are not")


@pytest.mark.long
async def test_all_that_matches_is_handled_once_and_nothing_else(tmp_path: Path) -> None:
    """Each new leader looks for itself, and goes on where the log says that the group is."""
    done: Counter[bytes] = Counter()
    wanted = {b"%d" % number for number in range(COUNT) if number % 10 in (1, 2)}
    all_handled = asyncio.Event()

    async def handle(message: QueueMessage) -> None:
        assert message.value is not None
        done[message.value] += 1
        if wanted <= done.keys():
            all_handled.set()

    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        await until_level(target.own())

        async def send() -> None:
            for number in range(COUNT):
                headers = {"n": b"%d" % (number % 10)}
                tag = "few" if number % 10 < 3 else "many"
                await client.send(TOPIC, b"%d" % number, headers=headers, tag=tag)
                await asyncio.sleep(0.005)

        options = {"tags": ["few"], "filter": "n > 0"}
        async with client.queue_consumer("work", TOPIC, **options) as consumer:  # type: ignore[arg-type]
            working = asyncio.create_task(consumer.run(handle, concurrency=20))
            await asyncio.gather(send(), lose_leaders(target, 2))
            async with asyncio.timeout(PATIENCE_S):
                await all_handled.wait()
                await passed_over(client)
            await consumer.aclose()
            await working
        found = await client.queue_groups.describe("work")

    assert done.keys() == wanted
    assert set(done.values()) == {1}, done
    assert (found.in_flight, found.unread, found.passed) == (0, 0, COUNT - len(wanted))

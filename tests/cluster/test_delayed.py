"""Delayed messages on real processes: leaders are killed while messages are sent and due."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.client import Client
from raftlog.client.later import CancelOutcome
from raftlog.testing.bench.target import Target
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, ended, leader_of, running

pytestmark = pytest.mark.asyncio

COUNT: Final = 300
CLOCK_S: Final = 0.05
"""Log time is the clock of this machine's nodes, within so much."""


class Story:
    """What was sent and what was told of it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.due_s: dict[bytes, float] = {}
        self.cancels: dict[bytes, set[CancelOutcome]] = {}

    async def send(self, number: int) -> None:
        """Send one; cancel every third, twice, soon or about when it is due."""
        value = b"%d" % number
        receipt = await self.client.send_later(TOPIC, value, delay=0.5 + number % 50 / 20)
        self.due_s[value] = receipt.due_ms / 1000
        if number % 3 == 0:
            late_s = 0.0 if number % 2 else self.due_s[value] - time.time() - 0.02
            await asyncio.sleep(max(late_s, 0.0))
            told = {await self.client.delayed.cancel(receipt) for _ in range(2)}
            self.cancels[value] = told


async def lose_leaders(target: Target, count: int) -> None:
    """Kill whoever leads, and start it again."""
    for _ in range(count):
        await asyncio.sleep(0.7)
        node = await leader_of(target)
        node.kill()
        await ended(node)
        await asyncio.sleep(0.3)
        node.start()


async def test_each_is_delivered_once_and_not_early_whoever_leads(tmp_path: Path) -> None:
    """And what was cancelled is not there, and what is there was not cancelled."""
    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        story = Story(client)
        arrived: dict[bytes, list[float]] = {}

        async def read() -> None:
            async with client.reader(TOPIC) as reader:
                async for message in reader:
                    arrived.setdefault(message.value or b"", []).append(time.time())

        reading = asyncio.create_task(read())
        losing = asyncio.create_task(lose_leaders(target, 3))
        await asyncio.gather(*(story.send(number) for number in range(COUNT)))
        await losing
        cancelled = {v for v, told in story.cancels.items() if CancelOutcome.CANCELLED in told}
        expected = story.due_s.keys() - cancelled
        async with asyncio.timeout(PATIENCE_S):
            while not expected <= arrived.keys():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        reading.cancel()

        assert arrived.keys() == expected
        assert {value: times for value, times in arrived.items() if len(times) > 1} == {}
        early = {
            value: times[0] - story.due_s[value]
            for value, times in arrived.items()
            if times[0] < story.due_s[value] - CLOCK_S
        }
        assert early == {}
        assert all(len(told) == 1 for told in story.cancels.values()), "told otherwise"
        assert cancelled
        topic = await client.topics.describe(TOPIC)
        assert sum(queue.delayed for queue in topic.queues) == 0

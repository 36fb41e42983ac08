"""Queue-style groups on real processes: leaders are killed while messages are leased."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.client import Client
from raftlog.client.queue_message import QueueMessage, Reject
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, running
from tests.cluster.test_delayed import lose_leaders

pytestmark = pytest.mark.asyncio

COUNT: Final = 400


@pytest.mark.long
async def test_each_message_ends_in_one_place_whoever_leads(tmp_path: Path) -> None:
    """Acknowledged once, or a dead letter once; no lease ends, so nothing is handled twice."""
    done: Counter[bytes] = Counter()
    refused: Counter[bytes] = Counter()
    all_handled = asyncio.Event()

    async def handle(message: QueueMessage) -> None:
        assert message.value is not None
        if len(done) + len(refused) == COUNT - 1:
            all_handled.set()
        if int(message.value) % 10 == 7:
            refused[message.value] += 1
            raise Reject("seven")
        done[message.value] += 1

    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:

        async def send() -> None:
            for number in range(COUNT):
                await client.send(TOPIC, b"%d" % number)
                await asyncio.sleep(0.005)

        async with client.queue_consumer("work", TOPIC) as consumer:
            working = asyncio.create_task(consumer.run(handle, concurrency=20))
            await asyncio.gather(send(), lose_leaders(target, 2))
            async with asyncio.timeout(PATIENCE_S):
                await all_handled.wait()
                letters: Counter[bytes] = Counter()
                async with client.reader("%DLQ%work") as reader:
                    while letters.total() < COUNT // 10:
                        letters[(await anext(reader)).value or b""] += 1
            await consumer.aclose()
            await working
        found = await client.queue_groups.describe("work")
        again = await client.dead_letters.resend("work")
        pending = await client.dead_letters.list("work", pending=True)

    assert set(done) | set(refused) == {b"%d" % number for number in range(COUNT)}
    assert set(done.values()) == set(refused.values()) == {1}, (done, refused)
    assert letters == refused
    assert (found.in_flight, found.unread, found.dead_letters) == (0, 0, COUNT // 10)
    assert (again.count, again.failed, pending) == (COUNT // 10, (), [])


@pytest.mark.long
async def test_what_is_blocked_is_an_alarm_of_whoever_leads(tmp_path: Path) -> None:
    """Since the same moment after a leader is lost; until somebody has decided."""
    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        options = {"on_poison": "block", "attempts": 1}
        await client.queue_groups.open("careful", TOPIC, **options)
        await client.send(TOPIC, b"bad")
        async with client.queue_consumer("careful") as consumer:
            (message,) = await consumer.receive(1, wait=PATIENCE_S)
            assert await blocked_alarms(client) == []
            await message.nack()
        (alarm,) = await blocked_alarms(client)
        assert "1 message(s)" in alarm
        assert "group 'careful' since" in alarm
        assert (await client.status()).counters["in_flight_blocked_size"] == 1
        await lose_leaders(target, 1)
        assert await blocked_alarms(client) == [alarm]
        await client.queue_groups.decide("careful", TOPIC, message.queue, message.offset, "skip")
        assert await blocked_alarms(client) == []


async def blocked_alarms(client: Client) -> list[str]:
    """Return what the leader says of messages that are blocked."""
    health = await client.health()
    assert health.is_healthy, health
    return [each for each in health.alarms if "are blocked" in each]

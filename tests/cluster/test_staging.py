"""Transactions of 5 MiB on real processes: kill -9 of the leader in the middle of staging."""

import asyncio
import itertools
from pathlib import Path
from typing import Final

import pytest

from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.client.client import Client
from tests.cluster.cluster_under_load import PATIENCE_S, POLL_S, ended, leader_of, running
from tests.cluster.test_versions import reach

pytestmark = pytest.mark.asyncio

OUT: Final = "out"
QUEUES: Final = 2
RECORDS: Final = 128
SIZE: Final = 40 << 10
KILLS: Final = 3


def value_of(transaction: int, number: int) -> bytes:
    return b"%d.%03d" % (transaction, number) + bytes(SIZE)


@pytest.mark.long
async def test_5_mib_are_visible_as_a_whole_whoever_is_killed(tmp_path: Path) -> None:
    """Each once and in order, at the offsets that were told; nothing is staged at the end."""
    receipts = []
    kills = 0
    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        await client.topics.create(OUT, queues=QUEUES)
        await reach(target.own(), FEATURE_LEVEL)

        async def staged() -> int:
            statuses = await target.statuses()
            return max((each.counters["transactions_staged_size"] for each in statuses), default=0)

        async def kill() -> None:
            nonlocal kills
            while kills < KILLS:
                if await staged() > 2:
                    leader = await leader_of(target)
                    leader.kill()
                    kills += 1
                    await ended(leader)
                    leader.start()
                    await asyncio.sleep(2)

        killing = asyncio.create_task(kill())
        for transaction in itertools.count():
            async with client.atomic(timeout=3 * PATIENCE_S) as tx:
                for number in range(RECORDS):
                    tx.send(OUT, value_of(transaction, number), queue=number % QUEUES)
            receipts.append(tx.receipts)
            if killing.done():
                break
        await killing
        async with asyncio.timeout(PATIENCE_S):  # a follower hears later that it is committed
            while await staged():  # noqa: ASYNC110  (others' processes)
                await asyncio.sleep(POLL_S)

        stored: dict[tuple[int, int], bytes] = {}
        async with client.reader(OUT, follow=False) as reader:
            async for message in reader:
                stored[message.queue, message.offset] = (message.value or b"")[:5]
    expected = {
        (receipt.queue, receipt.offset): value_of(transaction, number)[:5]
        for transaction, of_one in enumerate(receipts)
        for number, receipt in enumerate(of_one)
    }
    assert len(expected) == RECORDS * len(receipts), "two records have one place"
    assert stored == expected
    for queue in range(QUEUES):
        values = [value for (place, _), value in sorted(stored.items()) if place == queue]
        assert values == sorted(values, key=lambda value: float(value.split(b".")[0]))
    assert all(len({receipt.index for receipt in of_one}) == 1 for of_one in receipts)
    assert kills == KILLS

"""Half messages on real processes: leaders and their owner are lost between half and commit."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, ended, leader_of, running

pytestmark = pytest.mark.asyncio

COUNT: Final = 60


async def test_each_is_seen_once_if_its_work_was_done_whoever_is_lost(tmp_path: Path) -> None:
    """A third decides itself, a third is rolled back, a third leaves its checker to say."""
    done: set[bytes] = set()
    seen: list[bytes] = []

    async def check(message: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT if message.value in done else Verdict.ROLLBACK

    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:

        async def read() -> None:
            async with client.reader(TOPIC) as reader:
                async for message in reader:
                    assert message.value in done, "it is visible before its work was done"
                    seen.append(message.value)

        reading = asyncio.create_task(read())
        killed = asyncio.Event()
        staged = asyncio.Barrier(COUNT + 1)
        lost = Client(target.seeds, timeout=PATIENCE_S)
        owner = lost.transactional_producer("b-1", group="b")

        async def one(number: int) -> None:
            value = b"%d" % number
            half = await owner.half(TOPIC, value)
            await staged.wait()
            await killed.wait()
            if number % 3 == 0:
                await half.rollback()
                return
            if number % 2:
                done.add(value)
            if number % 3 == 1 and number % 2:
                await half.commit()

        work = asyncio.gather(*map(one, range(COUNT)))
        await staged.wait()
        node = await leader_of(target)
        node.kill()
        await ended(node)
        killed.set()
        await work
        await lost.aclose()  # nothing more is heard of the owner
        node.start()
        async with client.transactional_producer("b-2", group="b", checker=check):
            async with asyncio.timeout(PATIENCE_S):
                while await client.transactions.list() or len(seen) < len(done):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        assert not reading.done(), reading.exception()
        reading.cancel()
    assert sorted(seen) == sorted(done)
    assert len(done) == COUNT // 3

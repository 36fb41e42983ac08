"""Atomic transactions on real processes: kill -9 of the leader, and of who reads and writes."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.client import Client
from tests.cluster.atomic_worker import OUT
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, running
from tests.cluster.test_delayed import lose_leaders

pytestmark = pytest.mark.asyncio

COUNT: Final = 600
WORKERS: Final = 2


class Workers:
    """Processes that read and write; each is killed again and again, and started anew."""

    def __init__(self, style: str, seeds: list[str]) -> None:
        self._command: Final = (
            *(sys.executable, "-m", "tests.cluster.atomic_worker", style, ",".join(seeds)),
        )
        self._processes: Final[list[asyncio.subprocess.Process]] = []

    async def start(self) -> None:
        """Start one more."""
        process = await asyncio.create_subprocess_exec(
            *self._command, cwd=Path(__file__).parents[2]
        )
        self._processes.append(process)

    async def kill(self) -> None:
        """SIGKILL to the one that runs longest."""
        process = self._processes.pop(0)
        assert process.returncode is None, f"a worker has ended with {process.returncode}"
        process.kill()
        await process.wait()

    async def lose(self, count: int) -> None:
        """Kill one after the other."""
        for _ in range(count):
            await asyncio.sleep(1.5)
            await self.kill()
            await self.start()

    async def end(self) -> None:
        """Kill all of them."""
        while self._processes:
            await self.kill()


@pytest.mark.long
@pytest.mark.parametrize("style", ["stream", "queue"])
async def test_every_input_is_counted_once_whoever_is_killed(style: str, tmp_path: Path) -> None:
    """Leaders and workers are killed in the middle of transactions."""
    counted: Counter[bytes] = Counter()
    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        await client.topics.create(OUT, queues=3)
        workers = Workers(style, target.seeds)
        for _ in range(WORKERS):
            await workers.start()

        async def send() -> None:
            for number in range(COUNT):
                await client.send(TOPIC, b"%d" % number)
                await asyncio.sleep(0.01)

        try:
            await asyncio.gather(send(), lose_leaders(target, 3), workers.lose(4))
            async with asyncio.timeout(3 * PATIENCE_S), client.reader(OUT) as reader:
                async for message in reader:
                    counted[message.value or b""] += 1
                    if len(counted) == COUNT:
                        break
                counted.update(each.value or b"" for each in await reader.poll(1000, timeout=1))
        finally:
            await workers.end()

    assert set(counted) == {b"%d" % number for number in range(COUNT)}
    assert set(counted.values()) == {1}, [each for each in counted.items() if each[1] > 1]

"""A program with a spool is killed while the cluster is away: real processes, real files."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, ended, running

pytestmark = pytest.mark.asyncio

PROGRAM: Final = """
import asyncio, sys
from raftlog import Client, Spool

async def main(seeds, directory, topic, first, count):
    async with Client(seeds) as client, Spool(client, directory) as spool:
        for number in range(first, first + count):
            await spool.send(topic, b"%d" % number, key=b"k")
            print(number, flush=True)
        await spool.flush()
        print("flushed", spool.status.sent, flush=True)

_, seeds, directory, topic, first, count = sys.argv
asyncio.run(main(seeds, directory, topic, int(first), int(count)))
"""


@pytest.mark.long
async def test_killed_while_the_cluster_is_away_each_record_is_stored_once(
    tmp_path: Path,
) -> None:
    """The cluster goes in the middle of the sending, the program a little later."""
    async with running(tmp_path) as target:
        nodes = target.own().nodes.values()

        async def program(first: int, count: int) -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, ",".join(target.seeds)),
                *(str(tmp_path / "spool"), TOPIC, str(first), str(count)),
                stdout=asyncio.subprocess.PIPE,
            )

        killed = await program(0, 1_000_000)
        assert killed.stdout is not None
        durable = -1
        async with asyncio.timeout(PATIENCE_S):
            while durable < 300:
                durable = int(await killed.stdout.readline())
        for node in nodes:
            node.kill()
        async with asyncio.timeout(PATIENCE_S):
            for node in nodes:
                await ended(node)
            while durable < 900:
                durable = int(await killed.stdout.readline())
        killed.kill()
        rest = (await killed.stdout.read()).split(b"\n")
        await killed.wait()
        durable = max([durable, *(int(line) for line in rest[:-1])])

        for node in nodes:
            node.start()
        again = await program(1_000_000, 10)
        async with asyncio.timeout(2 * PATIENCE_S):
            printed, _ = await again.communicate()
        assert printed.splitlines()[-1].startswith(b"flushed")
        async with target.client.reader(TOPIC, follow=False) as reader:
            stored = [int(message.value or b"") async for message in reader]

    old = [number for number in stored if number < 1_000_000]
    assert old == list(range(len(old))), "each once, and in order"
    assert durable + 1 <= len(old) <= durable + 2, "whatever was durable, and at most one more"
    assert stored[len(old) :] == list(range(1_000_000, 1_000_010))

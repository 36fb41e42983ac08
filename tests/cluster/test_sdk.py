"""The SDK against real processes: a leader that is killed, a consumer that is paused."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.errors import Fenced
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.client.receipts import Message, Receipt
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess

pytestmark = pytest.mark.asyncio

PATIENCE_S: Final = 30.0
IN_FLIGHT: Final = 200
KEYS: Final = 16


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[LocalCluster, Client]]:
    """Start three nodes and wait until they have a leader and a topic of four queues."""
    with LocalCluster(directory) as cluster:
        async with Client(cluster.seeds, timeout=PATIENCE_S) as client:
            await client.topics.create("orders", queues=4)
            yield cluster, client


async def leader(cluster: LocalCluster, client: Client) -> NodeProcess:
    """Return the process that leads now."""
    return cluster.nodes[NodeId((await client.status()).node)]


async def more(receipts: dict[int, Receipt], count: int) -> None:
    """Wait until there are so many more receipts than now."""
    wanted = len(receipts) + count
    async with asyncio.timeout(PATIENCE_S):
        while len(receipts) < wanted:  # noqa: ASYNC110  (the senders are busy enough)
            await asyncio.sleep(0.01)


async def consume(client: Client, group: str, count: int) -> list[Message]:
    """Take so many messages as a new member of ``group``, and see that there are no more."""
    found: list[Message] = []
    async with client.consumer(group, "orders") as consumer, asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            found += await consumer.poll(500, timeout=1.0)
        found += await consumer.poll(500, timeout=0.2)
        await consumer.commit()
    return found


async def test_nothing_is_lost_doubled_or_reordered_when_the_leader_is_killed(
    tmp_path: Path,
) -> None:
    """Kill -9 with 200 sends in flight; everybody's receipt is one of a dense row of offsets."""
    async with running(tmp_path) as (cluster, client):
        receipts: dict[int, Receipt] = {}
        sent = 0
        over = False

        async def send() -> None:
            nonlocal sent
            while not over:
                sent += 1
                number = sent
                receipts[number] = await client.send(
                    "orders", b"%d" % number, key=b"%d" % (number % KEYS)
                )

        senders = [asyncio.create_task(send()) for _ in range(IN_FLIGHT)]
        for _ in range(2):
            await more(receipts, 2_000)
            victim = await leader(cluster, client)
            victim.kill()
            await more(receipts, 2_000)
            victim.start()
        over = True
        await asyncio.wait_for(asyncio.gather(*senders), PATIENCE_S)

        assert len(receipts) == sent
        places = {(receipt.queue, receipt.offset): number for number, receipt in receipts.items()}
        assert len(places) == sent, "two receipts name one place"
        for queue in range(4):
            offsets = sorted(offset for place, offset in places if place == queue)
            assert offsets == list(range(len(offsets))), f"queue {queue} has holes"

        found = await consume(client, "billing", sent)
        assert len(found) == sent, "a record was stored that has no receipt, or twice"
        newest: dict[bytes | None, int] = {}
        for message in found:
            number = int(message.value or b"")
            assert places[message.queue, message.offset] == number
            assert newest.get(message.key, 0) < number, "out of order"
            newest[message.key] = number


SLEEPER: Final = """
import asyncio, sys
from raftlog import Client
from raftlog.errors import RaftlogError

async def main(seeds):
    async with Client(seeds) as client:
        options = {"session": 1.0, "commit_interval": 3600.0}
        async with client.consumer("billing", "orders", **options) as consumer:
            found = await consumer.poll(5, timeout=20)
            print("took", *(f"{m.queue}:{m.offset}" for m in found), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            try:
                await consumer.commit()
            except RaftlogError as error:
                print("commit", type(error).__name__, flush=True)
            while True:
                for m in await consumer.poll(100, timeout=1.0):
                    print("took", f"{m.queue}:{m.offset}", flush=True)
                if consumer.status.rejoins:
                    print("rejoined", flush=True)
                    return

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.long
async def test_a_consumer_that_is_paused_past_its_session_is_fenced_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """SIGSTOP, until the group gives its queues to another member; then it wakes up."""
    async with running(tmp_path) as (cluster, client):
        await asyncio.gather(
            *(client.send("orders", b"%d" % number, queue=number % 4) for number in range(200))
        )
        sleeper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SLEEPER, ",".join(cluster.seeds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        try:
            line = await asyncio.wait_for(sleeper.stdout.readline(), PATIENCE_S)
            assert line.startswith(b"took ")
            os.kill(sleeper.pid, signal.SIGSTOP)
            found = await consume(client, "billing", 200)
            places = {(message.queue, message.offset) for message in found}
            assert len(places) == len(found) == 200, "somebody's records are missing, or doubled"
            os.kill(sleeper.pid, signal.SIGCONT)
            sleeper.stdin.write(b"\n")
            output, _ = await asyncio.wait_for(sleeper.communicate(), PATIENCE_S)
        finally:
            if sleeper.returncode is None:
                sleeper.kill()
                await sleeper.wait()
        lines = output.decode().splitlines()
        assert f"commit {Fenced.__name__}" in lines, lines
        assert lines[-1] == "rejoined"
        group = await client.groups.describe("billing")
        assert group.lag == 0

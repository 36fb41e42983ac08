"""What the tests of real processes are written with: a writer that remembers, and a look inside.

The writer sends without a break and keeps every receipt. Afterwards each node
is asked by itself for all that it has applied, and compared with the receipts:
what was acknowledged is there once, where its receipt says, and nothing is
there that nobody sent.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.channel import Channel
from raftlog.client.client import Client
from raftlog.client.routing import ask_status
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess
from raftlog.wire.address import parse_address
from raftlog.wire.batch import records
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages

TOPIC: Final = "orders"
PATIENCE_S: Final = 20.0
"""For anything that must happen; on an idle machine nothing here takes a second."""
POLL_S: Final = 0.02


@asynccontextmanager
async def running(directory: Path, settings: Sequence[str] = ()) -> AsyncIterator[Target]:
    """Start three nodes below ``directory``; wait for their leader; make a topic of one queue."""
    with LocalCluster(directory, settings=settings) as cluster:
        async with Client(cluster.seeds, timeout=PATIENCE_S) as client:
            target = Target(client, cluster.seeds, cluster)
            await target.ready()
            await client.topics.create(TOPIC, queues=1, exist_ok=True)
            yield target


async def leader_of(target: Target) -> NodeProcess:
    """Return the process that leads now."""
    return target.own().nodes[NodeId(await target.ready())]


async def ended(node: NodeProcess) -> int:
    """Wait for a process that was told to end, while this one goes on; return its exit code."""
    return await asyncio.to_thread(node.wait)


def address_of(target: Target, node: NodeId) -> str:
    """Return where clients reach ``node``."""
    return next(each.client for each in target.own().addresses if each.node == node)


class Writer:
    """Sends without a break, some records at a time, each value by one call of ``send``."""

    def __init__(
        self, client: Client, *, in_flight: int = 16, after: "Writer | None" = None
    ) -> None:
        """Make one; ``after`` goes on where another one has ended."""
        self.acked: Final[dict[int, bytes]] = dict(after.acked) if after is not None else {}
        """By offset: what must be found."""
        self._client = client
        self._in_flight = in_flight
        self._tasks: list[asyncio.Task[None]] = []
        self._next = after._next if after is not None else 0
        self._over = False

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._in_flight)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send nothing more, and wait for every answer."""
        self._over = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 2 * PATIENCE_S)

    async def more(self, count: int) -> None:
        """Wait until ``count`` more records were acknowledged than now."""
        wanted = len(self.acked) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acked) < wanted:
                assert not any(task.done() for task in self._tasks), "the writer gave up"
                await asyncio.sleep(POLL_S)

    async def _run(self) -> None:
        while not self._over:
            self._next += 1
            value = b"value %08d " % self._next + b"." * 180
            # The producer sends again until it knows: any error here is a failure of the test.
            receipt = await self._client.send(TOPIC, value)
            assert receipt.offset not in self.acked, f"offset {receipt.offset} given twice"
            self.acked[receipt.offset] = value


async def compare_every_node(target: Target, writer: Writer) -> None:
    """Hold what each node has applied against the receipts, and the ends against one another."""
    number, end = await queue_of(target.client)
    applied = (await target.client.status()).applied
    for seed in target.seeds:
        stored, node_end = await stored_on(seed, number, applied)
        assert node_end == end, f"{seed} ends at {node_end}, the leader at {end}"
        compare(stored, writer)


async def queue_of(client: Client) -> tuple[int, int]:
    """Return the number of the topic's queue, and where it ends."""
    description = await client.topics.describe(TOPIC)
    (number,) = await client._catalog.find(TOPIC)
    (queue,) = description.queues
    return number, queue.end_offset


def compare(stored: dict[int, bytes], writer: Writer) -> None:
    """Hold what one node has against the receipts: each record once, and no other.

    A send that was repeated after a lost answer or a lost leader must not be there twice.
    """
    wrong = {at: value for at, value in writer.acked.items() if stored.get(at) != value}
    some = [(at, value[:14], stored.get(at, b"")[:14]) for at, value in list(wrong.items())[:3]]
    assert not wrong, f"of {len(writer.acked)} acked, {len(wrong)} are gone or changed: {some}"
    twice = [value[:14] for value, count in Counter(stored.values()).items() if count > 1]
    assert not twice, f"{len(twice)} sends are there more than once: {twice[:3]}"
    others = [(at, value[:14]) for at, value in stored.items() if at not in writer.acked]
    assert not others, f"{len(others)} records are there without a receipt: {others[:3]}"


async def stored_on(
    address: str, queue: int, applied: int = 0, start: int = 0
) -> tuple[dict[int, bytes], int]:
    """Return every record that one node has in a queue, by offset, and the queue's end there.

    It answers when it has applied the entry at ``applied``. Nothing is before ``start``.
    """
    channel = await channel_to(address)
    stored: dict[int, bytes] = {}
    try:
        while True:
            request = messages.ReadBatches(
                queue=queue,
                offset=start + len(stored),
                bytes_max=1 << 20,
                session_applied=applied,
                wait_ms=int(PATIENCE_S * 1000) if applied and not stored else 0,
            )
            answer, payload = await channel.call(
                Method.READ, request, messages.BatchesRead, timeout_s=PATIENCE_S
            )
            position = 0
            for base, length in zip(answer.base_offsets, answer.lengths, strict=True):
                batch = memoryview(payload)[position : position + length]
                for offset, record in enumerate(records(batch), base):
                    stored[offset] = record.value or b""
                position += length
            if start + len(stored) >= answer.end_offset:
                return stored, answer.end_offset
    finally:
        await channel.aclose()


async def channel_to(address: str) -> Channel:
    """Connect to a node that may still be starting."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await Channel.connect(*parse_address(address))
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(POLL_S)


async def status_when(
    address: str, counter: str, at_least: int, at_most: int = 1 << 62
) -> messages.NodeStatus:
    """Wait until a counter of the node at ``address`` is in the range; return the status."""
    deadline = time.monotonic() + PATIENCE_S
    seen: object = "no answer"
    while time.monotonic() < deadline:
        try:
            status = await ask_status(address)
        except RaftlogError as error:
            seen = error
        else:
            seen = status.counters[counter]
            if at_least <= status.counters[counter] <= at_most:
                return status
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{counter} of {address} is {seen}, not {at_least}..{at_most}")


async def until_durable(address: str, index: int) -> None:
    """Wait until the log of the node at ``address`` is on its disk up to ``index``."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(RaftlogError):
            if (await ask_status(address)).durable >= index:
                return
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{address} has not stored entry {index} in {PATIENCE_S:g} s")

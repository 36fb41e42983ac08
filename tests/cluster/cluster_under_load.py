"""What the tests of real processes are written with: a writer that remembers, and a look inside.

The writer appends without a break and keeps every receipt. Afterwards each
node is asked by itself for all that it has applied, and compared with the
receipts: what was acknowledged is there, and nothing is there that nobody sent.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

from raftlog.base.errors import OutcomeUnknown, RaftlogError, Retriable, Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.channel import Channel
from raftlog.client.log_client import LogClient
from raftlog.client.routing import ask_status
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess
from raftlog.wire.address import parse_address
from raftlog.wire.batch import records
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages

PATIENCE_S: Final = 20.0
"""For anything that must happen; on an idle machine nothing here takes a second."""
POLL_S: Final = 0.02


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Target]:
    """Start three nodes below ``directory`` and wait for their leader."""
    with LocalCluster(directory) as cluster:
        async with LogClient(cluster.seeds, timeout_s=PATIENCE_S) as client:
            target = Target(client, cluster.seeds, cluster)
            await target.ready()
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
    """Appends without a break, some records at a time, each value once."""

    def __init__(self, client: LogClient, *, in_flight: int = 16) -> None:
        self.acked: Final[dict[int, bytes]] = {}
        """By offset: what must be found."""
        self.unknown: Final[set[bytes]] = set()
        """What may be found: nobody was told what became of it."""
        self._client = client
        self._in_flight = in_flight
        self._tasks: list[asyncio.Task[None]] = []
        self._next = 0
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
            try:
                receipt = await self._client.send(value)
            except OutcomeUnknown:
                self.unknown.add(value)
            except Retriable:
                continue  # it never happened: it must not be found
            else:
                assert receipt.offset not in self.acked, f"offset {receipt.offset} given twice"
                self.acked[receipt.offset] = value


async def compare_every_node(target: Target, writer: Writer) -> None:
    """Hold what each node has applied against the receipts, and the ends against one another."""
    end = await target.client.end_offset()
    applied = (await target.client.status()).applied
    for seed in target.seeds:
        stored, node_end = await stored_on(seed, applied)
        assert node_end == end, f"{seed} ends at {node_end}, the leader at {end}"
        compare(stored, writer)


def compare(stored: dict[int, bytes], writer: Writer) -> None:
    """Hold what one node has against the receipts."""
    wrong = {at: value for at, value in writer.acked.items() if stored.get(at) != value}
    some = [(at, value[:14], stored.get(at, b"")[:14]) for at, value in list(wrong.items())[:3]]
    assert not wrong, f"of {len(writer.acked)} acked, {len(wrong)} are gone or changed: {some}"
    others = Counter(value for offset, value in stored.items() if offset not in writer.acked)
    assert set(others) <= writer.unknown, "a record that nobody sent, or that was refused"
    assert set(others.values()) <= {1}, "one send is there twice"


async def stored_on(address: str, applied: int = 0) -> tuple[dict[int, bytes], int]:
    """Return every record that one node has, by offset, and its end offset.

    It answers when it has applied the entry at ``applied``.
    """
    channel = await channel_to(address)
    stored: dict[int, bytes] = {}
    try:
        while True:
            request = messages.ReadBatches(
                offset=len(stored),
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
            if len(stored) >= answer.end_offset:
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

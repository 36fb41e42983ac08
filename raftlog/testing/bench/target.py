"""The cluster that is measured: three own processes, or a running one."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from pathlib import Path

import msgspec

from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.base.limits import TOPIC_QUEUES_MAX
from raftlog.client.client import Client
from raftlog.client.receipts import StoredBatch
from raftlog.client.routing import ask_status
from raftlog.testing.bench.latency import Quantiles
from raftlog.testing.bench.ledger import Ledger, ReadBack
from raftlog.testing.bench.loops import loop_name
from raftlog.testing.bench.report import Options, Report, rates
from raftlog.testing.bench.usage import own_cpu_s, usage_of
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.schema import client as messages

READY_S = 30.0
ATTEMPT_S = 1.0
"""For one attempt: between two of them somebody looks whether the processes live."""
BEHIND_MAX = 1_000
"""Entries that a node may lack under load and still count as caught up."""
CLIENT = "client"


class NodeUse(msgspec.Struct, frozen=True):
    """What one node used: by its own counters and, for our own processes, the kernel's."""

    fdatasyncs: int = 0
    bytes_written: int = 0
    kernel_bytes: int | None = None
    cpu_s: float | None = None
    memory_mb: float | None = None
    waits: int | None = None


class Use(msgspec.Struct, frozen=True):
    """What every node and this client used so far."""

    nodes: dict[str, NodeUse]
    client_cpu_s: float
    client_waits: int

    def since(self, before: "Use") -> "Use":
        """Return what was used between two moments; memory is the later one's."""
        return Use(
            {
                name: _difference(use, before.nodes.get(name, NodeUse()))
                for name, use in self.nodes.items()
            },
            round(self.client_cpu_s - before.client_cpu_s, 2),
            self.client_waits - before.client_waits,
        )


def _difference(after: NodeUse, before: NodeUse) -> NodeUse:
    if after.fdatasyncs < before.fdatasyncs or after.bytes_written < before.bytes_written:
        before = NodeUse()  # it was started again: its process has counted from zero
    return NodeUse(
        fdatasyncs=after.fdatasyncs - before.fdatasyncs,
        bytes_written=after.bytes_written - before.bytes_written,
        kernel_bytes=None
        if after.kernel_bytes is None
        else after.kernel_bytes - (before.kernel_bytes or 0),
        cpu_s=None if after.cpu_s is None else round(after.cpu_s - (before.cpu_s or 0), 2),
        memory_mb=after.memory_mb,
        waits=None if after.waits is None else after.waits - (before.waits or 0),
    )


class Target:
    """A cluster and a client of it. ``cluster`` is None for one that ran before."""

    def __init__(self, client: Client, seeds: Sequence[str], cluster: LocalCluster | None) -> None:
        self.client = client
        self.seeds = tuple(seeds)
        self.cluster = cluster

    def own(self) -> LocalCluster:
        """Return the own cluster; the scenario has seen to it that there is one."""
        assert self.cluster is not None, "this scenario needs processes of its own"
        return self.cluster

    async def statuses(self) -> list[messages.NodeStatus]:
        """Return what each node that answers says about itself."""
        answers = await asyncio.gather(
            *(ask_status(seed) for seed in self.seeds), return_exceptions=True
        )
        return [answer for answer in answers if isinstance(answer, messages.NodeStatus)]

    @asynccontextmanager
    async def topics(self, queues: int | None = None) -> AsyncIterator[Sequence[str]]:
        """Make new topics for a run, with ``queues`` in all (None: one as a user makes it).

        They are gone at the run's end.
        """
        name = f"bench-{secrets.token_hex(4)}"
        sizes: list[int | None] = [None]
        if queues is not None:
            whole, rest = divmod(queues, TOPIC_QUEUES_MAX)
            sizes = [*repeat(TOPIC_QUEUES_MAX, whole), *([rest] if rest else [])]
        made: list[str] = []
        try:
            for number, size in enumerate(sizes):
                topic = f"{name}-{number}"
                await self.client.topics.create(topic, queues=size)
                made.append(topic)
            yield made
        finally:
            for topic in made:
                with suppress(RaftlogError):  # the run's own end says what went wrong
                    await self.client.topics.delete(topic)

    async def usage(self) -> Use:
        """Count what everybody used so far."""
        nodes: dict[str, NodeUse] = {}
        for status in await self.statuses():
            counted = status.counters
            use = NodeUse(counted.get("fdatasyncs", 0), counted.get("bytes_written", 0))
            if self.cluster is not None:
                seen = usage_of(self.cluster.nodes[NodeId(status.node)].pid)
                use = msgspec.structs.replace(
                    use,
                    kernel_bytes=seen.written_bytes,
                    cpu_s=seen.cpu_s,
                    memory_mb=round(seen.resident_bytes / 1e6, 1),
                    waits=seen.waits,
                )
            nodes[status.node] = use
        return Use(nodes, own_cpu_s(), usage_of(os.getpid()).waits)

    async def ready(self, within_s: float = READY_S) -> str:
        """Wait until a leader has confirmed itself; return its node.

        Raises:
            Unavailable: None did in time, or an own process ended.
        """
        deadline = time.monotonic() + within_s
        while True:
            if self.cluster is not None:
                self.cluster.check_alive()
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    await self.client.topics.list()  # asks a majority
                    status = await self.client.status()
            except (RaftlogError, TimeoutError) as error:
                if time.monotonic() >= deadline:
                    why = str(error) or f"no node at {', '.join(self.seeds)} answers as one"
                    raise Unavailable(f"no leader within {within_s:g} s: {why}") from error
                await asyncio.sleep(0.01)
            else:
                return status.node

    async def settled(self, within_s: float = READY_S) -> None:
        """Wait until every node answers, follows one leader, and has applied what it has.

        Raises:
            Unavailable: They did not in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            statuses = await self.statuses()
            leaders = {status.leader for status in statuses}
            commit = max((status.commit for status in statuses), default=0)
            behind = [status.node for status in statuses if status.applied < commit - BEHIND_MAX]
            if len(statuses) == len(self.seeds) and len(leaders) == 1 and not behind:
                return
            if time.monotonic() >= deadline:
                answered = ", ".join(status.node for status in statuses)
                raise Unavailable(f"after {within_s:g} s only {answered} answer; behind: {behind}")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def target_of(options: Options) -> AsyncIterator[Target]:
    """Start three processes in a fresh directory, or take the cluster that was named."""
    if options.connect:
        async with Client(options.connect) as client:
            target = Target(client, options.connect, None)
            await target.ready()
            yield target
        return
    with (
        tempfile.TemporaryDirectory(prefix="raftlog-bench-") as directory,
        LocalCluster(Path(directory)) as cluster,
    ):
        async with Client(cluster.seeds) as client:
            target = Target(client, cluster.seeds, cluster)
            await target.ready()
            yield target


class Comparison(msgspec.Struct, frozen=True):
    """What the queues hold, against what was acknowledged."""

    verified: bool
    digest: str
    batches: int
    unknown_found: int


async def compare(target: Target, topics: Sequence[str], ledger: Ledger) -> Comparison:
    """Read every queue of ``topics`` back, to its end, and compare it with the ledger."""
    reading = ledger.reading()
    batches = 0
    for number, topic in enumerate(topics):
        async with target.client.reader(topic, follow=False) as reader:
            async for stored in reader.batches():
                batches += 1
                _take(reading, stored, queue_key(number, stored.queue), ledger.records_each)
    verdict = reading.verdict()
    return Comparison(verdict.verified, verdict.digest, batches, verdict.unknown_found)


def queue_key(topic: int, place: int) -> int:
    """Return a ledger's number for a queue of the topic at ``topic`` in a run's list."""
    return topic * TOPIC_QUEUES_MAX + place


def _take(reading: ReadBack, stored: StoredBatch, queue: int, records_each: int) -> None:
    batch = stored.open()
    if records_each > 1:
        reading.record(stored.base_offset, batch.values, queue)
        return
    for offset, value in enumerate(batch.value_views(), stored.base_offset):
        reading.record(offset, value, queue)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario measured itself."""

    records: int
    seconds: float
    verified: bool
    record_batches: int
    quantiles: Quantiles = Quantiles()
    p99_ratio: float | None = None
    """Of a p99 that something has disturbed to the one before and after it."""
    restart_s: float | None = None
    notes: dict[str, int | float | str] = {}


def make_report(scenario: str, options: Options, used: Use, figures: Figures) -> Report:
    """Put a run's figures together with what the nodes used."""
    seconds = figures.seconds
    records_per_s, mb_per_s = rates(figures.records, options.size, seconds)
    quantiles = figures.quantiles
    cpu_s = {name: use.cpu_s for name, use in used.nodes.items() if use.cpu_s is not None}
    waits = {name: use.waits for name, use in used.nodes.items() if use.waits is not None}
    memory = [use.memory_mb for use in used.nodes.values() if use.memory_mb is not None]
    return Report(
        scenario=scenario,
        size=options.size,
        in_flight=options.in_flight,
        records=figures.records,
        seconds=round(seconds, 3),
        records_per_s=records_per_s,
        mb_per_s=mb_per_s,
        p50_ms=quantiles.p50_ms,
        p99_ms=quantiles.p99_ms,
        p999_ms=quantiles.p999_ms,
        p99_ratio=figures.p99_ratio,
        restart_s=figures.restart_s,
        durability="fsync",
        nodes=len(used.nodes),
        verified=figures.verified,
        fdatasyncs={name: use.fdatasyncs for name, use in used.nodes.items()},
        bytes_written={
            name: {"counted": use.bytes_written}
            | ({} if use.kernel_bytes is None else {"kernel": use.kernel_bytes})
            for name, use in used.nodes.items()
        },
        record_batches=figures.record_batches,
        loop=loop_name(),
        cpu_s={**cpu_s, CLIENT: used.client_cpu_s},
        waits={**waits, CLIENT: used.client_waits},
        memory_mb=max(memory, default=None),
        notes=figures.notes,
    )

"""Scenario ``rejoin``: what a node that lost its disk costs the others, and how long it is away.

::

    fill      a topic whose older half retention forgets: the log is trimmed
    quiet     sends at a steady rate, nobody is behind
    rejoin    a follower is killed, its directory removed, and started with --join: sends go
              on at the same rate until it is a voter that has applied what the others have
    quiet     once more: what the machine does besides is in both halves

At the end the directories of the leader and of the node are compared byte by byte, and the sends
are read back.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.base.limits import MIB
from raftlog.client.shard_members import VOTER
from raftlog.server.comparison import compare_directories
from raftlog.testing.bench.filling import fill
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.steady_load import SteadyLoad
from raftlog.testing.bench.target import BEHIND_MAX, Figures, Target, compare, make_report
from raftlog.wire.schema import client as messages

TRIMMED_S = 60.0
SYNCED_S = 600.0
WARM_UP_S = 1.0
POLL_S = 0.1


async def run_rejoin(target: Target, options: Options, say: Say) -> Report:
    """Wipe a follower under load, bring it back, compare."""
    async with _trimmed_topic(target, options, say), target.topics() as (topic,):
        load = SteadyLoad(target, topic, options)
        before = await target.usage()
        began = time.perf_counter()
        sending = asyncio.create_task(load.run())
        try:
            measured = await _measure(target, load, options, say)
        finally:
            load.end()
            await sending
        seconds = time.perf_counter() - began
        used = (await target.usage()).since(before)
        found = await compare(target, [topic], load.ledger)
        is_equal = await _compare_directories(target, measured.node, say)
    quiet, busy = measured.quiet.quantiles(), measured.busy.quantiles()
    ratio = (busy.p99_ms or 0.0) / (quiet.p99_ms or 1.0)
    figures = Figures(
        records=load.ledger.acked_count,
        seconds=seconds,
        verified=found.verified and is_equal,
        record_batches=found.batches,
        quantiles=busy,
        p99_ratio=round(ratio, 2),
        notes={
            "rate": options.rate,
            "quiet_p99_ms": quiet.p99_ms or 0.0,
            "synced_s": round(measured.synced_s, 2),
            "snapshot_mb": round(measured.snapshot_bytes / 1e6, 2),
            "log_mb": round(measured.log_bytes / 1e6, 2),
            "directories_equal": str(is_equal).lower(),
        },
    )
    return make_report("rejoin", options, used, figures)


@asynccontextmanager
async def _trimmed_topic(target: Target, options: Options, say: Say) -> AsyncIterator[None]:
    """Fill a topic that forgets its older half; wait until the leader's log was trimmed."""
    size = options.log_mib * MIB
    name = "rejoin-filling"
    await target.client.topics.create(name, queues=1, retention_bytes=size // 2)
    try:
        await fill(target, name, options, size, say)
        await target.settled()
        deadline = time.monotonic() + TRIMMED_S
        while (first := (await _leader(target)).counters["log_first_index"]) <= 1:
            if time.monotonic() > deadline:
                raise Unavailable("the log was not trimmed; ask for a larger --log-mib")
            await asyncio.sleep(POLL_S)
        say(f"  trimmed: the log begins at {first:,}")
        yield
    finally:
        with suppress(RaftlogError):  # the run's own end says what went wrong
            await target.client.topics.delete(name)


async def _leader(target: Target) -> messages.NodeStatus:
    leader = await target.ready()
    return next(each for each in await target.statuses() if each.node == leader)


class _Measured(msgspec.Struct):
    """What the load has seen, and what the node was sent."""

    node: NodeId
    quiet: Latencies
    busy: Latencies
    synced_s: float = 0.0
    snapshot_bytes: int = 0
    log_bytes: int = 0


async def _measure(target: Target, load: SteadyLoad, options: Options, say: Say) -> _Measured:
    leader = await _leader(target)
    names = target.own().nodes
    node = next(name for name in sorted(names) if name != leader.node)
    measured = _Measured(node, Latencies(), Latencies())
    say(f"  quiet for {options.duration_s:g} s")
    await asyncio.sleep(WARM_UP_S)
    load.latencies = measured.quiet
    await asyncio.sleep(options.duration_s)
    load.latencies = measured.busy
    began = time.perf_counter()
    await _wipe(target, node)
    while not await _is_in_sync(target, node, measured):
        if time.perf_counter() - began > SYNCED_S:
            raise Unavailable(f"{node} is not in sync after {SYNCED_S:g} s")
        target.own().check_alive()
        await asyncio.sleep(POLL_S)
    measured.synced_s = time.perf_counter() - began
    load.latencies = Latencies()
    say(f"  {node} is in sync after {measured.synced_s:.2f} s; quiet again")
    after = await _leader(target)
    key = "install_bytes_sent"
    measured.snapshot_bytes = after.counters[key] - leader.counters[key]
    await asyncio.sleep(WARM_UP_S)
    load.latencies = measured.quiet
    await asyncio.sleep(options.duration_s)
    load.latencies = Latencies()
    return measured


async def _wipe(target: Target, node: NodeId) -> None:
    cluster = target.own()
    lost = cluster.nodes[node]
    await cluster.kill(node)
    await asyncio.to_thread(shutil.rmtree, cluster.directory / "data" / node)
    cluster.join(lost.address)


async def _is_in_sync(target: Target, node: NodeId, measured: _Measured) -> bool:
    """Whether the node is a voter that has applied what the others have."""
    try:
        statuses = {each.node: each for each in await target.statuses()}
        if node not in statuses:
            return False
        status = statuses[node]
        measured.log_bytes = status.counters["bytes_written"]
        commit = max(each.commit for each in statuses.values())
        if status.applied < commit - BEHIND_MAX:
            return False
        members = await target.client.members.list()
    except RaftlogError:
        return False
    return any(
        (each.node, each.directory, each.place) == (node, status.directory, VOTER)
        for each in members
    )


async def _compare_directories(target: Target, node: NodeId, say: Say) -> bool:
    """Compare the node's directory with the leader's, as ``raftlog log compare`` does."""
    leader = (await _leader(target)).node
    data = target.own().directory / "data"
    other = next(name for name in sorted(target.own().nodes) if name != node)
    first = str(data / (leader if leader != node else other))
    found = await asyncio.to_thread(compare_directories, first, str(data / node))
    for shard in found.shards:
        say(f"  compared {shard.entries:,} entries and {shard.files} files")
        for difference in shard.differences:
            say(f"  {difference.what}: {difference.first} | {difference.second}")
    return not found.is_different and all(shard.entries for shard in found.shards)

"""Scenario ``lag``: what one follower that stands still, or is slow, costs everybody else.

::

    healthy   sends at a steady rate
    paused    a follower stands still (SIGSTOP), goes on, and catches up
    slow      it stands still for half of the time, in pieces of 25 ms

Again and again in short rounds, so that what the machine does besides is in all of them. At the
end every send is read back.
"""

import asyncio
import time
from contextlib import suppress

from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.steady_load import SteadyLoad
from raftlog.testing.bench.target import BEHIND_MAX, Figures, Target, compare, make_report
from raftlog.testing.processes import NodeProcess

WARM_UP_S = 1.0
ROUND_S = 2.0
POLL_S = 0.1
PIECE_S = 0.025
CAUGHT_UP_S = 120.0


async def run_lag(target: Target, options: Options, say: Say) -> Report:
    """Pause a follower under load, make it slow, compare with a healthy cluster."""
    async with target.topics() as (topic,):
        load = SteadyLoad(target, topic, options)
        before = await target.usage()
        began = time.perf_counter()
        sending = asyncio.create_task(load.run())
        try:
            healthy, paused, slow = await _measure(target, load, options, say)
        finally:
            load.end()
            await sending
        seconds = time.perf_counter() - began
        used = (await target.usage()).since(before)
        found = await compare(target, [topic], load.ledger)
    quantiles = [each.quantiles() for each in (healthy, paused, slow)]
    healthy_ms, paused_ms, slow_ms = (each.p99_ms or 0.0 for each in quantiles)
    figures = Figures(
        records=load.ledger.acked_count,
        seconds=seconds,
        verified=found.verified,
        record_batches=found.batches,
        quantiles=quantiles[1] if paused_ms > slow_ms else quantiles[2],
        p99_ratio=round(max(paused_ms, slow_ms) / (healthy_ms or 1.0), 2),
        notes={
            "rate": options.rate,
            "healthy_p99_ms": healthy_ms,
            "paused_p99_ms": paused_ms,
            "slow_p99_ms": slow_ms,
        },
    )
    return make_report("lag", options, used, figures)


async def _measure(
    target: Target, load: SteadyLoad, options: Options, say: Say
) -> tuple[Latencies, Latencies, Latencies]:
    healthy, paused, slow = Latencies(), Latencies(), Latencies()
    leader = await target.ready()
    nodes = target.own().nodes
    node = nodes[next(NodeId(name) for name in sorted(nodes) if name != leader)]
    await asyncio.sleep(WARM_UP_S)

    rounds = max(1, round(options.duration_s / ROUND_S))
    say(f"  {node.node} is healthy, stands still, and is slow, {rounds} times")
    for _ in range(rounds):
        load.latencies = healthy
        await asyncio.sleep(ROUND_S)
        load.latencies = paused
        node.pause()
        try:
            await asyncio.sleep(ROUND_S)
        finally:
            node.resume()
        await _caught_up(target, node.node)
        load.latencies = slow
        await _slow(node, ROUND_S)
        await _caught_up(target, node.node)
    load.latencies = Latencies()
    if await target.ready() != leader:
        raise Unavailable(f"{leader} does not lead any more: this measures something else")
    return healthy, paused, slow


async def _slow(node: NodeProcess, duration_s: float) -> None:
    """Let a process run for half of the time only."""
    until = time.perf_counter() + duration_s
    while time.perf_counter() < until:
        node.pause()
        try:
            await asyncio.sleep(PIECE_S)
        finally:
            node.resume()
        await asyncio.sleep(PIECE_S)


async def _caught_up(target: Target, node: NodeId) -> None:
    """Wait until a node has applied what the others have."""
    began = time.perf_counter()
    while time.perf_counter() - began < CAUGHT_UP_S:
        target.own().check_alive()
        with suppress(RaftlogError):
            statuses = await target.statuses()
            applied = [each.applied for each in statuses if each.node == node]
            if applied and applied[0] >= max(each.commit for each in statuses) - BEHIND_MAX:
                return
        await asyncio.sleep(POLL_S)
    raise Unavailable(f"{node} has not caught up after {CAUGHT_UP_S:g} s")

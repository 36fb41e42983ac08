"""Scenarios ``restart`` and ``memory``: what a start costs, and what an idle node holds."""

import asyncio
import time

from raftlog.base.limits import MIB
from raftlog.testing.bench.filling import fill
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import READY_S, Figures, Target, compare, make_report

IDLE_S = 3.0


async def run_restart(target: Target, options: Options, say: Say) -> Report:
    """Fill a log, end every node with SIGKILL, start all: time to the first acknowledgement.

    The clock runs from the start of the first process, interpreter and imports
    included. The page cache is warm: it was just written.
    """
    async with target.topics() as (topic,), target.topics(1) as (other,):
        return await _restart(target, topic, other, options, say)


async def _restart(target: Target, topic: str, other: str, options: Options, say: Say) -> Report:
    ledger = await fill(target, topic, options, options.log_mib * MIB, say)
    await target.settled()
    began, seconds = await restart_all(target, other, say)
    await target.settled()
    settled_s = time.perf_counter() - began
    use = await target.usage()
    say(f"  first ack after {seconds:.2f} s, all caught up after {settled_s:.2f} s; comparing")
    records = ledger.acked_count * ledger.records_each
    found = await compare(target, [topic], ledger)
    figures = Figures(
        records=records,
        seconds=seconds,
        verified=found.verified,
        record_batches=found.batches,
        notes={"log_mib": options.log_mib, "all_caught_up_s": round(settled_s, 3)},
    )
    return make_report("restart", options, use, figures)


async def restart_all(
    target: Target, topic: str, say: Say, within_s: float = READY_S
) -> tuple[float, float]:
    """End every node with SIGKILL, start all, send to ``topic`` what shows that they serve.

    Returns:
        When the first process was started, and the seconds to the first acknowledgement.
    """
    nodes = target.own().nodes.values()
    for node in nodes:
        node.kill()
    for node in nodes:
        node.wait()
    say("  killed all; starting")
    began = time.perf_counter()
    for node in nodes:
        node.start()
    await target.ready(within_s)
    await target.client.send(topic, b"back")
    return began, time.perf_counter() - began


async def run_memory(target: Target, options: Options, say: Say) -> Report:
    """Leave a new cluster alone for a while and look at its memory."""
    await target.settled()
    say(f"  idle for {IDLE_S:g} s")
    before = await target.usage()
    await asyncio.sleep(IDLE_S)
    use = (await target.usage()).since(before)
    is_empty = not await target.client.topics.list()
    figures = Figures(records=0, seconds=IDLE_S, verified=is_empty, record_batches=0)
    return make_report("memory", options, use, figures)

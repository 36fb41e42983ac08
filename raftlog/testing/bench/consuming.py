"""Scenario ``consume``: read a log back, batch by batch, as fast as it comes.

``memory``: what was just written and is still in the nodes' memory, read again
and again for the asked time. ``disk``: a log larger than the nodes keep in
memory, read once from its beginning (from the page cache, as far as that has
it: the bench may not drop it).
"""

import time
from collections.abc import Callable

from raftlog.base.limits import MIB, TAIL_BYTES_MAX
from raftlog.testing.bench.filling import fill
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, compare, make_report

MEMORY_BYTES = TAIL_BYTES_MAX // 2


async def run_consume(target: Target, options: Options, say: Say) -> Report:
    """Fill a topic, then measure reading it; every byte was compared before that."""
    async with target.topics() as (topic,):
        return await _measure(target, topic, options, say)


async def _measure(target: Target, topic: str, options: Options, say: Say) -> Report:
    from_memory = options.source == "memory"
    size = MEMORY_BYTES if from_memory else options.log_mib * MIB
    ledger = await fill(target, topic, options, size, say)
    say("  comparing")
    found = await compare(target, [topic], ledger)
    before = await target.usage()
    latencies = Latencies()
    began = time.perf_counter()
    records = 0
    rounds = 0
    while True:
        records += await _pass(target, topic, latencies.add)
        rounds += 1
        seconds = time.perf_counter() - began
        if not from_memory or seconds >= options.duration_s:
            break
    used = (await target.usage()).since(before)
    counted = records == rounds * ledger.acked_count * ledger.records_each
    figures = Figures(
        records=records,
        seconds=seconds,
        verified=found.verified and counted,
        record_batches=found.batches,
        quantiles=latencies.quantiles(),
        notes={"source": options.source, "passes": rounds, "digest": found.digest},
    )
    return make_report("consume", options, used, figures)


async def _pass(target: Target, topic: str, add: Callable[[float], None]) -> int:
    """Read the topic to its end; return the records, by the batches' headers.

    Each batch is opened: its checksum is verified and its values are reachable.
    The latency of a batch is the time until it is handed over.
    """
    clock = time.perf_counter
    records = 0
    async with target.client.reader(topic, follow=False) as reader:
        asked = clock()
        async for stored in reader.batches():
            batch = stored.open()
            records += batch.header.count
            now = clock()
            add(now - asked)
            asked = now
    return records

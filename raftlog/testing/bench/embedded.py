"""Scenario ``embedded``: one node in this very process, every append awaited by itself."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from raftlog.embedded import Position, RaftLog
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.loops import loop_name
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report, rates
from raftlog.testing.bench.usage import usage_of

NODE = "n1"


async def run_embedded(options: Options, say: Say) -> Report:
    """Append with ``in_flight`` callers, then read the log back and compare."""
    with tempfile.TemporaryDirectory(prefix="raftlog-bench-") as directory:
        described: RaftLog[None] = RaftLog.open(Path(directory) / "log", node_id=NODE)
        async with described as log:
            return await _measure(log, options, say)


async def _measure(log: RaftLog[None], options: Options, say: Say) -> Report:
    values = Values(options.size)
    ledger = Ledger(values.make)
    latencies = Latencies()
    store = log._replica.store
    synced, written, before = store.fdatasyncs, store.bytes_written, usage_of(os.getpid())
    pace = Pace(options, lambda: ledger.acked_count, say)
    with pace:
        callers = (_caller(log, pace, ledger, latencies, values) for _ in range(options.in_flight))
        await asyncio.gather(*callers)
    after = usage_of(os.getpid())
    verified = await _read_back(log, ledger)
    quantiles = latencies.quantiles()
    records_per_s, mb_per_s = rates(ledger.acked_count, options.size, pace.seconds)
    return Report(
        scenario="embedded",
        size=options.size,
        in_flight=options.in_flight,
        records=ledger.acked_count,
        seconds=round(pace.seconds, 3),
        records_per_s=records_per_s,
        mb_per_s=mb_per_s,
        p50_ms=quantiles.p50_ms,
        p99_ms=quantiles.p99_ms,
        p999_ms=quantiles.p999_ms,
        durability="fsync",
        nodes=1,
        verified=verified,
        fdatasyncs={NODE: store.fdatasyncs - synced},
        bytes_written={
            NODE: {
                "counted": store.bytes_written - written,
                "kernel": after.written_bytes - before.written_bytes,
            }
        },
        record_batches=0,
        loop=loop_name(),
        cpu_s={NODE: round(after.cpu_s - before.cpu_s, 2)},
        waits={NODE: after.waits - before.waits},
    )


async def _caller(
    log: RaftLog[None], pace: Pace, ledger: Ledger, latencies: Latencies, values: Values
) -> None:
    clock = time.perf_counter
    while pace.goes_on():
        number = ledger.begin()
        began = clock()
        position: Position = await log.append(values.make(number))
        latencies.add(clock() - began)
        ledger.acked(number, position.index)


async def _read_back(log: RaftLog[None], ledger: Ledger) -> bool:
    reading = ledger.reading()
    last = ledger.last_offset
    async for entry in log.tail(1):
        reading.record(entry.index, entry.data)
        if entry.index >= last:
            break
    return reading.verdict().verified

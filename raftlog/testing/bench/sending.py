"""Scenario ``send``: records acknowledged one by one, or batch by batch (ruling 35)."""

import asyncio
import time

from raftlog.base.limits import MIB
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, compare, make_report
from raftlog.wire.batch import Batch, encode_columns

DISTINCT_BYTES = 16 * MIB
"""Batches are encoded before the run and sent in turn; so many bytes of different ones."""


class Blobs:
    """Encoded batches that are sent again and again, in turn."""

    def __init__(self, values: Values, records: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        count = 1 + DISTINCT_BYTES // (records * values.size)
        self._blobs = [
            encode_columns(
                [values.make(number * records + place) for place in range(records)],
                timestamp_ms=now_ms,
            )
            for number in range(min(count, 1024))
        ]
        self._values = [Batch(blob).values for blob in self._blobs]

    def blob(self, number: int) -> bytes:
        """Return the batch that send ``number`` sends."""
        return self._blobs[number % len(self._blobs)]

    def values(self, number: int) -> memoryview:
        """Return the values in it, joined."""
        return self._values[number % len(self._values)]


async def run_send(target: Target, options: Options, say: Say) -> Report:
    """Send for the asked time with ``in_flight`` sends awaited at once, then read back."""
    records = max(options.batch, 1)
    values = Values(options.size)
    latencies = Latencies()
    first_offset = await target.client.end_offset()
    if options.batch:
        blobs = Blobs(values, options.batch)
        ledger = Ledger(blobs.values, first_offset, records)
    else:
        blobs = None
        ledger = Ledger(values.make, first_offset)
    pace = Pace(options, lambda: ledger.acked_count * records, say)
    before = await target.usage()
    with pace:
        await asyncio.gather(
            *(
                _send_records(target, pace, ledger, latencies, values)
                if blobs is None
                else _send_batches(target, pace, ledger, latencies, blobs)
                for _ in range(options.in_flight)
            )
        )
    used = (await target.usage()).since(before)
    say("  reading back")
    verdict, batches = await compare(target, ledger, first_offset)
    figures = Figures(
        records=ledger.acked_count * records,
        seconds=pace.seconds,
        verified=verdict.verified,
        record_batches=batches,
        quantiles=latencies.quantiles(),
        notes={"digest": verdict.digest, "batch": options.batch},
    )
    return make_report("send", options, used, figures)


async def _send_records(
    target: Target, pace: Pace, ledger: Ledger, latencies: Latencies, values: Values
) -> None:
    clock = time.perf_counter
    send, make, add, acked = target.client.send, values.make, latencies.add, ledger.acked
    while pace.goes_on():
        number = ledger.begin()
        began = clock()
        receipt = await send(make(number))
        add(clock() - began)
        acked(number, receipt.offset)


async def _send_batches(
    target: Target, pace: Pace, ledger: Ledger, latencies: Latencies, blobs: Blobs
) -> None:
    clock = time.perf_counter
    while pace.goes_on():
        number = ledger.begin()
        began = clock()
        receipt = await target.client.send_batch(blobs.blob(number))
        latencies.add(clock() - began)
        ledger.acked(number, receipt.base_offset)

"""Scenario ``send``: records acknowledged one by one, or batch by batch."""

import asyncio
import time
from itertools import cycle, islice

from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Target, compare, make_report
from raftlog.wire.batch import Record, encode_columns

DISTINCT_BATCHES = 64
"""Batches are encoded before the run and sent in turn; each has its own bytes."""


async def run_send(target: Target, options: Options, say: Say) -> Report:
    """Send for the asked time with ``in_flight`` sends awaited at once, then read back."""
    records = max(options.batch, 1)
    values = Values(options.size)
    first_offset = await target.client.end_offset()
    ledger = Ledger(values, first_offset, records_each=records)
    latencies = Latencies()
    before = await target.usage()
    pace = Pace(options, lambda: ledger.acked_count * records, say)
    if options.batch:
        blobs = encoded_batches(values, options.batch)
        senders = [
            _send_batches(target, pace, ledger, latencies, blobs) for _ in range(options.in_flight)
        ]
    else:
        senders = [
            _send_records(target, pace, ledger, latencies, values)
            for _ in range(options.in_flight)
        ]
    with pace:
        await asyncio.gather(*senders)
    after = await target.usage()
    say("  reading back")
    verified = await compare(target, ledger, first_offset)
    return make_report(
        "send",
        options,
        target,
        records=ledger.acked_count * records,
        seconds=pace.seconds,
        quantiles=latencies.quantiles(),
        verified=verified,
        used=after.since(before),
    )

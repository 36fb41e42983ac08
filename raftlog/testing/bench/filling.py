"""Fills a log, as fast as it goes, for scenarios that measure something else."""

import asyncio

from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options
from raftlog.testing.bench.sending import Blobs
from raftlog.testing.bench.target import Target
from raftlog.wire.batch import BATCH_HEADER_BYTES

IN_FLIGHT = 32
ALONE_IN_FLIGHT = 64
REPORT_EVERY = 8


async def fill(target: Target, topic: str, options: Options, size: int, say: Say) -> Ledger:
    """Append about ``size`` bytes of batches of ``options.batch`` records (1: each alone).

    Returns:
        What was acknowledged, to be compared with what is read.
    """
    records = max(options.batch, 1)
    blobs = Blobs(Values(options.size), records)
    ledger = Ledger(blobs.values, records)
    total = max(1, size // (records * options.size + BATCH_HEADER_BYTES))
    say(f"  filling: {total:,} batches of {records} x {options.size} B")

    async def filler() -> None:
        while len(ledger) < total:
            number = ledger.begin()
            if number and number % (1 + total // REPORT_EVERY) == 0:
                say(f"  {number:>12,} batches")
            receipt = await target.client.send_batch(topic, blobs.blob(number))
            ledger.acked(number, receipt.base_offset, receipt.queue)

    in_flight = IN_FLIGHT if records > 1 else ALONE_IN_FLIGHT
    await asyncio.gather(*(filler() for _ in range(in_flight)))
    return ledger

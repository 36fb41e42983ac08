"""Scenario ``transactions``: half messages, each stored, then committed.

Every caller stores one that nobody sees, commits it as soon as it is stored, and begins again:
two commits of a majority for each. A time is that of both. Read back is that every committed one
is where its receipt says, once, and that nothing else became visible.
"""

import asyncio
import time

from raftlog.client.halves import TransactionalProducer
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, compare, make_report, queue_key


async def run_transactions(target: Target, options: Options, say: Say) -> Report:
    """Store and commit for the asked time, ``in_flight`` at once, then read back."""
    async with (
        target.topics() as (topic,),
        target.client.transactional_producer(f"bench-{topic}", group="bench") as producer,
    ):
        run = _Run(producer, topic, options, say)
        before = await target.usage()
        with run.pace:
            await asyncio.gather(*(run.caller() for _ in range(options.in_flight)))
        used = (await target.usage()).since(before)
        say("  reading back")
        found = await compare(target, [topic], run.ledger)
    figures = Figures(
        records=run.ledger.acked_count,
        seconds=run.pace.seconds,
        verified=found.verified,
        record_batches=found.batches,
        quantiles=run.latencies.quantiles(),
        notes={"digest": found.digest},
    )
    return make_report("transactions", options, used, figures)


class _Run:
    """Callers that share a pace."""

    def __init__(
        self, producer: TransactionalProducer, topic: str, options: Options, say: Say
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._values = Values(options.size)
        self.latencies = Latencies()
        self.ledger = Ledger(self._values.make)
        self.pace = Pace(options, lambda: self.ledger.acked_count, say)

    async def caller(self) -> None:
        """Store, commit, begin again."""
        clock, ledger, key = time.perf_counter, self.ledger, queue_key(0, 0)
        while self.pace.goes_on():
            number = ledger.begin()
            began = clock()
            half = await self._producer.half(self._topic, self._values.make(number))
            receipt = await half.commit()
            self.latencies.add(clock() - began)
            ledger.acked(number, receipt.offset, key + receipt.queue)

"""Scenario ``send``: records acknowledged one by one, or batch by batch (ruling 35)."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle

from raftlog.base.limits import MIB, TOPIC_QUEUES_MAX
from raftlog.client.producer import Producer
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, compare, make_report, queue_key
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
    queues = options.queues or None
    async with target.topics(queues) as topics, target.client.producer() as producer:
        run = _Run(producer, topics, options, say)
        before = await target.usage()
        with run.pace:
            await asyncio.gather(*(run.caller() for _ in range(options.in_flight)))
        used = (await target.usage()).since(before)
        say("  reading back")
        found = await compare(target, topics, run.ledger)
    figures = Figures(
        records=run.acked,
        seconds=run.pace.seconds,
        verified=found.verified,
        record_batches=found.batches,
        quantiles=run.latencies.quantiles(),
        notes={"digest": found.digest, "batch": options.batch, "queues": options.queues},
    )
    return make_report("send", options, used, figures)


class _Run:
    """Callers that share a pace. The producer chooses the queue, or they take all in turn."""

    def __init__(
        self, producer: Producer, topics: Sequence[str], options: Options, say: Say
    ) -> None:
        self._records = max(options.batch, 1)
        values = Values(options.size)
        self.latencies = Latencies()
        self.pace = Pace(options, lambda: self.acked, say)
        self._producer = producer
        self._values = values
        self._blobs = Blobs(values, options.batch) if options.batch else None
        make = values.make if self._blobs is None else self._blobs.values
        self.ledger = Ledger(make, self._records)
        self._keys = {topic: queue_key(number, 0) for number, topic in enumerate(topics)}
        lanes: list[tuple[str, int | None]] = [(topics[0], None)]
        if options.queues:
            lanes = [
                (topics[number // TOPIC_QUEUES_MAX], number % TOPIC_QUEUES_MAX)
                for number in range(options.queues)
            ]
        self._turns = cycle(lanes)

    @property
    def acked(self) -> int:
        """Records with a receipt."""
        return self._records * self.ledger.acked_count

    async def caller(self) -> None:
        """Send, wait for the receipt, send again."""
        if self._blobs is None:
            await self._send_records()
        else:
            await self._send_batches(self._blobs)

    async def _send_records(self) -> None:
        clock = time.perf_counter
        send, make, add = self._producer.send, self._values.make, self.latencies.add
        pace, turns, ledger, keys = self.pace, self._turns, self.ledger, self._keys
        while pace.goes_on():
            topic, place = next(turns)
            number = ledger.begin()
            began = clock()
            receipt = await send(topic, make(number), queue=place)
            add(clock() - began)
            ledger.acked(number, receipt.offset, keys[topic] + receipt.queue)

    async def _send_batches(self, blobs: Blobs) -> None:
        clock = time.perf_counter
        ledger = self.ledger
        while self.pace.goes_on():
            topic, place = next(self._turns)
            number = ledger.begin()
            began = clock()
            receipt = await self._producer.send_batch(topic, blobs.blob(number), queue=place)
            self.latencies.add(clock() - began)
            ledger.acked(number, receipt.base_offset, self._keys[topic] + receipt.queue)

"""Scenario ``queue``: work in leases, message by message.

::

    drain    a full topic, by one consumer that handles ``in_flight`` messages at a time and does
             nothing with each: leases and acknowledgements a second
    steady   ``rate`` sends a second for ``duration_s``: from a send to its handler, each

Verified is that every message was handled, and the group has none left. A lease that ends while
it is measured would let one be handled twice: counted, and allowed (at least once).
"""

import asyncio
import time
from collections.abc import Callable

from raftlog.client.queue_message import QueueMessage
from raftlog.testing.bench.filling import fill
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Values, number_of
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, make_report
from raftlog.wire.batch import BATCH_HEADER_BYTES

COUNT = 200_000
PATIENCE_S = 60.0
"""After so long what was not handled is lost."""
GROUP = "bench"


async def run_queue(target: Target, options: Options, say: Say) -> Report:
    """Measure draining a full topic, then the way from a send to its handler."""
    count = options.count or COUNT
    async with target.topics() as (full,), target.topics() as (steady,):
        size = count * options.size + count // max(options.batch, 1) * BATCH_HEADER_BYTES
        ledger = await fill(target, full, options, size, say)
        sent = ledger.acked_count * ledger.records_each
        say(f"  draining {sent:,} messages, {options.in_flight} at a time")
        before = await target.usage()
        drain = _Handling(target, full, options.in_flight)
        drain_s = await drain.work(lambda: len(drain.handled) >= sent)
        say(f"  {options.rate:,} a second for {options.duration_s:g} s")
        paced = _Handling(target, steady, options.in_flight)
        await _send_steadily(target, steady, options, paced)
        used = (await target.usage()).since(before)
        left = sum([await drain.left(), await paced.left()])
    say(f"  {drain.twice + paced.twice:,} handled twice, {left:,} left")
    figures = Figures(
        records=sent,
        seconds=drain_s,
        verified=len(drain.handled) == sent and paced.is_complete and not left,
        record_batches=ledger.acked_count,
        quantiles=paced.latencies.quantiles(),
        notes={
            "steady_rate": options.rate,
            "steady_messages": len(paced.handled),
            "handled_twice": drain.twice + paced.twice,
        },
    )
    return make_report("queue", options, used, figures)


class _Handling:
    """A consumer of a topic, and what its handler has seen."""

    def __init__(self, target: Target, topic: str, in_flight: int) -> None:
        self._target = target
        self._group = f"{GROUP}-{topic}"
        self._topic = topic
        self._in_flight = in_flight
        self.handled: set[int] = set()
        self.twice = 0
        self.sent: dict[int, float] = {}
        """When each was sent, where that is measured."""
        self.latencies = Latencies()

    @property
    def is_complete(self) -> bool:
        """Whether everything that was sent was handled."""
        return self.handled == self.sent.keys()

    async def work(self, is_done: Callable[[], bool]) -> float:
        """Handle until it is done, or nothing comes any more; return the seconds."""
        consumer = self._target.client.queue_consumer(
            self._group, self._topic, in_flight=max(10_000, 4 * self._in_flight), limit=None
        )
        async with consumer:
            began = time.perf_counter()
            running = asyncio.create_task(consumer.run(self._handle, concurrency=self._in_flight))
            deadline, seen = began + PATIENCE_S, 0
            while not is_done() and time.perf_counter() < deadline:
                await asyncio.sleep(0.01)
                if len(self.handled) > seen:
                    seen, deadline = len(self.handled), time.perf_counter() + PATIENCE_S
            await self._until_acked()
            seconds = time.perf_counter() - began
            await consumer.aclose()
            await running
        return seconds

    async def left(self) -> int:
        """Return how many messages are not finished; forget the group."""
        found = await self._target.client.queue_groups.describe(self._group)
        await self._target.client.groups.delete(self._group)
        return found.in_flight + found.unread

    async def _until_acked(self) -> None:
        deadline = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < deadline:
            found = await self._target.client.queue_groups.describe(self._group)
            if not found.in_flight:
                return
            await asyncio.sleep(0.005)

    async def _handle(self, message: QueueMessage) -> None:
        now = time.perf_counter()
        number = number_of(message.value or b"")
        began = self.sent.get(number)
        if began is not None:
            self.latencies.add(now - began)
        # Of a batch each record has its batch's number: its offset tells it apart.
        name = number if began is not None else message.offset << 12 | message.queue
        self.twice += name in self.handled
        self.handled.add(name)


async def _send_steadily(
    target: Target, topic: str, options: Options, handling: _Handling
) -> None:
    """Send by the clock, whether anybody has handled anything or not."""
    values, under_way = Values(options.size), set[asyncio.Task[None]]()
    is_over = False

    async def send(number: int) -> None:
        handling.sent[number] = time.perf_counter()
        await target.client.send(topic, values.make(number))

    async def sender() -> None:
        nonlocal is_over
        began = time.perf_counter()
        sent = 0
        while (passed_s := time.perf_counter() - began) < options.duration_s:
            for number in range(sent, int(passed_s * options.rate)):
                task = asyncio.create_task(send(number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            sent = max(sent, int(passed_s * options.rate))
            await asyncio.sleep(0.001)
        await asyncio.gather(*under_way)
        is_over = True

    sending = asyncio.create_task(sender())
    await handling.work(lambda: is_over and handling.is_complete)
    await sending

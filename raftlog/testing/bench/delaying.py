"""Scenario ``delayed``: delivery while many more are pending, and a restart with those.

::

    pend      ``count`` records that are due in days, each by itself
    deliver   ``rate`` records a second for ``duration_s``, each due a few seconds after it was
              sent: how late does a reader have it, by the same machine's clock?
    restart   every node is killed and started: time to the first acknowledgement

Verified is that every short delay was delivered once and that all others are pending still.
"""

import asyncio
import time
from datetime import timedelta

from raftlog.base.errors import RaftlogError
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Values, number_of
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.restarting import restart_all
from raftlog.testing.bench.target import Figures, Target, make_report

PENDING_DELAY = timedelta(days=10)
PENDING_COUNT = 1_000_000
IN_FLIGHT = 512
AHEAD_S = 5.0
"""So long before it is due a record is sent."""
LATE_S = 60.0
"""What is not delivered so long after the last one was due is lost."""
READY_S = 120.0
REPORT_EVERY = 8


async def run_delayed(target: Target, options: Options, say: Say) -> Report:
    """Measure delivery with many pending, and a restart with them."""
    count = options.count or PENDING_COUNT
    async with (
        target.topics() as (pending,),
        target.topics() as (soon,),
        target.topics(1) as (other,),
    ):
        pend_s = await _pend(target, pending, count, options, say)
        before = await target.usage()
        run = _Deliveries(target, soon, options, say)
        await run.run()
        used = (await target.usage()).since(before)
        await target.settled()
        restart_s = await _restart(target, other, say)
        started = await target.usage()
        left = sum(
            queue.delayed for queue in (await target.client.topics.describe(pending)).queues
        )
    say(f"  {left:,} of {count:,} are pending still")
    figures = Figures(
        records=run.delivered,
        seconds=run.seconds,
        verified=run.is_complete and left == count,
        record_batches=run.delivered,
        quantiles=run.late.quantiles(),
        restart_s=round(restart_s, 3),
        notes={
            "pending": count,
            "pending_sent_per_s": round(count / pend_s),
            "worst_late_ms": round(run.worst_s * 1000, 1),
            "restart_cpu_s": max(use.cpu_s or 0.0 for use in started.nodes.values()),
        },
    )
    return make_report("delayed", options, used, figures)


async def _pend(target: Target, topic: str, count: int, options: Options, say: Say) -> float:
    """Send what stays pending; return how long it took."""
    values = Values(options.size)
    numbers = iter(range(count))
    began = time.perf_counter()
    say(f"  sending {count:,} x {options.size} B, due in {PENDING_DELAY.days} days")

    async def sender() -> None:
        for number in numbers:
            await target.client.send_later(topic, values.make(number), delay=PENDING_DELAY)
            if number and number % (1 + count // REPORT_EVERY) == 0:
                say(f"  {number:>12,} pending")

    await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


async def _restart(target: Target, topic: str, say: Say) -> float:
    """Restart all nodes; return the seconds to the first acknowledgement."""
    _, seconds = await restart_all(target, topic, say, READY_S)
    say(f"  first ack after {seconds:.2f} s")
    return seconds


class _Deliveries:
    """Short delays at a steady rate, and a reader that looks how late each is."""

    def __init__(self, target: Target, topic: str, options: Options, say: Say) -> None:
        self._target = target
        self._topic = topic
        self._values = Values(options.size)
        self._rate = options.rate
        self._duration_s = options.duration_s
        self._say = say
        self._due_ms: dict[int, int] = {}
        self._arrived_s: dict[int, float] = {}
        self._twice = 0
        self.late = Latencies()
        self.worst_s = 0.0
        self.seconds = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: RaftlogError | None = None

    @property
    def delivered(self) -> int:
        """Records that the reader had."""
        return len(self._arrived_s)

    @property
    def is_complete(self) -> bool:
        """Whether all were delivered, each once and none early."""
        return (
            self._failed is None
            and not self._twice
            and self._arrived_s.keys() == self._due_ms.keys()
            and all(
                self._arrived_s[number] * 1000 >= due_ms - 1
                for number, due_ms in self._due_ms.items()
            )
        )

    async def run(self) -> None:
        """Send, wait until all were due, compare."""
        self._say(f"  {self._rate:,} a second for {self._duration_s:g} s, due {AHEAD_S:g} s later")
        reading = asyncio.create_task(self._read())
        began = time.perf_counter()
        sent = 0
        while (passed_s := time.perf_counter() - began) < self._duration_s:
            for number in range(sent, int(passed_s * self._rate)):
                task = asyncio.create_task(self._send(number))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            sent = max(sent, int(passed_s * self._rate))
            await asyncio.sleep(0.002)
        await asyncio.gather(*self._under_way)
        deadline = time.perf_counter() + AHEAD_S + LATE_S
        while self.delivered < sent and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self.seconds = time.perf_counter() - began - AHEAD_S
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        for number, arrived_s in self._arrived_s.items():
            late_s = max(arrived_s - self._due_ms.get(number, 0) / 1000, 0.0)
            self.worst_s = max(self.worst_s, late_s)
            self.late.add(late_s)
        self._say(f"  {self.delivered:,} of {sent:,} delivered, {self._twice} twice")

    async def _send(self, number: int) -> None:
        try:
            receipt = await self._target.client.send_later(
                self._topic, self._values.make(number), delay=AHEAD_S
            )
        except RaftlogError as error:
            self._failed = error
        else:
            self._due_ms[number] = receipt.due_ms

    async def _read(self) -> None:
        async with self._target.client.reader(self._topic) as reader:
            async for stored in reader.batches():
                now_s = time.time()
                for value in stored.open().value_views():
                    number = number_of(value)
                    self._twice += number in self._arrived_s
                    self._arrived_s.setdefault(number, now_s)

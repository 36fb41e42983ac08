"""Sends that leave by the clock, whether earlier ones were answered or not.

So a stall is seen by everybody who would have sent during it.
"""

import asyncio
import time

from raftlog.base.errors import Unavailable
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.report import Options
from raftlog.testing.bench.target import Target

UNDER_WAY_MAX = 10_000
"""Sends that nobody has answered: then something else is wrong than a few slow ones."""


class SteadyLoad:
    """Sends at a steady rate; who measures says where the latencies go."""

    def __init__(self, target: Target, topic: str, options: Options) -> None:
        self._target = target
        self._topic = topic
        self._rate = options.rate
        values = Values(options.size)
        self._values = values
        self.ledger = Ledger(values.make)
        self.latencies = Latencies()
        self._under_way: set[asyncio.Task[None]] = set()
        self._over = False

    async def run(self) -> None:
        """Send until ``end``, then wait for the answers."""
        began = time.perf_counter()
        sent = 0
        while not self._over:
            due = int((time.perf_counter() - began) * self._rate)
            if len(self._under_way) > UNDER_WAY_MAX:
                raise Unavailable(
                    f"{UNDER_WAY_MAX} sends are not answered; ask for a lower --rate"
                )
            for _ in range(sent, due):
                task = asyncio.create_task(self._send())
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            sent = max(sent, due)
            await asyncio.sleep(0.001)
        await asyncio.gather(*self._under_way)

    def end(self) -> None:
        """Send nothing more."""
        self._over = True

    async def _send(self) -> None:
        number, latencies = self.ledger.begin(), self.latencies
        began = time.perf_counter()
        receipt = await self._target.client.send(self._topic, self._values.make(number))
        latencies.add(time.perf_counter() - began)
        self.ledger.acked(number, receipt.offset, receipt.queue)

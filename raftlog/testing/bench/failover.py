"""Scenario ``failover``: how long nobody is acknowledged when the leader is lost.

``kill``: SIGKILL, connections are reset. ``cut``: the leader stands still, its
connections stay open and silent, as when its machine is cut off. One caller
sends without a break; what is measured is the time from the loss to the first
acknowledgement of a send that began after it. Every loss is followed by
the node's return, and the run by reading everything back.
"""

import asyncio
import time
from random import Random

from raftlog.base.errors import OutcomeUnknown, Retriable
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, compare, make_report

QUIET_S = (0.3, 0.8)
"""Between the return of a node and the next loss, at random: no rhythm that suits a timer."""
PATIENCE_S = 30.0


class Stream:
    """One caller that sends without a break."""

    def __init__(self, client: Client, topic: str, ledger: Ledger, values: Values) -> None:
        self._client = client
        self._topic = topic
        self._ledger = ledger
        self._values = values
        self._over = False
        self._lost_at: float | None = None
        self._back: asyncio.Future[float] | None = None

    async def run(self) -> None:
        """Send until ``end``."""
        clock = time.perf_counter
        while not self._over:
            number = self._ledger.begin()
            began = clock()
            try:
                receipt = await self._client.send(self._topic, self._values.make(number))
            except OutcomeUnknown:
                self._ledger.unknown(number)
            except Retriable:
                self._ledger.refused(number)
            else:
                self._ledger.acked(number, receipt.offset, receipt.queue)
                self._acked(began, clock())

    def lost(self) -> "asyncio.Future[float]":
        """The leader is lost now; the result is the seconds until the next acknowledgement."""
        self._lost_at = time.perf_counter()
        self._back = asyncio.get_running_loop().create_future()
        return self._back

    def end(self) -> None:
        """Send nothing more."""
        self._over = True

    def _acked(self, began: float, ended: float) -> None:
        if self._lost_at is not None and began >= self._lost_at and self._back is not None:
            if not self._back.done():
                self._back.set_result(ended - self._lost_at)
            self._lost_at = None


async def run_failover(target: Target, options: Options, say: Say) -> Report:
    """Lose the leader ``count`` times."""
    async with target.topics() as (topic,):
        return await _measure(target, topic, options, say)


async def _measure(target: Target, topic: str, options: Options, say: Say) -> Report:
    values = Values(options.size)
    ledger = Ledger(values.make)
    stream = Stream(target.client, topic, ledger, values)
    silences = Latencies()
    random = Random(options.count)
    before = await target.usage()
    began = time.perf_counter()
    sending = asyncio.create_task(stream.run())
    try:
        for number in range(options.count):
            silence_s = await _lose_leader(target, options.mode, stream)
            silences.add(silence_s)
            say(f"  {number + 1:3} of {options.count}: {silence_s * 1000:7.1f} ms")
            await target.settled()
            await asyncio.sleep(random.uniform(*QUIET_S))
    finally:
        stream.end()
        await asyncio.wait_for(sending, PATIENCE_S)
    seconds = time.perf_counter() - began
    used = (await target.usage()).since(before)
    found = await compare(target, [topic], ledger)
    figures = Figures(
        records=ledger.acked_count,
        seconds=seconds,
        verified=found.verified,
        record_batches=found.batches,
        quantiles=silences.quantiles(),
        notes={
            "mode": options.mode,
            "losses": len(silences),
            "unknown_outcomes": ledger.unknown_count,
            "unknown_stored": found.unknown_found,
        },
    )
    return make_report("failover", options, used, figures)


async def _lose_leader(target: Target, mode: str, stream: Stream) -> float:
    """Take the leader away, wait for the next acknowledgement, bring the node back."""
    node = target.own().nodes[NodeId(await target.ready())]
    back = stream.lost()
    if mode == "cut":
        node.pause()
    else:
        node.kill()
    try:
        return await asyncio.wait_for(back, PATIENCE_S)
    finally:
        if mode == "cut":
            node.resume()
        else:
            node.wait()
            node.start()

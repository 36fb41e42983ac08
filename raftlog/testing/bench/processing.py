"""Scenario ``atomic``: read, process, write; each message in an atomic transaction of its own.

Of each message that is read a record is sent to each of two topics, and its offset is committed
with them: one commit of a majority, whose time is measured. A consumer has one transaction under
way at a time, so ``in_flight`` is how many consumers there are, each with a queue and a group of
its own.

Read back is that both topics have one record of each message, where the receipts say, and nothing
else; that the records of a transaction are of one index; and that no group has a message left.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice

from raftlog.client.atomic_dispatch import IDENTITIES_MAX
from raftlog.client.client import Client
from raftlog.client.receipts import Message, Receipt
from raftlog.testing.bench.latency import Latencies
from raftlog.testing.bench.ledger import Ledger, Values, number_of
from raftlog.testing.bench.pace import Pace, Say
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Figures, Target, Use, compare, make_report, queue_key

COUNT = 20_000
GROUP = "bench"
POLL = 100
PATIENCE_S = 60.0
"""After so long a message that has not come is lost."""


async def run_atomic(target: Target, options: Options, say: Say) -> Report:
    """Process ``count`` messages, ``in_flight`` at once, then read back."""
    count = options.count or COUNT
    readers = min(options.in_flight, count)
    async with AsyncExitStack() as stack:
        outputs = [(await stack.enter_async_context(target.topics()))[0] for _ in range(2)]
        inputs = [(await stack.enter_async_context(target.topics(1)))[0] for _ in range(readers)]
        run = _Run(outputs, count, options, say)
        say(f"  filling {readers} queues with {count:,} x {options.size} B")
        sizes = [
            await run.fill(target.client, topic, range(first, count, readers))
            for first, topic in enumerate(inputs)
        ]
        used = await _process(target, run, dict(zip(inputs, sizes, strict=True)))
        say("  reading back")
        found = [
            await compare(target, [topic], ledger)
            for topic, ledger in zip(outputs, run.ledgers, strict=True)
        ]
        left = sum([await _left(target, topic) for topic in inputs])
    is_whole = run.done == count and not run.torn and not left
    figures = Figures(
        records=run.done,
        seconds=run.pace.seconds,
        verified=is_whole and all(each.verified for each in found),
        record_batches=sum(each.batches for each in found),
        quantiles=run.latencies.quantiles(),
        notes={"torn": run.torn, "left": left, "digest": found[0].digest},
    )
    return make_report("atomic", options, used, figures)


async def _process(target: Target, run: "_Run", inputs: Mapping[str, int]) -> Use:
    """Join, measure until every queue is processed, leave; return what it used."""
    async with AsyncExitStack() as stack:
        readers: list[_Reader] = []
        for topics in _by_client(inputs):
            client = await stack.enter_async_context(Client(target.seeds))
            for topic in topics:
                reader = _Reader(run, client, topic, inputs[topic])
                await stack.enter_async_context(reader.consumer)
                readers.append(reader)
        before = await target.usage()
        with run.pace:
            await asyncio.gather(*(reader.work() for reader in readers))
        return (await target.usage()).since(before)


def _by_client(topics: Iterable[str]) -> Iterator[list[str]]:
    """Give as many at a time as one client can have transactions under way."""
    left = iter(topics)
    while some := list(islice(left, IDENTITIES_MAX)):
        yield some


async def _left(target: Target, topic: str) -> int:
    """Return how many messages the group of a topic has not finished; forget it."""
    group = await target.client.groups.describe(_group(topic))
    await target.client.groups.delete(group.name)
    return group.lag


def _group(topic: str) -> str:
    return f"{GROUP}-{topic}"


class _Run:
    """What the readers share: two topics that they write to, and what they were told."""

    def __init__(self, outputs: Sequence[str], count: int, options: Options, say: Say) -> None:
        self.outputs = outputs
        self._values = Values(options.size)
        self.done = 0
        self.torn = 0
        """Transactions whose records have not one index."""
        self.ledgers = [Ledger(self._values.make) for _ in outputs]
        for ledger in self.ledgers:
            for _ in range(count):
                ledger.begin()
        self.latencies = Latencies()
        self.pace = Pace(options, lambda: self.done, say)

    async def fill(self, client: Client, topic: str, numbers: Sequence[int]) -> int:
        """Send what is to be read from a topic; return how many."""
        values = map(self._values.make, numbers)
        return len(await asyncio.gather(*(client.send(topic, value) for value in values)))

    def told(self, number: int, receipts: Sequence[Receipt]) -> None:
        """A transaction was committed."""
        self.done += 1
        self.torn += len({receipt.index for receipt in receipts}) != 1
        for ledger, receipt in zip(self.ledgers, receipts, strict=True):
            ledger.acked(number, receipt.offset, queue_key(0, receipt.queue))


class _Reader:
    """A consumer of one queue, and what it makes of each message."""

    def __init__(self, run: _Run, client: Client, topic: str, count: int) -> None:
        self.consumer = client.consumer(_group(topic), topic, auto_commit=False)
        self._run = run
        self._client = client
        self._count = count

    async def work(self) -> None:
        """Process all that there is, one message after the other."""
        left = self._count
        while left > 0 and (messages := await self.consumer.poll(POLL, timeout=PATIENCE_S)):
            for message in messages:
                await self._process(message)
            left -= len(messages)

    async def _process(self, message: Message) -> None:
        began = time.perf_counter()
        async with self._client.atomic() as tx:
            tx.commit_offsets(self.consumer, message)
            for topic in self._run.outputs:
                tx.send(topic, message.value)
        self._run.latencies.add(time.perf_counter() - began)
        self._run.told(number_of(message.value or b""), tx.receipts)

"""Delayed messages: some are cancelled before they are due, and readers wait for the others."""

import asyncio
import time
from typing import Final

from chaos.check.client_history import Anomaly, Records
from chaos.check.later_kept import NAME, Fate, LaterMessages
from chaos.live.topics import REMINDERS, TOPICS
from chaos.live.workloads.reading import behind_a_gap
from chaos.live.workloads.workload import DRAIN_S, Logs
from chaos.live.world import World
from raftlog.base.errors import Closed, OffsetOutOfRange, OutcomeUnknown, RaftlogError
from raftlog.client.client import Client
from raftlog.client.later import CancelOutcome, DelayedReceipt

SENDERS: Final = 4
PAUSE_S: Final = (0.05, 0.3)
DELAYS_S: Final = (0.2, 8.0)
CANCELS: Final = 0.2
"""How many are cancelled, at some time before they are due."""
POLL_S: Final = 0.5
FATES: Final = {
    CancelOutcome.CANCELLED: Fate.CANCELLED,
    CancelOutcome.DELIVERED: Fate.DELIVERED,
}


class Delayed:
    """Senders of messages for later, and a reader for each queue."""

    name = "delayed"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[REMINDERS] = Records(REMINDERS)
        self._messages = LaterMessages(self._records)
        self._sent = asyncio.Event()
        self._waiting: set[asyncio.Task[None]] = set()
        self.cancelled = 0

    @property
    def done(self) -> int:
        """Messages that a reader has had."""
        return self._messages.seen_count

    async def run(self) -> None:
        """Send and read until the run stops."""
        async with self._world.client() as client:
            reading = [self._read(client, queue) for queue in range(TOPICS[REMINDERS])]
            await asyncio.gather(self._send_all(client), *reading)

    async def drain(self) -> None:
        """Wait until nothing is pending."""
        try:
            async with asyncio.timeout(DRAIN_S), self._world.client() as client:
                await self._sent.wait()
                while True:
                    if not await client.delayed.list(REMINDERS):
                        return
                    await asyncio.sleep(POLL_S)
        except (TimeoutError, RaftlogError) as error:
            self._world.saw(NAME, "messages are pending still, long after their time", repr(error))

    def check(self, logs: Logs) -> list[Anomaly]:
        """None early, none lost, none twice, none that was cancelled."""
        return self._messages.check(logs[REMINDERS])

    async def _send_all(self, client: Client) -> None:
        try:
            await asyncio.gather(*(self._send(client, lane) for lane in range(SENDERS)))
            await asyncio.gather(*self._waiting)
        finally:
            for task in self._waiting:
                task.cancel()
            self._sent.set()

    async def _send(self, client: Client, lane: int) -> None:
        world, records, random = self._world, self._records, self._world.random
        while not world.stopping.is_set():
            number = records.begin(lane, world.now())
            delay_s = random.uniform(*DELAYS_S)
            self._messages.due(number, int((time.time() + delay_s) * 1000))
            try:
                receipt = await client.send_later(
                    REMINDERS, records.value(number), delay=delay_s, key=b"%d" % number
                )
            except (OutcomeUnknown, Closed):
                records.unknown(number, world.now())
            except RaftlogError:
                records.failed(number, world.now())
            else:
                records.ok(number, world.now(), receipt.queue, -1, receipt.term)
                self._messages.due(number, receipt.due_ms)
                if random.random() < CANCELS:
                    cancelling = self._cancel(client, number, receipt, random.random() * delay_s)
                    task = asyncio.create_task(cancelling)
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)
            await world.rest(random.uniform(*PAUSE_S))

    async def _cancel(
        self, client: Client, number: int, receipt: DelayedReceipt, after_s: float
    ) -> None:
        await self._world.rest(after_s)
        try:
            outcome = await client.delayed.cancel(receipt)
        except RaftlogError:
            self._messages.cancelled(number, Fate.NOTHING)
            return
        if outcome is CancelOutcome.UNKNOWN:
            text = "a message with a receipt is told to be unknown, not an hour after its time"
            self._world.saw(NAME, text, f"record {number}, due at {receipt.due_ms}")
            return
        self.cancelled += outcome is CancelOutcome.CANCELLED
        self._messages.cancelled(number, FATES[outcome])

    async def _read(self, client: Client, queue: int) -> None:
        world, position = self._world, 0
        while not world.stopping.is_set():
            try:
                async with client.reader(REMINDERS, queue=queue, start=position) as reader:
                    while not world.stopping.is_set():
                        for message in await reader.poll(500, timeout=POLL_S):
                            now_ms = time.time_ns() // 1_000_000
                            value = bytes(message.value or b"")
                            self._messages.seen(queue, message.offset, value, now_ms)
                            position = message.offset + 1
            except OffsetOutOfRange as error:
                position = behind_a_gap(world, REMINDERS, queue, position, error)
                await world.rest(POLL_S)
            except RaftlogError:
                await world.rest(POLL_S)  # nobody could be asked: the next one tries

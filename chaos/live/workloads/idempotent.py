"""Idempotent producers: each record once, in order for each key; now and then one is dropped."""

import asyncio
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.kept_records import check_kept
from chaos.live.topics import ORDERS
from chaos.live.workloads.sending import noted
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.client.client import Client
from raftlog.client.producer import Producer

PRODUCERS: Final = 4
KEYS: Final = 4
BURST: Final = 8
"""Sends of one turn, each with a receipt of its own."""
PAUSE_S: Final = (0.01, 0.12)
LIFE_S: Final = (5.0, 15.0)
"""How long a producer lives before it is closed with records under way."""


class IdempotentProducers:
    """Several producers, each with keys of its own."""

    name = "idempotent"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[ORDERS] = Records(ORDERS)
        self._lanes = 0

    @property
    def done(self) -> int:
        """Receipts."""
        return self._records.count(Outcome.OK)

    async def run(self) -> None:
        """Send until the run stops."""
        async with self._world.client() as client:
            await asyncio.gather(*(self._live(client) for _ in range(PRODUCERS)))

    async def drain(self) -> None:
        """Nothing is left: every send has ended."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every promise of a producer."""
        return check_kept(self._records, logs[ORDERS])

    async def _live(self, client: Client) -> None:
        """One producer after another."""
        world = self._world
        while not world.stopping.is_set():
            producer = client.producer()
            lanes = range(self._lanes, self._lanes + KEYS)
            self._lanes += KEYS
            over = asyncio.Event()
            async with asyncio.TaskGroup() as sending:
                for lane in lanes:
                    sending.create_task(self._send(producer, lane, over))
                await world.rest(world.random.uniform(*LIFE_S))
                over.set()
                if not world.stopping.is_set():
                    await producer.aclose(flush=False)  # dies with records under way
            await producer.aclose()

    async def _send(self, producer: Producer, lane: int, over: asyncio.Event) -> None:
        world, records = self._world, self._records
        key = b"%d" % lane
        while not world.stopping.is_set() and not over.is_set():
            numbers = [records.begin(lane, world.now()) for _ in range(BURST)]
            sends = [producer.send(ORDERS, records.value(each), key=key) for each in numbers]
            await asyncio.gather(
                *(noted(world, records, *each) for each in zip(numbers, sends, strict=True))
            )
            await world.rest(world.random.uniform(*PAUSE_S))

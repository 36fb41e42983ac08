"""Business ids: several clients send each id at about the same time, each a record of its own."""

import asyncio
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.stored_once import check_stored_once
from chaos.live.topics import PAYMENTS
from chaos.live.workloads.sending import noted
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.client.client import Client

CLIENTS: Final = 2
LANES: Final = 2
PAUSE_S: Final = (0.05, 0.3)
LATER_S: Final = (0.0, 3.0)
"""How much later another client sends the same id."""


class BusinessIds:
    """Clients that don't know of each other, and send the same ids."""

    name = "ids"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[PAYMENTS] = Records(PAYMENTS)
        self._ids = 0
        self.known = 0
        """Receipts that say that it was stored before."""

    @property
    def done(self) -> int:
        """Receipts."""
        return self._records.count(Outcome.OK)

    async def run(self) -> None:
        """Send until the run stops."""
        async with self._world.client() as one, self._world.client() as other:
            await asyncio.gather(*(self._send_both((one, other)) for _ in range(LANES)))

    async def drain(self) -> None:
        """Nothing is left: every send has ended."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Each id once."""
        return check_stored_once(self._records, logs[PAYMENTS])

    async def _send_both(self, clients: tuple[Client, Client]) -> None:
        world, random = self._world, self._world.random
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not world.stopping.is_set():
                id_, self._ids = self._ids, self._ids + 1
                for client in random.sample(clients, len(clients)):
                    late_s = random.uniform(*LATER_S) if random.random() < 0.5 else 0.0
                    task = asyncio.create_task(self._send(client, id_, late_s))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await world.rest(random.uniform(*PAUSE_S))
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()

    async def _send(self, client: Client, id_: int, late_s: float) -> None:
        world, records = self._world, self._records
        await world.rest(late_s)
        number = records.begin(id_, world.now())
        sending = client.send(PAYMENTS, records.value(number), id=f"payment-{id_}")
        receipt = await noted(world, records, number, sending)
        self.known += receipt is not None and receipt.duplicate

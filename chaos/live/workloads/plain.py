"""Records without receipts: each is sent once and forgotten, so it is there once or not at all."""

from typing import Final

from chaos.check.client_history import Anomaly, Records
from chaos.check.kept_records import check_kept
from chaos.live.topics import NOTES
from chaos.live.workloads.workload import Logs
from chaos.live.world import World

PAUSE_S: Final = (0.02, 0.1)


class PlainProducer:
    """One producer that asks for no receipts."""

    name = "plain"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[NOTES] = Records(NOTES)
        self._found = 0

    @property
    def done(self) -> int:
        """Records that are there, as nobody hears of them before."""
        return self._found

    async def run(self) -> None:
        """Send until the run stops."""
        world, records = self._world, self._records
        async with world.client() as client, client.producer() as producer:
            while not world.stopping.is_set():
                number = records.begin(len(records), world.now())  # no order is promised
                producer.oneway(NOTES, records.value(number))
                await world.rest(world.random.uniform(*PAUSE_S))

    async def drain(self) -> None:
        """Nothing is left."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """None invented, none twice."""
        self._found = sum(map(len, logs[NOTES].values()))
        return check_kept(self._records, logs[NOTES])

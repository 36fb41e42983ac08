"""Large records: segments fill up, so trimmed logs lose their first files while the run lasts."""

from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.kept_records import check_kept
from chaos.live.topics import BULK, large
from chaos.live.workloads.sending import send_keys
from chaos.live.workloads.workload import Logs
from chaos.live.world import World

LANES: Final = 3
PAUSE_S: Final = (0.1, 0.5)


class Bulk:
    """One producer; every key's records come one after the other."""

    name = "bulk"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[BULK] = Records(BULK)

    @property
    def done(self) -> int:
        """Receipts."""
        return self._records.count(Outcome.OK)

    async def run(self) -> None:
        """Send until the run stops."""
        async with self._world.client() as client:
            await send_keys(self._world, client, self._records, LANES, PAUSE_S, dressed=large)

    async def drain(self) -> None:
        """Nothing is left: every send has ended."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Every promise of a producer."""
        return check_kept(self._records, logs[BULK])

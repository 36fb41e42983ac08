"""What a workload is: it begins, it ends with the run, and it says what it saw broken."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from chaos.check.client_history import Anomaly

DRAIN_S: Final = 90.0

Logs = Mapping[str, Mapping[int, Sequence[bytes]]]
"""By topic, by queue: the values from offset 0 on, as they are after the run."""


class Workload(Protocol):
    """One kind of clients."""

    name: str

    @property
    def done(self) -> int:
        """How much it got done; nothing is a failure of the run."""

    async def run(self) -> None:
        """Work until the run stops; what is under way then is finished."""

    async def drain(self) -> None:
        """The cluster is whole again, and nobody sends: take in what is left."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Hold what was seen against the end."""

"""What a workload is: it begins, it ends with the run, and it says what it saw broken."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from chaos.check.client_history import Anomaly
from raftlog.client.client import Client

ORDERS: Final = "orders"
NOTES: Final = "notes"
REMINDERS: Final = "reminders"
PAYMENTS: Final = "payments"
JOBS: Final = "jobs"
ERRANDS: Final = "errands"
CHORES: Final = "chores"
REPAIRS: Final = "repairs"
TRANSFERS: Final = "transfers"
ENTRIES: Final = "entries"
SUMS: Final = "sums"
TALLIES: Final = "tallies"
LEDGER: Final = "ledger"
TOPICS: Final = {
    ORDERS: 4,
    NOTES: 2,
    REMINDERS: 2,
    PAYMENTS: 2,
    JOBS: 2,
    ERRANDS: 1,
    CHORES: 1,
    REPAIRS: 1,
    TRANSFERS: 2,
    ENTRIES: 2,
    SUMS: 2,
    TALLIES: 2,
    LEDGER: 2,
}
"""Every topic of a run, and how many queues it has."""
ID_WINDOW_S: Final = 7 * 24 * 3600
"""How long ids are remembered: longer than any run."""
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


async def read_logs(client: Client) -> dict[str, dict[int, list[bytes]]]:
    """Read every queue from its beginning to its end.

    Raises:
        ValueError: An offset is missing, or comes twice.
        TimeoutError: It could not be read in time.
    """
    logs: dict[str, dict[int, list[bytes]]] = {}
    async with asyncio.timeout(DRAIN_S):
        for topic, queues in TOPICS.items():
            log = logs[topic] = {queue: [] for queue in range(queues)}
            async with client.reader(topic, follow=False) as reader:
                async for message in reader:
                    values = log[message.queue]
                    if message.offset != len(values):
                        raise ValueError(
                            f"{topic}/{message.queue}: after {len(values) - 1} comes offset "
                            f"{message.offset}"
                        )
                    values.append(bytes(message.value or b""))
    return logs

"""Readers: the records of a queue in order, each offset once, never another one there later."""

import asyncio
from typing import Final

from chaos.check.client_history import Anomaly
from chaos.check.seen_records import NAME, Seen
from chaos.live.topics import ORDERS, TOPICS
from chaos.live.workloads.reading import behind_a_gap
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.base.errors import OffsetOutOfRange, RaftlogError
from raftlog.client.client import Client

LIFE_S: Final = (3.0, 12.0)
"""How long one reader lives; the next one begins at the start, or where this one was."""
POLL_S: Final = 0.5


class Readers:
    """One reader for each queue, from followers, too."""

    name = "readers"

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = Seen("readers")

    @property
    def done(self) -> int:
        """Records that were read."""
        return self._seen.count

    async def run(self) -> None:
        """Read until the run stops."""
        async with self._world.client() as client:
            await asyncio.gather(*(self._read(client, queue) for queue in range(TOPICS[ORDERS])))

    async def drain(self) -> None:
        """Whoever reads everything at the end sees what is left."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """Nothing that was read is gone or another thing now."""
        return self._seen.check(self._world.records[ORDERS], logs[ORDERS], all_of_it=False)

    async def _read(self, client: Client, queue: int) -> None:
        world, position = self._world, 0
        while not world.stopping.is_set():
            until = world.now() + world.random.uniform(*LIFE_S)
            if world.random.random() < 0.1:
                position = 0
            staleness = 2.0 if world.random.random() < 0.3 else None
            try:
                async with client.reader(
                    ORDERS, queue=queue, start=position, staleness=staleness
                ) as reader:
                    while world.now() < until and not world.stopping.is_set():
                        for message in await reader.poll(500, timeout=POLL_S):
                            if message.offset != position:
                                text = (
                                    f"queue {queue}: after {position - 1} comes {message.offset}"
                                )
                                world.saw(NAME, text)
                            value = bytes(message.value or b"")
                            self._seen.take(world.records[ORDERS], queue, message.offset, value)
                            position = message.offset + 1
            except OffsetOutOfRange as error:
                position = behind_a_gap(world, ORDERS, queue, position, error)
                await world.rest(POLL_S)
            except RaftlogError:
                await world.rest(POLL_S)  # nobody could be asked: the next one tries

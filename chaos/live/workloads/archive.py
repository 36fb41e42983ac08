"""The archive: it reads every topic, so that they may forget, and the logs be trimmed.

All topics of a run keep their records until they are consumed, and the archive's group consumes
all of them: what it has committed goes once every other group has it, too. With ranges as small as
``chaos.live.node`` makes them, logs are trimmed every few seconds, and a node that comes back
with an empty disk is given a snapshot. What is held against the end is what the archive has.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from chaos.check.client_history import Anomaly
from chaos.check.violation import Violation
from chaos.check.whole_queues import NAME
from chaos.live.topics import ARCHIVE, TOPICS, kept
from chaos.live.workloads.atomic import LEASED, STREAM
from chaos.live.workloads.groups import GROUP as BILLING
from chaos.live.workloads.queue_policies import BlockingGroup, SkippingGroup, UnorderedGroup
from chaos.live.workloads.queues import QueueGroup
from chaos.live.workloads.workload import Logs
from chaos.live.world import World
from raftlog.base.errors import OffsetOutOfRange, RaftlogError
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.client.receipts import Message
from raftlog.client.routing import ask_status

POLL_S: Final = 0.5
COUNT: Final = 1000
LOOK_S: Final = 1.0
STREAMS: Final = (BILLING, STREAM)
QUEUES: Final = (
    LEASED,
    *(each.rules.group for each in (QueueGroup, UnorderedGroup, SkippingGroup, BlockingGroup)),
)
"""All other groups that read from the beginning."""
TRIMMED_S: Final = 120.0
"""A run of so many seconds has trimmed logs, or something holds them."""


class Archive:
    """One consumer of everything, and what the nodes have let go of meanwhile."""

    name = "archive"

    def __init__(self, world: World) -> None:
        self._world = world
        self._broken: set[tuple[str, int]] = set()
        """Queues of which something is missing."""
        self._counted: Counter[tuple[NodeId, str]] = Counter()
        self.trims = 0
        """By all nodes together, each time a log lost its beginning."""
        self.installs = 0
        """Snapshots that nodes were given by others."""

    @property
    def done(self) -> int:
        """Records that it has."""
        return self._world.archived.count

    async def run(self) -> None:
        """Read until the run stops."""
        async with self._world.client() as client, asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._read(client))

    async def drain(self) -> None:
        """Whoever reads everything at the end reads the rest."""

    def check(self, logs: Logs) -> list[Anomaly]:
        """The logs were trimmed."""
        del logs
        if self.trims or self._world.now() < TRIMMED_S:
            return []
        return [Anomaly(NAME, f"no log was trimmed in {self._world.now():.0f} s")]

    async def _read(self, client: Client) -> None:
        world = self._world
        await self._until_others_read(client)
        while not world.stopping.is_set():
            try:
                async with client.consumer(ARCHIVE, list(TOPICS)) as consumer:
                    while not world.stopping.is_set():
                        for message in await consumer.poll(COUNT, timeout=POLL_S):
                            self._take(message)
            except OffsetOutOfRange as error:
                world.saw(NAME, f"the archive was too slow, and nothing may go then: {error}")
            except RaftlogError:
                pass  # nobody could be asked, or its queues were taken away
            await world.rest(POLL_S)

    async def _until_others_read(self, client: Client) -> None:
        """Wait until every group has begun: what goes before that, it never sees."""
        missing = {*STREAMS, *QUEUES}
        while missing and not self._world.stopping.is_set():
            with suppress(RaftlogError):
                missing -= {each.name for each in await client.queue_groups.list()}
                for name in missing.intersection(STREAMS):
                    queues = (await client.groups.describe(name)).queues
                    if queues and all(each.committed is not None for each in queues):
                        missing.remove(name)
            await self._world.rest(POLL_S)

    def _take(self, message: Message) -> None:
        place = message.topic, message.queue
        if place in self._broken:
            return  # told once
        try:
            self._world.archived.take(*place, message.offset, kept(message))
        except Violation as violation:
            self._broken.add(place)
            self._world.saw(NAME, str(violation))

    async def _look(self) -> None:
        while not self._world.stopping.is_set():
            for address in self._world.cluster.addresses:
                with suppress(RaftlogError):
                    counters = (await ask_status(address.client)).counters
                    self.trims += self._more(address.node, "log_trims", counters)
                    self.installs += self._more(address.node, "snapshots_installed", counters)
            await self._world.rest(LOOK_S)

    def _more(self, node: NodeId, name: str, counters: Mapping[str, int]) -> int:
        """Return by how much a node's counter has grown; one that was started began again."""
        before, now = self._counted[node, name], counters.get(name, 0)
        self._counted[node, name] = now
        return now - before if now >= before else now

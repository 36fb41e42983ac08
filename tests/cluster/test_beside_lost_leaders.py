"""What works beside the senders while leaders are killed: relay, search, trace, seek, resend."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.errors import OutcomeUnknown
from raftlog.client.client import Client
from raftlog.client.queue_message import QueueMessage, Reject
from raftlog.client.tracing import GroupProgress
from raftlog.sql import Outbox, Relay, Sqlite
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, running
from tests.cluster.test_delayed import lose_leaders
from tests.examples.test_how_to import until_level

pytestmark = pytest.mark.asyncio

BILLS: Final = "bills"
AUDIT: Final = "audit"
"""A group that has handled every bill, but for those that it has rejected."""
COUNT: Final = 300
FIFTH: Final = 5
ROWS: Final = 400
VALUES: Final = [b"%d" % number for number in range(COUNT)]
REJECTED: Final = VALUES[::FIFTH]


async def audited(client: Client, count: int) -> Counter[bytes]:
    """Let the group handle so many messages; return which they were."""
    found: Counter[bytes] = Counter()
    all_handled = asyncio.Event()

    async def handle(message: QueueMessage) -> None:
        found[message.value or b""] += 1
        if found.total() == count:
            all_handled.set()
        if int(message.value or b"0") % FIFTH == 0:
            raise Reject("a fifth")

    async with client.queue_consumer(AUDIT, BILLS) as consumer:
        working = asyncio.create_task(consumer.run(handle, concurrency=20))
        async with asyncio.timeout(PATIENCE_S):
            await all_handled.wait()
        await consumer.aclose()
        await working
    return found


async def lettered(client: Client, count: int) -> None:
    """Wait until the group has so many dead letters."""
    async with asyncio.timeout(PATIENCE_S):
        while (await client.queue_groups.describe(AUDIT)).dead_letters != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def stored(client: Client, topic: str) -> list[bytes | None]:
    """Return the values of a topic of one queue."""
    async with client.reader(topic, follow=False) as reader:
        return [message.value async for message in reader]


def put_rows(outbox: Outbox[sqlite3.Connection], path: Path, first: int) -> None:
    """Write twenty messages to the outbox."""
    connection = sqlite3.connect(path)
    with connection:
        for number in range(first, first + 20):
            outbox.put(connection, TOPIC, b"%d" % number, key=b"k")
    connection.close()


class Beside:
    """What is done again and again, until no leader is killed any more."""

    def __init__(self, client: Client, losing: "asyncio.Task[None]") -> None:
        self._client = client
        self._losing = losing
        self.rounds: Counter[str] = Counter()

    async def relay(self, path: Path) -> None:
        """Forward what is written to an outbox meanwhile."""
        outbox = Outbox(Sqlite(str(path)))
        outbox.create()
        async with Relay(self._client, outbox, poll=0.01):
            for first in range(0, ROWS, 20):
                await asyncio.to_thread(put_rows, outbox, path, first)
                await asyncio.sleep(0.25)
            async with asyncio.timeout(PATIENCE_S):
                while (await asyncio.to_thread(outbox.counts)).waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def search(self) -> None:
        """Find by key, and trace what was found."""
        while not self._losing.done():
            found = [m async for m in self._client.messages.search(BILLS, key=b"7", limit=COUNT)]
            assert [message.value for message in found] == VALUES[7::10]
            trace = await self._client.messages.trace(BILLS, 0, found[0].offset)
            (group,) = trace.groups
            assert group.group == AUDIT
            assert group.progress in (GroupProgress.FINISHED, GroupProgress.UNREAD), group
            self.rounds["search"] += 1

    async def seek(self) -> None:
        """Go back to the beginning: done again where the answer was lost."""
        while not self._losing.done():
            with suppress(OutcomeUnknown):
                (sought,) = await self._client.queue_groups.seek(AUDIT, BILLS, to="earliest")
                assert (sought.after, sought.leased) == (0, 0)
                self.rounds["seek"] += 1
            await asyncio.sleep(0.1)

    async def resend(self) -> None:
        """Send dead letters again, until none is left."""
        while await self._client.dead_letters.list(AUDIT, pending=True):
            with suppress(OutcomeUnknown):
                resent = await self._client.dead_letters.resend(AUDIT, topic="again", limit=3)
                assert not resent.failed
                self.rounds["resend"] += 1
            await asyncio.sleep(0.25)


@pytest.mark.long
async def test_each_does_all_of_it_once_whoever_leads(tmp_path: Path) -> None:
    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        await until_level(target.own())
        await client.topics.create(BILLS, queues=1)
        await client.topics.create("again", queues=1, id_window=3600)
        for number, value in enumerate(VALUES):
            await client.send(BILLS, value, key=b"%d" % (number % 10))
        assert await audited(client, COUNT) == Counter(VALUES)
        await lettered(client, len(REJECTED))

        losing = asyncio.create_task(lose_leaders(target, 4))
        beside = Beside(client, losing)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(beside.relay(tmp_path / "shop.db"))
                group.create_task(beside.search())
                group.create_task(beside.seek())
                group.create_task(beside.resend())
            await losing
        finally:
            losing.cancel()
        again = await audited(client, COUNT)
        await lettered(client, 2 * len(REJECTED))

        relayed = await stored(client, TOPIC)
        resent = await stored(client, "again")

    assert again == Counter(VALUES)
    assert relayed == [b"%d" % number for number in range(ROWS)]
    assert Counter(resent) == Counter(REJECTED)
    assert min(beside.rounds[name] for name in ("search", "seek", "resend")) > 1, beside.rounds

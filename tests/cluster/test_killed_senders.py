"""Processes that send are killed, and leaders too: ids are stored once, what is refused never."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import pytest_asyncio

from raftlog.client.client import Client
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from tests.cluster.cluster_under_load import PATIENCE_S, ended, leader_of
from tests.cluster.sender import CLIENT, IDS, METERED, STYLES

pytestmark = pytest.mark.asyncio

COUNT: Final = 600
DEATHS: Final = (200, 400)
"""At whose receipts: it is stored, and nobody was told."""
NEVER: Final = -1
RATE: Final = 100
RUNS: Final = 2

Place = tuple[int, int]
"""Queue and offset."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes for all of this module: whoever kills one starts it again."""
    with LocalCluster(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes
        nodes.check_alive()


@pytest_asyncio.fixture
async def target(cluster: LocalCluster) -> AsyncIterator[Target]:
    """Give a client of it, once there is a leader."""
    async with Client(cluster.seeds, timeout=PATIENCE_S) as client:
        target = Target(client, cluster.seeds, cluster)
        await target.ready()
        yield target


class Stored(NamedTuple):
    """What a program was told of a record."""

    place: Place
    term: int
    is_duplicate: bool


class Told:
    """What programs have printed."""

    def __init__(self) -> None:
        self.stored: Final[dict[int, Stored]] = {}
        self.refused: Final[dict[int, str]] = {}
        """And why."""

    @property
    def quota_exceeded(self) -> list[int]:
        """What was refused for the quota."""
        return [number for number, why in self.refused.items() if why == "quota_exceeded"]

    def take(self, line: bytes) -> None:
        """Take a line of one; the last one may have been cut off."""
        if not line.endswith(b"\n"):
            return
        number, how, *facts = line.decode().split()
        assert int(number) not in self.stored.keys() | self.refused.keys(), "told of it twice"
        if how == "stored":
            queue, offset, term, is_duplicate = map(int, facts)
            self.stored[int(number)] = Stored((queue, offset), term, bool(is_duplicate))
        elif how == "refused":
            self.refused[int(number)] = facts[0]


class Sender:
    """A process of ``tests.cluster.sender``."""

    def __init__(self, told: Told, process: asyncio.subprocess.Process) -> None:
        self.told: Final = told
        self.process: Final = process
        self._reading: Final = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, target: Target, style: str, told: Told, numbers: range, dies_at: int = NEVER
    ) -> "Sender":
        """Start one."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cluster.sender", style, ",".join(target.seeds)),
            *(str(numbers.start), str(numbers.stop), str(dies_at)),
            cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(told, process)

    async def kill(self) -> None:
        """End it with SIGKILL, unless it has ended."""
        if self.process.returncode is None:
            self.process.kill()
        await self.end()

    async def end(self) -> int:
        """Wait until it has ended, and all that it printed is read; return its exit code."""
        async with asyncio.timeout(2 * PATIENCE_S):
            await self._reading
            return await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.told.take(line)


async def read(client: Client, topic: str) -> dict[Place, tuple[int, str | None]]:
    """Return number and id of each record, by its place."""
    async with client.reader(topic, follow=False) as reader:
        return {
            (each.queue, each.offset): (int(each.value or b""), each.id) async for each in reader
        }


async def send_ids(target: Target, tolds: list[Told]) -> None:
    """One process dies; then two send at once, of which one dies; all of them begin at 0."""
    numbers, senders = range(COUNT), []
    try:
        for told, dies_at in zip(tolds, (*DEATHS, NEVER), strict=True):
            senders.append(await Sender.start(target, IDS, told, numbers, dies_at))
            if dies_at == DEATHS[0]:
                assert await senders[0].end() == -signal.SIGKILL
        assert await senders[1].end() == -signal.SIGKILL
        assert await senders[2].end() == 0
    finally:
        for sender in senders:
            await sender.kill()


async def lose_leaders(target: Target, tolds: list[Told]) -> None:
    """Kill whoever leads, when processes were told of so many."""
    for told, count in ((tolds[0], 50), (tolds[-1], 150), (tolds[-1], 350)):
        async with asyncio.timeout(3 * PATIENCE_S):
            while len(told.stored) < count:  # noqa: ASYNC110  (processes)
                await asyncio.sleep(0.01)
        node = await leader_of(target)
        node.kill()
        await ended(node)
        node.start()


@pytest.mark.long
async def test_an_id_is_stored_once_whoever_is_killed(target: Target) -> None:
    """By three processes, each of which knows nothing of the others, and under four leaders."""
    client = target.client
    await client.topics.create(IDS, queues=3, id_window=600)
    tolds = [Told() for _ in range(len(DEATHS) + 1)]
    await asyncio.gather(send_ids(target, tolds), lose_leaders(target, tolds))
    log = await read(client, IDS)

    last = tolds[-1]
    assert not any(told.refused for told in tolds)
    assert last.stored.keys() == set(range(COUNT))
    assert sorted(log.values()) == sorted((number, f"order-{number}") for number in range(COUNT))
    for told in tolds:
        assert all(log[each.place][0] == number for number, each in told.stored.items())
    assert last.stored[DEATHS[0]].is_duplicate, "who died before had its receipt"
    assert len({stored.term for stored in last.stored.values()}) > 1, "no leader was killed amid"


@pytest.mark.long
async def test_a_refused_record_is_not_stored_whoever_is_killed(target: Target) -> None:
    """A process sends faster than its quota lets it, dies, and goes on; so do leaders."""
    client, told, began = target.client, Told(), time.monotonic()
    await client.topics.create(METERED, queues=2)
    await client.quotas.set(client=CLIENT, records_per_s=RATE)
    sender: Sender | None = None
    try:
        for run in range(RUNS):
            numbers = range(run * 1_000_000, (run + 1) * 1_000_000)
            sender = await Sender.start(target, METERED, told, numbers)
            known = len(told.quota_exceeded)
            await until_refused(client)
            node = await leader_of(target)
            node.kill()
            await ended(node)
            await until_refused(client)
            await until_told(told, known + 1)
            await sender.kill()
            node.start()
    finally:
        if sender is not None:
            await sender.kill()
    log = await read(client, METERED)
    took_s = time.monotonic() - began

    stored = Counter(number for number, _ in log.values())
    assert set(stored.values()) == {1}, stored.most_common(3)
    assert all(log[each.place][0] == number for number, each in told.stored.items())
    assert not stored.keys() & told.refused.keys()
    # Each leader begins with a full bucket, and lets one batch in when little is left.
    at_once = RATE + STYLES[METERED][1]
    assert RUNS * RATE < len(log) <= RATE * took_s + (RUNS + 1) * at_once


async def until_refused(client: Client) -> None:
    """Wait until the quota was the reason to refuse something, since this leader runs."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await client.quotas.list())[0].refused:  # noqa: ASYNC110  (processes)
            await asyncio.sleep(0.05)


async def until_told(told: Told, count: int) -> None:
    """Wait until programs were told so often that a quota was the reason."""
    async with asyncio.timeout(PATIENCE_S):
        while len(told.quota_exceeded) < count:  # noqa: ASYNC110  (processes)
            await asyncio.sleep(0.05)

"""Random lives of a spool: faults of the cluster, cuts of the disk, kills and power cuts.

Whatever was said to be durable is stored once, and each key's records are in order.
"""

import asyncio
from contextlib import suppress
from random import Random

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog import errors
from raftlog.spool import forwarder
from raftlog.spool.spool import Spool
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    fake_cluster,
    refused,
    request_late,
)
from tests.spool.test_spool import NOWHERE, Cut, spool_on

pytestmark = pytest.mark.asyncio
TOPICS = {"orders": 2, "other": 3}
METHODS = (Method.APPEND, Method.PRODUCER_FENCE, Method.PRODUCER_INIT)
FAULTS = (
    *(answer_lost, request_late),
    *(refused(errors.Unavailable("no")), refused(errors.NotLeader(None))),
)


class History:
    """One spool's life, from a seed."""

    def __init__(self, seed: int, cluster: FakeCluster) -> None:
        self.random = Random(seed)
        self.cluster = cluster
        self.disk = SimDisk()
        self.now_ms = 1_800_000_000_000
        self.tried: list[tuple[str, bytes | None, bytes]] = []
        self.durable: set[bytes] = set()

    async def live_once(self) -> None:
        """Open it, send, and end somehow."""
        random = self.random
        for method in METHODS:
            faults = [random.choice(FAULTS) for _ in range(random.randrange(3))]
            self.cluster.fault(method, *faults)
        self.now_ms += random.randrange(5_000)
        if random.random() < 0.6:
            Cut(self.disk, random.randrange(60))
        seeds = self.cluster.seeds if random.random() < 0.8 else NOWHERE
        room = random.choice([3_000, 100_000])
        with suppress(errors.StorageFailed):
            async with spool_on(
                self.disk, seeds, now_ms=lambda: self.now_ms, bytes_max=room
            ) as spool:
                await self.send(spool, random.randrange(12))
                with suppress(TimeoutError):
                    await spool.flush(timeout=random.random() * 0.05)
        self.disk.on_operation = None
        self.disk.crash(random, random.choice(list(CrashKind)))
        if random.random() < 0.7:
            self.cluster.heal()

    async def send(self, spool: Spool, count: int) -> None:
        """Send some records; a full spool takes fewer."""
        for _ in range(count):
            key = self.random.choice([b"a", b"b", None])
            value = b"%d" % len(self.tried)
            topic = self.random.choice(list(TOPICS))
            self.tried.append((topic, key, value))
            with suppress(errors.SpoolFull):
                await spool.send(topic, value, key=key)
                self.durable.add(value)

    def check(self) -> None:
        """Each once, nothing lost, in order by key."""
        for topic in TOPICS:
            queues = self.cluster.values(topic)
            stored = [value for queue in queues for value in queue]
            mine = {value for name, _, value in self.tried if name == topic}
            assert len(set(stored)) == len(stored), "stored twice"
            assert mine & self.durable <= set(stored) <= mine, "lost"
            for key in (b"a", b"b"):
                own = {value for name, k, value in self.tried if (name, k) == (topic, key)}
                for queue in queues:
                    kept = [value for value in queue if value in own]
                    assert kept == sorted(kept, key=int), "out of order"


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_each_record_is_stored_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the cluster and the disk are well, and everything that was durable gets there."""
    monkeypatch.setattr(forwarder, "PAUSE_S", 0.005)
    async with fake_cluster(1, **TOPICS) as cluster:
        history = History(seed, cluster)
        for _ in range(5):
            await history.live_once()
        cluster.heal()
        async with spool_on(history.disk, cluster.seeds, now_ms=lambda: history.now_ms) as spool:
            await spool.flush(timeout=20)
            assert spool.status.stuck == {}
        await asyncio.sleep(0)
        history.check()

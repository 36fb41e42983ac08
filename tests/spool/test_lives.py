"""Many random lives of a spool, of months: clocks that go back, disks that are full or fail.

As ``test_histories``, but without sockets and threads, and with a time of its own: hundreds of
lives in seconds. The cluster forgets its producers when it is time, and late requests come.
"""

import asyncio
import errno
from collections import Counter
from contextlib import suppress
from random import Random

import pytest

from chaos.crash import spool_cluster
from chaos.crash.spool_cluster import LATER, Cluster, Fault, run
from chaos.sim.disk import CrashKind, SimDisk
from raftlog import Client, Spool, errors
from raftlog.spool import forwarder

DAY_MS = 24 * 3600 * 1000
WRONG_MS = int(0.9 * DAY_MS)
"""So much a clock that was set may be wrong: twice that is less than the two days' reserve."""
KEYS = (b"a", b"c")
"""Of two queues."""
LIVES = range(0, 400, 40)
NOBODY = Client("127.0.0.1:1")
FULL = frozenset({"write", "create", "fallocate", "rename", "fsync"})


class Life:
    """One spool's life, from a seed."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random = Random(seed)
        self.patch = patch
        self.disk = SimDisk()
        self.cluster = Cluster()
        self.true_ms = 1_800_000_000_000
        self.wrong_ms = 0
        self.sent: list[bytes] = []
        self.durable: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.taken: set[bytes] = set()
        patch.setattr(forwarder, "randrange", Random(seed).randrange)

    def spool(self) -> Spool:
        """Return the one that is on the disk."""
        return Spool(
            *(NOBODY, "spool"),
            bytes_max=self.random.choice([4_000, 20_000]),
            files=self.disk.files(),
            now_ms=lambda: self.true_ms + self.wrong_ms,
            cluster=self.cluster,
        )

    def pass_time(self, ms: int) -> None:
        """Let what is late come, and let the cluster forget."""
        if ms > 60_000:
            self.cluster.bring_late()
            self.cluster.late.clear()
        self.true_ms += ms
        self.patch.setattr(spool_cluster, "LOG_TIME_MS", self.true_ms)
        while self.cluster._producers.do_next(self.true_ms, self.true_ms):
            pass

    async def live_once(self) -> None:
        """Open it, do something, and end somehow."""
        random = self.random
        self.pass_time(random.choice([5_000, 5_000, 3_600_000, DAY_MS, 3 * DAY_MS, 8 * DAY_MS]))
        unset = -self.true_ms + random.randrange(DAY_MS)
        back, ahead = -random.randrange(WRONG_MS), random.randrange(WRONG_MS)
        self.wrong_ms = random.choice([0, 0, 0, 0, 0, 0, unset, -400 * DAY_MS, back, ahead])
        self.cluster.is_away = random.random() < 0.25
        self._trouble_cluster()
        self.disk.on_operation = self._trouble()
        with suppress(errors.StorageFailed):
            async with self.spool() as spool:
                for _ in range(random.randrange(12)):
                    await self._act(spool)
        self.disk.on_operation = None
        self.disk.crash(random, random.choice(list(CrashKind)))

    def _trouble_cluster(self) -> None:
        self.cluster.full = frozenset(self.random.choice([(), (), (1,), (2,)]))
        self.cluster.faults = self.random.choices(list(Fault), k=self.random.randrange(4))

    def _trouble(self) -> "Trouble":
        random = self.random
        cut = random.randrange(80) if random.random() < 0.5 else 1 << 30
        first = random.randrange(30)
        last = first + random.randrange(30) if random.random() < 0.3 else 0
        return Trouble(cut, range(first, last))

    async def _act(self, spool: Spool) -> None:
        drawn = self.random.random()
        if drawn < 0.5:
            await self._send(spool)
        elif drawn < 0.6:
            self._trouble_cluster()
        elif drawn < 0.75:
            with suppress(TimeoutError, errors.RaftlogError):
                await spool.flush(timeout=self.random.choice([0.1, 1, 70]))
        elif drawn < 0.9 and (refused := self._refused(spool)):
            with suppress(_Stop, errors.StorageFailed, errors.BadRequest):
                topic = "orders" if "orders" in refused else self.random.choice(refused)
                async with spool.take_out(topic) as records:
                    if self.random.random() < 0.3:
                        raise _Stop
                    self.taken.update(each.record.value or b"" for each in records)
                self.cluster.full = frozenset()
                await self._send(spool)
        else:
            await asyncio.sleep(self.random.choice([0.05, 1, 40]))

    def _refused(self, spool: Spool) -> list[str]:
        """Return topics whose records wait for what may never be."""
        return [
            topic
            for topic, error in sorted(spool.status.stuck.items())
            if not isinstance(error, errors.OutcomeUnknown)
        ]

    async def _send(self, spool: Spool) -> None:
        values = []
        for _ in range(self.random.randint(1, 4)):
            values.append(b"%06d" % len(self.sent) + b"." * self.random.choice([0, 50, 300]))
            self.sent.append(values[-1])
        topics = self.random.choices(["orders", "orders", "other", "nowhere"], k=len(values))
        key = self.random.choice(KEYS)
        sending = [
            spool.send(topic, value, key=key) for topic, value in zip(topics, values, strict=True)
        ]
        ends = await asyncio.gather(*sending, return_exceptions=True)
        for value, end in zip(values, ends, strict=True):
            if isinstance(end, errors.SpoolFull):
                self.refused.add(value)
            elif not isinstance(end, BaseException):
                self.durable.add(value)
            elif not isinstance(end, errors.StorageFailed):
                raise end

    async def end(self) -> None:
        """All is well again; what nobody can say is settled by who has looked."""
        self.wrong_ms = 0
        self.cluster.is_away, self.cluster.faults, self.cluster.topics = False, [], LATER
        self.cluster.full = frozenset()
        self.pass_time(1_000)
        async with self.spool() as spool:
            for _ in range(20):
                try:
                    await spool.flush(timeout=300)
                except errors.OutcomeUnknown:
                    for topic, error in spool.status.stuck.items():
                        if isinstance(error, errors.OutcomeUnknown):
                            await self._settle(spool, topic)
                else:
                    break
            assert spool.status.records == 0, spool.status
        self.cluster.bring_late()

    async def _settle(self, spool: Spool, topic: str) -> None:
        """Look, and say so, of each batch that is in doubt."""
        stored = set(self.stored())
        for queue, records in (await spool.in_doubt(topic)).items():
            (end,) = {each.value in stored for each in records}
            await spool.settle_by_hand(topic, queue, stored=end)

    def stored(self) -> list[bytes]:
        """Return all values that the cluster has."""
        return [value or b"" for queue in self.cluster.stored.values() for _, value in queue]

    def check(self) -> None:
        """Each once, nothing lost, nothing that was refused, in order by key."""
        count = Counter(self.stored())
        assert [value for value, times in count.items() if times > 1] == [], "stored twice"
        assert self.durable - self.taken - count.keys() == set(), "lost"
        assert self.refused & count.keys() == set(), "what was refused came back"
        for queue in self.cluster.stored.values():
            for key in KEYS:
                own = [value for other, value in queue if other == key]
                assert own == sorted(own, key=lambda value: value or b""), "out of order"


class Trouble:
    """A disk that fails from one operation on, and is full for a while before."""

    def __init__(self, cut: int, full: range) -> None:
        self.cut = cut
        self.full = full
        self.count = 0

    def __call__(self, call: str, path: str) -> None:
        """Fail, if it is time."""
        self.count += 1
        if self.count > self.cut:
            raise OSError(errno.EIO, "broken", path)
        if self.count in self.full and call in FULL and not path.endswith("mark"):
            raise OSError(errno.ENOSPC, "no space left", path)


class _Stop(Exception):
    """The taker could not keep them."""


@pytest.mark.parametrize("first", LIVES)
def test_whatever_a_life_brings_each_record_is_stored_once(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks are set, and wrong by a day; or nobody has set them, or they have lost a year."""
    for seed in range(first, first + LIVES.step):
        life = Life(seed, monkeypatch)

        async def live(life: Life = life) -> None:
            for _ in range(life.random.randint(2, 7)):
                await life.live_once()
            await life.end()

        run(live())
        life.check()

"""A spool at work: records come, go to the cluster, wait while it is away, and are taken out.

All of it is the product's own: the spool, its sender, its files; the cluster is a model with
the broker's rules. Answers get lost, requests come late, the disk has no room for a while.
"""

import asyncio
import errno
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from random import Random
from typing import Final

from chaos.crash.recording import Moment, Recording
from chaos.crash.spool_cluster import Cluster, Fault, run
from chaos.crash.spool_contract import BEGUN_MS, DIRECTORY, Sent, SpoolPromise, spool_on
from chaos.sim.disk import SimDisk
from raftlog.base.errors import SpoolFull
from raftlog.spool.spool import Spool
from raftlog.storage.room import RESERVE

WEIGHTS: Final = {"send": 6, "settle": 4, "away": 1, "take out": 2, "reopen": 2, "no room": 1}
FIRST: Final = ("send", "settle", "take out", "no room", "reopen")
"""What no workload is without."""
TOPICS: Final = ("orders", "orders", "other", "nowhere")
KEYS: Final = (b"a", b"b", b"c")
SETTLED_S: Final = 3.0
"""Long enough for some attempts."""


class SpoolWorkload:
    """One spool's life, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random: Final = Random(seed)
        self.disk: Final = SimDisk()
        self.cluster: Final = Cluster()
        self.cluster.on_change = self._note_cluster
        self.recording: Final = Recording(self.disk, SpoolPromise(self.cluster.fork()))
        self.now_ms = BEGUN_MS
        self._sent = 0
        self._stack = AsyncExitStack()
        self._spool: Spool

    def run(self, steps: int) -> list[Moment]:
        """Do so many things; return every moment on the way."""
        run(self._live(steps))
        return self.recording.moments

    async def _live(self, steps: int) -> None:
        await self._open()
        kinds = [*FIRST, *self.random.choices(list(WEIGHTS), [*WEIGHTS.values()], k=steps)]
        for kind in kinds[:steps]:
            self.recording.what = kind
            self.now_ms += 10_000
            match kind:
                case "send":
                    await self._send(self.random.choices(TOPICS, k=self.random.randint(1, 4)))
                case "settle":
                    await self._settle()
                case "away":
                    self.cluster.is_away = True
                case "take out":
                    await self._take_out()
                case "reopen":
                    await self._stack.aclose()
                    await self._open()
                case "no room":
                    await self._fill()
                case _:
                    raise AssertionError(kind)
        self.recording.what = "close"
        await self._stack.aclose()

    async def _open(self) -> None:
        opening = spool_on(self.disk, self.cluster, self.now_ms)
        self._spool = await self._stack.enter_async_context(opening)

    async def _send(self, topics: list[str]) -> None:
        """Send some at once: they share a sync."""
        begun = [self._draw(topic) for topic in topics]
        self._promise(begun=tuple(begun))
        sending = [self._spool.send(each.topic, each.value, key=each.key) for each in begun]
        ends = await asyncio.gather(*sending, return_exceptions=True)
        done = []
        for each, end in zip(begun, ends, strict=True):
            if isinstance(end, BaseException) and not isinstance(end, SpoolFull):
                raise end
            if not isinstance(end, BaseException):
                done.append(each)
        promise = self.recording.promise
        self._promise(durable=(*promise.durable, *done), begun=())
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)  # the sender begins

    def _draw(self, topic: str) -> Sent:
        self._sent += 1
        padding = b"." * self.random.choice((0, 40, 200, 600))
        return Sent(topic, self.random.choice(KEYS), b"%06d" % self._sent + padding)

    async def _settle(self) -> None:
        """Let the cluster take what there is; some answers and requests go astray."""
        self.cluster.is_away = False
        self.cluster.faults = self.random.choices(list(Fault), k=self.random.randrange(3))
        await asyncio.sleep(SETTLED_S)

    async def _take_out(self) -> None:
        """Take out what stands still."""
        await self._send(["nowhere"])
        await self._settle()
        if "nowhere" not in self._spool.status.stuck:
            return
        async with self._spool.take_out("nowhere") as records:
            values = frozenset(each.record.value or b"" for each in records)
            self._promise(handed=values)
        promise = self.recording.promise
        self._promise(handed=frozenset(), taken=promise.taken | values)

    async def _fill(self) -> None:
        """Let other things fill the disk, all but the reserve."""

        def no_room(call: str, path: str) -> None:
            adds = call in ("write", "create") and path.endswith((".spool", "identity.new"))
            if adds and f"{DIRECTORY}/{RESERVE}" in self.disk.paths():
                raise OSError(errno.ENOSPC, "no space left", path)

        self.disk.on_operation = no_room
        with suppress(SpoolFull):
            await self._send(["orders"])
        await self._settle()
        self.disk.on_operation = None

    def _note_cluster(self) -> None:
        self._promise(cluster=self.cluster.fork())

    def _promise(self, **changes: object) -> None:
        self.recording.promise = replace(self.recording.promise, **changes)  # type: ignore[arg-type]

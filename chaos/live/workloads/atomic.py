"""Read-process-write in atomic transactions: a group of members, and one of leased messages.

Each transaction finishes some inputs and writes them to every queue of the group's own topic.
Its time is short at times, so that nobody knows what became of it; members die in the middle.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from chaos.check.client_history import Anomaly, Records
from chaos.check.counted_once import NAME, Counted
from chaos.check.kept_records import check_kept
from chaos.live.topics import ENTRIES, SUMS, TALLIES, TOPICS
from chaos.live.workloads.sending import send_keys
from chaos.live.workloads.workload import DRAIN_S, Logs
from chaos.live.world import World
from raftlog.base.errors import NotStored, OutcomeUnknown, RaftlogError
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.client import Client
from raftlog.client.handing_over import Sharing

STREAM: Final = "summing"
LEASED: Final = "tallying"
WORKERS: Final = 2
"""Of each of the two groups."""
SENDERS: Final = 4
PAUSE_S: Final = (0.05, 0.3)
WORK_S: Final = (0.0, 0.1)
AT_ONCE: Final = 8
SESSION_S: Final = 2.0
ASSIGNORS: Final = ("range", "sticky", "cooperative")
"""One for each run, by its seed."""
HAND_OVER_S: Final = 3.0
LEASE_S: Final = 3.0
TRIES: Final = 1000
TIMES_S: Final = (0.02, 0.3, 5.0, 20.0)
"""How long a commit is tried."""
LIFE_S: Final = (4.0, 12.0)
POLL_S: Final = 0.5


class AtomicLoops:
    """Senders, and workers that read, write and finish in one step."""

    name = "atomic"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[ENTRIES] = Records(ENTRIES)
        self._counted = {
            STREAM: Counted(STREAM, self._records, TOPICS[SUMS]),
            LEASED: Counted(LEASED, self._records, TOPICS[TALLIES]),
        }
        self._assignor = Random(f"atomic {world.seed}").choice(ASSIGNORS)
        self._sent = asyncio.Event()
        self._drained = asyncio.Event()
        self.deaths = 0
        self.resolved = 0
        """Unknown outcomes that a ticket has told."""

    @property
    def done(self) -> int:
        """Transactions that were confirmed, of the group that has fewer."""
        return min(each.done for each in self._counted.values())

    async def run(self) -> None:
        """Begin; workers go on after the run has stopped, until nothing is left."""
        world = self._world
        async with world.client() as client, asyncio.TaskGroup() as workers:
            for work in (self._stream, self._lease):
                for _ in range(WORKERS):
                    workers.create_task(self._worker(work))
            await send_keys(world, client, self._records, SENDERS, PAUSE_S)
            self._sent.set()

    async def drain(self) -> None:
        """Wait until both groups have come to the end of the inputs."""
        try:
            async with asyncio.timeout(DRAIN_S), self._world.client() as client:
                await self._sent.wait()
                while True:
                    if await self._is_at_end(client):
                        break
                    await asyncio.sleep(POLL_S)
        except (TimeoutError, RaftlogError) as error:
            self._world.saw(NAME, f"the inputs are not finished in {DRAIN_S:g} s", repr(error))
        self._drained.set()

    async def _is_at_end(self, client: Client) -> bool:
        info = await client.groups.describe(STREAM)
        leased = await client.queue_groups.describe(LEASED)
        return not (info.lag or leased.in_flight or leased.unread)

    def check(self, logs: Logs) -> list[Anomaly]:
        """The inputs are kept, and each is counted once by each group."""
        return [
            *check_kept(self._records, logs[ENTRIES]),
            *self._counted[STREAM].check(logs[ENTRIES], logs[SUMS]),
            *self._counted[LEASED].check(logs[ENTRIES], logs[TALLIES]),
        ]

    # -- workers

    async def _worker(self, work: Callable[[Client], Awaitable[None]]) -> None:
        """One process after another; each ends in the middle of whatever it does."""
        world = self._world
        while not self._drained.is_set():
            async with world.client() as client:
                task = asyncio.ensure_future(work(client))
                try:
                    await self._live(task)
                finally:
                    task.cancel()
                    # Not ``await task``: whoever ends the run must not be taken for its end.
                    await asyncio.wait([task])
                with suppress(asyncio.CancelledError, RaftlogError):
                    task.result()
            if not self._drained.is_set():
                await asyncio.sleep(0.1)

    async def _live(self, task: "asyncio.Future[None]") -> None:
        """Wait until a worker ends, or its life is over."""
        world = self._world
        until = world.now() + world.random.uniform(*LIFE_S)
        while not (task.done() or self._drained.is_set()):
            await asyncio.wait([task], timeout=POLL_S)
            if world.now() >= until and not world.stopping.is_set():
                self.deaths += 1
                return

    async def _stream(self, client: Client) -> None:
        sharing = Sharing(assignor=self._assignor, hand_over=HAND_OVER_S)
        async with client.consumer(
            STREAM, ENTRIES, auto_commit=False, session=SESSION_S, sharing=sharing
        ) as consumer:
            while True:
                messages = await consumer.poll(AT_ONCE, timeout=POLL_S)
                values = [bytes(each.value or b"") for each in messages]
                if messages:
                    await self._count(
                        *(client, STREAM, SUMS, values),
                        lambda tx, upto=messages: tx.commit_offsets(consumer, upto),  # type: ignore[misc]
                    )

    async def _lease(self, client: Client) -> None:
        async with client.queue_consumer(
            LEASED, ENTRIES, lease=LEASE_S, retry=[0.1], attempts=TRIES
        ) as consumer:
            while True:
                for message in await consumer.receive(AT_ONCE, wait=POLL_S):
                    with suppress(RaftlogError):
                        async with message.process():
                            values = [bytes(message.value or b"")]
                            await self._count(
                                *(client, LEASED, TALLIES, values),
                                lambda tx, one=message: tx.ack(one),  # type: ignore[misc]
                                raises=True,
                            )

    async def _count(
        self,
        client: Client,
        group: str,
        topic: str,
        values: Sequence[bytes],
        finish: Callable[[AtomicTransaction], None],
        *,
        raises: bool = False,
    ) -> None:
        """Finish inputs and write them, in one transaction; note what is told of it."""
        world, counted = self._world, self._counted[group]
        number = counted.begin(values)
        timeout_s = world.random.choice(TIMES_S)
        try:
            async with client.atomic(timeout=timeout_s) as tx:
                finish(tx)
                for queue, value in counted.outputs(number):
                    tx.send(topic, value, queue=queue)
                await asyncio.sleep(world.random.uniform(*WORK_S))
        except OutcomeUnknown as unknown:
            await self._resolve(client, counted, number, unknown)
            if raises:
                raise
        except RaftlogError:
            counted.failed(number)
            if raises:
                raise
        else:
            counted.ok(number, [(each.queue, each.offset) for each in tx.receipts])

    async def _resolve(
        self, client: Client, counted: Counted, number: int, unknown: OutcomeUnknown
    ) -> None:
        if self._world.random.random() < 0.5:
            return  # nobody asks; the client finds out by itself
        try:
            receipts = await client.resolve(unknown.ticket)
        except NotStored:
            counted.failed(number)
        except RaftlogError:
            return
        else:
            assert isinstance(receipts, tuple), receipts
            counted.ok(number, [(each.queue, each.offset) for each in receipts])
        self.resolved += 1

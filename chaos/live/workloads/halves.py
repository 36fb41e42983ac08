"""Half messages: committed, rolled back, or left to a checker; owner and checker die at times.

The next owner begins under the same name: it fences the one before, and a checker, of whichever
owner of the group lives, is asked what became of the messages that are open.
"""

import asyncio
from contextlib import suppress
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.halves_kept import NAME, Halves
from chaos.live.workloads.workload import DRAIN_S, TOPICS, TRANSFERS, Logs
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, TransactionDecided
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.client.halves import Half, TransactionalProducer

GROUP: Final = "transfers"
OWNERS: Final = 2
LANES: Final = 3
"""Half messages that an owner has under way at once."""
PAUSE_S: Final = (0.05, 0.4)
WORK_S: Final = (0.0, 0.3)
"""The local work, between the half message and its end."""
LOOK_S: Final = (0.0, 0.5)
"""How long a checker looks into its records: time in which to die."""
COMMITS: Final = 0.6
LEFT: Final = 0.1
UNSURE: Final = 0.2
"""How often a checker does not know."""
LIFE_S: Final = (4.0, 12.0)
DYING_S: Final = 5.0
"""So long the end of a life waits for a check to die in."""
POLL_S: Final = 0.5


class HalfMessages:
    """Owners of half messages with their checkers, and a reader."""

    name = "halves"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[TRANSFERS] = Records(TRANSFERS)
        self._halves = Halves(self._records)
        self._drained = asyncio.Event()
        self._sent = asyncio.Event()
        self._at_work = OWNERS
        self.checks = 0
        """Answers of checkers that decide."""
        self.deaths = 0
        self.deaths_in_a_check = 0

    @property
    def done(self) -> int:
        """Commits that were confirmed."""
        return self._records.count(Outcome.OK)

    async def run(self) -> None:
        """Begin; checkers go on after the run has stopped, until nothing is undecided."""
        async with self._world.client() as client:
            reading = [self._read(client, queue) for queue in range(TOPICS[TRANSFERS])]
            await asyncio.gather(*reading, *(self._owner(number) for number in range(OWNERS)))

    async def drain(self) -> None:
        """Wait until everything is decided."""
        try:
            async with asyncio.timeout(DRAIN_S), self._world.client() as client:
                await self._sent.wait()
                while True:
                    if not await client.transactions.list():
                        break
                    await asyncio.sleep(POLL_S)
        except (TimeoutError, RaftlogError) as error:
            text = f"not everything is decided after {DRAIN_S:g} s"
            self._world.saw(NAME, text, repr(error))
        self._drained.set()

    def check(self, logs: Logs) -> list[Anomaly]:
        """None early, none twice, none lost, none that was rolled back."""
        return self._halves.check(logs[TRANSFERS])

    async def _owner(self, number: int) -> None:
        """One process after another, under one name."""
        world = self._world
        while not world.stopping.is_set():
            await self._live(f"transfers-{number}", is_last=False)
        self._at_work -= 1
        if not self._at_work:
            self._sent.set()
        while not self._drained.is_set():
            await self._live(f"transfers-{number}", is_last=True)

    async def _live(self, name: str, *, is_last: bool) -> None:
        world, work = self._world, list[asyncio.Task[None]]()
        async with world.client() as client:
            checker = _Checker(self)
            producer = client.transactional_producer(name, group=GROUP, checker=checker.check)
            try:
                await producer.__aenter__()
                if is_last:
                    await self._drained.wait()
                    return
                work = [asyncio.create_task(self._send(producer, lane)) for lane in range(LANES)]
                await world.rest(world.random.uniform(*LIFE_S))
                if not world.stopping.is_set():
                    await self._die(producer, checker, work)
                await asyncio.gather(*work)
            except RaftlogError:
                await asyncio.sleep(POLL_S)  # nobody could be asked: the next one tries
            finally:
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)
                await producer.aclose()

    async def _die(
        self,
        producer: TransactionalProducer,
        checker: "_Checker",
        work: list["asyncio.Task[None]"],
    ) -> None:
        """End in the middle of everything, a check best of all: nothing more is said of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DYING_S):
                await checker.is_asked.wait()
        self.deaths += 1
        self.deaths_in_a_check += checker.asked > 0
        for task in (producer._check_task, *work):
            if task is not None:
                task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        work.clear()

    async def _send(self, producer: TransactionalProducer, lane: int) -> None:
        world, records = self._world, self._records
        while not world.stopping.is_set():
            number = records.begin(lane, world.now())
            try:
                half = await producer.half(TRANSFERS, records.value(number), key=b"%d" % number)
            except RaftlogError:
                records.failed(number, world.now())
                await world.rest(POLL_S)
                continue
            await asyncio.sleep(world.random.uniform(*WORK_S))
            wanted = world.random.random() < COMMITS
            is_commit = self._halves.decide(number, commit=wanted)
            if world.random.random() < LEFT:
                half.leave()
            else:
                await self._end(half, number, is_commit=is_commit)
            await world.rest(world.random.uniform(*PAUSE_S))

    async def _end(self, half: Half, number: int, *, is_commit: bool) -> None:
        world, records = self._world, self._records
        try:
            if is_commit:
                receipt = await half.commit()
                records.ok(number, world.now(), receipt.queue, receipt.offset, receipt.term)
            else:
                await half.rollback()
        except TransactionDecided as error:
            self._halves.told_otherwise(number, str(error))
        except RaftlogError:
            half.leave()  # no answer, or another one has the name: a checker is asked

    async def _read(self, client: Client, queue: int) -> None:
        world, position = self._world, 0
        while not world.stopping.is_set():
            try:
                async with client.reader(TRANSFERS, queue=queue, start=position) as reader:
                    while not world.stopping.is_set():
                        for message in await reader.poll(500, timeout=POLL_S):
                            value = bytes(message.value or b"")
                            self._halves.seen(queue, message.offset, value)
                            position = message.offset + 1
            except RaftlogError:
                await world.rest(POLL_S)  # nobody could be asked: the next one tries


class _Checker:
    """The checker of one life."""

    def __init__(self, messages: HalfMessages) -> None:
        self._messages = messages
        self._world = messages._world
        self.asked = 0
        """Questions that it has now."""
        self.is_asked = asyncio.Event()

    async def check(self, message: UndecidedMessage) -> Verdict:
        """Look it up; whatever nobody has written is rolled back, and that is written first."""
        messages, world = self._messages, self._world
        number = messages._halves.asked(bytes(message.value or b""))
        self.asked += 1
        self.is_asked.set()
        try:
            await asyncio.sleep(world.random.uniform(*LOOK_S))
        finally:
            self.asked -= 1
            if not self.asked:
                self.is_asked.clear()
        if number is None:
            return Verdict.UNKNOWN
        if world.random.random() < UNSURE and not world.stopping.is_set():
            return Verdict.UNKNOWN
        messages.checks += 1
        is_commit = messages._halves.decide(number, commit=False)
        return Verdict.COMMIT if is_commit else Verdict.ROLLBACK

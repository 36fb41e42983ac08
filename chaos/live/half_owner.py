"""``python -m chaos.live.half_owner DIRECTORY PLAN``: an owner of half messages, and its checker.

A process of its own, since the run kills it in the middle of whatever it does. What it does it
tells on its standard output, and it is answered on its standard input (``half_facts``); it ends
with that, so it never outlives the run. DIRECTORY is the run's, and says whose process this is.
"""

import asyncio
import os
import sys
from collections import deque
from contextlib import suppress
from random import Random
from typing import Final

import msgspec

from chaos.check.client_history import value_of
from chaos.live.half_facts import (
    NOBODYS,
    STOP,
    Answered,
    Asked,
    Begun,
    Committed,
    Decided,
    Fact,
    Failed,
    HalfPlan,
    Otherwise,
    Sent,
)
from raftlog.base.errors import Fenced, RaftlogError, TransactionDecided
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.client.halves import Half, TransactionalProducer

LANES: Final = 3
"""Half messages under way at once."""
PAUSE_S: Final = (0.05, 0.4)
WORK_S: Final = (0.0, 0.3)
"""The local work, between the half message and its end."""
LOOK_S: Final = (0.0, 0.5)
"""How long the checker looks into the records: time in which to die."""
COMMITS: Final = 0.6
LEFT: Final = 0.1
UNSURE: Final = 0.2
"""How often the checker does not know."""
RETRY_S: Final = 0.5


class Run:
    """The run, at the other end of two pipes."""

    def __init__(self) -> None:
        self.stopping: Final = asyncio.Event()
        """Nothing new is to be sent."""
        self._asked: Final[deque[asyncio.Future[int]]] = deque()

    def tell(self, fact: Fact) -> "asyncio.Future[int]":
        """Tell a fact; it is told when this returns. The future has the answer."""
        answer = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        line = msgspec.json.encode(fact) + b"\n"
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
        return answer

    async def listen(self) -> None:
        """Take in answers until the run ends."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async for line in reader:
            answer = msgspec.json.decode(line, type=int | str)
            if isinstance(answer, int):
                asked = self._asked.popleft()
                if not asked.done():  # else whoever asked has given up
                    asked.set_result(answer)
            else:
                assert answer == STOP, answer
                self.stopping.set()


class HalfOwner:
    """Sends half messages and decides them, and answers for those that nobody has decided."""

    def __init__(self, plan: HalfPlan, run: Run) -> None:
        self._plan = plan
        self._run = run
        self._random = Random(plan.seed)

    async def work(self) -> None:
        """Send until the run stops; answer checks until this is cancelled."""
        stopping = self._run.stopping
        async with Client(self._plan.seeds, timeout=self._plan.timeout_s) as client:
            while not stopping.is_set():
                await self._live(client, sends=True)
            await self._run.tell(Sent())
            while True:
                await self._live(client, sends=False)

    async def _live(self, client: Client, *, sends: bool) -> None:
        """Begin under the name, and work until somebody else has it, or there is nothing to do.

        Who does not send answers checks until this is cancelled. Who sends ends soon if the run
        has stopped while it began: nobody knows yet that it has sent everything.
        """
        plan = self._plan
        producer = client.transactional_producer(plan.owner, group=plan.group, checker=self.check)
        try:
            async with producer, asyncio.TaskGroup() as lanes:
                if not sends:
                    await asyncio.Event().wait()
                for lane in range(LANES):
                    lanes.create_task(self._send(producer, lane))
        except RaftlogError:
            await asyncio.sleep(RETRY_S)  # nobody could be asked: it is tried again

    async def _send(self, producer: TransactionalProducer, lane: int) -> None:
        run, topic = self._run, self._plan.topic
        while not run.stopping.is_set():
            number = await run.tell(Begun(lane))
            try:
                value = value_of(topic, lane, number)
                half = await producer.half(topic, value, key=b"%d" % number)
            except RaftlogError as error:
                await run.tell(Failed(number))
                if isinstance(error, Fenced):
                    return  # by what the process before had still under way
                await self._rest((RETRY_S, RETRY_S))
                continue
            await asyncio.sleep(self._random.uniform(*WORK_S))
            wanted = self._random.random() < COMMITS
            is_commit = await run.tell(Decided(number, wanted))
            if self._random.random() < LEFT:
                half.leave()
            else:
                await self._end(half, number, is_commit=bool(is_commit))
            await self._rest(PAUSE_S)

    async def _end(self, half: Half, number: int, *, is_commit: bool) -> None:
        run = self._run
        try:
            if is_commit:
                receipt = await half.commit()
                told = Committed(number, receipt.queue, receipt.offset, receipt.term)
                await run.tell(told)
            else:
                await half.rollback()
        except TransactionDecided as error:
            await run.tell(Otherwise(number, str(error)))
        except RaftlogError:
            half.leave()  # no answer, or another one has the name: a checker is asked

    async def _rest(self, length_s: tuple[float, float]) -> None:
        """Wait, but not longer than the run sends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._random.uniform(*length_s)):
                await self._run.stopping.wait()

    async def check(self, message: UndecidedMessage) -> Verdict:
        """Look it up; whatever nobody has written is rolled back, and that is written first."""
        run = self._run
        number = await run.tell(Asked(bytes(message.value or b"")))
        await asyncio.sleep(self._random.uniform(*LOOK_S))
        is_unsure = self._random.random() < UNSURE and not run.stopping.is_set()
        if number == NOBODYS or is_unsure:
            await run.tell(Answered(knows=False))
            return Verdict.UNKNOWN
        is_commit = await run.tell(Decided(number, commit=False))
        await run.tell(Answered(knows=True))
        return Verdict.COMMIT if is_commit else Verdict.ROLLBACK


async def _main(plan: HalfPlan) -> None:
    run = Run()
    working = asyncio.create_task(HalfOwner(plan, run).work())
    listening = asyncio.create_task(run.listen())
    await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()  # it never ends but by an error
    listening.result()
    os._exit(0)  # the run has ended, or was killed: whatever is under way is nobody's any more


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.argv[2], type=HalfPlan)))

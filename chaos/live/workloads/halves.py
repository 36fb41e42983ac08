"""Half messages: committed, rolled back, or left to a checker; owner and checker die at times.

Owners are processes (``half_owner``), each with a checker; one after another is killed, in the
middle of a check best of all. The next one begins under the same name: it fences the one before,
and a checker, of whichever owner of the group lives, is asked what became of the messages that
are open. The table of what is to become of them is here: it is what their database would be.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, assert_never

import msgspec

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.faults_happened import NAME as HAPPENED
from chaos.check.halves_kept import NAME, Halves
from chaos.live import half_owner
from chaos.live.client_process import ClientProcess
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
from chaos.live.topics import TOPICS, TRANSFERS
from chaos.live.workloads.reading import behind_a_gap
from chaos.live.workloads.workload import DRAIN_S, Logs
from chaos.live.world import CALL_S, World
from raftlog.base.errors import OffsetOutOfRange, RaftlogError
from raftlog.client.client import Client
from raftlog.client.transactions import OpenTransaction

GROUP: Final = "transfers"
PROCESS: Final = half_owner.__name__
OWNERS: Final = 2
REST_S: Final = (10.0, 14.0)
"""Between two deaths: to start a process costs as much as a second of its work."""
DYING_S: Final = 5.0
"""So long the end of a life waits for a check to die in."""
DEATHS: Final = 8
"""Of so many, at least one must be in a check."""
POLL_S: Final = 0.5
OPEN_TOLD_MAX: Final = 5


class HalfMessages:
    """Owners of half messages with their checkers, and a reader."""

    name = "halves"

    def __init__(self, world: World) -> None:
        self._world = world
        self._records = world.records[TRANSFERS] = Records(TRANSFERS)
        self._halves = Halves(self._records)
        self._drained = asyncio.Event()
        self._owners: list[_Owner] = []
        """By their place: who lives now."""
        self.checks = 0
        """Answers of checkers that decide."""
        self.lives = 0
        """Processes that were started."""
        self.deaths = 0
        self.deaths_in_a_check = 0

    @property
    def done(self) -> int:
        """Commits that were confirmed."""
        return self._records.count(Outcome.OK)

    async def run(self) -> None:
        """Begin; checkers go on after the run has stopped, until nothing is undecided."""
        self._owners[:] = [self._next(place) for place in range(OWNERS)]
        async with self._world.client() as client, asyncio.TaskGroup() as group:
            for queue in range(TOPICS[TRANSFERS]):
                group.create_task(self._read(client, queue))
            for place in range(OWNERS):
                group.create_task(self._own(place))
            group.create_task(self._kill())

    async def drain(self) -> None:
        """Wait until everything is decided; what hinders that is told."""
        hinders = "no node has told what is open"
        try:
            async with asyncio.timeout(DRAIN_S), self._world.client() as client:
                while hinders:
                    hinders = self._still_sending() or _still_open(
                        await client.transactions.list()
                    )
                    await asyncio.sleep(POLL_S)
        except (TimeoutError, RaftlogError) as error:
            text = f"not everything is decided after {DRAIN_S:g} s"
            self._world.saw(NAME, text, f"{error!r}; {hinders}")
        self._drained.set()

    def _still_sending(self) -> str:
        """Say which owners have not told that they have sent everything; "": none."""
        sending = [each for each in self._owners if not each.is_idle]
        return ", ".join(f"{each.name} has not sent everything" for each in sending)

    def check(self, logs: Logs) -> list[Anomaly]:
        """None early, none twice, none lost, none that was rolled back."""
        found = self._halves.check(logs[TRANSFERS])
        if self.deaths >= DEATHS and not self.deaths_in_a_check:
            found.append(Anomaly(HAPPENED, f"none of {self.deaths} owners died in a check"))
        return found

    # -- processes

    def _next(self, place: int) -> "_Owner":
        """Return who is to work under a name now."""
        world, name = self._world, f"transfers-{place}"
        self.lives += 1
        plan = HalfPlan(
            *(name, GROUP, TRANSFERS, f"{name} {self.lives} {world.seed}"),
            *(tuple(world.cluster.seeds), CALL_S),
        )
        return _Owner(self, name, plan)

    async def _own(self, place: int) -> None:
        """One process after another, under one name."""
        while True:
            owner = self._owners[place]
            await owner.live(self._world.stopping, self._drained)
            if self._drained.is_set():
                return
            self._owners[place] = self._next(place)

    async def _kill(self) -> None:
        """Kill one after another, each in the middle of everything: nothing more is said of it."""
        world, turn = self._world, 0
        while True:
            await world.rest(world.random.uniform(*REST_S))
            owner = self._owners[turn % OWNERS]
            turn += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(DYING_S):
                    await owner.is_asked.wait()
            if world.stopping.is_set():
                return
            self.deaths += 1
            self.deaths_in_a_check += owner.asked > 0
            owner.process.kill()

    def take(self, owner: "_Owner", fact: Fact) -> int:
        """Take in what an owner tells; return the answer."""
        world, records, halves = self._world, self._records, self._halves
        match fact:
            case Begun(lane):
                return records.begin(lane, world.now())
            case Failed(number):
                records.failed(number, world.now())
            case Committed(number, queue, offset, term):
                records.ok(number, world.now(), queue, offset, term)
            case Decided(number, commit):
                return int(halves.decide(number, commit=commit))
            case Otherwise(number, text):
                halves.told_otherwise(number, text)
            case Asked(value):
                owner.begins_a_check()
                number_of = halves.asked(value)
                return NOBODYS if number_of is None else number_of
            case Answered(knows):
                owner.ends_a_check()
                self.checks += knows
            case Sent():
                owner.is_idle = True
            case _:
                assert_never(fact)
        return 0

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
            except OffsetOutOfRange as error:
                position = behind_a_gap(world, TRANSFERS, queue, position, error)
                await world.rest(POLL_S)
            except RaftlogError:
                await world.rest(POLL_S)  # nobody could be asked: the next one tries


def _still_open(found: Sequence[OpenTransaction]) -> str:
    """Say what is open, and how often a checker did not know; "": nothing."""
    return ", ".join(
        f"{each.transaction} of {each.owner}: {each.checks} checks, the next one at "
        f"{each.next_check_ms}"
        for each in found[:OPEN_TOLD_MAX]
    )


class _Owner:
    """One life of an owner, with its checker."""

    def __init__(self, messages: HalfMessages, name: str, plan: HalfPlan) -> None:
        self.name: Final = name
        self._messages = messages
        directory = messages._world.cluster.directory
        text = msgspec.json.encode(plan)
        self.process = ClientProcess(PROCESS, directory, name, text)
        self.is_idle = False
        """Whether it sends nothing any more."""
        self.asked = 0
        """Questions that its checker has now."""
        self.is_asked = asyncio.Event()

    async def live(self, stopping: asyncio.Event, drained: asyncio.Event) -> None:
        """Start it, and take in what it tells until it ends.

        Raises:
            AssertionError: It has ended by itself.
        """
        process = self.process
        async with process:
            saying = asyncio.create_task(self._say(stopping, drained))
            try:
                async for line in process.lines():
                    fact = msgspec.json.decode(line, type=Fact)
                    process.say(b"%d\n" % self._messages.take(self, fact))
            finally:
                saying.cancel()
        assert process.ended_well, f"{process.ending()}: {process.last_words()}"

    async def _say(self, stopping: asyncio.Event, drained: asyncio.Event) -> None:
        """Say when there is nothing to send any more, and when there is nothing to do."""
        await stopping.wait()
        self.process.say(msgspec.json.encode(STOP) + b"\n")
        await drained.wait()
        self.process.end()

    def begins_a_check(self) -> None:
        """Its checker is asked."""
        self.asked += 1
        self.is_asked.set()

    def ends_a_check(self) -> None:
        """Its checker has an answer."""
        self.asked -= 1
        if not self.asked:
            self.is_asked.clear()

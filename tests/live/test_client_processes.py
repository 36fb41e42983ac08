"""Clients that are processes: what they told before a kill counts, and they leave nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chaos.check.client_history import Outcome
from chaos.live.client_process import ClientProcess
from chaos.live.half_facts import (
    NOBODYS,
    Answered,
    Asked,
    Begun,
    Committed,
    Decided,
    Failed,
    HalfPlan,
    Otherwise,
    Sent,
)
from chaos.live.topics import TRANSFERS
from chaos.live.workloads import halves
from chaos.live.workloads.halves import HalfMessages
from chaos.live.world import World

TELLER = "tests.live.teller"
NOWHERE = "127.0.0.1:9"


class NoCluster:
    """Where nobody listens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seeds = [NOWHERE]


def processes_of(directory: Path) -> list[int]:
    """Return the processes whose command lines have a directory in them."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in line:
            found.append(int(each.parent.name))
    return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A run without a cluster."""
    return World(NoCluster(tmp_path), 1)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (it is about other processes)
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_what_was_told_before_a_kill_is_read_to_its_end(tmp_path: Path) -> None:
    """Also if it is answered all the time, and the answers reach nobody any more."""
    read: list[int] = []
    async with ClientProcess(TELLER, tmp_path, "teller", b"count") as process:
        async for line in process.lines():
            read.append(int(line))
            process.say(line)
            if len(read) == 20:
                await asyncio.sleep(0.05)  # it tells on; nobody reads
                process.kill()
    told = int((tmp_path / "told").read_bytes())
    assert told >= 20
    assert read[: told + 1] == list(range(told + 1))
    assert process.is_killed
    assert process.ended_well
    assert processes_of(tmp_path) == []


@pytest.mark.asyncio
async def test_a_process_ends_with_its_input(tmp_path: Path) -> None:
    plan = HalfPlan("o", "g", "t", "1", (NOWHERE,), 20.0)
    text = msgspec.json.encode(plan)
    async with ClientProcess(halves.PROCESS, tmp_path, "owner", text) as process:
        await until(lambda: len(processes_of(tmp_path)) == 1)
    assert process.ended_well, process.last_words()
    assert not process.is_killed
    assert processes_of(tmp_path) == []


@pytest.mark.asyncio
async def test_a_process_that_ends_by_itself_has_not_ended_well(tmp_path: Path) -> None:
    async with ClientProcess(TELLER, tmp_path, "teller", b"crash") as process:
        assert [line async for line in process.lines()] == []
    assert not process.ended_well
    assert process.ending() == "exit code 1"
    assert "no such plan" in process.last_words()


@pytest.mark.asyncio
async def test_a_process_is_killed_if_something_else_goes_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="something else"):
        async with ClientProcess(TELLER, tmp_path, "teller", b"once"):
            raise ValueError("something else")
    assert processes_of(tmp_path) == []


@pytest.mark.asyncio
async def test_owners_are_killed_in_a_check_and_others_follow(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "PROCESS", TELLER)
    monkeypatch.setattr(halves, "REST_S", (0.0, 0.1))
    messages = HalfMessages(world)
    running = asyncio.create_task(messages.run())
    await until(lambda: messages.deaths >= 3 and len(processes_of(tmp_path)) == halves.OWNERS)
    assert messages.deaths_in_a_check >= 3
    assert messages.lives >= 4
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert processes_of(tmp_path) == []


@pytest.mark.asyncio
async def test_an_owner_that_crashes_ends_the_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run in which nobody works any more would be a good one."""
    monkeypatch.setattr(halves, "PROCESS", "tests.live.no_such_module")
    with pytest.raises(BaseExceptionGroup) as raised:
        await HalfMessages(world).run()
    assert "exit code 1" in str(raised.value.exceptions[0])
    assert processes_of(tmp_path) == []


def test_what_an_owner_tells_is_in_the_history(world: World) -> None:
    messages = HalfMessages(world)
    messages._owners = owners = [messages._next(place) for place in range(2)]
    owner, other = owners
    records = world.records[TRANSFERS]
    assert [messages.take(owner, Begun(lane)) for lane in (2, 0, 1)] == [0, 1, 2]
    messages.take(owner, Failed(1))
    assert messages.take(owner, Decided(0, commit=True)) == 1
    assert messages.take(owner, Decided(2, commit=False)) == 0
    assert messages.take(other, Decided(0, commit=False)) == 1, "the first word stands"
    messages.take(owner, Committed(0, 1, 7, 3))
    assert records.outcomes.tolist() == [Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN]
    assert (records.lanes[0], records.queues[0], records.offsets[0]) == (2, 1, 7)
    assert messages.take(other, Asked(records.value(2))) == 2
    assert other.is_asked.is_set()
    messages.take(other, Answered(knows=True))
    assert not other.is_asked.is_set()
    assert messages.checks == 1
    assert messages.take(other, Asked(b"?")) == NOBODYS
    messages.take(owner, Otherwise(0, "it is rolled back"))
    texts = " ".join(each.text for each in messages.check({TRANSFERS: {0: [], 1: []}}))
    for words in ("lost", "a checker is asked", "otherwise"):
        assert words in texts
    messages.take(owner, Sent())
    assert other.name in messages._still_sending(), "it may send still"
    messages.take(other, Sent())
    assert not messages._still_sending()


def test_a_run_in_which_no_owner_died_in_a_check_is_not_good(world: World) -> None:
    messages = HalfMessages(world)
    messages.deaths = halves.DEATHS
    (found,) = messages.check({TRANSFERS: {0: [], 1: []}})
    assert "died in a check" in found.text
    messages.deaths_in_a_check = 1
    assert messages.check({TRANSFERS: {0: [], 1: []}}) == []

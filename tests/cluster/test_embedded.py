"""``RaftLog`` as a library: alone in a directory, and three in one process.

Real files and real sockets; what the class adds to a replica is little, and
what it promises to its user is what is tested.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.errors import (
    ApplyFailed,
    Closed,
    DirectoryForeign,
    DirectoryLocked,
    DirectoryUnformatted,
    NotLeader,
    Outcome,
    RaftlogError,
    RecordTooLarge,
    RolledBack,
    Unavailable,
)
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.embedded import LogEntry, RaftLog, Settings
from raftlog.testing.processes import free_ports

pytestmark = pytest.mark.asyncio

PATIENCE_S: Final = 20.0
POISON: Final = b"poison"


class Total:
    """Adds numbers up; refuses one."""

    def __init__(self) -> None:
        self.total = 0
        self.entries: list[LogEntry] = []

    def apply(self, entry: LogEntry) -> int:
        """Return the total so far."""
        if entry.data == POISON:
            raise ZeroDivisionError("a bug of the user's")
        self.entries.append(entry)
        self.total += int(entry.data)
        return self.total


async def take(log: RaftLog[int], count: int, start: int = 1) -> list[bytes]:
    """Return the first ``count`` entries that ``tail`` yields from ``start`` on."""
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE_S):
        tail = log.tail(start)
        async for entry in tail:
            found.append(entry.data)
            if len(found) == count:
                break
    return found


async def test_a_log_alone_needs_nothing_but_a_directory(tmp_path: Path) -> None:
    """Append, propose, barrier and tail; indexes rise, and only entries of the user's are seen."""
    async with RaftLog.open(tmp_path / "data", machine=Total()) as log:
        positions = [await log.append(b"%d" % number) for number in range(1, 4)]
        assert await log.propose(b"4", timeout=PATIENCE_S) == 10
        await log.barrier()
        assert positions == sorted(positions, key=lambda position: position.index)
        assert len({position.index for position in positions}) == 3
        assert await take(log, 4) == [b"1", b"2", b"3", b"4"]
        assert await take(log, 2, positions[2].index) == [b"3", b"4"]
        status = log.status
        assert (status.role, status.applied) == ("leader", status.commit)


async def test_many_appends_at_once_keep_their_order(tmp_path: Path) -> None:
    """Futures, not tasks: a loop of appends costs no turn of the loop each."""
    machine = Total()
    async with RaftLog.open(tmp_path / "data", machine=machine) as log:
        futures = [log.append(b"1") for _ in range(5_000)]
        indexes = [position.index for position in await asyncio.gather(*futures)]
    assert machine.total == 5_000
    assert indexes == [entry.index for entry in machine.entries]


async def test_opening_again_replays_every_entry(tmp_path: Path) -> None:
    """A machine without snapshots is built from the first entry, before the first call."""
    for opened in range(1, 4):
        machine = Total()
        async with RaftLog.open(tmp_path / "data", machine=machine) as log:
            assert machine.total == opened - 1
            assert await log.propose(b"1", timeout=PATIENCE_S) == opened
            assert await take(log, opened) == [b"1"] * opened


async def test_tail_follows_and_ends_with_the_log(tmp_path: Path) -> None:
    """A reader that waits at the end gets what comes, and no error when the log is closed."""
    log: RaftLog[int] = RaftLog.open(tmp_path / "data", machine=Total())
    found: list[bytes] = []

    async def follow() -> None:
        async for entry in log.tail():
            found.append(entry.data)  # noqa: PERF401  (seen while it runs)

    async with log:
        follower = asyncio.create_task(follow())
        for number in range(3):
            await log.append(b"%d" % number)
        await _until(lambda: len(found) == 3)
    await asyncio.wait_for(follower, PATIENCE_S)
    assert found == [b"0", b"1", b"2"]


async def test_an_apply_that_raises_stops_the_replica_there(tmp_path: Path) -> None:
    """Going on would make it differ for ever. The traceback is kept; opening tells it again."""
    machine = Total()
    async with RaftLog.open(tmp_path / "data", machine=machine) as log:
        await log.append(b"5")
        with pytest.raises(RaftlogError) as caught:
            await log.propose(POISON, timeout=PATIENCE_S)
        assert caught.value.outcome is Outcome.UNKNOWN
        with pytest.raises(Unavailable):
            await log.append(b"6")
        assert isinstance(log.failure, ApplyFailed)
        assert "ZeroDivisionError: a bug of the user's" in str(log.failure)
        assert "in apply" in str(log.failure)
        assert log.failure.index == machine.entries[-1].index + 1
        assert machine.total == 5
        with pytest.raises(ApplyFailed):
            await take(log, 2)
    with pytest.raises(ApplyFailed, match="a bug of the user's"):
        async with RaftLog.open(tmp_path / "data", machine=Total()):
            pass


async def test_a_directory_is_open_once(tmp_path: Path) -> None:
    """The second one is told who is in the way; the first goes on; afterwards it is free."""
    async with RaftLog.open(tmp_path / "data", machine=Total()) as log:
        with pytest.raises(DirectoryLocked):
            async with RaftLog.open(tmp_path / "data"):
                pass
        assert await log.propose(b"7", timeout=PATIENCE_S) == 7
    async with RaftLog.open(tmp_path / "data", machine=Total()) as log:
        assert await log.propose(b"1", timeout=PATIENCE_S) == 8


async def test_what_is_not_this_nodes_is_not_opened(tmp_path: Path) -> None:
    """Another node's directory; and, among several, one that is empty (it may have been wiped)."""
    RaftLog.form({"n2": tmp_path / "n2"})
    with pytest.raises(DirectoryForeign):
        async with RaftLog.open(tmp_path / "n2", node_id="n1"):
            pass
    peers = {"n1": "127.0.0.1:1", "n2": "127.0.0.1:2"}
    with pytest.raises(DirectoryUnformatted):
        async with RaftLog.open(tmp_path / "n1", node_id="n1", peers=peers):
            pass


async def test_mistakes_of_the_caller_are_typed(tmp_path: Path) -> None:
    """Before it is open, after it is closed, and an entry that is too large."""
    log: RaftLog[None] = RaftLog.open(tmp_path / "data")
    with pytest.raises(Closed):
        log.append(b"early")
    async with log:
        with pytest.raises(RecordTooLarge):
            await log.append(bytes(BATCH_BYTES_MAX + 1))
        await log.append(bytes(BATCH_BYTES_MAX))
    with pytest.raises(Closed):
        log.append(b"late")
    await log.aclose()


def form(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Format the directories of a new cluster; return where its nodes will listen."""
    if not (directory / "n1").exists():
        RaftLog.form({name: directory / name for name in names})
    return dict(zip(names, (f"127.0.0.1:{port}" for port in free_ports(3)), strict=True))


@asynccontextmanager
async def three(directory: Path, machines: Sequence[Total]) -> AsyncIterator[list[RaftLog[int]]]:
    """Open three nodes in this process."""
    names = ["n1", "n2", "n3"]
    peers = form(directory, names)
    async with AsyncExitStack() as stack:
        logs = []
        for name, machine in zip(names, machines, strict=True):
            log = RaftLog.open(directory / name, node_id=name, peers=peers, machine=machine)
            logs.append(await stack.enter_async_context(log))
        yield logs
        await asyncio.gather(*(log.aclose() for log in logs))


async def leader_of(logs: Sequence[RaftLog[int]]) -> RaftLog[int]:
    """Wait until one leads and the others follow it."""

    def agreed() -> bool:
        leaders = {log.status.leader for log in logs}
        return len(leaders) == 1 and None not in leaders

    await _until(agreed)
    return next(log for log in logs if log.status.role == "leader")


@pytest.mark.long
async def test_three_nodes_in_one_process(tmp_path: Path) -> None:
    """Append on the leader, refusal on a follower, the same entries from every node's tail."""
    machines = [Total(), Total(), Total()]
    async with three(tmp_path, machines) as logs:
        leader = await leader_of(logs)
        values = [b"%d" % number for number in range(100)]
        await asyncio.gather(*(leader.append(value) for value in values))
        for follower in (log for log in logs if log is not leader):
            with pytest.raises(NotLeader) as refusal:
                await follower.append(b"1")
            assert refusal.value.leader_hint == leader.status.leader
            await follower.barrier()  # its machine has everything that was committed before
            assert await take(follower, len(values)) == values
        assert {machine.total for machine in machines} == {sum(range(100))}
    again = [Total(), Total(), Total()]
    async with three(tmp_path, again) as logs:
        await (await leader_of(logs)).barrier()
        assert await take(logs[0], len(values)) == values


async def test_two_of_three_go_on_and_the_third_catches_up(tmp_path: Path) -> None:
    """Closing the leader hands over; nothing acknowledged is lost."""
    machines = [Total(), Total(), Total()]
    async with three(tmp_path, machines) as logs:
        leader = await leader_of(logs)
        await leader.append(b"1")
        await leader.aclose()
        rest = [log for log in logs if log is not leader]
        second = await leader_of(rest)
        async with asyncio.timeout(PATIENCE_S):
            assert await second.propose(b"2") == 3


async def test_a_node_that_was_put_back_to_an_older_copy_stops(tmp_path: Path) -> None:
    """It promised more than it has; peers know that from its answers (ruling 16)."""
    names = ["n1", "n2", "n3"]
    peers = form(tmp_path, names)
    async with AsyncExitStack() as stack:

        async def begin(name: str) -> RaftLog[int]:
            log = RaftLog.open(tmp_path / name, node_id=name, peers=peers, machine=Total())
            return await stack.enter_async_context(log)

        logs = {name: await begin(name) for name in names}
        leader = await leader_of([*logs.values()])
        await leader.append(b"1")
        name = next(name for name, log in logs.items() if log is not leader)
        await logs[name].aclose()
        shutil.copytree(tmp_path / name, tmp_path / "copy")
        follower = await begin(name)
        for _ in range(5):
            last = await leader.append(b"1")
        await _until(lambda: follower.status.durable >= last.index)
        await follower.aclose()
        shutil.rmtree(tmp_path / name)
        (tmp_path / "copy").rename(tmp_path / name)
        restored = await begin(name)
        await _until(lambda: restored.failure is not None)
        assert isinstance(restored.failure, RolledBack)


async def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


@pytest.mark.long
async def test_a_leader_with_a_lease_confirms_a_barrier_by_itself(tmp_path: Path) -> None:
    """Nobody is asked, so nothing is sent for it."""
    names = ["n1", "n2", "n3"]
    peers = form(tmp_path, names)
    settings = Settings(lease_reads=True)
    async with AsyncExitStack() as stack:
        logs: list[RaftLog[int]] = []
        for name in names:
            log: RaftLog[int] = RaftLog.open(
                tmp_path / name, node_id=name, peers=peers, settings=settings
            )
            logs.append(await stack.enter_async_context(log))
        leader = await leader_of(logs)
        await leader.append(b"1")
        async with asyncio.timeout(PATIENCE_S):
            while not leader._replica.core.leased_reads:
                await leader.barrier()
                await asyncio.sleep(0.01)

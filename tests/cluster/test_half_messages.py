"""Half messages on real processes: leaders and their owner are lost between half and commit."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.client.halves import Half
from raftlog.client.receipts import Receipt
from tests.cluster.cluster_under_load import PATIENCE_S, TOPIC, ended, leader_of, running

pytestmark = pytest.mark.asyncio

COUNT: Final = 60


async def test_each_is_seen_once_if_its_work_was_done_whoever_is_lost(tmp_path: Path) -> None:
    """A third decides itself, a third is rolled back, a third leaves its checker to say."""
    done: set[bytes] = set()
    seen: list[bytes] = []

    async def check(message: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT if message.value in done else Verdict.ROLLBACK

    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:

        async def read() -> None:
            async with client.reader(TOPIC) as reader:
                async for message in reader:
                    assert message.value in done, "it is visible before its work was done"
                    seen.append(message.value)

        reading = asyncio.create_task(read())
        killed = asyncio.Event()
        staged = asyncio.Barrier(COUNT + 1)
        lost = Client(target.seeds, timeout=PATIENCE_S)
        owner = lost.transactional_producer("b-1", group="b")

        async def one(number: int) -> None:
            value = b"%d" % number
            half = await owner.half(TOPIC, value)
            await staged.wait()
            await killed.wait()
            if number % 3 == 0:
                await half.rollback()
                return
            if number % 2:
                done.add(value)
            if number % 3 == 1 and number % 2:
                await half.commit()

        work = asyncio.gather(*map(one, range(COUNT)))
        await staged.wait()
        node = await leader_of(target)
        node.kill()
        await ended(node)
        killed.set()
        await work
        await lost.aclose()  # nothing more is heard of the owner
        node.start()
        async with client.transactional_producer("b-2", group="b", checker=check):
            async with asyncio.timeout(PATIENCE_S):
                while await client.transactions.list() or len(seen) < len(done):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        assert not reading.done(), reading.exception()
        reading.cancel()
    assert sorted(seen) == sorted(done)
    assert len(done) == COUNT // 3


OWNER: Final = """
import asyncio, sys
from raftlog import Client

async def main():
    async with Client(sys.argv[1]) as client:
        owner = client.transactional_producer("killed-1", group="killed")
        for value in (b"done", b"not done"):
            half = await owner.half("orders", value, key=b"k")
            print(half.transaction, flush=True)
        await asyncio.sleep(3_600)

asyncio.run(main())
"""
"""Stores two and decides neither: it is killed meanwhile."""


async def killed_owner(seeds: list[str]) -> list[str]:
    """Let an owner store, and kill its process; return what it has left."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, ",".join(seeds)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return [(await child.stdout.readline()).decode().strip() for _ in range(2)]
    finally:
        child.kill()
        await child.wait()


async def decided_by_turns(halves: list[Half], amid: asyncio.Event) -> dict[int, Receipt | None]:
    """Commit every other one and roll back the rest, some at a time; tell when that goes on."""
    found: dict[int, Receipt | None] = {}
    left = list(enumerate(halves))

    async def some() -> None:
        while left:
            number, half = left.pop()
            if number % 2:
                found[number] = await half.commit()
            else:
                await half.rollback()
                found[number] = None
            if len(found) >= COUNT // 4:
                amid.set()

    await asyncio.gather(*(some() for _ in range(4)))
    return found


@pytest.mark.long
async def test_a_killed_owner_leaves_it_to_a_member_and_a_killed_leader_to_the_next(
    tmp_path: Path,
) -> None:
    """The member answers from what the owner had done; a decision is the same asked again."""
    asked: dict[str, UndecidedMessage] = {}

    async def check(message: UndecidedMessage) -> Verdict:
        asked[message.transaction] = message
        return Verdict.COMMIT if message.value == b"done" else Verdict.ROLLBACK

    async with running(tmp_path) as target, Client(target.seeds, timeout=PATIENCE_S) as client:
        left = await killed_owner(target.seeds)
        assert {each.transaction for each in await client.transactions.list()} == set(left)
        async with client.transactional_producer("d-1", group="d") as owner:
            halves = await asyncio.gather(*(owner.half(TOPIC, b"%d" % n) for n in range(COUNT)))
            node, amid = await leader_of(target), asyncio.Event()
            deciding = asyncio.create_task(decided_by_turns(halves, amid))
            await amid.wait()
            assert not deciding.done(), "all was decided before the leader was killed"
            node.kill()
            await ended(node)
            receipts = await deciding
            for number, receipt in receipts.items():
                if receipt is not None:
                    again = await halves[number].commit()
                    assert again == receipt, "a decision that is repeated is told another outcome"
        node.start()
        async with client.transactional_producer("k-2", group="killed", checker=check):
            async with asyncio.timeout(PATIENCE_S):
                while await client.transactions.list():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        assert {asked[each].value for each in left} == {b"done", b"not done"}
        assert {(each.owner, each.key) for each in asked.values()} == {("killed-1", b"k")}
        async with client.reader(TOPIC, follow=False) as reader:
            log = [(message.offset, message.value) async for message in reader]
    told = [(each.offset, b"%d" % number) for number, each in receipts.items() if each is not None]
    assert sorted(log) == sorted([*told, (len(log) - 1, b"done")])
    assert len(told) == COUNT // 2

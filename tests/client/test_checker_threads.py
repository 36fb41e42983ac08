"""Checkers that block: each call has a thread, and one that hangs takes nobody else's."""

import asyncio
import subprocess
import sys
import threading
import time
from typing import Final

import pytest

from raftlog import UndecidedMessage, Verdict, sync
from raftlog.base.limits import CHECK_AGAIN_MS
from raftlog.client import checker_threads, checking
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import NotAsked
from raftlog.client.client import Client
from raftlog.service import checks
from tests.client.fake_cluster import fake_cluster
from tests.client.test_halves import later, until, visible
from tests.client.test_sync import cluster
from tests.client.test_sync_halves import wait_for

LIMIT_S: Final = 0.2


def asked(number: int) -> UndecidedMessage:
    return UndecidedMessage("orders", 0, None, b"v", (), 0, None, f"7.{number}", "b-1", 1)


class Checker:
    """Hangs for some transactions until it is let go."""

    def __init__(self, *hangs: bytes) -> None:
        self.hangs = hangs
        self.go_on = threading.Event()
        self.calls: list[bytes | None] = []

    def __call__(self, message: UndecidedMessage) -> Verdict:
        self.calls.append(message.value)
        if message.value in self.hangs:
            self.go_on.wait()
        return Verdict.COMMIT


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "CHECK_LIMIT_S", LIMIT_S)


@pytest.mark.long
@pytest.mark.usefixtures("short_limit")
@pytest.mark.asyncio
async def test_one_that_hangs_is_called_once_and_takes_nobody_elses_thread() -> None:
    """It counts as unknown, every time; the others are decided, and the loop has its threads."""
    check = Checker(b"hangs")
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer(
            "b-1", group="b", checker=InThreads(check)
        ) as producer:
            (await producer.half("orders", b"hangs")).leave()
            (row,) = cluster.machine.state.transactions.table.rows.values()
            for counted in range(1, 4):
                later(cluster, CHECK_AGAIN_MS)
                await until(lambda counted=counted: row.checks == counted)
            assert isinstance(producer.status.trouble, TimeoutError)
            assert (producer.status.checks, producer.status.checker_failures) == (3, 3)
            (await producer.half("orders", b"v")).leave()
            later(cluster)
            await until(lambda: visible(cluster, "orders") == [b"v"])
            assert check.calls == [b"hangs", b"v"]
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
            check.go_on.set()


@pytest.mark.usefixtures("short_limit")
@pytest.mark.asyncio
async def test_without_a_thread_nothing_is_answered_and_nothing_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody was asked. The status says why; as soon as one is free, it is asked."""
    monkeypatch.setattr(checker_threads, "CHECKER_THREADS", 1)
    monkeypatch.setattr(checks, "ASK_AGAIN_NS", 10_000_000)
    check = Checker(b"hangs")
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer(
            "b-1", group="b", checker=InThreads(check)
        ) as producer:
            (await producer.half("orders", b"hangs")).leave()
            rows = cluster.machine.state.transactions.table.rows
            later(cluster)
            await until(lambda: check.calls)
            half = await producer.half("orders", b"v")
            half.leave()
            later(cluster)
            await until(lambda: isinstance(producer.status.trouble, NotAsked))
            assert [row.checks for row in rows.values()][1:] == [0]
            assert check.calls == [b"hangs"]
            check.go_on.set()
            await until(lambda: b"v" in visible(cluster, "orders"))


@pytest.mark.asyncio
async def test_who_had_to_wait_for_a_thread_has_its_time_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was called so late that it says nothing about it that it has not answered."""
    monkeypatch.setattr(checker_threads, "CHECKER_THREADS", 1)
    monkeypatch.setattr(checking, "CHECK_LIMIT_S", 1.0)
    go_on = {"7.1": threading.Event(), "7.2": threading.Event()}

    def check(message: UndecidedMessage) -> Verdict:
        go_on[message.transaction].wait()
        return Verdict.ROLLBACK

    ask = InThreads(check)
    first, second = (asyncio.ensure_future(ask(asked(number))) for number in (1, 2))
    await asyncio.sleep(0.01)
    go_on["7.1"].set()
    assert await first is Verdict.ROLLBACK
    with pytest.raises(NotAsked):
        await second
    again = asyncio.ensure_future(ask(asked(2)))
    await asyncio.sleep(0.01)
    go_on["7.2"].set()
    assert await again is Verdict.ROLLBACK, "the same call"


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), StopIteration(), SystemExit(2)])
@pytest.mark.asyncio
async def test_whatever_it_raises_is_told_and_its_thread_is_free_again(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends no loop."""
    monkeypatch.setattr(checker_threads, "CHECKER_THREADS", 1)

    def check(_: UndecidedMessage) -> Verdict:
        raise error

    ask = InThreads(check)
    for number in range(2):
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            await ask(asked(number))


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("says", [Verdict.COMMIT, Verdict.ROLLBACK, ZeroDivisionError("no")])
@pytest.mark.asyncio
async def test_what_is_said_too_late_is_the_answer_to_the_next_check(
    says: Verdict | Exception,
) -> None:
    """Else one that always needs a bit longer would be called again and again, and never heard."""
    go_on, calls = threading.Event(), []

    def check(_: UndecidedMessage) -> Verdict:
        calls.append(1)
        go_on.wait()
        if isinstance(says, Exception):
            raise says
        return says

    ask = InThreads(check)
    with pytest.raises(TimeoutError):
        await ask(asked(1))
    go_on.set()
    await until(lambda: not ask._calls)
    calls.clear()
    (told,) = await asyncio.gather(ask(asked(1)), return_exceptions=True)
    assert (told, calls) == (says, [])
    (again,) = await asyncio.gather(ask(asked(1)), return_exceptions=True)
    assert (again, calls) == (says, [1]), "it counts once"


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("says", [Verdict.UNKNOWN, Verdict.COMMIT])
@pytest.mark.asyncio
async def test_what_was_not_known_or_is_long_ago_is_asked_anew(
    says: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what nobody asks for again is forgotten."""
    monkeypatch.setattr(checker_threads, "KEPT_S", 0.05)
    check = Checker(b"v")
    answers = iter([says, Verdict.ROLLBACK, Verdict.ROLLBACK])
    ask = InThreads(lambda message: check(message) and next(answers))
    with pytest.raises(TimeoutError):
        await ask(asked(1))
    check.go_on.set()
    await until(lambda: not ask._calls)
    assert len(ask._kept) == (says is Verdict.COMMIT)
    await asyncio.sleep(0.1)
    check.go_on.clear()
    with pytest.raises(TimeoutError):
        await ask(asked(2))
    check.go_on.set()
    await until(lambda: not ask._calls)
    assert list(ask._kept) == ["7.2"]
    assert await ask(asked(1)) is Verdict.ROLLBACK


def test_closing_waits_for_no_thread() -> None:
    """Nor does the end of the process."""
    check = Checker(b"hangs")
    with cluster(orders=1) as fake:
        with (
            sync.Client(fake.seeds) as client,
            client.transactional_producer("b-1", group="b", checker=check) as producer,
        ):
            producer.half("orders", b"hangs").leave()
            later(fake)
            wait_for(lambda: check.calls)
            began = time.monotonic()
        assert time.monotonic() - began < LIMIT_S * 10
        check.go_on.set()


PROCESS: Final = """
import asyncio, threading
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import UndecidedMessage

message = UndecidedMessage("orders", 0, None, b"v", (), 0, None, "7.1", "b-1", 1)

async def main():
    asking = asyncio.ensure_future(InThreads(lambda _: threading.Event().wait())(message))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""


def test_the_end_of_a_process_waits_for_no_checker() -> None:
    """Its threads are daemons."""
    subprocess.run([sys.executable, "-c", PROCESS], timeout=120, check=True)

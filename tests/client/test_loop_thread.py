"""How a thread waits for what runs on the client's loop."""

import _thread
import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from raftlog.client.loop_thread import LoopThread
from tests.interrupts import interrupted


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    with closing(LoopThread()) as made:
        yield made


def test_a_signal_that_wakes_nobody_is_noticed(loop_thread: LoopThread) -> None:
    """One told to the interpreter while this thread sleeps on a lock, which nothing ends."""
    began = threading.Event()
    ended = threading.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt() -> None:
        began.wait()
        time.sleep(0.05)  # it sleeps by now; if not, the test shows less and passes
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with interrupted():
        loop_thread.run(work())
    thread.join()
    assert ended.wait(10), "what is waited for no longer is cancelled"


def test_a_time_out_of_the_work_is_its_own(loop_thread: LoopThread) -> None:
    async def work() -> None:
        raise TimeoutError("the broker took too long")

    with pytest.raises(TimeoutError, match="the broker took too long"):
        loop_thread.run(work())


def test_work_longer_than_a_look_is_waited_for(
    loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftlog.client.loop_thread.LOOK_S", 0.001)

    async def work() -> str:
        await asyncio.sleep(0.03)
        return "done"

    assert loop_thread.run(work()) == "done"

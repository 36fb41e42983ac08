"""Findings of a review: each test fails as long as its finding stands."""

import asyncio
import threading

import pytest

from raftlog.client import checking
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import UndecidedMessage, Verdict

pytestmark = pytest.mark.asyncio


async def test_a_slow_checker_s_answer_is_not_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a bit longer than the limit, every time: it is called anew every time."""
    monkeypatch.setattr(checking, "CHECK_LIMIT_S", 0.1)
    calls = []

    def check(_: UndecidedMessage) -> Verdict:
        calls.append(1)
        threading.Event().wait(0.15)
        return Verdict.COMMIT

    ask = InThreads(check)
    message = UndecidedMessage("orders", 0, None, b"v", (), 0, None, "7.1", "b-1", 1)
    verdicts = []
    for _ in range(5):
        try:
            verdicts.append(await ask(message))
        except TimeoutError:
            verdicts.append(None)
        await asyncio.sleep(0.2)  # 30 s
    assert Verdict.COMMIT in verdicts, (verdicts, len(calls))

"""A node's wall clock is as wrong as it was told to be; what measures time is not."""

import pytest

from chaos.live.bad_clock import BadClock
from raftlog.base.clock import SystemClock


def test_a_wall_clock_jumps_and_is_set_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "wall_ms", SystemClock.wall_ms)  # put back afterwards
    right, clock, system = SystemClock(), BadClock(), SystemClock()
    before = right.wall_ms()
    clock.install()
    measured = system.now_ns()
    assert system.wall_ms() >= before
    assert clock.reads == 0

    clock.set(-3_600_000)
    assert system.wall_ms() - before < -3_500_000
    assert clock.reads == 1
    assert 0 <= system.now_ns() - measured < 60_000_000_000

    clock.set(0)
    assert system.wall_ms() >= before
    assert clock.reads == 1

"""Virtual time: order by time, then by asking; cancelled calls are not made."""

import pytest

from chaos.check.bounded_work import EVENTS_PER_SECOND_MAX
from chaos.check.violation import Violation
from chaos.sim.events import SECOND_NS, EventQueue, stream


def test_calls_come_in_order_of_time_and_then_of_asking() -> None:
    """Two calls at one moment must not depend on anything but the seed."""
    queue = EventQueue()
    made: list[str] = []
    queue.at(20, lambda: made.append("late"))
    queue.at(10, lambda: made.append("first"))
    queue.at(10, lambda: made.append("second"))
    queue.at(15, lambda: made.append("cancelled")).cancel()
    queue.run_until(30)
    assert made == ["first", "second", "late"]
    assert queue.now_ns == 30
    assert queue.events == 3


def test_a_call_at_the_end_waits_for_the_next_run() -> None:
    """Phases meet at one moment, and that moment belongs to the later one."""
    queue = EventQueue()
    made: list[int] = []
    queue.at(30, lambda: made.append(queue.now_ns))
    queue.run_until(30)
    assert made == []
    queue.run_until(31)
    assert made == [30]


def test_a_loop_that_takes_no_time_is_found() -> None:
    """It would hang the suite instead of failing it."""
    queue = EventQueue()

    def again() -> None:
        queue.after(0, again)

    again()
    with pytest.raises(AssertionError, match="time stands still"):
        queue.run_until(1)


def test_a_storm_is_found() -> None:
    """Time passes in it, a little."""
    queue = EventQueue()

    def again() -> None:
        queue.after(1_000, again)

    again()
    with pytest.raises(Violation, match="bounded_work"):
        queue.run_until(SECOND_NS)


def test_as_much_in_a_longer_time_is_no_storm() -> None:
    """Each second is counted by itself."""
    queue = EventQueue()

    def again() -> None:
        queue.after(20_000, again)

    again()
    queue.run_until(3 * SECOND_NS)
    assert queue.events > EVENTS_PER_SECOND_MAX


def test_concerns_draw_from_streams_of_their_own() -> None:
    """What the network draws must not change what the disks do."""
    assert stream(1, "disk").random() == stream(1, "disk").random()
    assert stream(1, "disk").random() != stream(1, "network").random()
    assert stream(1, "disk").random() != stream(2, "disk").random()

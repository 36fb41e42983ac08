"""Processes that stand still, are slow, or have a wrong clock."""

from chaos.sim.clocks import BEGINNING_MS, WallClock
from chaos.sim.events import MS_NS, EventQueue
from chaos.sim.process import Life


def life_of(queue: EventQueue) -> Life:
    """Return a process with a right clock."""
    return Life(queue, 0, WallClock(queue))


def test_what_is_due_while_a_process_stands_still_comes_afterwards_in_order() -> None:
    queue = EventQueue()
    life = life_of(queue)
    made: list[tuple[str, int]] = []
    life.call_later(2 * MS_NS, lambda: made.append(("early", queue.now_ns // MS_NS)))
    life.call_later(3 * MS_NS, lambda: made.append(("late", queue.now_ns // MS_NS)))
    life.call_later(20 * MS_NS, lambda: made.append(("after", queue.now_ns // MS_NS)))
    life.pause(10 * MS_NS)
    queue.run_until(30 * MS_NS)
    assert made == [("early", 10), ("late", 10), ("after", 20)]
    assert not life.hindered


def test_a_slow_processor_needs_its_time_for_each_call_and_keeps_their_order() -> None:
    queue = EventQueue()
    life = life_of(queue)
    made: list[tuple[int, int]] = []
    life.slow(5 * MS_NS)
    for number in range(3):
        life.call_soon(lambda number=number: made.append((number, queue.now_ns // MS_NS)))
    queue.run_until(7 * MS_NS)
    life.slow(0)
    life.call_soon(lambda: made.append((3, queue.now_ns // MS_NS)))
    queue.run_until(30 * MS_NS)
    assert made == [(0, 0), (1, 5), (2, 10), (3, 15)]
    life.call_soon(lambda: made.append((4, queue.now_ns // MS_NS)))
    queue.run_until(31 * MS_NS)
    assert made[-1] == (4, 30)
    assert not life.hindered


def test_a_process_that_ended_does_nothing_any_more() -> None:
    queue = EventQueue()
    life = life_of(queue)
    made: list[int] = []
    life.call_soon(lambda: made.append(1))
    life.end()
    queue.run_until(MS_NS)
    assert made == []


def test_a_wall_clock_jumps_stands_still_and_is_set_right() -> None:
    queue = EventQueue()
    clock = WallClock(queue, error_ms=7)
    assert clock.now_ms() == BEGINNING_MS + 7
    clock.jump(-1_000)
    assert clock.now_ms() == BEGINNING_MS - 993
    clock.stand()
    queue.run_until(5_000 * MS_NS)
    assert clock.now_ms() == BEGINNING_MS - 993
    clock.jump(3_000)
    queue.run_until(6_000 * MS_NS)
    assert clock.now_ms() == BEGINNING_MS + 2_007 + 1_000
    clock.set_right()
    assert clock.now_ms() == BEGINNING_MS + 6_000

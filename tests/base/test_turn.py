"""Follow-up work happens at the end of the event, once, and never starves the loop."""

from collections import deque
from collections.abc import Callable

from raftlog.base.turn import ROUNDS_MAX, Turn, turn_of


class FakeLoop:
    """Keeps what is scheduled for the next iteration."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Keep ``callback``."""
        self.soon.append(callback)

    def iterate(self) -> None:
        """Run one iteration."""
        for _ in range(len(self.soon)):
            self.soon.popleft()()


def test_what_an_event_defers_happens_before_the_loop_goes_on() -> None:
    """Proposals of one message become an entry, and the entry's frames one write, at once."""
    loop, done = FakeLoop(), list[str]()
    turn = Turn(loop)

    def event() -> None:
        turn.defer(lambda: (done.append("entry"), turn.defer(lambda: done.append("write"))))
        done.append("message")

    turn.handle(event)

    assert done == ["message", "entry", "write"]
    assert not loop.soon


def test_outside_an_event_work_waits_for_one_iteration() -> None:
    """A timer or a task may defer, too; many calls share one wake-up."""
    loop, done = FakeLoop(), list[int]()
    turn = Turn(loop)

    turn.defer(lambda: done.append(1))
    turn.defer(lambda: done.append(2))

    assert done == []
    assert len(loop.soon) == 1
    loop.iterate()
    assert done == [1, 2]


def test_work_that_makes_more_work_lets_the_loop_breathe() -> None:
    """Sixty-four calls, then the sockets have their turn."""
    loop, count = FakeLoop(), 0
    turn = Turn(loop)

    def again() -> None:
        nonlocal count
        count += 1
        turn.defer(again)

    turn.handle(again)
    first = count
    loop.iterate()

    assert first <= ROUNDS_MAX + 1
    assert first < count <= 2 * ROUNDS_MAX + 1


def test_an_event_that_raises_loses_none_of_the_work() -> None:
    """The loop reports the error; what was deferred before it still happens."""
    loop, done = FakeLoop(), list[int]()
    turn = Turn(loop)

    def event() -> None:
        turn.defer(lambda: done.append(1))
        raise ValueError

    try:
        turn.handle(event)
    except ValueError:
        done.append(0)
    loop.iterate()

    assert done == [0, 1]


def test_a_loop_has_one_turn() -> None:
    """Connections and the node's scheduler must share it, or each would wake the loop."""
    loop = FakeLoop()

    assert turn_of(loop) is turn_of(loop)
    assert turn_of(loop) is not turn_of(FakeLoop())

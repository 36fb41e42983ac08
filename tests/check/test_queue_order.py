"""Adding and looking: one order, on hand-made histories and beside the search for any order."""

from random import Random
from typing import Final

import pytest

from chaos.check.linearizability import Operation, Verdict, search
from chaos.check.models import Add, End, Queue
from chaos.check.queue_order import QueueOrder
from chaos.check.sends_kept import Sends
from chaos.check.violation import Violation

QUEUE: Final = 3


class History:
    """One queue: what was added and seen, step by step."""

    def __init__(self) -> None:
        self.sends = Sends()
        self.order = QueueOrder(self.sends)
        self.end = 0

    def add(self, value: bytes, *, is_acked: bool = True) -> None:
        self.sends.sends(value)
        self.store(value)
        if is_acked:
            self.sends.acked(value, QUEUE, self.end - 1)

    def store(self, value: bytes) -> None:
        self.sends.stored(value, QUEUE, self.end)
        self.end += 1

    def look(self, end: int) -> None:
        self.order.told(QUEUE, end, self.order.asks())

    def check(self) -> None:
        self.order.check({QUEUE: self.end})


@pytest.fixture
def history() -> History:
    return History()


def test_looks_in_the_order_of_what_was_added(history: History) -> None:
    history.look(0)
    history.add(b"a")
    history.look(1)
    early = history.order.asks()
    history.add(b"b")
    history.order.told(QUEUE, 1, early)
    history.look(2)
    history.check()
    assert history.order.look_count == 4


def test_a_look_that_misses_what_was_acknowledged(history: History) -> None:
    history.add(b"a")
    history.look(0)
    why = "a look at end 0 was called at 3, after the record at 0 was answered"
    with pytest.raises(Violation, match=why):
        history.check()


def test_a_look_that_misses_what_another_one_has_seen(history: History) -> None:
    """The record itself has no answer: the second look goes back all the same."""
    history.add(b"a", is_acked=False)
    history.look(1)
    history.look(0)
    with pytest.raises(Violation, match=r"a look at end 0 .* after a look at end 1 was answered"):
        history.check()


def test_a_look_at_what_nobody_has_begun_to_add(history: History) -> None:
    history.look(1)
    history.add(b"a", is_acked=False)
    with pytest.raises(Violation, match=r"the record at 0 .* after a look at end 1 was answered"):
        history.check()


def test_a_look_at_what_never_was(history: History) -> None:
    history.look(1)
    with pytest.raises(Violation, match="told to end at 1: it never did"):
        history.check()


def test_a_record_that_comes_before_one_that_was_known(history: History) -> None:
    """The second was called when the first had its answer; the log has them the other way."""
    history.sends.sends(b"first")
    history.sends.stored(b"first", QUEUE, 1)
    history.sends.acked(b"first", QUEUE, 1)
    history.sends.sends(b"second")
    history.sends.stored(b"second", QUEUE, 0)
    history.end = 2
    with pytest.raises(Violation, match=r"the record at 0 .* after the record at 1 was answered"):
        history.check()


def test_a_record_without_an_answer_came_whenever_it_was_seen_first(history: History) -> None:
    history.sends.sends(b"late")
    history.sends.sends(b"never")
    history.look(0)
    history.store(b"late")
    history.look(1)
    history.check()


def _drawn(random: Random) -> tuple[History, list[Operation[Add | End]]]:
    """Return a short history that is perhaps wrong, and the same one for the search."""
    history, operations = History(), []
    adds = random.randint(1, 4)
    history.end = adds
    offsets = random.sample(range(adds), adds)
    ends = [random.randint(0, adds) for _ in range(4)]
    unknown = {number for number in range(adds) if random.random() < 0.3}
    numbers = [*range(adds + len(ends))] * 2
    random.shuffle(numbers)  # each is called where it comes first, and answered at the other
    called: dict[int, int] = {}
    for number in numbers:
        value, is_add = b"%d" % number, number < adds
        if number in called and is_add:
            if number not in unknown:
                history.sends.acked(value, QUEUE, offsets[number])
            returned = history.sends.records[value].returned
            operations.append(
                Operation[Add | End](Add(), offsets[number], called[number], returned)
            )
        elif number in called:
            end, asked = ends[number - adds], called[number]
            history.order.told(QUEUE, end, asked)
            operations.append(Operation[Add | End](End(), end, asked, history.order.asks()))
        elif is_add:
            history.sends.sends(value)
            history.sends.stored(value, QUEUE, offsets[number])
            called[number] = history.sends.records[value].called
        else:
            called[number] = history.order.asks()
    return history, operations


def test_the_search_for_any_order_comes_to_the_same() -> None:
    """Of many short histories: some have an order, more have none."""
    random, verdicts = Random(5), []
    for _ in range(3_000):
        history, operations = _drawn(random)
        is_possible = search(Queue(), operations).verdict is Verdict.LINEARIZABLE
        verdicts.append(is_possible)
        try:
            history.check()
        except Violation:
            assert not is_possible, operations
        else:
            assert is_possible, operations
    assert 100 < sum(verdicts) < 2_900

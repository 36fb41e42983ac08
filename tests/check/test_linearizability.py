"""The search for an order of operations: hand-made histories, and every order tried by force."""

from collections.abc import Sequence
from itertools import combinations, permutations
from random import Random

import pytest

from chaos.check.linearizability import Operation, Verdict, require, search
from chaos.check.models import (
    Append,
    CompareAndSet,
    Get,
    Put,
    Read,
    Register,
    RegisterInput,
    Texts,
    TextsInput,
    Write,
)
from chaos.check.violation import Violation

History = list[Operation[RegisterInput]]


def op(
    does: RegisterInput, called: int, returned: int | None, output: object = None
) -> Operation[RegisterInput]:
    """Return one operation."""
    return Operation(does, output, called, returned)


HISTORIES: dict[str, tuple[History, bool]] = {
    "nothing": ([], True),
    "a read of a new register": ([op(Read(), 1, 2)], True),
    "a value from nowhere": ([op(Read(), 1, 2, 7)], False),
    "a read of what was written": ([op(Write(1), 1, 2), op(Read(), 3, 4, 1)], True),
    "a stale read": ([op(Write(1), 1, 2), op(Write(2), 3, 4), op(Read(), 5, 6, 1)], False),
    "a read during a write, before": ([op(Write(1), 1, 4), op(Read(), 2, 3)], True),
    "a read during a write, after": ([op(Write(1), 1, 4), op(Read(), 2, 3, 1)], True),
    "reads that see a write and then do not": (
        [op(Write(1), 1, 9), op(Read(), 2, 3, 1), op(Read(), 4, 5)],
        False,
    ),
    "two writes at once, two readers who disagree": (
        [
            *(op(Write(1), 1, 9), op(Write(2), 1, 9)),
            *(op(Read(), 2, 3, 1), op(Read(), 4, 5, 2), op(Read(), 6, 7, 1)),
        ],
        False,
    ),
    "a call at the very moment of a return": ([op(Write(1), 1, 3), op(Read(), 3, 4)], True),
    "an unknown write that was seen": ([op(Write(1), 1, None), op(Read(), 5, 6, 1)], True),
    "an unknown write that was not seen": ([op(Write(1), 1, None), op(Read(), 5, 6)], True),
    "an unknown write that is late": (
        [op(Write(1), 1, None), op(Read(), 5, 6), op(Read(), 7, 8, 1)],
        True,
    ),
    "an unknown write that is seen and gone": (
        [op(Write(1), 1, None), op(Read(), 5, 6, 1), op(Read(), 7, 8)],
        False,
    ),
    "an unknown write that is seen before its call": (
        [op(Read(), 1, 2, 1), op(Write(1), 3, None)],
        False,
    ),
    "a failed exchange": ([op(Write(1), 1, 2), op(CompareAndSet(2, 3), 3, 4, False)], True),
    "an exchange that failed though it could not": (
        [op(Write(1), 1, 2), op(CompareAndSet(1, 3), 3, 4, False)],
        False,
    ),
    "two exchanges of one value": (
        [
            op(Write(1), 1, 2),
            op(CompareAndSet(1, 2), 3, 6, True),
            op(CompareAndSet(1, 3), 4, 5, True),
        ],
        False,
    ),
    "an unknown exchange that was seen": (
        [op(Write(1), 1, 2), op(CompareAndSet(1, 2), 3, None), op(Read(), 4, 5, 2)],
        True,
    ),
    "an unknown exchange that could not have been": (
        [op(Write(1), 1, 2), op(CompareAndSet(3, 2), 3, None), op(Read(), 4, 5, 2)],
        False,
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_has_the_known_verdict(name: str) -> None:
    """One idea each."""
    history, linearizable = HISTORIES[name]
    expected = Verdict.LINEARIZABLE if linearizable else Verdict.IMPOSSIBLE

    assert search(Register(), history).verdict is expected


def by_force(history: Sequence[Operation[RegisterInput]]) -> bool:
    """Try every order of every choice of the operations that may not have happened."""
    sure = [operation for operation in history if operation.returned is not None]
    open_ended = [operation for operation in history if operation.returned is None]
    return any(
        explains(order)
        for count in range(len(open_ended) + 1)
        for chosen in combinations(open_ended, count)
        for order in permutations([*sure, *chosen])
    )


def explains(order: Sequence[Operation[RegisterInput]]) -> bool:
    """Whether this order respects time and gives what was returned."""
    for place, later in enumerate(order):
        if any(
            later.returned is not None and later.returned < earlier.called
            for earlier in order[:place]
        ):
            return False
    state: int | None = None
    for operation in order:
        after = Register().apply(state, operation)
        if after is None:
            return False
        state = after[0]
    return True


def any_history(random: Random) -> History:
    """Return up to six operations of three values in a short time."""
    history: History = []
    for _ in range(random.randint(1, 6)):
        called = random.randint(1, 12)
        returned = called + random.randint(0, 8) if random.random() < 0.8 else None
        value = random.randint(1, 3)
        match random.choice(["read", "write", "exchange"]):
            case "read" if returned is not None:
                history.append(op(Read(), called, returned, random.choice([None, 1, 2, 3])))
            case "exchange":
                exchange = CompareAndSet(random.randint(1, 3), value)
                output = None if returned is None else random.random() < 0.5
                history.append(op(exchange, called, returned, output))
            case _:
                history.append(op(Write(value), called, returned))
    return history


def test_the_search_agrees_with_every_order_tried_by_force() -> None:
    """Its shortcuts lose no order and invent none."""
    seen = {True: 0, False: 0}
    for seed in range(1500):
        history = any_history(Random(seed))
        expected = by_force(history)
        seen[expected] += 1

        found = search(Register(), history).verdict is Verdict.LINEARIZABLE
        assert found == expected, f"seed {seed}: {history}"
    assert min(seen.values()) > 200


def test_the_operation_that_no_order_explains_is_named() -> None:
    """A verdict alone helps nobody."""
    stale = op(Read(), 5, 6, 1)
    history = [op(Write(1), 1, 2), op(Write(2), 3, 4), stale, op(Read(), 7, 8, 2)]

    assert search(Register(), history).stuck == stale


def text(
    does: TextsInput, called: int, returned: int | None, output: str = ""
) -> Operation[TextsInput]:
    """Return one operation on texts."""
    return Operation(does, output, called, returned)


def test_keys_are_apart() -> None:
    """What is read of one key says nothing about another."""
    history = [
        text(Put("a", "x"), 1, 2),
        text(Append("b", "y"), 1, 2),
        text(Append("a", "z"), 3, 4),
        text(Get("a"), 5, 6, "xz"),
        text(Get("b"), 5, 6, "y"),
    ]
    assert search(Texts(), history).verdict is Verdict.LINEARIZABLE

    lost = [*history, text(Get("b"), 7, 8, "")]
    assert search(Texts(), lost).verdict is Verdict.IMPOSSIBLE


def hard(writers: int) -> History:
    """Return a history whose impossibility needs very many orders to be tried."""
    history = [op(Write(number), 1, 100) for number in range(1, writers + 1)]
    history += [op(Read(), 10, 20, 1), op(Read(), 30, 40, 2), op(Read(), 50, 60, 1)]
    return history


@pytest.mark.parametrize("bounds", [{"steps_max": 10_000}, {"memory_max": 1_000}])
def test_a_search_that_runs_into_its_bounds_is_unknown(bounds: dict[str, int]) -> None:
    """Never ok."""
    assert search(Register(), hard(18), **bounds).verdict is Verdict.UNKNOWN
    with pytest.raises(Violation, match="unknown"):
        require(Register(), hard(18), **bounds)


def test_an_impossible_key_ends_the_search_of_a_hard_one() -> None:
    """Each key has a slice in turn; one after another, the hard one would never end."""
    many = [text(Put("a", str(number)), 1, 100) for number in range(20)]
    many += [text(Get("a"), 10 * at, 10 * at + 1, str(at % 2)) for at in range(2, 8)]
    history = [*many, text(Get("b"), 1, 2, "from nowhere")]

    assert search(Texts(), history, steps_max=20_000).verdict is Verdict.IMPOSSIBLE


def test_what_must_be_linearizable_may_not_be_impossible() -> None:
    """The form that a run of the simulator uses."""
    require(Register(), HISTORIES["a read of what was written"][0])
    with pytest.raises(Violation, match="not linearizable"):
        require(Register(), HISTORIES["a stale read"][0])

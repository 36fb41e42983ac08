"""Linearizability: each operation took effect at one moment between its call and its return.

The search of Wing and Gong with the memory of Lowe: take the calls in the order
of time; whatever may come first is tried as the next to take effect; a return
whose operation has not taken effect yet means that a choice before it was
wrong. A set of operations with the state that they lead to is tried once.

    call A      call B      return A      return B
    ---+-----------+------------+-------------+---->
       A first, or B first? both are open until A returns

Operations on different keys are searched apart (the model says how), a slice
of each in turn: one impossible key ends the search, however long others take.
An operation without a return may have taken effect at any time, or never.
Bounds are in steps, not in seconds, so the same history has the same outcome;
a search that runs into them is *unknown*, which is never ok.
"""

from collections.abc import Generator, Hashable, Iterable, Sequence
from enum import Enum
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from chaos.check.violation import Violation

NAME: Final = "linearizability"
STEPS_MAX: Final = 20_000_000
MEMORY_MAX: Final = 2_000_000
"""Remembered (operations, state) pairs of all keys together."""
SLICE: Final = 2_000
"""Steps that one key is searched before the next one's turn."""

In = TypeVar("In")
State = TypeVar("State", bound=Hashable)


class Operation(msgspec.Struct, Generic[In], frozen=True):
    """What one client did. Times are any numbers that grow.

    ``returned`` is None if no answer came: a time-out, a crash of the client.
    An operation that surely had no effect does not belong in a history, unless
    its failure says something about the state.
    """

    does: In
    output: object
    called: int
    returned: int | None


class Model(Protocol[In, State]):
    """What operations do when they come one by one."""

    initial: State

    def parts(self, history: Sequence[Operation[In]]) -> Iterable[Sequence[Operation[In]]]:
        """Split a history into parts that are linearizable together if each is alone."""

    def apply(self, state: State, operation: Operation[In]) -> tuple[State] | None:
        """Return the state after ``operation``, or None if it cannot have ended as it did.

        Of an operation without a return only the case that it had an effect is asked for.
        """

    def only_reads(self, operation: Operation[In]) -> bool:
        """Whether ``operation`` changes no state, whatever that is."""


class Verdict(Enum):
    """How a search ended."""

    LINEARIZABLE = "linearizable"
    IMPOSSIBLE = "not linearizable"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, Generic[In], frozen=True):
    """A verdict; if it is impossible, the return that no order got past."""

    verdict: Verdict
    stuck: Operation[In] | None = None


def search(
    model: Model[In, State],
    history: Sequence[Operation[In]],
    *,
    steps_max: int = STEPS_MAX,
    memory_max: int = MEMORY_MAX,
) -> Outcome[In]:
    """Look for an order of the operations that explains what they returned."""
    parts = [_Search(model, part) for part in model.parts(history)]
    steps = 0
    while parts:
        for part in list(parts):
            if part.advance():
                parts.remove(part)
            elif part.stuck is not None:
                return Outcome(Verdict.IMPOSSIBLE, part.stuck)
            steps += SLICE
        memory = sum(len(part.seen) for part in parts)
        if parts and (steps >= steps_max or memory >= memory_max):
            return Outcome(Verdict.UNKNOWN)
    return Outcome(Verdict.LINEARIZABLE)


def require(
    model: Model[In, State],
    history: Sequence[Operation[In]],
    *,
    steps_max: int = STEPS_MAX,
    memory_max: int = MEMORY_MAX,
) -> None:
    """Search, and be content with nothing but an order.

    Raises:
        Violation: There is none, or none was found in time.
    """
    outcome = search(model, history, steps_max=steps_max, memory_max=memory_max)
    if outcome.verdict is not Verdict.LINEARIZABLE:
        raise Violation(NAME, f"{len(history)} operations: {outcome.verdict.value}, {outcome}")


class _Search(Generic[In, State]):
    """The search of one part: a doubly linked list of its calls and returns.

    Node 0 is both ends of the list. An operation that has taken effect is lifted
    out of it, call and return, and put back when the choice is taken back.
    """

    def __init__(self, model: Model[In, State], history: Sequence[Operation[In]]) -> None:
        self.seen: set[tuple[int, State]] = set()
        self.stuck: Operation[In] | None = None
        """The operation whose return no order got past, once that is certain."""
        self._model = model
        self._history = history
        self._link()
        self._steps = self._run()

    def advance(self) -> bool:
        """Search a slice further; return whether an order was found."""
        return next(self._steps, False)

    def _link(self) -> None:
        # What returned at the very moment of another's call may come after it: calls first.
        events: list[tuple[int, bool, int]] = []
        for number, operation in enumerate(self._history):
            events.append((operation.called, False, number))
            if operation.returned is not None:
                assert operation.returned >= operation.called, f"returns too early: {operation}"
                events.append((operation.returned, True, number))
        events.sort()
        size = len(events) + 1
        self._next = [*range(1, size), 0]
        self._previous = [size - 1, *range(size - 1)]
        self._operation = [0] * size
        self._returns = [False] * size
        self._return_of = [0] * size
        calls: dict[int, int] = {}
        for node, (_, returns, number) in enumerate(events, 1):
            self._operation[node] = number
            self._returns[node] = returns
            if returns:
                self._return_of[calls[number]] = node
            else:
                calls[number] = node

    def _run(self) -> Generator[bool, None, None]:
        model, history, seen = self._model, self._history, self.seen
        state, done, deepest = model.initial, 0, -1
        chosen: list[tuple[int, State, bool]] = []
        stuck: Operation[In] | None = None
        left = sum(operation.returned is not None for operation in history)
        node, steps = self._next[0], 0
        while left:
            steps += 1
            if steps % SLICE == 0:
                yield False
            operation = history[self._operation[node]]
            is_dead_end = self._returns[node]
            if is_dead_end:
                if len(chosen) > deepest:
                    deepest, stuck = len(chosen), operation
            else:
                after = model.apply(state, operation)
                if after is not None:
                    reached = (done | 1 << self._operation[node], after[0])
                    is_free = model.only_reads(operation)
                    if reached not in seen:
                        seen.add(reached)
                        chosen.append((node, state, is_free))
                        done, state = reached
                        left -= self._lift(node)
                        node = self._next[0]
                        continue
                    is_dead_end = is_free
            while is_dead_end:
                if not chosen:
                    self.stuck = stuck
                    yield False
                    return
                node, state, is_dead_end = chosen.pop()
                done ^= 1 << self._operation[node]
                left += self._put_back(node)
            node = self._next[node]
        yield True

    def _lift(self, call: int) -> int:
        """Take an operation out; return the number of returns that went with it."""
        for node in (call, self._return_of[call]):
            if node:
                self._next[self._previous[node]] = self._next[node]
                self._previous[self._next[node]] = self._previous[node]
        return int(self._return_of[call] > 0)

    def _put_back(self, call: int) -> int:
        """Undo ``_lift``, in the opposite order."""
        for node in (self._return_of[call], call):
            if node:
                self._next[self._previous[node]] = node
                self._previous[self._next[node]] = node
        return int(self._return_of[call] > 0)

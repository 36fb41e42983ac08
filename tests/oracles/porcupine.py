"""Reads the histories that porcupine publishes. The line number is the time of an event.

Jepsen's are ``INFO  jepsen.util - 0 :invoke :write 4``, from a register; the
others ``{:process 0, :type :invoke, :f :get, :key "5", :value nil}``, from texts
by key. An operation whose outcome is unknown (``:info``, or no answer at all)
has no return; one that had no effect and says nothing is left out.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from chaos.check.linearizability import Operation
from chaos.check.models import (
    Append,
    CompareAndSet,
    Get,
    Put,
    Read,
    RegisterInput,
    TextsInput,
    Write,
)

JEPSEN: Final = re.compile(
    r"INFO\s+jepsen\.util - (\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)"
)
TEXTS: Final = re.compile(
    r'\{:process (\d+), :type :(invoke|ok|fail|info), :f :(get|put|append), :key "([^"]*)", '
    r':value (nil|"[^"]*")\}'
)
In = TypeVar("In")


class _Reader:
    """Pairs calls with their answers."""

    def __init__(self) -> None:
        self.operations: list[tuple[object, object, int, int | None]] = []
        self._open: dict[str, tuple[object, int]] = {}

    def call(self, process: str, does: object, time: int) -> None:
        """A client begins an operation."""
        self.give_up(process)
        self._open[process] = (does, time)

    def answer(self, process: str, output: object, time: int) -> None:
        """Its answer comes."""
        does, called = self._open.pop(process)
        self.operations.append((does, output, called, time))

    def give_up(self, process: str) -> None:
        """No answer came; a read without one says nothing."""
        does, called = self._open.pop(process, (None, 0))
        if does is not None and not isinstance(does, Read | Get):
            self.operations.append((does, None, called, None))

    def forget(self, process: str) -> None:
        """It had no effect."""
        del self._open[process]

    def end(self) -> list[tuple[object, object, int, int | None]]:
        """The history is over."""
        for process in list(self._open):
            self.give_up(process)
        return self.operations


def read_register(path: Path) -> list[Operation[RegisterInput]]:
    """Return a history of one register.

    Raises:
        ValueError: A line is of no known kind.
    """
    reader = _Reader()

    def take(found: re.Match[str], time: int) -> None:
        process, kind, name, value = found[1], found[2], found[3], found[4].strip()
        if kind == "invoke":
            reader.call(process, _register_input(name, value), time)
        elif kind == "info":
            reader.give_up(process)
        elif kind == "fail" and name != "cas":
            reader.forget(process)
        else:
            number = None if value == "nil" else value
            output = kind == "ok" if name == "cas" else int(number) if number else None
            reader.answer(process, output, time)

    _read_lines(path, JEPSEN, take)
    return [Operation(*each) for each in reader.end()]  # type: ignore[arg-type]


def _register_input(name: str, value: str) -> RegisterInput:
    if name == "read":
        return Read()
    if name == "write":
        return Write(int(value))
    expected, new = value.strip("[]").split()
    return CompareAndSet(int(expected), int(new))


def read_texts(path: Path) -> list[Operation[TextsInput]]:
    """Return a history of texts by key.

    Raises:
        ValueError: A line is of no known kind.
    """
    reader = _Reader()
    inputs: dict[str, Callable[[str, str], TextsInput]] = {
        "get": lambda key, _: Get(key),
        "put": Put,
        "append": Append,
    }

    def take(found: re.Match[str], time: int) -> None:
        process, kind, name, key = found[1], found[2], found[3], found[4]
        text = "" if found[5] == "nil" else found[5][1:-1]
        if kind == "invoke":
            reader.call(process, inputs[name](key, text), time)
        elif kind == "info":
            reader.give_up(process)
        elif kind == "fail":
            reader.forget(process)
        else:
            reader.answer(process, text, time)

    _read_lines(path, TEXTS, take)
    return [Operation(*each) for each in reader.end()]  # type: ignore[arg-type]


def _read_lines(
    path: Path, pattern: re.Pattern[str], take: Callable[[re.Match[str], int], None]
) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = pattern.fullmatch(line.strip())
        if found is None and line.strip():
            raise ValueError(f"{path.name}:{number}: cannot read {line!r}")
        if found is not None:
            take(found, number)


def read_verdicts(path: Path) -> dict[str, bool]:
    """Return by file name whether a history is linearizable."""
    verdicts: dict[str, bool] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, verdict = line.strip().partition(" ")
        if name:
            verdicts[name] = {"true": True, "false": False}[verdict.strip()]
    return verdicts

"""Read-process-write: every input is counted once in the outputs, each try as a whole or not.

A try is a transaction: it finishes some inputs and writes for each of them one record into
every queue of the output's topic. The records name the try, so that it can be held against
what its owner was told.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Outcome, Records

NAME: Final = "counted_once"
EVIDENCE_MAX: Final = 5


class Try(msgspec.Struct):
    """A transaction: its inputs, what its owner knows of it, and where it was told to be."""

    inputs: tuple[int, ...]
    outcome: Outcome = Outcome.UNKNOWN
    places: tuple[tuple[int, int], ...] = ()
    """Queue and offset of each output, in the order of ``outputs``."""


class Counted:
    """The tries of one group.

    Args:
        name: Of the group.
        inputs: What is counted.
        queues: Of the output's topic.
    """

    def __init__(self, name: str, inputs: Records, queues: int) -> None:
        self._name: Final = name
        self._inputs: Final = inputs
        self._queues: Final = queues
        self._tries: Final[list[Try]] = []
        self._found: dict[str, list[str]] = {}

    def begin(self, values: Sequence[bytes]) -> int:
        """Note that a transaction begins with these inputs; return its number."""
        numbers: list[int] = []
        for value in values:
            number = self._inputs.number_of(value)
            if number is None:
                self._add("invented: handed out, and nobody has sent it", f"{value[:40]!r}")
            else:
                numbers.append(number)
        self._tries.append(Try(tuple(numbers)))
        return len(self._tries) - 1

    def outputs(self, number: int) -> list[tuple[int, bytes]]:
        """Return what a transaction writes: queue and value."""
        return [
            (queue, b"%s %d %d" % (self._name.encode(), number, each))
            for each in self._tries[number].inputs
            for queue in range(self._queues)
        ]

    def ok(self, number: int, places: Sequence[tuple[int, int]]) -> None:
        """Its owner has the receipts."""
        self._tries[number].outcome = Outcome.OK
        self._tries[number].places = tuple(places)

    def failed(self, number: int) -> None:
        """Its owner was told: never."""
        self._tries[number].outcome = Outcome.FAILED

    @property
    def done(self) -> int:
        """Transactions that were confirmed."""
        return sum(each.outcome == Outcome.OK for each in self._tries)

    def count(self, outcome: Outcome) -> int:
        """Count the transactions that ended so."""
        return sum(each.outcome == outcome for each in self._tries)

    def check(
        self, inputs: Mapping[int, Sequence[bytes]], outputs: Mapping[int, Sequence[bytes]]
    ) -> list[Anomaly]:
        """Compare with the end, when the group has come to the end of its inputs."""
        places = self._places(outputs)
        stored = {self._inputs.number_of(each) for values in inputs.values() for each in values}
        counted: dict[int, set[int]] = {}
        for number, each in enumerate(self._tries):
            wanted = self.outputs(number)
            there = [output for output in wanted if output in places]
            at = f"transaction {number}, inputs {each.inputs[:5]}"
            if there and len(there) < len(wanted):
                self._add("torn: a part of it is there", at)
            if there and each.outcome == Outcome.FAILED:
                self._add("denied: its owner was told that it never will be", at)
            if each.outcome == Outcome.OK:
                found = [(output[0], places.get(output)) for output in wanted]
                if found != list(each.places):
                    self._add("lost or moved: it is not where its receipts say", at)
            if there:
                for one in each.inputs:
                    counted.setdefault(one, set()).add(number)
        for one, tries in counted.items():
            if len(tries) > 1:
                self._add("doubled: counted more than once", f"input {one}: {sorted(tries)}")
            if one not in stored:
                self._add("invented: counted, and not there", f"input {one}")
        missing = {one for one in stored if one is not None} - counted.keys()
        for one in sorted(missing):
            self._add("uncounted: there, finished, and not counted", f"input {one}")
        return [
            Anomaly(NAME, f"{len(cases)} x {self._name}: {text}", tuple(cases[:EVIDENCE_MAX]))
            for text, cases in self._found.items()
        ]

    def _places(self, outputs: Mapping[int, Sequence[bytes]]) -> dict[tuple[int, bytes], int]:
        """Return where each output is; what is there twice, or nobody's, is told."""
        known = {output for number in range(len(self._tries)) for output in self.outputs(number)}
        places: dict[tuple[int, bytes], int] = {}
        for queue, values in outputs.items():
            for offset, value in enumerate(values):
                key = (queue, value)
                at = f"queue {queue}, offset {offset}: {value[:40]!r}"
                if key not in known:
                    self._add("invented: nobody has written it", at)
                elif key in places:
                    self._add("doubled: written more than once", f"{at} and at {places[key]}")
                else:
                    places[key] = offset
        return places

    def _add(self, what: str, case: str) -> None:
        self._found.setdefault(what, []).append(case)

"""Ends of queues as clients were told them: there is one order of all adding and looking.

What one client has an answer for is there for whoever looks afterwards, by whichever node, and
what one has seen is there for the next one (ruling 23). Offsets alone do not say so: an end that
is a moment old looks like any other one.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.linearizability import NAME, Operation, Verdict, search
from chaos.check.models import Add, End, Queue

NS: Final = 1_000_000_000


class QueueEnds:
    """What was added to the queues of one topic, and who has looked at their ends."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._looks: dict[int, list[Operation[Add | End]]] = {}
        self.look_count = 0

    def seen(self, queue: int, end: int, called: float, returned: float) -> None:
        """Take in what a client was told; times in seconds, as of ``Records``."""
        self.look_count += 1
        self._looks.setdefault(queue, []).append(
            Operation(End(), end, int(called * NS), int(returned * NS))
        )

    def check(self, log: Mapping[int, Sequence[bytes]]) -> list[Anomaly]:
        """Look for an order of everything; ``log`` is what is there when nobody adds any more."""
        found = []
        for queue, values in log.items():
            history = [*self._adds(values), *self._looks.get(queue, ())]
            outcome = search(Queue(), history)
            if outcome.verdict is not Verdict.LINEARIZABLE:
                text = f"queue {queue} of {self._records.name}: {outcome.verdict.value}"
                found.append(
                    Anomaly(NAME, text, (f"{len(history)} operations", f"{outcome.stuck}"))
                )
        return found

    def _adds(self, values: Sequence[bytes]) -> list[Operation[Add | End]]:
        """Return what was added. What nobody had an answer for is there now, or never will be."""
        records = self._records
        adds = []
        for offset, value in enumerate(values):
            number = records.number_of(value)
            if number is None:
                continue  # invented: that is said by whoever looks at the records themselves
            called, returned = int(records.began[number] * NS), None
            if records.outcomes[number] == Outcome.OK:
                offset, returned = records.offsets[number], int(records.ended[number] * NS)
            adds.append(Operation[Add | End](Add(), offset, called, returned))
        return adds

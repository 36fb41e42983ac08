"""Business ids as their senders saw them: in its window an id is stored once, whoever sends it.

Every record has bytes of its own, so it is known which of those with one id is there. All
receipts of an id name one place, and what is there has that id. For a run that is shorter
than the window.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records

NAME: Final = "stored_once"
EVIDENCE_MAX: Final = 5


def check_stored_once(records: Records, log: Mapping[int, Sequence[bytes]]) -> list[Anomaly]:
    """Compare what was sent, a lane for each id, with the end."""
    found: dict[str, list[str]] = {}
    places: dict[int, tuple[int, int]] = {}
    """By id: where it is."""
    for queue, values in log.items():
        for offset, value in enumerate(values):
            at = f"queue {queue}, offset {offset}: {value[:40]!r}"
            number = records.number_of(value)
            if number is None:
                found.setdefault("invented: nobody has sent it", []).append(at)
                continue
            id_ = records.lanes[number]
            if id_ in places:
                first = f"{at} and at queue {places[id_][0]}, offset {places[id_][1]}"
                found.setdefault("doubled: an id is stored more than once", []).append(first)
                continue
            places[id_] = (queue, offset)
            if records.outcomes[number] == Outcome.FAILED:
                found.setdefault("denied: its owner was told never", []).append(at)
    for number, outcome in enumerate(records.outcomes):
        told = (records.queues[number], records.offsets[number])
        id_ = records.lanes[number]
        if outcome == Outcome.OK and places.get(id_) != told:
            when = f"acked at {told}, {records.ended[number]:.2f} s into the run"
            now = f"record {number} of id {id_}, {when}, is at {places.get(id_)}"
            found.setdefault("lost: not where a receipt says", []).append(now)
    return [
        Anomaly(NAME, f"{len(cases)} x {records.name}: {text}", tuple(cases[:EVIDENCE_MAX]))
        for text, cases in found.items()
    ]

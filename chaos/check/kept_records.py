"""A topic at the end of a run against what its producers were told. O(n), over whole queues.

Lost: acknowledged and not where the receipt says. Invented: nobody has sent it. Doubled: there
more than once. Denied: there although its owner was told that it never would be. Reordered: behind
what the same producer sent later with the same key. Scattered: not in the queue where others of
its key are, so that they have no order.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records

NAME: Final = "kept_records"
EVIDENCE_MAX: Final = 5

Log = Mapping[int, Sequence[bytes]]
"""By queue: the values from offset 0 on."""


def check_kept(records: Records, log: Log) -> list[Anomaly]:
    """Compare; every kind of anomaly at most once, with some of its cases."""
    found: dict[str, list[str]] = {}
    places: dict[int, tuple[int, int]] = {}
    homes: dict[int, int] = {}
    for queue, values in log.items():
        last: dict[int, int] = {}
        for offset, value in enumerate(values):
            at = f"queue {queue}, offset {offset}: {value[:40]!r}"
            number = records.number_of(value)
            if number is None:
                found.setdefault("invented: nobody has sent it", []).append(at)
                continue
            if number in places:
                first = f"and at queue {places[number][0]}, offset {places[number][1]}"
                found.setdefault("doubled: stored more than once", []).append(f"{at} {first}")
                continue
            places[number] = (queue, offset)
            if records.outcomes[number] == Outcome.FAILED:
                found.setdefault("denied: its owner was told never", []).append(at)
            lane = records.lanes[number]
            if last.get(lane, -1) > number:
                later = f"{at} is behind record {last[lane]}"
                found.setdefault("reordered: behind a later one of its key", []).append(later)
            last[lane] = max(number, last.get(lane, -1))
            if homes.setdefault(lane, queue) != queue:
                apart = f"{at}, others of its key are in queue {homes[lane]}"
                found.setdefault("scattered: in another queue than its key", []).append(apart)
    for number, outcome in enumerate(records.outcomes):
        if outcome != Outcome.OK:
            continue
        told = (records.queues[number], records.offsets[number])
        if places.get(number) != told:
            term, when = records.terms[number], records.ended[number]
            where = f"record {number}, acked at {told} in term {term}, {when:.2f} s into the run"
            now = f"{where}, is at {places.get(number)}"
            found.setdefault("lost: not where its receipt says", []).append(now)
    return [
        Anomaly(NAME, f"{len(cases)} x {records.name}: {text}", tuple(cases[:EVIDENCE_MAX]))
        for text, cases in found.items()
    ]

"""How long sends take while one follower stands still, has a slow disk, or late links.

A majority is there without it, so nobody should wait for it. Compared is with the same run's own
time in which nothing was wrong. What was recorded anyway says when that was: the events, how the
nodes looked, and when each record was sent and acknowledged. Told, not judged: on a machine that
does other things, too, a bar says more about those.

A fault counts if it was alone, and all nodes but the one that it hit were there, with one leader,
another one, from the look before it until its end. Nothing is wrong where two looks in a row show
all of them with one leader. Neither counts before ``SETTLED_S`` after any other fault.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from chaos.check.client_history import Event, Outcome, Records
from chaos.check.leaderless_time import quantile
from chaos.live.world import Sight

KINDS: Final = {
    "pause": "a follower is paused",
    "slow-disk": "a follower's disk is slow",
    "late": "a follower's links are late",
}
"""The faults that make a follower slow, and what they are to be called."""
BAR: Final = 1.5
"""So many times the healthy one the slowest hundredth of the sends may be."""
SETTLED_S: Final = 0.5
"""After a fault clients connect again, and nodes catch up."""
HERE: Final = frozenset(("leader", "follower"))


Seconds = Sequence[float]


class SendTimes(msgspec.Struct, frozen=True):
    """Seconds that sends took.

    Attributes:
        healthy: Where nothing was wrong.
        beside: By the kind of the fault: those that began while it lasted.
        times: By the kind of the fault: how many of them there were.
    """

    healthy: Seconds
    beside: Mapping[str, Seconds]
    times: Mapping[str, int]


def send_times(events: Sequence[Event], sights: Sequence[Sight], records: Records) -> SendTimes:
    """Take the sends that were acknowledged apart: by what was wrong when they began."""
    sends = _Sends(records)
    beside = {kind: array("d") for kind in KINDS}
    times = dict.fromkeys(KINDS, 0)
    for event in events:
        if event.kind in KINDS and event.happened and _is_alone(event, sights):
            began = max(event.at, _settled(event, events))
            took = sends.begun(began, event.until)
            beside[event.kind].extend(took)
            times[event.kind] += bool(took)
    healthy = array("d")
    for began, until in _quiet(events, sights):
        healthy.extend(sends.whole(began, until))
    return SendTimes(healthy, beside, times)


def of_runs(runs: Sequence[SendTimes]) -> SendTimes:
    """Put the times of several runs together."""
    return SendTimes(
        _joined(each.healthy for each in runs),
        {kind: _joined(each.beside[kind] for each in runs) for kind in KINDS},
        {kind: sum(each.times[kind] for each in runs) for kind in KINDS},
    )


def lines(found: SendTimes) -> Iterator[tuple[str, str]]:
    """Yield for each kind what it is, and how long sends took beside it."""
    healthy_s = quantile(found.healthy, 0.99) if found.healthy else 0.0
    for kind, text in KINDS.items():
        title = f"send p99 while {text}, {found.times[kind]} times"
        took = found.beside[kind]
        if not took:
            yield title, "-"
            continue
        p99_s = quantile(took, 0.99)
        told = f"{p99_s * 1000:.1f} ms of {len(took):,} sends"
        if healthy_s:
            told += f", {p99_s / healthy_s:.2f} times the healthy {healthy_s * 1000:.1f} ms"
        yield title, told


class _Sends:
    """Sends that were acknowledged, in the order in which they began."""

    def __init__(self, records: Records) -> None:
        sends = sorted(
            (records.began[number], records.ended[number])
            for number, outcome in enumerate(records.outcomes)
            if outcome == Outcome.OK
        )
        self._began = array("d", (began for began, _ in sends))
        self._ended = array("d", (ended for _, ended in sends))

    def begun(self, after: float, before: float) -> Seconds:
        """Return how long those took that began in this time, whenever they were over."""
        first, last = bisect_left(self._began, after), bisect_right(self._began, before)
        return array(
            "d", (self._ended[place] - self._began[place] for place in range(first, last))
        )

    def whole(self, after: float, before: float) -> Seconds:
        """Return how long those took that began and ended in this time.

        What the next fault holds up makes healthy time no slower than it is.
        """
        first, last = bisect_left(self._began, after), bisect_right(self._began, before)
        return array(
            "d",
            (
                self._ended[place] - self._began[place]
                for place in range(first, last)
                if self._ended[place] <= before
            ),
        )


def _is_alone(event: Event, sights: Sequence[Sight]) -> bool:
    """Whether it hit a follower, and nothing else was wrong."""
    if event.beside or event.lost_term:
        return False
    first = max(0, bisect_left(sights, event.at, key=_at) - 1)
    seen = sights[first : bisect_right(sights, event.until, key=_at)]
    reigns = {(sight.leader, sight.term) for sight in seen}
    if len(reigns) != 1 or seen[0].leader in ("", event.target):
        return False
    return HERE.issuperset(seen[0].roles) and all(
        sum(role not in HERE for role in sight.roles) <= 1 for sight in seen
    )


def _settled(event: Event, events: Sequence[Event]) -> float:
    """Return when whatever ended before an event has been over for long enough."""
    ends = [each.until for each in events if each is not event and each.until <= event.at]
    return max(ends, default=0.0) + SETTLED_S


def _quiet(events: Sequence[Event], sights: Sequence[Sight]) -> Iterator[tuple[float, float]]:
    """Yield the times in which nothing was wrong, in order."""
    wrong = [(0.0, SETTLED_S), *((each.at, each.until + SETTLED_S) for each in events)]
    quiet: tuple[float, float] | None = None
    for one, other in pairwise(sights):
        is_well = (
            (one.leader, one.term) == (other.leader, other.term)
            and one.leader
            and HERE.issuperset((*one.roles, *other.roles))
            and not any(at < other.at and one.at < until for at, until in wrong)
        )
        if is_well:
            quiet = (one.at if quiet is None else quiet[0], other.at)
        elif quiet is not None:
            yield quiet
            quiet = None
    if quiet is not None:
        yield quiet


def _at(sight: Sight) -> float:
    return sight.at


def _joined(parts: Iterable[Seconds]) -> Seconds:
    joined = array("d")
    for each in parts:
        joined.extend(each)
    return joined

"""The alarm of blocked messages: a group whose policy is to block waits for somebody's decision.

Every node could raise it, as all have applied the same; the one that leads does.
"""

from datetime import UTC, datetime
from typing import Final

from raftlog.broker.machine import BrokerMachine

NAMED_MAX: Final = 3
"""Groups that are named: those that wait longest."""


def blocked_alarm(machine: BrokerMachine) -> str | None:
    """Return what somebody has to look at: which groups wait, and since when; None: none does."""
    leasing = machine.leasing
    waiting = [
        (since_ms, group.name, leasing.flights.tally(number).blocked)
        for number, since_ms in leasing.flights.blocked.since_ms().items()
        if (group := leasing.groups.numbered(number)) is not None  # else it is swept away
    ]
    if not waiting:
        return None
    waiting.sort()
    named = [
        f"{count} of group {name!r} since {_moment(since_ms)}"
        for since_ms, name, count in waiting[:NAMED_MAX]
    ]
    more = len(waiting) - len(named)
    if more:
        named.append(f"those of {more} more group(s)")
    total = sum(count for *_, count in waiting)
    return (
        f"{total} message(s) of queue-style groups are blocked, and nobody gets them until "
        f"somebody decides: {', '.join(named)}; see them with: raftlog queue-group in-flight "
        f"{waiting[0][1]} --blocked"
    )


def _moment(log_time_ms: int) -> str:
    return datetime.fromtimestamp(log_time_ms / 1000, UTC).isoformat(timespec="seconds")

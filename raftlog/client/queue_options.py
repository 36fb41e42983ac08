"""What is said of a queue-style group: by who consumes, or by hand."""

from collections.abc import Sequence
from typing import Final, Literal, TypedDict

from raftlog.base.errors import BadDelay, BadRequest
from raftlog.client.durations import Duration
from raftlog.client.queue_message import delay_ms, lease_ms
from raftlog.wire.filters import record_filter
from raftlog.wire.schema import client, leases

OnPoison = Literal["dead-letter", "skip", "block"]
POISON: Final[dict[str, "leases.PoisonPolicy.ValueType"]] = {
    "dead-letter": leases.POISON_POLICY_DEAD_LETTER,
    "skip": leases.POISON_POLICY_SKIP,
    "block": leases.POISON_POLICY_BLOCK,
}
POISON_NAMES: Final[dict[int, OnPoison]] = {
    leases.POISON_POLICY_DEAD_LETTER: "dead-letter",
    leases.POISON_POLICY_SKIP: "skip",
    leases.POISON_POLICY_BLOCK: "block",
}


class GroupOptions(TypedDict, total=False):
    """What holds for a queue-style group; what is left out is as it is, or has its default."""

    start: Literal["earliest", "latest"]
    """Where a queue begins that the group does not read yet ("earliest")."""
    lease: Duration
    """Seconds until a message that was not settled is leased again, 1 s to 12 h (30 s)."""
    attempts: int
    """How often a message is leased, 1 to 1000 (16)."""
    retry: Sequence[Duration]
    """Seconds to wait after each attempt, the last one again and again (10 s to 2 h)."""
    in_flight: int
    """Messages in flight at most, 1 to 100 000 (10 000)."""
    fifo: bool
    """Messages of one key are leased one after the other, in their order (False)."""
    on_poison: OnPoison
    """What becomes of a message whose attempts are used up ("dead-letter")."""
    filter: str
    """A condition over headers, as for ``Client.reader``: what does not meet it is passed over."""
    tags: Sequence[str]
    """Only messages with one of these tags; with a filter as well: both must hold."""


class ConsumerOptions(GroupOptions, total=False):
    """What a consumer expects of its group: another one is refused, or gets another version."""

    version: int
    """Of what is said here; one above the group's replaces what that reads (0: not said)."""


def opening_of(
    group: str,
    topics: str | Sequence[str],
    options: ConsumerOptions,
    by: "leases.OpenedBy.ValueType" = leases.OPENED_BY_CONSUMER,
) -> leases.OpenQueueGroup:
    """Return the request that opens a group.

    Raises:
        BadRequest: A policy or a start that is none, a version below 0, or a length of time
            that can't be.
        BadDelay: A retry's delay that can't be.
        BadFilter: The filter does not parse; the text shows where.
    """
    start, poison = options.get("start", "earliest"), options.get("on_poison")
    if start not in ("earliest", "latest"):
        raise BadRequest(f"start is 'earliest' or 'latest', not {start!r}")
    if poison is not None and poison not in POISON:
        raise BadRequest(f"on_poison is one of {', '.join(POISON)}, not {poison!r}")
    settings = leases.QueueGroupSettings(
        attempts_max=_count(options.get("attempts"), "attempts"),
        in_flight_max=_count(options.get("in_flight"), "in_flight"),
        fifo=options.get("fifo"),
        poison=None if poison is None else POISON[poison],
        retry_ms=[_delay(delay) for delay in options.get("retry", ())],
    )
    if "lease" in options:
        settings.lease_ms = lease_ms(options["lease"])
    version = options.get("version", 0)
    if not 0 <= version < 1 << 63:
        raise BadRequest(f"version {version} of a subscription; it is 1 or more")
    wanted = None
    if "filter" in options or "tags" in options:
        found = record_filter(options.get("tags", ()), options.get("filter", ""))
        wanted = client.RecordFilter(tags=found.tags, condition=found.condition)
    return leases.OpenQueueGroup(
        group=group,
        topics=(topics,) if isinstance(topics, str) else topics,
        from_end=start == "latest",
        settings=settings,
        filter=wanted,
        version=version,
        by=by,
    )


def _count(value: int | None, name: str) -> int | None:
    if value is not None and not 0 < value < 1 << 31:
        raise BadRequest(f"{name} of {value}; it is 1 or more")
    return value


def _delay(delay: Duration) -> int:
    found = delay_ms(delay)
    if found is None:
        raise BadDelay("a retry's delay is a time")
    return found

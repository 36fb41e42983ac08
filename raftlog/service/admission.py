"""Admission: the leader measures what is sent against the quotas, and refuses beyond them.

A meter is a bucket that holds a second's worth and fills at the quota's rate. What is sent is
taken from it; a batch comes in while anything is left, so that one which is larger than a
second's worth comes in too, and is paid for by a longer wait::

    quota 1 MB/s   3 MB come in at once --> 2 MB owed --> for 2 s the answer is
                   QuotaExceeded(cause, retry_after = what is left of those 2 s)

Meters are soft state (ruling 25): a new leader begins with full buckets. Time is the node's own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from raftlog.base.errors import QuotaExceeded
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.quotas import Quota
from raftlog.node.ports import Scheduler

METERS_MAX: Final = 10_000
"""Clients and topics that are measured at once; a full bucket needs no meter."""
NS_PER_S: Final = 1_000_000_000
LEAST_RETRY_S: Final = 0.001


class _Meter(msgspec.Struct):
    """What is left of a second's worth, in bytes and in records; negative: owed."""

    at_ns: int
    bytes: float
    records: float

    def fill(self, quota: Quota, now_ns: int) -> None:
        """Add what has come since it was looked at last."""
        passed_s = (now_ns - self.at_ns) / NS_PER_S
        self.at_ns = now_ns
        self.bytes = min(quota.bytes_per_s, self.bytes + passed_s * quota.bytes_per_s)
        self.records = min(quota.records_per_s, self.records + passed_s * quota.records_per_s)

    def wait_s(self, quota: Quota) -> float:
        """Return how long nothing may come in; 0: it may now."""
        waits = [
            (LEAST_RETRY_S - left / rate)
            for left, rate in (
                (self.bytes, quota.bytes_per_s),
                (self.records, quota.records_per_s),
            )
            if rate and left <= 0
        ]
        return max(waits, default=0.0)


class Admission:
    """The meters of one shard."""

    def __init__(self, machine: BrokerMachine, scheduler: Scheduler) -> None:
        self._quotas: Final = machine.state.quotas
        self._scheduler: Final = scheduler
        self._meters: Final[dict[tuple[str, str], _Meter]] = {}
        self._refused: Final[Counter[tuple[str, str]]] = Counter()

    @property
    def is_needed(self) -> bool:
        """Whether there are quotas: asked for every batch, before who sends it is looked at."""
        return bool(self._quotas.table.rows)

    def refusal(self, client: str, topic: str, size: int, records: int) -> QuotaExceeded | None:
        """Take a batch in, or say why not: then nothing is taken from any bucket."""
        return self.refusal_of_all(client, ((topic, size, records),))

    def refusal_of_all(
        self, client: str, batches: Iterable[tuple[str, int, int]]
    ) -> QuotaExceeded | None:
        """Take batches in (topic, bytes, records) that come together: all of them, or none."""
        now_ns = self._scheduler.now_ns()
        taken: list[tuple[_Meter, int, int]] = []
        for topic, size, records in batches:
            for name, quota in (
                (client, self._quotas.of_client(client)),
                (topic, self._quotas.of_topic(topic)),
            ):
                if quota is None:
                    continue
                meter = self._meter(quota, name, now_ns)
                wait_s = meter.wait_s(quota)
                if wait_s > 0:
                    self._refused[quota.kind, quota.name] += 1
                    return QuotaExceeded(_cause(quota, name), wait_s)
                taken.append((meter, size, records))
        for meter, size, records in taken:
            meter.bytes -= size
            meter.records -= records
        return None

    def refused(self, quota: Quota) -> int:
        """Return how often a quota was the reason, since this node runs."""
        return self._refused[quota.kind, quota.name]

    def counters(self) -> Mapping[str, int]:
        """Return what was counted."""
        return {
            "quotas_size": len(self._quotas.table),
            "quota_meters_size": len(self._meters),
            "quota_refused": sum(self._refused.values()),
        }

    def _meter(self, quota: Quota, name: str, now_ns: int) -> _Meter:
        key = (quota.kind, name)
        meter = self._meters.get(key)
        if meter is None:
            if len(self._meters) >= METERS_MAX:
                self._meters.pop(next(iter(self._meters)))
            meter = _Meter(now_ns, quota.bytes_per_s, quota.records_per_s)
        else:
            del self._meters[key]  # to the end: who was measured longest ago is first
            meter.fill(quota, now_ns)
        self._meters[key] = meter
        return meter


def _cause(quota: Quota, name: str) -> str:
    bounds = [
        f"{bound:,} {unit}/s"
        for bound, unit in ((quota.bytes_per_s, "bytes"), (quota.records_per_s, "records"))
        if bound
    ]
    return f"{quota.kind} {name!r} has a quota of {' and '.join(bounds)}"

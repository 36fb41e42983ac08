"""Quotas: set and removed by commits, looked at linearizably (ruling 23)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.broker.machine import BrokerMachine
from raftlog.broker.quotas import Kind, Quota, QuotaRemoved, RemoveQuota, SetQuota
from raftlog.service.admission import Admission
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, look, propose

PAGE_MAX: Final = 500
"""Rows in one answer to a list."""


class Page(msgspec.Struct, frozen=True):
    """Quotas by kind and name, each with how often it was the reason of a refusal here."""

    quotas: Sequence[tuple[Quota, int]]
    more: bool


class QuotaService:
    """The quotas of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._admission: Final = admission

    def set(self, kind: Kind, name: str, rates: tuple[int, int], reply: Reply[Quota]) -> None:
        """Bound bytes and records a second (0: no bound); ``BadName``, ``BadRequest`` if not.

        ``TopicNotFound`` and ``LimitReached``, too.
        """
        propose(self._replica, lambda: SetQuota(kind, name, *rates), Quota, reply)

    def remove(self, kind: Kind, name: str, reply: Reply[QuotaRemoved]) -> None:
        """Take a quota away; harmless if there is none."""
        propose(self._replica, lambda: RemoveQuota(kind, name), QuotaRemoved, reply)

    def list(self, after: tuple[str, str], count_max: int, reply: Reply[Page]) -> None:
        """Tell the quotas after a kind and name, at most ``count_max`` (0: 500)."""
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def answer() -> Page:
            found = self._machine.state.quotas.after(after, count + 1)
            rows = [(quota, self._admission.refused(quota)) for quota in found[:count]]
            return Page(rows, len(rows) < len(found))

        look(self._replica, answer, reply)

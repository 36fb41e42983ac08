"""Quotas: how much a client may send, and how much a topic takes (rulings 25 and 29).

The limits are replicated configuration and survive every leader; what is measured against them
is the leader's own and no state (``service.admission``).
"""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from raftlog.base.errors import BadRequest, LimitReached
from raftlog.base.limits import QUOTAS_MAX
from raftlog.base.names import check_name
from raftlog.broker.table import Table
from raftlog.broker.topics import Topics
from raftlog.broker.values import Count, Name

Kind = Literal["client", "topic"]
ANY_CLIENT: Final = "*"
"""Each client that has no quota of its own."""
NO_BOUND: Final = 0


class SetQuota(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Bound what a client sends, or a topic takes. Outcome: ``Quota``.

    The same again changes nothing.
    """

    kind: Kind
    name: Annotated[str, msgspec.Meta(min_length=1)]
    bytes_per_s: Count = NO_BOUND
    records_per_s: Count = NO_BOUND

    def __post_init__(self) -> None:
        """Refuse a name that nobody can have, and a quota that bounds nothing."""
        if (self.kind, self.name) != ("client", ANY_CLIENT):
            check_name(self.name, self.kind)
        if self.bytes_per_s == self.records_per_s == NO_BOUND:
            raise BadRequest("a quota bounds bytes or records a second; remove it to have none")


class RemoveQuota(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Take a quota away. Outcome: ``QuotaRemoved``, also if there was none."""

    kind: Kind
    name: Name


class QuotaRemoved(msgspec.Struct, frozen=True, gc=False):
    """There is none (any more)."""


class Quota(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """How much a client may send, or a topic takes, a second; 0: no bound. A row of state."""

    kind: Kind
    name: str
    bytes_per_s: int
    records_per_s: int


class Quotas:
    """The quotas of one shard, by kind and name."""

    def __init__(self, topics: Topics) -> None:
        self.table: Final[Table[tuple[str, str], Quota]] = Table()
        self._topics: Final = topics

    def load(self, rows: Iterable[Quota]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.kind, row.name), row) for row in rows)

    def of_client(self, name: str) -> Quota | None:
        """Return a client's own quota, or the one of each that has none."""
        rows = self.table.rows
        return rows.get(("client", name)) or rows.get(("client", ANY_CLIENT))

    def of_topic(self, name: str) -> Quota | None:
        """Return a topic's quota."""
        return self.table.rows.get(("topic", name))

    def after(self, key: tuple[str, str], count: int) -> list[Quota]:
        """Return up to ``count`` quotas after ``key``, by kind and name."""
        return list(islice(self.table.after(key), count))

    def set(self, command: SetQuota) -> Quota:
        """Set a quota.

        Raises:
            TopicNotFound: It is for a topic that does not exist.
            LimitReached: There are too many.
        """
        if command.kind == "topic":
            self._topics.find(command.name)
        key = (command.kind, command.name)
        if len(self.table) >= QUOTAS_MAX and self.table.get(key) is None:
            raise LimitReached(f"there are {len(self.table)} quotas; {QUOTAS_MAX} may be")
        quota = Quota(command.kind, command.name, command.bytes_per_s, command.records_per_s)
        self.table.put(key, quota)
        return quota

    def remove(self, kind: Kind, name: str) -> QuotaRemoved:
        """Take a quota away, if there is one."""
        if self.table.get((kind, name)) is not None:
            self.table.delete((kind, name))
        return QuotaRemoved()

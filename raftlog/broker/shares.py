"""Who owns which queue of a group whose assignment is state: sticky and cooperative.

One row for each queue: its owner, and the generation *since* which it is that owner's. In
it the owner claims the queue, and goes on in it through all later generations: who loses and
gains nothing has nothing to do. Whoever gets the queue next claims it in a later one, which
fences the owner before (``claims``).

*Sticky* gives a queue to its new owner at once. *Cooperative* lets the owner finish::

    generation 5     queue 3: owner a since 2
    b joins: 6       queue 3: owner a since 2, heir b, revoked in 6
                     a hands out no more of it, commits what it has done, and
    a releases: 7    queue 3: owner b since 7        (b claims it, and begins there)

The heir gets it only by that release, or when the owner is no member any more. A release
names the generation of the revocation: a late copy of it takes nothing away that was given
back, and revoked again, meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import BadRequest, Fenced, LimitReached
from raftlog.base.limits import OFFSETS_PER_COMMAND_MAX, SHARES_MAX
from raftlog.broker.assignment import spread
from raftlog.broker.table import Table
from raftlog.broker.values import Count, Name, QueueNumber

_Revoked = Annotated[
    tuple[tuple[QueueNumber, Count], ...],
    msgspec.Meta(min_length=1, max_length=OFFSETS_PER_COMMAND_MAX),
]


class ReleaseQueues(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Let go of revoked queues. Outcome: ``QueuesReleased``.

    Each with the generation of its revocation; what is not revoked in that one stays as it is.
    """

    group: Name
    member: Name
    queues: _Revoked
    life: Count = 0

    def __post_init__(self) -> None:
        """Refuse a queue that is named twice."""
        if len({queue for queue, _ in self.queues}) != len(self.queues):
            raise BadRequest("a queue is named twice")


class QueuesReleased(msgspec.Struct, frozen=True, gc=False):
    """Their heirs have them, since this generation at the latest."""

    generation: int


class AssignedQueue(msgspec.Struct, frozen=True, gc=False):
    """A queue of one member.

    Attributes:
        place: Which of the topic's queues.
        since: The generation to claim it in.
        revoked: In which generation somebody else became its heir; 0: nobody is.
    """

    queue: int
    topic: str
    place: int
    since: int
    revoked: int = 0


# -- behaviour


class Share(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who owns a queue of a group. A row of state."""

    group: str
    queue: int
    owner: str
    since: int
    heir: str = ""
    revoked: int = 0


class Shares:
    """The assignments of one shard's groups that are state, by group and queue."""

    def __init__(self) -> None:
        self.table: Final[Table[tuple[str, int], Share]] = Table()
        self._owned: Final[dict[str, dict[str, dict[int, Share]]]] = {}
        """By group and owner."""

    def load(self, rows: Iterable[Share]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.group, row.queue), row) for row in rows)
        self._owned.clear()
        for row in self.table.rows.values():
            self._link(row)

    def of_group(self, group: str) -> dict[int, Share]:
        """Return a group's rows, by queue."""
        return {
            queue: row
            for rows in self._owned.get(group, {}).values()
            for queue, row in rows.items()
        }

    def of_member(self, group: str, member: str) -> Iterable[Share]:
        """Return what a member owns."""
        return self._owned.get(group, {}).get(member, {}).values()

    def check_room(self, count: int) -> None:
        """Check that so many more queues can be shared out.

        Raises:
            LimitReached: They can't.
        """
        if len(self.table) + count > SHARES_MAX:
            raise LimitReached(
                f"{len(self.table)} queues are shared out by sticky and cooperative groups; "
                f"{SHARES_MAX} may be"
            )

    def check_claim(self, group: str, queue: int, generation: int, member: str) -> None:
        """Check that a queue is a member's since ``generation``.

        Raises:
            Fenced: It is somebody else's, or since another generation.
        """
        row = self.table.get((group, queue))
        if row is None:
            raise Fenced(f"queue {queue} is nobody's in group {group!r}")
        if (row.owner, row.since) != (member, generation):
            raise Fenced(
                f"queue {queue} is {row.owner}'s since generation {row.since}, not "
                f"{member}'s since {generation}"
            )

    def share_out(
        self,
        group: str,
        queues: Sequence[int],
        members: Sequence[str],
        generation: int,
        *,
        cooperative: bool,
    ) -> None:
        """Share out ``queues`` among ``members`` in a new generation."""
        rows = self.of_group(group)
        for gone in rows.keys() - set(queues) if members else tuple(rows):
            self._remove(rows.pop(gone))
        if not members:
            return
        now = set(members)
        owners = {
            queue: row.owner if row.owner in now else row.heir for queue, row in rows.items()
        }
        targets = spread(queues, members, owners)
        for queue in queues:
            row, target = rows.get(queue), targets[queue]
            if row is None:
                self._add(Share(group, queue, target, generation))
            elif row.owner == target:
                self._set_heir(row, "", 0)
            elif cooperative and row.owner in now:
                self._set_heir(row, target, row.revoked or generation)
            else:
                self._hand_over(row, target, generation)

    def release(self, command: ReleaseQueues, generation: int) -> bool:
        """Give revoked queues to their heirs, in ``generation``; return whether any was."""
        found = False
        for queue, revoked in command.queues:
            row = self.table.get((command.group, queue))
            if row is None or not row.revoked or row.owner != command.member:
                continue
            if row.revoked == revoked:
                self._hand_over(row, row.heir, generation)
                found = True
        return found

    def claim_anew(self, group: str, queues: Iterable[int], generation: int) -> None:
        """Let the owners of ``queues`` claim them again: their claims are over."""
        for queue in queues:
            row = self.table.get((group, queue))
            if row is not None:
                self.table.touch((group, queue))
                row.since = generation

    def forget(self, group: str) -> None:
        """Forget a group's rows: its assignment is no state any more."""
        for row in self.of_group(group).values():
            self._remove(row)

    def _set_heir(self, row: Share, heir: str, revoked: int) -> None:
        if (row.heir, row.revoked) != (heir, revoked):
            self.table.touch((row.group, row.queue))
            row.heir, row.revoked = heir, revoked

    def _hand_over(self, row: Share, owner: str, generation: int) -> None:
        self.table.touch((row.group, row.queue))
        self._unlink(row)
        row.owner, row.since, row.heir, row.revoked = owner, generation, "", 0
        self._link(row)

    def _add(self, row: Share) -> None:
        self.table.put((row.group, row.queue), row)
        self._link(row)

    def _remove(self, row: Share) -> None:
        self.table.delete((row.group, row.queue))
        self._unlink(row)

    def _link(self, row: Share) -> None:
        of_group = self._owned.setdefault(row.group, {})
        of_group.setdefault(row.owner, {})[row.queue] = row

    def _unlink(self, row: Share) -> None:
        of_group = self._owned[row.group]
        rows = of_group[row.owner]
        del rows[row.queue]
        if not rows:
            del of_group[row.owner]
            if not of_group:
                del self._owned[row.group]


def balance(rows: Mapping[int, Share], members: Iterable[str]) -> list[int]:
    """Return how many queues each member has once every revoked queue is its heir's."""
    counts = dict.fromkeys(members, 0)
    for row in rows.values():
        counts[row.heir or row.owner] += 1
    return sorted(counts.values())

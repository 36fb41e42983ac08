"""Groups: a queue has one owner, offsets go forward, and nothing is passed over (ruling 12).

Told in the order of the log: claims, commits, seeks. A commit counts only from
the member whose claim is the newest one of that queue; it never goes back. What
it passes, a member of the group has been given: else records are skipped.

Told by clients: an acknowledged commit is not forgotten. Whoever claims the
queue later starts there or behind, unless somebody has sought.
"""

from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "group_offsets"

Key = tuple[str, int]
"""Group and queue."""


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The newest claim of a queue; a seek leaves it without a member."""

    generation: int
    member: str
    life: int = 0


class GroupOffsets:
    """Claims and offsets as the log has them, and what clients were told of them."""

    def __init__(self) -> None:
        self.committed: dict[Key, int] = {}
        self._owners: dict[Key, Owner] = {}
        self._starts: dict[int, int] = {}
        self._given: dict[Key, set[int]] = {}
        self._acked: dict[Key, int] = {}
        self._seeks: dict[Key, list[int]] = {}

    # -- in the order of the log

    def claimed(
        self,
        group: str,
        queue: int,
        generation: int,
        member: str,
        committed: int | None,
        life: int = 0,
    ) -> None:
        """Take in that a claim was granted, with this committed offset.

        Raises:
            Violation: A newer claim exists, another member (or a later life of it) has this
                generation's, or the offset is not the committed one.
        """
        key = (group, queue)
        owner = self._owners.get(key)
        who = f"{member} of {group}, generation {generation}, queue {queue}"
        if owner is not None:
            fenced = generation < owner.generation
            taken = generation == owner.generation and owner.member not in ("", member)
            older = generation == owner.generation and life < owner.life
            if fenced or taken or older:
                raise Violation(NAME, f"{who}: claims what {owner} has")
        if committed != self.committed.get(key):
            raise Violation(
                NAME, f"{who}: is told {committed}, committed is {self.committed.get(key)}"
            )
        self._owners[key] = Owner(generation, member, life)

    def commits(
        self, group: str, queue: int, generation: int, member: str, offset: int, life: int = 0
    ) -> None:
        """Take in that a commit counted.

        Raises:
            Violation: Its member does not own the queue, or not in that generation;
                the offset goes back; or records on the way were given to nobody.
        """
        key = (group, queue)
        who = f"{member} of {group}, generation {generation}, queue {queue}"
        if self._owners.get(key) != Owner(generation, member, life):
            raise Violation(NAME, f"{who}: commits what {self._owners.get(key)} owns")
        before = self.committed.get(key, 0)
        if offset < before:
            raise Violation(NAME, f"{who}: commits {offset} after {before}")
        given = self._given.get(key, set())
        for passed in range(max(before, self._starts.get(queue, 0)), offset):
            if passed not in given:
                raise Violation(NAME, f"{who}: commits {offset}; nobody was given {passed}")
        self.committed[key] = offset

    def sought(self, group: str, queue: int, generation: int, offset: int) -> None:
        """Take in that a seek was committed: it may go anywhere, and ends the claim."""
        self.committed[group, queue] = offset
        self._owners[group, queue] = Owner(generation, "")

    def forgotten(self, group: str) -> None:
        """Take in that a group was deleted, and its offsets with it."""
        for key in [key for key in self._owners if key[0] == group]:
            del self._owners[key]
            self.committed.pop(key, None)
        for key in [key for key in self._acked if key[0] == group]:
            del self._acked[key]

    def of_queue(self, queue: int) -> dict[str, int]:
        """Return what each group that claimed a queue, and was not deleted, has committed."""
        return {
            group: self.committed.get((group, queue)) or 0
            for group, claimed in self._owners
            if claimed == queue
        }

    def starts(self, queue: int, offset: int) -> None:
        """Take in that what lies before ``offset`` is forgotten: nobody can be given it."""
        self._starts[queue] = max(offset, self._starts.get(queue, 0))

    # -- as clients see it

    def gives(self, group: str, queue: int, first: int, after: int) -> None:
        """Take in that a member of the group was given the records from ``first`` on."""
        self._given.setdefault((group, queue), set()).update(range(first, after))

    def seeks(self, group: str, queue: int, offset: int) -> None:
        """Take in that somebody asks for a seek. It may come true any time from now on."""
        self._seeks.setdefault((group, queue), []).append(offset)

    def acked(self, group: str, queue: int, offset: int) -> None:
        """Take in that a member knows that its commit is stored."""
        key = (group, queue)
        self._acked[key] = max(offset, self._acked.get(key, 0))

    def floor(self, group: str, queue: int) -> int:
        """Return the offset before which a claim that is asked for now may not start."""
        key = (group, queue)
        return min([self._acked.get(key, 0), *self._seeks.get(key, [])])

    def told(self, group: str, queue: int, floor: int, committed: int | None) -> None:
        """Take in the answer to a claim that was asked for when ``floor`` held.

        Raises:
            Violation: It starts before an acknowledged commit, and nobody sought.
        """
        lowest = min(floor, self.floor(group, queue))
        if (committed or 0) < lowest:
            raise Violation(
                NAME, f"queue {queue} is claimed for {group} at {committed}; {lowest} was acked"
            )

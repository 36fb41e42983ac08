"""What a group reads is what was said by hand last; else what its first member wants.

The rules once more, and by other code than the product's: told of commands in the order of the
log, and of what members are told. Who wants something else than the group reads gets its way if
nobody else is a member and nothing was said by hand; somebody's hand gets its way if it names the
version that it replaces, or none. Everything else is a conflict, and refused. And nobody says
anything in the log that nobody has said.

At level 2 it was otherwise: what a group reads stayed, also without members, and it was not noted
whose hand had said so. From level 3 on every version but the first counts as said by hand.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from chaos.check.violation import Violation

NAME: Final = "subscriptions_kept"
RANGE: Final = "range"
FIRST_VERSION: Final = 1
GO_LEVEL: Final = 3
"""From this feature level on what was not said by hand goes with the last member."""


class Reads(NamedTuple):
    """What a group reads, or is to read."""

    topics: tuple[str, ...]
    """In the order of names."""
    tags: tuple[str, ...] = ()
    condition: str = ""
    assignor: str = ""
    """"": as the group does."""

    def beside(self, known: "Reads | None") -> "Reads":
        """Return what this is for a group that reads ``known``; None: for a new one."""
        before = RANGE if known is None else known.assignor
        return self._replace(assignor=self.assignor or before)


class Told(NamedTuple):
    """What somebody is told of a group's subscription."""

    reads: Reads
    version: int
    by_hand: bool


class _Group(msgspec.Struct):
    """A group: what it reads, and who its members are, with their lives."""

    told: Told
    members: dict[str, int] = {}

    def gives_way(self, member: str, life: int) -> bool:
        """Whether a member that joins may say what the group reads, from level 3 on."""
        others = {who: its for who, its in self.members.items() if who != member or life <= its}
        return not others and not self.told.by_hand


class SubscriptionsKept:
    """The subscriptions of one run's groups."""

    def __init__(self) -> None:
        self._groups: Final[dict[str, _Group]] = {}
        self._level = 0
        self._asked: Final[set[tuple[str, Reads, int]]] = set()
        """What somebody has said by hand, with the versions that it was to replace."""
        self._since: Final[dict[str, list[tuple[int, Told]]]] = {}
        """Of each group the generations that began with another subscription."""

    def now(self, group: str) -> Told | None:
        """Return what a group reads; None: there is no such group."""
        known = self._groups.get(group)
        return None if known is None else known.told

    # -- as clients see it

    def says(self, group: str, wanted: Reads, version: int) -> None:
        """Take in that somebody is about to say what a group is to read."""
        self._asked.add((group, wanted, version))

    def seen(self, group: str, generation: int, told: Told, topics: Iterable[str]) -> None:
        """Take in what a member is told; ``topics``: of its queues, but those that are to go.

        Raises:
            Violation: It is not what the group reads in that generation, or it gets more.
        """
        began = [each for at, each in self._since.get(group, ()) if at <= generation]
        expected = began[-1] if began else None
        # That it was confirmed by hand begins no generation.
        if expected is None or expected[:2] != told[:2]:
            raise Violation(
                NAME, f"{group} reads {expected} in {generation}; somebody is told {told}"
            )
        strange = set(topics) - set(told.reads.topics)
        if strange:
            raise Violation(NAME, f"a member of {group} gets queues of {strange}, not of {told}")

    # -- in the order of the log

    def reaches(self, level: int) -> None:
        """Take in the feature level of the entry that comes next; it never falls."""
        if self._level < GO_LEVEL <= level:
            for known in self._groups.values():
                known.told = known.told._replace(by_hand=known.told.version > FIRST_VERSION)
        self._level = max(self._level, level)

    def _gives_way(self, known: _Group, who: tuple[str, int]) -> bool:
        return self._level >= GO_LEVEL and known.gives_way(*who)

    def joined(
        self, group: str, who: tuple[str, int], wanted: Reads, told: Told, generation: int
    ) -> None:
        """Take in that a member (its name and life) was let in, and what it was told.

        Raises:
            Violation: It wants something else than the group reads, and it is not for it to say.
        """
        known = self._groups.get(group)
        if known is None:
            known = _Group(Told(wanted.beside(None), FIRST_VERSION, by_hand=False))
            self._groups[group] = known
        else:
            asked = wanted.beside(known.told.reads)
            if asked != known.told.reads:
                if not self._gives_way(known, who):
                    raise Violation(
                        NAME, f"{who} joins {group} with {wanted}, beside {known}: a conflict"
                    )
                known.told = Told(asked, known.told.version + 1, by_hand=False)
        known.members[who[0]] = who[1]
        if told != known.told:
            raise Violation(NAME, f"{group} reads {known.told}; {who} is told {told}")
        self._begins(group, generation)

    def turned_away(self, group: str, who: tuple[str, int], wanted: Reads) -> None:
        """Take in that a member was refused because it wants something else.

        Raises:
            Violation: It does not, or it is for it to say.
        """
        known = self._groups.get(group)
        reads = None if known is None else known.told.reads
        if known is None or wanted.beside(reads) == reads or self._gives_way(known, who):
            raise Violation(NAME, f"{who} can't join {group} with {wanted}; it is {known}")

    def said(
        self, group: str, wanted: Reads, replaces: int, version: int, generation: int
    ) -> None:
        """Take in that somebody's hand has got its way, and which version that is.

        Raises:
            Violation: Nobody has said so; it was to replace another version; or it has another.
        """
        if (group, wanted, replaces) not in self._asked:
            raise Violation(NAME, f"{group} is to read {wanted} instead of {replaces}: who says?")
        known = self._groups.get(group)
        if known is None:
            raise Violation(NAME, f"{group} is to read {wanted}, and is no group")
        reads, at, _ = known.told
        asked = wanted.beside(reads)
        if asked != reads:
            if replaces not in (0, at):
                raise Violation(NAME, f"{group} is at {at}, and {replaces} was replaced")
            at += 1
        known.told = Told(asked, at, by_hand=self._level >= GO_LEVEL)
        if version != at:
            raise Violation(NAME, f"{group} is at {at} now; somebody is told {version}")
        self._begins(group, generation)

    def contradicted(self, group: str, wanted: Reads, replaces: int) -> None:
        """Take in that somebody's hand was refused, since it was to replace another version.

        Raises:
            Violation: It was not.
        """
        known = self._groups.get(group)
        told = None if known is None else known.told
        if (
            told is None
            or wanted.beside(told.reads) == told.reads
            or replaces in (0, told.version)
        ):
            raise Violation(NAME, f"{group} is not to read {wanted}, for {replaces}: it is {told}")

    def left(self, group: str, member: str, life: int) -> None:
        """Take in that a member is none any more, unless a later life of it is."""
        known = self._groups.get(group)
        if known is not None and known.members.get(member) == life:
            del known.members[member]

    def deleted(self, group: str) -> None:
        """Take in that a group is gone."""
        self._groups.pop(group, None)

    def _begins(self, group: str, generation: int) -> None:
        told = self._groups[group].told
        began = self._since.setdefault(group, [])
        if not began or began[-1][1] != told:
            began.append((generation, told))

"""In one generation of a group every queue has one owner at most, and always the same one."""

from collections.abc import Iterable
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "assignments"


class Assignments:
    """Who was told to own what."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, int, int], str] = {}
        self._shares: dict[tuple[str, int, str], frozenset[int]] = {}

    def told(self, group: str, generation: int, member: str, queues: Iterable[int]) -> None:
        """Take in what ``member`` was told that it owns in ``generation``.

        Raises:
            Violation: Another member was told the same of one of the queues, or
                this one was told something else before.
        """
        share = frozenset(queues)
        known = self._shares.setdefault((group, generation, member), share)
        if known != share:
            raise Violation(
                NAME,
                f"{member} of {group} has {sorted(known)} in generation {generation}, "
                f"and {sorted(share)}",
            )
        for queue in share:
            owner = self._owners.setdefault((group, generation, queue), member)
            if owner != member:
                raise Violation(
                    NAME,
                    f"{owner} and {member} of {group} both own queue {queue} in generation "
                    f"{generation}",
                )

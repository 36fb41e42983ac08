"""A topic stores what it takes, and refuses nothing else: by its types at that place of the log.

What it takes is found out here anew, from the committed log and by other code than the product's.
That what a sender hears to be refused is never stored is for ``sends_kept``.
"""

from collections.abc import Iterable

from chaos.check.violation import Violation

NAME = "types_kept"
EVERYTHING = frozenset({"normal", "fifo", "delayed", "transactional"})


class TypesKept:
    """What each queue takes, as the last command about its topic has left it."""

    def __init__(self) -> None:
        self._takes: dict[int, frozenset[str]] = {}
        """Of those that do not take everything."""

    def takes(self, queue: int) -> frozenset[str]:
        """Return the types that a queue takes."""
        return self._takes.get(queue, EVERYTHING)

    def told(self, queues: Iterable[int], types: frozenset[str]) -> None:
        """Take in what the queues of a topic take from now on."""
        for queue in queues:
            self._takes[queue] = types

    def stored(self, queue: int, came: frozenset[str]) -> None:
        """Take in that something is stored that is of any of these types.

        Raises:
            Violation: Its queue takes none of them.
        """
        takes = self.takes(queue)
        if not came & takes:
            raise Violation(NAME, f"queue {queue} takes {sorted(takes)} and has {sorted(came)}")

    def refused(self, queues: Iterable[int], came: frozenset[str]) -> None:
        """Take in that something is refused for its type; it was to go to all of these queues.

        Raises:
            Violation: Each of them takes it.
        """
        if all(came & self.takes(queue) for queue in queues):
            raise Violation(NAME, f"{sorted(came)} is refused by {list(queues)}, which take it")

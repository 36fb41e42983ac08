"""Until consumed: what a group has not committed is forgotten by its bound alone (ruling 29).

Told of every command that forgets what was consumed, with what the groups of the queue had
committed in the log before it.
"""

from collections.abc import Mapping
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "until_consumed"


def check_consumed(queue: int, before: int, start: int, committed: Mapping[str, int]) -> None:
    """Check that a queue's start moved from ``before`` to ``start`` behind all its groups.

    ``committed``: by group; 0 for one that has committed nothing.

    Raises:
        Violation: A group still has something to read there, or there is no group at all.
    """
    if start == before:
        return
    if not committed:
        raise Violation(NAME, f"queue {queue} begins at {start}: nobody has consumed it")
    for group, offset in committed.items():
        if offset < start:
            raise Violation(
                NAME, f"queue {queue} begins at {start}; {group} has committed {offset}"
            )

"""What is due: the machine's own deeds, at the log time of the entry that brings it (ruling 8).

::

    entry 100 (log time 50.2 s)   timer of 50.0 s, lease of 50.1 s --> done, oldest first
                                  then the entry's commands
    nothing comes                 the leader proposes ``PassTime`` when something is due

An entry does at most so many; the rest is done by the next one. So no entry takes
long to apply, and every replica does the same at the same entry.

Which ones these are must not depend on the replica. A kind may take its next time for earlier
than it is, since to know it exactly would cost too much; a replica that was restored knows it
exactly. So a kind that is asked for such a time corrects it and does nothing, and comes when
its turn is::

    n1 (ran on)    leases: 31.000, in truth 31.002   bodies: 31.001   leases of 31.002 come second
    n2 (restored)  leases: 31.002                    bodies: 31.001   leases of 31.002 come second
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from raftlog.base.limits import DUE_PER_ENTRY_MAX

NEVER_MS: Final = 1 << 63
"""Later than any log time."""


class PassTime(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Nothing but the log time of its entry. Outcome: ``TimePassed``."""


class TimePassed(msgspec.Struct, frozen=True, gc=False):
    """What was due was done, as far as one entry may."""


class Deeds(Protocol):
    """One kind of thing that falls due."""

    due_ms: int
    """When the next one does, in log time, or earlier; ``NEVER_MS``: there is none."""

    def do_next(self, due_ms: int, log_time_ms: int, /) -> bool:
        """Do the oldest one, if it is due at ``due_ms`` or before, and set ``due_ms`` right.

        Args:
            due_ms: For which the kind was chosen: what was due later is not done now.
            log_time_ms: At which it is done; not before ``due_ms``.

        Returns:
            Whether there was one.
        """


class Timetable:
    """All that falls due in one shard.

    Attributes:
        due_ms: Before this log time nothing is due.
    """

    def __init__(self) -> None:
        self.due_ms = NEVER_MS
        self._kinds: Sequence[Deeds] = ()

    def keep(self, *kinds: Deeds) -> None:
        """These are all kinds there are; who is named first goes first at the same time."""
        self._kinds = kinds
        self.due_ms = min((kind.due_ms for kind in kinds), default=NEVER_MS)

    def note(self, due_ms: int) -> None:
        """Something is due at this time."""
        self.due_ms = min(self.due_ms, due_ms)

    def pass_time(self, log_time_ms: int) -> None:
        """Do what is due, oldest first, up to the bound.

        Only what was done counts, and only what is due by the time for which a kind was chosen is
        done: how early a ``due_ms`` was depends on the replica.
        """
        done = 0
        while done < DUE_PER_ENTRY_MAX:
            kind = min(self._kinds, key=_due_ms)
            due_ms = kind.due_ms
            if due_ms > log_time_ms:
                break
            is_done = kind.do_next(due_ms, log_time_ms)
            assert is_done or kind.due_ms > due_ms, f"{kind} does nothing, and stays at {due_ms}"
            done += is_done
        self.due_ms = min(kind.due_ms for kind in self._kinds)


def _due_ms(kind: Deeds) -> int:
    return kind.due_ms

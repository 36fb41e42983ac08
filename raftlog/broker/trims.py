"""Trim: the shard's log forgets a prefix, by a command, at the same entry everywhere.

A range of the log may go when nothing in it is *needed*. Needed are the batches
of a queue from its start offset on (ruling 29); the machine counts them for each
range, and what makes messages visible by reference adds its bodies to that count
(ruling 7). ``through`` is where a range ends: ranges go whole.

::

    range 1: 0 needed   range 2: 0 needed   range 3: 2 needed   open range
    [------- may go -------------------]    [--- pins the log --------->

The leader looks before it proposes, and apply looks again: a queue may have been
read back into need meanwhile, or the leader may have believed too much. What it
refuses changes nothing. What it grants is only the *permission*: when a replica's
disk really lets go is a matter of its own snapshots (``service.trimming``).

A granted trim also ends the open range: so the snapshot that knows of it is made at
that very entry, and not 64 MiB later, which may never come on a full disk. So does
the same trim again, for the second snapshot.
"""

from typing import Annotated

import msgspec

from raftlog.base.ids import Index

RangeEnd = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Trim(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget the log up to and including ``through``, where a sealed range ends.

    Outcome: ``LogTrimmed`` or ``TrimRefused``.
    """

    through: RangeEnd


class LogTrimmed(msgspec.Struct, frozen=True, gc=False):
    """The log may be forgotten up to here: by this command, or by an earlier one."""

    through: Index


class TrimRefused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was changed: in the range from ``first_index`` on, ``needed`` queues have batches.

    0 of them: no range ends where the command said.
    """

    first_index: Index
    needed: int

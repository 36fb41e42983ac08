"""What a log can be asked to make durable: the core asks, storage does it."""

import msgspec

from raftlog.base.entry import Entry, LogEnd
from raftlog.base.ids import TERM_ZERO, Index, ReplicaId, Term, WriteNumber


class HardState(msgspec.Struct, frozen=True, gc=False):
    """Term and vote: all that Raft may never forget besides the log (Raft §5, Figure 2).

    The vote names the candidate's directory too: a node that comes back with
    another one is another candidate (R3, ruling 5).
    """

    term: Term = TERM_ZERO
    vote: ReplicaId | None = None


class SaveHardState(msgspec.Struct, frozen=True, gc=False):
    """Make ``state`` durable, as both copies (ruling 1)."""

    write: WriteNumber
    state: HardState


class WriteEntries(msgspec.Struct, frozen=True, gc=False):
    """Truncate to ``truncate_to`` if it is set, then append ``entries``, durably.

    A truncation comes with what replaces it: only a conflicting entry cuts a log (§5.3).
    """

    write: WriteNumber
    truncate_to: Index | None
    entries: tuple[Entry, ...]


class ResetLog(msgspec.Struct, frozen=True, gc=False):
    """Forget every entry, and begin anew behind ``base``, which is committed, durably.

    What a snapshot brings (Raft §7): the log that follows it is not the one that was here.
    """

    write: WriteNumber
    base: LogEnd
    configuration: bytes
    """Who the members are behind it."""


Write = SaveHardState | WriteEntries | ResetLog
"""The closed union of durable writes of a shard."""

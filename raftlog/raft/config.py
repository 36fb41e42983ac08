"""What a core is told once: who it is, its patience, its bounds, and what it remembered."""

from typing import Final

import msgspec

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, ReplicaId, Term
from raftlog.base.limits import (
    ELECTION_TICKS_MAX,
    ELECTION_TICKS_MIN,
    HEARTBEAT_TICKS,
    HINT_TICKS_MAX,
    LEASE_MS_MAX,
    MESSAGE_ENTRIES_BYTES_MAX,
    TAIL_BYTES_MAX,
    TICK_NS,
    UNCOMMITTED_BYTES_MAX,
    WINDOW_MESSAGES_MAX,
)
from raftlog.base.membership import Configuration, Membership
from raftlog.base.writes import HardState

WINDOW_ADAPT_TICKS: Final = 20
"""Windows follow what was acknowledged in this time (ruling 32)."""


class CoreConfig(msgspec.Struct, frozen=True):
    """Timings in ticks, bounds in bytes and messages."""

    heartbeat_ticks: int = HEARTBEAT_TICKS
    election_ticks_min: int = ELECTION_TICKS_MIN
    election_ticks_max: int = ELECTION_TICKS_MAX
    hint_ticks_max: int = HINT_TICKS_MAX
    message_bytes_max: int = MESSAGE_ENTRIES_BYTES_MAX
    window_messages_max: int = WINDOW_MESSAGES_MAX
    uncommitted_bytes_max: int = UNCOMMITTED_BYTES_MAX
    tail_bytes_max: int = TAIL_BYTES_MAX
    lease_reads: bool = False
    """Whether the shard has leader leases while this replica leads (``raft/lease.py``)."""

    def __post_init__(self) -> None:
        """Refuse timings under which elections could not end."""
        if not 0 < self.heartbeat_ticks * 2 <= self.election_ticks_min:
            raise ValueError("an election timeout is at least two heartbeats")
        if not self.election_ticks_min < self.election_ticks_max:
            raise ValueError("election timeouts need a range, or every election is a split vote")
        if self.lease_ms > LEASE_MS_MAX:
            raise ValueError(f"no voter pledges {self.lease_ms} ms; lower the election timeout")

    @property
    def lease_ms(self) -> int:
        """How long voters are to pledge to help no other leader; 0: not at all."""
        return self.election_ticks_min * TICK_NS // 1_000_000 if self.lease_reads else 0


class Restored(msgspec.Struct, frozen=True):
    """What the disk remembered when the replica started.

    ``commit`` is the recovered hint, cut to the log's end; ``applied`` is what
    the state machine has restored by itself. ``membership`` was so before the
    log; ``configurations`` are in it: the newest committed one and all later ones.
    """

    hard_state: HardState
    start: LogEnd
    end: LogEnd
    term_runs: tuple[tuple[Index, Term], ...]
    commit: Index
    applied: Index
    membership: Membership
    faulty: int = 0
    configurations: tuple[Configuration, ...] = ()


class CoreStatus(msgspec.Struct, frozen=True):
    """A look at the core, for status pages, tests and invariants."""

    replica: ReplicaId
    role: str
    term: Term
    leader: str | None
    commit: Index
    applied: Index
    durable: Index
    last: Index
    start: Index
    followers: dict[str, tuple[Index, Index, str]]

"""What a leader knows about one follower, and how much it may send.

Three states (Raft §10.2.1, and the vocabulary of etcd):

- *probe*: the leader does not know where the logs agree. One message at a
  time, until one is accepted.
- *replicate*: they agree. Messages are pipelined; ``next`` runs ahead of
  ``match``, bounded by the number and the bytes of unanswered messages.
- *snapshot*: the follower needs entries that the leader has trimmed. Nothing is
  sent but the offer of a snapshot, until it acknowledges something behind them.

A rejection or a silence while messages are in flight leads back to *probe*.
"""

from collections import deque
from enum import Enum

from raftlog.base.ids import Index, ReplicaId
from raftlog.base.limits import WINDOW_BYTES_MAX, WINDOW_BYTES_MIN


class Pace(Enum):
    """How a leader sends to a follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One follower, as its leader sees it."""

    def __init__(self, replica: ReplicaId, next_index: Index, window_messages: int) -> None:
        self.replica = replica
        self.match = Index(0)
        self.next = next_index
        self.pace = Pace.PROBE
        self.probing = False
        """A probe is unanswered: nothing more is sent until it is, or a heartbeat is."""
        self.loading = False
        """Older entries are being read from disk for this follower."""
        self.active = True
        """It answered since the last check of the quorum."""
        self.was_active = True
        """It had answered at that check: the moment after it, nobody is active yet."""
        self.is_aside = False
        """It is to lead only if no other one can."""
        self.silent_ticks = 0
        """For how long nothing was heard of it, as far as this leader can know."""
        self.round = 0
        """The latest heartbeat round that it answered."""
        self.window_bytes = WINDOW_BYTES_MIN
        self._window_messages = window_messages
        self._in_flight: deque[tuple[Index, int]] = deque()
        self._in_flight_bytes = 0
        self._acked_bytes = 0
        self._match_at_heartbeat = Index(0)
        self.leaves_at: Index | None = None
        """Set once it is no member any more: it still learns of that, up to this entry."""
        self.left_for = 0
        """Ticks since then."""
        self._round_end: Index | None = None
        self._round_ticks = 0
        self._last_round_was_short = False

    @property
    def in_flight(self) -> int:
        """Unanswered messages with entries."""
        return len(self._in_flight)

    def heard(self) -> None:
        """It spoke."""
        self.active = True
        self.silent_ticks = 0

    def may_send(self) -> bool:
        """Whether another message with entries may leave."""
        if self.loading or self.pace is Pace.SNAPSHOT:
            return False
        if self.pace is Pace.PROBE:
            return not self.probing
        return (
            len(self._in_flight) < self._window_messages
            and self._in_flight_bytes < self.window_bytes
        )

    def sent(self, last: Index, size: int) -> None:
        """Note a message with entries up to ``last``."""
        if self.pace is Pace.PROBE:
            self.probing = True
            return
        self.next = Index(last + 1)
        self._in_flight.append((last, size))
        self._in_flight_bytes += size

    def accepted(self, matched: Index) -> bool:
        """Take in an acknowledgement; return whether it brought something new."""
        self.probing = False
        if self.pace is not Pace.REPLICATE and matched >= self.match:
            self._replicate_from(matched)
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= matched:
            size = in_flight.popleft()[1]
            self._in_flight_bytes -= size
            self._acked_bytes += size
        if matched <= self.match:
            return False
        self.match = matched
        self.next = max(self.next, Index(matched + 1))
        return True

    def rejected(self, rejected: Index, retry_after: Index) -> bool:
        """Take in a rejection of ``rejected``; the logs may agree at ``retry_after``.

        Returns False for a late one that says nothing any more.
        """
        if self.pace is Pace.REPLICATE:
            if rejected <= self.match or rejected >= self.next:
                return False
        elif rejected != self.next - 1:
            return False
        self.probe_from(Index(max(self.match, min(retry_after, Index(rejected - 1))) + 1))
        return True

    def probe_from(self, next_index: Index) -> None:
        """Forget what is in flight and ask again from ``next_index``."""
        self.pace = Pace.PROBE
        self.probing = False
        self.next = next_index
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def await_snapshot(self) -> None:
        """Forget what is in flight: only a snapshot can help."""
        self.probe_from(self.next)
        self.pace = Pace.SNAPSHOT

    def stalled(self) -> bool:
        """Whether nothing was acknowledged since the last time this was asked."""
        stalled = self.match == self._match_at_heartbeat
        self._match_at_heartbeat = self.match
        return stalled

    def catch_up(self, last: Index, ticks: int, ticks_max: int) -> None:
        """Measure rounds of catching up (Raft §4.2.1); ``ticks`` have passed since the last call.

        A round replicates what the log held when the round began. One that takes less than an
        election timeout leaves so little that this replica, as a voter, delays no commit for
        longer than that.
        """
        self._round_ticks += ticks
        if self._round_end is not None and self.match < self._round_end:
            if self._round_ticks > ticks_max:
                self._last_round_was_short = False
            return
        if self._round_end is not None:
            self._last_round_was_short = self._round_ticks <= ticks_max
        self._round_end = last
        self._round_ticks = 0

    @property
    def has_caught_up(self) -> bool:
        """Whether its last round was a short one."""
        return self._last_round_was_short

    def adapt_window(self) -> None:
        """Allow twice what was acknowledged since the last call (ruling 32)."""
        wanted = 2 * self._acked_bytes
        self._acked_bytes = 0
        self.window_bytes = min(max(wanted, WINDOW_BYTES_MIN), WINDOW_BYTES_MAX)

    def _replicate_from(self, matched: Index) -> None:
        self.pace = Pace.REPLICATE
        self.next = Index(max(matched, self.match) + 1)
        self._in_flight.clear()
        self._in_flight_bytes = 0

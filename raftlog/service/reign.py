"""What a node does for a shard only while it leads it: sessions, retention, time and the like.

All of it is soft state (ruling 25): begun anew by every leader, dropped with the
leadership, and without effect on anybody but through commands.
"""

from collections.abc import Mapping
from typing import Final

from raftlog.base.ids import TERM_ZERO, Term
from raftlog.raft.effects import Role, RoleChanged
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.heartbeats import HeartbeatService
from raftlog.service.passing_time import PassingTime
from raftlog.service.receiving import ReceiveService
from raftlog.service.relocating import Relocating
from raftlog.service.retention import RetentionService
from raftlog.service.sessions import Sessions


class Reign:
    """The leader's part of one shard's service."""

    def __init__(
        self,
        sessions: Sessions,
        heartbeats: HeartbeatService,
        retention: RetentionService,
        time: PassingTime,
        relocating: Relocating,
        checks: CheckService,
        receiving: ReceiveService,
        burying: Burying,
    ) -> None:
        self._sessions: Final = sessions
        self._heartbeats: Final = heartbeats
        self._retention: Final = retention
        self._time: Final = time
        self._relocating: Final = relocating
        self._checks: Final = checks
        self._receiving: Final = receiving
        self._burying: Final = burying
        self._term: Term = TERM_ZERO
        """The term in which this node leads; 0: it does not."""

    def role_changed(self, change: RoleChanged) -> None:
        """The replica's role, term or leader is another one now."""
        term = change.term if change.role is Role.LEADER else TERM_ZERO
        if term == self._term:
            return
        self._term = term
        if term:
            self._sessions.begin()
            self._retention.begin()
            self._time.begin()
            self._relocating.begin()
            self._checks.begin()
            self._burying.begin()
        else:
            self.stop()

    def stop(self) -> None:
        """End: no timer of the service fires after this, and who waits learns it."""
        self._term = TERM_ZERO
        self._sessions.end()
        self._retention.end()
        self._time.end()
        self._relocating.end()
        self._checks.end()
        self._burying.end()
        self._heartbeats.leadership_lost()
        self._receiving.leadership_lost()

    def counters(self) -> Mapping[str, int]:
        """Return what was counted."""
        return {
            "heartbeats": self._heartbeats.heartbeats,
            "heartbeats_waiting_size": len(self._heartbeats.waiting),
            "sessions_size": len(self._sessions),
            "sessions_expired": self._sessions.expired,
            "starts_moved": self._retention.moves,
            "time_entries": self._time.proposed,
            "checks_asked": self._checks.asked,
            "checks_waiting_size": len(self._checks.waiting),
            "relocated_batches": self._relocating.relocated,
            "receives": self._receiving.receives,
            "receives_waiting_size": self._receiving.waiting,
            "messages_leased": self._receiving.messages,
            "batches_picked_from": self._receiving.bodies.picked,
            "dead_letters_stored": self._burying.buried,
        }

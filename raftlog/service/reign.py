"""What a node does for a shard only while it leads it: sessions, retention, time and the like.

All of it is soft state (ruling 25): begun anew by every leader, dropped with the
leadership, and without effect on anybody but through commands.
"""

from collections.abc import Mapping

import msgspec

from raftlog.base.ids import TERM_ZERO, Term
from raftlog.raft.effects import Role, RoleChanged
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.copying_forward import CopyingForward
from raftlog.service.heartbeats import HeartbeatService
from raftlog.service.levelling import Levelling
from raftlog.service.passing_time import PassingTime
from raftlog.service.receiving import ReceiveService
from raftlog.service.relocating import Relocating
from raftlog.service.retention import RetentionService
from raftlog.service.sessions import Sessions


class Reign(msgspec.Struct):
    """The leader's part of one shard's service."""

    sessions: Sessions
    heartbeats: HeartbeatService
    retention: RetentionService
    time: PassingTime
    relocating: Relocating
    copying: CopyingForward
    checks: CheckService
    receiving: ReceiveService
    burying: Burying
    levelling: Levelling
    term: Term = TERM_ZERO
    """The term in which this node leads; 0: it does not."""

    def role_changed(self, change: RoleChanged) -> None:
        """The replica's role, term or leader is another one now."""
        term = change.term if change.role is Role.LEADER else TERM_ZERO
        if term == self.term:
            return
        self.term = term
        if term:
            self.sessions.begin()
            self.retention.begin()
            self.time.begin()
            self.relocating.begin()
            self.copying.begin()
            self.checks.begin()
            self.burying.begin()
            self.levelling.begin()
        else:
            self.stop()

    def stop(self) -> None:
        """End: no timer of the service fires after this, and who waits learns it."""
        self.term = TERM_ZERO
        self.sessions.end()
        self.retention.end()
        self.time.end()
        self.relocating.end()
        self.copying.end()
        self.checks.end()
        self.burying.end()
        self.levelling.end()
        self.heartbeats.leadership_lost()
        self.receiving.leadership_lost()

    def counters(self) -> Mapping[str, int]:
        """Return what was counted."""
        return {
            "heartbeats": self.heartbeats.heartbeats,
            "heartbeats_waiting_size": len(self.heartbeats.waiting),
            "sessions_size": len(self.sessions),
            "sessions_expired": self.sessions.expired,
            "starts_moved": self.retention.moves,
            "time_entries": self.time.proposed,
            "checks_asked": self.checks.asked,
            "checks_waiting_size": len(self.checks.waiting),
            "relocated_batches": self.relocating.relocated,
            "batches_copied_forward": self.copying.copied,
            "receives": self.receiving.receives,
            "receives_waiting_size": self.receiving.waiting,
            **self.levelling.counters(),
            "messages_leased": self.receiving.messages,
            "batches_picked_from": self.receiving.bodies.picked,
            "dead_letters_stored": self.burying.buried,
        }

"""Commands on their way into the log: gathered, sealed into entries, refused if need be.

While the disk works on an earlier entry, commands gather and share the next one.
What was refused before it was appended never happened; what was appended is told
by apply, or given up by whoever owns the table of those that wait (ruling 22).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from raftlog.base.entry import Buffer
from raftlog.base.errors import NotLeader, OutcomeUnknown, RaftlogError, Throttled, Unavailable
from raftlog.base.ids import Index, Term
from raftlog.base.limits import COALESCE_BYTES_MAX
from raftlog.broker.commands import COMMAND_BYTES, envelope, envelopes_of_one
from raftlog.node.outward import Outward
from raftlog.node.ports import Scheduler
from raftlog.node.proposals import Intake, OnOutcome, Outstanding, Proposal
from raftlog.node.world import ReplicaOptions
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, ProposalRefused, Role
from raftlog.raft.events import Event, Propose

EAGER_BYTES: Final = COALESCE_BYTES_MAX // 8
"""So many waiting bytes become an entry even while the disk is busy."""


class Stepping(NamedTuple):
    """How the core is asked, and how what it decides is done."""

    decide: Callable[[Event], Effects | None]
    """Steps the core; None: the replica has stopped."""
    perform: Callable[[Effects], None]


class Stamp(NamedTuple):
    """What an entry is stamped with."""

    log_time_ms: Callable[[], int]
    level: Callable[[], int]
    """The feature level of what was applied so far."""


class Proposing:
    """One replica's way in.

    Args:
        core: Decides; asked through ``stepping``.
        stepping: To ask it, and to do what it decides.
        outstanding: What was appended and has no outcome yet.
        outward: Calls back.
        scheduler: For the end of the turn.
        options: How many may wait, and whether they share entries.
        is_writing: Whether the disk is at work.
        stamp: What an entry is stamped with that is made now.
    """

    def __init__(
        self,
        core: RaftCore,
        stepping: Stepping,
        outstanding: Outstanding,
        outward: Outward,
        scheduler: Scheduler,
        options: ReplicaOptions,
        *,
        is_writing: Callable[[], bool],
        stamp: Stamp,
    ) -> None:
        self.is_open = False
        """Whether this replica leads, and takes commands in."""
        self.is_stopped = False
        self._core: Final = core
        self._outstanding: Final = outstanding
        self._outward: Final = outward
        self._scheduler: Final = scheduler
        self._options: Final = options
        self._decide, self._perform = stepping
        self._is_writing: Final = is_writing
        self._stamp: Final = stamp
        self._level_min = 0
        self._intake: Final = Intake(coalesce=options.coalesce)
        self._flush_scheduled = False
        self._waits_for_disk = False
        """Whether the disk was at work at the last look: ``written`` will be called."""
        self._waits_for: Index | None = None

    @property
    def count(self) -> int:
        """Commands that are in no entry yet."""
        return self._intake.count

    def propose(
        self, command_type: int, parts: Sequence[Buffer], on_outcome: OnOutcome, /
    ) -> None:
        """Append a command; ``on_outcome`` is told once what became of it (ruling 22).

        A refusal is told before this returns. There is no time-out here: a
        caller that stops waiting leaves the entry where it is.
        """
        intake = self._intake
        waiting = intake.count + self._outstanding.commands
        if not self.is_open or waiting >= self._options.pending_max:
            on_outcome(self._refusal(waiting), Term(0), Index(0))
            return
        size = COMMAND_BYTES
        for part in parts:
            size += len(part)
        intake.add(Proposal(command_type, parts, size, on_outcome))
        if intake.bytes >= EAGER_BYTES:
            self._flush()
        elif not self._flush_scheduled and not self._waits_for_disk:
            if self._is_writing():
                self._waits_for_disk = True
            else:
                self._flush_scheduled = True
                self._scheduler.defer(self._flush_in_turn)

    @property
    def stamps(self) -> bool:
        """Whether log time is what this replica says."""
        return self._core.role is Role.LEADER and self._waits_for is None

    def lead(self, first: Index) -> None:
        """A term of this replica begins at entry ``first``: nothing is stamped before its apply.

        What older entries are stamped with is known then, and log time never goes back (ruling 8).
        """
        self._waits_for = first

    def follow(self) -> None:
        """Somebody else leads: what waited is refused, at the end of the turn."""
        self._waits_for = None
        self._level_min = 0
        if self._intake.count and not self._flush_scheduled:
            self._flush_scheduled = True
            self._scheduler.defer(self._flush_in_turn)

    def raise_level(self, level: int, /) -> None:
        """Stamp entries with no lower feature level, while this replica leads (ruling 15)."""
        if self.is_open:
            self._level_min = level

    def applied(self, index: Index) -> None:
        """Apply has come so far."""
        if self._waits_for is not None and index >= self._waits_for:
            self._waits_for = None
            self.written()

    def written(self) -> None:
        """The disk has time again: what has gathered becomes the next entry."""
        self._waits_for_disk = False
        if self._intake.count and not self._flush_scheduled:
            self._flush()

    def stop(self, reason: str) -> None:
        """Take nothing in any more; what is in no entry yet never happened."""
        self.is_open = False
        self.is_stopped = True
        self._refuse_all(self._intake.take(), Unavailable(reason))

    def _refusal(self, waiting: int) -> RaftlogError:
        if self.is_stopped:
            return Unavailable("the replica has stopped")
        if not self.is_open:
            return self._not_leader()
        return Throttled(f"{waiting} proposals wait already")

    def _not_leader(self) -> NotLeader:
        return NotLeader(None if self._core.role is Role.LEADER else self._core.leader)

    def _flush_in_turn(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        if self.is_stopped or not self._intake.count or self._waits_for is not None:
            return
        groups = self._intake.take()
        log_time_ms = self._stamp.log_time_ms()
        level = max(self._stamp.level(), self._level_min)
        bodies: list[list[Buffer]]
        if self._options.coalesce:
            bodies = [envelope(log_time_ms, group, level) for group in groups]
        else:
            bodies = envelopes_of_one(log_time_ms, [group[0] for group in groups], level)
        effects = self._decide(Propose(bodies))
        if effects is None:
            reason = "the replica stopped while it took the command in"
            self._refuse_all(groups, OutcomeUnknown(reason))
            return
        if effects.refused is not None:
            self._refuse_all(groups, self._why_not(effects.refused))
        elif effects.proposed is not None:
            self._outstanding.add(effects.proposed.first, effects.proposed.term, groups)
        self._perform(effects)

    def _why_not(self, why: ProposalRefused) -> RaftlogError:
        return Throttled(why.value) if why is ProposalRefused.THROTTLED else self._not_leader()

    def _refuse_all(self, groups: list[list[Proposal]], error: RaftlogError) -> None:
        for group in groups:
            for proposal in group:
                self._outward.call(proposal.on_outcome, error, Term(0), Index(0))

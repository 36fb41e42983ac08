"""Watches what a step does to a replica's standing, and tells the invariants of elections."""

from typing import Final

from chaos.check.damaged_do_not_lead import check_candidate
from chaos.check.handover import check_takes_in
from chaos.check.leaders_are_heard import LeadersAreHeard
from chaos.check.new_terms import check_new_term
from chaos.check.patient_voters import PatientVoters
from chaos.check.pre_votes_change_nothing import Standing, check_pre_vote
from raftlog.base.ids import NodeId, ReplicaId, Term
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, Role
from raftlog.raft.events import ConnectionLost, Event, FaultyEntries, Heard, Propose, Receive, Tick
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    SnapshotOffer,
    TimeoutNow,
    VoteRequest,
)


def standing_of(core: RaftCore) -> Standing:
    """Return what ``core`` is."""
    return Standing(core.term, core.vote, core.role, core.leader)


class Elections:
    """The elections of one run."""

    def __init__(self) -> None:
        self._voters: Final = PatientVoters()
        self._leaders: Final = LeadersAreHeard()
        self._damaged: Final[dict[NodeId, int]] = {}
        """As each core was told: what a read has found is told one turn later."""

    def begins(self, node: NodeId, patience: int, damaged: int) -> None:
        """Take in that a process begins: it has heard nobody yet.

        ``patience``: ticks after a sign of life in which it does not doubt its leader.
        ``damaged``: entries that its recovery found damaged.
        """
        self._damaged[node] = damaged
        self._voters.begins(node, patience)

    def stepped(
        self,
        node: NodeId,
        core: RaftCore,
        event: Event,
        before: Standing,
        effects: Effects,
        on_disk: Term,
    ) -> None:
        """Take in one step of ``node``, which has the term ``on_disk`` on disk."""
        match event:
            case Tick(count):
                self._voters.passes(node, count)
                if core.role is Role.LEADER is before.role:
                    self._leaders.passes(
                        node, count, core.config.election_ticks_min, _halves(core)
                    )
            case Propose() if effects.proposed is not None:
                check_takes_in(node, core.leadership)
            case Receive(sender, message):
                self._received(node, core, sender, message, before, effects)
            case FaultyEntries(count):
                self._damaged[node] = count
            case Heard(sender) if sender.node == core.leader and core.role is Role.FOLLOWER:
                self._voters.hears(node)
            case ConnectionLost(lost) if lost == before.leader:
                self._voters.doubts(node)
            case _:
                pass
        self._stands(node, core, event, before, effects, on_disk)
        if core.leader is None:
            self._voters.doubts(node)
        elif core.role is Role.LEADER:
            self._voters.hears(node)
            if before.role is not Role.LEADER:
                self._leaders.leads(node)

    def _stands(
        self,
        node: NodeId,
        core: RaftCore,
        event: Event,
        before: Standing,
        effects: Effects,
        on_disk: Term,
    ) -> None:
        """See whether ``node`` stands for election now, and whether it may."""
        if core.term > before.term and any(
            isinstance(send.message, VoteRequest) for send in effects.messages
        ):
            asked = isinstance(event, Receive) and isinstance(
                event.message, PreVoteReply | TimeoutNow
            )
            check_new_term(node, before.term, on_disk, was_asked=asked)
        if core.role is Role.PRE_CANDIDATE is not before.role:
            check_candidate(node, self._damaged[node])

    def _received(
        self,
        node: NodeId,
        core: RaftCore,
        sender: ReplicaId,
        message: Message,
        before: Standing,
        effects: Effects,
    ) -> None:
        match message:
            case AppendRequest(term) | Heartbeat(term) | SnapshotOffer(term):
                if term == core.term and sender.node == core.leader:
                    self._voters.hears(node)
            case PreVoteRequest():
                check_pre_vote(node, before, standing_of(core))
                if any(
                    isinstance(send.message, PreVoteReply) and send.message.granted
                    for send in effects.messages
                ):
                    self._voters.helps(node, sender.node)
            case AppendAccepted() | AppendRejected() | HeartbeatReply():
                if core.role is Role.LEADER is before.role:
                    self._leaders.answers(node, sender.node)
            case VoteRequest(transfer=False) if core.term > before.term:
                self._voters.helps(node, sender.node)
            case _:
                pass


def _halves(core: RaftCore) -> list[list[NodeId]]:
    """Return the voters of the configuration in force, in both halves if it is joint."""
    members = core.membership
    return [
        [replica.node for replica in half] for half in (members.voters, members.outgoing) if half
    ]

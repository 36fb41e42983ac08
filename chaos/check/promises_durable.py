"""A promise is durable before it is given (R2): term and vote, own vote, acknowledged entries.

``PromisedState`` is what the observer saw reach the disk. A message that leaves
is compared with it: not with what the replica believes to be durable.
"""

from typing import Final, assert_never

from chaos.check.log_model import LogModel
from chaos.check.violation import Violation
from raftlog.base.ids import NodeId, Term
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    PeerMessage,
    VoteReply,
    VoteRequest,
)

NAME: Final = "promises_durable"


class DurableState:
    """What of one replica is on disk: its log, and each term's vote."""

    def __init__(self, hard_state: HardState, log: LogModel) -> None:
        self.hard_state = hard_state
        self.log = log
        self.votes: dict[Term, NodeId] = {}
        self._note_vote()

    def copy(self) -> "DurableState":
        """Return what goes on by itself."""
        copy = DurableState(self.hard_state, self.log.copy())
        copy.votes.update(self.votes)
        return copy

    def performed(self, write: SaveHardState | WriteEntries) -> None:
        """Take in that ``write`` is on disk."""
        match write:
            case SaveHardState(_, state):
                self.hard_state = state
                self._note_vote()
            case WriteEntries(_, truncate_to, entries):
                self.log.write(truncate_to, entries)
            case _:
                assert_never(write)

    def _note_vote(self) -> None:
        if self.hard_state.vote is not None:
            self.votes[self.hard_state.term] = self.hard_state.vote.node


def check_promise(
    sender: NodeId,
    to: NodeId,
    message: PeerMessage,
    durable: DurableState,
    leader_log: LogModel | None,
) -> None:
    """Check a message at the moment at which it leaves.

    Args:
        sender: Who sends it.
        to: Its addressee.
        message: The message.
        durable: What of the sender is on disk now.
        leader_log: The log of the addressee if it leads the message's term now.

    Raises:
        Violation: It promises something that a crash would take back.
    """
    match message:  # the commonest first
        case HeartbeatReply(term) | AppendRejected(term):
            _check_term(sender, term, durable)
        case Heartbeat(term) | AppendRequest(term) | VoteRequest(term):
            _check_vote(sender, term, sender, durable)
        case VoteReply(term, granted=True):
            _check_vote(sender, term, to, durable)
        case AppendAccepted(term, matched):
            _check_term(sender, term, durable)
            mark = durable.log.at(matched)
            if matched and mark is None:
                raise Violation(
                    NAME,
                    f"{sender} acknowledges {matched} to {to}; its disk ends at "
                    f"{len(durable.log)}",
                )
            if leader_log is not None and mark != leader_log.at(matched):
                raise Violation(
                    NAME,
                    f"{sender} acknowledges {matched} to {to}, where its disk has {mark} and "
                    f"the leader {leader_log.at(matched)}",
                )
        case _:
            pass  # promises nothing


def _check_vote(sender: NodeId, term: Term, vote: NodeId, durable: DurableState) -> None:
    if durable.votes.get(term) != vote:
        raise Violation(
            NAME,
            f"{sender} speaks of its vote for {vote} in term {term}; on its disk is "
            f"{durable.hard_state}",
        )


def _check_term(sender: NodeId, term: Term, durable: DurableState) -> None:
    if durable.hard_state.term < term:
        raise Violation(
            NAME, f"{sender} speaks in term {term}; on its disk is {durable.hard_state}"
        )

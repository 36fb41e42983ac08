"""One replica's Raft, as a machine without a world (Raft: Ongaro 2014).

``RaftCore.step(event)`` returns what the shell has to do. The core holds the
term, the vote, the view of the log, the commit index, and exactly one of::

                  timer ran out             majority of pre-votes
    follower  ------------------> pre-candidate ------------> candidate
        ^                              |                          |
        |   a leader, a higher term    |                          | majority of
        +------------------------------+--------------------------+ votes
        |                                                         v
        +---------------------- higher term, no quorum -------- leader

What is refused at the gate never reaches a handler: an old term, a reply of one
who is not counted or says what cannot be, an append from anybody but the term's
leader. Assertions are for what no schedule may bring about; one that fails stops
the replica.
"""

from collections.abc import Sequence
from typing import assert_never

from raftlog.base.entry import Buffer, EntryKind
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.writes import HardState, SaveHardState
from raftlog.raft import events, rpcs
from raftlog.raft.candidate import Candidacy
from raftlog.raft.effects import (
    Effects,
    ProposalRefused,
    Proposed,
    ReadFailed,
    ReadReady,
    Role,
    RoleChanged,
    TransferEnded,
)
from raftlog.raft.leader import NOW, Leadership
from raftlog.raft.lease import Lease
from raftlog.raft.precedence import rounds_to_sit_out
from raftlog.raft.quorum import Verdict
from raftlog.raft.reads import WaitingRead
from raftlog.raft.reconfiguring import Reconfiguring


class RaftCore(Reconfiguring):
    """The pure Raft machine of one replica. One caller at a time."""

    # -- the outside

    def step(self, event: events.Event, now_ns: int = 0) -> Effects:
        """Take in one event; return everything that follows from it.

        ``now_ns`` is the shell's monotonic clock, which goes on while the machine sleeps. Only
        leases measure by it; all other time is ticks.
        """
        out = self._out = Effects()
        self._moment.ns = now_ns
        role, term, leader = self.role, self.term, self.leader
        self._dispatch(event)
        if self._unsaved:
            self._unsaved = False
            save = SaveHardState(self._hard_state_write, HardState(self.term, self.vote))
            out.writes.insert(0, save)
        if (self.role, self.term, self.leader) != (role, term, leader):
            out.role = RoleChanged(self.role, self.term, self.leader)
            failed = self._forwarded_reads.abandon()
            out.failed_reads.extend(ReadFailed(token) for token in failed)
        if not self._members.is_settled:
            out.in_force = self._members.news(self.commit)
        return out

    def next_deadline(self) -> int:
        """Ticks after which something can happen by time alone (ruling 36)."""
        return self.leadership.next_deadline() if self.leadership else self._patience.left

    # -- events

    def _dispatch(self, event: events.Event) -> None:  # noqa: C901, PLR0912 (one arm per event)
        match event:
            case events.Receive(sender, message):
                self._receive(sender, message)
            case events.Durable(write):
                self._on_durable(write)
            case events.Propose(bodies, kind):
                self._propose(bodies, kind)
            case events.Applied(index):
                self._on_applied(index)
            case events.Tick(count):
                self._tick(count)
            case events.Heard(sender):
                if sender.node == self.leader and self.role is Role.FOLLOWER:
                    self._patience.heard()
            case events.EntriesLoaded(to, first, entries):
                if self.leadership is not None:
                    self.leadership.loaded(to, first, entries, self._out)
            case events.Read(token):
                self._read(token)
            case events.ForgetRead(token):
                self._forwarded_reads.take(token)
            case events.ConnectionLost(node):
                self._on_connection_lost(node)
            case events.Transfer(target):
                if self.leadership is None or self.leadership.transferee is not None:
                    self._out.transfer = TransferEnded.REFUSED
                else:
                    self.leadership.transfer(target, self._out)
            case events.StandAside(is_aside):
                self.is_aside = is_aside
            case events.ChangeMembers(change):
                self._out.change = self._change_members(change)
            case events.Campaign():
                self._start_election(pre_vote=True)
            case events.FaultyEntries(count):
                self._faulty = count
                if self.leadership is not None:
                    self.leadership.repaired()
            case events.SnapshotFetched(base, configuration):
                self._reset_log(base, configuration)
            case events.Trimmed(start):
                self.log.trim(start)
            case _:
                assert_never(event)

    def _on_connection_lost(self, node: NodeId) -> None:
        # Only a hint (ruling 13): pre-vote and the others' stickiness still decide. Where
        # there are leases it is none: pledges last, whatever became of connections.
        is_hint = not self.membership.lease_ms
        if is_hint and node == self.leader and self.role is Role.FOLLOWER:
            self._patience.lose_leader()

    def _propose(self, bodies: Sequence[Sequence[Buffer]], kind: EntryKind) -> None:
        leadership = self.leadership
        if leadership is None:
            self._out.refused = ProposalRefused.NOT_LEADER
        elif leadership.transferee is not None:
            self._out.refused = ProposalRefused.TRANSFERRING
        elif (
            self.log.bytes_after(self.commit, self.durability.index)
            > self.config.uncommitted_bytes_max
        ):
            self._out.refused = ProposalRefused.THROTTLED
        else:
            assert bodies, "a proposal without bodies"
            entries = leadership.seal(kind, bodies)
            self._append_as_leader(leadership, entries)
            self._out.proposed = Proposed(self.term, entries[0].index, len(entries))

    # -- appending

    def _on_durable(self, write: WriteNumber) -> None:
        durability = self.durability
        durability.reported(write)
        if self.leadership is not None:
            self.leadership.durable(durability.index)
            self._advance_commit(self.leadership, durability.index)
        elif self.role is Role.FOLLOWER:
            self._acknowledge()
        else:
            self._count_own_vote()
        self.log.evict(min(self.commit, durability.index), self.config.uncommitted_bytes_max)

    def _on_applied(self, index: Index) -> None:
        assert self.applied <= index <= self.commit, f"applied {index}, commit {self.commit}"
        self.applied = index
        self.log.evict(min(index, self.durable), self.config.tail_bytes_max)

    def _read(self, token: int) -> None:
        if self.leadership is not None:
            self.leased_reads += self.leadership.read(WaitingRead(token, None), self._out)
        elif self.leader is not None and self._forwarded_reads.add(token):
            self._send(self.leader, rpcs.ReadIndexRequest(self.term, token))
        else:
            self._out.failed_reads.append(ReadFailed(token))

    # -- time

    def _tick(self, count: int) -> None:
        if self.leadership is None:
            if self._patience.passes(count):
                self._start_election(pre_vote=True)
        elif not self.leadership.tick(count, self._faulty, self._out):
            self._become_follower(self.term, None)

    # -- elections

    def _start_election(self, *, pre_vote: bool, transfer: bool = False) -> None:
        if self.leadership is not None or (self._pledge.holds and not transfer):
            return
        self._patience.begin_round()
        if not transfer:
            # Also who may not lead gives up a silent leader: it must vote for another.
            self.leader = None
        if not self._members.may_stand or self._faulty:
            return  # a replica with damaged entries votes but does not lead (ruling 20)
        if pre_vote and self._leaves_it_to_others():
            return
        if not self.durability.covers(self._hard_state_write):
            # Its last vote is not on disk, so nobody has heard of it. On a disk that hangs, one
            # more term every round would only make the others give up theirs.
            return
        self.leader = None  # also by rpcs.TimeoutNow
        if not pre_vote:
            self.term = Term(self.term + 1)
            self.vote = self.replica
            self._save_hard_state()
        self.role = Role.PRE_CANDIDATE if pre_vote else Role.CANDIDATE
        candidacy = self._candidacy = Candidacy(self._members.quorum, self.term, pre_vote=pre_vote)
        self._ask_for_votes(candidacy, transfer=transfer)
        if pre_vote:
            self._count(self.replica, granted=True)
        else:
            candidacy.own_vote = self._hard_state_write

    def _leaves_it_to_others(self) -> bool:
        """Whether others, who should rather lead, still have time to stand."""
        rounds = rounds_to_sit_out(
            *(self.membership, self.replica.node),
            is_aside=self.is_aside,
            led=self.led,
            unapplied=self.commit - self.applied,
        )
        return self._patience.rounds <= rounds

    def _ask_for_votes(self, candidacy: Candidacy, *, transfer: bool) -> None:
        request = candidacy.request(self.log.last_id, transfer=transfer)
        # A candidate's own vote is a promise too: durable before anybody hears of it.
        after = NOW if candidacy.pre_vote else self._hard_state_write
        for voter in dict.fromkeys(self.membership.voters + self.membership.outgoing):
            if voter != self.replica:
                self._send(voter.node, request, after)

    def _count_own_vote(self) -> None:
        candidacy = self._candidacy
        own = candidacy.own_vote if candidacy is not None else None
        if candidacy is not None and own is not None and self.durability.covers(own):
            candidacy.own_vote = None
            self._count(self.replica, granted=True)

    def _count(self, voter: ReplicaId, *, granted: bool) -> None:
        candidacy = self._candidacy
        if candidacy is None or not self.membership.is_voter(voter):
            return
        match candidacy.answered(voter.node, granted=granted):
            case Verdict.WON:
                if candidacy.pre_vote:
                    self._start_election(pre_vote=False)
                elif candidacy.own_vote is None:
                    self._become_leader()
            case Verdict.LOST:
                self._become_follower(self.term, None)
                self._patience.retry_soon()
            case Verdict.PENDING:
                pass

    def _become_leader(self) -> None:
        assert self.role is Role.CANDIDATE, f"a {self.role.value} cannot win an election"
        assert self.vote == self.replica, f"won term {self.term} with a vote for {self.vote}"
        self.role = Role.LEADER
        self.leader = self.led = self.replica.node
        self._candidacy = None
        self._patience.rounds = 0  # of this election: the next one has its own
        leadership = Leadership(
            *(self.replica, self.term, self.config, self.log),
            *(
                self.membership,
                self._members.quorum,
                self.commit,
                Lease(self._moment, self.replica),
            ),
        )
        self.leadership = leadership
        leadership.durable(self.durable)
        # Entries of earlier terms are committed only through one of this term (§5.4.2, §8).
        self._append_as_leader(leadership, leadership.seal(EntryKind.NOOP, [()]))
        leadership.heartbeat(self._out)

    # -- messages

    def _receive(self, sender: ReplicaId, message: rpcs.Message) -> None:  # noqa: C901, PLR0912
        if sender == self.replica or not self._pass_term(sender, message):
            return
        match message:
            case rpcs.AppendRequest():
                if self._follow(sender):
                    self._on_append(sender, message)
            case rpcs.AppendAccepted() | rpcs.AppendRejected() | rpcs.HeartbeatReply():
                self._answered_leader(sender, message)
            case rpcs.Heartbeat():
                if self._follow(sender):
                    self._on_heartbeat(sender, message)
            case rpcs.SnapshotOffer():
                if self._follow(sender) and self.commit < message.start:
                    self._out.fetch_from = sender.node
                elif self.leader == sender.node:
                    self._acknowledge_again()  # the leader does not know what is here
            case rpcs.PreVoteRequest():
                self._on_pre_vote_request(sender, message)
            case rpcs.PreVoteReply():
                self._on_pre_vote_reply(sender, message)
            case rpcs.VoteRequest():
                self._on_vote_request(sender, message)
            case rpcs.VoteReply():
                if self.role is Role.CANDIDATE:
                    self._count(sender, granted=message.granted)
            case rpcs.TimeoutNow():
                if sender.node == self.leader and self.role is Role.FOLLOWER:
                    self._start_election(pre_vote=False, transfer=True)
            case rpcs.ReadIndexRequest():
                if self.leadership is not None and self.leadership.knows(sender):
                    read = WaitingRead(message.token, sender.node)
                    self.leased_reads += self.leadership.read(read, self._out)
            case rpcs.ReadIndexReply():
                if sender.node == self.leader and self._forwarded_reads.take(message.token):
                    self._out.reads.append(ReadReady(message.token, message.index))
            case _:
                assert_never(message)

    def _pass_term(self, sender: ReplicaId, message: rpcs.Message) -> bool:
        """Compare terms; return whether the message still has something to say."""
        if message.term == self.term:
            return True
        if isinstance(message, rpcs.PreVoteRequest | rpcs.PreVoteReply):
            return True  # their term is a proposal; nobody is in it yet
        if message.term < self.term:
            self._answer_old_term(sender, message)
            return False
        if isinstance(message, rpcs.VoteRequest) and not message.transfer and self._is_sticky():
            return False  # we have a leader; whoever lost it must not unseat it (§6, ruling 13)
        self._become_follower(message.term, None)
        return True

    def _answer_old_term(self, sender: ReplicaId, message: rpcs.Message) -> None:
        """Tell a leader or candidate of an old term that the world has moved on."""
        if isinstance(message, rpcs.AppendRequest | rpcs.Heartbeat | rpcs.SnapshotOffer):
            self._promise(sender.node, rpcs.HeartbeatReply(self.term, 0, is_aside=self.is_aside))
        elif isinstance(message, rpcs.VoteRequest):
            self._promise(sender.node, rpcs.VoteReply(self.term, granted=False))

    def _is_sticky(self) -> bool:
        """Whether this replica has a leader, perhaps itself, that it has no reason to doubt."""
        known = self.leader is not None and self._patience.trusts_leader
        return known or self.leadership is not None or self._pledge.holds

    def _follow(self, sender: ReplicaId) -> bool:
        """Accept ``sender`` as the leader of this term; False if it cannot be."""
        assert self.leadership is None, f"{sender} also leads term {self.term}"
        if self.leader is None or self.role is not Role.FOLLOWER:
            self._become_follower(self.term, sender.node)
        elif self.leader != sender.node:
            return False
        self._patience.heard()
        return True

    def _on_pre_vote_request(self, sender: ReplicaId, message: rpcs.PreVoteRequest) -> None:
        granted = (
            not self._is_sticky() and message.term > self.term and self._is_up_to_date(message)
        )
        # A pre-vote promises nothing.
        self._send(sender.node, rpcs.PreVoteReply(message.term if granted else self.term, granted))
        if not granted or not self._patience.may_give_way:
            return
        if self.role is Role.FOLLOWER:
            self._patience.let_stand()
        elif self.role is Role.PRE_CANDIDATE and self._goes_first(sender, message):
            self._become_follower(self.term, None)
            self._patience.give_way()

    def _on_pre_vote_reply(self, sender: ReplicaId, message: rpcs.PreVoteReply) -> None:
        if not message.granted:
            if message.term > self.term:
                self._become_follower(message.term, None)
            elif self.role is Role.PRE_CANDIDATE:
                self._count(sender, granted=False)
        elif self.role is Role.PRE_CANDIDATE and message.term == self.term + 1:
            self._count(sender, granted=True)

    def _on_vote_request(self, sender: ReplicaId, message: rpcs.VoteRequest) -> None:
        # What the leader itself has asked for is no breach of a pledge: it has no lease any more.
        may_help = message.transfer or not self._pledge.holds
        free = self.vote is None and self.leader is None and may_help
        granted = (free or self.vote == sender) and self._is_up_to_date(message)
        if granted and self.vote is None:
            self.vote = sender
            self._save_hard_state()
        if granted:
            self._patience.elapsed = 0
        elif (
            self.role is Role.CANDIDATE
            and self._patience.may_give_way
            and self._goes_first(sender, message)
        ):
            self._patience.give_way()  # it may win this term still: its candidacy goes on
        self._promise(sender.node, rpcs.VoteReply(self.term, granted))

    def _goes_first(
        self, other: ReplicaId, candidate: rpcs.PreVoteRequest | rpcs.VoteRequest
    ) -> bool:
        """Whether of two who stand at once it is the other one who should go on."""
        last = self.log.last_id
        term = self.term + 1 if self.role is Role.PRE_CANDIDATE else self.term
        mine = term, last.term, last.index, self.replica.node
        theirs = candidate.term, candidate.last_term, candidate.last_index, other.node
        return theirs > mine

    def _is_up_to_date(self, candidate: rpcs.PreVoteRequest | rpcs.VoteRequest) -> bool:
        """Whether the candidate's log ends no earlier than ours, term before index (§5.4.1)."""
        last = self.log.last_id
        return (candidate.last_term, candidate.last_index) >= (last.term, last.index)

    # -- leading

    def _answered_leader(
        self,
        sender: ReplicaId,
        message: rpcs.AppendAccepted | rpcs.AppendRejected | rpcs.HeartbeatReply,
    ) -> None:
        """Count a follower's answer, if it comes from the very replica that is counted."""
        leadership = self.leadership
        progress = leadership.knows(sender) if leadership is not None else None
        if leadership is None or progress is None:
            return
        match message:
            case rpcs.AppendAccepted(_, matched) if matched > self.log.last_index:
                pass  # it has what was never sent: a bad peer must not end a good leader
            case rpcs.AppendAccepted(_, matched):
                leadership.accepted(progress, message)
                self._advance_commit(leadership, progress.match)
                if self.leadership is leadership:
                    leadership.go_on(progress, matched, self._out)
            case rpcs.AppendRejected():
                leadership.rejected(progress, message, self._out)
            case rpcs.HeartbeatReply():
                leadership.heartbeat_answered(progress, message, self._out)
                leadership.confirm_new_reads(self._out)

    def _advance_commit(self, leadership: Leadership, reported: Index) -> None:
        commit = leadership.committable(reported)
        if commit > self.commit:
            self.commit = commit
            self._out.commit = commit
            leadership.commit = commit
            leadership.confirm_new_reads(self._out)
            if not self._members.is_settled or self._leases_differ:
                self._finish_change(leadership)

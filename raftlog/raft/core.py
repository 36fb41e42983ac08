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

What is refused at the gate never reaches a handler: an old term, a reply from
a replica that is not counted, an append from anybody but the term's leader.
Assertions are for what no message and no schedule may bring about; they stay
on in production, and one that fails stops the replica.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, assert_never

from raftlog.base.entry import Buffer, Entry, EntryKind
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.raft.candidate import Candidacy
from raftlog.raft.config import CoreConfig, CoreStatus, Restored
from raftlog.raft.durability import Durability
from raftlog.raft.effects import (
    Effects,
    ProposalRefused,
    Proposed,
    ReadFailed,
    ReadReady,
    Role,
    RoleChanged,
    Send,
    TransferEnded,
)
from raftlog.raft.events import (
    Applied,
    Campaign,
    ConnectionLost,
    Durable,
    EntriesLoaded,
    Event,
    FaultyEntries,
    Heard,
    Propose,
    Read,
    Receive,
    Tick,
    Transfer,
)
from raftlog.raft.leader import NOW, Leadership
from raftlog.raft.log import LogView
from raftlog.raft.quorum import Quorum, Verdict
from raftlog.raft.reads import WaitingRead
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVoteReply,
    PreVoteRequest,
    ReadIndexReply,
    ReadIndexRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

NOTHING_ACKED: Final = Index(-1)


class RaftCore:
    """The pure Raft machine of one replica. One caller at a time."""

    def __init__(
        self, replica: ReplicaId, config: CoreConfig, restored: Restored, random: Random
    ) -> None:
        self.replica = replica
        self.config = config
        self.log = LogView(restored.start, restored.end, restored.term_runs)
        self.term = restored.hard_state.term
        self.vote = restored.hard_state.vote
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.commit = restored.commit
        self.applied = restored.applied
        self.membership = restored.membership
        self.durability = Durability(restored.end.index)
        self.leadership: Leadership | None = None
        self._random = random
        self._quorum = Quorum.of(restored.membership)
        self._is_voter = restored.membership.is_voter(replica)
        self._candidacy: Candidacy | None = None
        self._faulty = restored.faulty
        self._faulty_elapsed = 0
        self._matched = Index(0)
        """The log is known to equal the current leader's up to here."""
        self._acked = NOTHING_ACKED
        self._elapsed = 0
        self._leader_lost = False
        self._forwarded_reads: set[int] = set()
        self._hard_state_write = WriteNumber(0)
        self._unsaved = False
        self._out = Effects()
        self._timeout = self._first_timeout()
        assert restored.applied <= restored.commit <= restored.end.index, f"{restored}"
        assert restored.end.term <= self.term, f"log ends in a later term than {self.term}"

    # -- the outside

    def step(self, event: Event) -> Effects:
        """Take in one event; return everything that follows from it."""
        out = self._out = Effects()
        role, term, leader = self.role, self.term, self.leader
        self._dispatch(event)
        if self._unsaved:
            self._unsaved = False
            save = SaveHardState(self._hard_state_write, HardState(self.term, self.vote))
            out.writes.insert(0, save)
        if (self.role, self.term, self.leader) != (role, term, leader):
            out.role = RoleChanged(self.role, self.term, self.leader)
            self._fail_forwarded_reads()
        return out

    @property
    def durable(self) -> Index:
        """How far this replica's log is on disk."""
        return self.durability.index

    def next_deadline(self) -> int:
        """Ticks after which something can happen by time alone (ruling 36)."""
        if self.leadership is not None:
            return self.leadership.next_deadline()
        return max(1, self._timeout - self._elapsed)

    def status(self) -> CoreStatus:
        """Return a snapshot of what the core believes."""
        followers = self.leadership.followers if self.leadership else {}
        return CoreStatus(
            replica=self.replica,
            role=self.role.value,
            term=self.term,
            leader=self.leader,
            commit=self.commit,
            applied=self.applied,
            durable=self.durable,
            last=self.log.last_index,
            start=self.log.start.index,
            followers={
                node: (progress.match, progress.next, progress.pace.value)
                for node, progress in followers.items()
            },
        )

    # -- events

    def _dispatch(self, event: Event) -> None:  # noqa: C901, PLR0912 (one arm per event)
        match event:
            case Receive(sender, message):
                self._receive(sender, message)
            case Durable(write):
                self._on_durable(write)
            case Propose(bodies, kind):
                self._propose(bodies, kind)
            case Applied(index):
                self._on_applied(index)
            case Tick(count):
                self._tick(count)
            case Heard(sender):
                if sender.node == self.leader and self.role is Role.FOLLOWER:
                    self._heard_leader()
            case EntriesLoaded(to, first, entries):
                if self.leadership is not None:
                    self.leadership.loaded(to, first, entries, self._out)
            case Read(token):
                self._read(token)
            case ConnectionLost(node):
                self._connection_lost(node)
            case Transfer(target):
                self._transfer(target)
            case Campaign():
                self._start_election(pre_vote=True)
            case FaultyEntries(count):
                self._faulty = count
                self._faulty_elapsed = 0
            case _:
                assert_never(event)

    def _propose(self, bodies: Sequence[Sequence[Buffer]], kind: EntryKind) -> None:
        leadership = self.leadership
        if leadership is None:
            self._out.refused = ProposalRefused.NOT_LEADER
        elif leadership.transferee is not None:
            self._out.refused = ProposalRefused.TRANSFERRING
        elif self.log.bytes_after(self.commit) > self.config.uncommitted_bytes_max:
            self._out.refused = ProposalRefused.THROTTLED
        else:
            assert bodies, "a proposal without bodies"
            entries = leadership.seal(kind, bodies)
            self._append_as_leader(leadership, entries)
            self._out.proposed = Proposed(self.term, entries[0].index, len(entries))

    def _append_as_leader(self, leadership: Leadership, entries: tuple[Entry, ...]) -> None:
        self.log.append(entries)
        self._write_entries(None, entries)
        leadership.replicate(self._out)

    def _write_entries(self, truncate_to: Index | None, entries: tuple[Entry, ...]) -> None:
        write = self.durability.issue(self.log.last_index, truncate_to)
        self._out.writes.append(WriteEntries(write, truncate_to, entries))

    def _on_durable(self, write: WriteNumber) -> None:
        self.durability.reported(write)
        if self.leadership is not None:
            self.leadership.durable(self.durable)
            self._advance_commit(self.leadership)
        elif self.role is Role.FOLLOWER:
            if self.leader is not None:
                self._acknowledge()
        else:
            self._count_own_vote()

    def _on_applied(self, index: Index) -> None:
        assert self.applied <= index <= self.commit, f"applied {index}, commit {self.commit}"
        self.applied = index
        self.log.evict(min(index, self.durable), self.config.tail_bytes_max)

    def _read(self, token: int) -> None:
        if self.leadership is not None:
            self.leadership.read(WaitingRead(token, None), self._out)
        elif self.leader is not None:
            self._forwarded_reads.add(token)
            self._send(self.leader, ReadIndexRequest(self.term, token))
        else:
            self._out.failed_reads.append(ReadFailed(token))

    def _fail_forwarded_reads(self) -> None:
        self._out.failed_reads.extend(ReadFailed(token) for token in sorted(self._forwarded_reads))
        self._forwarded_reads.clear()

    def _connection_lost(self, node: NodeId) -> None:
        if node != self.leader or self.role is not Role.FOLLOWER or self._leader_lost:
            return
        # Only a hint (ruling 13): pre-vote and the others' stickiness still decide.
        self._leader_lost = True
        self._timeout = self._elapsed + self._random.randint(1, self.config.hint_ticks_max)

    def _transfer(self, target: NodeId | None) -> None:
        if self.leadership is None or self.leadership.transferee is not None:
            self._out.transfer = TransferEnded.REFUSED
            return
        self.leadership.transfer(target, self._out)

    # -- time

    def _tick(self, count: int) -> None:
        if self.leadership is not None:
            if not self.leadership.tick(count, self._out):
                self._become_follower(self.term, None)
                return
            self._hand_over_if_faulty(self.leadership, count)
            return
        self._elapsed += count
        if self._elapsed >= self._timeout:
            self._start_election(pre_vote=True)

    def _hand_over_if_faulty(self, leadership: Leadership, count: int) -> None:
        """A leader that cannot repair its own log in time lets another lead (ruling 20)."""
        if not self._faulty:
            return
        before = self._faulty_elapsed
        self._faulty_elapsed += count
        patience = self.config.election_ticks_min
        if self._faulty_elapsed >= patience + self.config.election_ticks_max:
            # Nobody could catch up: what is damaged lies only here. The others have a majority
            # without it, and it was never committed.
            self._faulty_elapsed = 0
            self._become_follower(self.term, None)
        elif before < patience <= self._faulty_elapsed and leadership.transferee is None:
            leadership.transfer(None, self._out)

    def _first_timeout(self) -> int:
        """A fresh start asks early: pre-votes disturb nobody who has a leader."""
        if self._is_voter and len(self.membership.voters) == 1:
            return 1
        return 2 * self.config.heartbeat_ticks + self._random.randint(
            1, self.config.hint_ticks_max
        )

    def _election_timeout(self) -> int:
        return self._random.randint(self.config.election_ticks_min, self.config.election_ticks_max)

    def _round_timeout(self) -> int:
        """Patience of one election round, shorter than a follower's: nobody leads meanwhile."""
        shortest = max(2, self.config.election_ticks_min // 4)
        return self._random.randint(
            shortest, max(shortest + 1, self.config.election_ticks_max // 4)
        )

    # -- elections

    def _start_election(self, *, pre_vote: bool, transfer: bool = False) -> None:
        if self.leadership is not None:
            return
        self._elapsed = 0
        self._timeout = self._round_timeout()
        if not transfer:
            # Also who may not lead gives up a silent leader: it must vote for another.
            self.leader = None
        if not self._is_voter or self._faulty:
            return  # a replica with damaged entries votes but does not lead (ruling 20)
        if not self.durability.covers(self._hard_state_write):
            # Its last vote is not on disk, so nobody has heard of it. On a disk that hangs, one
            # more term every round would only make the others give up theirs.
            return
        self.leader = None  # also by TimeoutNow
        if not pre_vote:
            self.term = Term(self.term + 1)
            self.vote = self.replica.node
            self._save_hard_state()
        self.role = Role.PRE_CANDIDATE if pre_vote else Role.CANDIDATE
        self._candidacy = Candidacy(self._quorum, self.term, pre_vote=pre_vote)
        self._ask_for_votes(pre_vote=pre_vote, transfer=transfer)
        if pre_vote:
            self._count(self.replica, granted=True)
        else:
            self._candidacy.own_vote = self._hard_state_write

    def _ask_for_votes(self, *, pre_vote: bool, transfer: bool) -> None:
        last = self.log.last_id
        request: Message
        if pre_vote:
            request = PreVoteRequest(Term(self.term + 1), last.term, last.index)
        else:
            request = VoteRequest(self.term, last.term, last.index, transfer)
        for voter in dict.fromkeys(self.membership.voters + self.membership.outgoing):
            if voter != self.replica:
                # A candidate's own vote is a promise too: durable before anybody hears of it.
                self._send(voter.node, request, after=NOW if pre_vote else self._hard_state_write)

    def _count_own_vote(self) -> None:
        candidacy = self._candidacy
        if candidacy is None or candidacy.own_vote is None:
            return
        if self.durability.covers(candidacy.own_vote):
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
                self._timeout = self._round_timeout()
            case Verdict.PENDING:
                pass

    def _become_leader(self) -> None:
        assert self.role is Role.CANDIDATE, f"a {self.role.value} cannot win an election"
        assert self.vote == self.replica.node, f"won term {self.term} with a vote for {self.vote}"
        self.role = Role.LEADER
        self.leader = self.replica.node
        self._candidacy = None
        self._leader_lost = False
        leadership = Leadership(
            *(self.replica, self.term, self.config, self.log),
            *(self.membership, self._quorum, self.commit),
        )
        self.leadership = leadership
        leadership.durable(self.durable)
        # Entries of earlier terms are committed only through one of this term (§5.4.2, §8).
        self._append_as_leader(leadership, leadership.seal(EntryKind.NOOP, [()]))
        leadership.heartbeat(self._out)

    def _become_follower(self, term: Term, leader: NodeId | None) -> None:
        """Follow ``leader`` in ``term``; the only way down, and the only way to a later term."""
        assert term >= self.term, f"term falls from {self.term} to {term}"
        if self.leadership is not None:
            self.leadership.end(self._out)
            self.leadership = None
        self.role = Role.FOLLOWER
        self._candidacy = None
        if term > self.term:
            self.term = term
            self.vote = None
            self._save_hard_state()
        self.leader = leader
        self._leader_lost = False
        self._matched = self.commit
        self._acked = NOTHING_ACKED
        self._elapsed = 0
        self._timeout = self._election_timeout()

    def _save_hard_state(self) -> None:
        """Term and vote will be durable with one write, before anything else of this step."""
        if not self._unsaved:
            assert not self._out.writes, "entries written before the term that allows them"
            self._hard_state_write = self.durability.issue(self.log.last_index, None)
            self._unsaved = True

    # -- messages

    def _receive(self, sender: ReplicaId, message: Message) -> None:  # noqa: C901, PLR0912
        if sender == self.replica or not self._pass_term(sender, message):
            return
        match message:
            case AppendRequest():
                if self._follow(sender):
                    self._on_append(sender, message)
            case AppendAccepted():
                self._on_accepted(sender, message)
            case AppendRejected():
                self._on_rejected(sender, message)
            case Heartbeat():
                if self._follow(sender):
                    self._commit_up_to(min(message.commit, self._matched))
                    self._promise(sender.node, HeartbeatReply(self.term, message.round))
                    if message.commit > self._matched:
                        self._restate_match(sender.node)
            case HeartbeatReply():
                self._on_heartbeat_reply(sender, message)
            case PreVoteRequest():
                self._on_pre_vote_request(sender, message)
            case PreVoteReply():
                self._on_pre_vote_reply(sender, message)
            case VoteRequest():
                self._on_vote_request(sender, message)
            case VoteReply():
                if self.role is Role.CANDIDATE:
                    self._count(sender, granted=message.granted)
            case TimeoutNow():
                if sender.node == self.leader and self.role is Role.FOLLOWER:
                    self._start_election(pre_vote=False, transfer=True)
            case ReadIndexRequest():
                if self.leadership is not None and self.leadership.knows(sender):
                    self.leadership.read(WaitingRead(message.token, sender.node), self._out)
            case ReadIndexReply():
                if sender.node == self.leader and message.token in self._forwarded_reads:
                    self._forwarded_reads.discard(message.token)
                    self._out.reads.append(ReadReady(message.token, message.index))
            case _:
                assert_never(message)

    def _pass_term(self, sender: ReplicaId, message: Message) -> bool:
        """Compare terms; return whether the message still has something to say."""
        if message.term == self.term:
            return True
        if isinstance(message, PreVoteRequest | PreVoteReply):
            return True  # their term is a proposal; nobody is in it yet
        if message.term < self.term:
            self._answer_old_term(sender, message)
            return False
        if isinstance(message, VoteRequest) and not message.transfer and self._is_sticky():
            return False  # we have a leader; whoever lost it must not unseat it (§6, ruling 13)
        self._become_follower(message.term, None)
        return True

    def _answer_old_term(self, sender: ReplicaId, message: Message) -> None:
        """Tell a leader or candidate of an old term that the world has moved on."""
        match message:
            case AppendRequest() | Heartbeat():
                self._promise(sender.node, HeartbeatReply(self.term, 0))
            case VoteRequest():
                self._promise(sender.node, VoteReply(self.term, granted=False))
            case _:
                pass

    def _is_sticky(self) -> bool:
        """Whether this replica has a leader that it has no reason to doubt."""
        if self.leadership is not None:
            return True
        return (
            self.leader is not None
            and not self._leader_lost
            and self._elapsed < self.config.election_ticks_min
        )

    def _follow(self, sender: ReplicaId) -> bool:
        """Accept ``sender`` as the leader of this term; False if it cannot be."""
        assert self.leadership is None, f"{sender} also leads term {self.term}"
        if self.leader is None or self.role is not Role.FOLLOWER:
            self._become_follower(self.term, sender.node)
        elif self.leader != sender.node:
            return False
        self._heard_leader()
        return True

    def _heard_leader(self) -> None:
        self._elapsed = 0
        if self._leader_lost:
            self._leader_lost = False
            self._timeout = self._election_timeout()

    def _on_pre_vote_request(self, sender: ReplicaId, message: PreVoteRequest) -> None:
        granted = (
            not self._is_sticky() and message.term > self.term and self._is_up_to_date(message)
        )
        # A pre-vote promises nothing and changes nothing.
        self._send(sender.node, PreVoteReply(message.term if granted else self.term, granted))

    def _on_pre_vote_reply(self, sender: ReplicaId, message: PreVoteReply) -> None:
        if not message.granted:
            if message.term > self.term:
                self._become_follower(message.term, None)
            elif self.role is Role.PRE_CANDIDATE:
                self._count(sender, granted=False)
        elif self.role is Role.PRE_CANDIDATE and message.term == self.term + 1:
            self._count(sender, granted=True)

    def _on_vote_request(self, sender: ReplicaId, message: VoteRequest) -> None:
        free = self.vote is None and self.leader is None
        granted = (free or self.vote == sender.node) and self._is_up_to_date(message)
        if granted:
            if self.vote is None:
                self.vote = sender.node
                self._save_hard_state()
            self._elapsed = 0
        self._promise(sender.node, VoteReply(self.term, granted))

    def _is_up_to_date(self, candidate: PreVoteRequest | VoteRequest) -> bool:
        """Whether the candidate's log ends no earlier than ours, term before index (§5.4.1)."""
        last = self.log.last_id
        return (candidate.last_term, candidate.last_index) >= (last.term, last.index)

    # -- following

    def _on_append(self, sender: ReplicaId, message: AppendRequest) -> None:
        previous, entries = message.previous_index, message.entries
        if previous <= self.commit:
            self._check_committed(message)
        if previous < self.commit:
            # Everything committed is equal already; only what lies after it can be news.
            entries = entries[self.commit - previous :]
            previous = self.commit
        elif self.log.term_at(previous) != message.previous_term:
            hint = self.log.last_at_or_below(previous, message.previous_term)
            reply = AppendRejected(self.term, message.previous_index, hint.term, hint.index)
            self._promise(sender.node, reply)
            return
        written = self._store(previous, entries)
        self._matched = max(self._matched, Index(previous + len(entries)))
        self._commit_up_to(min(message.commit, self._matched))
        if not written:
            self._acked = NOTHING_ACKED
            self._acknowledge()

    def _check_committed(self, message: AppendRequest) -> None:
        """A leader has everything that is committed (§5.4.3): one that has not is a bug (R4)."""
        index, term = message.previous_index, message.previous_term
        known = message.entries[: self.commit - index]
        if known:
            index, term = known[-1].index, known[-1].term
        ours = self.log.term_at(index)
        assert ours is None or ours == term, (
            f"the leader of term {self.term} contradicts committed entry {index} of term {ours}"
        )

    def _store(self, previous: Index, entries: tuple[Entry, ...]) -> bool:
        """Write what is new of ``entries``, truncating at the first conflict."""
        last = self.log.last_index
        position = 0
        while position < len(entries) and previous + position < last:
            if self.log.term_at(entries[position].index) != entries[position].term:
                break
            position += 1
        new = entries[position:]
        if not new:
            return False
        truncate_to = None
        if new[0].index <= last:
            truncate_to = Index(new[0].index - 1)
            assert truncate_to >= self.commit, (
                f"the leader of term {self.term} contradicts committed entry {new[0].index}"
            )
            self.log.truncate(truncate_to, new[0].previous)
        self.log.append(new)
        self._write_entries(truncate_to, new)
        return True

    def _acknowledge(self) -> None:
        """Promise the leader what is both equal to its log and on this disk."""
        promised = min(self._matched, self.durable)
        if promised > self._acked and self.leader is not None:
            self._acked = promised
            self._promise(self.leader, AppendAccepted(self.term, promised))

    def _restate_match(self, leader: NodeId) -> None:
        """Tell the leader how little is known to match: it believes more, from before.

        After a restart, or a doubt about the leader, this replica no longer knows
        that its log matches; a leader with nothing to send would never say so,
        and what it has committed would not be committed here.
        """
        self._promise(leader, AppendAccepted(self.term, min(self._matched, self.durable)))

    def _commit_up_to(self, index: Index) -> None:
        if index > self.commit:
            assert index <= self.log.last_index, f"commit {index} beyond {self.log.last_index}"
            self.commit = index
            self._out.commit = index

    # -- leading

    def _on_accepted(self, sender: ReplicaId, message: AppendAccepted) -> None:
        leadership = self.leadership
        progress = leadership.knows(sender) if leadership is not None else None
        if leadership is not None and progress is not None:
            leadership.accepted(progress, message)
            self._advance_commit(leadership)
            leadership.go_on(progress, message.matched, self._out)

    def _on_rejected(self, sender: ReplicaId, message: AppendRejected) -> None:
        leadership = self.leadership
        progress = leadership.knows(sender) if leadership is not None else None
        if leadership is not None and progress is not None:
            leadership.rejected(progress, message, self._out)

    def _on_heartbeat_reply(self, sender: ReplicaId, message: HeartbeatReply) -> None:
        leadership = self.leadership
        progress = leadership.knows(sender) if leadership is not None else None
        if leadership is not None and progress is not None:
            leadership.heartbeat_answered(progress, message, self._out)
            leadership.confirm_new_reads(self._out)

    def _advance_commit(self, leadership: Leadership) -> None:
        commit = leadership.committable()
        if commit > self.commit:
            self.commit = commit
            self._out.commit = commit
            leadership.commit = commit
            leadership.confirm_new_reads(self._out)

    # -- sending

    def _send(self, to: NodeId, message: Message, after: WriteNumber = NOW) -> None:
        self._out.messages.append(Send(to, message, after))

    def _promise(self, to: NodeId, message: Message) -> None:
        """Send a message that speaks in this term's name: after the term is durable (R2)."""
        pending = not self.durability.covers(self._hard_state_write)
        self._send(to, message, self._hard_state_write if pending else NOW)

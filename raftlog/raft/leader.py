"""Leading one term: replicate, count, commit, confirm, hand over.

A ``Leadership`` exists exactly while its replica leads. It owns what only a
leader knows and is dropped as a whole when the term ends, so nothing of it can
leak into the next one.

The commit rule (Raft §5.4.2): an index is committed when a majority has it
durably *and* its entry is of the leader's own term. The leader counts itself
only from its own disk's report, and may commit before it (ruling 14).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from raftlog.base.entry import Buffer, Entry, EntryKind, seal
from raftlog.base.ids import WRITE_ZERO, Index, NodeId, ReplicaId, Term
from raftlog.base.limits import PENDING_READS_MAX
from raftlog.base.membership import Membership
from raftlog.raft.config import WINDOW_ADAPT_TICKS, CoreConfig
from raftlog.raft.effects import Effects, LoadEntries, ReadFailed, ReadReady, Send, TransferEnded
from raftlog.raft.lease import Lease
from raftlog.raft.log import LogView
from raftlog.raft.progress import Pace, Progress
from raftlog.raft.quorum import Quorum
from raftlog.raft.reads import PendingReads, WaitingRead
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadIndexReply,
    SnapshotOffer,
    TimeoutNow,
)

NOW: Final = WRITE_ZERO
"""``Send.after`` of a message that promises nothing."""
SILENCES: Final = 3
"""Who has been silent for so many of the longest election timeouts is not alive."""


class Leadership:
    """One leader's term."""

    def __init__(
        self,
        me: ReplicaId,
        term: Term,
        config: CoreConfig,
        log: LogView,
        membership: Membership,
        quorum: Quorum,
        commit: Index,
        lease: Lease,
    ) -> None:
        self.term = term
        self.commit = commit
        """How far the log is committed; the core moves it."""
        self.first_index = Index(log.last_index + 1)
        """The no-op's index: once it is committed, everything before it is."""
        self.transferee: NodeId | None = None
        self._me = me.node
        self._my_replica = me
        self._config = config
        self._log = log
        self._quorum = quorum
        self._lease = lease
        self._followers: dict[NodeId, Progress] = {}
        self._successors: set[NodeId] = set()
        """Who may lead after this replica: not those who are on their way out."""
        self._learners: list[NodeId] = []
        self._match: dict[NodeId, Index] = {}
        self._reads = PendingReads()
        self._last_request: AppendRequest | None = None
        self._round = 0
        self._heartbeat_elapsed = 0
        self._quorum_elapsed = 0
        self._transfer_elapsed = 0
        self._window_elapsed = 0
        self._faulty_elapsed = 0
        self.obey(membership, quorum, self.first_index)

    # -- what the outside may look at

    @property
    def followers(self) -> Mapping[NodeId, Progress]:
        """Every other replica's progress."""
        return self._followers

    def look(self) -> dict[str, tuple[Index, Index, str]]:
        """Return each follower's match, next and pace."""
        return {
            node: (progress.match, progress.next, progress.pace.value)
            for node, progress in self._followers.items()
        }

    def next_deadline(self) -> int:
        """Ticks until ``tick`` has something to do."""
        ticks = min(
            self._config.heartbeat_ticks - self._heartbeat_elapsed,
            self._config.election_ticks_min - self._quorum_elapsed,
        )
        if self.transferee is not None:
            ticks = min(ticks, self._config.election_ticks_max - self._transfer_elapsed)
        return max(1, ticks)

    def knows(self, sender: ReplicaId) -> Progress | None:
        """Return the progress of exactly this replica, directory included (ruling 5)."""
        progress = self._followers.get(sender.node)
        return progress if progress is not None and progress.replica == sender else None

    # -- members

    def obey(self, membership: Membership, quorum: Quorum, begin: Index) -> None:
        """Count and send by ``membership`` from now on: its entry is in the log (Raft §4.1).

        Who is new is first sent entry ``begin``, so that there is something to answer. Who is
        no member any more is sent the log for a while, so that it learns of that and does not
        stand for election for ever.
        """
        self._quorum = quorum
        self._lease.obey(membership, quorum)
        self._successors = {replica.node for replica in membership.voters}
        self._learners = [replica.node for replica in membership.learners]
        members = {replica.node: replica for replica in membership.replicas}
        for node, progress in self._followers.items():
            if members.get(node) != progress.replica:
                progress.leaves_at = progress.leaves_at or begin
                self._match.pop(node, None)
        for node, replica in members.items():
            if replica == self._my_replica:
                self._match.setdefault(node, Index(0))
                continue
            known = self._followers.get(node)
            if known is not None and known.replica == replica:
                known.leaves_at = None
                known.left_for = 0
                self._match[node] = known.match
                continue
            self._followers[node] = Progress(replica, begin, self._config.window_messages_max)
            self._match[node] = Index(0)

    def has_caught_up(self, node: NodeId) -> bool:
        """Whether a learner could vote without holding commits back (Raft §4.2.1)."""
        progress = self._followers.get(node)
        if progress is None or progress.match < self.first_index:
            return False
        return progress.has_caught_up and (progress.active or progress.was_active)

    def is_alive(self, node: NodeId) -> bool:
        """Whether a member was heard lately, or this leader can't know yet that it was not.

        Long enough for a process that is started again, or stands still for a while.
        """
        progress = self._followers.get(node)
        patience = SILENCES * self._config.election_ticks_max
        return node == self._me or (progress is not None and progress.silent_ticks < patience)

    def is_needed(self, node: NodeId) -> bool:
        """Whether commits, or a transfer, wait for what this follower lacks.

        They don't wait if others who answer and have what is committed are enough; before the
        first commit of the term that is this leader's first entry.
        """
        enough = max(self.commit, self.first_index)
        others = {
            other
            for other, progress in self._followers.items()
            if other != node
            and progress.match >= enough
            and (progress.active or progress.was_active)
        }
        return node == self.transferee or not self._quorum.agrees(others | {self._me})

    def bow_out(self, out: Effects) -> None:
        """Tell everybody that this replica is no voter any more, and let the best one go on."""
        self.heartbeat(out)
        successor = self._best_follower()
        if successor is not None:
            self._ask_to_stand(successor, out)

    def _pass_time_of_members(self, count: int) -> None:
        for node in self._learners:
            progress = self._followers.get(node)
            if progress is not None:
                progress.catch_up(self._log.last_index, count, self._config.election_ticks_min)
        patience = 2 * self._config.election_ticks_max
        for node, progress in list(self._followers.items()):
            progress.silent_ticks += count
            if progress.leaves_at is not None:
                progress.left_for += count
                if progress.left_for >= patience:
                    del self._followers[node]

    # -- appending

    def seal(self, kind: EntryKind, bodies: Sequence[Sequence[Buffer]]) -> tuple[Entry, ...]:
        """Make the bodies into the next entries of the log."""
        entries: list[Entry] = []
        index = self._log.last_index
        previous = self._log.end.checksum
        term = self.term
        for parts in bodies:
            index = Index(index + 1)
            entry = seal(kind, term, index, previous, parts)
            previous = entry.checksum
            entries.append(entry)
        return tuple(entries)

    def replicate(self, out: Effects) -> None:
        """Send whatever the windows allow to every follower."""
        for progress in self._followers.values():
            self._send_entries(progress, out)

    def durable(self, index: Index) -> None:
        """Count this replica's own log, as far as it is on disk."""
        self._match[self._me] = index

    def committable(self, reported: Index) -> Index:
        """Return how far the log is committed, now that somebody has ``reported`` on disk."""
        if reported <= self.commit:
            return self.commit  # the others were enough: this moves nothing
        agreed = self._quorum.committed(self._match)
        if agreed <= self.commit or self._log.term_at(agreed) != self.term:
            return self.commit
        return agreed

    # -- answers

    def accepted(self, progress: Progress, message: AppendAccepted) -> None:
        """Count an acknowledgement."""
        last = self._log.last_index
        assert message.matched <= last, (
            f"{progress.replica} has {message.matched}, log ends {last}"
        )
        progress.heard()
        if progress.pace is Pace.SNAPSHOT and message.matched < self._log.start.index:
            return
        if progress.accepted(message.matched) and progress.leaves_at is None:
            node = progress.replica.node
            self._match[node] = progress.match
            if node in self._learners:
                progress.catch_up(self._log.last_index, 0, self._config.election_ticks_min)

    def go_on(self, progress: Progress, matched: Index, out: Effects) -> None:
        """Send what an acknowledgement has made room for; finish a transfer it completes."""
        self._send_entries(progress, out)
        if matched < progress.match and not progress.in_flight:
            # It has forgotten what matches: an append without entries reminds it.
            self._send(progress, (), out)
        node = progress.replica.node
        if node == self.transferee and progress.match == self._log.last_index:
            self._ask_to_stand(node, out)

    def rejected(self, progress: Progress, message: AppendRejected, out: Effects) -> None:
        """Find the next point at which the logs may agree, and probe there."""
        progress.heard()
        agree = self._log.last_at_or_below(message.hint_index, message.hint_term)
        if progress.rejected(message.rejected, agree.index):
            self._send_entries(progress, out)

    def heartbeat_answered(
        self, progress: Progress, message: HeartbeatReply, out: Effects
    ) -> None:
        """Note that the follower follows; repair a silent stall; confirm reads."""
        progress.heard()
        progress.round = max(progress.round, message.round)
        progress.is_aside = message.is_aside
        if message.pledged_ms:
            self._lease.pledged(progress.replica, message.round, message.pledged_ms)
        progress.probing = False
        if progress.pace is Pace.SNAPSHOT:
            self._offer_snapshot(progress, out)
        elif progress.match < self._log.last_index:
            self._unstick(progress, out)
        self._confirm_reads(out)

    def loaded(self, node: NodeId, first: Index, entries: tuple[Entry, ...], out: Effects) -> None:
        """Send entries that were read from disk for a slow follower."""
        progress = self._followers.get(node)
        if progress is None:
            return
        progress.loading = False
        if not entries or progress.next != first:
            return
        last = entries[-1]
        if self._log.term_at(last.index) != last.term:
            return  # read for an earlier leadership of this replica, and truncated since
        if progress.may_send():
            self._send(progress, entries, out)
            self._send_entries(progress, out)

    # -- time

    def tick(self, count: int, faulty: int, out: Effects) -> bool:
        """Pass time; ``faulty`` entries are damaged here.

        Returns:
            False when leadership is over: a majority has not been heard for too
            long, or the damage could neither be repaired nor handed on.
        """
        self._heartbeat_elapsed += count
        self._quorum_elapsed += count
        self._window_elapsed += count
        self._pass_time_of_members(count)
        if self._heartbeat_elapsed >= self._config.heartbeat_ticks:
            self.heartbeat(out)
        if self._window_elapsed >= WINDOW_ADAPT_TICKS:
            self._window_elapsed = 0
            for progress in self._followers.values():
                progress.adapt_window()
        if self.transferee is not None:
            self._transfer_elapsed += count
            if self._transfer_elapsed >= self._config.election_ticks_max:
                self.transferee = None
                out.transfer = TransferEnded.TIMED_OUT
        if self._quorum_elapsed >= self._config.election_ticks_min:
            self._quorum_elapsed = 0
            if not self._heard_by_quorum():
                return False
        return not faulty or self._lives_with_damage(count, out)

    def _lives_with_damage(self, count: int, out: Effects) -> bool:
        """A leader that cannot repair its own log in time lets another lead (ruling 20)."""
        before = self._faulty_elapsed
        self._faulty_elapsed += count
        patience = self._config.election_ticks_min
        if before < patience <= self._faulty_elapsed and self.transferee is None:
            self.transfer(None, out)
        # If nobody could catch up, what is damaged lies only here: the others have a majority
        # without it, and it was never committed.
        return self._faulty_elapsed < patience + self._config.election_ticks_max

    def heartbeat(self, out: Effects) -> None:
        """Begin a round: it keeps followers patient and confirms waiting reads."""
        self._heartbeat_elapsed = 0
        self._round += 1
        self._lease.round_begins(self._round)
        if self.commit >= self.first_index:
            self._reads.begin(self._round, self.commit)
        for node, progress in self._followers.items():
            index = min(self.commit, progress.match)
            message = Heartbeat(self.term, index, self._round, self._log.chain_at(index))
            out.messages.append(Send(node, message, NOW))
        self._confirm_reads(out)

    # -- reads

    def read(self, read: WaitingRead, out: Effects) -> bool:
        """Take in a linearizable read; return whether a lease has answered it already.

        Else it waits for an own-term commit and a round.
        """
        if self.commit >= self.first_index and self._lease.holds:
            self._answer_read(read, self.commit, out)
            return True
        if len(self._reads) >= PENDING_READS_MAX:
            self._fail_read(read, out)
        else:
            self._reads.new.append(read)
            self.confirm_new_reads(out)
        return False

    def confirm_new_reads(self, out: Effects) -> None:
        """Begin a round for new reads, unless one is under way or nothing is committed yet."""
        if self._reads.new and not self._reads.confirming and self.commit >= self.first_index:
            self.heartbeat(out)

    def repaired(self) -> None:
        """The log is as it was, or its damage has changed: patience begins anew."""
        self._faulty_elapsed = 0

    def end(self, out: Effects) -> None:
        """Leadership is over: every waiting read fails, a transfer has ended."""
        for read in self._reads.abandon():
            self._fail_read(read, out)
        if self.transferee is not None:
            self.transferee = None
            out.transfer = TransferEnded.DONE

    # -- handing over

    def transfer(self, target: NodeId | None, out: Effects) -> None:
        """Let ``target`` catch up, then tell it to stand for election (Raft §3.10)."""
        chosen = target if target is not None else self._best_follower()
        progress = self._followers.get(chosen) if chosen is not None else None
        if progress is None or chosen not in self._successors:
            out.transfer = TransferEnded.REFUSED
            return
        self.transferee = chosen
        self._transfer_elapsed = 0
        if progress.match == self._log.last_index:
            self._ask_to_stand(chosen, out)
        else:
            self._send_entries(progress, out)

    def _ask_to_stand(self, node: NodeId, out: Effects) -> None:
        self._lease.give_up()  # the message may be late; no pledge holds that election back
        out.messages.append(Send(node, TimeoutNow(self.term), NOW))

    # -- inside

    def _best_follower(self) -> NodeId | None:
        candidates = [
            (not progress.is_aside, progress.match, node)
            for node, progress in self._followers.items()
            if (progress.active or progress.was_active) and node in self._successors
        ]
        return max(candidates)[2] if candidates else None

    def _heard_by_quorum(self) -> bool:
        active = {node for node, progress in self._followers.items() if progress.active}
        for progress in self._followers.values():
            progress.was_active = progress.active
            progress.active = False
        return self._quorum.agrees(active | {self._me})

    def _unstick(self, progress: Progress, out: Effects) -> None:
        """Resend after a silence: messages in flight may have died with a connection.

        An empty append at the end of what was sent is rejected if something
        before it was lost, and the rejection names where to begin again.
        """
        if progress.pace is Pace.REPLICATE and progress.in_flight and progress.stalled():
            self._send(progress, (), out)
        self._send_entries(progress, out)

    def _send_entries(self, progress: Progress, out: Effects) -> None:
        last = self._log.last_index
        while progress.next <= last and progress.may_send():
            if progress.next <= self._log.start.index:
                self._offer_snapshot(progress, out)
                return
            entries = self._log.slice(progress.next, self._config.message_bytes_max)
            if entries is None:
                progress.loading = True
                node, size = progress.replica.node, self._config.message_bytes_max
                before_tail = Index(self._log.tail_first - 1)
                out.loads.append(LoadEntries(node, progress.next, before_tail, size))
                return
            self._send(progress, entries, out)

    def _send(self, progress: Progress, entries: tuple[Entry, ...], out: Effects) -> None:
        previous = Index(progress.next - 1)
        if previous < self._log.start.index:
            self._offer_snapshot(progress, out)
            return
        term = self._log.term_at(previous)
        assert term is not None, f"no term for {previous}, log starts at {self._log.start.index}"
        # Followers in step get the very same message, so that it is encoded once.
        message = self._last_request
        if (
            message is None
            or not entries
            or message.previous_index != previous
            or message.commit != self.commit
            or len(message.entries) != len(entries)
            or message.entries[-1] is not entries[-1]
        ):
            message = AppendRequest(self.term, term, previous, self.commit, entries)
            self._last_request = message
        out.messages.append(Send(progress.replica.node, message, NOW))
        if entries:
            progress.sent(entries[-1].index, sum([len(entry.frame) for entry in entries]))

    def _offer_snapshot(self, progress: Progress, out: Effects) -> None:
        progress.await_snapshot()
        offer = SnapshotOffer(self.term, self._log.start.index)
        out.messages.append(Send(progress.replica.node, offer, NOW))

    def _confirm_reads(self, out: Effects) -> None:
        if not self._reads.confirming:
            return
        rounds = {node: Index(progress.round) for node, progress in self._followers.items()}
        rounds[self._me] = Index(self._round)
        for read, index in self._reads.confirmed(self._quorum.committed(rounds)):
            self._answer_read(read, index, out)

    def _answer_read(self, read: WaitingRead, index: Index, out: Effects) -> None:
        if read.requester is None:
            out.reads.append(ReadReady(read.token, index))
        else:
            reply: Message = ReadIndexReply(self.term, read.token, index)
            out.messages.append(Send(read.requester, reply, NOW))

    def _fail_read(self, read: WaitingRead, out: Effects) -> None:
        if read.requester is None:
            out.failed_reads.append(ReadFailed(read.token))

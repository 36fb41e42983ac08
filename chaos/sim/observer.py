"""Watches every replica's core, disk and messages, and feeds the invariants.

It believes no replica: logs are rebuilt from the writes that cores ask for,
durable logs from plans whose ``perform`` returned, promises from messages at
the moment at which they leave.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from chaos.check.acked_present import History, Place
from chaos.check.commit_on_majority import check_majority, check_own_term
from chaos.check.committed_never_changes import CommittedLog
from chaos.check.configuration_changes import check_change
from chaos.check.configuration_in_use import Configurations, check_in_use, halves_of
from chaos.check.leader_completeness import check_leader
from chaos.check.log_matching import LogMatching
from chaos.check.log_model import LogModel, Mark
from chaos.check.log_time import LogTime
from chaos.check.monotone import Monotone
from chaos.check.one_leader_per_term import OneLeaderPerTerm
from chaos.check.promises_durable import DurableState, check_promise
from chaos.check.real_time_order import RealTimeOrder
from chaos.check.recovery import check_recovered, check_recovered_hard_state
from chaos.check.state_machine_safety import StateMachineSafety
from chaos.sim.elections import Elections, standing_of
from chaos.sim.facts import Facts
from chaos.sim.machine import values_in
from raftlog.base.entry import Entry, EntryKind
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.membership import Membership, decode_membership
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries
from raftlog.broker.commands import log_time_of
from raftlog.node.replica import Replica
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, Role, TransferEnded
from raftlog.raft.events import Event
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    PeerMessage,
    ReadIndexReply,
    VoteReply,
    VoteRequest,
)

STEP_MS: Final = 100_000
"""So far apart in log time two entries of a run are only after a step."""
_SPEAKS_IN_TERM: Final = frozenset(
    {
        *(VoteReply, VoteRequest, AppendRequest, AppendAccepted, AppendRejected),
        *(Heartbeat, HeartbeatReply),
    }
)
"""Messages that are said in the sender's own term."""


class Observer:
    """All invariants of one run, and counts of what happened in it."""

    def __init__(
        self,
        replicas: Sequence[ReplicaId],
        first: Entry,
        *,
        broker: bool,
        log_time: LogTime,
        now_ms: Callable[[], int],
    ) -> None:
        self._now_ms = now_ms
        self._made_ms: dict[Index, int] = {}
        """When a leader made each entry that nobody has applied yet, by a true clock."""
        self.log_time = log_time
        self.marks: Counter[str] = Counter()
        self.on_reset: Callable[[NodeId], None] | None = None
        """Told that a log will begin anew."""
        self.facts: Facts | None = Facts(self.marks) if broker else None
        self.history = History()
        self.order = RealTimeOrder()
        self.leaders = OneLeaderPerTerm()
        self.committed = CommittedLog()
        self.stored: dict[bytes, Place] = {}
        self.values: list[bytes] = []
        self._bases: dict[NodeId, Index] = {}
        """Up to where a log came with a snapshot: so did its configuration."""
        self._configurations = Configurations()
        self._configurations.written(first)
        self._elections = Elections()
        self._matching = LogMatching()
        self._monotone = Monotone()
        self._safety = StateMachineSafety()
        self._applied_end = Index(0)
        self._commit_terms: dict[Term, Index] = {}
        nodes = [replica.node for replica in replicas]
        formed = LogModel([Mark(first.term, first.checksum)])
        self.committed.committed(nodes[0], first.index, formed.marks[0])
        self._logs = {node: formed.copy() for node in nodes}
        self._durable = {
            node: DurableState(HardState(first.term), formed.copy()) for node in nodes
        }
        self._issued: dict[NodeId, list[Write]] = {node: [] for node in nodes}
        self._leading: dict[NodeId, Term] = {}
        self._recovery: tuple[Index, Mark] | None = None
        self._losing: dict[NodeId, tuple[DurableState, list[Write]]] = {}
        """Of disks that lose writes: what was durable before, and what was confirmed since."""

    # -- another world

    def __getstate__(self) -> dict[str, object]:
        """Leave out the clock, and with it the whole world that it belongs to."""
        return {name: value for name, value in self.__dict__.items() if name != "_now_ms"}

    def goes_on(self, now_ms: Callable[[], int]) -> None:
        """Look at another world from now on, by its clock."""
        self._now_ms = now_ms

    # -- directories

    def renewed(self, node: NodeId) -> None:
        """Take in that ``node`` has a new, empty directory: it is another replica now."""
        self._bases.pop(node, None)
        self._logs[node] = LogModel()
        self._durable[node] = DurableState(HardState(), LogModel())
        self._issued[node] = []
        self._losing.pop(node, None)
        self._monotone.renewed(node)

    def goes_back(self, node: NodeId, durable: DurableState) -> None:
        """Take in that an old copy of ``node``'s directory was put back: it has forgotten more."""
        self._bases[node] = Index(len(durable.log))
        self._logs[node] = durable.log.copy()
        self._durable[node] = durable.copy()
        self._issued[node] = []
        self._monotone.renewed(node)

    def begins_to_lose(self, node: NodeId) -> None:
        """Take in that ``node``'s disk may take back what it confirms from now on."""
        self._losing.setdefault(node, (self._durable[node].copy(), []))

    def loses_nothing(self, node: NodeId) -> None:
        """Take in that all that was confirmed is there, or known to be missing."""
        self._losing.pop(node, None)

    def takes_back(self, node: NodeId, *, log: bool, votes: bool) -> list[Write]:
        """Take in that ``node``'s disk takes back the end of its log, or its last votes.

        Returns what is as if it had never been confirmed: it may be there or not.
        """
        before, writes = self._losing.pop(node)
        durable = self._durable[node]
        if votes:
            self._monotone.renewed(node)
            durable.hard_state, durable.votes = before.hard_state, before.votes
        if log:
            durable.log = before.log
        return [write for write in writes if (votes if type(write) is SaveHardState else log)]

    def forced(self, node: NodeId, state: HardState, entry: Entry) -> None:
        """Take in that ``entry`` was written to a stopped node's log by hand."""
        durable = self._durable[node]
        number = WriteNumber(0)
        durable.performed(SaveHardState(number, state))
        del durable.log.marks[entry.index - 1 :]  # what was in flight may be there, or not
        durable.performed(WriteEntries(number, None, (entry,)))
        self._matching.written(node, [entry])
        self._configurations.written(entry)
        self._recovery = (entry.index, Mark(entry.term, entry.checksum))

    def has_recoveries(self, node: NodeId) -> bool:
        """Whether what was last written by hand is in a node's log, or it is of a dead branch."""
        if self._recovery is None:
            return True
        index, mark = self._recovery
        return self._durable[node].log.at(index) == mark

    # -- a process

    def restarts(
        self,
        node: NodeId,
        replica: Replica,
        in_flight: Sequence[Write],
        seen: Sequence[Mark | None],
    ) -> None:
        """Take in that a process started: what it recovered, and what may have been lost."""
        store = replica.store
        durable = self._durable[node]
        check_recovered_hard_state(node, store.hard_state, durable.hard_state, in_flight)
        log = check_recovered(node, seen, durable.log, in_flight, self.committed.log)
        self._monotone.restarts(node, store.hard_state, store.commit_hint, self.committed.end)
        votes = durable.votes
        durable = DurableState(store.hard_state, log)
        durable.votes.update({term: votes[term] for term in votes if term not in durable.votes})
        self._durable[node] = durable
        self._logs[node] = log.copy()
        self._issued[node] = []
        self._safety.starts(node, replica.machine.applied)
        patience = replica.core.config.election_ticks_min
        self._elections.begins(node, patience, store.faulty_count)
        step = replica.core.step

        def observed(event: Event, now_ns: int = 0) -> Effects:
            core = replica.core
            before = standing_of(core)
            configured = (core.configured_at, core.membership)
            effects = step(event, now_ns)
            on_disk = self._durable[node].hard_state.term
            self._elections.stepped(node, core, event, before, effects, on_disk)
            self._stepped(node, replica, effects, configured)
            return effects

        replica.core.step = observed  # type: ignore[method-assign]

    def ends(self, node: NodeId) -> None:
        """Take in that a process is gone."""
        self._leading.pop(node, None)

    def writes_up_to(self, node: NodeId, write: WriteNumber) -> list[Write]:
        """Return the unperformed writes that a plan up to ``write`` holds."""
        return [each for each in self._issued[node] if each.write <= write]

    def performed(self, node: NodeId, write: WriteNumber) -> None:
        """Take in that the disk has everything up to ``write``."""
        issued = self._issued[node]
        durable = self._durable[node]
        losing = self._losing.get(node)
        while issued and issued[0].write <= write:
            write_done = issued.pop(0)
            if losing is not None:
                losing[1].append(write_done)
            if isinstance(write_done, ResetLog):
                durable.log.reset(write_done.base, self.committed.log)
            else:
                durable.performed(write_done)

    def _stepped(
        self,
        node: NodeId,
        replica: Replica,
        effects: Effects,
        before: tuple[Index, Membership],
    ) -> None:
        core = replica.core
        log = self._logs[node]
        for write in effects.writes:
            self._issued[node].append(write)
            if isinstance(write, ResetLog):
                self.marks["logs reset"] += 1
                if self.on_reset is not None:
                    self.on_reset(node)
                log.reset(write.base, self.committed.log)
                self._bases[node] = write.base.index
            if isinstance(write, WriteEntries):
                if write.truncate_to is not None:
                    self.marks["truncations"] += 1
                self._matching.written(node, write.entries)
                log.write(write.truncate_to, write.entries)
                for entry in write.entries:
                    self._configurations.written(entry)
                if core.leadership is not None:
                    self._made_ms.update((entry.index, self._now_ms()) for entry in write.entries)
                    self._changes(node, core, before, write.entries)
        role = effects.role
        if role is not None:
            self._leading.pop(node, None)
            if role.role is Role.LEADER:
                self.marks["elections"] += 1
                self._leading[node] = role.term
                self.leaders.leads(node, role.term)
                check_leader(node, role.term, log, self._committed_before(role.term))
        if effects.writes or effects.commit is not None:
            self._counts(node, core, log, has_committed=effects.commit is not None)
        if effects.loads:
            self.marks["loads"] += 1
        if effects.transfer is TransferEnded.DONE:
            self.marks["transfers"] += 1

    def _counts(self, node: NodeId, core: RaftCore, log: LogModel, *, has_committed: bool) -> None:
        """Check by whose votes a replica goes, and what it takes for committed."""
        used = halves_of(core.membership)
        newest = self._configurations.newest(log, self._bases.get(node, Index(0)))
        check_in_use(node, used, newest)
        if has_committed:
            self._commits(node, core.term, core.commit, used)

    def told_members(self, floor: Index, members: Membership) -> None:
        """Take in that a change was told to be done that was asked for at ``committed.end``."""
        self._configurations.told(members, self.committed.log, floor)

    def _changes(
        self,
        node: NodeId,
        core: RaftCore,
        before: tuple[Index, Membership],
        entries: Sequence[Entry],
    ) -> None:
        """Check the configurations that a leader appends."""
        for entry in entries:
            if entry.kind is not EntryKind.CONFIGURATION or entry.term != core.term:
                continue
            at, membership = before
            commit = self._logs[node].at(core.commit)
            assert commit is not None, f"{node} has committed {core.commit} beyond its log"
            check_change(
                node,
                (at, halves_of(membership)),
                (entry.index, halves_of(decode_membership(entry.body))),
                (core.commit, commit.term),
                core.term,
            )
            self.marks["configurations appended"] += 1

    def _committed_before(self, term: Term) -> LogModel:
        """Return what leaders of earlier terms than ``term`` have committed.

        A late winner of an old term need not have what newer terms committed.
        """
        ends = [end for each, end in self._commit_terms.items() if each < term]
        return LogModel(self.committed.log.marks[: max(ends, default=0)])

    def _commits(
        self, node: NodeId, core_term: Term, commit: Index, halves: Sequence[Sequence[NodeId]]
    ) -> None:
        log = self._logs[node]
        self._monotone.commits(node, commit)
        known = self.committed.end
        first = min(commit, Index(known + 1))
        for index in range(first, commit + 1):
            mark = log.at(Index(index))
            assert mark is not None, f"{node} commits {index} beyond its log"
            self.committed.committed(node, Index(index), mark)
        if commit > known:
            self._commit_terms[core_term] = commit
            mark = log.marks[commit - 1]
            durable = {voter: state.log for voter, state in self._durable.items()}
            check_majority(node, commit, mark, durable, halves)
            if self._leading.get(node) == core_term:
                check_own_term(node, core_term, commit, mark)

    # -- messages

    def sends(self, node: NodeId, to: NodeId, message: PeerMessage) -> None:
        """Take in a message that leaves ``node`` now."""
        kind = type(message)  # the commonest thing of all: no ``match``, no ``isinstance``
        leader_log = None
        if kind is AppendAccepted and self._leading.get(to) == message.term:  # type: ignore[union-attr]
            leader_log = self._logs[to]
        check_promise(node, to, message, self._durable[node], leader_log)
        if kind in _SPEAKS_IN_TERM:
            self._monotone.speaks(node, message.term)  # type: ignore[union-attr]
        if kind is Heartbeat or kind is AppendRequest:
            self.leaders.leads(node, message.term)  # type: ignore[union-attr]
        elif isinstance(message, VoteReply) and message.granted:
            self._monotone.votes(node, message.term, to)
        elif kind is AppendRejected:
            self.marks["rejections"] += 1
        elif kind is ReadIndexReply:
            self.marks["forwarded reads"] += 1

    # -- state machines and clients

    def applies(
        self,
        node: NodeId,
        entry: Entry,
        digest: bytes,
        outcomes: Sequence[object],
    ) -> None:
        """Take in that a state machine applied ``entry``."""
        self._safety.applies(node, entry.index, self.committed.end, digest)
        if entry.index == self._applied_end + 1:
            self._applied_end = entry.index
            self._stamped(entry)
            if self.facts is not None:
                self.facts.applied(entry, outcomes)
                return
            for position, value in enumerate(values_in(entry)):
                self.stored.setdefault(value, Place(entry.index, position))
                self.values.append(value)

    def _stamped(self, entry: Entry) -> None:
        # Behind a slow disk an entry may wait for long; its stamp is of when it was made.
        made_ms = self._made_ms.pop(entry.index, None) or self._now_ms()
        if entry.kind is EntryKind.COMMANDS:
            passed_ms = self.log_time.stamped(log_time_of(entry.body), made_ms)
            if passed_ms > STEP_MS:
                self.marks["log time moved at once"] += 1

    def restored(self, node: NodeId, index: Index) -> None:
        """Take in that a running state machine was given the state at ``index``."""
        self.marks["states installed"] += 1
        self._safety.starts(node, index)

    @property
    def applied_end(self) -> Index:
        """The last entry that any state machine has applied."""
        return self._applied_end

    def has_state(self, node: NodeId, index: Index, digest: str) -> None:
        """Take in the whole state of a machine, applied or restored."""
        self._safety.state(node, index, digest)

    def finish(self) -> None:
        """Check what can be said only at the end."""
        self.history.check(self.stored, self.values)
        if self.facts is not None:
            ends = {queue: self.facts.reads.end(queue) for queue in self.facts.reads.batches}
            self.facts.order.check(ends)
            self.marks["ends in one order"] += self.facts.order.look_count

    def durable_log(self, node: NodeId) -> LogModel:
        """Return what of a node's log is on its disk."""
        return self._durable[node].log

    def durable_state(self, node: NodeId) -> DurableState:
        """Return what of a node is on its disk."""
        return self._durable[node]

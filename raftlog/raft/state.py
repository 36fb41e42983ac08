"""What a replica's Raft holds, whatever its role, and how it writes and speaks.

One step's writes and messages are gathered in one ``Effects``. A message that
promises something names the write that must be durable first (R2)::

    self._save_hard_state()      term and vote, once a step, before its entries
    self._write(None, entries)   the log
    self._promise(to, reply)     held until the term is durable
    self._send(to, request)      promises nothing: leaves at once
"""

from random import Random

from raftlog.base.entry import Entry
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import WriteEntries
from raftlog.raft import rpcs
from raftlog.raft.candidate import Candidacy
from raftlog.raft.config import CoreConfig, CoreStatus, Restored
from raftlog.raft.durability import Durability
from raftlog.raft.effects import Effects, Role, Send
from raftlog.raft.follower import Following
from raftlog.raft.leader import NOW, Leadership
from raftlog.raft.lease import Moment, Pledge
from raftlog.raft.log import LogView
from raftlog.raft.members import Members
from raftlog.raft.patience import Patience
from raftlog.raft.reads import ForwardedReads


class ReplicaState:
    """The state of one replica, between and during steps."""

    def __init__(
        self,
        replica: ReplicaId,
        config: CoreConfig,
        restored: Restored,
        random: Random,
        now_ns: int = 0,
    ) -> None:
        self.replica = replica
        self.config = config
        self.log = LogView(restored.start, restored.end, restored.term_runs)
        self.term = restored.hard_state.term
        self.vote = restored.hard_state.vote
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.led: NodeId | None = None
        """Who has led last, as far as this replica has heard."""
        self.is_aside = False
        """Whether it leads only if no other voter can."""
        self.commit = restored.commit
        self.applied = restored.applied
        self._members = Members(replica, restored)
        self.durability = Durability(restored.end.index)
        self.leadership: Leadership | None = None
        self._candidacy: Candidacy | None = None
        self._faulty = restored.faulty
        self._following = Following(self.log, self.durability, self.commit)
        self._forwarded_reads = ForwardedReads()
        self._hard_state_write = WriteNumber(0)
        self._unsaved = False
        self._out = Effects()
        self._patience = Patience(config, random, alone=self._members.is_alone)
        self._moment = Moment(now_ns)
        self._pledge = Pledge(self._moment, self._members.may_have_pledged_ms)
        self.leased_reads = 0
        """Reads that a lease has answered, this node's and forwarded ones."""
        assert restored.applied <= restored.commit <= restored.end.index, f"{restored}"
        assert restored.end.term <= self.term, f"log ends in a later term than {self.term}"

    # -- what may be looked at

    @property
    def membership(self) -> Membership:
        """The configuration in force."""
        return self._members.now

    @property
    def committed_membership(self) -> Membership:
        """The newest committed configuration."""
        return self._members.configurations.newest_committed(self.commit)

    @property
    def configured_at(self) -> Index:
        """The entry that the configuration in force is in; 0 if it is in none."""
        return self._members.index

    @property
    def durable(self) -> Index:
        """How far this replica's log is on disk."""
        return self.durability.index

    def status(self) -> CoreStatus:
        """Return a snapshot of what the core believes."""
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
            followers=self.leadership.look() if self.leadership else {},
        )

    # -- roles

    def _become_follower(self, term: Term, leader: NodeId | None) -> None:
        """Follow ``leader`` in ``term``; the only way down, and the only way to a later term."""
        assert term >= self.term, f"term falls from {self.term} to {term}"
        if self.leadership is not None:
            self.leadership.end(self._out)
            self.leadership = None
        self.role = Role.FOLLOWER
        self._candidacy = None
        if term > self.term:
            self.term, self.vote = term, None
            self._save_hard_state()
        self.leader = leader
        self.led = leader or self.led
        self._following = Following(self.log, self.durability, self.commit)
        self._patience.follow()

    # -- writing

    def _write(self, truncate_to: Index | None, entries: tuple[Entry, ...]) -> None:
        number = self.durability.issue(self.log.last_index, truncate_to)
        self._out.writes.append(WriteEntries(number, truncate_to, entries))

    def _save_hard_state(self) -> None:
        """Term and vote will be durable with one write, before anything else of this step."""
        if not self._unsaved:
            assert not self._out.writes, "entries written before the term that allows them"
            self._hard_state_write = self.durability.issue(self.log.last_index, None)
            self._unsaved = True

    # -- sending

    def _send(self, to: NodeId, message: rpcs.Message, after: WriteNumber = NOW) -> None:
        self._out.messages.append(Send(to, message, after))

    def _promise(self, to: NodeId, message: rpcs.Message) -> None:
        """Send a message that speaks in this term's name: after the term is durable (R2)."""
        is_saved = self.durability.covers(self._hard_state_write)
        self._send(to, message, NOW if is_saved else self._hard_state_write)

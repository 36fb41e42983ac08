"""One node of an etcd interaction trace: our core, with a disk that works when it is told to.

The traces are written for a core that has some of our features as options and
others not at all. The differences are bridged here, from outside of the core:

- *pre-vote* is always on. Where the trace has it off, every voter grants it at once.
- *stickiness* is always on. Where the trace has check-quorum off, a vote request
  comes as that of a handover does, and a pre-vote finds a voter that doubts its leader.
- a *heartbeat* also follows an election, and an old leader is always told of a
  later term. The trace does so in fewer cases, so the rest is not sent.
- a *commit* is told with the next append or heartbeat. The trace has an empty
  append tell it at once, so one is sent here wherever etcd's leader would.
- a *candidate* asks for votes when its own is on the disk, in the trace at once; nothing
  crashes in a trace, so the requests do not wait here.
- a *stall* is believed after two silent heartbeats, in the trace after one.
- a *change of the members* waits until the leader has committed an entry of its term,
  in the trace it is appended at once. Who it makes a voter has not been a learner before,
  as the machinery for operators would have it; the log takes any configuration.
- a *snapshot* is offered and fetched, in the trace it is sent: what is fetched here is what
  the leader had applied when it made the offer.
- the log before ``index`` is term 1 in the trace although nobody was in a term yet;
  here it is term 0 and is only written as 1.
"""

from collections import deque
from enum import Enum
from random import Random
from typing import Final

import msgspec

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, LogEnd
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState, ResetLog, Write, WriteEntries
from raftlog.raft.changes import Step, enter_joint, simple
from raftlog.raft.config import CoreConfig, Restored
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, Role, Send
from raftlog.raft.events import (
    Applied,
    Campaign,
    ConnectionLost,
    Durable,
    Event,
    Propose,
    Receive,
    SnapshotFetched,
    Tick,
    Trimmed,
)
from raftlog.raft.leader import Leadership
from raftlog.raft.progress import Pace, Progress
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
    VoteReply,
    VoteRequest,
)
from tests.oracles.transcript import CHANGE, Row, Shown, spell_entry
from tests.raft.harness import replica_id

ELECTION_TICKS: Final = 3
"""What the traces take for an election timeout; a heartbeat is one tick."""
ROLES: Final = {
    Role.FOLLOWER: "Follower",
    Role.PRE_CANDIDATE: "PreCandidate",
    Role.CANDIDATE: "Candidate",
    Role.LEADER: "Leader",
}
PACES: Final = {Pace.PROBE: "Probe", Pace.REPLICATE: "Replicate", Pace.SNAPSHOT: "Snapshot"}
ACKNOWLEDGEMENTS: Final = AppendAccepted | VoteReply
"""What a report of the disk lets out at once."""
PROMISES: Final = ACKNOWLEDGEMENTS | AppendRejected | PreVoteReply
"""What the traces send only after the write before it, even if it needs none."""


def number_of(node: NodeId | None) -> int:
    """Return a node's number in the trace; 0 is nobody."""
    return int(node[1:]) if node is not None else 0


def _numbers(replicas: tuple[ReplicaId, ...]) -> str:
    numbers = sorted(number_of(each.node) for each in replicas)
    return f"({' '.join(map(str, numbers))})"


class Options(msgspec.Struct, frozen=True):
    """What ``add-nodes`` says."""

    index: int
    in_flight: int
    pre_vote: bool
    check_quorum: bool
    async_writes: bool


class Difference(Enum):
    """Where our core decides otherwise than etcd's, and so a trace cannot be followed further."""

    COUNTED_FROM_APPEND = "a configuration counts from its append on, there once it is applied"
    LEFT_BY_ITSELF = "a joint configuration is left once it is committed, there perhaps on demand"
    AFTER_OWN_COMMIT = "members change once the leader has committed in its term, there before"
    BOWS_OUT = "a leader that is no voter any more steps down, there it may go on"


class Change(msgspec.Struct, frozen=True):
    """A change of the members, as a trace proposes it."""

    steps: tuple[Step, ...]
    is_joint: bool

    def of(self, membership: Membership) -> Membership:
        """Return the configuration that it begins.

        Raises:
            ImpossibleStep: There is none.
        """
        return (enter_joint if self.is_joint else simple)(membership, self.steps)


class Work(msgspec.Struct):
    """What one Ready gives to the append thread: writes, and what is sent once they are done."""

    writes: list[Write]
    messages: list[Send]


class EtcdNode:
    """A core that is driven as the traces drive theirs."""

    def __init__(
        self, number: int, membership: Membership, options: Options, formed_at: int
    ) -> None:
        self.number: Final = number
        self.options: Final = options
        index = Index(options.index)
        self._formed_at: Final = formed_at
        """Where the log of the trace's first nodes begins."""
        self.start = LogEnd(index, Term(0), CHAIN_ORIGIN)
        """What the log begins behind, as the core believes."""
        self._disk_start = index
        self.waiting: Change | None = None
        """A change of the members that may not be appended yet."""
        self.offered: dict[NodeId, SnapshotFetched] = {}
        """What each follower fetches, if it takes the newest offer."""
        self.fetch_from: NodeId | None = None
        self.differences: set[Difference] = set()
        """What may have shown since the current directive began."""
        self._has_led = False
        start = self.start
        config = CoreConfig(
            heartbeat_ticks=1,
            election_ticks_min=ELECTION_TICKS,
            election_ticks_max=2 * ELECTION_TICKS - 1,
            window_messages_max=options.in_flight,
        )
        restored = Restored(HardState(), start, start, (), index, index, membership)
        self.core = RaftCore(replica_id(number), config, restored, Random(number))
        self.disk: list[Entry] = []
        self.view: list[Entry] = []
        self.append_work: deque[Work] = deque()
        self.apply_work: deque[Index] = deque()
        self._writes: list[Write] = []
        self._outbox: list[Send] = []
        self._done = WriteNumber(0)
        self._handed = index
        """How far the log was given to the state machine."""
        self._told: dict[NodeId, Index] = {}
        """The commit index that each follower was last sent."""
        self._shown = self._look()

    # -- what happens to it

    def campaign(self) -> None:
        """Stand for election now."""
        self.step(Campaign())

    def receive(self, sender: int, message: Message) -> None:
        """Take in a message, in the trace's way where ours is another."""
        core = self.core
        if not self.options.check_quorum:
            if isinstance(message, VoteRequest):
                message = msgspec.structs.replace(message, transfer=True)
            elif isinstance(message, PreVoteRequest) and core.leadership is not None:
                # Ours would refuse, because a leader has no reason to doubt itself.
                granted = message.term > core.term and core._is_up_to_date(message)
                reply = PreVoteReply(message.term if granted else core.term, granted)
                self._outbox.append(Send(replica_id(sender).node, reply, WriteNumber(0)))
                return
            elif isinstance(message, PreVoteRequest) and core.leader is not None:
                self.step(ConnectionLost(core.leader))
        if isinstance(message, HeartbeatReply) and core.leadership is not None:
            progress = core.leadership.knows(replica_id(sender))
            if progress is not None and progress.pace is Pace.REPLICATE:
                progress.stalled()  # one heartbeat of the trace stands for two of ours
        self.step(Receive(replica_id(sender), message))

    def report(self, write: WriteNumber) -> None:
        """Hear from the disk."""
        self.step(Durable(write))

    def apply_one(self) -> None:
        """Let the apply thread finish its oldest work, if it has any."""
        if self.apply_work:
            self.step(Applied(self.apply_work.popleft()))

    def step(self, event: Event) -> Effects:
        """Give the core an event and collect what follows."""
        core = self.core
        leadership, old = core.leadership, self._is_old(event)
        effects = core.step(event)
        self._writes.extend(effects.writes)
        for write in effects.writes:
            if isinstance(write, WriteEntries):
                if write.truncate_to is not None:
                    del self.view[write.truncate_to - self.start.index :]
                self.view.extend(write.entries)
            elif isinstance(write, ResetLog):
                self.view = []
                self.start = write.base
                self._handed = write.base.index
        assert not effects.loads, f"node {self.number} wants to read {effects.loads}"
        if core.leadership is not leadership:
            self._told = {}
            self.waiting = None
        self._has_led |= core.leadership is not None
        self.look_for_differences()
        self.fetch_from = effects.fetch_from or self.fetch_from
        self._note_offers(effects.messages)
        messages = [
            send
            for send in effects.messages
            if not old and (isinstance(event, Tick) or not isinstance(send.message, Heartbeat))
        ]
        if core.leadership is not None:
            self._check_probes(core.leadership)
            told = self._tell_commit(core.leadership, event, effects, messages)
            self._note_offers(told)
            messages += told
        asked = [send for send in messages if isinstance(send.message, PreVoteRequest)]
        if asked and not self.options.pre_vote:
            self._grant_pre_votes(asked)
        else:
            self._outbox.extend(messages)
        self._append_what_waited()
        return effects

    def change(self, change: Change) -> bool:
        """Append a change of the members, as soon as it may be; return whether it may ever be.

        Raises:
            ImpossibleStep: There is no such configuration.
        """
        core = self.core
        if core.leadership is None or self.waiting is not None:
            return False
        if core.configured_at > core.commit or core.membership.is_joint:
            return False
        change.of(core.membership)
        self.waiting = change
        self.look_for_differences()
        self._append_what_waited()
        return True

    def look_for_differences(self, *, anew: bool = False) -> None:
        """Note which differences between the cores may show now; first forget, if ``anew``."""
        core = self.core
        if anew:
            self.differences = set()
        if self.waiting is not None:
            self.differences.add(Difference.AFTER_OWN_COMMIT)
        if core.configured_at > core.commit:
            self.differences.add(Difference.COUNTED_FROM_APPEND)
        if self._has_led and not core.membership.is_voter(core.replica):
            self.differences.add(Difference.BOWS_OUT)

    def snapshot(self) -> SnapshotFetched:
        """Return what the machine has applied, as a snapshot."""
        index = self.core.applied
        end = (
            self.view[index - self.start.index - 1].end if index > self.start.index else self.start
        )
        assert end.index == index, f"node {self.number} has applied {index}, begins at {end}"
        return SnapshotFetched(end, self.core.committed_membership.encode())

    def install(self, snapshot: SnapshotFetched) -> None:
        """Take over a snapshot that was fetched."""
        self.fetch_from = None
        self.step(snapshot)
        if self.start == snapshot.base and self.core.applied < snapshot.base.index:
            self.step(Applied(snapshot.base.index))

    def compact(self, index: int) -> None:
        """Let go of the log up to ``index``."""
        assert index <= self.core.applied, f"{index} is not applied yet"
        end = self.view[index - self.start.index - 1].end
        del self.view[: index - self.start.index]
        del self.disk[: index - self._disk_start]
        self.start, self._disk_start = end, end.index
        self.step(Trimmed(end))

    # -- its Ready

    @property
    def has_ready(self) -> bool:
        """Whether it has something to hand out."""
        return (
            bool(self._writes or self._outbox)
            or self._may_apply > self._handed
            or self._look() != self._shown
        )

    def process_ready(self) -> tuple[Shown, list[Send]]:
        """Hand out everything that has come up: to the disk, the machine and the network."""
        has_news = self._look() != self._shown
        shown = self._shown = self._look()
        writes, self._writes = self._writes, []
        outbox, self._outbox = self._outbox, []
        shown = msgspec.structs.replace(
            shown,
            entries=[
                self._spell(entry)
                for write in writes
                if isinstance(write, WriteEntries)
                for entry in write.entries
            ],
            committed=self._hand_over(self._may_apply),
        )
        if not self.options.async_writes:
            return shown, outbox + self._write_now(writes)
        late = [
            send
            for send in outbox
            if isinstance(send.message, PROMISES)
            or (send.after > self._done and not isinstance(send.message, VoteRequest))
        ]
        if writes or late or has_news:
            self.append_work.append(Work(writes, late))
        return shown, [send for send in outbox if send not in late]

    def _write_now(self, writes: list[Write]) -> list[Send]:
        """Write at once; return the acknowledgements, which belong to the same Ready."""
        released: list[Send] = []
        if writes:
            self._perform(writes)
            self.report(writes[-1].write)
            released = [s for s in self._outbox if isinstance(s.message, ACKNOWLEDGEMENTS)]
            self._outbox = [send for send in self._outbox if send not in released]
        while self.apply_work:
            self.apply_one()
        return released

    def process_append(self) -> tuple[list[Send], WriteNumber | None]:
        """Let the append thread do its oldest work.

        Returns:
            What is sent now, and the report that a leader or candidate hears
            only with its mail.
        """
        work = self.append_work.popleft()
        self._perform(work.writes)
        report = work.writes[-1].write if work.writes else None
        if report is None or self.core.role is not Role.FOLLOWER:
            return work.messages, report
        before = len(self._outbox)
        self.report(report)
        released = self._outbox[before:]
        del self._outbox[before:]
        return work.messages + released, None

    # -- what is compared

    def log(self) -> list[str]:
        """Return the log on the disk."""
        return [self._spell(entry) for entry in self.disk]

    def raft_state(self) -> tuple[str, bool, int, int]:
        """Return role, whether it votes, term and leader."""
        core = self.core
        # The trace shows what is applied; ours obeys what is appended.
        is_voter = core.committed_membership.is_voter(core.replica)
        return ROLES[core.role], is_voter, core.term, number_of(core.leader)

    def status(self) -> list[Row]:
        """Return what a leader knows about everybody, itself included."""
        core = self.core
        leadership = core.leadership
        if leadership is None:
            return []
        own = Row(self.number, "Replicate", core.durable, core.durable + 1, False, 0)
        return sorted(
            [own]
            + [
                Row(
                    node=number_of(node),
                    pace=PACES[progress.pace],
                    match=progress.match,
                    next=self._next_of(node, progress),
                    paused=not progress.may_send(),
                    in_flight=progress.in_flight,
                )
                for node, progress in leadership.followers.items()
            ],
            key=lambda row: row.node,
        )

    def spell_term(self, index: int, term: int) -> int:
        """Return the term of an entry as the trace has it."""
        return 1 if index == self._formed_at > 0 and term == 0 else term

    def spell_entries(self, entries: tuple[Entry, ...]) -> tuple[str, ...]:
        """Return entries in the trace's spelling."""
        return tuple(self._spell(entry) for entry in entries)

    # -- inside

    @property
    def _may_apply(self) -> Index:
        core = self.core
        # A thread that appends may be behind what is committed; only what it wrote is applied.
        return min(core.commit, core.durable) if self.options.async_writes else core.commit

    def _look(self) -> Shown:
        core = self.core
        vote = number_of(core.vote.node if core.vote is not None else None)
        leader = number_of(core.leader)
        return Shown(leader, ROLES[core.role], core.term, vote, core.commit)

    def _hand_over(self, index: Index) -> list[str]:
        if index <= self._handed:
            return []
        base = self.start.index
        entries = self.view[self._handed - base : index - base]
        self._handed = index
        self.apply_work.append(index)
        return [self._spell(entry) for entry in entries]

    def _perform(self, writes: list[Write]) -> None:
        for write in writes:
            if isinstance(write, WriteEntries):
                if write.truncate_to is not None:
                    del self.disk[write.truncate_to - self._disk_start :]
                self.disk.extend(write.entries)
            elif isinstance(write, ResetLog):
                self.disk = []
                self._disk_start = write.base.index
            self._done = write.write

    def _is_old(self, event: Event) -> bool:
        """Whether the event is a message of an old term that the trace does not answer."""
        if not isinstance(event, Receive) or event.message.term >= self.core.term:
            return False
        if isinstance(event.message, PreVoteRequest):
            return False
        answers = self.options.check_quorum or self.options.pre_vote
        return not (answers and isinstance(event.message, AppendRequest | Heartbeat))

    def _note_offers(self, messages: list[Send]) -> None:
        for send in messages:
            if isinstance(send.message, SnapshotOffer):
                self.offered[send.to] = snapshot = self.snapshot()
                self._told[send.to] = snapshot.base.index

    def _check_probes(self, leadership: Leadership) -> None:
        """Who is probed lacks an entry, so the probe is one that is answered (``STOPS``)."""
        for progress in leadership.followers.values():
            is_probed = progress.pace is Pace.PROBE
            assert not is_probed or progress.next <= self.core.log.last_index, progress.replica

    def _grant_pre_votes(self, asked: list[Send]) -> None:
        for send in asked:
            if self.core.role is Role.PRE_CANDIDATE:
                grant = PreVoteReply(Term(self.core.term + 1), granted=True)
                self.step(Receive(replica_id(number_of(send.to)), grant))

    def _tell_commit(
        self, leadership: Leadership, event: Event, effects: Effects, messages: list[Send]
    ) -> list[Send]:
        """Send the empty appends with which etcd's leader tells a commit index at once."""
        commit = self.core.commit
        for send in messages:
            if isinstance(send.message, AppendRequest | Heartbeat):
                self._told[send.to] = max(self._told.get(send.to, Index(0)), send.message.commit)
        appended = {send.to for send in messages if isinstance(send.message, AppendRequest)}
        extra = Effects()
        for node, progress in leadership.followers.items():
            answered = (
                isinstance(event, Receive)
                and isinstance(event.message, AppendAccepted)
                and event.sender.node == node
                and self._lacks_commit(node, progress)
            )
            due = (effects.commit is not None or answered) and node not in appended
            if due and progress.may_send():
                leadership._send(progress, (), extra)
                self._told[node] = commit
        return extra.messages

    def _lacks_commit(self, node: NodeId, progress: Progress) -> bool:
        told = self._told.get(node, Index(0))
        return told < self.core.commit and told < progress.next - 1

    def configuration(self) -> str:
        """Return the newest committed configuration in the trace's spelling."""
        membership = self.core.committed_membership
        shown = f"voters={_numbers(membership.voters)}"
        if membership.outgoing:
            shown += f"&&{_numbers(membership.outgoing)}"
        for name in ("learners", "learners_next"):
            if getattr(membership, name):
                shown += f" {name}={_numbers(getattr(membership, name))}"
        return shown

    def _append_what_waited(self) -> None:
        core, leadership, change = self.core, self.core.leadership, self.waiting
        if change is None or leadership is None or core.commit < leadership.first_index:
            return
        self.waiting = None
        changed = change.of(core.membership)
        self.step(Propose([[changed.encode()]], EntryKind.CONFIGURATION))

    def _next_of(self, node: NodeId, progress: Progress) -> int:
        # What is next for a follower that fetches a snapshot is known once it has it.
        return (
            self.offered[node].base.index + 1 if progress.pace is Pace.SNAPSHOT else progress.next
        )

    def _spell(self, entry: Entry) -> str:
        if entry.kind is EntryKind.CONFIGURATION:
            return spell_entry(entry.term, entry.index, CHANGE)
        quoted = '""' if entry.kind is EntryKind.NOOP else f'"{bytes(entry.body).decode()}"'
        return spell_entry(entry.term, entry.index, quoted)

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
- the log before ``index`` is term 1 in the trace although nobody was in a term yet;
  here it is term 0 and is only written as 1.
"""

from collections import deque
from random import Random
from typing import Final

import msgspec

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, LogEnd
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState, Write, WriteEntries
from raftlog.raft.config import CoreConfig, Restored
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, Role, Send
from raftlog.raft.events import (
    Applied,
    Campaign,
    ConnectionLost,
    Durable,
    Event,
    Receive,
    Tick,
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
    VoteReply,
    VoteRequest,
)
from tests.oracles.transcript import Row, Shown, spell_entry
from tests.raft.harness import replica_id

ELECTION_TICKS: Final = 3
"""What the traces take for an election timeout; a heartbeat is one tick."""
ROLES: Final = {
    Role.FOLLOWER: "Follower",
    Role.PRE_CANDIDATE: "PreCandidate",
    Role.CANDIDATE: "Candidate",
    Role.LEADER: "Leader",
}
PACES: Final = {Pace.PROBE: "Probe", Pace.REPLICATE: "Replicate"}
ACKNOWLEDGEMENTS: Final = AppendAccepted | VoteReply
"""What a report of the disk lets out at once."""
PROMISES: Final = ACKNOWLEDGEMENTS | AppendRejected | PreVoteReply
"""What the traces send only after the write before it, even if it needs none."""


def number_of(node: NodeId | None) -> int:
    """Return a node's number in the trace; 0 is nobody."""
    return int(node[1:]) if node is not None else 0


class Options(msgspec.Struct, frozen=True):
    """What ``add-nodes`` says."""

    index: int
    in_flight: int
    pre_vote: bool
    check_quorum: bool
    async_writes: bool


class Work(msgspec.Struct):
    """What one Ready gives to the append thread: writes, and what is sent once they are done."""

    writes: list[Write]
    messages: list[Send]


class EtcdNode:
    """A core that is driven as the traces drive theirs."""

    def __init__(self, number: int, membership: Membership, options: Options) -> None:
        self.number: Final = number
        self.options: Final = options
        index = Index(options.index)
        start = LogEnd(index, Term(0), CHAIN_ORIGIN)
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
                    del self.view[write.truncate_to - self.options.index :]
                self.view.extend(write.entries)
        assert not effects.loads, f"node {self.number} wants to read {effects.loads}"
        if core.leadership is not leadership:
            self._told = {}
        messages = [
            send
            for send in effects.messages
            if not old and (isinstance(event, Tick) or not isinstance(send.message, Heartbeat))
        ]
        if core.leadership is not None:
            messages += self._tell_commit(core.leadership, event, effects, messages)
        asked = [send for send in messages if isinstance(send.message, PreVoteRequest)]
        if asked and not self.options.pre_vote:
            self._grant_pre_votes(asked)
        else:
            self._outbox.extend(messages)
        return effects

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
        is_voter = core.membership.is_voter(core.replica)
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
                    next=progress.next,
                    paused=not progress.may_send(),
                    in_flight=progress.in_flight,
                )
                for node, progress in leadership.followers.items()
            ],
            key=lambda row: row.node,
        )

    def spell_term(self, index: int, term: int) -> int:
        """Return the term of an entry as the trace has it."""
        return 1 if index == self.options.index and term == 0 else term

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
        base = self.options.index
        entries = self.view[self._handed - base : index - base]
        self._handed = index
        self.apply_work.append(index)
        return [self._spell(entry) for entry in entries]

    def _perform(self, writes: list[Write]) -> None:
        for write in writes:
            if isinstance(write, WriteEntries):
                if write.truncate_to is not None:
                    del self.disk[write.truncate_to - self.options.index :]
                self.disk.extend(write.entries)
            self._done = write.write

    def _is_old(self, event: Event) -> bool:
        """Whether the event is a message of an old term that the trace does not answer."""
        if not isinstance(event, Receive) or event.message.term >= self.core.term:
            return False
        if isinstance(event.message, PreVoteRequest):
            return False
        answers = self.options.check_quorum or self.options.pre_vote
        return not (answers and isinstance(event.message, AppendRequest | Heartbeat))

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

    def _spell(self, entry: Entry) -> str:
        quoted = '""' if entry.kind is EntryKind.NOOP else f'"{bytes(entry.body).decode()}"'
        return spell_entry(entry.term, entry.index, quoted)

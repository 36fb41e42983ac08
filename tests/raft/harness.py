"""A tiny synchronous world round ``RaftCore``: a list of messages and disks that obey the test.

Nothing moves unless a test moves it. Disks are immediate, or slow when a test
sets ``slow_disk`` and calls ``flush``. A crash loses exactly what was not
flushed. Whatever a test is about, the world also checks at every step that

- a promise leaves only when the disk holds what it promises (R2);
- a term has at most one leader (Raft §5.2);
- an index is committed with one content only (Raft §5.4).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Final, TypeVar

import msgspec

from raftlog.base.entry import CHAIN_ORIGIN, LOG_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.limits import TICK_NS
from raftlog.base.membership import NOBODY, Configuration, Membership, decode_membership
from raftlog.base.writes import HardState, SaveHardState, Write, WriteEntries
from raftlog.raft.changes import MemberChange
from raftlog.raft.config import CoreConfig, Restored
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import (
    Effects,
    LoadEntries,
    ProposalRefused,
    ReadReady,
    Role,
    Send,
    TransferEnded,
)
from raftlog.raft.events import (
    Applied,
    Campaign,
    ChangeMembers,
    ConnectionLost,
    Durable,
    EntriesLoaded,
    Event,
    Propose,
    Receive,
    Tick,
)
from raftlog.raft.rpcs import AppendAccepted, Message, VoteReply, VoteRequest

M = TypeVar("M", bound=Message)

DELIVERIES_MAX: Final = 20_000
"""A world that does not come to rest after so many messages is a bug."""


def node_id(number: int) -> NodeId:
    """Return the id of node ``number``."""
    return NodeId(f"n{number}")


def replica_id(number: int, directory: int | None = None) -> ReplicaId:
    """Return the replica on node ``number``, with its first directory or another one."""
    return ReplicaId(node_id(number), DirectoryId(f"{directory or number:032x}"))


N1, N2, N3, N4, N5, N6, N7 = (node_id(number) for number in range(1, 8))
R1, R2, R3, R4, R5, R6, R7 = (replica_id(number) for number in range(1, 8))


def log_of(terms: Iterable[int]) -> tuple[Entry, ...]:
    """Return a log whose entries have these terms; equal prefixes are equal bytes."""
    entries: list[Entry] = []
    previous = CHAIN_ORIGIN
    for index, term in enumerate(terms, 1):
        body = b"%d.%d" % (term, index)
        entry = seal(EntryKind.COMMANDS, Term(term), Index(index), previous, [body])
        previous = entry.checksum
        entries.append(entry)
    return tuple(entries)


def restored(
    membership: Membership,
    entries: Sequence[Entry],
    hard_state: HardState,
    commit: int = 0,
    faulty: int = 0,
) -> Restored:
    """Return what a disk with these contents remembers."""
    runs: list[tuple[Index, Term]] = []
    for entry in entries:
        if not runs or runs[-1][1] != entry.term:
            runs.append((entry.index, entry.term))
    return Restored(
        hard_state=hard_state,
        start=LOG_ORIGIN,
        end=entries[-1].end if entries else LOG_ORIGIN,
        term_runs=tuple(runs),
        commit=Index(commit),
        applied=Index(0),
        membership=membership,
        faulty=faulty,
        configurations=tuple(
            Configuration(entry.index, decode_membership(entry.body))
            for entry in entries
            if entry.kind is EntryKind.CONFIGURATION
        ),
    )


class Sent(msgspec.Struct, frozen=True):
    """A message on its way."""

    sender: ReplicaId
    to: NodeId
    message: Message


class Node:
    """One core with its disk, and a memory of all that the core said."""

    def __init__(
        self,
        world: "World",
        replica: ReplicaId,
        *,
        entries: Sequence[Entry] = (),
        hard_state: HardState | None = None,
        commit: int = 0,
        faulty: int = 0,
        membership: Membership | None = None,
    ) -> None:
        self.replica: Final = replica
        self.formed: Final = world.membership if membership is None else membership
        """What it was told when its directory was formatted."""
        self.id: Final = replica.node
        self.now_ns = 0
        """Its clock, by which leases are measured; goes on with ``tick``."""
        self.slow_disk = False
        self.applies = True
        """Writes wait for ``flush``."""
        self.slow_reader = False
        """Loads wait for ``load``."""
        self.disk = list(entries)
        self.hard_state = hard_state or HardState(entries[-1].term if entries else Term(0))
        self._world: Final = world
        self._starts = 0
        self.start(commit=commit, faulty=faulty)

    # -- life

    def start(self, *, commit: int = 0, faulty: int = 0) -> None:
        """Start a core on what the disk holds."""
        self._starts += 1
        self.view = list(self.disk)
        """What the core believes its log to be: the disk and the writes in flight."""
        self.pending: deque[Write] = deque()
        self.held: list[Send] = []
        self.loads: list[LoadEntries] = []
        self.applied: list[Entry] = []
        self.ready: list[ReadReady] = []
        self.failed_reads: list[int] = []
        self.transfers: list[TransferEnded] = []
        self.roles: list[tuple[Role, Term, NodeId | None]] = []
        self._done = WriteNumber(0)
        self._follow_ups: deque[Event] = deque()
        self._stepping = False
        self.core = RaftCore(
            self.replica,
            self._world.config,
            restored(self.formed, self.disk, self.hard_state, commit, faulty),
            Random(f"{self._world.seed}/{self.id}/{self._starts}"),
            self.now_ns,
        )

    def crash(self) -> None:
        """Lose whatever was not flushed, and start again."""
        self.start()

    def step(self, event: Event) -> Effects:
        """Give the core an event, carry out what follows, and return the first effects."""
        assert not self._stepping, "a step within a step"
        self._stepping = True
        try:
            effects = self.core.step(event, self.now_ns)
            self._perform(effects)
            while self._follow_ups:
                self._perform(self.core.step(self._follow_ups.popleft(), self.now_ns))
        finally:
            self._stepping = False
        return effects

    # -- events by name

    def receive(self, sender: ReplicaId, message: Message) -> Effects:
        """Take in ``message``."""
        return self.step(Receive(sender, message))

    def tick(self, count: int = 1) -> Effects:
        """Let time pass."""
        self.now_ns += count * TICK_NS
        return self.step(Tick(count))

    def propose(self, *bodies: bytes) -> Effects:
        """Propose one entry for each body."""
        return self.step(Propose([[body] for body in bodies]))

    def change(self, change: MemberChange) -> Index | RaftlogError:
        """Ask for a change of the members; return what the core says to that."""
        answer = self.step(ChangeMembers(change)).change
        assert answer is not None, "no answer to a change of the members"
        return answer

    def flush(self, count: int | None = None) -> None:
        """Make the oldest ``count`` writes durable (all if None), with one report."""
        last: WriteNumber | None = None
        for _ in range(len(self.pending) if count is None else count):
            last = self._write_one()
        if last is not None:
            self._follow_ups.append(Durable(last))
            self._report(last)

    def write_unreported(self) -> Durable:
        """Make the oldest write durable; its report is still on its way and is returned."""
        return Durable(self._write_one())

    def load(self) -> None:
        """Answer the oldest load from the disk."""
        load = self.loads.pop(0)
        found = self.disk[load.first - 1 : load.last]
        self.step(EntriesLoaded(load.to, load.first, tuple(found)))

    # -- what a test looks at

    @property
    def terms(self) -> list[int]:
        """The terms of the log's entries."""
        return [entry.term for entry in self.view]

    @property
    def role(self) -> str:
        """The name of the core's role."""
        return self.core.role.value

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        return self.core.role is Role.LEADER

    def progress(self, follower: NodeId) -> tuple[int, int, str]:
        """Return (match, next, pace) of ``follower``."""
        return self.core.status().followers[follower]

    # -- inside

    def _perform(self, effects: Effects) -> None:
        for write in effects.writes:
            self.pending.append(write)
            if isinstance(write, WriteEntries):
                if write.truncate_to is not None:
                    del self.view[write.truncate_to :]
                self.view.extend(write.entries)
        for send in effects.messages:
            if send.after <= self._done:
                self._world.post(self, send)
            else:
                self.held.append(send)
        if effects.commit is not None:
            self._apply(effects.commit)
        if effects.role is not None:
            self.roles.append((effects.role.role, effects.role.term, effects.role.leader))
            self._world.saw_role(self, effects.role.role, effects.role.term)
        self.ready.extend(effects.reads)
        self.failed_reads.extend(failed.token for failed in effects.failed_reads)
        if effects.transfer is not None:
            self.transfers.append(effects.transfer)
        self.loads.extend(effects.loads)
        if not self.slow_disk:
            self.flush()
        if not self.slow_reader:
            while self.loads:
                load = self.loads.pop(0)
                found = tuple(self.disk[load.first - 1 : load.last])
                self._follow_ups.append(EntriesLoaded(load.to, load.first, found))

    def _apply(self, commit: Index) -> None:
        for entry in self.view[len(self.applied) : commit]:
            self._world.saw_commit(self, entry)
            self.applied.append(entry)
        assert len(self.applied) == commit, f"{self.id} committed {commit} beyond its log"
        if self.applies:
            self._follow_ups.append(Applied(commit))

    def _write_one(self) -> WriteNumber:
        write = self.pending.popleft()
        if isinstance(write, SaveHardState):
            self.hard_state = write.state
        else:
            if write.truncate_to is not None:
                del self.disk[write.truncate_to :]
            self.disk.extend(write.entries)
        return write.write

    def _report(self, write: WriteNumber) -> None:
        self._done = write
        released = [send for send in self.held if send.after <= write]
        self.held = [send for send in self.held if send.after > write]
        for send in released:
            self._world.post(self, send)
        if not self._stepping:
            self.step(self._follow_ups.popleft())


class World:
    """Nodes and the messages between them."""

    def __init__(
        self,
        size: int = 3,
        *,
        logs: Mapping[NodeId, Sequence[int]] | None = None,
        hard_states: Mapping[NodeId, HardState] | None = None,
        commit: int = 0,
        learners: int = 0,
        config: CoreConfig | None = None,
        membership: Membership | None = None,
        seed: int = 1,
    ) -> None:
        self.config = config or CoreConfig()
        self.seed = seed
        self.membership = membership or Membership(
            voters=tuple(replica_id(number) for number in range(1, size + 1)),
            learners=tuple(replica_id(size + number) for number in range(1, learners + 1)),
        )
        self.mail: list[Sent] = []
        self.history: list[Sent] = []
        """Everything that was ever sent."""
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """Directed links that lose everything."""
        self._leaders: dict[Term, NodeId] = {}
        self._committed: dict[Index, Entry] = {}
        self.nodes: dict[NodeId, Node] = {
            replica.node: Node(
                self,
                replica,
                entries=log_of((logs or {}).get(replica.node, ())),
                hard_state=(hard_states or {}).get(replica.node),
                commit=commit,
            )
            for replica in self.membership.replicas
        }

    def join(self, replica: ReplicaId) -> Node:
        """Start a node with an empty log that knows nobody; in the place of one of its name."""
        self.nodes[replica.node] = Node(self, replica, membership=NOBODY)
        return self.nodes[replica.node]

    def __getitem__(self, node: NodeId) -> Node:
        """Return a node."""
        return self.nodes[node]

    # -- messages

    def post(self, sender: Node, send: Send) -> None:
        """Put a message on its way, once it may leave."""
        check_promise(sender, send.to, send.message)
        sent = Sent(sender.replica, send.to, send.message)
        self.mail.append(sent)
        self.history.append(sent)

    def select(
        self,
        kind: type[M] | None = None,
        *,
        to: NodeId | None = None,
        sender: NodeId | None = None,
    ) -> list[Sent]:
        """Return the messages on their way that match, oldest first."""
        return [
            sent
            for sent in self.mail
            if (kind is None or isinstance(sent.message, kind))
            and (to is None or sent.to == to)
            and (sender is None or sent.sender.node == sender)
        ]

    def take(
        self, kind: type[M], *, to: NodeId | None = None, sender: NodeId | None = None
    ) -> list[M]:
        """Take the messages of one kind off the wire, for a test to look at or to deliver late."""
        taken = self.select(kind, to=to, sender=sender)
        self.mail = [sent for sent in self.mail if sent not in taken]
        return [sent.message for sent in taken if isinstance(sent.message, kind)]

    def take_one(
        self, kind: type[M], *, to: NodeId | None = None, sender: NodeId | None = None
    ) -> M:
        """Take the only message of one kind."""
        (message,) = self.take(kind, to=to, sender=sender)
        return message

    def deliver(
        self,
        kind: type[M] | None = None,
        *,
        to: NodeId | None = None,
        sender: NodeId | None = None,
    ) -> int:
        """Deliver what matches and is on its way now, not what follows from it."""
        chosen = self.select(kind, to=to, sender=sender)
        self.mail = [sent for sent in self.mail if sent not in chosen]
        for sent in chosen:
            self.hand_over(sent)
        return len(chosen)

    def drop(self) -> None:
        """Lose everything that is on its way."""
        self.mail.clear()

    def drop_all_but(self, kind: type[M]) -> None:
        """Lose everything that is on its way, except one kind."""
        self.mail = self.select(kind)

    def settle(self) -> None:
        """Deliver until nothing is on its way."""
        for _ in range(DELIVERIES_MAX):
            if not self.mail:
                return
            self.hand_over(self.mail.pop(0))
        raise AssertionError("the world does not come to rest")

    def hand_over(self, sent: Sent) -> None:
        """Deliver a message that was taken off the wire, if its link is whole."""
        if (sent.sender.node, sent.to) not in self.cut and sent.to in self.nodes:
            self.nodes[sent.to].receive(sent.sender, sent.message)

    # -- what happens to the world

    def isolate(self, *nodes: NodeId) -> None:
        """Cut ``nodes`` off from all others."""
        for inside in nodes:
            for outside in self.nodes:
                if outside not in nodes:
                    self.cut |= {(inside, outside), (outside, inside)}

    def heal(self) -> None:
        """Restore every link."""
        self.cut.clear()

    def run(self, ticks: int, *, until: Callable[[], bool] | None = None) -> int:
        """Let time pass everywhere, a tick at a time; return the ticks that it took."""
        for passed in range(ticks):
            if until is not None and until():
                return passed
            for node in self.nodes.values():
                node.tick()
            self.settle()
        return ticks

    def elect(self, node: NodeId) -> Node:
        """Make ``node`` the leader: the others doubt theirs, and it campaigns."""
        for other in self.nodes.values():
            if other.core.leader is not None:
                other.step(ConnectionLost(other.core.leader))
        chosen = self.nodes[node]
        chosen.step(Campaign())
        self.settle()
        assert chosen.is_leader, f"{node} was not elected but is a {chosen.core.role.value}"
        return chosen

    @property
    def leader(self) -> Node | None:
        """The leader of the highest term, if there is one."""
        leaders = [node for node in self.nodes.values() if node.is_leader]
        return max(leaders, key=lambda node: node.core.term, default=None)

    # -- what must always hold

    def saw_role(self, node: Node, role: Role, term: Term) -> None:
        """A term has one leader."""
        if role is Role.LEADER:
            first = self._leaders.setdefault(term, node.id)
            assert first == node.id, f"{first} and {node.id} both led term {term}"

    def saw_commit(self, node: Node, entry: Entry) -> None:
        """An index is committed with one content."""
        first = self._committed.setdefault(entry.index, entry)
        assert first.checksum == entry.checksum, (
            f"{node.id} committed {entry.id}, another node committed {first.id}"
        )


def check_promise(sender: Node, to: NodeId, message: Message) -> None:
    """A promise leaves only when a crash at this moment would not take it back (R2)."""
    if isinstance(message, AppendAccepted):
        kept = [entry.checksum for entry in sender.disk[: message.matched]]
        believed = [entry.checksum for entry in sender.view[: message.matched]]
        assert len(kept) == message.matched, f"{sender.id} promised {message}, has {len(kept)}"
        assert kept == believed, f"{sender.id} promised {message}, its disk holds another branch"
    if isinstance(message, VoteReply) and message.granted:
        vote = sender.hard_state.vote
        assert sender.hard_state.term == message.term, f"{sender.id} forgets {message}"
        assert vote is not None, f"{sender.id} forgets {message}"
        assert vote.node == to, f"{sender.id} forgets {message}"
    if isinstance(message, VoteRequest):
        own = HardState(message.term, sender.replica)
        assert sender.hard_state == own, f"{sender.id} asks before its own vote is durable"


def refusal(effects: Effects) -> ProposalRefused | None:
    """Return why a proposal was refused, if it was."""
    assert (effects.refused is None) != (effects.proposed is None)
    return effects.refused

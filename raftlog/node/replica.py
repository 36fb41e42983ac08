"""One replica of one shard: carries out what its core decides.

The order in which effects are performed is the safety argument (R2)::

    core.step(event)
       1. messages    -> at once, or held until the write they depend on is durable
       2. writes      -> the persister, which never reorders them
       3. commit      -> the applier
       4. the rest    -> loads, reads, role changes, waiting callers

The replica waits and never decides: no ``if`` here is about a term. It knows
no asyncio, socket or thread, only its ports, so that the chaos simulator runs
this very class under simulated time, network and disk.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from raftlog.base.entry import Entry
from raftlog.base.errors import (
    CorruptFrame,
    NotLeader,
    OutcomeUnknown,
    StorageFailed,
    Unavailable,
)
from raftlog.base.ids import Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.limits import TICK_NS
from raftlog.base.membership import Membership
from raftlog.base.space import DiskLevel
from raftlog.node.applier import Applier
from raftlog.node.change import ChangeInProgress, OnChanged
from raftlog.node.keeping import INSTALL_MESSAGES, LogKeeping
from raftlog.node.members_seen import MembersSeen
from raftlog.node.outward import Outward
from raftlog.node.persister import Persister
from raftlog.node.ports import Machine
from raftlog.node.proposals import Outstanding
from raftlog.node.proposing import Proposing, Stamp, Stepping
from raftlog.node.reads import LinearizableReads, OnRead
from raftlog.node.recollection import recollect
from raftlog.node.room import ShardRoom
from raftlog.node.shard_clock import ShardClock
from raftlog.node.succession import Succession
from raftlog.node.ticking import Ticking
from raftlog.node.upkeep import Upkeep
from raftlog.node.world import ReplicaOptions, World
from raftlog.node.yielding import Yielding
from raftlog.raft.changes import MemberChange
from raftlog.raft.config import CoreStatus
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, InForce, Role, RoleChanged, Send
from raftlog.raft.events import (
    Applied,
    ChangeMembers,
    ConnectionLost,
    Durable,
    Event,
    FaultyEntries,
    ForgetRead,
    Heard,
    Read,
    Receive,
    StandAside,
    Transfer,
)
from raftlog.raft.rpcs import (
    APPENDING,
    BESIDE,
    HeartbeatReply,
    PeerMessage,
    VoteReply,
)
from raftlog.storage.log_store import LogStore

__all__ = ["Replica", "ReplicaOptions", "World"]

APPLIED_REPORT_ENTRIES: Final = 64
"""The core frees memory by what is applied; it need not hear of every entry at once."""


class Replica:
    """A shard's replica on this node. Every method is called on the loop."""

    def __init__(
        self,
        replica: ReplicaId,
        membership: Membership,
        store: LogStore,
        machine: Machine,
        world: World,
        options: ReplicaOptions,
    ) -> None:
        self.id = replica
        self.store = store
        self.machine = machine
        self.failure: Exception | None = None
        """Why this replica stopped by itself, if it did."""
        self.on_failed: Callable[[Exception], None] = lambda _: None
        self.on_role: Callable[[RoleChanged], None] = lambda _: None
        self.on_members: Callable[[Membership], None] = lambda _: None
        """Told of each configuration that comes into force, committed or not."""
        self._options = options
        self._scheduler = world.scheduler
        self._peers = world.peers
        restored = recollect(store, machine, membership)
        now_ns = world.scheduler.now_ns()
        self.core = RaftCore(replica, options.core, restored, world.random, now_ns)
        self.members = MembersSeen(self.core)
        self._outward = Outward(self.fail)
        self._outstanding = Outstanding(self._outward)
        self.clock: Final = ShardClock(
            *(replica.node, world.scheduler, machine),
            *(lambda: self.core.membership, self._alarm),
        )
        self._proposing = self._make_proposing()
        self.propose = self._proposing.propose
        self.raise_level = self._proposing.raise_level
        self._change = ChangeInProgress(self._outward)
        self._held: deque[Send] = deque()
        self._reads = LinearizableReads(world.random.getrandbits(48), self._outward)
        self._applied_listeners: list[Callable[[Index], None]] = []
        self._ticking = Ticking(self.core, world.scheduler, step=self._step, after=self._ticked)
        self._draining = False
        self._is_aside = False
        self._persister = self._make_persister(world)
        self.disks = Succession(
            *(self.core, ShardRoom(replica, world.space), self.transfer),
            writing_since_ns=lambda: self._persister.since_ns,
        )
        self.yielding = Yielding(self.core, self.disks.room, self.transfer)
        self.upkeep = self._make_upkeep(world)
        self.faulty = self.upkeep.faulty
        self.on_repaired = self.upkeep.on_repaired
        self._applier = Applier(
            *(machine, self.core.log, self.upkeep.reader, world.scheduler, self._outstanding),
            durable=lambda: self.core.durable,
            on_progress=self._on_applied,
            on_failed=self.fail,
        )
        self.keeping: Final = self._make_keeping(world)

    def _make_keeping(self, world: World) -> LogKeeping:
        reader = self.upkeep.reader
        return LogKeeping(
            *(self.store, self.core, self._applier, self._persister, reader, world),
            step=self._step,
            on_changed=self._on_faulty_count,
        )

    def _alarm(self, what: str) -> None:
        self.upkeep.alarms.sound(what)

    def _make_proposing(self) -> Proposing:
        return Proposing(
            *(self.core, Stepping(self._decide, self._perform), self._outstanding),
            *(self._outward, self._scheduler, self._options),
            is_writing=self._is_writing,
            stamp=Stamp(self.clock.stamp, lambda: self.machine.feature_level),
        )

    def _make_persister(self, world: World) -> Persister:
        return Persister(
            *(self.store, world.writer, world.scheduler),
            commit_hint=lambda: Index(min(self.core.commit, self.core.durable)),
            on_durable=self._on_durable,
            on_done=self._on_written,
            on_failed=self.fail,
            on_no_room=world.space.on_no_room,
        )

    def _make_upkeep(self, world: World) -> Upkeep:
        upkeep = Upkeep(
            *(self.id, self.store, self.core.log, self._persister, world, self._outward),
            on_faulty=self._on_faulty_count,
            fail=self.fail,
        )
        upkeep.repairer.message_bytes_max = self._options.core.message_bytes_max
        upkeep.on_terms_known = self._take_part
        upkeep.know(self._others())
        return upkeep

    # -- life

    def start(self) -> None:
        """Begin: apply what is known to be committed, and count time."""
        self.upkeep.begin()
        if not self.upkeep.waits_for_terms:
            self._take_part()

    def _take_part(self) -> None:
        if not self.stopped:
            self._step(StandAside(is_aside=self._is_aside))
            # What was repaired while the terms were not known was not taken in.
            self._step(FaultyEntries(self.store.faulty_count + self._applier.lacks_state))
            self._ticking.begin()
            self._applier.advance(self.core.commit)

    def drain(self) -> None:
        """Refuse new proposals from now on, and hand leadership over for good (ruling 33)."""
        self._draining = True
        self._step(StandAside(is_aside=True))
        self._proposing.is_open = False
        if self.leads:
            self.transfer()

    def stand_aside(self, *, is_aside: bool) -> None:
        """Lead only if no other voter can, until told otherwise or started again."""
        self._is_aside = is_aside
        self._step(StandAside(is_aside=is_aside))
        self.yielding.begin_anew()

    def stop(self, reason: str = "the node is stopping") -> None:
        """End at once: no callback but the waiting callers' is made after this."""
        if self._applier.stopped and self._persister.closed:
            return
        self._applier.stopped = True
        self._persister.closed = True
        self._ticking.end()
        self.upkeep.stop()
        self._proposing.stop(reason)
        self._outstanding.give_up(None, f"{reason}; the entry may still be committed")
        self._reads.end(Unavailable(reason))
        self._change.leadership_lost(reason)

    @property
    def stopped(self) -> bool:
        """Whether this replica has ended."""
        return self._persister.closed

    @property
    def writing_ended(self) -> bool:
        """Whether the writer has nothing of this replica any more."""
        return self._persister.under_way is None

    @property
    def write_error(self) -> Exception | None:
        """What ended the writing, if something did: then the log must not be closed."""
        return self._persister.error

    def _is_writing(self) -> bool:
        return self._persister.under_way is not None

    @property
    def quiet(self) -> bool:
        """Whether nothing is being written and nobody waits for an outcome."""
        return (
            self._persister.idle and not self._proposing.count and not self._outstanding.commands
        )

    # -- what the service asks

    def read_index(self, on_read: OnRead) -> None:
        """Wait until a read of the applied state would be linearizable (§6.4)."""
        if self._applier.stopped or self.upkeep.waits_for_terms:
            reason = "has stopped" if self._applier.stopped else "waits for repair of its log"
            on_read(Unavailable(f"the replica {reason}"))
            return
        self._step(Read(self._reads.add(self._scheduler.now_ns(), on_read)))

    def transfer(self, target: NodeId | None = None) -> None:
        """Hand leadership over; watch ``status`` or ``on_role`` for the result."""
        self._step(Transfer(target))

    def change_members(self, change: MemberChange, on_changed: OnChanged) -> None:
        """Change who the members are; ``on_changed`` is told once what became of it.

        It is told the membership when that is committed and joint no more, else a refusal
        (nothing was done), or ``OutcomeUnknown`` if leadership ends before.
        """
        if self._applier.stopped:
            on_changed(Unavailable("the replica has stopped"))
            return
        if self._draining:
            on_changed(NotLeader(None if self.leads else self.core.leader))
            return
        effects = self._decide(ChangeMembers(change))
        if effects is None:
            on_changed(OutcomeUnknown("the replica stopped while it took the change in"))
            return
        self._change.begun(effects.change, self.membership, on_changed)
        self._perform(effects)

    @property
    def membership(self) -> Membership:
        """The configuration in force on this replica."""
        return self.core.membership

    def on_applied(self, listener: Callable[[Index], None]) -> None:
        """Call ``listener`` after each turn of apply, with the applied index."""
        self._applied_listeners.append(listener)

    def tail(self, index: Index) -> Entry | None:
        """Return the entry at ``index`` if it is still in memory."""
        return self.core.log.entry(index)

    @property
    def is_settled(self) -> bool:
        """Whether this replica leads, and has applied everything before its term."""
        return self._proposing.stamps

    @property
    def leads(self) -> bool:
        """Whether this replica believes that it leads."""
        return self.core.role is Role.LEADER

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this replica knows."""
        return self.core.leader

    @property
    def applied(self) -> Index:
        """The last applied index."""
        return self._applier.applied

    @property
    def disk_level(self) -> DiskLevel:
        """What the disks of a majority can still take, as this replica has heard."""
        room = self.disks.room
        return DiskLevel.ROOM if room.is_plenty else room.level(self.core.membership)

    def status(self) -> CoreStatus:
        """Return what the core believes, and what is applied now: it is told that seldom."""
        return msgspec.structs.replace(self.core.status(), applied=self._applier.applied)

    # -- what the world reports

    def receive(self, sender: ReplicaId, message: PeerMessage) -> None:
        """Take in a message, as the sender's hello proved it."""
        if isinstance(message, APPENDING):  # nearly all there is
            self._ticking.pass_quiet_time()
            self._step(Receive(sender, message))
            return
        if isinstance(message, BESIDE):
            if not self._applier.stopped:
                self.upkeep.receive(sender, message)
            return
        if isinstance(message, INSTALL_MESSAGES):
            self.keeping.receive(sender, message)
            return
        if type(message) is HeartbeatReply:
            self.disks.room.heard(sender.node, message.disk)
            self.clock.heard(sender.node, message)
        elif type(message) is VoteReply:
            self.clock.heard(sender.node, message)
        self._ticking.pass_quiet_time()
        self._step(Receive(sender, message))

    def heard(self, sender: ReplicaId) -> None:
        """Bytes of entries are arriving from ``sender`` (ruling 32)."""
        self._ticking.pass_quiet_time()
        self._step(Heard(sender))

    def connection_lost(self, node: NodeId) -> None:
        """The connection to ``node`` is gone and its hello was not answered (ruling 13)."""
        self._step(ConnectionLost(node))
        self._ticking.arm()

    # -- stepping

    def _step(self, event: Event) -> None:
        if self._applier.stopped or self.upkeep.waits_for_terms:
            return
        effects = self._decide(event)
        if effects is not None:
            self._perform(effects)

    def _decide(self, event: Event) -> Effects | None:
        try:
            effects = self.core.step(event, self._scheduler.now_ns())
        except (AssertionError, CorruptFrame) as error:
            # A failed assertion, or a configuration entry of another version, stops the replica,
            # not the process's other shards.
            self.fail(error)
            return None
        if effects.divergence is not None:
            self.upkeep.alarms.diverged(effects.divergence)
            return None
        return effects

    def _perform(self, effects: Effects) -> None:
        # What waits for no write leaves first: the followers' way is longer than our disk's.
        for send in effects.messages:
            if not send.after or self.core.durability.covers(send.after):
                self._peers.send(send.to, send.message)
            else:
                self._held.append(send)
        if effects.writes:
            self._persister.add(effects.writes)
        if effects.loads or effects.fetch_from is not None:
            self.keeping.serve(effects)
        if effects.in_force is not None:
            self._on_members(effects.in_force)
        if effects.role is not None:
            self._on_role(effects.role)
        if effects.commit is not None:
            self._on_commit(effects.commit)
        for failed in effects.failed_reads:
            self._reads.failed(failed.token, NotLeader(self.core.leader))
        for ready in effects.reads:
            self._reads.confirmed(ready.token, ready.index, self._applier.applied)

    def _on_commit(self, commit: Index) -> None:
        if self.leads:  # its client waits for the outcome
            self._applier.advance_soon(commit)
        else:
            self._applier.advance_later(commit, writing=not self._persister.idle)

    def _on_durable(self, write: WriteNumber) -> None:
        self._step(Durable(write))
        held = self._held
        while held and self.core.durability.covers(held[0].after):
            send = held.popleft()
            self._peers.send(send.to, send.message)

    def _on_written(self) -> None:
        self._applier.written()
        self.upkeep.written()
        self._proposing.written()

    def _on_applied(self, index: Index) -> None:
        core = self.core
        untold = index - core.applied
        if untold >= APPLIED_REPORT_ENTRIES or core.log.is_swollen(core.config.tail_bytes_max):
            self._step(Applied(index))
        self._reads.applied(index)
        if not self._proposing.stamps:
            self.clock.applied()
        self._proposing.applied(index)
        for listener in self._applied_listeners:
            try:
                listener(index)
            except Exception:  # noqa: BLE001  (as ``Outward.call``, without a call for each)
                self._outward.raised()

    def _on_members(self, found: InForce) -> None:
        self.upkeep.know(self._others())
        self._outward.call(self.on_members, found.membership)
        if found.committed and not found.membership.is_joint:
            # Before the role: a leader that has removed itself says so before it steps down.
            self._change.settled(found.index, found.membership)

    def _others(self) -> list[NodeId]:
        return [other.node for other in self.membership.replicas if other != self.id]

    def _on_role(self, change: RoleChanged) -> None:
        self._ticking.arm()
        self.disks.room.forget()
        if change.role is Role.LEADER:
            self._proposing.lead(self.core.log.last_index)
        else:
            self._proposing.follow()
            self._change.leadership_lost("leadership was lost before the change was committed")
        self._proposing.is_open = change.role is Role.LEADER and not self._draining
        if change.role is not Role.LEADER and self._outstanding.commands:
            patience_ns = 2 * self._options.core.election_ticks_max * TICK_NS
            self._scheduler.call_later(patience_ns, lambda: self._give_up(change.term))
        self._outward.call(self.on_role, change)

    def _give_up(self, term: Term) -> None:
        if not self._applier.stopped:
            self._outstanding.give_up(
                Term(term + 1),
                "leadership was lost before the entry was committed; it may still be",
            )

    # -- reading back

    def _on_faulty_count(self, count: int) -> None:
        self._step(FaultyEntries(count + self._applier.lacks_state))
        # Also where there is more damage: what lies before that can be applied.
        self._applier.resume()

    # -- time

    def _ticked(self, now_ns: int) -> None:
        if self._applier.applied > self.core.applied:
            self._step(Applied(self._applier.applied))
        for token in self._reads.expire(now_ns):
            self._step(ForgetRead(token))
        self.disks.look(now_ns)
        self.yielding.look(now_ns)

    def fail(self, error: Exception) -> None:
        """Stop, and say why: the disk failed, an assertion did, a peer found it rolled back."""
        if self.failure is not None:
            return
        self.failure = error
        reason = "the disk failed" if isinstance(error, StorageFailed) else "the replica stopped"
        self.stop(f"{reason}: {error}")
        self.on_failed(error)

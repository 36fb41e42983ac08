"""What a simulated replica feeds: the history of raw entries, or the topic store.

Both are made anew with each process, from what its disk has, and watched at
every entry.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from chaos.sim.machine import HistoryMachine
from chaos.sim.snapshot_names import OF_THE_LOG, snapshots_named
from raftlog.base.entry import Entry
from raftlog.base.ids import ClusterId, Index, NodeId, ReplicaId, ShardId
from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.broker.index import RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import Snapshot
from raftlog.node.ports import Machine, Reader, Scheduler
from raftlog.node.replica import Replica
from raftlog.service.handlers import ClientHandlers, Handler
from raftlog.service.shard import BrokerShard
from raftlog.service.status import NodeFacts
from raftlog.storage.log_store import LogStore

OnApply = Callable[[Entry, bytes, Sequence[object]], None]
"""Told after each entry: the entry, a digest of what it did, and its outcomes."""
OnState = Callable[[Index, str], None]
"""Told now and then: the applied index, and a digest of the whole state there."""
STATE_EVERY: Final = 32
"""The whole state is compared at every so many entries, and wherever a range was cut."""


class Binary(msgspec.Struct, frozen=True):
    """The version of raftlog that a process is of."""

    own: int = FEATURE_LEVEL
    """The highest feature level that it can apply."""
    level_of: Callable[[ReplicaId], int] = lambda _: FEATURE_LEVEL
    """What others have said they can."""
    applies: Callable[[Index, int, int], None] = lambda _index, _level, _own: None
    """Told of each entry, what level the shard is at behind it, and ``own``."""


NEWEST: Final = Binary()


class State(Protocol):
    """The state of one replica's process."""

    passed_over: frozenset[Index]
    """The snapshots that lead to its log, lay on the disk at the start, and were not taken."""

    @property
    def machine(self) -> Machine:
        """What the replica feeds."""

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """What a client may ask of it."""

    def serve(
        self,
        replica: Replica,
        reader: Reader,
        scheduler: Scheduler,
        on_failed: Callable[[Exception], None],
    ) -> None:
        """Begin to serve clients; there is a replica now."""

    def end(self) -> None:
        """The process is gone."""

    def digest(self) -> bytes:
        """Return a name for the whole state."""


class HistoryState:
    """Raw entries, chained. Serves nobody: clients propose to the replica itself."""

    passed_over: frozenset[Index] = frozenset()

    def __init__(self, on_apply: OnApply) -> None:
        self.machine = HistoryMachine(lambda entry, digest: on_apply(entry, digest, ()))
        self.handlers: Mapping[int, Handler] = {}

    def serve(self, *_: object) -> None:
        """There is nothing to serve."""

    def end(self) -> None:
        """There is nothing to end."""

    def digest(self) -> bytes:
        """Return the chain's end."""
        return self.machine.digest


class BrokerState:
    """The topic store: the real machine, and the real use-cases over simulated ports."""

    def __init__(
        self,
        node: NodeId,
        store: LogStore,
        path: str,
        on_apply: OnApply,
        on_state: OnState,
        on_restored: Callable[[Index], None] = lambda _: None,
        binary: Binary = NEWEST,
    ) -> None:
        self._node = node
        self._level_of = binary.level_of
        ends = store.start.index, store.durable_end.index, store.commit_hint
        self._shard = BrokerShard.restore(store.files, path, *ends)
        self.machine: BrokerMachine = self._shard.machine
        self.machine.own_level = binary.own
        taken = self.machine.applied
        named = snapshots_named(store.files.list(f"{path}/snapshot"), OF_THE_LOG)
        self.passed_over = frozenset(each for each in named if taken < each >= ends[0])
        self.handlers: Mapping[int, Handler] = {}
        self._on_state = on_state
        if self.machine.applied:
            on_state(self.machine.applied, self.machine.digest())
        apply = self.machine.apply

        def observed(entry: Entry) -> Sequence[object]:
            ranges = self.machine.range_count
            outcomes = apply(entry)
            binary.applies(entry.index, self.machine.state.feature_level, binary.own)
            digest = hashlib.blake2b(repr(outcomes).encode(), digest_size=16).digest()
            on_apply(entry, digest, outcomes)
            if not entry.index % STATE_EVERY or self.machine.range_count != ranges:
                on_state(entry.index, self.machine.digest())
            return outcomes

        restore = self.machine.restore

        def restored(ranges: Sequence[RangeSummary], snapshot: Snapshot) -> None:
            restore(ranges, snapshot)
            on_restored(snapshot.index)
            on_state(snapshot.index, self.machine.digest())

        self.machine.apply = observed  # type: ignore[method-assign]
        self.machine.restore = restored  # type: ignore[method-assign]

    def serve(
        self,
        replica: Replica,
        reader: Reader,
        scheduler: Scheduler,
        on_failed: Callable[[Exception], None],
    ) -> None:
        """Put the use-cases together, as a node does."""
        facts = NodeFacts(ClusterId("c" * 32), self._node, str, level_of=self._level_of)
        service = self._shard.serve(
            *(replica, reader, scheduler, facts),
            durability="fsync",
            counters=dict,
            on_failed=on_failed,
        )
        self.handlers = ClientHandlers({ShardId(0): service}).by_method
        replica.on_role = service.role_changed

    def end(self) -> None:
        """There is nothing to end: a killed process does nothing any more."""

    def digest(self) -> bytes:
        """Return the machine's own digest."""
        return self.machine.digest().encode()

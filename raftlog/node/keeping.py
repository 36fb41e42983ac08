"""What a replica keeps of its log, and how it goes on where that does not lead on.

The log here can be too short at its beginning: trimmed, because a snapshot has what
was there; or, begun anew behind a peer's snapshot, with a machine that has to be
given that one's state. Who decides is the service, which has the snapshots.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.entry import Entry, LogEnd
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.limits import CATCH_UP_PIECE_BYTES
from raftlog.node.applier import Applier
from raftlog.node.log_reader import LogReader
from raftlog.node.pace import CatchUpPace
from raftlog.node.persister import Persister
from raftlog.node.ports import Installs
from raftlog.node.world import World
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Effects, LoadEntries
from raftlog.raft.events import EntriesLoaded, Event, SnapshotFetched, Trimmed
from raftlog.raft.rpcs import InstallChunk, InstallMessage, InstallRequest
from raftlog.storage.log_store import LogStore
from raftlog.storage.plan import StorePlan

INSTALL_MESSAGES: Final = (InstallRequest, InstallChunk)


class LogKeeping:
    """Trims one replica's log, and lets it begin anew."""

    def __init__(
        self,
        store: LogStore,
        core: RaftCore,
        applier: Applier,
        persister: Persister,
        reader: LogReader,
        world: World,
        *,
        step: Callable[[Event], None],
        on_changed: Callable[[int], None],
    ) -> None:
        self.pace: Final = CatchUpPace(world.scheduler, lambda: store.bytes_written)
        """Of all that peers are given who were away."""
        self.installs: Installs | None = None
        """Who fetches and serves snapshots; a machine without any keeps its whole log."""
        self.store: Final = store
        self.core: Final = core
        self._applier: Final = applier
        self._persister: Final = persister
        self._reader: Final = reader
        self._peers: Final = world.peers
        self._scheduler: Final = world.scheduler
        self._step: Final = step
        self._on_changed: Final = on_changed

    @property
    def lacks_state(self) -> bool:
        """Whether the machine waits for a snapshot that leads to what is in the log."""
        return self._applier.lacks_state

    @property
    def stuck_at(self) -> Index | None:
        """The damaged entry that keeps apply from going on, if one does."""
        following = Index(self._applier.applied + 1)
        if following > self.core.commit or not self.store.faulty_count:
            return None
        ranges = self.store.faulty_ranges()
        return following if any(low <= following <= high for low, high in ranges) else None

    def trim(self, through: Index) -> None:
        """Let go of whole segments up to ``through``: a snapshot on this disk has all of it."""

        def plan() -> StorePlan:
            planned = self.store.plan_trim(through)
            self._step(Trimmed(self.store.start))
            return planned

        self._persister.errand(plan)

    def send(self, to: NodeId, message: InstallMessage) -> None:
        """Send a piece of a snapshot, or ask for one."""
        self._peers.send(to, message)

    def serve(self, effects: Effects) -> None:
        """Read what slow followers lack, or fetch what this replica does."""
        for load in effects.loads:
            self._load(load)
        if effects.fetch_from is not None and self.installs is not None:
            self.installs.offered(effects.fetch_from)

    def _load(self, load: LoadEntries) -> None:
        leadership = self.core.leadership
        # Whom commits wait for is not kept waiting.
        paced = leadership is None or not leadership.is_needed(load.to)

        def loaded(entries: tuple[Entry, ...], _error: Exception | None) -> None:
            delay_ns = self.pace.leave(sum([each.size for each in entries])) if paced else 0
            # Never from within the step that asked.
            self._scheduler.call_later(
                delay_ns, lambda: self._step(EntriesLoaded(load.to, load.first, entries))
            )

        last = min(load.last, self.core.durable)
        if load.first > last:
            loaded((), None)
            return
        bytes_max = min(load.bytes_max, CATCH_UP_PIECE_BYTES) if paced else load.bytes_max
        self._reader.read(load.first, last, loaded, bytes_max)

    def receive(self, sender: ReplicaId, message: InstallMessage) -> None:
        """Take in a piece of a snapshot, or a request for one."""
        if self.installs is not None and not self._applier.stopped:
            self.installs.receive(sender, message)

    def snapshot_fetched(self, base: LogEnd, configuration: bytes) -> None:
        """A snapshot is on this disk; the log that goes with it begins behind ``base``."""
        self._step(SnapshotFetched(base, configuration))
        self._on_changed(self.store.faulty_count)

    def state_restored(self) -> None:
        """The machine has been given the state of a snapshot, of an index that is committed."""
        self._applier.restored()
        self._on_changed(self.store.faulty_count)

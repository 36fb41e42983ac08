"""What a replica does for its data beside Raft: repair, fetched files, scrub, alarms.

None of it needs a leader or a term, so the core never sees it. What the core must know is how
many entries are damaged: such a replica votes and acknowledges, but does not lead (ruling 20).
"""

from collections.abc import Callable, Sequence
from typing import Final

from raftlog.base.errors import StorageFailed
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.node.alarms import Alarms
from raftlog.node.damage import Damage
from raftlog.node.file_exchange import FileExchange
from raftlog.node.log_reader import LogReader
from raftlog.node.outward import Outward
from raftlog.node.persister import Persister
from raftlog.node.repair import Repairer
from raftlog.node.scrub import Scrubber
from raftlog.node.world import World
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import (
    BesideMessage,
    DivergenceAlarm,
    FileChunk,
    FileRequest,
    RepairReply,
    RepairRequest,
)
from raftlog.storage.log_store import LogStore

TERMS_PATIENCE_NS: Final = 2_000_000_000
"""A replica that has not learned its terms in this time says so."""


class Upkeep:
    """Keeps one replica's data good.

    Attributes:
        reader: Reads stored entries, and has bad ones marked.
        alarms: What somebody has to look at.
        damage: What is told of damage that is found, and of its end.
        exchange: Fetches and serves files.
        scrubber: Looks for damage that nobody has met yet.
        waits_for_terms: Damage hides where a term began, so the log's terms are a guess. A
            wrong one looks like a conflict: the core would contradict its leader, or cut what
            was promised. Until they are known the replica takes no part.
    """

    def __init__(
        self,
        me: ReplicaId,
        store: LogStore,
        log: LogView,
        persister: Persister,
        world: World,
        outward: Outward,
        *,
        on_faulty: Callable[[int], None],
        fail: Callable[[Exception], None],
    ) -> None:
        scheduler, send = world.scheduler, world.peers.send
        self._store = store
        self._log = log
        self._outward = outward
        self._scheduler = scheduler
        self._on_faulty = on_faulty
        self._fail = fail
        self._listeners: list[Callable[[], None]] = []
        self.reader = LogReader(store, world.reader, self.faulty)
        self.alarms = Alarms(me.node, world.peers, outward, fail)
        self.damage = Damage(outward)
        self.exchange = FileExchange(
            *(store.files, store.directory, world.reader, scheduler),
            send=send,
            on_failed=fail,
            damage=self.damage,
        )
        self.repairer = Repairer(
            *(store, log, self.reader, persister, scheduler),
            send=send,
            on_changed=self._changed,
        )
        self.scrubber = Scrubber(store, self.reader, scheduler)
        self.scrubber.on_looked = self.repairer.begin
        self._stopped = False
        self.waits_for_terms = store.terms_in_doubt
        self.on_terms_known: Callable[[], None] = lambda: None

    def know(self, peers: Sequence[NodeId]) -> None:
        """These are asked from now on."""
        self.repairer.peers = self.exchange.peers = peers

    def begin(self) -> None:
        """Ask for what is damaged, and look for more."""
        self.damage.entries(self._store.faulty_count, self._store.faulty_ranges)
        self.repairer.begin()
        self.scrubber.start()
        if self.waits_for_terms:
            self._scheduler.call_later(TERMS_PATIENCE_NS, self._complain)

    def _complain(self) -> None:
        if self.waits_for_terms and not self._stopped:
            first, last = self._store.faulty_ranges()[0]
            self.alarms.sound(
                f"entries {first} to {last} are damaged, no peer has sent them, and their terms "
                "are not known: this replica takes no part until a peer does; if all peers run, "
                "copy the data directory away and let the node join as new"
            )

    def stop(self) -> None:
        """Ask and answer no more."""
        self._stopped = True
        self.exchange.stop()
        self.scrubber.stop()

    def receive(self, sender: ReplicaId, message: BesideMessage) -> None:
        """Take in a message that is not for the core."""
        match message:
            case DivergenceAlarm():
                self.alarms.receive(sender.node, message)
            case FileRequest() | FileChunk():
                self.exchange.receive(sender.node, message)
            case RepairRequest() | RepairReply():
                self.repairer.receive(sender, message)
        self._learn_terms()

    def written(self) -> None:
        """A write has ended, perhaps that of a repair."""
        self.repairer.begin()
        self._learn_terms()

    def faulty(self, index: Index) -> None:
        """A stored entry turned out bad: mark it, and have a peer repair it (R3)."""
        try:
            self._store.mark_faulty(index)
        except StorageFailed as error:
            self._fail(error)
            return
        self._scheduler.call_soon(self.repairer.begin)

    def on_repaired(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the number of damaged entries has changed."""
        self._listeners.append(listener)

    def _changed(self, count: int) -> None:
        self.damage.entries(count, self._store.faulty_ranges)
        self._on_faulty(count)
        for listener in self._listeners:
            self._outward.call(listener)

    def _learn_terms(self) -> None:
        if self.waits_for_terms and not self._store.terms_in_doubt:
            self.waits_for_terms = False
            self._log.learn_terms(self._store.term_runs)
            self.on_terms_known()

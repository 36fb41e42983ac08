"""A node's replicas, and what they share: a directory, two threads, the peers.

A host opens the directory (exclusively), recovers every shard in it, and
routes messages by shard. It knows no sockets: whoever composes a node gives it
a way to send.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final

from raftlog.base.boot import boot_id
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import NodeId, ReplicaId, ShardId
from raftlog.base.limits import HANDOVER_DEADLINE_NS, STOP_DEADLINE_NS
from raftlog.base.membership import Membership
from raftlog.base.space import DiskLimits, Space
from raftlog.node.outgoing import with_facts_of_node
from raftlog.node.ports import Machine
from raftlog.node.recollection import (
    newest_membership,
    refuse_older_term,
    what_needs_peers,
)
from raftlog.node.replica import Replica
from raftlog.node.space import NodeSpace, SpaceWatch
from raftlog.node.threads import LoopScheduler, ReaderThread, WriterThread
from raftlog.node.world import ReplicaOptions, World
from raftlog.raft.rpcs import PeerMessage
from raftlog.storage.cached_writes import CachedWrites, newest_named, refuse_unless_alone
from raftlog.storage.directory import DataDirectory
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.room import Reserve, lacks_room
from raftlog.storage.whole_prefix import keep_what_is_whole
from raftlog.wire.greeting import Promise

SendToShard = Callable[[NodeId, ShardId, PeerMessage], None]
MakeMachine = Callable[[ShardId, str, LogStore], Machine]
"""Makes a shard's machine, given its folder and its recovered log."""
POLL_S: Final = 0.005


class ShardPeers:
    """The other replicas of one shard, over the node's links."""

    def __init__(
        self,
        shard: ShardId,
        store: LogStore,
        space: NodeSpace,
        send: SendToShard,
        wall_ms: Callable[[], int],
    ) -> None:
        self._shard = shard
        self._store = store
        self._space = space
        self._send = send
        self._wall_ms = wall_ms

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Queue ``message``; never blocks, never raises."""
        message = with_facts_of_node(message, self._store, self._space, self._wall_ms)
        self._send(to, self._shard, message)


def measure(path: str) -> Space:
    """Ask the file system of ``path``. Blocks."""
    found = os.statvfs(path)
    # What only the superuser may use is neither free nor used, as in df.
    usable = found.f_blocks - found.f_bfree + found.f_bavail
    return Space(usable * found.f_frsize, found.f_bavail * found.f_frsize)


class Host:
    """The replicas of one node. Made on the loop that will run them."""

    def __init__(
        self,
        directory: DataDirectory,
        make_machine: MakeMachine,
        send: SendToShard,
        *,
        store_options: StoreOptions,
        replica_options: ReplicaOptions,
        disk_limits: DiskLimits | None = None,
        boot: str | None = None,
    ) -> None:
        """Recover every shard. ``boot`` names the machine's start; None: the kernel is asked.

        Raises:
            WritesLost: The machine was started anew under os-cache, and there are other nodes.
            DamagedLog, StorageFailed: About what is in the directory.
        """
        loop = asyncio.get_running_loop()
        self.directory = directory
        self.identity = directory.identity
        self.id = ReplicaId(self.identity.node, self.identity.directory)
        self.on_failed: Callable[[ShardId, Exception], None] = lambda _shard, _error: None
        self.on_members: Callable[[], None] = lambda: None
        """Told whenever some shard has other members."""
        self._writer = WriterThread(loop, "raftlog-writer")
        self._reader = ReaderThread(loop, "raftlog-reader")
        self._scheduler = LoopScheduler(loop)
        self._replicas: dict[ShardId, Replica] = {}
        self.space: Final = NodeSpace()
        # Room for one more segment.
        self._reserve = Reserve(directory.files, directory.path, store_options.segment_bytes)
        self.space_watch: Final = SpaceWatch(
            *(self.space, partial(measure, directory.path), self._reserve),
            *(disk_limits or DiskLimits(), self._reader, self._scheduler),
        )
        known_boot = boot_id() if boot is None else boot
        self._cached: Final = CachedWrites(directory.files, directory.path, known_boot)
        if self._cached.lost:
            self._give_up_lost_writes()
        for shard, membership in directory.shards():
            store = self._open(shard, store_options)
            refuse_older_term(store)
            if self._cached.lost:  # also by what is left of its log
                members = newest_membership(store, membership)
                refuse_unless_alone(directory.path, [members], self.id.node)
            machine = make_machine(shard, directory.shard_path(shard), store)
            self._refuse_what_needs_peers(shard, store, machine, membership)
            world = self._make_world(shard, store, send)
            self._replicas[shard] = Replica(
                self.id, membership, store, machine, world, replica_options
            )
        for shard, replica in self._replicas.items():
            replica.on_failed = partial(self._replica_failed, shard)
            replica.on_members = self._members_changed
        self._cached.begin(self.directory.shard_paths, durable=store_options.durable)

    @property
    def lost_writes(self) -> bool:
        """Whether another boot had written here under os-cache; this one has what is left."""
        return self._cached.lost

    def _give_up_lost_writes(self) -> None:
        directory = self.directory
        named = [
            newest_named(directory.files, directory.shard_path(shard), formed)
            for shard, formed in directory.shards()
        ]
        refuse_unless_alone(directory.path, named, self.id.node)
        for folder in directory.shard_paths:
            keep_what_is_whole(directory.files, folder)

    def _make_world(self, shard: ShardId, store: LogStore, send: SendToShard) -> World:
        return World(
            scheduler=self._scheduler,
            writer=self._writer,
            reader=self._reader,
            peers=ShardPeers(shard, store, self.space, send, self._scheduler.wall_ms),
            # Jitter only: two nodes must not draw alike, nothing else depends on it.
            random=Random(f"{self.id.directory}/{shard}/{self._scheduler.now_ns()}"),
            space=self.space,
        )

    def _refuse_what_needs_peers(
        self, shard: ShardId, store: LogStore, machine: Machine, formed: Membership
    ) -> None:
        """A node without peers does not begin with what only peers could mend.

        Raises:
            DamagedLog: The log has damage, or begins behind what the state describes.
        """
        members = newest_membership(store, formed)
        if len(members.voters) > 1 or members.is_joint:
            return
        path = self.directory.path
        missing = what_needs_peers(shard, store, machine)
        if missing:
            raise DamagedLog(
                f"{missing}, and this node has no peer to fetch it from; restore {path} from a "
                f"copy, and see what is damaged with: raftlog log verify {path}"
            )

    def _open(self, shard: ShardId, options: StoreOptions) -> LogStore:
        """Recover a shard's log; on a full disk, in the room of the reserve."""
        directory = self.directory
        try:
            return LogStore.open(directory.files, directory.shard_path(shard), options)
        except StorageFailed as error:
            if not lacks_room(error) or not self._reserve.release():
                raise
            return LogStore.open(directory.files, directory.shard_path(shard), options)

    @property
    def replicas(self) -> Mapping[ShardId, Replica]:
        """This node's replicas by shard."""
        return self._replicas

    @property
    def memberships(self) -> list[Membership]:
        """The members of each shard, as its log here has them."""
        return [self._replicas[shard].membership for shard in sorted(self._replicas)]

    @property
    def reader(self) -> ReaderThread:
        """The disk's reader thread."""
        return self._reader

    @property
    def scheduler(self) -> LoopScheduler:
        """The loop's clock and turns."""
        return self._scheduler

    def promises(self) -> list[Promise]:
        """How far each shard's durable promises go, for a hello (ruling 16)."""
        return [
            Promise(shard, *replica.store.durable_promises)
            for shard, replica in self._replicas.items()
        ]

    def _replica_failed(self, shard: ShardId, error: Exception) -> None:
        self.on_failed(shard, error)

    def _members_changed(self, _membership: Membership) -> None:
        self.on_members()

    def start(self) -> None:
        """Let every replica take part."""
        self.space_watch.begin()
        for replica in self._replicas.values():
            replica.start()

    def receive(self, sender: ReplicaId, shard: ShardId, message: PeerMessage) -> None:
        """Route a message; one for a shard that is not here is dropped."""
        replica = self._replicas.get(shard)
        if replica is not None:
            replica.receive(sender, message)

    def heard(self, sender: ReplicaId, shard: ShardId) -> None:
        """Bytes of entries are arriving from ``sender``."""
        replica = self._replicas.get(shard)
        if replica is not None:
            replica.heard(sender)

    def connection_lost(self, node: NodeId) -> None:
        """The connection to ``node`` was lost and not re-opened in time."""
        for replica in self._replicas.values():
            replica.connection_lost(node)

    async def drain(self) -> None:
        """Refuse new proposals and hand leadership over, within 2 s (ruling 33)."""
        for replica in self._replicas.values():
            replica.drain()
        await self._until(
            lambda replica: (
                # A replica that has failed hands over nothing: the sooner its connections end,
                # the sooner the others elect.
                replica.stopped or not replica.leads or len(replica.core.membership.voters) == 1
            ),
            HANDOVER_DEADLINE_NS,
        )

    async def close(self) -> list[str]:
        """Finish what is in flight, sync, release everything. Idempotent.

        Returns:
            What hung beyond the deadline; empty after a clean stop.
        """
        hung: list[str] = []
        self.space_watch.stop()
        if not await self._until(
            lambda replica: replica.quiet or replica.stopped, STOP_DEADLINE_NS // 4
        ):
            hung.append("proposals in flight")
        for replica in self._replicas.values():
            replica.stop()
        if not await self._until(lambda replica: replica.writing_ended, STOP_DEADLINE_NS // 4):
            hung.append("a write to the log")
        else:
            for replica in self._replicas.values():
                if replica.failure is not None:
                    continue
                if replica.write_error is not None:
                    hung.append(f"a write to the log: {replica.write_error}")
                else:
                    hung.extend(await self._close_store(replica))
        for thread, name in ((self._writer, "writer thread"), (self._reader, "reader thread")):
            if not thread.close(STOP_DEADLINE_NS / 8e9):
                hung.append(name)
        if not hung and all(each.failure is None for each in self._replicas.values()):
            hung.extend(await self._end_cached())
        self._replicas.clear()
        self.directory.close()
        return hung

    async def _end_cached(self) -> list[str]:
        """Sync what os-cache never synced: a clean stop loses nothing, whatever comes then."""
        work = asyncio.to_thread(self._cached.end, self.directory.shard_paths)
        try:
            await asyncio.wait_for(work, STOP_DEADLINE_NS / 4e9)
        except TimeoutError:
            return ["syncing the log"]
        except StorageFailed as error:
            return [str(error)]
        return []

    async def _close_store(self, replica: Replica) -> list[str]:
        plan = replica.store.plan_close()
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def finish(error: Exception | None) -> None:
            if not done.done():
                done.set_result(error)

        self._writer.submit(plan, finish)
        try:
            error = await asyncio.wait_for(done, STOP_DEADLINE_NS / 4e9)
        except TimeoutError:
            return ["closing the log"]
        if error is not None:
            return [str(error)]
        replica.store.complete(plan)
        return []

    async def _until(self, ready: Callable[[Replica], bool], deadline_ns: int) -> bool:
        end_ns = self._scheduler.now_ns() + deadline_ns
        while not all(ready(replica) for replica in self._replicas.values()):
            if self._scheduler.now_ns() >= end_ns:
                return False
            await asyncio.sleep(POLL_S)
        return True

"""A running node: configuration in, objects out, in the order in which they depend.

::

    DataDirectory (locked) -> Host (recovers every shard) -> Mesh (peers)
                                   |                           |
                                   +--> BrokerShard, services -+-> ClientServer, GrpcServer

Nothing serves before everything it needs exists. What cannot start says so
with one typed error; what fails later ends the node with one sentence, because
a node that limps is worse for its cluster than one that is gone (R2).
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from raftlog.base.errors import (
    DirectoryForeign,
    DirectoryRefused,
    GivenUp,
    RaftlogError,
    RolledBack,
    Unavailable,
    WrongCluster,
)
from raftlog.base.ids import NodeId, ShardId, Term
from raftlog.base.space import DiskLevel, Space
from raftlog.broker.machine import BrokerMachine
from raftlog.node.host import Host
from raftlog.node.world import ReplicaOptions
from raftlog.raft.config import CoreConfig
from raftlog.raft.effects import Role, RoleChanged
from raftlog.raft.rpcs import PeerMessage
from raftlog.server.config import Config, NodeConfig
from raftlog.server.joining import become_voter, decided_members, life_signs_s
from raftlog.server.metrics import counters
from raftlog.server.removal import RemovalWatch
from raftlog.service.handlers import ClientHandlers, ShardService
from raftlog.service.shard import BrokerShard
from raftlog.service.status import NodeFacts
from raftlog.storage.directory import DataDirectory
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.transport.gate import Gate
from raftlog.transport.mesh import Mesh
from raftlog.transport.server import ClientServer
from raftlog.wire.address import parse_address

if TYPE_CHECKING:
    from raftlog.gateway.grpc.server import GrpcServer

log: Final = logging.getLogger("raftlog.node")


class Listens(Protocol):
    """A server that has an address of its own."""

    async def listen(self, host: str, port: int) -> object:
        """Accept connections, or raise ``OSError``."""


class NodeServer:
    """One node of a cluster, from start to stop. Made by ``open``, on its loop."""

    def __init__(self, config: Config, node: NodeConfig) -> None:
        self.config: Final = config
        self.node: Final = node
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """Done when the node cannot go on, with the reason."""
        self._strangers: set[NodeId] = set()
        self._is_member = False
        self._seeks: dict[ShardId, Term] = {}
        """In which term a shard's replica was last said to look for a leader."""
        self._watching: asyncio.Task[None] | None = None
        self._joining: list[asyncio.Task[None]] = []
        self._brokers: dict[ShardId, BrokerShard] = {}
        self._services: Mapping[ShardId, ShardService] = {}
        self._host: Host | None = None
        self._mesh: Mesh | None = None
        self._clients: ClientServer | None = None
        self._grpc: GrpcServer | None = None

    @classmethod
    async def open(cls, config: Config, name: str) -> "NodeServer":
        """Start node ``name`` of the cluster that ``config`` describes.

        Raises:
            ConfigError: The configuration names no such node.
            DirectoryUnformatted, DirectoryForeign, DirectoryLocked: About its directory.
            DamagedLog, StorageFailed: About what is in it.
            Unavailable: An address is in use.
        """
        server = cls(config, config.find(name))
        try:
            await server._start()
        except BaseException:
            await server.close()
            raise
        return server

    async def _start(self) -> None:
        node, config = self.node, self.config
        directory = DataDirectory.open(node.data, expected_node=node.node)
        try:
            host = self._host = self._recover(directory)
        except BaseException:
            directory.close()
            raise
        self._is_member = _is_member(host)
        host.on_failed = self._shard_failed
        host.space_watch.on_level = self._disk_level
        host.space_watch.on_failed = self._fail
        host.on_members = self._members_changed
        mesh = self._mesh = await Mesh.open(
            host,
            config.peer_addresses(node.node),
            listen=node.peer,
            promises=host.promises,
            on_refused=self._refused,
            on_opened=self._strangers.discard,
        )
        self._services = self._make_services(host, mesh)
        handlers = ClientHandlers(self._services).by_method
        self._clients = ClientServer(
            Gate(host.identity.cluster, host.id), handlers, address_of=self._client_address
        )
        await self._listen(self._clients, node.client)
        if node.grpc:
            # Nobody else pays for grpc: it takes its time to import, memory, and a thread.
            from raftlog.gateway.grpc.forwarding import Forwarder  # noqa: PLC0415
            from raftlog.gateway.grpc.server import GrpcServer  # noqa: PLC0415

            forwarder = Forwarder(config.seeds, cluster=host.identity.cluster)
            self._grpc = GrpcServer(handlers, forwarder=forwarder, address_of=self._client_address)
            await self._listen(self._grpc, node.grpc)
        for shard, replica in host.replicas.items():
            replica.on_role = partial(self._role_changed, shard)
            replica.upkeep.alarms.on_raised = partial(log.error, "shard %d: %s", shard)
            replica.upkeep.damage.on_told = partial(log.warning, "shard %d: %s", shard)
            replica.upkeep.scrubber.rate = config.scrub.bytes_per_s
            replica.upkeep.scrubber.rest_ns = config.scrub.rest_ns
            if host.lost_writes:
                log.warning(
                    "the machine was started anew under os-cache: the log of shard %d goes on "
                    "behind entry %d, and what came after is lost",
                    *(shard, replica.store.end.index),
                )
            recovery = replica.membership.recovery
            if recovery is not None:
                log.warning(
                    "shard %d went on without its majority at entry %d; given up: %s",
                    *(shard, recovery.index, ", ".join(map(str, recovery.lost))),
                )
        host.start()
        if len(config.nodes) > 1:
            self._watching = asyncio.get_running_loop().create_task(self._watch_for_removal(host))
            self._watching.add_done_callback(self._joined)

    async def _watch_for_removal(self, host: Host) -> None:
        """End the node once it is certain that it was removed.

        Raises:
            DirectoryRefused: It was.
        """
        config, node = self.config, self.node
        watch = RemovalWatch(
            host.replicas,
            host.id.directory,
            partial(decided_members, config, node.node, host.identity.cluster),
            is_wanted=lambda: all(task.done() for task in self._joining),
            pause_s=life_signs_s(config) / 4,
        )
        await watch.until_removed()
        raise DirectoryRefused(
            f"{node.node} was removed from the cluster with the directory {node.data}, which is "
            f"of no use any more; if {node.node} is to come back as a new member, move that "
            f"directory away and start it with: raftlog node run --node {node.node} --join"
        )

    def tell_if_waiting(self) -> None:
        """Say what an operator has to do before a new node, without ``join``, takes part."""
        assert self._host is not None, "a node that has not started waits for nothing"
        if not any(each.voters for each in self._host.memberships):
            log.info(
                "this node is new and waits to be added: raftlog member add %s", self.node.node
            )

    def join(self) -> None:
        """Ask each shard to let this node vote, unless it does or has been removed."""
        host = self._host
        assert host is not None, "a node that has not started joins nothing"
        for shard, replica in host.replicas.items():
            # Not the newest committed one: after a restart it is known late what is committed.
            known = replica.membership
            was_member = known.find(host.id.node) == host.id
            if known.is_voter(host.id):
                continue
            if known.voters and not was_member:
                log.warning("shard %d: this directory's node was removed from the cluster", shard)
                continue
            work = become_voter(
                *(self.config, host.id, host.identity.cluster, shard), was_member=was_member
            )
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(self._joined)
            self._joining.append(task)

    def _joined(self, task: "asyncio.Task[None]") -> None:
        """End the node if it has no right to its name, was removed, or the attempt has failed."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)

    async def _listen(self, server: Listens, address: str) -> None:
        try:
            await server.listen(*parse_address(address))
        except OSError as error:
            raise Unavailable(
                f"{address} cannot be listened on ({error.strerror or error}); stop what uses "
                f"it, or choose another port for {self.node.node} in {self.config.path}"
            ) from error

    def _recover(self, directory: DataDirectory) -> Host:
        config = self.config
        timings = config.timings
        return Host(
            directory,
            self._make_machine,
            self._send,
            store_options=StoreOptions(
                segment_bytes=config.segment_bytes, durable=config.durability == "fsync"
            ),
            replica_options=ReplicaOptions(
                core=CoreConfig(
                    heartbeat_ticks=timings.heartbeat_ticks,
                    election_ticks_min=timings.election_ticks_min,
                    election_ticks_max=timings.election_ticks_max,
                    lease_reads=config.lease_reads,
                )
            ),
            disk_limits=config.disk,
        )

    def _make_machine(self, shard: ShardId, path: str, store: LogStore) -> BrokerMachine:
        ends = store.start.index, store.durable_end.index, store.commit_hint
        broker = BrokerShard.restore(store.files, path, *ends)
        self._brokers[shard] = broker
        return broker.machine

    def _make_services(self, host: Host, mesh: Mesh) -> Mapping[ShardId, ShardService]:
        cluster, shards = host.identity.cluster, len(host.replicas)
        facts = NodeFacts(
            *(cluster, self.node.node, self._client_address, shards), level_of=mesh.level_of
        )
        services = {}
        for shard, replica in host.replicas.items():
            services[shard] = self._brokers[shard].serve(
                replica,
                host.reader,
                host.scheduler,
                facts,
                durability=self.config.durability,
                counters=partial(counters, replica, mesh),
                on_failed=self._fail,
            )
        return services

    def _send(self, to: NodeId, shard: ShardId, message: PeerMessage) -> None:
        if self._mesh is not None:
            self._mesh.send(to, shard, message)

    def _client_address(self, node: NodeId) -> str:
        """Return where clients reach ``node``: the file says it, or it was added with that."""
        found = self.config.nodes.get(node)
        if found is not None:
            return found.advertise_client
        memberships = self._host.memberships if self._host is not None else ()
        added = (members.addresses_of(node) for members in memberships)
        return next((each.client for each in added if each is not None), "")

    def _members_changed(self) -> None:
        if self._mesh is not None and self._host is not None:
            self._mesh.follow(self._host.memberships)
            self._tell_if_removed(self._host)

    def _tell_if_removed(self, host: Host) -> None:
        """Say so once this node is no member of any shard any more."""
        is_member = _is_member(host)
        if self._is_member and not is_member:
            log.warning("this node was removed from the cluster; it ends once that is certain")
        self._is_member = is_member

    # -- when something goes wrong

    def _shard_failed(self, shard: ShardId, error: Exception) -> None:
        del shard  # a disk's error names the file; the node ends whichever it was
        self._fail(error)

    def _disk_level(self, level: DiskLevel, space: Space) -> None:
        told = f"{space.used_percent:.0f} % of the disk of {self.node.data} is used"
        match level:
            case DiskLevel.FULL:
                log.error("%s: records are refused where a majority is so full; make room", told)
            case DiskLevel.SCARCE:
                log.warning("%s: no topic is made any more; make room", told)
            case DiskLevel.ROOM:
                log.info("%s: there is room again", told)

    def _refused(self, peer: NodeId, error: RaftlogError) -> None:
        if isinstance(error, RolledBack | GivenUp):
            self._fail(error)
        elif isinstance(error, WrongCluster):
            self._strangers.add(peer)
            # One such peer may itself be the stranger. If most are, this node is, and would wait
            # for ever for a quorum that it has no part in.
            if len(self._strangers) > len(self.config.nodes) // 2:
                others = " and ".join(sorted(self._strangers))
                self._fail(
                    DirectoryForeign(
                        f"{self.node.data} belongs to another cluster than {others}; correct the "
                        f"data directory of {self.node.node} in {self.config.path}"
                    )
                )

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    def _role_changed(self, shard: ShardId, change: RoleChanged) -> None:
        self._services[shard].role_changed(change)
        if change.leader is None and change.role in (Role.FOLLOWER, Role.PRE_CANDIDATE):
            # Without a majority it is the one and the other by turns, several times a second.
            if self._seeks.get(shard) == change.term:
                return
            self._seeks[shard] = change.term
        else:
            self._seeks.pop(shard, None)
        log.info(
            "shard %d: %s in term %d, leader %s",
            *(shard, change.role.value, change.term, change.leader or "unknown"),
        )

    # -- the end

    async def close(self) -> list[str]:
        """Stop: hand over, answer, sync, release (ruling 33). Idempotent.

        Returns:
            What hung beyond its deadline; empty after a clean stop.
        """
        host, self._host = self._host, None
        for task in (*self._joining, *filter(None, (self._watching,))):
            task.cancel()
        hung: list[str] = []
        if host is not None:
            await host.drain()
            for service in self._services.values():
                service.stop()
            hung = await host.close()
        if self._grpc is not None:
            await self._grpc.close()
        if self._clients is not None:
            await self._clients.close()
        if self._mesh is not None:
            await self._mesh.close()
        return hung


def _is_member(host: Host) -> bool:
    """Whether this node is a member of any shard, as far as its logs say."""
    return any(each.find(host.id.node) == host.id for each in host.memberships)

"""The log as a library: ``RaftLog.open`` under your own state machine.

One node needs nothing but a directory. Several need a directory each, formatted
together with ``RaftLog.form`` before any of them starts (a directory that is
merely empty may be one that was wiped, and is never taken for a new one)::

    async with RaftLog.open("data", machine=Counter()) as log:
        total = await log.propose(b"1", timeout=2.0)

The machine's ``apply`` runs on the event loop and must not block. It is called
for every committed entry, in order, again from the first one after each start:
a machine without snapshots keeps the whole log. An exception in it stops the
replica at that entry, with the traceback in ``RaftLog.failure``; skipping the
entry would make this replica differ from the others for ever (ruling 34).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, Literal, Protocol, Self, TypeVar, cast

import msgspec

from raftlog.base.entry import HEADER_BYTES, Buffer, Entry, EntryKind
from raftlog.base.errors import (
    Closed,
    DiskFull,
    GivenUp,
    OutcomeUnknown,
    RaftlogError,
    RecordTooLarge,
    Refused,
    RolledBack,
    Unavailable,
)
from raftlog.base.ids import INDEX_ZERO, SHARD_ZERO, Index, NodeId, ShardId, Term
from raftlog.base.limits import BATCH_BYTES_MAX, KIB, MIB, SEGMENT_BYTES, SPACE_LOOK_NS
from raftlog.base.space import DiskLevel, Space
from raftlog.broker.commands import RAW_LEVEL, CommandType, decode, decode_one, log_time_of
from raftlog.node.host import Host
from raftlog.node.proposals import OnOutcome
from raftlog.node.replica import Replica
from raftlog.node.world import ReplicaOptions
from raftlog.raft.config import CoreConfig, CoreStatus
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.log_store import StoreOptions
from raftlog.transport.mesh import Mesh

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_RAW: Final = int(CommandType.RAW)
_NO_OUTCOME: Final = (None,)
_NOT_OPEN: Final = "the log is not open; use it inside its async with block"
_OPEN_PATIENCE_S: Final = 10.0
"""Without any progress; replaying a long log may take as long as it needs."""


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the user's: where it is, and its bytes."""

    index: Index
    term: Term
    data: bytes


class StateMachine(Protocol[R_co]):
    """What committed entries feed. Deterministic: the same entries give the same state."""

    def apply(self, entry: LogEntry, /) -> R_co:
        """Apply one entry; what it returns is the result of ``RaftLog.propose``."""


class Settings(msgspec.Struct, frozen=True):
    """How an embedded log behaves.

    ``durability="os-cache"`` acknowledges what only the kernel has: a power cut
    takes it back. It is for one-node logs, and named in every receipt.
    ``lease_reads`` lets ``barrier`` of a leader ask nobody; it trusts the clocks of the
    machines, and is the same for all nodes.
    """

    durability: Literal["fsync", "os-cache"] = "fsync"
    segment_bytes: int = SEGMENT_BYTES
    lease_reads: bool = False

    def __post_init__(self) -> None:
        """Refuse segments that could not hold the largest entry."""
        if self.segment_bytes < 8 * MIB or self.segment_bytes % (4 * KIB):
            raise ValueError("segment_bytes must be at least 8 MiB, in steps of 4 KiB")


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an entry is. Indexes rise, with gaps where Raft put entries of its own."""

    term: Term
    index: Index


class _UserMachine(Generic[R]):
    """Turns the log's entries into the user's."""

    def __init__(self, machine: StateMachine[R] | None) -> None:
        self.applied = INDEX_ZERO
        self.log_time_ms = 0
        self.feature_level = RAW_LEVEL
        self._apply = machine.apply if machine is not None else None

    def apply(self, entry: Entry) -> Sequence[object]:
        """Apply the one command of an entry, if it has one."""
        outcomes: Sequence[object] = ()
        if entry.kind is EntryKind.COMMANDS:
            outcomes = _NO_OUTCOME if self._apply is None else (self._apply(_user_entry(entry)),)
            self.log_time_ms = log_time_of(entry.frame, HEADER_BYTES)
        self.applied = entry.index
        return outcomes


def _disk_full(_kind: int, _parts: Sequence[Buffer], on_outcome: OnOutcome) -> None:
    error = DiskFull("the disk is too full for more entries", SPACE_LOOK_NS / 1e9)
    on_outcome(error, Term(0), Index(0))


def _not_open(_kind: int, _parts: Sequence[Buffer], _on_outcome: OnOutcome) -> None:
    raise Closed(_NOT_OPEN)


def _user_entry(entry: Entry) -> LogEntry:
    body = entry.body
    place = decode_one(body)
    if place is None:  # what is not exactly one known command, ``decode`` refuses by name
        (place,) = decode(body).places
    kind, position, length = place
    if kind != _RAW:
        raise Refused(f"entry {entry.index} holds a command of a broker, not of an embedded log")
    return LogEntry(entry.index, entry.term, bytes(body[position : position + length]))


def _tell_position(
    future: "asyncio.Future[Position]", outcome: object, term: Term, index: Index
) -> None:
    if future.done():
        return
    if isinstance(outcome, RaftlogError):
        future.set_exception(outcome)
    else:
        future.set_result(Position(term, index))


class RaftLog(Generic[R]):
    """An embedded replica. Made by ``open``, used with ``async with``, bound to one loop."""

    def __init__(
        self,
        path: Path,
        node: NodeId,
        peers: Mapping[NodeId, str],
        machine: StateMachine[R] | None,
        settings: Settings,
    ) -> None:
        self._path = path
        self._node = node
        self._peers = peers
        self._machine = machine
        self._settings = settings
        self._host: Host | None = None
        self._mesh: Mesh | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: asyncio.Event = asyncio.Event()
        self._submit: Callable[[int, Sequence[Buffer], OnOutcome], None] = _not_open
        self.failure: Exception | None = None
        """Why the replica stopped by itself, if it did."""

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        node_id: str = "n1",
        peers: Mapping[str, str] | None = None,
        machine: StateMachine[R] | None = None,
        settings: Settings | None = None,
    ) -> "RaftLog[R]":
        """Describe a log; entering it with ``async with`` does the work.

        Args:
            path: The data directory. Without ``peers`` an empty one is formatted.
            node_id: This node's name, as the directory was formatted for.
            peers: ``host:port`` of every node, this one included (it listens there).
            machine: The state machine; None keeps a plain log.
            settings: Durability and segment size.

        Raises (on entering):
            DirectoryUnformatted: Several nodes, and the directory was never formatted.
            DirectoryForeign, DirectoryLocked, DamagedLog, StorageFailed: As they say.
            ApplyFailed: The machine raised at an entry that is in the log already.
            Unavailable: The node's port is in use, or the replica did not get going.
        """
        known = {NodeId(name): address for name, address in (peers or {}).items()}
        node = NodeId(node_id)
        if known and node not in known:
            raise ValueError(f"peers must name this node too: {node_id} is not in {sorted(known)}")
        settings = settings or Settings()
        if len(known) > 1 and settings.durability != "fsync":
            raise ValueError("os-cache breaks the promises of a cluster; use fsync with peers")
        return cls(Path(path), node, known, machine, settings)

    @staticmethod
    def form(directories: Mapping[str, str | PathLike[str]]) -> None:
        """Format the directories of a new cluster, all together, before any node starts.

        Raises:
            DirectoryFormatted: One of them already belongs to a cluster; nothing was changed.
        """
        form_cluster({NodeId(node): Path(path) for node, path in directories.items()}, shards=1)

    async def __aenter__(self) -> Self:
        """Recover the log, start the replica, and wait until what is known is applied."""
        self._loop = asyncio.get_running_loop()
        alone = len(self._peers) <= 1
        if alone and not DataDirectory.is_formatted(self._path):
            form_cluster({self._node: self._path}, shards=1)
        directory = DataDirectory.open(self._path, expected_node=self._node)
        try:
            self._host = Host(
                directory,
                lambda _shard, _path, _store: _UserMachine(self._machine),
                self._send,
                store_options=StoreOptions(
                    segment_bytes=self._settings.segment_bytes,
                    durable=self._settings.durability == "fsync",
                ),
                replica_options=ReplicaOptions(
                    core=CoreConfig(lease_reads=self._settings.lease_reads), coalesce=False
                ),
            )
        except BaseException:
            directory.close()
            raise
        self._host.on_failed = self._on_failed
        try:
            if not alone:
                self._mesh = await Mesh.open(
                    self._host,
                    self._peers,
                    promises=self._host.promises,
                    on_refused=self._on_refused,
                )
            self._host.space_watch.on_level = self._on_disk_level
            self._host.space_watch.on_failed = partial(self._on_failed, SHARD_ZERO)
            self._host.start()
            self._submit = self._replica.propose
            self._replica.on_applied(lambda _: self._progress.set())
            if alone:
                await self._until_leading()
                await self.barrier()
        except BaseException as error:
            await self.aclose()
            if self.failure is not None and isinstance(error, RaftlogError):
                raise self.failure from None  # what was asked last is only told that it stopped
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        await self.aclose()

    async def aclose(self) -> None:
        """Hand over leadership, finish what is in flight, sync, close. Idempotent.

        Raises:
            OutcomeUnknown: Something hung beyond the deadline of 10 s; it is named.
        """
        host, self._host = self._host, None
        self._submit = _not_open
        if host is None:
            return
        await host.drain()
        hung = await host.close()
        if self._mesh is not None:
            await self._mesh.close()
        self._progress.set()
        if hung and self.failure is None:
            raise OutcomeUnknown(f"closing the log took too long: {', '.join(hung)}")

    # -- writing

    def append(self, data: bytes) -> "asyncio.Future[Position]":
        """Append ``data``; the future's result is where it is, once committed and applied.

        Cancelling the future forgets the answer, not the entry.

        Raises (in the future):
            NotLeader: Another node leads; nothing was appended.
            Throttled: Too much is waiting; nothing was appended.
            DiskFull: The disk is 90 % full; nothing was appended.
            NotCommitted: It was replaced; it never happened.
            OutcomeUnknown: Leadership was lost meanwhile; it may still be committed.
            RecordTooLarge: Over 4 MiB.
        """
        loop = self._loop
        if loop is None or self._host is None:
            raise Closed(_NOT_OPEN)
        future: asyncio.Future[Position] = loop.create_future()
        if len(data) > BATCH_BYTES_MAX:
            future.set_exception(RecordTooLarge(len(data), BATCH_BYTES_MAX))
        else:
            self._submit(_RAW, (data,), partial(_tell_position, future))
        return future

    async def propose(self, data: bytes, *, timeout: float | None = None) -> R:
        """Append ``data`` and return what the machine's ``apply`` returned for it.

        Raises:
            OutcomeUnknown: Also when ``timeout`` (seconds) ends first: the entry
                stays in the log and may still be committed.
            NotLeader, Throttled, NotCommitted, RecordTooLarge: As for ``append``.
        """
        future: asyncio.Future[R] = self._running_loop().create_future()

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if future.done():
                return
            if isinstance(outcome, RaftlogError):
                future.set_exception(outcome)
            else:
                future.set_result(cast("R", outcome))

        self._propose(data, on_outcome)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise OutcomeUnknown(f"no majority answered within {timeout:g} s") from None

    def _propose(self, data: bytes, on_outcome: OnOutcome) -> None:
        if len(data) > BATCH_BYTES_MAX:
            on_outcome(RecordTooLarge(len(data), BATCH_BYTES_MAX), Term(0), Index(0))
            return
        self._submit(_RAW, (data,), on_outcome)

    # -- reading

    async def barrier(self) -> None:
        """Wait until the machine's state includes everything committed before this call.

        Raises:
            NotLeader: No leader could confirm it; ask again.
        """
        ready: asyncio.Future[None] = self._running_loop().create_future()

        def on_read(error: RaftlogError | None) -> None:
            if ready.done():
                return
            if error is None:
                ready.set_result(None)
            else:
                ready.set_exception(error)

        self._replica.read_index(on_read)
        await ready

    async def tail(self, start: int = 1) -> AsyncIterator[LogEntry]:
        """Yield the user's entries from index ``start`` on, and follow the log.

        Only applied entries, each once, in order. Ends when the log is closed.

        Raises:
            RaftlogError: The replica stopped by itself: what ``failure`` says, after the
                last entry that was applied.
        """
        index = Index(max(start, 1))
        while self._host is not None:
            replica = self._replica
            if index > replica.applied:
                if self.failure is not None:
                    raise self.failure
                self._progress.clear()
                await self._progress.wait()
                continue
            for entry in await self._read(replica, index):
                if entry.kind is EntryKind.COMMANDS:
                    yield _user_entry(entry)
                index = Index(entry.index + 1)

    async def _read(self, replica: Replica, first: Index) -> Sequence[Entry]:
        entry = replica.tail(first)
        if entry is not None:
            return (entry,)
        loop = self._running_loop()
        found: asyncio.Future[tuple[Entry, ...]] = loop.create_future()

        def done(entries: tuple[Entry, ...], error: Exception | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(entries)

        replica.upkeep.reader.read(first, replica.applied, done)
        return await found

    @property
    def status(self) -> CoreStatus:
        """Role, term, leader, commit, applied, durable and last index."""
        return self._replica.status()

    # -- inside

    @property
    def _replica(self) -> Replica:
        if self._host is None:
            raise Closed(_NOT_OPEN)
        return self._host.replicas[SHARD_ZERO]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._host is None:
            raise Closed(_NOT_OPEN)
        return self._loop

    async def _until_leading(self) -> None:
        loop = self._running_loop()
        replica = self._replica
        seen: tuple[bool, Index] | None = None
        moved_at = loop.time()
        while not replica.leads or replica.applied < replica.core.commit:
            if self.failure is not None:
                raise self.failure
            if (replica.leads, replica.applied) != seen:
                seen = (replica.leads, replica.applied)
                moved_at = loop.time()
            elif loop.time() - moved_at > _OPEN_PATIENCE_S:
                raise Unavailable(
                    f"the log stands at {replica.applied} of {replica.core.commit} for "
                    f"{_OPEN_PATIENCE_S:g} s; see whether the disk answers"
                )
            await asyncio.sleep(0.001)

    def _send(self, to: NodeId, shard: ShardId, message: object) -> None:
        if self._mesh is not None:
            self._mesh.send(to, shard, message)  # type: ignore[arg-type]

    def _on_refused(self, _peer: NodeId, error: RaftlogError) -> None:
        if isinstance(error, RolledBack | GivenUp):
            self._replica.fail(error)

    def _on_disk_level(self, level: DiskLevel, _space: Space) -> None:
        if self._host is not None:
            full = level is DiskLevel.FULL
            self._submit = _disk_full if full else self._replica.propose

    def _on_failed(self, _shard: ShardId, error: Exception) -> None:
        self.failure = error
        self._progress.set()

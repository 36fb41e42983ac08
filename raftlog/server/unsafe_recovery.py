"""``raftlog node unsafe-recover``: one survivor goes on without a majority that is lost.

The node is stopped and stays locked meanwhile. Its log is opened as a start would open it,
so what a start would cut is cut; whoever decides is told what may be lost, types it, and the
log of each shard gets one more entry: the configuration of those who are left, with a mark
that stays in every later one::

    open: lock, recover, decide (raft/lost_majority) --> report --> carry_out: phrase, write

It asks nobody: which of several survivors has the most, and that the others are gone for
good, is for a person to know. Interrupted in the middle it is run again: a shard that has
its mark is left alone.
"""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from raftlog.base.boot import boot_id
from raftlog.base.clock import SystemClock
from raftlog.base.entry import Entry, EntryKind, seal
from raftlog.base.errors import DamagedLog, FaultyEntry, MemberNotFound, Refused
from raftlog.base.ids import Index, NodeId, ReplicaId, ShardId, WriteNumber
from raftlog.base.limits import READ_SPAN_BYTES_MAX
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState, SaveHardState, WriteEntries
from raftlog.broker.commands import log_time_of
from raftlog.node.recollection import newest_membership, what_needs_peers
from raftlog.raft.lost_majority import forced, term_of_recovery, without_lost
from raftlog.service.shard import BrokerShard
from raftlog.storage.cached_writes import CachedWrites
from raftlog.storage.directory import DataDirectory
from raftlog.storage.files import Files
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import close_offline, write_offline
from raftlog.storage.whole_prefix import keep_what_is_whole

LOOK_BACK: Final = 1_000
"""Entries that are looked through for the newest one with commands, to tell its time."""


class ShardLoss(msgspec.Struct, frozen=True):
    """What becomes of one shard.

    Attributes:
        shard: Its number.
        before: Who votes, as the log here says.
        after: Who votes then.
        lost: Who is given up.
        first: The first entry here.
        last: The last one: what came after it is lost, unless it is nowhere.
        last_term: Its term: of two survivors the one with the later term knows more, and of
            equal terms the one with the later entry.
        committed: Up to here entries are known to be committed.
        log_time_ms: The time of the newest commands here; 0 if there are none.
        done: It was recovered before; nothing is left to do.
    """

    shard: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    lost: tuple[str, ...]
    first: int
    last: int
    last_term: int
    committed: int
    log_time_ms: int
    done: bool


class LossReport(msgspec.Struct, frozen=True):
    """What is about to be done to a directory, and the phrase that agrees to it."""

    path: str
    cluster: str
    node: str
    directory: str
    phrase: str
    shards: tuple[ShardLoss, ...]

    @property
    def others(self) -> list[str]:
        """The survivors beside this node, who must run, too, for anything to be decided."""
        me = f"{self.node}/{self.directory[:8]}"
        return sorted({voter for shard in self.shards for voter in shard.after} - {me})


class UnsafeRecovery:
    """A stopped node's directory, held for its recovery. Made by ``open``; blocks."""

    def __init__(self, directory: DataDirectory, lost: Sequence[NodeId], boot: str) -> None:
        identity = directory.identity
        self.me: Final = ReplicaId(identity.node, identity.directory)
        self._directory: Final = directory
        self._lost: Final = lost
        self._folders: Final = directory.shard_paths
        self._cached: Final = CachedWrites(directory.files, directory.path, boot)
        self._stores: list[LogStore] = []
        self._changes: list[tuple[Membership, Membership] | None] = []
        self.report = LossReport("", "", "", "", "", ())

    @classmethod
    def open(
        cls,
        path: str,
        node: NodeId,
        lost: Sequence[NodeId],
        *,
        options: StoreOptions | None = None,
        files: Files | None = None,
        boot: str | None = None,
    ) -> "UnsafeRecovery":
        """Lock and look at the directory of ``node``, of which ``lost`` are to be given up.

        Raises:
            DirectoryRefused: It is in use, or not this node's.
            MemberNotFound: No shard has, or had, a member of such a name.
            BadChange: This node can't go on without them, or need not.
            DamagedLog: It lacks what only a peer could have.
        """
        directory = DataDirectory.open(path, expected_node=node, files=files)
        work = cls(directory, tuple(dict.fromkeys(lost)), boot_id() if boot is None else boot)
        try:
            work._look(options or StoreOptions())
        except BaseException:
            work.close()
            raise
        return work

    def _look(self, options: StoreOptions) -> None:
        directory = self._directory
        if self._cached.lost:
            for folder in self._folders:
                keep_what_is_whole(directory.files, folder)
        shards = [
            (shard, self._open(shard, options), formed) for shard, formed in directory.shards()
        ]
        known = [newest_membership(store, formed) for _, store, formed in shards]
        self._refuse_strangers(known)
        losses = []
        for (shard, store, _), members in zip(shards, known, strict=True):
            after = without_lost(members, self.me, self._lost)
            if after is not None and len(after.voters) == 1:
                self._refuse_what_needs_peers(shard, store)
            self._changes.append(None if after is None else (members, after))
            losses.append(_loss(shard, store, members, after, self._lost))
        identity = directory.identity
        self.report = LossReport(
            *(directory.path, identity.cluster, identity.node, identity.directory),
            phrase=f"give up {' '.join(self._lost)}",
            shards=tuple(losses),
        )
        # Interrupted between the marks and the end of the note of os-cache: nothing came since.
        unfinished = self._cached.lost and all(
            members.recovery is not None and members.recovery.index == store.end.index
            for (_, store, _), members in zip(shards, known, strict=True)
        )
        if all(loss.done for loss in losses) and not unfinished:
            raise Refused(
                f"{directory.path} went on without {' and '.join(self._lost)} before; start the "
                f"node: raftlog node run --node {self.me.node}"
            )

    def _open(self, shard: ShardId, options: StoreOptions) -> LogStore:
        directory = self._directory
        store = LogStore.open(directory.files, directory.shard_path(shard), options)
        self._stores.append(store)
        return store

    def _refuse_strangers(self, memberships: Sequence[Membership]) -> None:
        members = {replica.node for each in memberships for replica in each.replicas}
        earlier = {
            replica.node
            for each in memberships
            if each.recovery is not None
            for replica in each.recovery.lost
        }
        for name in self._lost:
            if name not in members | earlier:
                raise MemberNotFound(
                    f"{name} is no member; the members, as the log of {self.me.node} says, are "
                    f"{', '.join(sorted(members)) or 'not known to it'}"
                )

    def _refuse_what_needs_peers(self, shard: ShardId, store: LogStore) -> None:
        directory = self._directory
        ends = store.start.index, store.durable_end.index, store.commit_hint
        path = directory.shard_path(shard)
        machine = BrokerShard.restore(directory.files, path, *ends).machine
        missing = what_needs_peers(shard, store, machine)
        if missing:
            raise DamagedLog(
                f"{missing}, and with the others given up nobody is left to fetch it from; "
                f"recover another survivor, or restore {directory.path} from a copy first"
            )

    def carry_out(self, phrase: str, wall_ms: int | None = None) -> None:
        """Write the mark into each shard's log, and release the directory.

        Raises:
            Refused: That is not the phrase; nothing was changed.
            StorageFailed: It could not be written; run it again.
        """
        if " ".join(phrase.split()) != self.report.phrase:
            raise Refused(f"that is not the phrase {self.report.phrase!r}; nothing was changed")
        at_ms = SystemClock().wall_ms() if wall_ms is None else wall_ms
        while self._changes:
            change = self._changes.pop(0)
            if change is not None:
                self._write(self._stores.pop(0), *change, at_ms)
            else:
                close_offline(self._stores.pop(0))
        # What the page cache may have lost is nobody's promise any more.
        self._cached.end(self._folders)
        self._directory.close()

    def _write(self, store: LogStore, before: Membership, after: Membership, at_ms: int) -> None:
        end = store.end
        term = term_of_recovery(max(store.hard_state.term, end.term), before, self.me)
        index = Index(end.index + 1)
        marked = forced(before, after, self.me, self._lost, index, at_ms)
        entry = seal(EntryKind.CONFIGURATION, term, index, end.checksum, [marked.encode()])
        # The term first: an entry of a later term than the vote's is what no start accepts.
        save = SaveHardState(WriteNumber(1), HardState(term, self.me))
        write_offline(store, [save, WriteEntries(WriteNumber(2), None, (entry,))])

    def close(self) -> None:
        """Release the directory. Idempotent."""
        while self._stores:
            close_offline(self._stores.pop())
        self._directory.close()

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it."""
        self.close()


def _loss(
    shard: ShardId,
    store: LogStore,
    members: Membership,
    after: Membership | None,
    lost: Collection[NodeId],
) -> ShardLoss:
    left = members if after is None else after
    gone = [each for each in members.replicas if each.node in lost]
    return ShardLoss(
        shard=shard,
        before=tuple(map(str, members.voters)),
        after=tuple(map(str, left.voters)),
        lost=tuple(map(str, gone)),
        first=store.first_index,
        last=store.end.index,
        last_term=store.end.term,
        committed=store.commit_hint,
        log_time_ms=_newest_log_time(store),
        done=after is None,
    )


def _newest_log_time(store: LogStore) -> int:
    """Return the time of the newest commands that can be read here."""
    index = store.end.index
    oldest = max(store.first_index, index - LOOK_BACK)
    while index >= oldest:
        entry = _entry_at(store, index)
        if entry is not None and entry.kind is EntryKind.COMMANDS:
            return log_time_of(entry.body)
        index = Index(index - 1)
    return 0


def _entry_at(store: LogStore, index: Index) -> Entry | None:
    try:
        span = store.locate(index, index, READ_SPAN_BYTES_MAX)
        try:
            buffer = span.read(wait=True)
            return None if buffer is None else span.entries(buffer)[0]
        finally:
            span.close()
    except FaultyEntry:
        return None

"""A node's data directory: formatted once, locked while open, one folder per shard.

::

    <data>/node.meta          who this is (written last when formatting)
    <data>/lock               held while a process has the directory open
    <data>/shards/<id>/       hard.state, durable.mark, log/, index/

All directories of a cluster are formatted together, before any node starts.
There is no rule of the form "everybody is empty, so we are new": an empty
directory under a known name may be one that was wiped (ruling 5).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from raftlog.base.entry import CHAIN_ORIGIN, EntryKind, seal
from raftlog.base.errors import DirectoryForeign, DirectoryFormatted, DirectoryRefused
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.membership import NOBODY, Membership
from raftlog.base.writes import HardState
from raftlog.storage.files import File, Files, OsFiles
from raftlog.storage.identity import (
    DIRECTORY_FORMAT,
    NODE_META,
    Identity,
    mend_identity,
    read_identity,
    write_identity,
)
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log

FIRST_TERM: Final = Term(1)
"""The term of entry 1, which is the initial configuration of every log."""


def _draw() -> str:
    return os.urandom(16).hex()


class DataDirectory:
    """An open data directory. Holds the lock until ``close``."""

    def __init__(self, path: str, files: Files, identity: Identity, lock: File) -> None:
        self.path = path
        self.files = files
        self.identity = identity
        self._lock = lock

    @staticmethod
    def is_formatted(path: str | Path, files: Files | None = None) -> bool:
        """Whether ``path`` belongs to a cluster already."""
        return (files or OsFiles()).exists(f"{path}/{NODE_META}")

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        expected_node: NodeId | None = None,
        files: Files | None = None,
    ) -> "DataDirectory":
        """Lock and identify a directory.

        Raises:
            DirectoryUnformatted: It was never formatted.
            DirectoryForeign: It belongs to another node.
            DirectoryLocked: Another process has it open.
            DamagedLog, IncompatibleFormat: Its ``node.meta`` cannot be used.
        """
        files = files or OsFiles()
        identity = read_identity(files, str(path))
        if expected_node is not None and identity.node != expected_node:
            raise DirectoryForeign(
                f"{path} belongs to node {identity.node} of cluster {identity.cluster}, "
                f"not to {expected_node}; check the data directories in the configuration"
            )
        lock = files.lock(f"{path}/lock")
        mend_identity(files, str(path))
        # The name of node.meta may be in the page cache only: nothing is promised before it lasts.
        files.sync_directory(str(path))
        return cls(str(path), files, identity, lock)

    def shards(self) -> Sequence[tuple[ShardId, Membership]]:
        """Return every shard with its initial membership."""
        return [(ShardId(number), each) for number, each in enumerate(self.identity.shards)]

    def shard_path(self, shard: ShardId) -> str:
        """Return the folder of one shard."""
        return f"{self.path}/shards/{shard}"

    @property
    def shard_paths(self) -> list[str]:
        """The folders of all shards."""
        return [self.shard_path(shard) for shard, _ in self.shards()]

    def close(self) -> None:
        """Release the lock. Idempotent."""
        self._lock.close()


def form_cluster(
    directories: Mapping[NodeId, str | Path],
    *,
    shards: int = 1,
    options: StoreOptions | None = None,
    files: Files | None = None,
    draw: Callable[[], str] = _draw,
) -> ClusterId:
    """Format the directories of a new cluster, all or none (ruling 5).

    Interrupted half-way, some directories are formatted and some are not; the
    next call refuses and names both, because it cannot know whether the others
    were wiped. Nothing was ever stored in them, so they may be removed.

    Raises:
        DirectoryFormatted: One of them belongs to a cluster; nothing was changed.
        DirectoryRefused: One of them holds something else.
    """
    files = files or OsFiles()
    taken = [str(path) for path in directories.values() if DataDirectory.is_formatted(path, files)]
    if taken:
        free = sorted({str(path) for path in directories.values()} - set(taken))
        rest = f", while {', '.join(free)} are not" if free else ""
        raise DirectoryFormatted(
            f"{', '.join(taken)} already belong to a cluster{rest}; a cluster is formed only "
            f"from directories that are all new"
        )
    for path in directories.values():
        _refuse_strange(files, str(path))
    replicas = tuple(ReplicaId(node, DirectoryId(draw())) for node in sorted(directories))
    cluster = ClusterId(draw())
    membership = Membership(replicas)
    for replica in replicas:
        identity = Identity(
            *(DIRECTORY_FORMAT, cluster, replica.node, replica.directory),
            (membership,) * shards,
        )
        format_directory(
            files, str(directories[replica.node]), identity, options or StoreOptions()
        )
    return cluster


def format_learner(
    path: str | Path,
    cluster: ClusterId,
    node: NodeId,
    *,
    shards: int = 1,
    options: StoreOptions | None = None,
    files: Files | None = None,
    draw: Callable[[], str] = _draw,
) -> ReplicaId:
    """Format the directory of a new, empty replica of a cluster that exists (ruling 5).

    Its logs have no entry and know nobody: it is told who the members are by
    the log that their leader sends, once it was added.

    Raises:
        DirectoryFormatted: It belongs to a cluster.
        DirectoryRefused: It holds something else.
    """
    files = files or OsFiles()
    if DataDirectory.is_formatted(path, files):
        raise DirectoryFormatted(
            f"{path} belongs to a cluster already; a node comes back as a new one only with a new "
            "directory: move this one away"
        )
    _refuse_strange(files, str(path))
    replica = ReplicaId(node, DirectoryId(draw()))
    identity = Identity(*(DIRECTORY_FORMAT, cluster, node, replica.directory), (NOBODY,) * shards)
    format_directory(files, str(path), identity, options or StoreOptions())
    return replica


def format_directory(files: Files, path: str, identity: Identity, options: StoreOptions) -> None:
    """Make a directory that a node can start from. ``node.meta`` is written last.

    Entry 1 of every log is the initial configuration, the same bytes on every
    replica, so that they all begin with a committed entry in common. A new
    learner, which knows nobody, gets it from its leader.
    """
    files.make_directory(path)
    for shard, membership in enumerate(identity.shards):
        folder = f"{path}/shards/{shard}"
        files.make_directory(folder)
        first = seal(
            *(EntryKind.CONFIGURATION, FIRST_TERM, Index(1), CHAIN_ORIGIN),
            [membership.encode()],
        )
        if membership.voters:
            create_log(files, folder, options, HardState(FIRST_TERM, None), [first])
        else:
            create_log(files, folder, options, HardState(), [])
    files.sync_directory(f"{path}/shards")
    files.sync_directory(path)
    write_identity(files, path, identity)


def _refuse_strange(files: Files, path: str) -> None:
    """Refuse a directory that is neither empty nor the rest of an interrupted formation."""
    names = [name for name in files.list(path) if name not in ("lock", f"{NODE_META}.new", "run")]
    if not names:
        return
    strange = [name for name in names if name != "shards"]
    if strange:
        raise DirectoryRefused(
            f"{path} holds {', '.join(strange[:3])} and is no data directory; choose an empty one"
        )
    for shard in files.list(f"{path}/shards"):
        try:
            store = LogStore.open(files, f"{path}/shards/{shard}", StoreOptions())
        except Exception:  # noqa: BLE001, S112  (whatever is broken here never began to live)
            continue
        if store.end.index > 1:
            raise DirectoryRefused(
                f"{path} holds a log with {store.end.index} entries but no {NODE_META}; it may be "
                f"a node that lost its identity, so it is not overwritten"
            )

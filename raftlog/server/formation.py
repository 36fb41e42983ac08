"""Forming a cluster: every directory at once, before any node starts (ruling 5).

An empty directory under a known name may be a new one or one that was wiped,
and nothing in it can tell which. So there is no rule of the form "everybody is
empty, so we are new" that a node could follow by itself: whoever forms the
cluster sees all directories together and decides once::

    none formatted    form the cluster
    all formatted     it exists: nothing to do
    some formatted    refuse, and name both kinds

The third case is a wiped node, a new name in ``cluster.yml``, or a formation
that was interrupted. The last one is known by a *marker*: it is durable before
the first directory is formatted and removed after the last one is, and no node
starts while it is there. So a formation is all or nothing: under the marker
nothing was ever stored, and the text says that the directories may be removed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from raftlog.base.errors import DirectoryFormatted, DirectoryRefused, DirectoryUnformatted
from raftlog.base.ids import ClusterId, NodeId
from raftlog.server.config import Config
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.files import Files, OsFiles
from raftlog.storage.identity import read_identity

MARKER: Final = "forming"
"""In the run directory: a formation has begun and has not ended."""


class Formatter(Protocol):
    """What formats directories. Blocking; returning means durable."""

    def __call__(
        self, directories: Mapping[NodeId, Path], *, shards: int, files: Files
    ) -> ClusterId:
        """Format all of ``directories``, which are new, as one cluster."""


def form(config: Config, files: Files | None = None, formatter: Formatter = form_cluster) -> bool:
    """Form the cluster of ``config`` if it is new; return whether it was.

    Raises:
        DirectoryRefused: Some directories are formatted and some are not, or a
            formation was interrupted, or one of them holds something else.
        StorageFailed: A directory cannot be written.
    """
    files = files or OsFiles()
    refuse_interrupted(config, files)
    if not _is_new(config, files):
        return False
    run = str(config.run_directory)
    files.make_directory(run)
    marker = files.open(_marker(config), create=True)
    marker.sync()
    marker.close()
    files.sync_directory(run)
    files.sync_directory(str(config.data))
    formatter(config.directories, shards=config.shards, files=files)
    files.remove(_marker(config))
    files.sync_directory(run)
    return True


def refuse_interrupted(config: Config, files: Files | None = None) -> None:
    """Refuse a cluster whose formation did not end. Every start of a node asks this first.

    Raises:
        DirectoryUnformatted: It did not end.
    """
    files = files or OsFiles()
    if files.exists(_marker(config)):
        directories = ", ".join(str(path) for path in config.directories.values())
        raise DirectoryUnformatted(
            f"forming the cluster was interrupted, so no node has ever started from it; remove "
            f"{directories} and {_marker(config)}, then form it again"
        )


def _is_new(config: Config, files: Files) -> bool:
    directories = config.directories
    formatted = {
        node: path for node, path in directories.items() if DataDirectory.is_formatted(path, files)
    }
    if not formatted:
        return True
    missing = {node: path for node, path in directories.items() if node not in formatted}
    if missing:
        run = f"{' and '.join(formatted)} {'runs' if len(formatted) == 1 else 'run'}"
        raise DirectoryFormatted(
            f"{', '.join(map(str, formatted.values()))} already belong to a cluster and "
            f"{', '.join(map(str, missing.values()))} are not formatted; a node that was wiped "
            f"has forgotten its votes and is not formatted again. See that {run} "
            f"({_runs(formatted)}); who is new, or was wiped, joins as a learner: "
            f"{_runs(missing, '--join')}"
        )
    _refuse_strangers(formatted, files)
    return False


def _runs(nodes: Iterable[NodeId], *more: str) -> str:
    """Return the commands that run ``nodes``."""
    return ", ".join(" ".join(("raftlog node run --node", node, *more)) for node in nodes)


def _refuse_strangers(directories: Mapping[NodeId, Path], files: Files) -> None:
    """Refuse directories that belong to several clusters, or to other nodes."""
    clusters: dict[ClusterId, NodeId] = {}
    for node, path in directories.items():
        identity = read_identity(files, str(path))
        if identity.node != node:
            raise DirectoryRefused(
                f"{path} belongs to node {identity.node}, not to {node}; correct the data "
                "directories in the configuration"
            )
        clusters.setdefault(identity.cluster, node)
    if len(clusters) > 1:
        nodes = " and ".join(clusters.values())
        raise DirectoryRefused(
            f"the directories of {nodes} belong to different clusters; correct the data "
            "directories in the configuration"
        )


def _marker(config: Config) -> str:
    return str(config.run_directory / MARKER)

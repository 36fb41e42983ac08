"""Which snapshots lie on a simulated disk, by their names alone."""

from collections.abc import Iterable
from typing import Final

from raftlog.base.ids import Index

OF_THE_LOG: Final = ".tables"
"""The end of the name of one that counts for the log beside it."""
OF_A_PEER: Final = ".tables.peer"
"""The end of the name of one that a peer has sent, whole."""


def snapshots_named(names: Iterable[str], suffix: str) -> set[Index]:
    """Return what the snapshots with this ending are of; a name may come with its directory."""
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return {Index(int(stem.rpartition("/")[2])) for stem in stems}

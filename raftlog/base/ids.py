"""Names for who, when, and where in the log.

All but ``ReplicaId`` are plain values at run time; the distinct types exist so
that mypy rejects a term where an index is meant, the most common slip in Raft
code.
"""

from typing import Final, NewType

import msgspec

NodeId = NewType("NodeId", str)
"""A process of the cluster. Chosen once, never reused after removal."""

DirectoryId = NewType("DirectoryId", str)
"""The identity of a data directory (32 hex digits), drawn when it was formatted."""

ClusterId = NewType("ClusterId", str)
"""The identity of a cluster (32 hex digits), drawn at its formation."""

ShardId = NewType("ShardId", int)
"""A Raft group, counted from 0."""

Term = NewType("Term", int)
"""A leader's reign, counted from 1. Term 0 is before the first election."""

Index = NewType("Index", int)
"""A position in the log, counted from 1. Index 0 is the empty log's end."""

Offset = NewType("Offset", int)
"""The position of a record in a queue, counted from 0."""

WriteNumber = NewType("WriteNumber", int)
"""One durable write that the core asked for; rises for the life of the process."""

TERM_ZERO: Final = Term(0)
INDEX_ZERO: Final = Index(0)
WRITE_ZERO: Final = WriteNumber(0)
SHARD_ZERO: Final = ShardId(0)


class ReplicaId(msgspec.Struct, frozen=True, order=True):
    """A node together with the directory that its promises are kept in.

    A node id alone is not an identity: a node whose disk was wiped has
    forgotten what it promised and must not be counted under its old name
    (R3, ruling 5).
    """

    node: NodeId
    directory: DirectoryId

    def __str__(self) -> str:
        """Show the node and enough of the directory to tell two apart."""
        return f"{self.node}/{self.directory[:8]}"

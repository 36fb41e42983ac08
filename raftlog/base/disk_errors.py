"""What a disk or a data directory is to blame for; imported from ``raftlog.base.errors``."""

from typing import Final

from raftlog.base.error_root import RaftlogError


class DirectoryRefused(RaftlogError):
    """A data directory that this node must not use."""

    code = "directory_refused"


class DirectoryUnformatted(DirectoryRefused):
    """No ``node.meta``: the directory was never formatted, or was wiped."""

    code = "directory_unformatted"


class DirectoryFormatted(DirectoryRefused):
    """The directory already belongs to a cluster and is not formatted again."""

    code = "directory_formatted"


class DirectoryForeign(DirectoryRefused):
    """The directory belongs to another node or cluster."""

    code = "directory_foreign"


class DirectoryLocked(DirectoryRefused):
    """Another process has the directory open."""

    code = "directory_locked"


class IncompatibleFormat(DirectoryRefused):
    """Written by a version of raftlog that this binary cannot read."""

    code = "incompatible_format"


class StorageError(RaftlogError):
    """A disk that failed or lies."""

    code = "storage"


class StorageFailed(StorageError):
    """An operation on a file failed. The node stops; a failed fsync is never retried.

    After a failed fsync the kernel may drop the dirty pages and report success
    the next time, so only a restart that reads the disk again is safe.

    Attributes:
        path: The file or directory.
        operation: The system call.
    """

    code = "storage_failed"

    def __init__(self, operation: str, path: str, offset: int | None, error: OSError) -> None:
        where = path if offset is None else f"{path} at {offset}"
        super().__init__(f"{operation} of {where} failed: {error.strerror or error}")
        self.operation: Final = operation
        self.path: Final = path
        self.offset: Final = offset
        self.error: Final = error


class NoRoom(StorageFailed):
    """This disk has no room. Nothing that counts was changed: do it again when it has some."""

    code = "no_room"
    retriable = True
    hint = "make room on the disk of this directory, then do it again"


class DamagedLog(StorageError):
    """Bad bytes below the durable watermark, where nobody can repair them."""

    code = "damaged_log"


class WritesLost(StorageError):
    """Writes that only a page cache had are gone, and there are others who rely on them."""

    code = "writes_lost"


class Diverged(StorageError):
    """A committed entry differs from the leader's, each with good checksums. The replica stops."""

    code = "diverged"


class CorruptFrame(StorageError):
    """Bytes that are no frame, or fail their checksum."""

    code = "corrupt_frame"


class FaultyEntry(StorageError):
    """The entry is damaged on this replica.

    Attributes:
        index: Its index.
    """

    code = "faulty_entry"

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index} is damaged on this replica; it is fetched from a peer")
        self.index: Final = index

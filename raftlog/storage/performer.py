"""The log's system calls: what a plan does when the writer thread performs it.

Nothing here decides or remembers; it touches files and counts what that cost.
"""

from collections.abc import Sequence

from raftlog.base.entry import Buffer
from raftlog.base.errors import StorageFailed
from raftlog.base.writes import HardState
from raftlog.storage.durable_mark import Claim, DurableMark
from raftlog.storage.files import File, Files
from raftlog.storage.hard_state import HardStateFile
from raftlog.storage.room import may_lack_room
from raftlog.storage.segment import Segment, remove_index, store_index


class LaterFile:
    """A file that a plan will make: planned on the loop, opened by the writer."""

    def __init__(self) -> None:
        self.path = ""
        self._file: File | None = None

    def become(self, file: File) -> None:
        """The file exists now."""
        self._file = file
        self.path = file.path

    def _made(self) -> File:
        assert self._file is not None, "used before the plan that makes it was performed"
        return self._file

    def pread(self, length: int, offset: int) -> bytes:
        """Read."""
        return self._made().pread(length, offset)

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Read without waiting."""
        return self._made().pread_now(length, offset)

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write."""
        self._made().pwrite(buffers, offset)

    def write_back(self, length: int, offset: int) -> None:
        """Write back."""
        self._made().write_back(length, offset)

    def sync(self) -> None:
        """Sync."""
        self._made().sync()

    def truncate(self, size: int) -> None:
        """Truncate."""
        self._made().truncate(size)

    def allocate(self, size: int) -> None:
        """Allocate."""
        self._made().allocate(size)

    def size(self) -> int:
        """Return the length."""
        return self._made().size()

    def close(self) -> None:
        """Close, if it was ever opened."""
        if self._file is not None:
            self._file.close()


class LogPerformer:
    """Performs the steps of plans. Every method but the counters belongs to the writer thread."""

    def __init__(
        self,
        files: Files,
        log_directory: str,
        mark: DurableMark,
        hard_state: HardStateFile,
        *,
        segment_bytes: int,
        durable: bool,
    ) -> None:
        self.fdatasyncs = 0
        self.bytes_written = 0
        self.mark_dirty = False
        """Whether the newest claim is not durable itself yet."""
        self._files = files
        self._log_directory = log_directory
        self._mark = mark
        self._hard_state = hard_state
        self._segment_bytes = segment_bytes
        self._durable = durable

    def write(self, file: File, buffers: Sequence[Buffer], position: int) -> None:
        """Write, and count the bytes."""
        file.pwrite(buffers, position)
        self.bytes_written += sum(map(len, buffers))

    def sync(self, file: File) -> None:
        """Make a file durable, unless durability is os-cache."""
        if self._durable:
            file.sync()
            self.fdatasyncs += 1

    def write_unit(
        self, file: File, buffers: Sequence[Buffer], position: int, claim: Claim
    ) -> None:
        """Write one unit, make it durable, then claim it."""
        self.write(file, buffers, position)
        self.sync(file)
        self.write_mark(claim)

    def write_mark(self, claim: Claim, *, is_promise: bool = True) -> None:
        """Put a claim into the mark file; not durable yet."""
        self._mark.write(claim, is_promise=is_promise)
        self.mark_dirty = True

    def sync_mark(self) -> None:
        """Make the newest claim durable."""
        if self._durable:
            self._mark.sync()
            self.fdatasyncs += 1
        self.mark_dirty = False

    def write_hard_state(self, sequence: int, state: HardState) -> None:
        """Write term and vote, twice (ruling 1)."""
        self._hard_state.write(sequence, state)
        self.fdatasyncs += 2

    def write_index(self, path: str, data: bytes) -> None:
        """Store where the entries of a full segment lie."""
        with may_lack_room():
            store_index(self._files, path, data)
        self.bytes_written += len(data)

    def reserve(self, file: File, size: int) -> None:
        """Make a file at least so long, with blocks of its own."""
        with may_lack_room():
            file.allocate(size)

    def make_segment(self, file: LaterFile, path: str, header: bytes, size: int) -> None:
        """Make the next segment, whole and durable, before anything lies in it.

        This is where a full disk is met first, and where it does no harm: nothing of
        an entry was written yet, and doing all of it again is as good as the first time.
        """
        with may_lack_room():
            made = self._files.open(path, create=True)
            try:
                made.truncate(0)
                made.allocate(size)
                made.pwrite([header], 0)
            except StorageFailed:
                made.close()
                raise
        self.sync(made)
        self._files.sync_directory(self._log_directory)
        file.become(made)

    def remove_index(self, path: str) -> None:
        """Take an ``.idx`` away for good, before entries come to lie where it does not say."""
        if remove_index(self._files, path):
            self._files.sync_directory(self._log_directory)

    def remove(self, segment: Segment) -> None:
        """Take a segment's name away."""
        remove_index(self._files, segment.index_path)
        self._files.remove(segment.path, gently=True)

    def cut(self, segment: Segment, position: int, *, was_sealed: bool) -> None:
        """Cut a segment's tail off and make the rest whole again."""
        if was_sealed:
            remove_index(self._files, segment.index_path)
        segment.file.truncate(position)
        self.reserve(segment.file, max(self._segment_bytes, position))
        self.sync(segment.file)
        self._files.sync_directory(self._log_directory)

    def close_files(self, segments: Sequence[Segment]) -> None:
        """Close everything."""
        for segment in segments:
            segment.drop()
        self._mark.close()
        self._hard_state.close()


def fail_read(path: str, error: OSError | StorageFailed) -> None:
    """Stop a plan that rests on bytes that could not be read."""
    if isinstance(error, StorageFailed):
        raise error
    raise StorageFailed("pread", path, None, error) from error

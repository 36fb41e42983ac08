"""Files of sealed index ranges: ``index/<first index, 20 digits>.qx`` (ruling 3).

A range is written once, to a temporary name, synced, renamed, and its directory
synced; it never changes. What is in the bytes is the business of whoever made
them, who brings the function that checks them: a file that it refuses counts
as missing.

At a start the ranges are used as far as they follow one another, from index 1,
without a gap or a bad one. Replay of the log makes the rest again, as the same
bytes. Files behind a gap stay where they are until they are written again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from raftlog.base.errors import CorruptFrame, DamagedLog
from raftlog.base.ids import Index
from raftlog.storage.files import Files
from raftlog.storage.room import may_lack_room

LOADED_MAX: Final = 4
"""Ranges kept in memory for readers, about 3 MiB each."""


class Summary(Protocol):
    """What this module must know of a range."""

    @property
    def first_index(self) -> Index:
        """The first log index that the range covers."""

    @property
    def last_index(self) -> Index:
        """The last one."""


S = TypeVar("S", bound=Summary)
C = TypeVar("C")


class OffsetIndex(Generic[S, C]):
    """The index files of one shard.

    ``chain``, ``store`` and ``read`` block and belong to one thread at a time;
    ``cached`` and ``keep`` belong to the event loop.

    Args:
        files: The file system.
        directory: The folder ``index`` of the shard; made when it is needed.
        parse: Checks a file's bytes and returns summary and content, or raises
            ``CorruptFrame``.
    """

    def __init__(
        self, files: Files, directory: str, parse: Callable[[bytes], tuple[S, C]]
    ) -> None:
        self._files = files
        self._directory = directory
        self._parse = parse
        self._loaded: OrderedDict[Index, C] = OrderedDict()

    def chain(self, through: Index) -> list[S]:
        """Return the good ranges that follow one another from index 1 and end by ``through``.

        ``through`` is where the log on this disk ends: an index that knows more
        than its log (which lost something that was durable) would put a hole into it.

        Raises:
            IncompatibleFormat: A newer raftlog wrote one of them.
        """
        found: list[S] = []
        first = Index(1)
        while first <= through:
            try:
                summary, _ = self.read(first)
            except DamagedLog:
                break
            if summary.last_index > through:
                break
            found.append(summary)
            first = Index(summary.last_index + 1)
        return found

    def store(self, first_index: Index, data: bytes) -> None:
        """Write a range; returning means durable.

        Raises:
            NoRoom: There is no space for it now; store it again later.
            StorageFailed: It could not be; the node must stop.
        """
        files = self._files
        path = self._path(first_index)
        with may_lack_room():
            files.make_directory(self._directory)
            file = files.open(f"{path}.new", create=True)
        try:
            with may_lack_room():
                file.truncate(0)
                file.pwrite([data], 0)
            file.sync()
        finally:
            file.close()
        files.rename(f"{path}.new", path)
        files.sync_directory(self._directory)

    def read(self, first_index: Index) -> tuple[S, C]:
        """Read and check a range.

        Raises:
            DamagedLog: It is missing, cannot be read, or is bad.
            IncompatibleFormat: A newer raftlog wrote it.
        """
        path = self._path(first_index)
        if not self._files.exists(path):
            raise DamagedLog(f"{path} is missing")
        file = self._files.open(path)
        try:
            summary, content = self._parse(file.pread(file.size(), 0))
        except (CorruptFrame, OSError) as error:
            raise DamagedLog(f"{path} is damaged: {error}") from error
        finally:
            file.close()
        if summary.first_index != first_index:
            raise DamagedLog(f"{path} holds the range from {summary.first_index} on")
        return summary, content

    def cached(self, first_index: Index) -> C | None:
        """Return a range's content if a reader needed it lately."""
        content = self._loaded.get(first_index)
        if content is not None:
            self._loaded.move_to_end(first_index)
        return content

    def keep(self, first_index: Index, content: C) -> None:
        """Keep a range's content for the next readers, instead of the one used longest ago."""
        self._loaded[first_index] = content
        self._loaded.move_to_end(first_index)
        while len(self._loaded) > LOADED_MAX:
            self._loaded.popitem(last=False)

    def _path(self, first_index: Index) -> str:
        return f"{self._directory}/{first_index:020d}.qx"

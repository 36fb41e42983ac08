"""A look into one entry of the log, off the loop: from memory, or from the files."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from raftlog.base.entry import Buffer, Entry, EntryKind
from raftlog.base.errors import FaultyEntry, RaftlogError, Unavailable
from raftlog.base.ids import Index
from raftlog.node.ports import Reader
from raftlog.service.ports import ShardReplica, StoredEntries

T = TypeVar("T")

OnLook = Callable[[T | RaftlogError | None], None]
"""Called once, on the loop: what was found, why nothing was, or None: the log has no
such entry (any more) with commands."""


class EntryLooks:
    """Looks into entries of one shard."""

    def __init__(self, replica: ShardReplica, reader: Reader, entries: StoredEntries) -> None:
        self._replica: Final = replica
        self._reader: Final = reader
        self._entries: Final = entries

    def look(self, index: Index, read: Callable[[Buffer], T], done: OnLook[T]) -> None:
        """Give ``read`` the entry's body on the reader's thread, and ``done`` what that returns.

        What ``read`` raises is a ``RaftlogError``.
        """

        def on_entries(entries: Sequence[Entry], error: Exception | None) -> None:
            if isinstance(error, FaultyEntry):
                done(Unavailable(f"entry {index} is damaged here, and is being repaired"))
            elif error is not None:
                done(error if isinstance(error, RaftlogError) else Unavailable(str(error)))
            elif not entries or entries[0].kind is not EntryKind.COMMANDS:
                done(None)
            else:
                body = entries[0].body
                self._reader.submit(lambda: read(body), on_read)

        def on_read(found: T | None, error: Exception | None) -> None:
            if error is not None:
                assert isinstance(error, RaftlogError), f"looking into entry {index}: {error!r}"
                done(error)
            else:
                assert found is not None, f"nothing was found in entry {index}"
                done(found)

        entry = self._replica.tail(index)
        if entry is not None:
            on_entries((entry,), None)
        else:
            self._entries.read(index, index, on_entries)

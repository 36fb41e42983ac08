"""A disk without room: what may be tried again, and the reserve that is kept for it.

An error of a write ends the node, because nobody knows what the disk has of it.
One case is different: space that is asked for *before* anything lies in it. A
new segment, the index of a full one, a range of the queue index: each is made
under a name that nothing refers to yet, so a failure for want of space has
changed nothing, and the very same steps may be done again. Those raise ``NoRoom``;
everything else, and every failed sync, stays final.

The reserve is a file of blocks that nobody uses. It is given up when there is no
room, which is room for one more segment, and made again when there is plenty.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from raftlog.base.errors import NoRoom, StorageFailed
from raftlog.base.limits import RESERVE_BYTES
from raftlog.storage.files import Files

RESERVE: Final = "reserve"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def lacks_room(error: StorageFailed) -> bool:
    """Whether it is space that is missing."""
    return error.error.errno in _NO_ROOM


@contextmanager
def may_lack_room() -> Iterator[None]:
    """Tell want of space from other failures, round steps that may be done again.

    Raises:
        NoRoom: There is no space.
    """
    try:
        yield
    except StorageFailed as error:
        if not lacks_room(error):
            raise
        raise NoRoom(error.operation, error.path, error.offset, error.error) from error


class Reserve:
    """The reserve of one data directory. Its methods block; one thread at a time."""

    def __init__(self, files: Files, directory: str, size: int = RESERVE_BYTES) -> None:
        self._files = files
        self._path = f"{directory}/{RESERVE}"
        self.size: Final = size

    @property
    def is_kept(self) -> bool:
        """Whether it is there."""
        return self._files.exists(self._path)

    def keep(self) -> bool:
        """Make it, if it is not there; return whether it is.

        Raises:
            StorageFailed: The disk failed, and not for want of space.
        """
        if self.is_kept:
            return True
        try:
            with may_lack_room():
                file = self._files.open(f"{self._path}.new", create=True)
                try:
                    file.allocate(self.size)
                finally:
                    file.close()
        except NoRoom:
            self._remove(f"{self._path}.new")
            return False
        self._files.rename(f"{self._path}.new", self._path)
        return True

    def release(self) -> bool:
        """Give its space up; return whether there was any to give."""
        return self._remove(self._path)

    def _remove(self, path: str) -> bool:
        if not self._files.exists(path):
            return False
        self._files.remove(path)
        return True

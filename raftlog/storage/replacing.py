"""A small file that is replaced whole or not at all, whatever a crash leaves."""

from collections.abc import Sequence

from raftlog.base.entry import Buffer
from raftlog.storage.files import Files
from raftlog.storage.room import may_lack_room


def replace_file(files: Files, directory: str, name: str, parts: Sequence[Buffer]) -> None:
    """Give ``name`` in ``directory`` the content ``parts``. Returning means durable.

    Raises:
        NoRoom: There is no space; the file is the old one. Do it again later.
        StorageFailed: It could not be done; the file is the old one or the new one.
    """
    path = f"{directory}/{name}"
    with may_lack_room():
        file = files.open(f"{path}.new", create=True)
    try:
        with may_lack_room():
            file.truncate(0)
            file.pwrite(parts, 0)
        file.sync()
    finally:
        file.close()
    files.rename(f"{path}.new", path)
    files.sync_directory(directory)

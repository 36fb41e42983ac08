"""``<data>/os-cache``: this directory may hold what only the page cache has (ruling 26).

With durability ``os-cache`` nothing of the log is synced. A process that is killed loses
nothing by that, a machine that restarts does; and no byte in the files says which of the two
it was. So the node notes the kernel's boot id before it serves, and takes the note away at
a clean stop, when everything was synced after all::

    no note                  all is on disk
    a note of this boot      the process was killed: all is in the page cache still
    a note of another boot   writes are lost, acknowledged ones among them

A lone node goes on with what is left (``whole_prefix``). One of several must not: it may have
promised what it no longer has, so it comes back like a wiped one.

Little-endian: ``magic 4s | version u16 | length u16 | boot id | crc32c u32``.
"""

import struct
from collections.abc import Iterable
from typing import Final

from crc32c import crc32c

from raftlog.base.errors import WritesLost
from raftlog.base.ids import NodeId
from raftlog.base.membership import Membership, decode_membership
from raftlog.storage.configurations import read_rows
from raftlog.storage.files import Files
from raftlog.storage.log_store import DURABLE_MARK, LOG
from raftlog.storage.segment import SUFFIX

OS_CACHE: Final = "os-cache"
_HEAD: Final = struct.Struct("<4sHH")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"RLOC"
_VERSION: Final = 1
_UNKNOWN: Final = ""
"""A note that can't be read, and the boot id where there is none: equal to no boot."""


class CachedWrites:
    """The note of one data directory. Every method blocks; whoever calls holds the lock.

    Attributes:
        lost: Whether the machine was started anew meanwhile.
    """

    def __init__(self, files: Files, directory: str, boot: str) -> None:
        self._files = files
        self._directory = directory
        self._path = f"{directory}/{OS_CACHE}"
        self._boot = boot
        self._noted = self._read()
        known = self._noted in (None, boot) and self._noted != _UNKNOWN
        self.lost: Final = not known

    def begin(self, shards: Iterable[str], *, durable: bool) -> None:
        """Note that nothing is synced from now on; or sync what was not, and note nothing.

        ``shards`` are the folders of the shards.

        Raises:
            StorageFailed: It could not be done.
        """
        if durable:
            self.end(shards)
            return
        boot = self._boot.encode()
        data = _HEAD.pack(_MAGIC, _VERSION, len(boot)) + boot
        file = self._files.open(f"{self._path}.new", create=True)
        file.truncate(0)
        file.pwrite([data + _CRC.pack(crc32c(data))], 0)
        file.sync()
        file.close()
        self._files.rename(f"{self._path}.new", self._path)
        self._files.sync_directory(self._directory)
        self._noted = self._boot

    def end(self, shards: Iterable[str]) -> None:
        """Sync what was not, then take the note away: a clean stop.

        Raises:
            StorageFailed: It could not be synced; the note stays.
        """
        if self._noted is None:
            return
        for shard in shards:
            self._sync(shard)
        self._files.remove(self._path)
        self._files.sync_directory(self._directory)
        self._noted = None

    def _sync(self, shard: str) -> None:
        """Make a shard's segments and its mark durable; all else always is."""
        files, log = self._files, f"{shard}/{LOG}"
        names = [f"{log}/{name}" for name in files.list(log) if name.endswith(SUFFIX)]
        for path in (*names, f"{shard}/{DURABLE_MARK}"):
            file = files.open(path)
            file.sync()
            file.close()
        files.sync_directory(log)

    def _read(self) -> str | None:
        if not self._files.exists(self._path):
            return None
        file = self._files.open(self._path)
        try:
            data = file.pread(file.size(), 0)
        except OSError:
            return _UNKNOWN
        finally:
            file.close()
        if len(data) < _HEAD.size + _CRC.size:
            return _UNKNOWN
        magic, version, length = _HEAD.unpack_from(data)
        end = _HEAD.size + length
        good = magic == _MAGIC and version == _VERSION and len(data) == end + _CRC.size
        if not good or _CRC.unpack_from(data, end)[0] != crc32c(data[:end]):
            return _UNKNOWN
        return data[_HEAD.size : end].decode()


def newest_named(files: Files, shard: str, formed: Membership) -> Membership:
    """Return the newest configuration that a shard ever had here, its entry lost or not.

    It is named durably before its entry is written, and may be in force with others.
    """
    rows = read_rows(files, shard)
    return decode_membership(rows[-1].body) if rows else formed


def refuse_unless_alone(directory: str, memberships: Iterable[Membership], me: NodeId) -> None:
    """Refuse to start one of several whose writes are lost.

    Args:
        directory: Where they are lost, to be named.
        memberships: The members of each shard.
        me: The node.

    Raises:
        WritesLost: There are others to whom it may have promised what is lost.
    """
    for members in memberships:
        if {replica.node for replica in (*members.voters, *members.outgoing)} != {me}:
            raise WritesLost(
                f"the machine was started anew while only its page cache had what {me} wrote "
                f"(durability os-cache), so {directory} may lack what {me} has promised; move it "
                "away, and let the node join as new: raftlog node run --join"
            )

"""``node.meta``: whose directory this is (ruling 5).

Written once, when the directory is formatted, as two equal copies in different
blocks; a change of it would be a change of identity. It names the cluster, the
node, the directory, and the initial members of each shard, the same list in
every directory of the cluster.
"""

import struct
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.errors import DamagedLog, DirectoryUnformatted, IncompatibleFormat
from raftlog.base.ids import ClusterId, DirectoryId, NodeId
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.membership import Membership
from raftlog.storage.files import File, Files

DIRECTORY_FORMAT: Final = 1
MEMBERSHIP_FIELDS: Final = 5
"""Of a shard's members, in format 1: from voters to addresses."""
NODE_META: Final = "node.meta"
_HEAD: Final = struct.Struct("<4sI")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"RLNM"


class Identity(msgspec.Struct, frozen=True):
    """What a directory says about itself. ``shards`` is indexed by shard id."""

    format: int
    cluster: ClusterId
    node: NodeId
    directory: DirectoryId
    shards: tuple[Membership, ...]


def write_identity(files: Files, path: str, identity: Identity) -> None:
    """Make ``node.meta``, whole or not at all: it is the commit point of formatting."""
    fields = msgspec.structs.asdict(identity)
    # What a membership may say besides came later, and is never so at a formation.
    fields["shards"] = [
        msgspec.structs.astuple(members)[:MEMBERSHIP_FIELDS] for members in identity.shards
    ]
    payload = msgspec.msgpack.encode(fields)
    copy = _HEAD.pack(_MAGIC, len(payload)) + payload
    copy += _CRC.pack(crc32c(copy))
    assert len(copy) <= BLOCK_BYTES, f"node.meta of {len(copy)} bytes"
    new = f"{path}/{NODE_META}.new"
    file = files.open(new, create=True)
    file.allocate(2 * BLOCK_BYTES)
    file.pwrite([copy.ljust(BLOCK_BYTES, b"\0"), copy.ljust(BLOCK_BYTES, b"\0")], 0)
    file.sync()
    file.close()
    files.rename(new, f"{path}/{NODE_META}")
    files.sync_directory(path)


def read_identity(files: Files, path: str) -> Identity:
    """Read ``node.meta``.

    Raises:
        DirectoryUnformatted: There is none.
        DamagedLog: Both copies are bad.
        IncompatibleFormat: Another version of raftlog formatted it.
    """
    name = f"{path}/{NODE_META}"
    if not files.exists(name):
        raise DirectoryUnformatted(
            f"{path} was never formatted (it has no {NODE_META}); form the cluster first "
            "(raftlog cluster up, or RaftLog.form). If it was wiped, this node has forgotten its "
            "votes; it comes back as a new member: raftlog node run --join"
        )
    file = files.open(name)
    try:
        found = next(filter(None, map(_decode, _copies(file))), None)
    except OSError as error:
        raise DamagedLog(f"{name} cannot be read: {error}") from error
    finally:
        file.close()
    if found is None:
        raise DamagedLog(f"both copies in {name} are bad; this directory cannot prove whose it is")
    return found


def mend_identity(files: Files, path: str) -> None:
    """Write a bad copy again, from the good one. By who holds the directory's lock.

    Raises:
        StorageFailed: It could not be.
    """
    file = files.open(f"{path}/{NODE_META}")
    try:
        copies = _copies(file)
        good = [copy for copy in copies if _decode(copy) is not None]
        if len(good) == 1:
            bad = 1 - copies.index(good[0])
            file.pwrite([good[0]], bad * BLOCK_BYTES)
            file.sync()
    except OSError:
        pass  # it can be read no more: there is nothing to mend it from
    finally:
        file.close()


def _copies(file: File) -> list[bytes]:
    return [file.pread(BLOCK_BYTES, offset) for offset in (0, BLOCK_BYTES)]


def _decode(data: bytes) -> Identity | None:
    if len(data) < _HEAD.size:
        return None
    magic, length = _HEAD.unpack_from(data, 0)
    end = _HEAD.size + length
    if magic != _MAGIC or end + _CRC.size > len(data):
        return None
    if _CRC.unpack_from(data, end)[0] != crc32c(data[:end]):
        return None
    payload = data[_HEAD.size : end]
    found: int = msgspec.msgpack.decode(payload, type=_Format).format
    if found != DIRECTORY_FORMAT:
        raise IncompatibleFormat(
            f"the directory has format {found}, this binary knows {DIRECTORY_FORMAT}; "
            f"run the raftlog version that formatted it"
        )
    return msgspec.msgpack.decode(payload, type=Identity)


class _Format(msgspec.Struct):
    format: int

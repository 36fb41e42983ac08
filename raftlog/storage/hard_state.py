"""Term and vote, twice: one bad copy must not become a forgotten vote (ruling 1).

Two copies of the *same* record lie in different 4 KiB blocks. A change writes
copy 1, syncs, writes copy 2, syncs; only then may the promise be given. So if
one copy is bad, the other is equal to it, or the bad one was never promised::

    both good    the higher sequence
    one bad      the other
    both bad     refuse to start: this replica has forgotten what it promised

A copy, little-endian; the vote is empty if none was given::

    magic u32 | version u16 | node length u8 | directory length u8 | sequence u64 |
    term u64 | voted node | its directory | crc32c u32
"""

import struct
from typing import Final

from crc32c import crc32c

from raftlog.base.errors import DamagedLog
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.writes import HardState
from raftlog.storage.files import File, Files

_RECORD: Final = struct.Struct("<IHBBQQ")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = 0x53485052
_VERSION: Final = 1
ID_BYTES_MAX: Final = 255


def encode(sequence: int, state: HardState) -> bytes:
    """Return one copy."""
    vote = state.vote
    node, directory = (vote.node.encode(), vote.directory.encode()) if vote else (b"", b"")
    lengths = (len(node), len(directory))
    assert max(lengths) <= ID_BYTES_MAX, f"ids of {lengths} bytes"
    record = _RECORD.pack(_MAGIC, _VERSION, *lengths, sequence, state.term) + node + directory
    return record + _CRC.pack(crc32c(record))


def decode(data: bytes) -> tuple[int, HardState] | None:
    """Return sequence and state of one copy; None if it is bad."""
    if len(data) < _RECORD.size + _CRC.size:
        return None
    magic, version, node_length, directory_length, sequence, term = _RECORD.unpack_from(data, 0)
    middle = _RECORD.size + node_length
    end = middle + directory_length
    if magic != _MAGIC or version != _VERSION or end + _CRC.size > len(data):
        return None
    if _CRC.unpack_from(data, end)[0] != crc32c(data[:end]):
        return None
    node, directory = data[_RECORD.size : middle].decode(), data[middle:end].decode()
    vote = ReplicaId(NodeId(node), DirectoryId(directory)) if node else None
    return sequence, HardState(Term(term), vote)


class HardStateFile:
    """The file ``hard.state`` of one replica."""

    def __init__(self, file: File, sequence: int, state: HardState) -> None:
        self.sequence = sequence
        self.state = state
        self._file = file

    @classmethod
    def create(cls, files: Files, path: str, state: HardState) -> "HardStateFile":
        """Make the file with ``state`` in both copies."""
        file = files.open(path, create=True)
        file.truncate(0)
        file.allocate(2 * BLOCK_BYTES)
        found = cls(file, 0, state)
        found.write(1, state)
        return found

    @classmethod
    def open(cls, files: Files, path: str) -> "HardStateFile":
        """Read the file.

        Raises:
            DamagedLog: Both copies are bad.
        """
        file = files.open(path)
        both = (_read(file, 0), _read(file, BLOCK_BYTES))
        copies = [copy for copy in both if copy is not None]
        if not copies:
            file.close()
            raise DamagedLog(
                f"both copies in {path} are bad: this replica has forgotten its vote; "
                f"remove the directory and let the node join as a new one"
            )
        sequence, state = max(copies, key=lambda copy: copy[0])
        found = cls(file, sequence, state)
        if len(copies) == 1 or copies[0] != copies[1]:
            found.write(sequence, state)
        return found

    def write(self, sequence: int, state: HardState) -> None:
        """Make ``state`` durable in both copies. Blocks for two syncs."""
        copy = encode(sequence, state)
        for offset in (0, BLOCK_BYTES):
            self._file.pwrite([copy], offset)
            self._file.sync()
        self.sequence = sequence
        self.state = state

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(file: File, offset: int) -> tuple[int, HardState] | None:
    try:
        return decode(file.pread(BLOCK_BYTES, offset))
    except OSError:
        return None

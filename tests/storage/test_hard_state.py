"""Term and vote: one bad copy must not become a forgotten vote (ruling 1)."""

from random import Random

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.writes import HardState
from raftlog.storage.hard_state import HardStateFile, decode, encode

PATH = "shard/hard.state"
OLD = HardState(Term(5), None)
NEW = HardState(Term(6), ReplicaId(NodeId("n1"), DirectoryId("0123456789abcdef" * 2)))


def promised() -> SimDisk:
    """Return a disk on which the vote of term 6 was promised."""
    disk = SimDisk()
    file = HardStateFile.create(disk.files(), PATH, OLD)
    file.write(2, NEW)
    disk.files().sync_directory("shard")
    disk.crash(Random(0), CrashKind.LOSE)
    return disk


def test_no_single_bit_takes_a_promised_vote_back() -> None:
    """Ruling 1's schedule, for every bit of both copies.

    n2 voted for n1 in term 6 and said so; one bit rots; n3 asks n2 for a vote
    in term 6. Whatever the bit, n2 still knows that it has voted.
    """
    disk = promised()
    length = len(encode(2, NEW))
    for offset in [*range(length), *range(BLOCK_BYTES, BLOCK_BYTES + length)]:
        for bit in range(8):
            rotten = disk.fork()
            rotten.flip_bit(PATH, offset, bit)
            found = HardStateFile.open(rotten.files(), PATH)
            assert (found.sequence, found.state) == (2, NEW), f"bit {bit} at {offset}"


def test_opening_repairs_the_bad_copy_durably() -> None:
    """The next rot may hit the copy that was good."""
    for bad, other in ((0, BLOCK_BYTES), (BLOCK_BYTES, 0)):
        disk = promised()
        disk.flip_bit(PATH, bad + 9, 3)
        HardStateFile.open(disk.files(), PATH)
        disk.crash(Random(0), CrashKind.LOSE)
        disk.flip_bit(PATH, other + 9, 3)
        assert HardStateFile.open(disk.files(), PATH).state == NEW


def test_two_bad_copies_refuse_to_start() -> None:
    """A replica that has forgotten its vote may not vote again."""
    disk = promised()
    disk.flip_bit(PATH, 9, 0)
    disk.flip_bit(PATH, BLOCK_BYTES + 9, 0)
    with pytest.raises(DamagedLog, match="forgotten its vote"):
        HardStateFile.open(disk.files(), PATH)


def test_an_unreadable_copy_counts_as_a_bad_one() -> None:
    """EIO and rot look alike from above."""
    disk = promised()
    disk.read_error = lambda _path, offset, _length: offset == 0
    assert HardStateFile.open(disk.files(), PATH).state == NEW


def test_a_change_cut_short_leaves_the_old_or_the_new_state() -> None:
    """Every prefix of its operations, in every crash class; never neither."""
    for kind in CrashKind:
        for kept in range(4):
            disk = SimDisk()
            file = HardStateFile.create(disk.files(), PATH, OLD)
            disk.files().sync_directory("shard")
            states = _states_of_a_change(disk, file, kept, kind)
            allowed = {OLD, NEW}
            assert states in allowed, f"{kept} operations, {kind}"


def _states_of_a_change(
    disk: SimDisk, file: HardStateFile, kept: int, kind: CrashKind
) -> HardState:
    snapshots = [disk.fork()]
    disk.after_operation = lambda: snapshots.append(disk.fork())
    file.write(2, NEW)
    disk = snapshots[kept]
    disk.crash(Random(kept), kind)
    return HardStateFile.open(disk.files(), PATH).state


def test_a_record_is_refused_unless_it_is_whole() -> None:
    """Any cut, another version, and zeros."""
    record = encode(7, NEW)
    assert decode(record) == (7, NEW)
    assert decode(record.ljust(BLOCK_BYTES, b"\0")) == (7, NEW)
    for length in range(len(record)):
        assert decode(record[:length]) is None
    assert decode(bytes(BLOCK_BYTES)) is None

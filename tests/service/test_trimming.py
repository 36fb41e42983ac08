"""When this disk lets go of a trimmed log: never of what a kept snapshot needs."""

from chaos.sim.disk import SimDisk
from raftlog.base.ids import Index
from raftlog.broker.ranges import parse_range
from raftlog.service.trimming import MISSED_LOOKS, LogTrimming
from raftlog.storage.offset_index import OffsetIndex
from tests.service.fakes import FakeReader, FakeReplica


class World:
    """Trimming with everything round it made up."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.reader = FakeReader()
        self.replica = FakeReplica()
        self.trims: list[Index] = []
        self.held = False
        self.writing = False
        self.index = OffsetIndex(self.disk.files(), "shard/index", parse_range)
        self.trimming = LogTrimming(
            *(self.replica, self.trims.append, self.replica.machine, self.index, self.reader),
            is_held=lambda: self.held,
            is_writing=lambda: self.writing,
            on_failed=self._failed,
        )

    def _failed(self, error: Exception) -> None:
        raise error

    def kept(self, index: int, trimmed: int) -> list[Index]:
        """Tell of a snapshot; return the trims so far."""
        self.trimming.snapshot_kept(Index(index), Index(trimmed))
        self.reader.run()
        return self.trims


def test_the_log_goes_only_as_far_as_both_kept_snapshots_know() -> None:
    """Should the newer one rot, a start goes on from the other, with its ranges and log."""
    world = World()
    assert world.kept(100, 50) == []
    assert world.kept(200, 80) == [50]
    assert world.kept(300, 80) == [50, 80]
    assert world.kept(400, 80) == [50, 80]
    assert world.trimming.trims == 2


def test_nothing_goes_while_a_peer_fetches() -> None:
    """It will want the log behind the snapshot that it is being given."""
    world = World()
    world.held = True
    world.kept(100, 50)
    assert world.kept(200, 50) == []
    world.held = False
    assert world.kept(300, 50) == [50]


def test_index_files_of_the_trimmed_part_are_removed() -> None:
    """And no other: the ranges behind are state."""
    world = World()
    for first in (1, 51, 101):
        world.index.store(Index(first), b"range")
    world.kept(100, 50)
    world.kept(200, 50)
    assert [path[-8:] for path in world.disk.paths()] == ["00051.qx", "00101.qx"]


def test_the_same_trim_is_proposed_until_this_disk_has_let_go() -> None:
    """It makes the second snapshot, which a disk that is full would never get otherwise."""
    world = World()
    world.trimming.propose()
    assert world.replica.proposed == 0, "nothing is free, and nothing was trimmed"


def test_a_trim_whose_snapshot_was_missed_is_proposed_again() -> None:
    """Its cut found an earlier snapshot under way; without another cut nothing would go, ever."""
    world = World()
    world.replica.machine._index.trimmed = Index(80)
    world.kept(100, 0)
    world.writing = True
    for _ in range(2 * MISSED_LOOKS):
        world.trimming.propose()
    assert world.replica.proposed == 0, "it may be the one"
    world.writing = False
    for _ in range(MISSED_LOOKS):
        world.trimming.propose()
    assert world.replica.proposed == 1
    world.kept(200, 80)
    world.trimming.propose()
    assert world.replica.proposed == 2
    assert world.kept(300, 80) == [80]
    world.trimming.propose()
    assert world.replica.proposed == 2


def test_nothing_is_proposed_again_while_a_peer_fetches() -> None:
    """It could not go; each would only make a range more."""
    world = World()
    world.replica.machine._index.trimmed = Index(80)
    world.kept(100, 80)
    world.held = True
    world.trimming.propose()
    assert world.replica.proposed == 0
    world.held = False
    world.trimming.propose()
    assert world.replica.proposed == 1

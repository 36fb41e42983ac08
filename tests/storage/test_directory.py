"""Formation: a directory is formatted once, and empty never means new (ruling 5)."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import EntryKind
from raftlog.base.errors import (
    DamagedLog,
    DirectoryForeign,
    DirectoryFormatted,
    DirectoryLocked,
    DirectoryRefused,
    DirectoryUnformatted,
    IncompatibleFormat,
    StorageFailed,
)
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.membership import decode_membership
from raftlog.base.writes import HardState, WriteEntries
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.files import OsFiles
from raftlog.storage.identity import NODE_META, Identity, read_identity, write_identity
from raftlog.storage.log_store import LogStore, StoreOptions
from tests.storage.logs import chain, perform

NODES = {NodeId(name): name for name in ("n1", "n2", "n3")}
OPTIONS = StoreOptions(segment_bytes=4096)


class Draws:
    """Identities in a fixed order."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"{self.count:032x}"


def formed() -> SimDisk:
    disk = SimDisk()
    form_cluster(NODES, options=OPTIONS, files=disk.files(), draw=Draws())
    return disk


def test_every_directory_names_the_same_voters_and_itself() -> None:
    """Votes count by (node, directory): each must know everybody's pair."""
    disk = formed()
    identities = [read_identity(disk.files(), path) for path in NODES.values()]
    assert len({identity.cluster for identity in identities}) == 1
    assert len({identity.shards for identity in identities}) == 1
    (membership,) = identities[0].shards
    own = [(identity.node, identity.directory) for identity in identities]
    assert [(voter.node, voter.directory) for voter in membership.voters] == own
    assert len({directory for _, directory in own}) == 3


def test_every_log_begins_with_the_same_configuration_entry() -> None:
    """Entry 1 of term 1, the same bytes everywhere, durable before the node starts."""
    disk = formed()
    disk.crash(Random(0), CrashKind.LOSE)
    found = []
    for path in NODES.values():
        store = LogStore.open(disk.files(), f"{path}/shards/0", OPTIONS)
        assert store.hard_state == HardState(Term(1), None)
        span = store.locate(Index(1), Index(1), 4096)
        (entry,) = span.entries(span.read(wait=True) or b"")
        span.close()
        assert (entry.kind, entry.term) == (EntryKind.CONFIGURATION, 1)
        assert decode_membership(entry.body) == read_identity(disk.files(), path).shards[0]
        found.append(bytes(entry.frame))
    assert len(set(found)) == 1


def test_an_unformatted_directory_is_refused() -> None:
    """It may be one that was wiped; a wiped voter under its old name loses entries."""
    with pytest.raises(DirectoryUnformatted, match="never formatted"):
        DataDirectory.open("n1", files=SimDisk().files())


def test_one_directory_of_a_cluster_that_exists_is_never_formatted() -> None:
    """The refusal names both kinds, and nothing is changed."""
    disk = formed()
    before = disk.paths()
    more = {**NODES, NodeId("n4"): "n4"}
    with pytest.raises(DirectoryFormatted, match="while n4 are not"):
        form_cluster(more, options=OPTIONS, files=disk.files(), draw=Draws())
    assert disk.paths() == before


def test_a_strange_directory_is_not_overwritten() -> None:
    """Somebody's files are no data directory."""
    disk = SimDisk()
    disk.files().open("n1/thesis.txt", create=True)
    with pytest.raises(DirectoryRefused, match=r"thesis\.txt"):
        form_cluster(NODES, options=OPTIONS, files=disk.files(), draw=Draws())


def test_a_log_without_its_identity_is_not_overwritten() -> None:
    """It may be a node that lost ``node.meta``: its entries were promised."""
    disk = formed()
    store = LogStore.open(disk.files(), "n1/shards/0", OPTIONS)
    _append_one(store)
    for path in NODES.values():
        disk.files().remove(f"{path}/{NODE_META}")
    with pytest.raises(DirectoryRefused, match="lost its identity"):
        form_cluster(NODES, options=OPTIONS, files=disk.files(), draw=Draws())


def _append_one(store: LogStore) -> None:
    entries = chain(1, after=store.end, term=2)
    perform(store, store.plan([WriteEntries(WriteNumber(1), None, tuple(entries))], Index(0)))


@pytest.mark.long
def test_an_interrupted_formation_is_repeated_cleanly() -> None:
    """``node.meta`` is the commit point of a directory: without it nothing was promised."""
    probe = SimDisk()
    form_cluster({NodeId("n1"): "n1"}, options=OPTIONS, files=probe.files(), draw=Draws())
    for stop in range(0, probe.operations, 3):
        disk = SimDisk()
        disk.on_operation = _stop_after(stop)
        with pytest.raises(StorageFailed):
            form_cluster({NodeId("n1"): "n1"}, options=OPTIONS, files=disk.files(), draw=Draws())
        disk.on_operation = None
        disk.crash(Random(stop), CrashKind.SUBSET)
        if not DataDirectory.is_formatted("n1", disk.files()):
            form_cluster({NodeId("n1"): "n1"}, options=OPTIONS, files=disk.files(), draw=Draws())
        DataDirectory.open("n1", files=disk.files()).close()
        assert LogStore.open(disk.files(), "n1/shards/0", OPTIONS).end.index == 1


def _stop_after(count: int) -> Callable[[str, str], None]:
    left = count

    def hook(_call: str, _path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "no space left on device")

    return hook


def test_a_directory_of_another_node_is_refused() -> None:
    """Two nodes with swapped directories would each speak with the other's promises."""
    disk = formed()
    with pytest.raises(DirectoryForeign, match="belongs to node n2"):
        DataDirectory.open("n2", expected_node=NodeId("n1"), files=disk.files())


def test_a_directory_is_open_once(tmp_path: Path) -> None:
    """Two processes on one log would each overwrite the other."""
    form_cluster({NodeId("n1"): tmp_path / "n1"}, options=OPTIONS)
    first = DataDirectory.open(tmp_path / "n1", files=OsFiles())
    with pytest.raises(DirectoryLocked):
        DataDirectory.open(tmp_path / "n1")
    first.close()
    DataDirectory.open(tmp_path / "n1").close()


def test_no_single_bit_makes_an_identity_unreadable_or_another() -> None:
    """Two copies in different blocks."""
    disk = formed()
    name = f"n1/{NODE_META}"
    identity = read_identity(disk.files(), "n1")
    for offset in range(0, 2 * BLOCK_BYTES, 7):
        rotten = disk.fork()
        rotten.flip_bit(name, offset, offset % 8)
        assert read_identity(rotten.files(), "n1") == identity
    disk.flip_bit(name, 20, 0)
    disk.flip_bit(name, BLOCK_BYTES + 20, 0)
    with pytest.raises(DamagedLog, match="both copies"):
        read_identity(disk.files(), "n1")


@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_opening_mends_the_bad_copy_of_an_identity_durably(copy: int, harm: str) -> None:
    """Or the next bit that rots, perhaps years later, is the end of the directory."""
    disk = formed()
    name = f"n1/{NODE_META}"
    whole = disk.content(name)
    if harm == "flip":
        disk.flip_bit(name, copy * BLOCK_BYTES + 20, 0)
    else:
        disk.cut_file(name, copy * BLOCK_BYTES + 20)
    if harm == "cut" and not copy:
        with pytest.raises(DamagedLog, match="both copies"):
            DataDirectory.open("n1", files=disk.files())
        return
    DataDirectory.open("n1", files=disk.files()).close()
    disk.crash(Random(0), CrashKind.LOSE)
    assert disk.content(name) == whole


def test_a_format_of_another_version_is_named() -> None:
    """An old binary must not guess what a newer one wrote."""
    disk = formed()
    old = read_identity(disk.files(), "n1")
    newer = Identity(2, old.cluster, old.node, old.directory, old.shards)
    write_identity(disk.files(), "n1", newer)
    with pytest.raises(IncompatibleFormat, match="format 2, this binary knows 1"):
        read_identity(disk.files(), "n1")

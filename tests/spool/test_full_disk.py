"""A spool on a disk without room: it says so, loses nothing, and goes on when there is some."""

import asyncio
import errno

import pytest

from chaos.crash.states import power_cuts
from chaos.sim.disk import SimDisk
from raftlog import BlockingSpool, Spool, errors, sync
from raftlog.spool.journal import FORMAT, Identity, Journal
from tests.client.fake_cluster import fake_cluster
from tests.spool.test_doubts import Left, forget
from tests.spool.test_journal import DIRECTORY, opened, payloads
from tests.spool.test_spool import NOWHERE, spool_on
from tests.spool.test_taking_out import COUNT, standing_still

CALLS = ("write", "create", "fallocate", "fdatasync", "rename", "fsync")


class Full:
    """Lets some calls find no room, while it is full."""

    def __init__(self, disk: SimDisk, *calls: str, where: str = "") -> None:
        self.disk = disk
        self.is_full = True
        self.calls = calls
        self.where = where
        disk.on_operation = self

    def __call__(self, call: str, path: str) -> None:
        """Refuse."""
        if self.is_full and call in self.calls and self.where in path:
            raise OSError(errno.ENOSPC, "no space left")


async def _until_no_room(spool: Spool, where: str) -> None:
    """Wait until that is what hinders it; nothing has ended."""
    async with asyncio.timeout(5):
        while not (  # noqa: ASYNC110
            isinstance(error := spool.status.trouble, errors.NoRoom) and where in error.path
        ):
            await asyncio.sleep(0.001)
    with pytest.raises(TimeoutError):
        await spool.flush(timeout=0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("calls", [("create",), ("write",), ("create", "write", "fallocate")])
async def test_without_room_and_without_a_reserve_it_waits_for_room(
    calls: tuple[str, ...],
) -> None:
    """Others have eaten what the reserve gave up: no epoch and no note can be written down."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        await spool.send("orders", b"1", key=b"k")
    disk.files().remove(f"{DIRECTORY}/reserve")
    full = Full(disk, *calls, where="identity")
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds) as spool:
        disk.files().remove(f"{DIRECTORY}/reserve")  # made again, as there was room for it
        await _until_no_room(spool, "identity")
        if "write" in calls:
            full.where = ".spool"  # it takes over, and can't write the batch down
            await _until_no_room(spool, ".spool")
        full.is_full = False
        await spool.flush(timeout=5)
        assert (spool.status.records, spool.status.trouble) == (0, None)
        assert cluster.values("orders") == [[b"1"]]


@pytest.mark.asyncio
async def test_a_stuck_topic_is_settled_when_there_is_room_again() -> None:
    """The caller is told by a type of its own, and nothing is half done."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds) as spool:
        await spool.send("nowhere", b"1", key=b"k")
        with pytest.raises(errors.TopicNotFound):
            await spool.flush(timeout=5)
        disk.files().remove(f"{DIRECTORY}/reserve")
        full = Full(disk, "write", where=".spool")
        with pytest.raises(errors.NoRoom):
            async with spool.take_out("nowhere"):
                pass
        assert spool.status.records == 1
        full.is_full = False
        async with spool.take_out("nowhere") as records:
            assert len(records) == 1
        assert spool.status.records == 0


@pytest.mark.asyncio
async def test_a_program_can_tell_want_of_room_from_a_disk_that_fails() -> None:
    """Wherever it meets it: by a public name; nothing that was promised is lost."""
    disk = SimDisk()
    full = Full(disk, "create", "write", "unlink")
    with pytest.raises(errors.NoRoom) as caught:
        async with spool_on(disk):
            pass
    assert (caught.value.code, caught.value.retriable) == ("no_room", True)
    assert isinstance(caught.value, errors.StorageFailed)
    full.is_full = False
    async with spool_on(disk) as spool:
        await spool.send("orders", b"1")
        full.is_full = True
        with pytest.raises(errors.SpoolFull):
            await spool.send("orders", b"2")
        with pytest.raises(errors.NoRoom):
            await spool.aclose()
    full.is_full = False
    async with spool_on(disk) as spool:
        assert spool.status.records == 1


def test_a_thread_can_tell_it_too() -> None:
    """It opens the spool, and the disk is full."""
    disk = SimDisk()
    Full(disk, "create")
    with (
        sync.Client(NOWHERE) as client,
        pytest.raises(errors.NoRoom),
        BlockingSpool(client, DIRECTORY, files=disk.files()),
    ):
        pass


@pytest.mark.asyncio
async def test_what_is_settled_by_hand_without_room_is_settled_later() -> None:
    """Nothing was written down, so nothing was said."""
    async with fake_cluster(1, orders=1) as cluster:
        left = Left(cluster, stored=(0,), queues=1)
        await left.leave()
        forget(cluster, 0)
        async with left.open() as spool:
            with pytest.raises(errors.OutcomeUnknown):
                await spool.flush(timeout=5)
            left.disk.files().remove(f"{DIRECTORY}/reserve")
            full = Full(left.disk, "write", where=".spool")
            with pytest.raises(errors.NoRoom):
                await spool.settle_by_hand("orders", 0, stored=True)
            assert spool.status.records == 1
            full.is_full = False
            await spool.settle_by_hand("orders", 0, stored=True)
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.asyncio
async def test_what_was_taken_out_is_gone_though_its_files_can_not_go_yet() -> None:
    """Some file systems need room to remove something: they go with the next ones."""
    disk = SimDisk()

    def files() -> int:
        return sum(path.endswith(".spool") for path in disk.paths())

    async with fake_cluster(1, orders=1) as cluster, standing_still(disk, cluster) as spool:
        full = Full(disk, "unlink", where=".spool")
        async with spool.take_out("nowhere") as records:
            pass
        assert (len(records), spool.status.records, spool.status.stuck) == (COUNT, 0, {})
        assert files() > 1
        full.is_full = False
        await spool.send("orders", b"1")
        await spool.flush(timeout=5)
        assert files() == 1


@pytest.mark.parametrize("call", [call for call in CALLS if call != "fallocate"])
def test_an_identity_that_finds_no_room_is_as_before(call: str) -> None:
    """It can be written again, and leaves no open file behind."""
    disk = SimDisk()
    files = disk.files()
    journal = Journal.open(files, DIRECTORY, 700)
    disk.files().remove(f"{DIRECTORY}/reserve")
    handles = files.open_count
    full = Full(disk, call)
    with pytest.raises(errors.NoRoom):
        journal.rename_to(Identity(FORMAT, 7, 4))
    assert files.open_count == handles
    assert journal.identity.producer == 0
    full.is_full = False
    journal.rename_to(Identity(FORMAT, 7, 4))
    journal.close()
    assert opened(disk).identity == Identity(FORMAT, 7, 4)


@pytest.mark.parametrize("call", ["unlink", "write", "fdatasync", "fsync"])
def test_files_that_could_not_go_go_later(call: str) -> None:
    """Some file systems need room to remove something."""
    disk = SimDisk()
    journal = opened(disk)
    for letter in b"abc":
        (place,) = journal.append([bytes([letter]) * 700])
    full = Full(disk, call)
    with pytest.raises(errors.NoRoom):
        journal.drop_before(place.segment)
    full.is_full = False
    journal.drop_before(place.segment)
    assert payloads(journal) == [b"c" * 700]
    assert [path for path in disk.paths() if path.endswith(".spool")] == [
        f"{DIRECTORY}/{place.segment:020d}.spool"
    ]
    journal.close()
    assert payloads(opened(disk)) == [b"c" * 700]


@pytest.mark.parametrize("call", CALLS)
def test_a_new_spool_that_finds_no_room_is_made_later(call: str) -> None:
    """Nothing is left that a later one could take for damage."""
    disk = SimDisk()
    full = Full(disk, call)
    try:
        opened(disk).close()
    except errors.NoRoom:
        full.is_full = False
    else:
        assert call == "fallocate", "but for the reserve"
    full.is_full = False
    journal = opened(disk)
    journal.append([b"one"])
    journal.close()


def test_what_was_refused_for_want_of_room_does_not_come_back() -> None:
    """A part of it was on the disk already when the room ended."""
    disk = SimDisk()
    journal = opened(disk)
    journal.append([b"one"])
    path = f"{DIRECTORY}/{1:020d}.spool"
    before = len(disk.content(path))
    files = disk.files()

    def part_of_it(call: str, name: str) -> None:
        if call == "write" and name == path:
            disk.on_operation = None
            whole = disk.fork()
            whole._names[f"{DIRECTORY}/lock"].locked = False
            opened(whole).append([b"refused"])
            added = whole.content(path)[before:]
            file = files.open(path)
            file.pwrite([added], before)
            file.sync()  # the kernel may write it back at any moment
            raise OSError(errno.ENOSPC, "no space left")

    disk.on_operation = part_of_it
    with pytest.raises(errors.NoRoom):
        journal.append([b"refused", b"too"])
    for cut in power_cuts(disk.unsynced()):
        dark = disk.fork()
        dark.cut_power(cut.fate_of)
        assert payloads(opened(dark)) == [b"one"], cut.label


def test_a_mark_that_cannot_be_synced_does_not_keep_the_directory() -> None:
    """Closing says so, and lets go of it all the same."""
    disk = SimDisk()
    journal = opened(disk)
    journal.append([b"one"])
    Full(disk, "fdatasync")
    with pytest.raises(errors.StorageFailed):
        journal.close()
    disk.on_operation = None
    assert payloads(opened(disk)) == [b"one"]


def test_a_mark_without_room_fails_nothing_that_is_on_disk() -> None:
    """It is an older one then; a file system that copies on write needs room for it."""
    disk = SimDisk()
    journal = opened(disk)
    full = Full(disk, "write", where="mark")
    journal.append([b"one"])
    full.is_full = False
    journal.append([b"two"])
    journal.close()
    assert payloads(opened(disk)) == [b"one", b"two"]


@pytest.mark.asyncio
async def test_closing_that_fails_leaves_nobody_waiting() -> None:
    """Who waits for a receipt is told that it is closed."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        sent = await spool.send("orders", b"1")
        waiting = asyncio.create_task(sent.stored())
        await asyncio.sleep(0)
        Full(disk, "fdatasync", where="mark")
        with pytest.raises(errors.StorageFailed):
            await spool.aclose()
    with pytest.raises(errors.Closed):
        await asyncio.wait_for(waiting, 5)

"""The spool's files: nothing promised is lost, whatever a crash leaves; damage is told."""

from collections.abc import Iterator
from typing import Final

import pytest

from chaos.crash.states import lost, power_cuts
from chaos.sim.disk import SimDisk
from raftlog.base.errors import DamagedLog, DirectoryForeign, DirectoryLocked, StorageFailed
from raftlog.spool.journal import FORMAT, Identity, Journal

DIRECTORY: Final = "spool"
SEGMENT_BYTES: Final = 700
UNITS: Final = (
    [b"a" * 600, b"b"],
    [b"c" * 30],
    [b"d" * 700, b"e" * 600, b"f"],
    [b"g"],
)


def opened(disk: SimDisk) -> Journal:
    """Open the spool's files on ``disk``."""
    return Journal.open(disk.files(), DIRECTORY, SEGMENT_BYTES)


def payloads(journal: Journal) -> list[bytes]:
    """Return the notes that are there."""
    return [payload for _, payload in journal.notes()]


class Workload:
    """Everything that a journal does, and after each step what it has promised."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.promised: list[bytes] = []
        self.begun: list[bytes] = []
        """Of the write that is under way."""
        self.dropped = 0
        """So many may be gone."""
        self.producer = 0

    def run(self) -> None:
        """Do it."""
        journal = opened(self.disk)
        for number, unit in enumerate(UNITS):
            self.begun = list(unit)
            journal.append(unit)
            self.promised += unit
            self.begun = []
            if number == 1:
                journal.rename_to(Identity(FORMAT, 7, 4))
                self.producer = 7
        self.dropped = 6
        journal.drop_before(1 << 63)
        journal.close()
        journal = opened(self.disk)
        self.begun = [b"h" * 900]
        journal.append(self.begun)
        self.promised += self.begun
        journal.close()

    def check(self, disk: SimDisk, *, twice: bool) -> None:
        """Open what a crash has left; it holds, and can be gone on with.

        Also, ``twice``, if that is cut off again, anywhere; and what it has shown once stays.
        """

        def crash_again(_call: str, _path: str) -> None:
            for again in crashed(disk):
                self.holds(opened(again))

        if twice:
            disk.on_operation = crash_again
        journal = opened(disk)
        disk.on_operation = None
        found = self.holds(journal)
        for again in crashed(disk):
            assert payloads(opened(again)) == found, "it was shown, and is gone"
        journal.append([b"next"])
        journal.close()
        again = opened(disk)
        assert payloads(again) == [*found, b"next"]
        again.close()

    def holds(self, journal: Journal) -> list[bytes]:
        """Check that what was promised is there; return what is."""
        found = payloads(journal)
        everything = [*self.promised, *self.begun]
        starts = range(self.dropped + 1)
        ends = range(len(self.promised), len(everything) + 1)
        assert any(found == everything[a:b] for a in starts for b in ends), found
        assert journal.identity.producer >= self.producer
        return found


def crashed(disk: SimDisk) -> Iterator[SimDisk]:
    """Yield what is left after a kill, and after a power cut that loses all it may."""
    killed = disk.fork()
    killed.generation += 1
    yield killed
    dark = disk.fork()
    dark.cut_power(lambda _: lost)
    yield dark


def test_every_crash_leaves_what_was_promised() -> None:
    """Killed, and the power cut in every way, before every operation of the disk."""
    disk = SimDisk()
    workload = Workload(disk)
    states = 0

    def crash(_call: str, _path: str) -> None:
        nonlocal states
        killed = disk.fork()
        killed.generation += 1
        workload.check(killed, twice=True)
        for cut in power_cuts(disk.unsynced()):
            fork = disk.fork()
            fork.cut_power(cut.fate_of)
            workload.check(fork, twice=cut.kind == "written")
            states += 1

    disk.on_operation = crash
    workload.run()

    assert states > 200


def test_every_rotten_bit_of_a_promised_note_is_told() -> None:
    """In the newest file, too: it is no torn end."""
    disk = SimDisk()
    journal = opened(disk)
    for unit in UNITS:
        journal.append(unit)
    journal.close()
    files = [path for path in disk.paths() if path.endswith((".spool", "identity"))]
    for path in files:
        for offset in range(0, len(disk.content(path)), 5):
            rotten = disk.fork()
            rotten.flip_bit(path, offset, 3)
            before = rotten.content(path)
            with pytest.raises(DamagedLog, match=path):
                opened(rotten)
            assert rotten.content(path) == before, "it is left as it is"
    assert len(files) == 4


@pytest.mark.parametrize("which", range(3))
def test_a_lost_file_is_told(which: int) -> None:
    """The oldest, one between, and the newest."""
    disk = SimDisk()
    journal = opened(disk)
    for unit in UNITS:
        journal.append(unit)
    journal.close()
    path = [path for path in disk.paths() if path.endswith(".spool")][which]
    disk.files().remove(path)

    with pytest.raises(DamagedLog, match=r"\d{20}\.spool"):
        opened(disk)


def test_a_later_write_proves_that_an_earlier_one_was_there() -> None:
    """Also if the mark is older than both: a power cut."""
    disk = SimDisk()
    journal = opened(disk)
    old = disk.content(f"{DIRECTORY}/mark")
    journal.append([b"one"])
    journal.append([b"two"])
    disk.files().open(f"{DIRECTORY}/mark").pwrite([old], 0)
    disk.generation += 1
    disk.flip_bit(f"{DIRECTORY}/{1:020d}.spool", 30, 1)
    disk._names[f"{DIRECTORY}/lock"].locked = False

    with pytest.raises(DamagedLog, match="damaged at 0"):
        opened(disk)


def test_a_note_is_read_again_and_checked() -> None:
    """What has rotted meanwhile is not sent."""
    disk = SimDisk()
    journal = opened(disk)
    one, two = journal.append([b"one", b"two"])
    disk.flip_bit(f"{DIRECTORY}/{1:020d}.spool", two.offset + two.size - 1, 0)

    assert journal.read(one) == b"one"
    with pytest.raises(DamagedLog):
        journal.read(two)


def test_one_at_a_time_and_nothing_else_in_it() -> None:
    """A spool has a directory of its own."""
    disk = SimDisk()
    journal = opened(disk)
    with pytest.raises(DirectoryLocked):
        opened(disk)
    journal.close()
    disk.files().open(f"{DIRECTORY}/notes.txt", create=True)
    with pytest.raises(DirectoryForeign, match=r"notes\.txt"):
        opened(disk)


def test_a_failed_write_ends_it() -> None:
    """A failed fsync is never tried again; opened again it goes on."""
    disk = SimDisk()
    journal = opened(disk)
    journal.append([b"one"])

    def failing(call: str, _path: str) -> None:
        if call == "fdatasync":
            raise OSError(5, "broken")

    disk.on_operation = failing
    with pytest.raises(StorageFailed):
        journal.append([b"two"])
    disk.on_operation = None
    with pytest.raises(StorageFailed):
        journal.append([b"three"])
    journal.close()

    assert payloads(opened(disk)) in ([b"one"], [b"one", b"two"])


def files_of(disk: SimDisk) -> Iterator[str]:
    """Yield the files with notes."""
    yield from (path for path in disk.paths() if path.endswith(".spool"))


def test_files_go_when_nobody_needs_them() -> None:
    """The newest stays."""
    disk = SimDisk()
    journal = opened(disk)
    places = [journal.append(unit)[0] for unit in UNITS]
    assert len(list(files_of(disk))) == 3
    journal.drop_before(places[2].segment)
    assert len(list(files_of(disk))) == 2
    assert journal.bytes == sum(len(disk.content(path)) for path in files_of(disk))
    journal.drop_before(1 << 63)
    assert len(list(files_of(disk))) == 1

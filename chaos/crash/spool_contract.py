"""What must hold of a spool after a crash.

Whatever ``send`` has acknowledged is in the spool or in the cluster, until the caller has taken
it out; nothing else is, and what was refused does not come back. What was shown once stays.
The spool goes on: what it takes then lasts, and in the end the cluster has each record once,
each key's in order, whatever was under way, lost or late when the machine stopped.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from chaos.crash.recording import demand
from chaos.crash.spool_cluster import LATER, Cluster, run
from chaos.sim.disk import CrashKind, SimDisk
from raftlog.client.client import Client
from raftlog.spool.contents import Contents, Spooled, decode_note
from raftlog.spool.journal import Journal
from raftlog.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DIRECTORY: Final = "spool"
BYTES_MAX: Final = 6_000
SEGMENT_BYTES: Final = BYTES_MAX // 8
BEGUN_MS: Final = 1_800_000_000_000
AFTER_MS: Final = BEGUN_MS + 3_600_000
"""When the machine runs again."""
_NOBODY: Final = Client("127.0.0.1:1")


class Sent(NamedTuple):
    """A record that was given to the spool. No two have one value; a later one's is higher."""

    topic: str
    key: bytes
    value: bytes


@asynccontextmanager
async def spool_on(
    disk: SimDisk, cluster: Cluster, now_ms: int, bytes_max: int = BYTES_MAX
) -> "AsyncIterator[Spool]":
    """Open the spool that is on a disk."""
    async with Spool(
        *(_NOBODY, DIRECTORY),
        bytes_max=bytes_max,
        files=disk.files(),
        now_ms=lambda: now_ms,
        cluster=cluster,
    ) as spool:
        yield spool


@dataclass(frozen=True)
class SpoolPromise:
    """What must and what may be found of a spool, and of its cluster."""

    cluster: Cluster
    """As it was then."""
    durable: tuple[Sent, ...] = ()
    """What was acknowledged, in order."""
    begun: tuple[Sent, ...] = ()
    """What is being sent."""
    handed: frozenset[bytes] = frozenset()
    """Values that the caller has, and that may be gone from the spool."""
    taken: frozenset[bytes] = frozenset()
    """Values that are gone from it."""

    def recover(self, disk: SimDisk) -> None:
        """Do what a process does when it starts on ``disk``."""
        read_spool(disk)

    def check(self, disk: SimDisk) -> int:
        """Recover, hold what is found against the promise, and send all of it."""
        before = disk.operations
        found = read_spool(disk)
        operations = disk.operations - before
        self._check_found(found)
        disk.crash(Random(0), CrashKind.LOSE)
        demand("what was shown once is gone", holds=read_spool(disk) == found)
        disk.crash(Random(0), CrashKind.KEEP)
        run(self._go_on(disk, found))
        return operations

    def _check_found(self, found: Sequence[Sent]) -> None:
        held = {each.value for each in found}
        stored = set(_values(self.cluster))
        must = {each.value for each in self.durable} - self.handed - self.taken
        may = {each.value for each in (*self.durable, *self.begun)} - self.taken
        lost = must - held - stored
        demand(f"acknowledged, and gone: {sorted(lost)}", holds=not lost)
        demand(f"nobody has sent it: {sorted(held - may)}", holds=held <= may)
        demand("a record is there twice", holds=len(found) == len(held))
        for (topic, key), values in _by_key(found):
            demand(f"{topic}, {key!r} is out of order", holds=values == sorted(values))

    async def _go_on(self, disk: SimDisk, found: Sequence[Sent]) -> None:
        """Take one more record, lose the power, and let the cluster have everything."""
        cluster = self.cluster.fork()
        before = set(_values(cluster))
        cluster.topics = LATER
        cluster.is_away = True
        after = Sent("orders", b"k", b"after")
        # It may be full: then it is made larger.
        async with spool_on(disk, cluster, AFTER_MS, 2 * BYTES_MAX) as spool:
            await spool.send(after.topic, after.value, key=after.key)
            dark = disk.fork()
            dark.crash(Random(0), CrashKind.LOSE)
            demand("the next record is lost", holds=read_spool(dark) == [*found, after])
            cluster.is_away = False
            await spool.flush()
        cluster.bring_late()
        count = Counter(_values(cluster))
        twice = sorted(value for value, times in count.items() if times > 1)
        demand(f"stored twice: {twice}", holds=not twice)
        new = {each.value for each in (*found, after)} | before
        demand(f"stored, or not: {sorted(new ^ count.keys())}", holds=new == count.keys())
        for queue, records in cluster.stored.items():
            for key in {key for key, _ in records}:
                values = [value for other, value in records if other == key and value is not None]
                kept = [value for value in values if value != after.value]
                demand(f"queue {queue}, {key!r} is out of order", holds=kept == sorted(kept))


def read_spool(disk: SimDisk) -> list[Sent]:
    """Open the spool's files as a process does; return its records, in order."""
    contents = Contents()
    journal = Journal.open(disk.files(), DIRECTORY, SEGMENT_BYTES)
    contents.load(journal.first, journal.notes())
    found = []
    topics = {*contents.waiting, *(each.topic for each in contents.attempts.values())}
    held = [each for topic in topics for each in contents.of_topic(topic)]
    for each in sorted(held, key=lambda held: held.at.number):
        note = decode_note(journal.read(each.at))
        assert isinstance(note, Spooled), "only records wait"
        found.append(Sent(note.topic, note.key or b"", note.value or b""))
    return found


def _values(cluster: Cluster) -> list[bytes]:
    return [value or b"" for records in cluster.stored.values() for _, value in records]


def _by_key(found: Iterable[Sent]) -> Iterable[tuple[tuple[str, bytes], list[bytes]]]:
    values: dict[tuple[str, bytes], list[bytes]] = {}
    for each in found:
        values.setdefault((each.topic, each.key), []).append(each.value)
    return values.items()

"""The ways in which a power cut can leave one disk.

Between two moments a disk has operations that nobody has synced. A power cut may
take back any of them; which combinations are tried::

    written      none is lost, but the process is: all of it is on the disk
    lost         all of them
    one lost     each single one
    two lost     each pair
    one kept     each single one is on the disk, and no other (reordering)
    torn         each write up to each 512-byte sector, or from there on
    zeros        each write has changed the file's size, but not its bytes
    names first  names changed before the bytes they name were written
    data first   bytes are there, and no name has changed

``torn`` and ``zeros`` are tried with all others kept, and with all others lost.

An ``.idx`` is never synced, so its operations stay in doubt for as long as the log
grows. Single ones are singled out among the newest ``SINGLE_MAX``, pairs among the
newest ``PAIRED_MAX``; older ones share the fate of the rest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Final, NamedTuple

from chaos.sim.contents import SECTOR_BYTES, Fate, Operation
from chaos.sim.disk import Unsynced

KILL: Final = "kill -9"
"""Not a power cut: the page cache survives. The first class of all."""
AGAIN: Final = "again"
"""Recovery from any of the others was itself cut short."""
CLASSES: Final = (
    *(KILL, "written", "lost", "one lost", "two lost", "one kept"),
    *("torn", "zeros", "names first", "data first", AGAIN),
)
SINGLE_MAX: Final = 16
PAIRED_MAX: Final = 8


class PowerCut(NamedTuple):
    """One way: its class, its name within a moment, and the fate of each operation."""

    kind: str
    label: str
    fates: Mapping[int, Fate]
    rest: Fate

    def fate_of(self, number: int) -> Fate:
        """Return what becomes of an operation."""
        return self.fates.get(number, self.rest)


def kept(operation: Operation) -> Sequence[Operation]:
    """It has reached the disk."""
    return [operation]


def lost(_operation: Operation) -> Sequence[Operation]:
    """It has not."""
    return []


def zeroed(operation: Operation) -> Sequence[Operation]:
    """Its blocks were allocated and never written."""
    kind, at, data, when = operation
    return [(kind, at, bytes(len(data)), when)]


def torn(at: int, operation: Operation, *, before: bool) -> Sequence[Operation]:
    """Only its bytes before, or from, the offset ``at`` of the file."""
    kind, start, data, when = operation
    middle = at - start
    return [(kind, start, data[:middle], when) if before else (kind, at, data[middle:], when)]


_RESTS: Final[tuple[tuple[str, Fate], ...]] = (("others kept", kept), ("others lost", lost))


def power_cuts(unsynced: Sequence[Unsynced]) -> Iterator[PowerCut]:
    """Yield every way for these operations."""
    yield PowerCut("lost", "lost", {}, lost)
    if not unsynced:
        return
    yield PowerCut("written", "written", {}, kept)
    newest = sorted(range(len(unsynced)), key=lambda number: -unsynced[number].when)
    for number in newest[:SINGLE_MAX]:
        yield PowerCut("one lost", f"lost {number}", {number: lost}, kept)
        yield PowerCut("one kept", f"kept {number}", {number: kept}, lost)
    for one, other in combinations(newest[:PAIRED_MAX], 2):
        yield PowerCut("two lost", f"lost {one}+{other}", {one: lost, other: lost}, kept)
    for number in newest[:SINGLE_MAX]:
        operation = unsynced[number]
        if operation.kind == "write" and operation.length:
            yield from _damaged_write(number, operation)
    yield from _reordered(unsynced)


def _damaged_write(number: int, write: Unsynced) -> Iterator[PowerCut]:
    ways: list[tuple[str, str, Fate]] = [("zeros", f"zeros {number}", zeroed)]
    first = write.at - write.at % SECTOR_BYTES + SECTOR_BYTES
    for at in range(first, write.at + write.length, SECTOR_BYTES):
        ways.append(("torn", f"torn {number} before {at}", partial(torn, at, before=True)))
        ways.append(("torn", f"torn {number} from {at}", partial(torn, at, before=False)))
    for kind, label, fate in ways:
        for name, rest in _RESTS:
            yield PowerCut(kind, f"{label}, {name}", {number: fate}, rest)


def _reordered(unsynced: Sequence[Unsynced]) -> Iterator[PowerCut]:
    is_name: Callable[[int], bool] = lambda number: unsynced[number].kind == "names"  # noqa: E731
    names = [number for number in range(len(unsynced)) if is_name(number)]
    if 0 < len(names) < len(unsynced):
        yield PowerCut("names first", "names first", dict.fromkeys(names, kept), lost)
        yield PowerCut("data first", "data first", dict.fromkeys(names, lost), kept)

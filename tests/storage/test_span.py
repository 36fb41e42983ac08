"""Reads of many entries at once, some of whose bytes cannot be read."""

import pytest

from chaos.sim.contents import SECTOR_BYTES
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import Index
from raftlog.storage.span import Place
from tests.storage.logs import Logs, chain

SIZE = 200
ENTRIES = chain(12, size=SIZE)
LOST = 6
"""The entry at whose beginning a sector can't be read."""


def place_of(logs: Logs, index: int) -> tuple[str, int]:
    """Return the segment and where the frame of an entry begins in it."""
    (path,) = [path for path in logs.disk.paths() if path.endswith(".seg")]
    return path, logs.disk.content(path).index(bytes(ENTRIES[index - 1].frame))


def damaged() -> Logs:
    """Return a log in one unit of which one sector can't be read; nobody has noticed yet."""
    logs = Logs()
    logs.append(ENTRIES)
    logs.disk.lose_sectors(*place_of(logs, LOST), 1)
    return logs


def overlapping(logs: Logs) -> list[int]:
    """Return the entries that have a part in the sector where ``LOST`` begins."""
    _, lost = place_of(logs, LOST)
    sector = lost // SECTOR_BYTES * SECTOR_BYTES
    frames = [(place_of(logs, entry.index)[1], len(entry.frame)) for entry in ENTRIES]
    return [
        number
        for number, (at, length) in enumerate(frames, start=1)
        if at < sector + SECTOR_BYTES and at + length > sector
    ]


def read_from(logs: Logs, first: int) -> list[int]:
    """Return the indexes of what one read finds.

    Raises:
        FaultyEntry: The first one is bad.
        OSError: The first one can't be read.
    """
    span = logs.store.locate(Index(first), Index(12), 1 << 20)
    try:
        found = span.read(wait=True)
        assert found is not None
        return [entry.index for entry in span.entries(found)]
    finally:
        span.close()


def test_one_bad_sector_does_not_make_good_entries_bad() -> None:
    """A read of all was damage of its first entry: repaired, read, damaged again, for ever."""
    logs = damaged()
    served: list[int] = []
    bad: list[int] = []
    first = 1
    while first <= len(ENTRIES):
        try:
            found = read_from(logs, first)
        except (FaultyEntry, OSError):
            bad.append(first)
            first += 1
        else:
            served += found
            first = found[-1] + 1
    assert bad == overlapping(logs)
    assert sorted(served + bad) == list(range(1, 13))


def test_bodies_before_a_bad_sector_are_served() -> None:
    """One batch at least, if that one can be read."""
    logs = damaged()
    places = [Place(Index(index), 0, SIZE) for index in range(1, 13)]
    span = logs.store.locate_bodies(places)
    found = span.read(wait=True)
    span.close()
    assert found is not None
    assert [bytes(view) for view in found] == [bytes(ENTRIES[0].body)]
    lost = logs.store.locate_bodies(places[LOST - 1 :])
    with pytest.raises(OSError, match="latent"):
        lost.read(wait=True)
    lost.close()

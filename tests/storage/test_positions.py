"""Where entries lie is read off the loop, while the loop may change it."""

import errno
from collections.abc import Callable

import pytest

from raftlog.base.entry import Entry
from raftlog.base.errors import StorageFailed
from raftlog.base.ids import Index
from raftlog.storage import span
from raftlog.storage.entry_places import EntryPlaces
from raftlog.storage.files import File, Files
from raftlog.storage.segment import Segment, places_from_index
from tests.storage.logs import Logs, chain, perform, read_all


def while_positions_are_read(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Let ``meanwhile`` happen on the loop when the reader thread has read an ``.idx``."""

    def read_slowly(files: Files, segment: Segment) -> EntryPlaces | None:
        found = places_from_index(files, segment)
        monkeypatch.setattr(span, "places_from_index", places_from_index)
        meanwhile()
        return found

    monkeypatch.setattr(span, "places_from_index", read_slowly)


def sealed_log() -> tuple[Logs, list[Entry], Index]:
    """Return a log opened anew, its entries, and where its sealed segment ends."""
    logs = Logs()
    entries = chain(60)
    logs.append_each(entries)
    logs.open()
    end = next(
        index for index in range(59, 0, -1) if logs.place(entries[index])[0].endswith("1.seg")
    )
    return logs, entries, Index(end + 1)


def test_a_truncation_wins_over_positions_that_are_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """n2 starts, its reader thread loads a sealed segment; the leader contradicts its tail.

    The old places, put over the new ones, would show good entries as damaged, and
    a repair would write into the middle of others.
    """
    logs, entries, end = sealed_log()
    kept = entries[: end - 5]
    new = chain(10, after=kept[-1].end, term=2)
    while_positions_are_read(monkeypatch, lambda: logs.append(new[:3], truncate_to=kept[-1].index))
    reading = logs.store.locate(Index(1), kept[-1].index, 1 << 20)
    reading.read(wait=True)
    reading.close()
    logs.append(new[3:])

    assert read_all(logs.store) == kept + new
    assert logs.store.faulty_count == 0
    assert read_all(logs.crash()) == kept + new


def test_what_was_read_is_kept_when_nothing_changed() -> None:
    """The next read of the segment need not ask the disk where its entries lie."""
    logs, _, end = sealed_log()
    first = logs.store.locate(Index(1), end, 1 << 20)
    assert first.read(wait=False) is None
    assert first.read(wait=True)
    first.close()
    again = logs.store.locate(Index(1), end, 1 << 20)

    assert again.read(wait=False)
    again.close()


def test_a_repair_wins_over_positions_that_are_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A repaired entry lies where the repair has put it."""
    logs, entries, end = sealed_log()
    logs.rot(entries[3], 45)
    logs.store.mark_faulty(Index(4))
    for segment in logs.store._segments:
        segment.places = None
    while_positions_are_read(
        monkeypatch, lambda: perform(logs.store, logs.store.plan_repair(entries[3:4]))
    )
    reading = logs.store.locate(Index(1), end, 1 << 20)
    reading.read(wait=True)
    reading.close()

    assert read_all(logs.store) == entries


def test_an_idx_that_cannot_be_opened_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1000 clients connected the process is out of descriptors: EMFILE. It is only a read."""
    logs, entries, end = sealed_log()

    def refuse(path: str, *, create: bool = False) -> File:
        raise StorageFailed("open", path, None, OSError(errno.EMFILE, f"create={create}"))

    monkeypatch.setattr(logs.store.files, "open", refuse)
    reading = logs.store.locate(Index(1), end, 1 << 20)

    assert reading.entries(reading.read(wait=True) or b"") == tuple(entries[:end])
    reading.close()


def test_an_index_of_a_segment_that_cannot_be_looked_up_is_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The segment is open, and says the same; a reader must not end the node."""
    logs, entries, end = sealed_log()

    def refuses(path: str) -> bool:
        raise StorageFailed("stat", path, None, OSError(errno.EACCES, "simulated"))

    monkeypatch.setattr(logs.store.files, "exists", refuses)
    reading = logs.store.locate(Index(1), end, 1 << 20)
    found = reading.entries(reading.read(wait=True))
    reading.close()
    assert list(found) == entries[:end]

"""Configuration entries are known at a start without reading the log."""

import contextlib

import msgspec
import pytest

from chaos.sim.disk import CrashKind, Killed
from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.writes import WriteEntries
from raftlog.storage.configurations import MEMBERS, ConfigurationRow, newest_rows
from raftlog.storage.log_store import DURABLE_MARK, StoreOptions
from tests.storage.logs import DIRECTORY, Logs, chain, perform, put_back

SMALL = StoreOptions(segment_bytes=512)
PATH = f"{DIRECTORY}/{MEMBERS}"


def configuration(after: LogEnd, term: int = 1) -> Entry:
    """Return a configuration entry after ``after``."""
    index = Index(after.index + 1)
    body = f"members of {index} in {term}".encode()
    return seal(EntryKind.CONFIGURATION, Term(term), index, after.checksum, [body])


def with_configuration(before: int, after: int, options: StoreOptions = SMALL) -> Logs:
    """Return a log with a configuration entry after ``before`` others, and ``after`` behind it."""
    logs = Logs(options)
    logs.append_each(chain(before))
    entry = configuration(logs.store.end)
    logs.append([entry])
    logs.append_each(chain(after, after=entry.end))
    return logs


def known(logs: Logs) -> list[int]:
    """Return the indexes of the configuration entries that the store names."""
    return [row.index for row in logs.store.configurations]


def test_a_configuration_in_a_sealed_segment_is_known_after_a_start() -> None:
    """A start reads only the last segment."""
    logs = with_configuration(3, 40)
    assert known(logs) == [4]
    logs.crash(CrashKind.LOSE)

    assert known(logs) == [4]
    assert logs.store.configurations[0].body == b"members of 4 in 1"


def test_a_truncated_configuration_is_forgotten_and_the_one_before_is_not() -> None:
    """At once, and after a start."""
    logs = with_configuration(3, 0)
    logs.append([configuration(logs.store.end)])
    assert known(logs) == [4, 5]
    (other,) = chain(1, after=logs.store.durable_end, term=2)
    end = LogEnd(Index(4), Term(1), logs.store.configurations[0].checksum)
    (other,) = chain(1, after=end, term=2)
    write = WriteEntries(logs.number(), Index(4), (other,))
    perform(logs.store, logs.store.plan([write], Index(4)))

    assert known(logs) == [4]
    logs.crash()
    assert known(logs) == [4]


@pytest.mark.parametrize("operations", range(20))
@pytest.mark.parametrize("kind", list(CrashKind))
def test_at_every_crash_the_file_names_what_the_log_has(operations: int, kind: CrashKind) -> None:
    """The file first, then the entry: a row without its entry says nothing; never the reverse."""
    logs = with_configuration(3, 2)
    entry = configuration(logs.store.end)
    logs.disk.kill_after(operations)
    with contextlib.suppress(Killed):
        logs.append([entry])
    logs.disk.on_operation = None
    logs.crash(kind)

    assert known(logs) == ([4, 7] if logs.store.end.index == 7 else [4])


@pytest.mark.parametrize("operations", range(30))
@pytest.mark.parametrize("kind", list(CrashKind))
def test_at_every_crash_in_a_truncation_the_node_starts(operations: int, kind: CrashKind) -> None:
    """The file says that the entry was written only while the log has it."""
    logs = with_configuration(3, 2)
    end = logs.store.end
    logs.append([configuration(end)])
    other = configuration(end, term=2)
    write = WriteEntries(logs.number(), Index(6), (other,))
    plan = logs.store.plan([write], Index(4))
    logs.disk.kill_after(operations)
    with contextlib.suppress(Killed):
        plan.perform()
    logs.disk.on_operation = None
    logs.crash(kind)

    assert known(logs) == ([4, 7] if logs.store.end.index == 7 else [4])


@pytest.mark.parametrize("written", [True, False])
def test_a_log_that_lost_a_configuration_stops_the_node(*, written: bool) -> None:
    """A disk lost the log's end, and its mark, but not ``members``.

    A cluster is formed with n1, and grown. n1 would go by an older configuration, or by that of
    its formation, and there it is a majority alone.
    """
    logs = Logs(StoreOptions(segment_bytes=4096))
    logs.append([configuration(logs.store.end)])
    entry = configuration(logs.store.end)
    logs.append([entry])
    paths = (logs.place(entry)[0], f"{DIRECTORY}/{DURABLE_MARK}")
    before = [logs.disk.content(path) for path in paths]
    newer = configuration(entry.end)
    write = WriteEntries(logs.number(), None, (newer,))
    plan = logs.store.plan([write], Index(2))
    plan.steps = plan.steps if written else plan.steps[:1]
    perform(logs.store, plan)
    for path, old in zip(paths, before, strict=True):
        put_back(logs.disk, path, old, 0, len(old))

    if written:
        with pytest.raises(DamagedLog, match="entry 3, which the log has no more"):
            logs.crash(CrashKind.LOSE)
    else:
        logs.crash(CrashKind.LOSE)
        assert known(logs) == [2]


def never_written() -> tuple[Logs, list[Entry]]:
    """Return a log that a leader left behind when it was killed before entry 5, and its entries.

    ``members`` names 5 as well: it comes first.
    """
    logs = Logs(StoreOptions(segment_bytes=1024))
    first = configuration(logs.store.end)
    logs.append([first])
    more = chain(3, after=first.end)
    logs.append_each(more)
    logs.sync_mark()
    write = WriteEntries(logs.number(), None, (configuration(more[-1].end),))
    plan = logs.store.plan([write], Index(4))
    plan.steps[0]()
    logs.crash(CrashKind.KEEP)
    return logs, [first, *more]


def test_a_configuration_that_was_never_written_says_nothing_for_good() -> None:
    """Nor when the log is trimmed beyond its index, with another leader's entry there.

    Every row at or below the log's beginning counts: nobody can compare them any more. The node
    went by members that never were.
    """
    logs, entries = never_written()
    logs.append_each(chain(40, after=entries[-1].end, term=2))
    perform(logs.store, logs.store.plan_trim(Index(30)))
    logs.crash(CrashKind.LOSE)

    assert logs.store.start.index > 5
    assert known(logs) == [1]


def test_a_configuration_that_was_never_written_is_none_while_its_place_is_damaged() -> None:
    """What is damaged there counts as the row's entry, and was said to be written."""
    logs, entries = never_written()
    others = chain(6, after=entries[-1].end, term=2)
    logs.append_each(others)
    logs.sync_mark()
    path, at = logs.place(others[0])
    logs.disk.zero(path, at, 2 * others[0].size)
    logs.crash(CrashKind.LOSE)
    assert logs.store.faulty_count
    assert known(logs) == [1]
    logs.append(chain(1, after=logs.store.end, term=2))
    for first, last in logs.store.faulty_ranges():
        perform(logs.store, logs.store.plan_repair(others[first - 5 : last - 4]))
    logs.crash(CrashKind.LOSE)

    assert known(logs) == [1]


def test_a_file_of_before_rows_said_what_was_written_is_read() -> None:
    """What it names and the log does not have may never have been there."""
    old = [(1, 5, b"one"), (2, 6, b"two")]
    rows = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=list[ConfigurationRow])

    assert [(row.index, row.checksum, row.body) for row in rows] == old
    assert not any(row.written for row in rows)


@pytest.mark.parametrize("copy", [0, 1])
def test_one_bad_copy_is_read_from_the_other(copy: int) -> None:
    """They lie in different blocks."""
    logs = with_configuration(3, 0)
    logs.disk.flip_bit(PATH, copy * BLOCK_BYTES + 20, 3)
    logs.crash()

    assert known(logs) == [4]


def test_two_bad_copies_stop_the_node() -> None:
    """It could count votes of those who have none."""
    logs = with_configuration(3, 0)
    for copy in (0, 1):
        logs.disk.flip_bit(PATH, copy * BLOCK_BYTES + 20, 3)

    with pytest.raises(DamagedLog, match="who may vote"):
        logs.crash()


def test_a_damaged_configuration_entry_is_known_all_the_same() -> None:
    """The file has its body; the entry itself is repaired from a peer."""
    logs = with_configuration(3, 3, StoreOptions(segment_bytes=4096))
    logs.sync_mark()
    path = next(path for path in logs.disk.paths() if path.endswith(".seg"))
    at = logs.disk.content(path).index(b"members of 4")
    logs.disk.flip_bit(path, at, 0)
    logs.crash()

    assert logs.store.faulty_ranges() == [(4, 4)]
    assert known(logs) == [4]


def test_a_damaged_configuration_entry_of_a_segment_whose_idx_is_bad_is_known_too() -> None:
    """Its damage is met when the row is compared, not before."""
    logs = Logs(StoreOptions(segment_bytes=1024))
    logs.append_each(chain(2))
    entry = configuration(logs.store.end)
    logs.append([entry])
    entries = chain(40, after=entry.end)
    logs.append_each(entries)
    logs.sync_mark()
    first = logs.crash(CrashKind.LOSE)._segments[0]
    assert first.sealed
    logs.disk.flip_bit(first.index_path, len(logs.disk.content(first.index_path)) - 6, 0)
    path, at = logs.place(entry)
    _, stop = logs.place(entries[0])
    logs.disk.zero(path, at, stop + 8 - at)
    logs.crash(CrashKind.LOSE)

    assert known(logs) == [3]
    assert logs.store.faulty_ranges() == [(3, 4)]


def test_only_what_may_come_back_is_kept() -> None:
    """The newest committed row, and all later ones."""
    rows = [ConfigurationRow(Index(index), index, b"") for index in (1, 5, 8, 9)]

    assert [row.index for row in newest_rows(rows, Index(8))] == [8, 9]
    assert [row.index for row in newest_rows(rows, Index(7))] == [5, 8, 9]
    assert [row.index for row in newest_rows(rows, Index(0))] == [1, 5, 8, 9]


def test_a_log_from_before_the_file_has_no_rows() -> None:
    """Its configuration is the one of its formation."""
    logs = Logs()
    logs.append_each(chain(3))
    logs.crash()

    assert PATH not in logs.disk.paths()
    assert known(logs) == []

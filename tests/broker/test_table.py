"""Tables: in order whatever comes, and as they were while they change (ruling 18)."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import msgspec
import pytest

from raftlog.broker import sorted_keys, table
from raftlog.broker.sorted_keys import SortedKeys, runs_of
from raftlog.broker.table import CHUNK_BYTES_MAX, Table

Row = list[int]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and chunks of a few rows, so that a test crosses many."""
    monkeypatch.setattr(sorted_keys, "BLOCK_KEYS", 3)
    monkeypatch.setattr(table, "CHUNK_BYTES", 8)
    monkeypatch.setattr(table, "KEYS_AT_ONCE", 5)
    monkeypatch.setattr(table, "LOOK_KEYS", 3)


@pytest.mark.parametrize("seed", range(20))
def test_runs_of_equal_values_are_counted(seed: int) -> None:
    """Of what is in order, and without looking at each."""
    random = Random(seed)
    values = sorted(random.choices(range(5), k=random.randrange(30)))
    assert list(runs_of(values, int)) == sorted(Counter(values).items())


@pytest.mark.parametrize("seed", range(20))
def test_keys_are_in_order_whatever_came_and_went(seed: int) -> None:
    """A snapshot walks in key order, a list of topics too."""
    random = Random(seed)
    expected = set(random.sample(range(60), 20))
    keys = SortedKeys(expected)
    for _ in range(200):
        key = random.randrange(60)
        if key in expected:
            expected.remove(key)
            keys.remove(key)
        else:
            expected.add(key)
            keys.add(key)
        ordered = sorted(expected)
        near = random.randrange(-1, 61)
        assert list(keys.after(None)) == ordered
        assert list(keys.after(near)) == [key for key in ordered if key > near]
        count = random.randrange(1, 9)
        assert keys.next(None, count) == ordered[:count]
        assert keys.next(near, count) == [key for key in ordered if key > near][:count]
        assert keys.before(near, count) == [key for key in ordered if key < near][-count:]
        assert bool(keys) == bool(expected)


def test_a_key_that_is_not_there_is_not_removed() -> None:
    """Table and order would part for ever."""
    with pytest.raises(AssertionError):
        SortedKeys([1, 3]).remove(2)


def rows_of(chunks: list[bytes]) -> list[Row]:
    return [row for chunk in chunks for row in msgspec.msgpack.decode(chunk, type=list[Row])]


def ends_run(key: int) -> bool:
    return key % 7 % 3 == 0


def end_of_run(keys: Sequence[int]) -> int:
    return next((place for place, key in enumerate(keys, 1) if ends_run(key)), 0)


@pytest.mark.parametrize("ends", [None, end_of_run])
@pytest.mark.parametrize("seed", range(40))
def test_a_frozen_table_reads_as_it_was_whatever_changes_meanwhile(
    seed: int, ends: Callable[[Sequence[int]], int] | None
) -> None:
    """New rows, replaced ones, mutated ones, deleted ones, and deleted ones that come back."""
    random = Random(seed)
    rows: Table[int, Row] = Table(end_of_run=ends)
    for key in random.sample(range(40), 25):
        rows.put(key, [key, 0])
    for _ in range(6):  # runs that one snapshot encoded are the next one's
        expected = [[*row] for row in rows.after(None)]
        found: list[bytes] = []
        for chunk in rows.freeze().chunks():
            if chunk.rows:
                found.append(chunk.data)
            change_some(rows, random, random.choice((0, 1, 8)))
        assert rows_of(found) == expected
        change_some(rows, random, random.choice((0, 2)))
    again = rows_of([chunk.data for chunk in rows.freeze().chunks()])
    assert again == list(rows.after(None))


def change_some(rows: Table[int, Row], random: Random, most: int) -> None:
    for _ in range(random.randrange(most + 1)):
        key = random.randrange(40)
        row = rows.get(key)
        if row is None or random.random() < 0.2:
            rows.put(key, [key, random.randrange(1, 9)])
        elif random.random() < 0.5:
            rows.delete(key)
        else:
            rows.touch(key)
            row[1] += 1


@pytest.mark.parametrize("seed", range(40))
def test_a_table_that_was_restored_has_the_chunks_of_one_that_ran_on(seed: int) -> None:
    """Whatever the older one has encoded before: replicas have the same file (ruling 27)."""
    random = Random(seed)
    old: Table[int, Row] = Table(end_of_run=end_of_run)
    for key in random.sample(range(40), 25):
        old.put(key, [key, *[0] * (1 + random.randrange(6))])
    for _ in range(5):
        for _ in old.freeze().chunks():
            change_some(old, random, random.choice((0, 0, 3)))
        new: Table[int, Row] = Table(end_of_run=end_of_run)
        new.load((row[0], row) for row in old.after(None))
        chunks = [chunk for chunk in old.freeze().chunks() if chunk.rows]
        assert chunks == [chunk for chunk in new.freeze().chunks() if chunk.rows]
        for chunk in chunks:
            assert not any(ends_run(row[0]) for row in rows_of([chunk.data])[:-1])


def test_what_has_not_changed_is_not_encoded_again() -> None:
    """A million batches wait for days, and a snapshot comes every few seconds."""
    encoded: set[int] = set()

    def encode(row: Row) -> bytes:
        encoded.add(row[0])
        return msgspec.msgpack.encode(row)

    rows: Table[int, Row] = Table(encode, end_of_run)
    for key in range(1_000):
        rows.put(key, [key, 0])
    first = list(rows.freeze().chunks())
    assert encoded == {*range(1_000)}
    encoded.clear()
    assert list(rows.freeze().chunks()) == first
    assert len(encoded) < 4  # behind the last end
    rows.delete(500)
    encoded.clear()
    list(rows.freeze().chunks())
    assert {499, 501} & encoded
    assert len(encoded) < 12


def test_runs_of_a_table_that_is_loaded_are_forgotten() -> None:
    """The rows are others."""
    rows: Table[int, Row] = Table(end_of_run=end_of_run)
    for value in (1, 2):
        rows.load((key, [key, value]) for key in range(20))
        found = rows_of([chunk.data for chunk in rows.freeze().chunks()])
        assert found == [[key, value] for key in range(20)]


@pytest.mark.parametrize("gone", range(3))
def test_who_ends_a_run_may_leave_while_another_one_is_encoded(gone: int) -> None:
    """Before, at, and behind the run that was handed out last."""
    rows: Table[int, Row] = Table(end_of_run=by_tens)
    for key in range(40):
        rows.put(key, [key])
    walk = rows.freeze().chunks()
    found = [next(walk)]
    while rows_of([found[-1].data])[0][0] < 10:
        found.append(next(walk))
    rows.delete(10 * gone + 9)
    found += walk
    assert rows_of([chunk.data for chunk in found]) == [[key] for key in range(40)]
    again: Table[int, Row] = Table(end_of_run=by_tens)
    again.load((row[0], row) for row in rows.after(None))
    assert list(rows.freeze().chunks()) == list(again.freeze().chunks())


def by_tens(keys: Sequence[int]) -> int:
    return next((place for place, key in enumerate(keys, 1) if key % 10 == 9), 0)


@pytest.mark.parametrize("seed", range(20))
def test_equal_tables_have_equal_chunks_whatever_changes_meanwhile(seed: int) -> None:
    """Replicas write the same file, so that one can have it from another (ruling 27)."""
    random = Random(seed)
    changing: Table[int, Row] = Table()
    for key in random.sample(range(60), 40):
        changing.put(key, [key, *[0] * random.randrange(12)])
    expected: list[list[Row]] = [[]]
    size = 0
    for row in changing.after(None):
        expected[-1].append([*row])
        size += len(msgspec.msgpack.encode(row))
        if size >= 8:
            expected.append([])
            size = 0
    found: list[list[Row]] = []
    for chunk in changing.freeze().chunks():
        if chunk.rows:
            found.append(rows_of([chunk.data]))
            assert chunk.rows == len(found[-1])
        for _ in range(random.randrange(8)):
            key = random.randrange(60)
            if changing.get(key) is None:
                changing.put(key, [key, 1])
            elif random.random() < 0.5:
                changing.delete(key)
            else:
                changing.put(key, [key, 7, 7])
    assert found == [rows for rows in expected if rows]


def test_a_step_is_short_where_all_keys_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came since the freeze is passed over, with pauses."""
    monkeypatch.setattr(table, "KEYS_AT_ONCE", 10)
    rows: Table[int, Row] = Table()
    rows.put(500, [500])
    frozen = rows.freeze()
    for key in range(1_000):
        rows.put(key, [key])
    found = [chunk.rows for chunk in frozen.chunks()]
    assert sum(found) == 1
    assert len(found) > 50


def test_what_came_and_went_since_the_freeze_costs_nothing() -> None:
    """Messages in flight: each has a row for a moment."""
    rows: Table[int, Row] = Table()
    frozen = rows.freeze()
    for key in range(100):
        rows.put(key, [key])
        rows.delete(key)
    assert not frozen._old


def test_what_is_kept_for_a_snapshot_goes_with_it() -> None:
    """A snapshot that is given up must not cost memory for ever."""
    rows: Table[int, Row] = Table()
    for key in range(9):
        rows.put(key, [key, 0])
    given_up = rows.freeze()
    next(given_up.chunks())
    given_up.end()
    given_up.end()
    second = rows.freeze()
    given_up.end()
    rows.delete(8)
    assert rows_of([chunk.data for chunk in second.chunks()]) == [[key, 0] for key in range(9)]
    assert rows.freeze() is not second


def test_a_table_is_frozen_once_at_a_time() -> None:
    """The second freeze would take over what the first one keeps."""
    rows: Table[int, Row] = Table()
    rows.freeze()
    with pytest.raises(AssertionError):
        rows.freeze()


def test_chunks_are_small_whatever_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk is one turn's work and one write."""
    monkeypatch.setattr(table, "CHUNK_BYTES", 32 * 1024)
    rows: Table[int, Row] = Table()
    for key in range(300):
        rows.put(key, [key, *[1 << 30] * (key * 7)])
    chunks = list(rows.freeze().chunks())
    assert len(chunks) > 10
    assert max(len(chunk.data) for chunk in chunks) <= CHUNK_BYTES_MAX
    assert sum(chunk.rows for chunk in chunks) == 300


def test_the_digest_does_not_see_the_order_of_arrival() -> None:
    """Replicas that restored have another history of the same rows."""
    digests = set()
    for keys in ([1, 2, 3], [3, 1, 2]):
        rows: Table[int, Row] = Table()
        for key in keys:
            rows.put(key, [key])
        state = hashlib.blake2b()
        rows.digest(state)
        digests.add(state.hexdigest())
    assert len(digests) == 1

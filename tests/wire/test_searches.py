"""What a search picks of a batch, and what it does not open for that."""

import random

import pytest

from raftlog.base.errors import BadFilter
from raftlog.wire.batch import BATCH_HEADER_BYTES, Record, encode_batch, parse_batch_header
from raftlog.wire.batch_header import ANONYMOUS, seal_batch
from raftlog.wire.codecs import Codec
from raftlog.wire.filters import record_filter
from raftlog.wire.record_table import RecordTable, encode_table, key_hash
from raftlog.wire.searches import RecordSearch, searcher_of


def found(batch: bytes, search: RecordSearch) -> list[int]:
    return list(searcher_of(search)(batch).numbers)


def test_a_key_is_found_wherever_it_is_and_only_whole() -> None:
    """Against a plain loop: keys that begin alike, are empty, or are none."""
    draw = random.Random(6)
    keys = [None, b"", b"a", b"ab", b"b", b"aab", b"\0"]
    for codec in ("none", "zstd"):
        for _ in range(60):
            records = [Record(b"ab", draw.choice(keys)) for _ in range(draw.randint(1, 12))]
            batch = encode_batch(records, timestamp_ms=1, codec=codec)
            for key in keys[1:]:
                plain = [at for at, record in enumerate(records) if record.key == key]
                assert found(batch, RecordSearch(key=key)) == plain


def test_an_id_is_found_without_opening_the_batch() -> None:
    """It lies in the table, which no codec hides."""
    batch = encode_batch([Record(b"v" * 4096, id="o-17")], timestamp_ms=1, codec="zstd")
    picked = searcher_of(RecordSearch(id="o-17"))(batch)
    assert (list(picked.numbers), picked.opened < 100) == ([0], True)
    assert found(batch, RecordSearch(id="o-1")) == []
    assert found(encode_batch([Record(b"o-17")], timestamp_ms=1), RecordSearch(id="o-17")) == []


def test_all_that_is_asked_for_must_hold() -> None:
    """Key, id, tag and headers of the same record."""
    records = [
        Record(b"1", b"k", [("n", b"1")], tag="a"),
        Record(b"2", b"k", [("n", b"2")], tag="a"),
        Record(b"3", b"k", [("n", b"2")], tag="b"),
        Record(b"4", b"l", [("n", b"2")], tag="a"),
    ]
    batch = encode_batch(records, timestamp_ms=1)
    wanted = record_filter(["a"], "n = 2")
    assert found(batch, RecordSearch(key=b"k", wanted=wanted)) == [1]
    assert found(batch, RecordSearch(wanted=wanted)) == [1, 3]
    assert found(batch, RecordSearch(key=b"k", id="x", wanted=wanted)) == []
    assert found(batch, RecordSearch()) == [0, 1, 2, 3]
    one = encode_batch([Record(b"5", b"k", id="x", tag="b")], timestamp_ms=1)
    assert found(one, RecordSearch(b"k", "x")) == [0]
    assert found(one, RecordSearch(b"k", "x", record_filter(["a"]))) == []
    with pytest.raises(BadFilter):
        searcher_of(RecordSearch(wanted=record_filter((), "n !")))


def test_hashes_in_the_table_spare_opening_it() -> None:
    """A producer of another language may send them; ours does not."""
    table = encode_table(RecordTable((2,), key_hashes=(key_hash(b"k"),)))
    batch = seal_batch([b"", table, b"no columns at all"], Codec.NONE, 1, 0, ANONYMOUS, (1, 1))
    assert found(batch, RecordSearch(key=b"other")) == []


def test_a_hash_in_the_table_is_not_the_key() -> None:
    """Two keys may have one hash: only the key itself is a match."""
    plain = encode_batch([Record(b"v", b"x"), Record(b"w", b"k")], timestamp_ms=1)
    header = parse_batch_header(plain)
    hashes = (key_hash(b"k"), key_hash(b"k"))
    sizes = (2, 2)
    table = encode_table(RecordTable(sizes, key_hashes=hashes))
    columns = plain[BATCH_HEADER_BYTES + header.table_length :]
    batch = seal_batch([b"", table, columns], Codec.NONE, 2, header.flags, ANONYMOUS, (1, 1))
    assert found(batch, RecordSearch(key=b"k")) == [1]
    assert found(batch, RecordSearch(key=b"x")) == [], "the producer's hash says that it is not"

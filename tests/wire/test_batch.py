"""The record batch: what goes in comes out, and nothing else is accepted."""

import random
import sys
from typing import Final

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadBatch, CodecUnavailable, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from raftlog.wire import codecs
from raftlog.wire.batch import (
    BATCH_HEADER_BYTES,
    Batch,
    Producer,
    Record,
    batch_facts,
    batch_length,
    encode_batch,
    encode_columns,
    parse_batch_header,
    records,
)
from raftlog.wire.batch_header import table_of
from raftlog.wire.record_table import RecordTable, has_all_fifo_keys, key_hash, parse_table

RECORDS = st.lists(
    st.builds(
        Record,
        value=st.none() | st.binary(max_size=50),
        key=st.none() | st.binary(max_size=20),
        headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2),
        timestamp_ms=st.integers(0, 1 << 60),
        tag=st.none() | st.text(max_size=127),
    ),
    min_size=1,
    max_size=20,
)
CODECS: Final = st.sampled_from(["none", "zstd", "lz4"])


@given(sent=RECORDS, codec=CODECS)
def test_a_batch_gives_back_its_records(sent: list[Record], codec: str) -> None:
    """No value, an empty value, no key, an empty key, no tag and any time all differ."""
    batch = encode_batch(sent, timestamp_ms=77, codec=codec)
    received = list(records(batch))
    assert [(r.value, r.key, list(r.headers), r.timestamp_ms, r.tag) for r in received] == [
        (r.value, r.key, list(r.headers), r.timestamp_ms or 77, r.tag) for r in sent
    ]
    header = parse_batch_header(batch)
    assert header.largest_timestamp_ms == max(r.timestamp_ms or 77 for r in sent)
    assert batch_facts(batch) == (len(sent), header.largest_timestamp_ms)
    assert batch_length(b"xx" + batch, 2) == header.length == len(batch)
    assert [bytes(v) for v in Batch(batch).value_views()] == [r.value or b"" for r in sent]


def test_the_header_carries_what_duplicates_are_known_by() -> None:
    """The machine reads these and never the payload (ruling 11)."""
    producer = Producer(id=9, epoch=2, base_sequence=1 << 40, known_through=5)
    batch = encode_columns([b"v"], timestamp_ms=1, producer=producer)
    assert parse_batch_header(batch).producer == producer


@given(bit=st.integers(0, 8 * 200))
def test_a_flipped_bit_is_refused_except_in_base_offset_and_term(bit: int) -> None:
    """Those two are outside the checksum, so that they can be filled in."""
    good = encode_columns([b"value" * 10] * 3, timestamp_ms=1)
    bit %= 8 * len(good)
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    if bit < 8 * 16:
        assert parse_batch_header(bad) == parse_batch_header(good)
        return
    with pytest.raises(BadBatch):
        parse_batch_header(bad)


@given(data=st.binary(max_size=300))
def test_rubbish_is_a_bad_batch(data: bytes) -> None:
    """A client may send anything as a payload."""
    with pytest.raises(BadBatch):
        parse_batch_header(data)


def sealed_again(bad: bytearray) -> bytearray:
    """Give ``bad`` the checksum and the length of a batch, as a foreign producer would."""
    bad[28:32] = len(bad).to_bytes(4, "little")
    bad[16:20] = crc32c(bytes(bad[20:])).to_bytes(4, "little")
    return bad


@given(data=st.data(), codec=CODECS)
def test_a_batch_with_a_good_checksum_and_bad_contents_is_refused(
    data: st.DataObject, codec: str
) -> None:
    """A foreign producer can seal nonsense: reading it raises a refusal, nothing else."""
    good = encode_batch(
        [Record(b"abc" * 40, b"k", [("h", b"1")], 5, "tag"), Record(None, None, (), 9)],
        timestamp_ms=1,
        codec=codec,
    )
    bad = bytearray(good[: data.draw(st.integers(BATCH_HEADER_BYTES, len(good)))])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(24, len(bad) - 1))
        bad[at] = data.draw(st.integers(0, 255))
    try:
        list(records(sealed_again(bad)))
    except (BadBatch, RecordTooLarge, CodecUnavailable):
        return


def test_a_payload_that_gets_no_smaller_is_left_as_it_is() -> None:
    """A reader without the codec can read it, and nobody pays for opening it."""
    noise = [random.Random(1).randbytes(500)]
    plain = encode_columns(noise, timestamp_ms=1)
    for codec in ("zstd", "lz4"):
        assert encode_columns(noise, timestamp_ms=1, codec=codec) == plain
        assert len(encode_columns([b"a" * 500], timestamp_ms=1, codec=codec)) < len(plain)


def test_the_header_is_read_without_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker stores and serves compressed batches and never opens one."""
    batch = encode_columns([b"a" * 500], timestamp_ms=1, codec="zstd")
    codecs._package.cache_clear()
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)

    assert parse_batch_header(batch).codec == codecs.Codec.ZSTD
    with pytest.raises(CodecUnavailable, match=r"pip install 'raftlog\[zstd\]'"):
        Batch(batch)
    with pytest.raises(CodecUnavailable):
        encode_columns([b"v"], timestamp_ms=1, codec="zstd")


def test_a_codec_that_does_not_exist_is_named() -> None:
    """A producer with a typing error must not send uncompressed in silence."""
    with pytest.raises(CodecUnavailable, match="'gzip'; there are none, zstd, lz4"):
        encode_columns([b"v"], timestamp_ms=1, codec="gzip")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_bomb_is_a_bad_batch(codec: str) -> None:
    """A payload that opens to more than a batch may hold costs no more than a batch."""
    bomb = codecs.compress(codecs.CODEC_NAMES[codec], bytes(64 * BATCH_BYTES_MAX))
    head = bytearray(encode_columns([b"a" * 500], timestamp_ms=1, codec=codec))
    bad = sealed_again(head[:BATCH_HEADER_BYTES] + bomb)

    with pytest.raises(BadBatch, match="more than"):
        Batch(bad)


def test_only_a_batch_with_tags_has_a_record_table() -> None:
    """The table costs four bytes a record: nobody pays who has nothing to say in it."""
    plain = encode_batch([Record(b"v")], timestamp_ms=1)
    tagged = encode_batch([Record(b"v", b"key", [("h", b"12")], tag="t")], timestamp_ms=1)

    assert parse_batch_header(plain).table_length == 0
    length = parse_batch_header(tagged).table_length
    assert parse_table(table_of(tagged, length), 1) == RecordTable((7,), tags=("t",))


def test_a_batch_tells_the_hashes_of_its_keys_where_a_topic_needs_them() -> None:
    """And only there: a broker that orders by key else opens the payload, once."""
    records_ = [Record(b"v", b"a"), Record(b"w", b"b", tag="t"), Record(b"x", b"a")]
    told = encode_batch(records_, timestamp_ms=1, fifo=True)
    one, other = key_hash(b"a"), key_hash(b"b")
    length = parse_batch_header(told).table_length
    assert parse_table(table_of(told, length), 3).fifo_key_hashes == (one, other, one)
    assert has_all_fifo_keys(table_of(told, length), 3)
    assert [record.key for record in records(told)] == [b"a", b"b", b"a"]
    some = encode_batch([*records_, Record(b"y")], timestamp_ms=1, fifo=True)
    assert not has_all_fifo_keys(table_of(some, parse_batch_header(some).table_length), 4)
    assert parse_batch_header(encode_batch([Record(b"v", b"a")], timestamp_ms=1)).table_length == 0
    none = encode_batch([Record(b"v")], timestamp_ms=1, fifo=True)
    assert parse_batch_header(none).table_length == 0


def test_a_batch_with_a_bad_table_is_refused_at_the_gate() -> None:
    """Later features read tables in apply, which must not meet one that it cannot read."""
    bad = bytearray(encode_batch([Record(b"v", tag="t")], timestamp_ms=1))
    bad[BATCH_HEADER_BYTES] = 0xFF

    with pytest.raises(BadBatch):
        parse_batch_header(sealed_again(bad))


def test_a_header_name_that_is_not_text_is_a_bad_batch() -> None:
    """The decoder complains of bad UTF-8 with an error of Python's own: it must not escape."""
    bad = bytearray(encode_batch([Record(b"v", headers=[("name", b"1")])], timestamp_ms=1))
    at = bad.index(b"name")
    bad[at] = 0xFF
    bad[16:20] = crc32c(bytes(bad[20:])).to_bytes(4, "little")
    with pytest.raises(BadBatch):
        list(records(bad))


LIMITS: Final = [
    pytest.param([bytes(BATCH_BYTES_MAX)], id="bytes"),
    pytest.param([b""] * (BATCH_RECORDS_MAX + 1), id="records"),
]


@pytest.mark.parametrize("values", LIMITS)
def test_a_batch_over_a_limit_is_not_made(values: list[bytes]) -> None:
    """The limit is named where the caller can still do something about it."""
    with pytest.raises(RecordTooLarge):
        encode_columns(values, timestamp_ms=1)


def test_a_batch_at_the_limit_is_made_and_accepted() -> None:
    """Both sides mean the same limit."""
    batch = encode_columns([bytes(BATCH_BYTES_MAX - BATCH_HEADER_BYTES - 4)], timestamp_ms=1)
    assert len(batch) == BATCH_BYTES_MAX
    assert parse_batch_header(batch).count == 1


def test_a_batch_cut_short_is_refused() -> None:
    """Every proper prefix, so that no reader runs off the end."""
    good = encode_columns([b"abc"], [b"k"], timestamp_ms=1)
    for size in range(len(good)):
        with pytest.raises(BadBatch):
            parse_batch_header(good[:size])

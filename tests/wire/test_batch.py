"""The record batch: what goes in comes out, and nothing else is accepted."""

from typing import Final

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadBatch, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
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

RECORDS = st.lists(
    st.builds(
        Record,
        value=st.none() | st.binary(max_size=50),
        key=st.none() | st.binary(max_size=20),
        headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2),
        timestamp_ms=st.integers(0, 1 << 60),
    ),
    min_size=1,
    max_size=20,
)


@given(sent=RECORDS)
def test_a_batch_gives_back_its_records(sent: list[Record]) -> None:
    """No value, an empty value, no key, an empty key and any time are all different things."""
    batch = encode_batch(sent, timestamp_ms=77)
    received = list(records(batch))
    assert [(r.value, r.key, list(r.headers), r.timestamp_ms) for r in received] == [
        (r.value, r.key, list(r.headers), r.timestamp_ms or 77) for r in sent
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


@given(data=st.data())
def test_a_batch_with_a_good_checksum_and_bad_columns_is_refused(data: st.DataObject) -> None:
    """A foreign producer can seal nonsense: reading it raises BadBatch, nothing else."""
    good = encode_batch(
        [Record(b"abc", b"k", [("h", b"1")], 5), Record(None, None, (), 9)], timestamp_ms=1
    )
    at = data.draw(st.integers(24, len(good) - 1).filter(lambda at: not 28 <= at < 32))
    bad = bytearray(good)
    bad[at] = data.draw(st.integers(0, 255))
    bad[16:20] = crc32c(bytes(bad[20:])).to_bytes(4, "little")
    try:
        list(records(bad))
    except (BadBatch, RecordTooLarge):
        return


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

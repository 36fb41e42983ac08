"""The record table: what a broker may know of single records comes out as it went in."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadBatch, BadRequest
from raftlog.wire.record_table import (
    RecordTable,
    check_table,
    encode_table,
    key_hash,
    parse_table,
)

TAGS = st.none() | st.text(max_size=127)
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)


@st.composite
def tables(draw: st.DrawFn) -> RecordTable:
    """Draw a table with any of the columns."""
    count = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
        return st.lists(values, min_size=count, max_size=count).map(tuple)

    return RecordTable(
        draw(column(U32)),
        draw(st.none() | column(TAGS)),
        draw(st.none() | column(U64)),
        draw(st.none() | column(U64)),
        draw(st.none() | TAGS.filter(bool)) if count == 1 else None,
    )


@given(table=tables())
def test_a_table_gives_back_its_columns(table: RecordTable) -> None:
    """A column that is left out is not one of zeros, and no tag is not an empty one."""
    encoded = memoryview(encode_table(table))

    check_table(encoded, len(table.sizes))
    assert parse_table(encoded, len(table.sizes)) == table


@given(table=tables(), data=st.data())
def test_a_table_that_was_cut_or_changed_is_a_bad_batch_or_another_table(
    table: RecordTable, data: st.DataObject
) -> None:
    """The batch's checksum is the producer's: what is sealed may still be nonsense."""
    bad = bytearray(encode_table(table))
    bad = bad[: data.draw(st.integers(0, len(bad)))]
    if bad:
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    count = data.draw(st.integers(1, 9))
    try:
        found = parse_table(memoryview(bad), count)
    except BadBatch:
        return
    check_table(memoryview(bad), count)
    assert len(found.sizes) == count
    assert encode_table(found) == bad


@pytest.mark.parametrize("tag", ["x" * 128, "\ud800"])
def test_a_tag_that_is_too_long_or_no_text_is_refused(tag: str) -> None:
    """Where the caller can still do something about it."""
    with pytest.raises(BadRequest, match="tag"):
        encode_table(RecordTable((1,), tags=(tag,)))


def test_a_stored_tag_is_bounded_in_characters_not_only_in_bytes() -> None:
    """127 characters may be 508 bytes, but 508 bytes may not be 508 characters."""
    longest = "\N{GRINNING FACE}" * 127
    encoded = encode_table(RecordTable((1,), tags=(longest,)))
    assert parse_table(memoryview(encoded), 1).tags == (longest,)

    head = struct.pack("<HHIh", 4, 0, 1, 508)
    for blob in (b"x" * 508, b"\xff" * 508):
        check_table(memoryview(head + blob), 1)
        with pytest.raises(BadBatch, match="tag"):
            parse_table(memoryview(head + blob), 1)


def test_the_hash_of_a_key_is_part_of_the_format() -> None:
    """Another language must find the same key: these values never change."""
    assert key_hash(b"") == 0xB4B2797457A0A6E4
    assert key_hash(b"order-17") == 0xB05B448E0CAEE978

"""Records as lines of JSON, in both directions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadFormat
from raftlog.cli.ndjson import Outgoing, read_record, record_line

WHERE = "stdin:3"


@dataclass(frozen=True)
class Stored:
    """A record as a reader gets it."""

    key: bytes | None = None
    value: bytes | None = b"v"
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "orders"
    queue: int = 2
    offset: int = 17
    timestamp_ms: int = 1_764_061_200_123
    tag: str | None = None
    id: str | None = None


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b'{"value": "v"}', Outgoing(b"v")),
        (b'{"value": ""}', Outgoing(b"")),
        (b'{"value": null}', Outgoing(None)),
        (b'{"key": "k", "value": "\xc3\xa4"}', Outgoing("ä".encode(), b"k")),
        (b'{"key": null, "value": "v"}', Outgoing(b"v")),
        (b'{"value": {"a": [1, 2.5]}}', Outgoing(b'{"a":[1,2.5]}')),
        (b'{"value": 7}', Outgoing(b"7")),
        (b'{"value": "v", "tag": "new"}', Outgoing(b"v", tag="new")),
        (b'{"value": "v", "id": "order-17"}', Outgoing(b"v", id="order-17")),
        (b'{"value_base64": "/w==", "key_base64": "AA=="}', Outgoing(b"\xff", b"\0")),
        (
            b'{"value": "v", "headers": {"a": "1", "b": ["2", "3"], "c": {"base64": "/w=="}}}',
            Outgoing(b"v", None, (("a", b"1"), ("b", b"2"), ("b", b"3"), ("c", b"\xff"))),
        ),
        (
            b'{"value": "v", "headers": null, "queue": 3, "offset": 9, "topic": "t"}',
            Outgoing(b"v"),
        ),
    ],
)
def test_a_line_is_read(line: bytes, record: Outgoing) -> None:
    """Where a record was before is nothing to whoever sends it."""
    assert read_record(line, WHERE) == record


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "no JSON"),
        (b"plain", "no JSON"),
        (b'{"value": "\xff"}', "no JSON"),
        (b'["v"]', "a list; write an object"),
        (b'"v"', "a text; write an object"),
        (b"null", "null; write an object"),
        (b"{}", "no value"),
        (b'{"key": "k"}', "no value"),
        (b'{"vaule": "v"}', "no field 'vaule'"),
        (b'{"key": 7, "value": "v"}', "the key is a number"),
        (b'{"tag": [], "value": "v"}', "the tag is a list"),
        (b'{"id": 7, "value": "v"}', "the id is a number"),
        (b'{"value": "v", "value_base64": "/w=="}', "both value and value_base64"),
        (b'{"value_base64": "?"}', "value_base64 is no base64"),
        (b'{"value_base64": 7}', "value_base64 is a number"),
        (b'{"value": "v", "headers": ["a"]}', "headers are a list"),
        (b'{"value": "v", "headers": {"a": 1}}', "header 'a' is a number"),
        (b'{"value": "v", "headers": {"a": [true]}}', "header 'a' is true or false"),
        (b'{"value": "v", "headers": {"a": {"b": 1}}}', "header 'a' is an object"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(line: bytes, complaint: str) -> None:
    """A million lines later somebody has to find it."""
    with pytest.raises(BadFormat) as refused:
        read_record(line, WHERE)

    assert str(refused.value).startswith(f"{WHERE}: ")
    assert complaint in str(refused.value)


def test_a_record_is_written() -> None:
    """Text as text."""
    line = record_line(Stored(key=b"k", headers=(("a", b"1"), ("b", b"\xff"), ("a", b"2"))))

    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "topic": "orders",
        "queue": 2,
        "offset": 17,
        "timestamp_ms": 1_764_061_200_123,
        "key": "k",
        "value": "v",
        "headers": {"a": ["1", "2"], "b": {"base64": "/w=="}},
    }


def test_bytes_that_are_no_text_have_a_field_of_their_own() -> None:
    """JSON has no bytes."""
    found = json.loads(record_line(Stored(key=b"\xff", value=None)))

    assert found["key_base64"] == "/w=="
    assert "key" not in found
    assert found["value"] is None


names = st.text(min_size=1, max_size=8)


@given(
    st.none() | st.binary(max_size=32),
    st.none() | st.binary(max_size=32),
    st.dictionaries(names, st.binary(max_size=8), max_size=4),
    st.none() | names,
)
def test_what_sub_writes_pub_reads(
    key: bytes | None, value: bytes | None, headers: dict[str, bytes], tag: str | None
) -> None:
    """``raftlog sub a -o json | raftlog pub b --format json`` copies a topic."""
    stored = Stored(key, value, tuple(headers.items()), tag=tag)

    assert read_record(record_line(stored), WHERE) == Outgoing(value, key, stored.headers, tag)

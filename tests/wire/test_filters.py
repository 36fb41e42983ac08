"""Filters: the language, its three-valued logic, and which records of a batch it picks."""

import re
import sqlite3
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadBatch, BadFilter, CodecUnavailable, Refused
from raftlog.base.limits import FILTER_CHARACTERS_MAX, FILTER_TAGS_MAX
from raftlog.wire import codecs
from raftlog.wire.batch import Record, encode_batch
from raftlog.wire.filter_language import read_condition
from raftlog.wire.filters import EVERYTHING, RecordFilter, record_filter, selector_of

NOW_MS = 1_700_000_000_000


def holds(text: str, **headers: str | None) -> bool | None:
    return read_condition(text)[0].holds(headers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind = 'paid'", True),
        ("kind <> 'paid'", False),
        ("kind = 'PAID'", False),
        ("amount = 7", True),
        ("amount = 7.0", True),
        ("amount = '7'", True),
        ("amount = '7.0'", False),
        ("amount > 6.5 AND amount <= 7", True),
        ("7 < amount", False),
        ("-1e1 < amount", True),
        ("amount BETWEEN 7 AND 9", True),
        ("amount NOT BETWEEN 7 AND 9", False),
        ("kind BETWEEN 'a' AND 'q'", True),
        ("amount IN (1, 7)", True),
        ("amount NOT IN (1, 7)", False),
        ("kind IN ('new', 'paid')", True),
        ("kind LIKE 'p%'", True),
        ("kind LIKE '_aid'", True),
        ("kind LIKE 'aid'", False),
        ("kind NOT LIKE '%x%'", True),
        ("rate LIKE '10!%' ESCAPE '!'", True),
        ("kind LIKE '10!%' ESCAPE '!'", False),
        ("missing IS NULL", True),
        ("kind IS NOT NULL", True),
        ("urgent = TRUE", True),
        ("urgent <> true", False),
        ("TRUE", True),
        ("not False", True),
        ("NOT (amount = 7 OR kind = 'x')", False),
        ("amount = 8 OR amount = 7 AND kind = 'paid'", True),
        ("(amount = 8 OR amount = 7) AND kind = 'new'", False),
        ("\"content-type\" = 'text/plain'", True),
        ("name = 'it''s'", True),
        ("low < amount", True),
        ("kind <> name", True),
    ],
)
def test_what_a_condition_says(text: str, expected: bool) -> None:  # noqa: FBT001
    """Each piece of the language, as SQL means it."""
    headers: dict[str, str | None] = {
        "kind": "paid",
        "amount": "7",
        "urgent": "True",
        "name": "it's",
        "low": "6.9",
        "content-type": "text/plain",
        "rate": "10%",
    }
    assert read_condition(text)[0].holds(headers) is expected


@pytest.mark.parametrize(
    "text",
    [
        *("missing = 1", "missing <> 1", "NOT missing = 1", "missing BETWEEN 1 AND 2"),
        *("missing IN ('a')", "missing NOT IN ('a')", "missing LIKE '%'", "kind < 3"),
        *("kind = TRUE", "missing = kind", "missing = 1 AND kind = 'paid'"),
        *("missing = 1 OR kind = 'new'", "NOT (missing = 1 OR FALSE)", "long = 1"),
    ],
)
def test_what_is_unknown_stays_unknown(text: str) -> None:
    """A record is given out only if the condition is true: NOT of unknown is no way in."""
    assert holds(text, kind="paid", long="1" * 65) is None


def test_unknown_does_not_hide_what_is_known() -> None:
    """One side decides, where it can."""
    assert holds("missing = 1 AND kind = 'new'", kind="paid") is False
    assert holds("missing = 1 OR kind = 'paid'", kind="paid") is True


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", 0, "found the end, expected a header's name or a value"),
        ("amount >> 5", 8, "found >, expected a header's name or a value"),
        ("amount != 5", 7, "write <>"),
        ("amount == 5", 8, "found =, expected"),
        ("amount = 5 kind", 11, "found kind, expected AND, OR or the end"),
        ("kind = 'paid", 7, "a string that does not end"),
        ('"kind = 1', 0, "a name that does not end"),
        ("kind", 4, "kind alone says nothing"),
        ("(kind = 'a'", 11, "found the end, expected AND, OR or )"),
        ("amount BETWEEN 1", 16, "expected AND, and the upper bound"),
        ("amount BETWEEN 1 AND 'x'", 21, "'x' is a string and 1 is a number"),
        ("amount IN ()", 11, "found ), expected"),
        ("amount IN (1, 'x')", 14, "'x' is a string and 1 is a number"),
        ("amount IN (other)", 11, "the values of IN are literals"),
        ("kind LIKE 5", 10, "a pattern in single quotes"),
        ("kind LIKE '!x' ESCAPE '!'", 10, "after ! in the pattern"),
        ("kind LIKE 'x' ESCAPE 'ab'", 21, "ESCAPE is one character"),
        ("kind = NULL", 7, "write IS NULL"),
        ("kind IS 5", 8, "expected NULL or NOT NULL"),
        ("TAGS = 'a'", 0, 'a record has one tag: write tag for it, or "TAGS" for a header'),
        ("amount > 1 AND tags IN ('a')", 15, "write tag for it"),
        ("5 IS NULL", 0, "IS NULL asks for a header"),
        ("1 = 'a'", 4, "'a' is a string and 1 is a number"),
        ("urgent > TRUE", 9, "booleans have none"),
        ("kind NOT = 'a'", 9, "expected BETWEEN, IN or LIKE"),
        ("amount = 1e999", 9, "beyond what is counted with"),
        ("5kind = 1", 1, "right after the number"),
        ("kind = 'a' ; x", 11, "';' is not understood"),
        ("NOT " * 33 + "a = 1", 128, "more than 32 levels"),
        ("a = 1 AND " * 20 + "b ? 2", 202, "'?' is not understood"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, place: int, what: str) -> None:
    """The caret stands under the very character, also in a long filter."""
    with pytest.raises(BadFilter, match=re.escape(what)) as refused:
        read_condition(text)
    head, line, caret = str(refused.value).split("\n")
    assert f"at character {place + 1}:" in head
    assert len(line) <= 4 + 60 + 6
    if place < len(text):
        assert line[caret.index("^")] == text[place]
    else:
        assert len(caret) == len(line) + 1


def test_filters_are_bounded() -> None:
    """They are state of a group, and are read for every fetch."""
    with pytest.raises(BadFilter, match="characters"):
        record_filter((), "a = 1 OR " * (FILTER_CHARACTERS_MAX // 9) + "b = 1 OR c = 1")
    with pytest.raises(BadFilter, match="tags"):
        record_filter([str(number) for number in range(FILTER_TAGS_MAX + 1)])
    with pytest.raises(BadFilter, match="a tag of 128 characters"):
        record_filter(["x" * 128])
    assert record_filter(["b", "a", "b"], " a = 1 ") == RecordFilter(("a", "b"), "a = 1")


# -- against another engine

_TEXTS = ["", "a", "ab", "b%", "7", "7.5", "-2", "it's", None]
_NAMES = ["x", "y", "z"]


def _random_condition(random: Random, depth: int) -> str:
    if depth and random.random() < 0.6:
        left = _random_condition(random, depth - 1)
        right = _random_condition(random, depth - 1)
        return random.choice(
            (f"({left} AND {right})", f"({left} OR {right})", f"NOT ({left})", f"({left})")
        )
    name = random.choice(_NAMES)
    text = random.choice(["'a'", "'ab'", "'b'", "''", "'it''s'"])
    other = random.choice(["'a'", "'b'"])
    sign = random.choice(["=", "<>", "<", "<=", ">", ">="])
    maybe = random.choice(["", "NOT "])
    return random.choice(
        (
            f"{name} {sign} {text}",
            f"{text} {sign} {name}",
            f"{name} {maybe}BETWEEN {text} AND {other}",
            f"{name} {maybe}IN ({text}, {other})",
            f"{name} {maybe}LIKE "
            + random.choice(["'a%'", "'%b'", "'_b'", "'%'", "'a_%b%'", "''"]),
            f"{name} {maybe}LIKE 'b!%' ESCAPE '!'",
            f"{name} IS {maybe}NULL",
        )
    )


@pytest.mark.parametrize("seed", range(8))
def test_it_says_what_another_sql_engine_says(seed: int) -> None:
    """For text, sqlite's three-valued logic is the oracle: two thousand conditions."""
    random = Random(seed)
    with sqlite3.connect(":memory:") as oracle:
        oracle.execute("PRAGMA case_sensitive_like = ON")
        for _ in range(250):
            text = _random_condition(random, 3)
            row = {name: random.choice(_TEXTS) for name in _NAMES}
            (expected,) = oracle.execute(
                f"SELECT {text} FROM (SELECT :x AS x, :y AS y, :z AS z)", row
            ).fetchone()
            found = read_condition(text)[0].holds(row)
            assert found is (None if expected is None else bool(expected)), (text, row)
    oracle.close()


@pytest.mark.parametrize("seed", range(4))
def test_numbers_compare_as_another_sql_engine_compares_them(seed: int) -> None:
    """The oracle is told that the column is a number."""
    random = Random(seed)
    with sqlite3.connect(":memory:") as oracle:
        for _ in range(200):
            value = random.choice(["7", "7.0", "-2.5", "1e3", "1000", "0", "x", None])
            sign = random.choice(["=", "<>", "<", "<=", ">", ">="])
            literal = random.choice(["7", "7.0", "-2.5", "1000", "1e3", "0.0"])
            number = None if value in ("x", None) else float(str(value))
            (expected,) = oracle.execute(f"SELECT ? {sign} {literal}", (number,)).fetchone()
            found = holds(f"h {sign} {literal}", h=value)
            assert found is (None if expected is None else bool(expected)), (value, sign, literal)
    oracle.close()


@given(st.text(max_size=60))
def test_nothing_else_than_a_bad_filter_comes_out(text: str) -> None:
    """Whatever is typed."""
    try:
        condition, _ = read_condition(text)
    except BadFilter:
        return
    assert condition.holds({}) in (True, False, None)


_WORDS = st.sampled_from(
    [
        *("a", "b", "'x'", "7", "-1.5", "TRUE", "NULL", "AND", "OR", "NOT", "BETWEEN", "IN"),
        *("LIKE", "ESCAPE", "IS", "=", "<>", "<", ">=", "(", ")", ","),
    ]
)


@given(st.lists(_WORDS, max_size=14))
def test_any_words_in_any_order_are_read_or_refused(words: list[str]) -> None:
    """Most random text is no word at all; these are."""
    try:
        condition, names = read_condition(" ".join(words))
    except BadFilter:
        return
    assert names <= {"a", "b"}
    assert condition.holds({"a": "7", "b": "x"}) in (True, False, None)


@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="ab\n", max_size=10))
def test_a_pattern_matches_as_the_obvious_expression_does(pattern: str, text: str) -> None:
    """The pieces are looked for one by one; a regular expression tries everything."""
    obvious = "".join({"%": ".*", "_": "."}.get(each, each) for each in pattern)
    expected = re.fullmatch(obvious, text, re.DOTALL) is not None
    assert holds(f"h LIKE '{pattern}'", h=text) is expected


# -- batches


def batch(*records: Record, codec: str = "none") -> bytes:
    return encode_batch(records, timestamp_ms=NOW_MS, codec=codec)


def picked(wanted: RecordFilter, data: bytes) -> list[int]:
    return list(selector_of(wanted)(data).numbers)


RECORDS = (
    Record(b"0", tag="new", headers=[("amount", b"5")]),
    Record(b"1", tag="paid", headers=[("amount", b"7"), ("other", b"x")]),
    Record(b"2", key=b"k", headers=[("amount", b"9"), ("amount", b"1")]),
    Record(b"3", tag="paid"),
    Record(None, tag="new", headers=[("amount", b"\xff")]),
)


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4"])
def test_records_are_picked_by_tag_and_by_condition(codec: str) -> None:
    """Both must hold where both are given; of two headers of a name the last one counts."""
    data = batch(*RECORDS, *[Record(b"x" * 200)] * 9, codec=codec)
    assert picked(record_filter(["paid"]), data) == [1, 3]
    assert picked(record_filter(["new", "paid"]), data) == [0, 1, 3, 4]
    assert picked(record_filter((), "amount >= 5"), data) == [0, 1]
    assert picked(record_filter((), "amount = 1"), data) == [2]
    assert picked(record_filter(["paid"], "amount IS NULL"), data) == [3]
    assert picked(record_filter(["other"], "amount IS NULL"), data) == []
    assert picked(record_filter((), "amount IS NULL"), data) == [3, 4, *range(5, 14)]
    assert picked(EVERYTHING, data) == list(range(14))


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("tag = 'paid'", [1, 3]),
        ("TAG = 'paid'", [1, 3]),
        ("tag IN ('new', 'paid')", [0, 1, 3, 4]),
        ("tag LIKE 'n%'", [0, 4]),
        ("tag <> 'paid'", [0, 4]),
        ("NOT tag = 'paid'", [0, 4]),
        ("tag IS NULL", [2, 5, 6]),
        ("tag IS NOT NULL", [0, 1, 3, 4]),
        ("tag = 'paid' AND amount = 7", [1]),
        ("tag = 'paid' OR amount = 5", [0, 1, 3]),
        ("tag IS NULL AND amount = 1", [2]),
        ("tag = other", []),
        ("\"tag\" = 'of a header'", [6]),
        ("tag = 'of a header'", []),
        ("tag = 'paid' OR \"tag\" IS NOT NULL", [1, 3, 6]),
    ],
)
def test_a_condition_sees_the_tag(condition: str, expected: list[int], codec: str) -> None:
    """As ``tag``: who wrote that meant it. A header of that name has double quotes."""
    named = Record(b"6", headers=[("tag", b"of a header")])
    data = batch(*RECORDS, Record(b"5" * 900), named, codec=codec)
    assert picked(record_filter((), condition), data) == expected


def test_tags_in_the_list_and_in_the_condition_must_both_hold() -> None:
    """As with headers."""
    data = batch(*RECORDS)
    assert picked(record_filter(["paid"], "tag = 'new'"), data) == []
    assert picked(record_filter(["paid"], "tag LIKE 'p%'"), data) == [1, 3]


def test_a_tag_is_compared_as_a_header_is() -> None:
    """With a number it counts as the number that its text is."""
    data = batch(Record(b"0", tag="7"), Record(b"1", tag="x"), Record(b"2", tag="true"))
    assert picked(record_filter((), "tag < 8"), data) == [0]
    assert picked(record_filter((), "tag = TRUE"), data) == [2]


def test_batches_without_tags_or_headers() -> None:
    """Nothing is found by a tag, and everything by what is unknown of all."""
    data = batch(Record(b"0"), Record(b"1"))
    assert picked(record_filter(["paid"]), data) == []
    assert picked(record_filter((), "amount = 1"), data) == []
    assert picked(record_filter((), "amount IS NULL"), data) == [0, 1]
    assert picked(record_filter((), "tag = 'paid'"), data) == []
    assert picked(record_filter((), "tag IS NULL"), data) == [0, 1]
    assert picked(record_filter((), "tag IS NULL AND amount IS NULL"), data) == [0, 1]


def test_tags_need_no_codec_and_conditions_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that can't be looked into is an error, and never one that does not match."""
    data = batch(*[Record(b"x" * 500, tag="a")] * 20, codec="zstd")
    monkeypatch.setitem(codecs._MODULES, codecs.Codec.ZSTD, "no_such_package")
    codecs._package.cache_clear()
    assert picked(record_filter(["a"]), data) == list(range(20))
    assert picked(record_filter((), "tag <> 'b'"), data) == list(range(20))
    assert picked(record_filter(["b"], "x = 1"), data) == []
    with pytest.raises(CodecUnavailable, match="zstd"):
        picked(record_filter(["a"], "x = 1"), data)
    monkeypatch.undo()
    codecs._package.cache_clear()


def test_damage_is_an_error_too() -> None:
    """What fails its checksum has no tags."""
    data = bytearray(batch(*RECORDS))
    data[-1] ^= 1
    for wanted in (record_filter(["a"]), record_filter((), "x = 1")):
        with pytest.raises(BadBatch):
            picked(wanted, bytes(data))
    assert issubclass(BadFilter, Refused)

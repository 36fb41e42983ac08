"""Format strings: what each part writes, and where a bad one is bad."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.errors import BadFormat
from raftlog.cli.formats import read_format


@dataclass(frozen=True)
class Stored:
    """A record as a reader gets it."""

    topic: str = "orders"
    queue: int = 2
    offset: int = 17
    key: bytes | None = b"k"
    value: bytes | None = b"v\xff"
    headers: Sequence[tuple[str, bytes]] = (("a", b"1"), ("b", b"2"), ("a", b"3"))
    timestamp_ms: int = 1_764_061_200_123
    tag: str | None = "new"
    id: str | None = "order-17"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", b""),
        ("plain", b"plain"),
        ("%t %q %o", b"orders 2 17"),
        ("%k=%v%n", b"k=v\xff\n"),
        ("%v{hex}|%k{hex}", b"76ff|6b"),
        ("%v{base64}|%k{base64}", b"dv8=|aw=="),
        ("%h", b"a=1,b=2,a=3"),
        ("%T", b"1764061200123"),
        ("%g", b"new"),
        ("%T{iso}", b"2025-11-25T09:00:00.123Z"),
        ("100%%", b"100%"),
        (r"a\tb\nc\\d\re\0", b"a\tb\nc\\d\re\0"),
        (r"\x00\xfF", b"\x00\xff"),
        ("{%o}", b"{17}"),
        ("%o}", b"17}"),
        ("für %v{hex}", "für 76ff".encode()),
    ],
)
def test_each_part_writes_its_field(text: str, written: bytes) -> None:
    """Braces that follow no field are plain text."""
    assert read_format(text)(Stored()) == written


@pytest.mark.parametrize("text", ["%k", "%v", "%k{hex}", "%v{base64}", "%h", "%g"])
def test_what_is_absent_is_written_as_nothing(text: str) -> None:
    """As kcat does without -Z."""
    assert read_format(text)(Stored(key=None, value=None, headers=(), tag=None, id=None)) == b""


@pytest.mark.parametrize(
    ("text", "what", "position", "advice"),
    [
        ("%v %z", "'%z'", 4, "use one of %t %q %o %k %v %h %g %i %T %n %%"),
        ("%s", "'%s'", 1, "did you mean %v?"),
        ("%p", "'%p'", 1, "did you mean %q?"),
        ("%K", "'%K'", 1, "did you mean %k?"),
        ("%V", "'%V'", 1, "did you mean %v?"),
        ("100%", "'%' alone", 4, "write %% for a percent sign"),
        ("a %v{hex", "'{' without '}'", 5, "close it"),
        ("%v{HEX}", "'%v{HEX}'", 1, "write %v or %v{hex} or %v{base64}"),
        ("%v{}", "'%v{}'", 1, "write %v or"),
        ("%o{hex}", "'%o{hex}'", 1, "write %o alone"),
        ("x\\q", "'\\q'", 2, "use one of \\n \\t"),
        ("x\\", "'\\'", 2, "use one of"),
        ("\\x1", "'\\x1'", 1, "two hexadecimal digits"),
        ("\\xZZ", "'\\xZZ'", 1, "two hexadecimal digits"),
    ],
)
def test_a_bad_format_is_refused_with_its_place(
    text: str, what: str, position: int, advice: str
) -> None:
    """The sentence names what, where, and what would be right."""
    with pytest.raises(BadFormat) as refused:
        read_format(text)

    assert f"has {what} at position {position}," in str(refused.value)
    assert advice in str(refused.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else than BadFormat comes out."""
    try:
        render = read_format(text)
    except BadFormat:
        return
    render(Stored())


@given(st.text(alphabet=st.characters(exclude_characters="%\\", codec="utf-8")))
def test_text_without_signs_is_written_as_it_is(text: str) -> None:
    """Only % and backslash mean something."""
    assert read_format(text)(Stored()) == text.encode()

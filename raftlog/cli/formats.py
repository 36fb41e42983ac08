r"""Format strings: how ``raftlog sub --format`` writes a record.

::

    %t topic        %k key       %h headers, name=value,name=value
    %q queue        %v value     %T timestamp, milliseconds since 1970 (UTC)
    %o offset       %g tag       %n newline   %% a percent sign
    %i id
    %v{hex} %v{base64} %k{hex} %k{base64} %T{iso}        \n \t \r \0 \\ \xHH

The letters are those of kcat where ours means the same. A key or a value is
written as its bytes; what is absent is written as nothing. Nothing is added at
the end: a format that wants lines says so.

A string is read once, into parts; what does not parse is refused with the
position of its first character, counted from 1.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from raftlog.base.errors import BadFormat

DEFAULT_FORMAT: Final = "%v%n"

_LIKE_KCAT: Final = {"s": "v", "p": "q"}
"""What people who know kcat type, and our letter for it."""


class Fields(Protocol):
    """What a format reads of a record; a ``Message`` of the SDK has it all."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def queue(self) -> int:
        """Its place in the topic."""

    @property
    def offset(self) -> int:
        """In the queue."""

    @property
    def key(self) -> bytes | None:
        """None: it has none."""

    @property
    def value(self) -> bytes | None:
        """None: it has none."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """In the producer's order; a name may occur twice."""

    @property
    def timestamp_ms(self) -> int:
        """Milliseconds since 1970."""

    @property
    def tag(self) -> str | None:
        """None: it has none."""

    @property
    def id(self) -> str | None:
        """None: it has none."""


Part = Callable[[Fields], bytes]


def read_format(text: str) -> Callable[[Fields], bytes]:
    """Read a format string; return what renders a record with it.

    Raises:
        BadFormat: It does not parse. The text says where, and what would.
    """
    parts: list[Part] = []
    position = 0
    while position < len(text):
        part, length = _part_at(text, position)
        parts.append(part)
        position += length
    return lambda record: b"".join([part(record) for part in parts])


# -- one part


def _part_at(text: str, position: int) -> tuple[Part, int]:
    """Return the part that begins at ``position``, and its length."""
    match text[position]:
        case "%":
            return _field_at(text, position)
        case "\\":
            return _escape_at(text, position)
        case _:
            plain = re.compile(r"[^%\\]+").match(text, position)
            assert plain is not None, f"{text!r} at {position}"
            return _literal(plain[0].encode()), len(plain[0])


def _field_at(text: str, position: int) -> tuple[Part, int]:
    letter = text[position + 1 : position + 2]
    if not letter:
        raise _bad(text, position, "'%' alone", "write %% for a percent sign")
    if letter in _FIXED:
        return _literal(_FIXED[letter]), 2
    encodings = _FIELDS.get(letter)
    if encodings is None:
        near = _LIKE_KCAT.get(letter) or letter.swapcase()
        known = " ".join(f"%{each}" for each in (*_FIELDS, *_FIXED))
        advice = f"did you mean %{near}?" if near in _FIELDS else f"use one of {known}"
        raise _bad(text, position, f"'%{letter}'", advice)
    if text[position + 2 : position + 3] != "{":
        return encodings[""], 2
    end = text.find("}", position)
    if end < 0:
        raise _bad(text, position + 2, "'{' without '}'", "close it")
    encoding = text[position + 3 : end]
    if not encoding or encoding not in encodings:
        named = [f"%{letter}{{{each}}}" for each in encodings if each]
        advice = f"write %{letter} or {' or '.join(named)}" if named else f"write %{letter} alone"
        raise _bad(text, position, f"'{text[position : end + 1]}'", advice)
    return encodings[encoding], end + 1 - position


def _escape_at(text: str, position: int) -> tuple[Part, int]:
    letter = text[position + 1 : position + 2]
    if letter in _ESCAPES:
        return _literal(_ESCAPES[letter]), 2
    if letter == "x":
        code = text[position + 2 : position + 4]
        if re.fullmatch("[0-9A-Fa-f]{2}", code) is None:
            raise _bad(text, position, f"'\\x{code}'", "write two hexadecimal digits after \\x")
        return _literal(bytes.fromhex(code)), 4
    known = " ".join(f"\\{each}" for each in _ESCAPES)
    raise _bad(text, position, f"'\\{letter}'", f"use one of {known} \\xHH")


def _bad(text: str, position: int, what: str, advice: str) -> BadFormat:
    return BadFormat(
        f"the format {text!r} has {what} at position {position + 1}, which means nothing; {advice}"
    )


def _literal(data: bytes) -> Part:
    return lambda _: data


# -- fields


def iso_time(timestamp_ms: int) -> str:
    """Return a timestamp as ISO 8601 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _headers(record: Fields) -> bytes:
    return b",".join(name.encode() + b"=" + value for name, value in record.headers)


_FIXED: Final[Mapping[str, bytes]] = {"n": b"\n", "%": b"%"}
_ESCAPES: Final[Mapping[str, bytes]] = {
    "n": b"\n",
    "t": b"\t",
    "r": b"\r",
    "0": b"\0",
    "\\": b"\\",
}
_FIELDS: Final[Mapping[str, Mapping[str, Part]]] = {
    "t": {"": lambda record: record.topic.encode()},
    "q": {"": lambda record: b"%d" % record.queue},
    "o": {"": lambda record: b"%d" % record.offset},
    "k": {
        "": lambda record: record.key or b"",
        "hex": lambda record: (record.key or b"").hex().encode(),
        "base64": lambda record: b64encode(record.key or b""),
    },
    "v": {
        "": lambda record: record.value or b"",
        "hex": lambda record: (record.value or b"").hex().encode(),
        "base64": lambda record: b64encode(record.value or b""),
    },
    "h": {"": _headers},
    "g": {"": lambda record: (record.tag or "").encode()},
    "i": {"": lambda record: (record.id or "").encode()},
    "T": {
        "": lambda record: b"%d" % record.timestamp_ms,
        "iso": lambda record: iso_time(record.timestamp_ms).encode(),
    },
}

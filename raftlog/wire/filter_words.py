"""The words of a filter: its text, cut into tokens that know where they begin.

::

    name        price  "content-type" (any name, in double quotes; "" is one of them)
    string      'paid'  'it''s'       (in single quotes; '' is one of them)
    number      7  -3  2.50  1e6
    sign        =  <>  <  <=  >  >=  (  )  ,
    keyword     AND OR NOT BETWEEN IN LIKE ESCAPE IS NULL TRUE FALSE TAG, in any case

What is wrong is told with its line of the filter and a caret under the place.
"""

import re
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.errors import BadFilter
from raftlog.base.limits import FILTER_CHARACTERS_MAX

KEYWORDS: Final = frozenset(
    {
        *("AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL"),
        *("TRUE", "FALSE", "TAG"),
    }
)
_SHOWN: Final = 60
"""Characters of a long filter that are shown round a mistake."""
_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<word>[^\W\d][\w$.]*)
  | (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<sign><>|<=|>=|[=<>(),])
    """,
    re.VERBOSE,
)
_INSTEAD: Final = {
    "!=": "<>",
    "==": "=",
    "&&": "AND",
    "||": "OR",
    "!": "NOT",
}
"""What people type who think in another language."""


class Kind(Enum):
    """What a token is."""

    NAME = "a header's name"
    STRING = "a string"
    NUMBER = "a number"
    SIGN = "a sign"
    KEYWORD = "a keyword"
    END = "the end"


class Token(msgspec.Struct, frozen=True, gc=False):
    """One word, and where it begins.

    ``text`` is what is meant: quotes are gone, keywords are in capitals.
    """

    kind: Kind
    text: str
    position: int
    written: str

    def __str__(self) -> str:
        """Name it for people."""
        return "the end" if self.kind is Kind.END else self.written


def words_of(text: str) -> list[Token]:
    """Cut a filter into tokens; the last one is the end.

    Raises:
        BadFilter: There is something in it that is no word.
    """
    if len(text) > FILTER_CHARACTERS_MAX:
        raise BadFilter(f"a filter of {len(text)} characters; it may have {FILTER_CHARACTERS_MAX}")
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise mistake(text, position, _what_is_wrong(text, position))
        token = _token(found, position)
        if token is not None:
            _check_apart(text, tokens, token)
            tokens.append(token)
        position = found.end()
    tokens.append(Token(Kind.END, "", len(text), ""))
    return tokens


def _token(found: "re.Match[str]", position: int) -> Token | None:
    written = found[0]
    match found.lastgroup:
        case "space":
            return None
        case "number":
            return Token(Kind.NUMBER, written, position, written)
        case "word" if written.upper() in KEYWORDS:
            return Token(Kind.KEYWORD, written.upper(), position, written)
        case "word":
            return Token(Kind.NAME, written, position, written)
        case "string":
            return Token(Kind.STRING, written[1:-1].replace("''", "'"), position, written)
        case "quoted":
            return Token(Kind.NAME, written[1:-1].replace('""', '"'), position, written)
        case _:
            return Token(Kind.SIGN, written, position, written)


def _check_apart(text: str, before: list[Token], token: Token) -> None:
    """Refuse ``5price`` and ``7-3``: they would be read as two words, and mean nothing."""
    if not before or before[-1].kind is not Kind.NUMBER:
        return
    last = before[-1]
    touches = last.position + len(last.written) == token.position
    if touches and token.kind in (Kind.NUMBER, Kind.NAME, Kind.KEYWORD):
        raise mistake(text, token.position, f"{token} right after the number {last}")


def _what_is_wrong(text: str, position: int) -> str:
    for wrong, right in _INSTEAD.items():
        if text.startswith(wrong, position):
            return f"{wrong} is not understood; write {right}"
    match text[position]:
        case "'":
            return "a string that does not end; close it with '"
        case '"':
            return 'a name that does not end; close it with "'
        case character:
            return f"{character!r} is not understood"


def mistake(text: str, position: int, what: str) -> BadFilter:
    """Return the error that shows the place: the filter, and a caret under it."""
    begin = max(0, min(position - _SHOWN // 2, len(text) - _SHOWN))
    shown = text[begin : begin + _SHOWN]
    before, after = "..." if begin else "", "..." if begin + _SHOWN < len(text) else ""
    line = "".join(character if character.isprintable() else " " for character in shown)
    caret = " " * (len(before) + position - begin) + "^"
    return BadFilter(
        f"a filter goes wrong at character {position + 1}: {what}\n"
        f"    {before}{line}{after}\n"
        f"    {caret}"
    )

"""Conditions over a record's headers and its tag: true, false or unknown, as in SQL.

A header has a name and bytes, and no type; the tag of a record is like one. Its bytes are
read as UTF-8 text, and as what the other side of a comparison is:

=============  =======================================================
compared with  the header counts as
=============  =======================================================
a string       its text
a number       the number that its text is (``7``, ``-2.50``, ``1e6``)
TRUE, FALSE    what its text says: ``true`` or ``false``, in any case
a header       a number, if both are numbers; else text
=============  =======================================================

A header that is absent, is no UTF-8, or can't be read so is NULL: whatever is said of
it is unknown, but for IS NULL. NOT unknown is unknown; AND is false if one side is,
OR is true if one side is, and both are unknown otherwise if one side is. A record matches
if the whole condition is true. Of several headers of one name the last one counts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from operator import eq, ge, gt, le, lt, ne
from typing import Final, Protocol

import msgspec

Literal = str | int | float | bool


class Special(Enum):
    """What a record has besides its headers; no header's name equals it."""

    TAG = "tag"


Name = str | Special
Texts = Mapping[Name, str | None]
"""The headers of a record by name, and its tag; None, or absent: NULL."""

NUMBER_CHARACTERS_MAX: Final = 64
"""A longer text is no number: reading one takes time that grows with its square."""
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
COMPARISONS: Final[Mapping[str, Callable[[Literal, Literal], bool]]] = {
    "=": eq,
    "<>": ne,
    "<": lt,  # both sides have one type by then
    "<=": le,
    ">": gt,
    ">=": ge,
}


def read_number(text: str) -> int | float | None:
    """Return the number that ``text`` is; None if it is none, or beyond what a float holds."""
    if len(text) > NUMBER_CHARACTERS_MAX or _NUMBER.fullmatch(text) is None:
        return None
    if _INTEGER.fullmatch(text) is not None:
        return int(text)
    number = float(text)
    return number if abs(number) != float("inf") else None


def read_truth(text: str) -> bool | None:
    """Return the boolean that ``text`` is, or None."""
    return {"true": True, "false": False}.get(text.lower())


class Field(msgspec.Struct, frozen=True, gc=False):
    """A header, by its name, or the tag."""

    name: Name


Operand = Field | str | int | float | bool


class Condition(Protocol):
    """Something that a record's headers make true, false or unknown (None)."""

    def holds(self, texts: Texts, /) -> bool | None:
        """Say which."""


def _pair(left: Operand, right: Operand, texts: Texts) -> tuple[Literal, Literal] | None:
    """Return both sides as values of one type; None if one of them is NULL."""
    if isinstance(left, Field) and isinstance(right, Field):
        one, other = texts.get(left.name), texts.get(right.name)
        if one is None or other is None:
            return None
        numbers = read_number(one), read_number(other)
        if numbers[0] is not None and numbers[1] is not None:
            return numbers[0], numbers[1]
        return one, other
    if isinstance(left, Field):
        assert not isinstance(right, Field), "looked at above"
        found = _as(texts.get(left.name), right)
        return None if found is None else (found, right)
    if isinstance(right, Field):
        found = _as(texts.get(right.name), left)
        return None if found is None else (left, found)
    return left, right


def _as(text: str | None, like: Literal) -> Literal | None:
    """Read a header's text as a value of the type of ``like``."""
    if text is None or isinstance(like, str):
        return text
    return read_truth(text) if isinstance(like, bool) else read_number(text)


class Constant(msgspec.Struct, frozen=True, gc=False):
    """TRUE or FALSE alone."""

    value: bool

    def holds(self, _texts: Texts) -> bool | None:
        """Say what it is."""
        return self.value


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """Two operands with a sign between them."""

    left: Operand
    sign: str
    right: Operand

    def holds(self, texts: Texts) -> bool | None:
        """Compare; unknown with NULL."""
        pair = _pair(self.left, self.right, texts)
        return None if pair is None else COMPARISONS[self.sign](*pair)


class Membership(msgspec.Struct, frozen=True, gc=False):
    """IN: one of several literals of one type."""

    operand: Operand
    values: tuple[Literal, ...]

    def holds(self, texts: Texts) -> bool | None:
        """Look for it; unknown with NULL."""
        found = self.operand
        if isinstance(found, Field):
            read = _as(texts.get(found.name), self.values[0])
            return None if read is None else read in self.values
        return found in self.values


class Likeness(msgspec.Struct, frozen=True, gc=False):
    """LIKE: the whole text, with ``%`` for anything and ``_`` for one character.

    The pieces between two ``%`` have a fixed length each, so the leftmost place of each
    is the right one, and no text makes the search go back.
    """

    operand: Operand
    pieces: tuple["re.Pattern[str]", ...]
    lengths: tuple[int, ...]

    def holds(self, texts: Texts) -> bool | None:
        """Compare; unknown with NULL."""
        found = texts.get(self.operand.name) if isinstance(self.operand, Field) else self.operand
        return None if found is None else self._matches(str(found))

    def _matches(self, text: str) -> bool:
        pieces, lengths = self.pieces, self.lengths
        if len(pieces) == 1:
            return pieces[0].fullmatch(text) is not None
        at, end = lengths[0], len(text) - lengths[-1]
        if end < at or not pieces[0].match(text) or not pieces[-1].match(text, end):
            return False
        for piece in pieces[1:-1]:
            found = piece.search(text, at, end)
            if found is None:
                return False
            at = found.end()
        return True


def likeness(operand: Operand, pattern: str, escape: str | None) -> Likeness | None:
    """Return the LIKE of a pattern; None if ``escape`` stands before an ordinary character."""
    pieces: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            escaped = next(characters, "")
            if escaped not in (escape, "%", "_"):
                return None
            pieces[-1].append(re.escape(escaped))
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append("." if character == "_" else re.escape(character))
    inner = [piece for piece in pieces[1:-1] if piece]
    kept = [pieces[0], *inner, pieces[-1]] if len(pieces) > 1 else pieces
    return Likeness(
        operand,
        tuple(re.compile("".join(piece), re.DOTALL) for piece in kept),
        tuple(map(len, kept)),
    )


class Nullity(msgspec.Struct, frozen=True, gc=False):
    """IS NULL: the field is absent, or no text. Never unknown."""

    field: Field

    def holds(self, texts: Texts) -> bool | None:
        """Look."""
        return texts.get(self.field.name) is None


class Not(msgspec.Struct, frozen=True):
    """The contrary; of unknown, unknown."""

    condition: Condition

    def holds(self, texts: Texts) -> bool | None:
        """Turn it round."""
        found = self.condition.holds(texts)
        return None if found is None else not found


class All(msgspec.Struct, frozen=True):
    """AND: false if one is false, true if all are, else unknown."""

    conditions: Sequence[Condition]

    def holds(self, texts: Texts) -> bool | None:
        """Look at one after the other."""
        known: bool | None = True
        for condition in self.conditions:
            found = condition.holds(texts)
            if found is False:
                return False
            if found is None:
                known = None
        return known


class Either(msgspec.Struct, frozen=True):
    """OR: true if one is true, false if all are false, else unknown."""

    conditions: Sequence[Condition]

    def holds(self, texts: Texts) -> bool | None:
        """Look at one after the other."""
        known: bool | None = False
        for condition in self.conditions:
            found = condition.holds(texts)
            if found:
                return True
            if found is None:
                known = None
        return known

"""The filter language: a subset of the conditions of SQL-92, read into a condition.

::

    or         := and { OR and }
    and        := not { AND not }
    not        := [NOT] not | primary
    primary    := ( or ) | TRUE | FALSE | predicate
    predicate  := operand sign operand
                | operand [NOT] BETWEEN operand AND operand
                | operand [NOT] IN ( literal {, literal} )
                | operand [NOT] LIKE string [ESCAPE string]
                | name IS [NOT] NULL
    operand    := name | string | number | TRUE | FALSE
    name       := TAG | a header's name

What can't have a meaning is refused here, with its place, and not when a record comes:
a number against a string, an order of booleans, a name where a condition is wanted.
"""

from typing import Final

from raftlog.base.errors import BadFilter
from raftlog.wire.filter_conditions import (
    COMPARISONS,
    All,
    Comparison,
    Condition,
    Constant,
    Either,
    Field,
    Literal,
    Membership,
    Name,
    Not,
    Nullity,
    Operand,
    Special,
    likeness,
    read_number,
)
from raftlog.wire.filter_words import Kind, Token, mistake, words_of

DEPTH_MAX: Final = 32
"""Parentheses and NOTs within one another."""
_ORDERED: Final = frozenset(COMPARISONS) - {"=", "<>"}


def read_condition(text: str) -> tuple[Condition, frozenset[Name]]:
    """Read a filter; return it, and the names of the headers that it looks at, or the tag.

    Raises:
        BadFilter: It does not parse, or can't have a meaning. The text shows where.
    """
    parser = _Parser(text)
    condition = parser.read()
    return condition, frozenset(parser.names)


class _Parser:
    """One pass over the words of one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = words_of(text)
        self._at = 0
        self._depth = 0
        self.names: set[Name] = set()

    def read(self) -> Condition:
        condition = self._or()
        self._expect(Kind.END, "", "AND, OR or the end")
        return condition

    # -- words

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind is not Kind.END
        return token

    def _is(self, text: str) -> bool:
        token = self._next
        return token.kind in (Kind.KEYWORD, Kind.SIGN) and token.text == text

    def _accept(self, text: str) -> bool:
        if self._is(text):
            self._take()
            return True
        return False

    def _expect(self, kind: Kind, text: str, expected: str) -> Token:
        token = self._next
        if token.kind is not kind or token.text != text:
            raise self._wrong(token, f"found {token}, expected {expected}")
        return self._take()

    def _wrong(self, token: Token, what: str) -> BadFilter:
        return mistake(self._text, token.position, what)

    # -- conditions

    def _or(self) -> Condition:
        conditions = [self._and()]
        while self._accept("OR"):
            conditions.append(self._and())
        return conditions[0] if len(conditions) == 1 else Either(tuple(conditions))

    def _and(self) -> Condition:
        conditions = [self._not()]
        while self._accept("AND"):
            conditions.append(self._not())
        return conditions[0] if len(conditions) == 1 else All(tuple(conditions))

    def _not(self) -> Condition:
        token = self._next
        if not (self._is("NOT") or self._is("(")):
            return self._primary()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._wrong(token, f"more than {DEPTH_MAX} levels of parentheses and NOT")
        self._take()
        if token.text == "NOT":
            condition: Condition = Not(self._not())
        else:
            condition = self._or()
            self._expect(Kind.SIGN, ")", "AND, OR or )")
        self._depth -= 1
        return condition

    def _primary(self) -> Condition:
        first = self._next
        operand = self._operand()
        if isinstance(operand, bool) and not self._begins_predicate():
            return Constant(operand)
        negated = self._next
        is_negated = self._accept("NOT")
        condition = self._predicate(first, operand)
        if condition is not None:
            return Not(condition) if is_negated else condition
        if is_negated:
            raise self._wrong(
                self._next, f"found {self._next} after {negated}, expected BETWEEN, IN or LIKE"
            )
        token = self._next
        if self._accept("IS"):
            return self._nullity(first, operand)
        if token.kind is Kind.SIGN and token.text in COMPARISONS:
            self._take()
            second = self._next
            right = self._operand()
            self._check_alike((first, operand), (second, right), token)
            return Comparison(operand, token.text, right)
        if isinstance(operand, Field):
            raise self._wrong(
                token, f"found {token}, expected a comparison: {first} alone says nothing"
            )
        raise self._wrong(token, f"found {token}, expected a comparison")

    def _begins_predicate(self) -> bool:
        token = self._next
        return token.text in COMPARISONS or any(
            self._is(word) for word in ("NOT", "BETWEEN", "IN", "LIKE", "IS")
        )

    def _predicate(self, first: Token, operand: Operand) -> Condition | None:
        """Return the BETWEEN, IN or LIKE that comes next, if one does."""
        if self._accept("BETWEEN"):
            return self._between(first, operand)
        if self._accept("IN"):
            return self._in(first, operand)
        if self._accept("LIKE"):
            return self._like(first, operand)
        return None

    def _between(self, first: Token, operand: Operand) -> Condition:
        bounds: list[tuple[Token, Operand]] = []
        for number in range(2):
            if number:
                self._expect(Kind.KEYWORD, "AND", "AND, and the upper bound")
            token = self._next
            bounds.append((token, self._operand()))
            self._check_alike((first, operand), bounds[-1], Token(Kind.SIGN, "<=", 0, "BETWEEN"))
        self._check_alike(bounds[0], bounds[1], Token(Kind.SIGN, "<=", 0, "BETWEEN"))
        (_, low), (_, high) = bounds
        return All((Comparison(operand, ">=", low), Comparison(operand, "<=", high)))

    def _in(self, first: Token, operand: Operand) -> Condition:
        self._expect(Kind.SIGN, "(", "( and the values")
        values: list[tuple[Token, Literal]] = []
        while True:
            token = self._next
            value = self._operand()
            if isinstance(value, Field):
                raise self._wrong(token, f"{token} is a name; the values of IN are literals")
            equals = Token(Kind.SIGN, "=", 0, "IN")
            self._check_alike((first, operand), (token, value), equals)
            if values:
                self._check_alike(values[0], (token, value), equals)
            values.append((token, value))
            if not self._accept(","):
                break
        self._expect(Kind.SIGN, ")", ", or )")
        return Membership(operand, tuple(value for _, value in values))

    def _like(self, first: Token, operand: Operand) -> Condition:
        if not isinstance(operand, Field | str):
            raise self._wrong(first, f"LIKE is for text, and {first} is none")
        token = self._string("a pattern in single quotes")
        escape: str | None = None
        if self._accept("ESCAPE"):
            after = self._string("a character in single quotes")
            if len(after.text) != 1 or after.text in "%_":
                raise self._wrong(after, "ESCAPE is one character, and neither % nor _")
            escape = after.text
        condition = likeness(operand, token.text, escape)
        if condition is None:
            raise self._wrong(
                token, f"after {escape} in the pattern comes {escape}, % or _, and nothing else"
            )
        return condition

    def _string(self, expected: str) -> Token:
        token = self._next
        if token.kind is not Kind.STRING:
            raise self._wrong(token, f"found {token}, expected {expected}")
        return self._take()

    def _nullity(self, first: Token, operand: Operand) -> Condition:
        is_negated = self._accept("NOT")
        self._expect(Kind.KEYWORD, "NULL", "NULL" if is_negated else "NULL or NOT NULL")
        if not isinstance(operand, Field):
            raise self._wrong(first, f"IS NULL asks for a header or the tag; {first} is neither")
        return Not(Nullity(operand)) if is_negated else Nullity(operand)

    # -- operands

    def _operand(self) -> Operand:
        token = self._next
        match token.kind, token.text:
            case (Kind.NAME, name):
                return self._field(token, name)
            case (Kind.KEYWORD, "TAG"):
                return self._field(token, Special.TAG)
            case (Kind.STRING, text):
                self._take()
                return text
            case (Kind.NUMBER, text):
                number = read_number(text)
                if number is None:
                    raise self._wrong(token, f"{token} is beyond what is counted with here")
                self._take()
                return number
            case (Kind.KEYWORD, "TRUE" | "FALSE"):
                self._take()
                return token.text == "TRUE"
            case (Kind.KEYWORD, "NULL"):
                raise self._wrong(token, "nothing equals NULL; write IS NULL or IS NOT NULL")
            case _:
                raise self._wrong(token, f"found {token}, expected a header's name or a value")

    def _field(self, token: Token, name: Name) -> Field:
        if not name:
            raise self._wrong(token, "a header without a name")
        if name == token.written and name.upper() == "TAGS":
            raise self._wrong(
                token,
                f'a record has one tag: write tag for it, or "{name}" for a header of that name',
            )
        self._take()
        self.names.add(name)
        return Field(name)

    def _check_alike(
        self, left: tuple[Token, Operand], right: tuple[Token, Operand], sign: Token
    ) -> None:
        """Refuse two operands that never have one type, or booleans in an order."""
        kinds = [_type_of(operand) for _, operand in (left, right)]
        if sign.text in _ORDERED:
            for (token, _), kind in zip((left, right), kinds, strict=True):
                if kind == "a boolean":
                    raise self._wrong(token, f"{sign} wants an order, and booleans have none")
        if None not in kinds and kinds[0] != kinds[1]:
            raise self._wrong(right[0], f"{right[0]} is {kinds[1]} and {left[0]} is {kinds[0]}")


def _type_of(operand: Operand) -> str | None:
    """Name the type of a literal; None: a header or the tag, which is what it is compared with."""
    match operand:
        case Field():
            return None
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case _:
            return "a number"

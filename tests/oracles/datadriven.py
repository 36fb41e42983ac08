"""Reads the text files in which public projects publish scripted test data.

A file is a list of cases, apart by blank lines; ``#`` begins a comment::

    command argument key=value key=(v1, v2)
    optional input lines
    ----
    expected output, up to a blank line

Output that holds blank lines itself has a second ``----`` below the first one
and two below its end. Whatever does not parse is refused with its line: a case
that is lost in silence would count as passed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

RULE: Final = "----"
ARGUMENT: Final = re.compile(r"\s*([^\s=()]+)(?:=(\([^()]*\)|[^\s()]*))?")


class Case(msgspec.Struct, frozen=True):
    """One command with its input and its expected output."""

    where: str
    command: str
    arguments: dict[str, tuple[str, ...] | None]
    """Values by name, in order; None for an argument that is only a name."""
    input: str
    expected: str

    def values(self, key: str) -> tuple[str, ...]:
        """Return the values of ``key``, none if it is absent."""
        return self.arguments.get(key) or ()

    def value(self, key: str, default: str) -> str:
        """Return the one value of ``key``."""
        return (self.values(key) or (default,))[0]

    @property
    def names(self) -> list[str]:
        """The arguments that are only names."""
        return [name for name, values in self.arguments.items() if values is None]


def read_cases(path: Path) -> list[Case]:
    """Return every case of a file."""
    return list(parse(path.read_text(encoding="utf-8"), path.name))


def parse(text: str, name: str) -> Iterator[Case]:
    """Yield the cases of ``text``.

    Raises:
        ValueError: A case has no expected output, or its command does not parse.
    """
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            at += 1
            continue
        where = f"{name}:{at + 1}"
        try:
            rule = lines.index(RULE, at)
        except ValueError:
            raise ValueError(f"{where}: no expected output") from None
        command, arguments = parse_command(lines[at], where)
        given = "\n".join(lines[at + 1 : rule])
        at = _end_of_output(lines, rule + 1)
        expected = "\n".join(lines[rule + 1 : at]).removeprefix(RULE + "\n")
        yield Case(where, command, arguments, given, expected.removesuffix(f"\n{RULE}\n{RULE}"))


def _end_of_output(lines: list[str], start: int) -> int:
    """Return the line after the expected output that begins at ``start``."""
    at = start
    if lines[start : start + 1] == [RULE]:
        at += 1
        while lines[at : at + 2] != [RULE, RULE]:
            at += 1
            if at >= len(lines):
                raise ValueError(f"output at line {start} has no end")
        return at + 2
    while at < len(lines) and lines[at].strip():
        at += 1
    return at


def parse_command(line: str, where: str) -> tuple[str, dict[str, tuple[str, ...] | None]]:
    """Split a command line into the command and its arguments.

    Raises:
        ValueError: The line does not parse to its end.
    """
    command, _, rest = line.strip().partition(" ")
    arguments: dict[str, tuple[str, ...] | None] = {}
    at = 0
    while rest[at:].strip():
        found = ARGUMENT.match(rest, at)
        if found is None or found[1] in arguments:
            raise ValueError(f"{where}: cannot read {rest[at:]!r}")
        arguments[found[1]] = None if found[2] is None else _values(found[2])
        at = found.end()
    return command, arguments


def _values(text: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in text.strip("()").split(",") if value.strip())

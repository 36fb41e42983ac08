"""What a command prints: a table for people, or JSON alone on stdout.

Progress and complaints go to stderr, so that ``raftlog ... -o json | jq`` works
whatever happens.
"""

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Final

import msgspec
import typer

PADDING: Final = 1
"""Blanks beside a cell, where there is room."""


class Output(Enum):
    """How a result is shown."""

    TABLE = "table"
    JSON = "json"


Shown = Annotated[Output, typer.Option("--output", "-o", help="table, or json on stdout.")]


def print_json(value: object) -> None:
    """Write ``value`` as one line of JSON to stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Write a table to stdout; if it is too wide, each row as lines of its own.

    What is cut short or broken, a path, an address, can't be copied, and a heading not read.
    """
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415  (``raftlog --help`` stays fast)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if title:
        typer.echo(title)
    console = Console()
    shown = [["-" if cell in (None, "") else str(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *shown, strict=True)]
    least = sum(widths) + len(widths) + 1
    if least > console.width:
        _print_rows(columns, shown)
        return
    fits = least + 2 * PADDING * len(widths) <= console.width
    table = Table(padding=(0, PADDING if fits else 0))
    for column in columns:
        table.add_column(column)
    for row in shown:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(len, columns))
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            typer.echo(f"{column:<{width}}  {cell}")
        typer.echo("")


def say(text: str) -> None:
    """Write one line of progress to stderr."""
    sys.stderr.write(f"{text}\n")


def confirm(question: str, *, is_agreed: bool) -> None:
    """Ask a person on stderr; return if the answer is yes, or was given before.

    Raises:
        typer.BadParameter: Nobody can be asked.
        typer.Exit: The answer is no.
    """
    if is_agreed:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; give --yes to do it without asking")
    if not typer.confirm(question, err=True):
        say("nothing was changed")
        raise typer.Exit(1)

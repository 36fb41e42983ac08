"""What a command prints: a table for people, or JSON alone on stdout.

Progress and complaints go to stderr, so that ``raftlog ... -o json | jq`` works
whatever happens.
"""

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import msgspec
import typer


class Output(Enum):
    """How a result is shown."""

    TABLE = "table"
    JSON = "json"


Shown = Annotated[Output, typer.Option("--output", "-o", help="table, or json on stdout.")]


def print_json(value: object) -> None:
    """Write ``value`` as one line of JSON to stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Write a table to stdout."""
    from rich.console import Console  # noqa: PLC0415  (``raftlog --help`` stays fast)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if title:
        typer.echo(title)
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")  # a path that is cut short is no path
    for row in rows:
        table.add_row(*(Text("-" if cell in (None, "") else str(cell)) for cell in row))
    Console().print(table)


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

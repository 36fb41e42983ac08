"""``raftlog spool``: look into the directory of a client's spool, which may be open meanwhile.

Nothing in it is changed (``spool/inspecting.py``), and no cluster is asked.
"""

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.exits import Exit
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.quantities import show_about, show_elapsed

if TYPE_CHECKING:
    from raftlog.spool.inspecting import SpoolReport

app = typer.Typer(
    help="Look into a client's spool, which may be in use; nothing is changed.",
    no_args_is_help=True,
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The spool's directory.")]


@app.command()
def show(directory: Directory, output: Shown = Output.TABLE) -> None:
    """Say how many records wait, of which topics, since when; 4 if something is damaged."""
    report = _look(directory)
    if output is Output.JSON:
        _print(report)
    elif not report.damage:
        age = "" if report.oldest_ms is None else f", the oldest for {_age(report.oldest_ms)}"
        headline = (
            f"{report.directory}: {_count(report.records, 'record')} waiting{age}; "
            f"{show_about(report.bytes)} in {_count(report.files, 'file')}"
        )
        if report.topics:
            print_table(
                ("topic", "records", "perhaps sent", "bytes", "oldest"),
                [
                    (
                        *(each.topic, f"{each.records:,}", f"{each.under_way:,}"),
                        *(show_about(each.bytes), _age(each.oldest_ms)),
                    )
                    for each in report.topics
                ],
                headline,
            )
        else:
            typer.echo(headline)
    _end(report)


@app.command()
def verify(directory: Directory, output: Shown = Output.TABLE) -> None:
    """Read every byte and check it; 4 if something that was promised is damaged."""
    report = _look(directory)
    if output is Output.JSON:
        _print(report)
    elif not report.damage:
        if report.unfinished:
            say(
                f"{report.unfinished:,} bytes at the end were never promised: somebody writes "
                "them now, or the next opening cuts them"
            )
        typer.echo(
            f"{report.directory} is good: {show_about(report.bytes)} were read, and every record "
            "that was promised is there"
        )
    _end(report)


def _look(directory: Path) -> "SpoolReport":
    from raftlog.spool.inspecting import inspect_spool  # noqa: PLC0415  (``--help`` stays fast)

    return inspect_spool(directory)


def _print(report: "SpoolReport") -> None:
    from msgspec import to_builtins  # noqa: PLC0415

    print_json(to_builtins(report))


def _end(report: "SpoolReport") -> None:
    if report.damage:
        say(f"damaged: {report.damage}; keep the directory as it is, a spool does not open it")
        raise typer.Exit(Exit.DAMAGED)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _age(since_ms: int) -> str:
    now_ms = time.time_ns() // 1_000_000
    return show_elapsed(timedelta(seconds=max(0, now_ms - since_ms) // 1000))

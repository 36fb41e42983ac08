"""``raftlog search``: find records of a topic by key, id, tag or headers, between two positions.

How far it came is told on stderr, so that a search of a large topic can be judged and left
with ctrl-C; what it found is on stdout as soon as it is found.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from raftlog.cli.connection import ask
from raftlog.cli.emitting import Emitter, ReaderGone, leave_quietly
from raftlog.cli.formats import Fields, read_format
from raftlog.cli.ndjson import record_line
from raftlog.cli.options import (
    DEFAULT_TIMEOUT_S,
    ConnectOption,
    FilterOption,
    TagOption,
    TimeoutOption,
    parsed,
)
from raftlog.cli.output import Output, Shown, say
from raftlog.cli.positions import EARLIEST, LATEST, read_position
from raftlog.wire.filters import record_filter

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.search import Search, SearchProgress

FOUND_FORMAT: Final = "%q:%o %T{iso} %k %v%n"
PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

FromOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="POSITION",
        parser=parsed(read_position),
        help="Look from here on: earliest, an offset, a time ago like -1h, or a moment like "
        "2026-11-25T09:00:00Z.",
    ),
]
ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="POSITION",
        parser=parsed(read_position),
        help="Not at this or behind it; latest: what is there now.",
    ),
]
QueueOption = Annotated[
    int | None,
    typer.Option(min=0, help="Only this queue of the topic.", show_default=False),
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="End after so many.", show_default=False)
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="How a record is written, as for raftlog sub. Else its queue and offset, time, key "
        "and value.",
        show_default=False,
    ),
]


def search(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")],
    key: Annotated[
        str | None, typer.Option(help="Only records with this key.", show_default=False)
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Only records with this business id.", show_default=False),
    ] = None,
    condition: FilterOption = "",
    tag: TagOption = None,
    start: FromOption = EARLIEST,
    end: ToOption = LATEST,
    queue: QueueOption = None,
    limit: LimitOption = None,
    form: FormatOption = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Find records of TOPIC; -o json: one object a line. Progress is on stderr."""
    if form is not None and output is Output.JSON:
        raise typer.BadParameter("--format is for text: leave out -o json, or --format")
    wanted = record_filter(tag or (), condition)
    run = _Run(record_line if output is Output.JSON else read_format(form or FOUND_FORMAT))

    async def use(client: "Client") -> None:
        found = client.messages.search(
            topic,
            key=None if key is None else os.fsencode(key),
            id=id_,
            filter=wanted.condition,
            tags=wanted.tags,
            start=cast("Position", start),
            end=cast("Position", end),
            queue=queue,
            limit=limit,
        )
        await run.follow(found)

    try:
        ask(connect, timeout, use)
    except ReaderGone:
        leave_quietly()


class _Run:
    """One search: what it finds goes out, and how far it is is told from time to time."""

    def __init__(self, render: Callable[[Fields], bytes]) -> None:
        self._emitter: Final = Emitter(render)
        self._told_at = time.monotonic()

    async def follow(self, search: "Search") -> None:
        """Ask until there is nothing more to be asked; however that ends, say how far it came."""
        try:
            while (found := await search.step()) is not None:
                self._emitter.add(cast("Sequence[Fields]", found))
                await self._emitter.flush()
                now = time.monotonic()
                if now >= self._told_at + PROGRESS_S:
                    self._told_at = now
                    say(show_progress(search.progress))
        finally:
            say(show_progress(search.progress))


def show_progress(progress: "SearchProgress") -> str:
    """Write how far a search is, in a line."""
    share = progress.looked_at + progress.skipped
    percent = 100 * share // progress.total if progress.total else 100
    gone = f", {progress.skipped:,} gone before they were looked at" if progress.skipped else ""
    return (
        f"{progress.found:,} found in {progress.looked_at:,} of {progress.total:,} records "
        f"({percent} %){gone}"
    )

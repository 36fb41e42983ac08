"""``raftlog group seeks``: when a group was moved, and from where to where, as the log has it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption, parsed
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.positions import read_position
from raftlog.cli.walks import follow

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.log_walking import WalkProgress
    from raftlog.client.seek_history import GroupSeek

COLUMNS: Final = ("at", "entry", "topic", "queue", "from", "to")

SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=parsed(read_position),
        help="Only from then on: a time ago like -7d, or a moment like 2026-11-25T09:00:00Z.",
        show_default=False,
    ),
]


def seeks(
    name: Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")],
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most, the oldest.")] = 1_000,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show the seeks of a group, also of a queue-style one, as far as the log is kept.

    Progress is on stderr.
    """
    moment = cast("Position | None", since)
    if moment is not None and not isinstance(moment, datetime | timedelta):
        raise typer.BadParameter("--since is a time, like -7d or 2026-11-25T09:00:00Z")

    async def use(client: "Client") -> "tuple[list[GroupSeek], WalkProgress]":
        walk = client.groups.seeks(name, since=moment, limit=limit)
        return await follow(walk), walk.progress

    found, progress = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(
            {
                "group": name,
                "first_entry": progress.first,
                "entries": progress.looked_at,
                "seeks": [_data(each) for each in found],
            }
        )
        return
    if found:
        print_table(COLUMNS, [row for each in found for row in _rows(each)])
    say(
        f"{len(found):,} seeks of {name} in {progress.looked_at:,} of {progress.total:,} log "
        f"entries, from entry {progress.first} on"
    )


def _rows(seek: "GroupSeek") -> list[list[object]]:
    at = seek.at.isoformat(timespec="milliseconds")
    rows: list[list[object]] = [
        [
            *(at, seek.index, move.topic or "(deleted)", move.queue),
            *("?" if move.before is None else move.before, move.after),
        ]
        for move in seek.moves
    ]
    if seek.more:
        rows.append([at, seek.index, f"and {seek.more:,} queues", "", "", ""])
    return rows


def _data(seek: "GroupSeek") -> dict[str, object]:
    return {
        "entry": seek.index,
        "at": seek.at.isoformat(timespec="milliseconds"),
        "style": seek.style,
        "queues": [
            {
                "topic": move.topic or None,
                "queue": move.queue,
                "before": move.before,
                "after": move.after,
            }
            for move in seek.moves
        ],
        "more_queues": seek.more,
    }

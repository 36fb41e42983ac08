"""``raftlog topic``: create, change, look at and delete topics."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.base.errors import BadRequest
from raftlog.base.limits import TOPIC_QUEUES_MAX
from raftlog.base.message_types import MessageType, read_types, show_types
from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption, parsed
from raftlog.cli.output import Output, Shown, confirm, print_json, print_table, say
from raftlog.cli.quantities import (
    read_retention,
    read_size,
    read_window,
    show_about,
    show_retention,
    show_size,
)
from raftlog.cli.space import hold_data, hold_text, milliseconds

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.topics import ShortenedWindow, TopicInfo, TopicSummary

app = typer.Typer(help="Create, change, look at and delete topics.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.")]
Queues = Annotated[
    int | None,
    typer.Option(min=1, max=TOPIC_QUEUES_MAX, help="How many queues; 4.", show_default=False),
]
MoreQueues = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=TOPIC_QUEUES_MAX,
        help="How many queues from now on; never fewer. Keys move to other queues.",
        show_default=False,
    ),
]
Retention = Annotated[
    timedelta | None,
    typer.Option(
        metavar="DURATION",
        parser=parsed(read_retention),
        help="How long records are kept: 500ms, 10s, 5m, 72h, 7d, or forever.",
        show_default=False,
    ),
]
RetentionBytes = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=parsed(read_size),
        help="How much of each queue is kept: 1000000, 64MiB, 10GB, or none (no bound).",
        show_default=False,
    ),
]
UntilConsumed = Annotated[
    bool | None,
    typer.Option(
        help="Forget records as soon as every group has committed past them, at the latest by "
        "--retention or --retention-bytes.",
        show_default=False,
    ),
]


def _types(text: str) -> str:
    """Return words that are types of messages, as they are.

    Raises:
        ValueError: One is not.
    """
    try:
        read_types(text)
    except BadRequest as error:
        raise ValueError(str(error)) from None
    return text


Types = Annotated[
    str | None,
    typer.Option(
        metavar="TYPES",
        parser=parsed(_types),
        help="Which messages it takes: normal, fifo, delayed, transactional, with commas between, "
        "or any.",
        show_default=False,
    ),
]
Readable = Annotated[
    bool | None, typer.Option(help="Whether records can be read.", show_default=False)
]
Writable = Annotated[
    bool | None, typer.Option(help="Whether records can be sent.", show_default=False)
]
IdWindow = Annotated[
    timedelta | None,
    typer.Option(
        metavar="DURATION",
        parser=parsed(read_window),
        help="A record with an id is stored once in it: 10m, 24h, at most 7d, or none.",
        show_default=False,
    ),
]
COLUMNS: Final = ("topic", "queues", "records", "bytes", "retention", "retention bytes")


@app.command()
def create(
    name: Name,
    queues: Queues = None,
    retention: Retention = None,
    retention_bytes: RetentionBytes = None,
    readable: Readable = None,
    writable: Writable = None,
    id_window: IdWindow = None,
    until_consumed: UntilConsumed = None,
    types: Types = None,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Fine if it is there; it is left as it is.")
    ] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Make a topic with new, empty queues."""

    async def use(client: "Client") -> "TopicInfo":
        return await client.topics.create(
            name,
            queues=queues,
            retention=retention,
            retention_bytes=retention_bytes,
            readable=readable,
            writable=writable,
            id_window=id_window,
            until_consumed=until_consumed,
            types=types,
            exist_ok=if_not_exists,
        )

    _tell(ask(connect, timeout, use), output)


@app.command()
def alter(
    name: Name,
    queues: MoreQueues = None,
    retention: Retention = None,
    retention_bytes: RetentionBytes = None,
    readable: Readable = None,
    writable: Writable = None,
    id_window: IdWindow = None,
    until_consumed: UntilConsumed = None,
    types: Types = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Change a topic's settings; what is not named stays as it is."""
    settings = (queues, retention, retention_bytes, readable, writable, id_window, until_consumed)
    if {*settings, types} == {None}:
        raise typer.BadParameter("name at least one setting to change, like --retention 7d")

    async def use(client: "Client") -> "TopicInfo":
        return await client.topics.alter(
            name,
            queues=queues,
            retention=retention,
            retention_bytes=retention_bytes,
            readable=readable,
            writable=writable,
            id_window=id_window,
            until_consumed=until_consumed,
            types=types,
        )

    _tell(ask(connect, timeout, use), output)


@app.command("list")
def list_topics(
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show all topics, how many records each has, and how many bytes."""

    async def use(client: "Client") -> "list[TopicSummary]":
        return await client.topics.list()

    topics = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json([summary_data(topic) for topic in topics])
    elif topics:
        rows = [
            (
                topic.name,
                topic.queues,
                f"{topic.records:,}",
                show_about(topic.bytes),
                show_retention(topic.retention),
                show_size(topic.retention_bytes),
            )
            for topic in topics
        ]
        print_table(COLUMNS, rows)
    else:
        say("there are no topics yet; make one with: raftlog topic create NAME")


@app.command()
def describe(
    name: Name,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show a topic's settings, where each queue begins and ends, and who keeps the log."""

    async def use(client: "Client") -> "TopicInfo":
        return await client.topics.describe(name)

    _tell(ask(connect, timeout, use), output)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Delete a topic with all its records; asks before, unless --yes."""
    confirm(f"Delete topic {name} with all its records?", is_agreed=yes)

    async def use(client: "Client") -> None:
        await client.topics.delete(name)

    ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")


# -- showing


def summary_data(topic: "TopicSummary") -> dict[str, object]:
    """Return what ``list -o json`` prints of one topic."""
    return {
        "topic": topic.name,
        "queues": topic.queues,
        "records": topic.records,
        "bytes": topic.bytes,
        "retention_ms": milliseconds(topic.retention),
        "retention_bytes": topic.retention_bytes,
    }


def description_data(topic: "TopicInfo") -> dict[str, object]:
    """Return what ``describe -o json`` prints; null: kept for ever, or without a bound."""
    return {
        "topic": topic.name,
        "retention_ms": milliseconds(topic.retention),
        "retention_bytes": topic.retention_bytes,
        "readable": topic.readable,
        "writable": topic.writable,
        "types": [kind for kind in MessageType if kind in topic.types],
        "until_consumed": topic.until_consumed,
        "id_window_ms": milliseconds(topic.id_window) or 0,
        "ids": topic.ids,
        "ids_shortened": ids_shortened_data(topic.ids_shortened),
        "bytes": topic.bytes,
        "queues": [
            {
                "queue": queue.queue,
                "start": queue.start_offset,
                "end": queue.end_offset,
                "bytes": queue.bytes,
                "delayed": queue.delayed,
            }
            for queue in topic.queues
        ],
        "log_hold": hold_data(topic.hold),
        "holding": list(topic.holding),
    }


def _tell(topic: "TopicInfo", output: Output) -> None:
    if output is Output.JSON:
        print_json(description_data(topic))
        return
    kept = f"records are kept {show_retention(topic.retention)}"
    if topic.until_consumed:
        bound = "" if topic.retention is None else f", {show_retention(topic.retention)} at most"
        kept = f"records are kept until every group has read them{bound}"
    if topic.retention_bytes:
        kept += f", at most {show_size(topic.retention_bytes)} of each queue"
    closed = [
        word
        for word, is_open in (("not readable", topic.readable), ("not writable", topic.writable))
        if not is_open
    ]
    if topic.types != frozenset(MessageType):
        closed.insert(0, f"it takes {show_types(topic.types)} messages")
    print_table(
        ("queue", "start", "end", "records", "bytes"),
        [
            (
                queue.queue,
                queue.start_offset,
                queue.end_offset,
                f"{queue.end_offset - queue.start_offset:,}",
                show_about(queue.bytes),
            )
            for queue in topic.queues
        ],
        "; ".join([f"topic {topic.name}: {kept}", *closed]),
    )
    delayed = sum(queue.delayed for queue in topic.queues)
    if delayed:
        typer.echo(f"{delayed:,} delayed: raftlog delayed list {topic.name}")
    _tell_ids(topic)
    if topic.hold is not None:
        typer.echo(hold_text(topic.hold))
        ours = ", ".join(map(str, topic.holding))
        typer.echo(
            f"of this topic: {f'queue {ours}' if ours else 'nothing'} needs its oldest part"
        )


def _tell_ids(topic: "TopicInfo") -> None:
    if topic.ids:
        typer.echo(f"business ids: {topic.ids:,} are remembered for {topic.id_window}")
    if topic.ids_shortened is not None:
        kept, at = topic.ids_shortened.kept, topic.ids_shortened.at
        typer.echo(
            f"window shortened: the shard had no room for more ids; at {at:%Y-%m-%d %H:%M:%S} UTC "
            f"one left that had been remembered for {kept}"
        )


def ids_shortened_data(shortened: "ShortenedWindow | None") -> dict[str, object] | None:
    """Return what ``describe -o json`` prints of a window that was too short."""
    if shortened is None:
        return None
    return {"at": shortened.at, "kept_ms": milliseconds(shortened.kept) or 0}

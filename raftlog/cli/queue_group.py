"""``raftlog queue-group``: queue-style groups, what they hold, and what is blocked in them."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import (
    DEFAULT_TIMEOUT_S,
    ConnectOption,
    DryRunOption,
    FilterOption,
    PositionOption,
    TagOption,
    TimeoutOption,
    parsed,
)
from raftlog.cli.output import Output, Shown, confirm, print_json, print_table, say
from raftlog.cli.positions import show_position
from raftlog.cli.quantities import read_duration, show_elapsed
from raftlog.cli.queue_group_shown import (
    MS,
    flight_data,
    in_flight_in_words,
    moved_in_words,
    print_group,
    sought_data,
)
from raftlog.wire.filters import record_filter

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.queue_group_infos import (
        InFlight,
        QueueGroupInfo,
        QueueGroupSummary,
        SoughtQueue,
    )
    from raftlog.client.queue_options import GroupOptions, OnPoison

app = typer.Typer(
    help="Queue-style groups: messages that are leased one by one.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="POSITION",
        help="earliest or latest: where a queue begins that it does not read yet.",
        show_default="earliest",
    ),
]
LeaseOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parsed(read_duration),
        metavar="DURATION",
        help="After so long a message that was not settled is leased again: 1s to 12h.",
        show_default="30s",
    ),
]
AttemptsOption = Annotated[
    int | None,
    typer.Option(min=1, help="So often a message is leased.", show_default="16"),
]
RetryOption = Annotated[
    list[timedelta] | None,
    typer.Option(
        parser=parsed(read_duration),
        metavar="DURATION",
        help="The wait after an attempt; given again: after the next one, and those after it.",
        show_default="10s to 2h",
    ),
]
InFlightOption = Annotated[
    int | None,
    typer.Option(min=1, help="Messages in flight at most.", show_default="10000"),
]


@app.command("open")
def open_group(
    name: Name,
    topics: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC...", help="What it is to read, too.", show_default=False),
    ] = None,
    start: StartOption = None,
    lease: LeaseOption = None,
    attempts: AttemptsOption = None,
    retry: RetryOption = None,
    in_flight: InFlightOption = None,
    fifo: Annotated[
        bool | None,
        typer.Option(
            "--fifo/--no-fifo",
            help="Messages of one key one after the other, in their order.",
            show_default="no-fifo",
        ),
    ] = None,
    on_poison: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="What becomes of a message whose attempts are used up: dead-letter, skip, block.",
            show_default="dead-letter",
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help='Only messages whose headers meet it; "": all.',
            show_default=False,
        ),
    ] = None,
    tag: TagOption = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Make a group, or change what is named of it. Safe to repeat.

    A filter is given as a whole: --filter and --tag together.
    """
    given: dict[str, object] = {
        "start": start,
        "lease": lease,
        "attempts": attempts,
        "retry": retry or None,
        "in_flight": in_flight,
        "fifo": fifo,
        "on_poison": cast("OnPoison | None", on_poison),
        "filter": condition,
        "tags": tag,
    }
    options = {name: value for name, value in given.items() if value is not None}

    async def use(client: "Client") -> "QueueGroupInfo":
        return await client.queue_groups.open(
            name, topics or (), **cast("GroupOptions", cast("object", options))
        )

    print_group(ask(connect, timeout, use), output)


@app.command()
def subscribe(
    name: Name,
    topics: Annotated[
        list[str], typer.Argument(metavar="TOPIC...", help="The topics that it is to read.")
    ],
    condition: FilterOption = "",
    tag: TagOption = None,
    version: Annotated[
        int,
        typer.Option(min=0, help="Only if its subscription is at this version; 0: whichever."),
    ] = 0,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Change what a group reads: its topics and its filter, for all its consumers.

    What is in flight stays so. A consumer that is started with another subscription is refused.
    """

    async def use(client: "Client") -> int:
        return await client.queue_groups.subscribe(
            name, topics, filter=condition, tags=tag or (), version=version
        )

    now = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": name, "version": now})
    else:
        wanted = record_filter(tag or (), condition)
        typer.echo(f"{name} reads {', '.join(sorted(topics))} ({wanted}), version {now}")


@app.command("list")
def list_groups(
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show all queue-style groups; the age is that of the oldest message not finished."""

    async def use(client: "Client") -> "list[QueueGroupSummary]":
        return await client.queue_groups.list()

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(
            [
                {
                    "group": each.name,
                    "topics": each.topics,
                    "in_flight": each.in_flight,
                    "unread": each.unread,
                    "dead_letters": each.dead_letters,
                    "lag_ms": each.lag_time // MS,
                }
                for each in found
            ]
        )
    elif found:
        print_table(
            ("group", "topics", "unread", "in flight", "age", "dead letters"),
            [
                (
                    *(each.name, ", ".join(each.topics), f"{each.unread:,}"),
                    f"{each.in_flight:,}",
                    show_elapsed(each.lag_time) if each.lag_time else None,
                    f"{each.dead_letters:,}",
                )
                for each in found
            ],
        )
    else:
        say("there are no queue-style groups yet; make one with: raftlog queue-group open")


@app.command()
def describe(
    name: Name,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show what a group reads, what holds for it, and where it is in each queue."""

    async def use(client: "Client") -> "QueueGroupInfo":
        return await client.queue_groups.describe(name)

    print_group(ask(connect, timeout, use), output)


@app.command("in-flight")
def in_flight(
    name: Name,
    blocked: Annotated[
        bool, typer.Option("--blocked", help="Only those that wait for a decision.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show messages that are leased, wait, or are blocked."""

    async def use(client: "Client") -> "list[InFlight]":
        return await client.queue_groups.in_flight(name, blocked=blocked, limit=limit)

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": name, "messages": [flight_data(each) for each in found]})
    elif found:
        print_table(
            ("topic", "queue", "offset", "state", "attempts", "left", "reason"),
            [
                (
                    *(each.topic, each.queue, each.offset, each.state, each.attempts),
                    f"{each.left.total_seconds():.1f} s" if each.left else None,
                    each.reason,
                )
                for each in found
            ],
        )
    else:
        say(f"nothing is {'blocked' if blocked else 'in flight'} in {name}")


@app.command()
def seek(
    name: Name,
    to: PositionOption,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this topic; may be given again. Else all topics of the group.",
            show_default=False,
        ),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(min=0, help="Only this queue of the one --topic.", show_default=False),
    ] = None,
    dry_run: DryRunOption = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Set where a group goes on, also backwards.

    What is in flight from there on is leased again; what is in flight before it stays so.
    """
    position = cast("Position", to)
    if queue is not None and len(topic or ()) != 1:
        raise typer.BadParameter("--queue is of one topic: name it with --topic")

    async def use(client: "Client") -> "list[SoughtQueue]":
        topics = topic or (await client.queue_groups.describe(name)).topics
        found: list[SoughtQueue] = []
        for dry in (True,) if dry_run else (True, False):  # nothing is done if some of it can't be
            found = []
            for each in dict.fromkeys(topics):
                found += await client.queue_groups.seek(
                    name, each, to=position, queue=queue, dry_run=dry
                )
        return found

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        queues = [sought_data(each) for each in found]
        print_json({"group": name, "done": not dry_run, "queues": queues})
        return
    print_table(
        ("topic", "queue", "before", "after", "messages", "in flight"),
        [
            (
                each.topic,
                each.queue,
                each.before,
                each.after,
                moved_in_words(each),
                in_flight_in_words(each),
            )
            for each in found
        ],
        f"group {name} {'would go' if dry_run else 'goes'} on at {show_position(position)}",
    )
    if dry_run:
        say("nothing was changed: --dry-run")


@app.command()
def decide(
    name: Name,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The message's topic.")],
    queue: Annotated[int, typer.Argument(metavar="QUEUE", min=0, help="Its queue.")],
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="Its offset.")],
    verdict: Annotated[
        str,
        typer.Argument(
            metavar="VERDICT", help="retry (its attempts begin anew), skip, or dead-letter."
        ),
    ],
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Let a blocked message go on."""
    wanted = cast('Literal["retry", "skip", "dead-letter"]', verdict)

    async def use(client: "Client") -> None:
        await client.queue_groups.decide(name, topic, queue, offset, wanted)

    ask(connect, timeout, use)
    if output is Output.JSON:
        place = {"topic": topic, "queue": queue, "offset": offset}
        print_json({"group": name, **place, "verdict": verdict})
    else:
        typer.echo(f"{topic}: message {offset} of queue {queue}: {verdict}")


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Forget a group of which nothing is leased; its dead letters stay. Asks, unless --yes."""
    confirm(f"Forget queue-style group {name} and where it is?", is_agreed=yes)

    async def use(client: "Client") -> None:
        await client.queue_groups.describe(name)  # a stream-style one of this name is not meant
        await client.groups.delete(name)

    ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")

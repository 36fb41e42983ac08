"""``raftlog group``: how far consumer groups are, and where they go on."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from raftlog.base.assignors import RANGE
from raftlog.cli.connection import ask
from raftlog.cli.group_seeks import seeks
from raftlog.cli.options import (
    DEFAULT_TIMEOUT_S,
    AssignorOption,
    ConnectOption,
    DryRunOption,
    FilterOption,
    PositionOption,
    TagOption,
    TimeoutOption,
)
from raftlog.cli.output import Output, Shown, confirm, print_json, print_table, say
from raftlog.cli.positions import show_position
from raftlog.cli.quantities import show_elapsed
from raftlog.cli.seeking import Move, carry_out, plan_moves, topics_of
from raftlog.wire.filters import record_filter

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.groups import GroupInfo, GroupQueue, GroupSummary

app = typer.Typer(help="Consumer groups: lag, members, positions.", no_args_is_help=True)
app.command("seeks")(seeks)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
COLUMNS: Final = ("topic", "queue", "committed", "start", "end", "lag", "age", "owner")


@app.command("list")
def list_groups(
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show all groups: members, and records that they have not done yet.

    The lag is in records, and as the age of the oldest one.
    """

    async def use(client: "Client") -> "list[GroupSummary]":
        return await client.groups.list()

    groups = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(
            [
                {
                    "group": each.name,
                    "generation": each.generation,
                    "members": each.members,
                    "lag": each.lag,
                    "lag_ms": each.lag_time // timedelta(milliseconds=1),
                }
                for each in groups
            ]
        )
    elif groups:
        print_table(
            ("group", "members", "lag", "age", "generation"),
            [
                (
                    *(each.name, each.members, f"{each.lag:,}"),
                    *(show_elapsed(each.lag_time) if each.lag else None, each.generation),
                )
                for each in groups
            ],
        )
    else:
        say("there are no groups yet; one begins with its first consumer: raftlog sub --group")


@app.command()
def describe(
    name: Name,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show a group's members, and for each queue what is committed and how far that is behind.

    The lag is in records, and as the age of the oldest one.
    """

    async def use(client: "Client") -> "GroupInfo":
        return await client.groups.describe(name)

    group = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(description_data(group))
    else:
        _show(group)


@app.command()
def subscribe(
    name: Name,
    topics: Annotated[
        list[str], typer.Argument(metavar="TOPIC...", help="The topics that it is to read.")
    ],
    condition: FilterOption = "",
    tag: TagOption = None,
    assignor: AssignorOption = "",
    version: Annotated[
        int,
        typer.Option(min=0, help="Only if its subscription is at this version; 0: whichever."),
    ] = 0,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Change what a group reads: its topics and its filter, for all members.

    Running consumers take it over. One that is started with another subscription is refused,
    also when the others have gone.
    """

    async def use(client: "Client") -> int:
        return await client.groups.subscribe(
            *(name, topics), filter=condition, tags=tag or (), version=version, assignor=assignor
        )

    now = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": name, "version": now})
    else:
        wanted = record_filter(tag or (), condition)
        typer.echo(f"{name} reads {', '.join(sorted(topics))} ({wanted}), version {now}")


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
    """Set where a group goes on reading, also backwards.

    Running consumers of the group notice and go on from there.
    """
    position = cast("Position", to)
    if queue is not None and len(topic or ()) != 1:
        raise typer.BadParameter("--queue is of one topic: name it with --topic")

    async def use(client: "Client") -> "tuple[GroupInfo, list[Move]]":
        group = await client.groups.describe(name)
        topics = list(dict.fromkeys(topic or topics_of(group)))
        moves = await plan_moves(client, group, topics, position, queue)
        if not dry_run:
            await carry_out(client, name, moves)
        return group, moves

    group, moves = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": name, "done": not dry_run, "queues": [move_data(m) for m in moves]})
        return
    where = show_position(position)
    print_table(
        ("topic", "queue", "before", "after", "records"),
        [(m.topic, m.queue, m.before, m.after, records_in_words(m)) for m in moves],
        f"group {name} {'would go' if dry_run else 'goes'} on at {where}",
    )
    if dry_run:
        say("nothing was changed: --dry-run")
    elif group.members:
        say(f"{len(group.members)} running consumer(s) go on from there")


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Forget a group without members, and its offsets; asks before, unless --yes."""
    confirm(f"Forget group {name} and its offsets?", is_agreed=yes)

    async def use(client: "Client") -> None:
        await client.groups.delete(name)

    ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")


@app.command("remove-member")
def remove_member(
    name: Name,
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="As 'describe' names it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Take a member out that will not come back; its queues go to the others now."""
    confirm(f"Take {member} out of group {name}?", is_agreed=yes)

    async def use(client: "Client") -> None:
        await client.groups.remove_member(name, member)

    ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": name, "removed": member})
    else:
        typer.echo(f"{member} is no member of {name} any more")


# -- showing


def description_data(group: "GroupInfo") -> dict[str, object]:
    """Return what ``describe -o json`` prints."""
    return {
        "group": group.name,
        "generation": group.generation,
        "lag": group.lag,
        "lag_ms": group.lag_time // timedelta(milliseconds=1),
        "subscription": {
            "topics": group.subscription.topics,
            "filter": group.subscription.filter,
            "tags": group.subscription.tags,
            "version": group.subscription.version,
            "assignor": group.subscription.assignor,
            "by_hand": group.subscription.by_hand,
        },
        "members": [
            {
                "member": each.member,
                "client": each.client_id,
                "topics": each.topics,
                "session_ms": each.session // timedelta(milliseconds=1),
                "static": each.is_static,
            }
            for each in group.members
        ],
        "queues": [
            {
                "topic": each.topic,
                "queue": each.queue,
                "owner": each.owner,
                "heir": each.heir,
                "committed": each.committed,
                "start": each.start_offset,
                "end": each.end_offset,
                "lag": each.lag,
                "lag_ms": each.lag_time // timedelta(milliseconds=1),
                "read": each.is_read,
            }
            for each in group.queues
        ],
    }


def move_data(move: Move) -> dict[str, object]:
    """Return what ``seek -o json`` prints of one queue."""
    return {
        "topic": move.topic,
        "queue": move.queue,
        "before": move.before,
        "after": move.after,
        "end": move.end,
    }


def records_in_words(move: Move) -> str:
    """Say what a move means for whoever reads."""
    match move.records:
        case None:
            return "nothing was committed"
        case 0:
            return "stays"
        case count if count > 0:
            return f"{count:,} passed over"
        case count:
            return f"{-count:,} again"


def _show(group: "GroupInfo") -> None:
    print_table(
        COLUMNS,
        [
            (
                *(q.topic, q.queue, q.committed, q.start_offset, q.end_offset, f"{q.lag:,}"),
                show_elapsed(q.lag_time) if q.lag else None,
                _owner(q),
            )
            for q in group.queues
        ],
        f"group {group.name}: generation {group.generation}, {group.lag:,} records behind",
    )
    found = group.subscription
    wanted = record_filter(found.tags, found.filter)
    by_hand = ", said by hand" if found.by_hand else ""
    typer.echo(f"reads {', '.join(found.topics)} ({wanted}), version {found.version}{by_hand}")
    if found.assignor != RANGE:
        typer.echo(f"shares its queues out: {found.assignor}")
    for each in group.members:
        named = f" ({each.client_id})" if each.client_id else ""
        typer.echo(f"member {each.member}{named}{', static' if each.is_static else ''}")
    if not group.members:
        typer.echo("no members: nobody reads for it now")


def _owner(queue: "GroupQueue") -> str | None:
    if not queue.is_read:
        return "(not read any more)"
    return queue.owner if queue.heir is None else f"{queue.owner} (then {queue.heir})"

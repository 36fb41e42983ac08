"""``raftlog dead-letters``: what queue-style groups gave up, and sending it again."""

from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.exits import Exit, sentence
from raftlog.cli.ndjson import record_data
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, print_table, say

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.dead_letters import DeadLetter, Resent

app = typer.Typer(help="Dead letters of queue-style groups.", no_args_is_help=True)

Group = Annotated[str, typer.Argument(metavar="GROUP", help="The queue-style group.")]
Limit = Annotated[int, typer.Option(min=1, help="So many at most.")]


@app.command("list")
def list_letters(
    group: Group,
    pending: Annotated[
        bool, typer.Option("--pending", help="Only those that were not sent again.")
    ] = False,
    limit: Limit = 100,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show dead letters, the oldest first: where each came from, and why it was given up."""

    async def use(client: "Client") -> "list[DeadLetter]":
        return await client.dead_letters.list(group, pending=pending, limit=limit)

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"group": group, "letters": [_data(each) for each in found]})
    else:
        _show(found, group)


@app.command()
def resend(
    group: Group,
    topic: Annotated[
        str,
        typer.Option(
            metavar="TOPIC",
            help="Send all of them to this topic. Else each to the one that it came from.",
            show_default=False,
        ),
    ] = "",
    limit: Limit = 1_000,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")
    ] = False,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Send dead letters to their topics again, each once. Safe to repeat."""
    if dry_run:

        async def look(client: "Client") -> "list[DeadLetter]":
            return await client.dead_letters.list(group, pending=True, limit=limit)

        found = ask(connect, timeout, look)
        if output is Output.JSON:
            letters = [_data(each) for each in found]
            print_json({"group": group, "done": False, "letters": letters})
        else:
            _show(found, group)
            say("nothing was sent: --dry-run")
        return

    async def use(client: "Client") -> "Resent":
        return await client.dead_letters.resend(
            group, topic=topic, limit=limit, on_progress=lambda count: say(f"{count:,} sent")
        )

    _report(ask(connect, timeout, use), group, output)


def _report(done: "Resent", group: str, output: Output) -> None:
    if output is Output.JSON:
        print_json(
            {
                "group": group,
                "done": True,
                "sent": done.count,
                "duplicates": done.duplicates,
                "failed": [
                    {"offset": each.offset, "error": each.error.code, "text": str(each.error)}
                    for each in done.failed
                ],
            }
        )
    elif done.count or not done.failed:
        before = f" ({done.duplicates:,} of them were sent before)" if done.duplicates else ""
        typer.echo(f"{done.count:,} dead letters of {group} were sent again{before}")
    for each in done.failed:
        say(f"letter {each.offset} stays: {sentence(each.error)}")
    if done.failed:
        raise typer.Exit(Exit.FAILED)


def _show(found: "list[DeadLetter]", group: str) -> None:
    if not found:
        say(f"there are no such dead letters of {group}")
        return
    print_table(
        ("letter", "topic", "queue", "offset", "attempts", "reason", "resent"),
        [
            (
                *(each.message.offset, each.topic, each.queue, each.offset, each.attempts),
                *(each.reason, "yes" if each.is_resent else None),
            )
            for each in found
        ],
        f"{len(found):,} dead letters of {group}",
    )


def _data(each: "DeadLetter") -> dict[str, object]:
    return {
        "letter": each.message.offset,
        "topic": each.topic,
        "queue": each.queue,
        "offset": each.offset,
        "attempts": each.attempts,
        "reason": each.reason,
        "resent": each.is_resent,
        "record": record_data(each.message),
    }

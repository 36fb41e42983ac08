"""``raftlog delayed``: send a record that becomes visible later, see what is pending, cancel."""

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.exits import Exit
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption, parsed
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.quantities import read_duration

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.later import CancelOutcome, DelayedReceipt, PendingMessage

app = typer.Typer(help="Records that become visible later.", no_args_is_help=True)

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")]


def read_moment(text: str) -> datetime:
    """Read a moment; without a zone it is local time.

    Raises:
        ValueError: It is none.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no moment; write one like 2026-11-25T09:00:00Z, or 2026-11-25 09:00"
        ) from None


@app.command()
def send(
    topic: Topic,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The record's value.")],
    delay: Annotated[
        timedelta | None,
        typer.Option(
            parser=parsed(read_duration),
            metavar="DURATION",
            help="So long after it was stored: 500ms, 10s, 30m, 7d; up to 40d.",
            show_default=False,
        ),
    ] = None,
    deliver_at: Annotated[
        datetime | None,
        typer.Option(
            parser=parsed(read_moment),
            metavar="MOMENT",
            help="At this moment, like 2026-11-25T09:00:00Z; one that is past is now.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Equal keys share a queue.", show_default=False)
    ] = None,
    queue: Annotated[
        int | None, typer.Option(min=0, help="Into this queue of the topic.", show_default=False)
    ] = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Send one record that becomes visible later; say when, and the handle to cancel it by."""
    if (delay is None) == (deliver_at is None):
        raise typer.BadParameter("say when: --delay or --deliver-at, one of them")

    async def use(client: "Client") -> "DelayedReceipt":
        return await client.send_later(
            topic,
            os.fsencode(value),
            delay=delay,
            deliver_at=deliver_at,
            key=None if key is None else os.fsencode(key),
            queue=queue,
        )

    receipt = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(
            {
                "topic": receipt.topic,
                "queue": receipt.queue,
                "handle": receipt.handle,
                "due": receipt.due.isoformat(),
                "durability": receipt.durability,
            }
        )
    else:
        typer.echo(
            f"{receipt.topic}: queue {receipt.queue}, visible from {receipt.due.isoformat()} on "
            f"({receipt.durability}); to cancel it: raftlog delayed cancel {receipt.handle}"
        )


@app.command("list")
def list_pending(
    topic: Topic,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show what is pending in TOPIC, queue by queue, in the order of sending."""

    async def use(client: "Client") -> "tuple[list[PendingMessage], int]":
        found = await client.delayed.list(topic, limit=limit)
        topic_now = await client.topics.describe(topic)
        return found, sum(queue.delayed for queue in topic_now.queues)

    pending, total = ask(connect, timeout, use)
    if output is Output.JSON:
        rows = [
            {
                "queue": each.queue,
                "handle": each.handle,
                "due": each.due.isoformat(),
                "records": each.records,
                "bytes": each.bytes,
            }
            for each in pending
        ]
        print_json({"topic": topic, "pending": total, "messages": rows})
    elif pending:
        print_table(
            ("queue", "due", "records", "bytes", "handle"),
            [
                (each.queue, each.due.isoformat(), each.records, each.bytes, each.handle)
                for each in pending
            ],
            f"{len(pending):,} of {total:,} pending in {topic}",
        )
    else:
        say(f"nothing is pending in {topic}")


@app.command()
def cancel(
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Of its receipt.")],
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Let a record never become visible; says so if it is too late. Safe to repeat."""

    async def use(client: "Client") -> "CancelOutcome":
        return await client.delayed.cancel(handle)

    outcome = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"handle": handle, "outcome": outcome.value})
    else:
        typer.echo(_WORDS[outcome.value])
    if outcome.value != "cancelled":
        raise typer.Exit(Exit.FAILED)


_WORDS = {
    "cancelled": "cancelled: it will never be visible",
    "delivered": "too late: it is visible already",
    "unknown": "unknown: there never was such a record, or it was due more than an hour ago",
}

"""``raftlog delayed``: send records that become visible later, see what is pending, cancel."""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.exits import Exit
from raftlog.cli.inputs import InputFormat, named_source, records_of
from raftlog.cli.ndjson import Outgoing
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption, parsed
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.pub import File, Form, Header, Key, Queue, Tag, Value, read_header
from raftlog.cli.quantities import read_duration
from raftlog.cli.sending_later import SendingLater

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
    value: Value = None,
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
    file: File = None,
    form: Form = InputFormat.LINES,
    key: Key = None,
    header: Header = None,
    tag: Tag = None,
    queue: Queue = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Send records that become visible later; say when, and the handles to cancel them by.

    Ends with 5 if some record got no answer in time: it may be stored or not.
    """
    if (delay is None) == (deliver_at is None):
        raise typer.BadParameter("say when: --delay or --deliver-at, one of them")
    if value is not None and (file is not None or form is not InputFormat.LINES):
        raise typer.BadParameter("VALUE is the record: leave out --file and --format, or VALUE")
    headers = tuple(map(read_header, header or ()))
    defaults = Outgoing(None, None if key is None else os.fsencode(key), headers, tag)
    sending = SendingLater(topic, queue, (delay, deliver_at), defaults)
    if value is not None:
        _send(sending, _alone(os.fsencode(value)), connect, timeout)
    else:
        with named_source(file) as (source, name):
            _send(sending, records_of(source, form, name), connect, timeout)
    _tell(sending, output, is_alone=value is not None)
    if sending.error is not None:
        raise sending.error


async def _alone(value: bytes) -> AsyncIterator[list[Outgoing]]:
    yield [Outgoing(value)]


def _send(
    sending: SendingLater, records: AsyncIterator[list[Outgoing]], connect: str, timeout_s: float
) -> None:
    async def use(client: "Client") -> None:
        await sending.run(client, records)

    ask(connect, timeout_s, use)


def _tell(sending: SendingLater, output: Output, *, is_alone: bool) -> None:
    receipts = sending.receipts
    if output is Output.JSON:
        data = [_receipt_data(receipt) for receipt in receipts]
        if not is_alone:
            print_json(
                {
                    "topic": sending.topic,
                    "acknowledged": len(data),
                    "failed": sending.failed,
                    "unknown": sending.unknown,
                    "messages": data,
                }
            )
        elif data:
            print_json(data[0])
        return
    for receipt in receipts:
        typer.echo(
            f"{receipt.topic}: queue {receipt.queue}, visible from {receipt.due.isoformat()} on "
            f"({receipt.durability}); to cancel it: raftlog delayed cancel {receipt.handle}"
        )
    if not is_alone and sending.error is not None:
        say(sending.damage())
    elif not receipts and sending.error is None:
        typer.echo(f"{sending.topic}: the input has no record")


def _receipt_data(receipt: "DelayedReceipt") -> dict[str, object]:
    return {
        "topic": receipt.topic,
        "queue": receipt.queue,
        "handle": receipt.handle,
        "due": receipt.due.isoformat(),
        "durability": receipt.durability,
    }


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

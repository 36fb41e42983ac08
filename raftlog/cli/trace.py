"""``raftlog trace``: what became of one message, as a timeline."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json

_MOMENT = len("2026-11-25T09:00:00.000+00:00")

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.tracing import Trace


def trace(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")],
    queue: Annotated[int, typer.Argument(metavar="QUEUE", min=0, help="Its queue, from 0.")],
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="The offset there.")],
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show how the message at OFFSET came into TOPIC, and which groups have read it."""

    async def use(client: "Client") -> "Trace":
        return await client.messages.trace(topic, queue, offset)

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(_json(found))
        return
    message = found.message
    key = "" if message.key is None else f", key {message.key.decode(errors='backslashreplace')}"
    typer.echo(
        f"{topic} {queue}:{offset}{key}, {len(message.value or b'')} bytes: record "
        f"{found.place + 1} of {found.batch_records} in the batch at entry {found.index}"
    )
    if found.producer:
        typer.echo(
            f"sent by producer {found.producer}, epoch {found.epoch}, sequence {found.sequence}"
        )
    for event in found.timeline:
        typer.echo(f"{_moment(event.at) or '-':<{_MOMENT}}  {event.what}")
    if found.more_groups:
        typer.echo("there are more groups; raftlog group list shows them")


def _json(found: "Trace") -> dict[str, object]:
    message = found.message
    return {
        "topic": message.topic,
        "queue": message.queue,
        "offset": message.offset,
        "key": _text(message.key),
        "tag": message.tag,
        "id": message.id,
        "headers": [[name, _text(value)] for name, value in message.headers],
        "bytes": len(message.value or b""),
        "place": found.place,
        "batch_records": found.batch_records,
        "batch_bytes": found.batch_bytes,
        "producer": found.producer or None,
        "epoch": found.epoch,
        "sequence": found.sequence,
        "index": found.index,
        "origin": found.origin.value,
        "stored_index": found.stored_index,
        "stored": _moment(found.stored),
        "due": _moment(found.due),
        "visible": _moment(found.visible),
        "copied": _moment(found.copied),
        "transaction": found.transaction or None,
        "owner": found.owner or None,
        "dead_letter_of": found.dead_letter_of,
        "groups": [
            {
                "group": group.group,
                "style": group.style,
                "progress": group.progress.value,
                "committed": group.committed,
                "attempts": group.attempts,
                "until": _moment(group.until),
                "dead_letter": group.dead_letter,
                "reason": group.reason or None,
            }
            for group in found.groups
        ],
        "timeline": [{"at": _moment(event.at), "what": event.what} for event in found.timeline],
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")

"""``raftlog trace``: what became of one message, as a timeline; also before it can be read."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, say
from raftlog.cli.walks import follow, show_walk

_MOMENT = len("2026-11-25T09:00:00.000+00:00")

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftlog.client.client import Client
    from raftlog.client.hidden_tracing import HiddenTrace
    from raftlog.client.message_history import MessageEvent, MessageHistory
    from raftlog.client.receipts import Message
    from raftlog.client.tracing import Trace, TraceEvent


def trace(
    topic: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC",
            help="The topic; or, alone, the handle of a delayed message, or a transaction.",
        ),
    ],
    queue: Annotated[
        int | None, typer.Argument(metavar="QUEUE", min=0, help="Its queue, from 0.")
    ] = None,
    offset: Annotated[
        int | None, typer.Argument(metavar="OFFSET", min=0, help="The offset there.")
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="Also what the log says: who has leased it, acked it, ..."),
    ] = False,
    group: Annotated[
        str, typer.Option(help="With --history: only what this group did; faster.")
    ] = "",
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show how the message at OFFSET came into TOPIC, and which groups have read it.

    With a handle of a delayed message, or the name of a half message's transaction, instead:
    show what it waits for, or what became of it.
    """
    if group and not history:
        raise typer.BadParameter("--group needs --history")
    if queue is None:
        if history:
            raise typer.BadParameter("--history is of a message that can be read")
        _trace_hidden(topic, connect, timeout, output)
        return
    if offset is None:
        raise typer.BadParameter("say TOPIC, QUEUE and OFFSET; or a handle or a transaction")

    async def use(client: "Client") -> "tuple[Trace, list[MessageEvent]]":
        found = await client.messages.trace(topic, queue, offset)
        if not history:
            return found, []
        return found, await _events(client.messages.history(topic, queue, offset, group=group))

    found, events = ask(connect, timeout, use)
    timeline = found.timeline_with(_lines(events))
    if output is Output.JSON:
        print_json(_json(found, timeline, events if history else None))
        return
    message = found.message
    typer.echo(
        f"{topic} {queue}:{offset}{_key_and_size(message)}: record "
        f"{found.place + 1} of {found.batch_records} in the batch at entry {found.index}"
    )
    if found.producer:
        typer.echo(
            f"sent by producer {found.producer}, epoch {found.epoch}, sequence {found.sequence}"
        )
    _show(timeline)
    if found.more_groups:
        typer.echo("there are more groups; raftlog group list shows them")


async def _events(walk: "MessageHistory") -> "list[MessageEvent]":
    found = await follow(walk)
    say(show_walk(walk.progress))
    return found


def _lines(events: "Iterable[MessageEvent]") -> "list[TraceEvent]":
    from raftlog.client.tracing import TraceEvent  # noqa: PLC0415  (``--help`` stays fast)

    return [TraceEvent(event.at, event.what) for event in events]


def _trace_hidden(name: str, connect: str, timeout: float, output: Output) -> None:
    async def use(client: "Client") -> "HiddenTrace":
        return await client.messages.trace_hidden(name)

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(_hidden_json(found))
        return
    where = f"{found.topic}, queue {found.queue}" if found.topic else "its topic was deleted"
    typer.echo(f"{name}: {found.state.value} ({where})")
    for message in found.messages:
        typer.echo(f"a record{_key_and_size(message)}")
    _show(found.timeline)
    if found.base_offset is not None:
        say(f"see it with: raftlog trace {found.topic} {found.queue} {found.base_offset}")


def _key_and_size(message: "Message") -> str:
    key = "" if message.key is None else f", key {message.key.decode(errors='backslashreplace')}"
    return f"{key}, {len(message.value or b'')} bytes"


def _show(timeline: "Iterable[TraceEvent]") -> None:
    for event in timeline:
        typer.echo(f"{_moment(event.at) or '-':<{_MOMENT}}  {event.what}")


def _json(
    found: "Trace", timeline: "Iterable[TraceEvent]", history: "Iterable[MessageEvent] | None"
) -> dict[str, object]:
    message = found.message
    data: dict[str, object] = {
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
        "stored_index": found.stored_index or None,
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
        "timeline": _timeline(timeline),
    }
    if history is not None:
        data["history"] = [_event_json(event) for event in history]
    return data


def _event_json(event: "MessageEvent") -> dict[str, object]:
    return {
        "at": _moment(event.at),
        "entry": event.index,
        "kind": event.kind.name.lower(),
        "group": event.group or None,
        "handle": f"{event.handle:x}" if event.handle else None,
        "lease": event.lease or None,
        "by": event.by or None,
        "offset": event.offset,
        "ms": event.ms,
        "reason": event.reason or None,
        "too_late": event.is_late,
    }


def _hidden_json(found: "HiddenTrace") -> dict[str, object]:
    return {
        "name": found.name,
        "state": found.state.value,
        "topic": found.topic or None,
        "queue": found.queue,
        "records": found.records,
        "bytes": found.batch_bytes,
        "keys": [_text(message.key) for message in found.messages],
        "index": found.index or None,
        "stored_index": found.stored_index or None,
        "stored": _moment(found.stored),
        "copied": _moment(found.copied),
        "due": _moment(found.due),
        "transaction": found.transaction or None,
        "owner": found.owner or None,
        "checks": found.checks,
        "next_check": _moment(found.next_check),
        "parked": found.parked,
        "decided": _moment(found.decided),
        "offset": found.base_offset,
        "timeline": _timeline(found.timeline),
    }


def _timeline(events: "Iterable[TraceEvent]") -> list[dict[str, object]]:
    return [{"at": _moment(event.at), "what": event.what} for event in events]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")

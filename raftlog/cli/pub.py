"""``raftlog pub``: send records, and say how many are stored."""

import os
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.base.errors import OutcomeUnknown
from raftlog.cli.connection import ask
from raftlog.cli.inputs import InputFormat, named_source, records_of
from raftlog.cli.ndjson import Outgoing
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, say
from raftlog.cli.sending import Sending, Summary

if TYPE_CHECKING:
    from raftlog.client.client import Client

AT_ONCE = 1_000
"""Repeated records between two looks at the loop."""


Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")]
Value = Annotated[
    str | None,
    typer.Argument(
        metavar="VALUE",
        help="One record's value; else records are read from --file or standard input.",
        show_default=False,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(help="Read records from here; - is standard input.", show_default=False),
]
Form = Annotated[
    InputFormat,
    typer.Option(
        "--format",
        help="lines: each line is a value; json: each line is an object with key, value and "
        "headers (tag, id); raw: the whole input is one value.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="Key of every record that has none; equal keys share a queue.", show_default=False
    ),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="NAME=VALUE",
        help="A header of every record; may be given again.",
        show_default=False,
    ),
]
Tag = Annotated[
    str | None, typer.Option(help="Tag of every record that has none.", show_default=False)
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="Id of VALUE: in the topic's window it is stored once, whoever sends it.",
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option(min=1, help="Send VALUE so many times.")]
Queue = Annotated[
    int | None, typer.Option(min=0, help="Into this queue of the topic.", show_default=False)
]


def pub(
    topic: Topic,
    value: Value = None,
    file: File = None,
    form: Form = InputFormat.LINES,
    key: Key = None,
    header: Header = None,
    tag: Tag = None,
    id_: Id = None,
    count: Count = 1,
    queue: Queue = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Send records to TOPIC; done when each of them is on the disks of a majority.

    Ends with 5 if some record got no answer in time: it may be stored or not.
    """
    if value is not None and (file is not None or form is not InputFormat.LINES):
        raise typer.BadParameter("VALUE is the record: leave out --file and --format, or VALUE")
    if value is None and count != 1:
        raise typer.BadParameter("--count repeats VALUE: give one")
    if id_ is not None and (value is None or count != 1):
        raise typer.BadParameter(
            "--id is one record's: give VALUE and no --count; records of --format json have an id "
            "of their own"
        )
    headers = tuple(map(read_header, header or ()))
    defaults = Outgoing(None, None if key is None else os.fsencode(key), headers, tag, id_)
    sending = Sending(topic, queue, defaults)
    if value is not None:
        summary = _send(sending, _repeated(value, count), connect, timeout)
    else:
        with named_source(file) as (source, name):
            summary = _send(sending, records_of(source, form, name), connect, timeout)
    _tell(summary, output)
    if summary.unknown:
        raise OutcomeUnknown(
            f"no answer came in time for {summary.unknown:,} records; see which are stored before "
            f"sending them again: raftlog sub {topic} --from -5m"
        )
    if summary.error is not None:
        raise summary.error


def read_header(text: str) -> tuple[str, bytes]:
    """Read ``name=value``; the value may be empty and may contain ``=``.

    Raises:
        typer.BadParameter: It is none.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(
            f"{text!r} is no header; write NAME=VALUE", param_hint="'--header' / '-H'"
        )
    return name, os.fsencode(value)


async def _repeated(value: str, count: int) -> AsyncIterator[list[Outgoing]]:
    record = Outgoing(os.fsencode(value))
    for begin in range(0, count, AT_ONCE):
        yield list(repeat(record, min(AT_ONCE, count - begin)))


def _send(
    sending: Sending,
    records: AsyncIterator[list[Outgoing]],
    connect: str,
    timeout_s: float,
) -> Summary:
    async def use(client: "Client") -> Summary:
        return await sending.run(client, records)

    return ask(connect, timeout_s, use)


def _tell(summary: Summary, output: Output) -> None:
    if output is Output.JSON:
        print_json(summary.as_data())
    elif summary.acknowledged or summary.error is None:
        typer.echo(summary.words())
    if summary.error is not None:
        say(summary.damage())

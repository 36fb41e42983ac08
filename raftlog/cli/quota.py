"""``raftlog quota``: how much clients may send, and topics are sent."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption, parsed
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.quantities import read_size, show_size

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.quotas import QuotaInfo

app = typer.Typer(help="Bound what clients send, and what topics are sent.", no_args_is_help=True)

ClientOption = Annotated[
    str | None,
    typer.Option(
        "--client",
        metavar="ID",
        help="A client's id, or *: each client that has no quota of its own.",
        show_default=False,
    ),
]
TopicOption = Annotated[
    str | None, typer.Option("--topic", metavar="TOPIC", help="A topic.", show_default=False)
]
COLUMNS: Final = ("kind", "name", "bytes/s", "records/s", "refused")


@app.command("set")
def set_(
    client: ClientOption = None,
    topic: TopicOption = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--bytes",
            metavar="SIZE",
            parser=parsed(read_size),
            help="Bytes a second: 1000000, 64KiB, 10MB, or none (no bound).",
            show_default=False,
        ),
    ] = None,
    records: Annotated[
        int | None, typer.Option(min=1, help="Records a second.", show_default=False)
    ] = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Set the quota of a client or a topic; it replaces the one that is there."""
    _check(client, topic)
    if not size and not records:
        raise typer.BadParameter("bound something: --bytes 10MB, --records 5000, or both")

    async def use(cluster: "Client") -> "QuotaInfo":
        return await cluster.quotas.set(
            client=client, topic=topic, bytes_per_s=size, records_per_s=records
        )

    _show([ask(connect, timeout, use)], output)


@app.command("list")
def list_(
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show all quotas, and how often each was the reason of a refusal since the leader runs."""

    async def use(cluster: "Client") -> "list[QuotaInfo]":
        return await cluster.quotas.list()

    _show(ask(connect, timeout, use), output)


@app.command()
def remove(
    client: ClientOption = None,
    topic: TopicOption = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Take the quota of a client or a topic away; fine if there is none."""
    _check(client, topic)

    async def use(cluster: "Client") -> None:
        await cluster.quotas.remove(client=client, topic=topic)

    ask(connect, timeout, use)
    kind, name = ("client", client) if topic is None else ("topic", topic)
    if output is Output.JSON:
        print_json({"removed": {"kind": kind, "name": name}})
    else:
        typer.echo(f"{kind} {name} has no quota")


def _check(client: str | None, topic: str | None) -> None:
    if (client is None) == (topic is None):
        raise typer.BadParameter("name a client with --client, or a topic with --topic")


def _show(rows: "list[QuotaInfo]", output: Output) -> None:
    if output is Output.JSON:
        print_json(rows)
    elif rows:
        cells = [
            (
                row.kind,
                row.name,
                None if row.bytes_per_s is None else show_size(row.bytes_per_s),
                None if row.records_per_s is None else f"{row.records_per_s:,}",
                f"{row.refused:,}",
            )
            for row in rows
        ]
        print_table(COLUMNS, cells)
    else:
        say("there are no quotas; set one with: raftlog quota set")

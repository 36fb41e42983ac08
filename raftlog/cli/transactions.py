"""``raftlog transactions``: half messages that nobody decided, and deciding them by hand."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, print_table, say

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.transactions import OpenTransaction, Resolved

app = typer.Typer(help="Half messages that nobody decided yet.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="TRANSACTION", help="As raftlog transactions list shows it.")
]


@app.command("list")
def list_open(
    parked: Annotated[
        bool, typer.Option("--parked", help="Only those that no checker could decide.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Show half messages that are open: the parked ones first, then by their next check."""

    async def use(client: "Client") -> "list[OpenTransaction]":
        return await client.transactions.list(parked=parked, limit=limit)

    found = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"transactions": [_row(each) for each in found]})
    elif found:
        print_table(
            ("transaction", "owner", "group", "topic", "queue", "staged", "checks", "next check"),
            [
                (
                    *(each.transaction, each.owner, each.group, each.topic, each.queue),
                    *(each.staged.isoformat(), each.checks),
                    "parked" if each.parked else _moment(each.next_check_ms),
                )
                for each in found
            ],
            f"{len(found):,} open",
        )
    else:
        say("nothing is parked" if parked else "nothing is open")


@app.command()
def commit(
    transaction: Name,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Make a half message visible, whoever sent it. Safe to repeat."""

    async def use(client: "Client") -> "Resolved":
        return await client.transactions.commit(transaction)

    done = ask(connect, timeout, use)
    if output is Output.JSON:
        print_json(
            {
                "transaction": transaction,
                "outcome": "committed",
                "offset": done.base_offset,
                "records": done.count,
            }
        )
    else:
        typer.echo(f"committed: visible from offset {done.base_offset} on")


@app.command()
def rollback(
    transaction: Name,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Forget a half message: nobody will ever see it. Safe to repeat."""

    async def use(client: "Client") -> "Resolved":
        return await client.transactions.rollback(transaction)

    ask(connect, timeout, use)
    if output is Output.JSON:
        print_json({"transaction": transaction, "outcome": "rolled back"})
    else:
        typer.echo("rolled back: nobody will ever see it")


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _row(each: "OpenTransaction") -> dict[str, object]:
    return {
        "transaction": each.transaction,
        "owner": each.owner,
        "group": each.group,
        "topic": each.topic,
        "queue": each.queue,
        "staged": each.staged.isoformat(),
        "next_check": None if each.parked else _moment(each.next_check_ms),
        "checks": each.checks,
        "parked": each.parked,
        "records": each.records,
        "bytes": each.bytes,
    }

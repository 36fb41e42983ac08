"""``raftlog config``: is the file right, before anything starts."""

from pathlib import Path
from typing import Annotated

import typer

from raftlog.cli.options import DEFAULT_CONFIG, read_config
from raftlog.cli.output import Output, Shown, print_json, print_table, say

app = typer.Typer(help="Check a configuration file.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The file.")] = DEFAULT_CONFIG,
    output: Shown = Output.TABLE,
) -> None:
    """Check FILE and show what a node would use; 2 if it is bad, with line and column."""
    config = read_config(file)
    nodes = config.nodes.values()
    if output is Output.JSON:
        from msgspec import to_builtins  # noqa: PLC0415  (``--help`` stays fast)

        print_json(to_builtins(config, enc_hook=str))
        return
    rows = [(n.node, n.peer, n.client, n.grpc or "-", n.advertise_client, n.data) for n in nodes]
    print_table(
        ("node", "listen.peer", "listen.client", "listen.grpc", "advertise.client", "data"),
        rows,
        f"cluster {config.cluster}: {config.durability}, {config.shards} shard(s)",
    )
    say(f"{file} is good")

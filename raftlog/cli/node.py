"""``raftlog node``: one node, in this process."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, NodeOption, read_config
from raftlog.cli.output import say

if TYPE_CHECKING:
    from raftlog.base.ids import NodeId
    from raftlog.server.config import Config

app = typer.Typer(help="Run one node.", no_args_is_help=True)

ClusterOption = Annotated[
    str, typer.Option(help="With --join: the cluster's id; without it the other nodes are asked.")
]


@app.command()
def run(
    node: NodeOption,
    config: ConfigOption = DEFAULT_CONFIG,
    join: Annotated[
        bool, typer.Option("--join", help="Join the cluster that exists, as a new member.")
    ] = False,
    cluster: ClusterOption = "",
    ends_with_stdin: Annotated[
        bool,
        typer.Option(
            "--ends-with-stdin",
            help="Also stop when standard input, a pipe, ends: whoever holds it is gone.",
        ),
    ] = False,
) -> None:
    """Run one node until it gets SIGTERM or ctrl-C; its directory must be formatted.

    With --join a directory that is not formatted becomes a new, empty learner's;
    the node asks to be added, and to vote once it has caught up.

    The first signal hands over leadership, finishes what is in flight and
    flushes, within 10 s; a second one ends at once.
    """
    from raftlog.server.formation import refuse_interrupted  # noqa: PLC0415
    from raftlog.server.lifecycle import run_node  # noqa: PLC0415  (``--help`` stays fast)
    from raftlog.storage.directory import DataDirectory  # noqa: PLC0415

    read = read_config(config)
    chosen = read.find(node)
    refuse_interrupted(read)
    if cluster and not join:
        raise typer.BadParameter("--cluster goes with --join")
    if join and not DataDirectory.is_formatted(chosen.data):
        _join(read, chosen.node, cluster)
    raise typer.Exit(run_node(read, chosen.node, join=join, ends_with_stdin=ends_with_stdin))


@app.command("format")
def format_(
    node: NodeOption,
    join: Annotated[
        bool, typer.Option("--join", help="Confirm that it joins a cluster that exists.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    cluster: ClusterOption = "",
) -> None:
    """Format one node's new directory as a learner's, and do not run it; needs --join.

    A new cluster is formed with all its directories at once: raftlog cluster up.
    """
    read = read_config(config)
    chosen = read.find(node)
    if not join:
        raise typer.BadParameter(
            "one directory alone is formatted only to join a cluster that exists: add --join"
        )
    _join(read, chosen.node, cluster)


def _join(config: "Config", node: "NodeId", cluster: str) -> None:
    from raftlog.server.joining import join  # noqa: PLC0415

    replica = asyncio.run(join(config, node, cluster=cluster))
    say(f"{config.find(node).data} is {replica}'s now; it belongs to a cluster")

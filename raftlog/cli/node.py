"""``raftlog node``: one node, in this process, or its directory while it is stopped."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.lost_majority import unsafe_recover
from raftlog.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_TIMEOUT_S,
    ConfigOption,
    NodeOption,
    TimeoutOption,
    find_node,
    read_config,
)
from raftlog.cli.output import Output, Shown, print_json, say

if TYPE_CHECKING:
    from raftlog.base.ids import NodeId
    from raftlog.server.config import Config
    from raftlog.server.draining import Drained

app = typer.Typer(help="Run or drain one node, or work on its directory.", no_args_is_help=True)
app.command()(unsafe_recover)

ClusterOption = Annotated[
    str, typer.Option(help="With --join: the cluster's id; without it the other nodes are asked.")
]


@app.command()
def run(
    node: NodeOption = "",
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
    chosen = find_node(read, node)
    refuse_interrupted(read)
    if cluster and not join:
        raise typer.BadParameter("--cluster goes with --join")
    if join and not DataDirectory.is_formatted(chosen.data):
        _join(read, chosen.node, cluster)
    raise typer.Exit(run_node(read, chosen.node, join=join, ends_with_stdin=ends_with_stdin))


@app.command("format")
def format_(
    node: NodeOption = "",
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
    chosen = find_node(read, node)
    node = chosen.node
    if not join:
        raise typer.BadParameter(
            "one directory alone is formatted only to join a cluster that exists: add --join"
        )
    _join(read, chosen.node, cluster)
    say(
        f"start it: raftlog node run --node {node}; it takes part once it is added: "
        f"raftlog member add {node}"
    )


@app.command()
def drain(
    node: NodeOption = "",
    undo: Annotated[bool, typer.Option("--undo", help="Let it lead again.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Let others lead what a node that runs leads, and wait until they do.

    It stays a member and serves. It leads again only if no other voter can, until
    --undo, or until it is started again.
    """
    from raftlog.server.draining import drain_node  # noqa: PLC0415

    chosen = find_node(read_config(config), node)
    node, address = chosen.node, chosen.advertise_client
    found = asyncio.run(drain_node(address, node, timeout, undo=undo))
    if output is Output.JSON:
        print_json({"node": node, "drained": not undo})
    else:
        typer.echo(drained_text(node, found, undo=undo))


def drained_text(node: str, found: "Drained", *, undo: bool) -> str:
    """Return what is so now, and what may be done."""
    if undo:
        before = "" if found.was_drained else "was not drained: it "
        return f"{node} {before}may lead like any other node"
    drained = f"{node} is drained: it leads nothing now, and may be stopped"
    if len(found.others) < found.spare or not found.others:
        return drained
    others = " and ".join(found.others)
    are = "is" if len(found.others) == 1 else "are"
    return (
        f"{drained}; {others} {are} drained, too: stop only {found.spare} of them at a time, "
        "because a majority must run"
    )


def _join(config: "Config", node: "NodeId", cluster: str) -> None:
    from raftlog.server.joining import join  # noqa: PLC0415

    replica = asyncio.run(join(config, node, cluster=cluster))
    say(f"{config.find(node).data} is {replica}'s now; it belongs to a cluster")

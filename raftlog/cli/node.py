"""``raftlog node``: one node, in this process."""

import typer

from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, NodeOption, read_config

app = typer.Typer(help="Run one node.", no_args_is_help=True)


@app.command()
def run(node: NodeOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run one node until it gets SIGTERM or ctrl-C; its directory must be formatted.

    The first signal hands over leadership, finishes what is in flight and
    flushes, within 10 s; a second one ends at once.
    """
    from raftlog.server.formation import refuse_interrupted  # noqa: PLC0415
    from raftlog.server.lifecycle import run_node  # noqa: PLC0415  (``--help`` stays fast)

    read = read_config(config)
    chosen = read.find(node)
    refuse_interrupted(read)
    raise typer.Exit(run_node(read, chosen.node))

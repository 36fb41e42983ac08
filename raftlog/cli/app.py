"""``raftlog``: the command, its parts, and how it ends (exits.py).

The parts load what they need when they run: ``raftlog --help`` starts no event
loop, opens no file and imports neither the network nor the storage.
"""

import sys
from importlib.metadata import version as version_of
from typing import Final

import typer

from raftlog.base.errors import RaftlogError
from raftlog.cli import (
    bench,
    cluster,
    config,
    dead_letters,
    delayed,
    dev,
    group,
    health,
    leader,
    log,
    member,
    node,
    pub,
    queue_group,
    quota,
    receive,
    search,
    sub,
    topic,
    trace,
    transactions,
)
from raftlog.cli.exits import Exit, exit_of, sentence
from raftlog.cli.output import Output, Shown, print_json, say

app: Final = typer.Typer(
    help="Durable topics on a Raft-replicated log. To try it out: raftlog dev.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.command()(dev.dev)
app.add_typer(topic.app, name="topic")
app.command()(pub.pub)
app.command()(sub.sub)
app.command()(search.search)
app.add_typer(queue_group.app, name="queue-group")
app.command()(receive.receive)
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(trace.trace)
app.add_typer(delayed.app, name="delayed")
app.add_typer(transactions.app, name="transactions")
app.add_typer(group.app, name="group")
app.add_typer(quota.app, name="quota")
app.add_typer(leader.app, name="leader")
app.add_typer(node.app, name="node")
app.add_typer(cluster.app, name="cluster")
app.command()(health.health)
app.add_typer(member.app, name="member")
app.add_typer(log.app, name="log")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")


@app.command()
def version(output: Shown = Output.TABLE) -> None:
    """Show the versions of raftlog and of its wire protocol."""
    from raftlog.wire.frame import PROTOCOL_VERSION  # noqa: PLC0415  (``--help`` stays fast)

    if output is Output.JSON:
        print_json({"raftlog": version_of("raftlog"), "protocol": PROTOCOL_VERSION})
    else:
        typer.echo(f"raftlog {version_of('raftlog')}, protocol {PROTOCOL_VERSION}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` name; return the exit code."""
    if not __debug__:
        say("raftlog: assertions are part of its safety; start Python without -O")
        return Exit.FAILED
    try:
        app(args=arguments, prog_name="raftlog")
    except RaftlogError as error:
        say(f"raftlog: {sentence(error)}")
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else Exit.FAILED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())

"""``raftlog``: the command, its parts, and how it ends (exits.py).

The parts load what they need when they run: ``raftlog --help`` starts no event
loop, opens no file and imports neither the network nor the storage.
"""

import sys
from importlib import import_module
from typing import Final

import typer

from raftlog.base.errors import RaftlogError
from raftlog.cli.exits import Exit, exit_of, sentence
from raftlog.cli.output import Output, Shown, print_json, say

PARTS: Final = (
    *("dev", "topic", "pub", "sub", "search", "queue-group", "receive", "dead-letters", "trace"),
    *("delayed", "transactions", "group", "quota", "leader", "node", "cluster", "health"),
    *("member", "log", "spool", "config", "bench"),
)
"""Commands and groups of commands, in the order of the help; each is a module of this package."""


def command_line(*parts: str) -> typer.Typer:
    """Return the commands of ``parts``, and ``version``.

    Typer prepares every option of every command before it runs one, which takes longer than
    most of them, and half as long as a node takes to start. So who knows the part asks for it.
    """
    app = typer.Typer(
        help="Durable topics on a Raft-replicated log. To try it out: raftlog dev.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
    )
    for part in parts:
        module = import_module(f"raftlog.cli.{part.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=part)
        else:
            app.command()(getattr(module, part))
    app.command()(version)
    return app


def version(output: Shown = Output.TABLE) -> None:
    """Show the versions of raftlog and of its wire protocol."""
    from importlib.metadata import version as version_of  # noqa: PLC0415  (all others stay fast)

    from raftlog.wire.frame import PROTOCOL_VERSION  # noqa: PLC0415

    if output is Output.JSON:
        print_json({"raftlog": version_of("raftlog"), "protocol": PROTOCOL_VERSION})
    else:
        typer.echo(f"raftlog {version_of('raftlog')}, protocol {PROTOCOL_VERSION}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` name; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not __debug__:
        say("raftlog: assertions are part of its safety; start Python without -O")
        return Exit.FAILED
    named = arguments[:1] if arguments and arguments[0] in PARTS else PARTS
    try:
        command_line(*named)(args=arguments, prog_name="raftlog")
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

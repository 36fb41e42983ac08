"""``raftlog cluster``: all nodes of a configuration, as processes on this machine."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.exits import Exit
from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, read_config
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.preference import place_in
from raftlog.cli.space import space_data, space_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftlog.base.ids import NodeId
    from raftlog.server.cluster import LocalNodes
    from raftlog.server.observation import ClusterView, HeldBack, NodeView
    from raftlog.server.pidfile import ProcessId

app = typer.Typer(help="Start, stop and look at all nodes on this machine.", no_args_is_help=True)

COLUMNS = ("node", "shard", "role", "term", "commit", "applied", "lag", "pid")


@app.command()
def up(
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it serves.")] = 30.0,
    output: Shown = Output.TABLE,
) -> None:
    """Form the cluster if it is new, start every node that does not run, wait until it serves."""
    from raftlog.server.cluster import LocalNodes  # noqa: PLC0415  (``--help`` stays fast)

    read = read_config(config)
    nodes = LocalNodes(read)
    started = asyncio.run(nodes.up(timeout))
    if output is Output.JSON:
        print_json({"started": started, "elsewhere": nodes.elsewhere, "connect": read.seeds})
        return
    what = f"started {', '.join(started)}" if started else "every node runs already"
    say(f"{what}; clients connect to {', '.join(read.seeds)}")
    _tell_of(nodes.elsewhere)


@app.command()
def down(
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until they are gone.")] = 12.0,
    output: Shown = Output.TABLE,
) -> None:
    """Ask every node to stop and see it gone; the data stays."""
    from raftlog.server.cluster import LocalNodes  # noqa: PLC0415

    nodes = LocalNodes(read_config(config))
    stopped = asyncio.run(nodes.down(timeout))
    if output is Output.JSON:
        print_json({"stopped": stopped, "elsewhere": nodes.elsewhere})
        return
    if stopped or not nodes.elsewhere:
        say(f"stopped {', '.join(stopped)}" if stopped else "no node runs")
    _tell_of(nodes.elsewhere)


def _tell_of(elsewhere: "Sequence[NodeId]") -> None:
    """Say who runs by itself: nothing here may signal what it did not start."""
    for node in elsewhere:
        say(
            f"{node} runs, but was not started by `raftlog cluster up`, so that is not what stops "
            f"it either: end it with ctrl-C or SIGTERM where it runs; after that `raftlog cluster "
            f"up` starts it"
        )


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, output: Shown = Output.TABLE) -> None:
    """Show role, term and progress of every node; 3 if the cluster is not healthy."""
    from raftlog.server.cluster import LocalNodes  # noqa: PLC0415
    from raftlog.server.observation import ask_with_space  # noqa: PLC0415

    nodes = LocalNodes(read_config(config))
    view = asyncio.run(nodes.observe(ask_with_space))
    if output is Output.JSON:
        print_json(as_data(view, nodes.running()))
    else:
        show(view, nodes.running())
        for line in missing_text(view, nodes):
            typer.echo(line)
    if view.complaint:
        say(f"not healthy: {view.complaint}")
        raise typer.Exit(Exit.UNHEALTHY)


def as_data(view: "ClusterView", running: "dict[NodeId, ProcessId]") -> dict[str, object]:
    """Return what ``-o json`` prints."""
    from msgspec import structs  # noqa: PLC0415

    nodes: list[dict[str, object]] = []
    for each in view.nodes:
        process = running.get(each.node)
        facts = structs.asdict(each)
        del facts["space"]
        nodes.append(
            {
                **facts,
                "standing": view.standing(each),
                "lag": view.lag(each),
                "pid": process.pid if process is not None else None,
            }
        )
    shards = [
        {"shard": leader.shard, **space_data(leader.space)} for leader in view.leaders.values()
    ]
    whole = {"healthy": not view.complaint, "complaint": view.complaint}
    return {**whole, "nodes": nodes, "shards": shards}


def missing_text(view: "ClusterView", nodes: "LocalNodes") -> list[str]:
    """Return a line for each node that gives no answer: why, and what to do."""
    lines = [
        f"{each.node}: was removed from the cluster, and does not run"
        if each.silent and view.was_removed(each)
        else f"{each.node}: {nodes.why_missing(each)}"
        for each in view.missing
    ]
    return list(dict.fromkeys(lines))


def role_of(view: "ClusterView", each: "NodeView") -> str:
    """Return a node's role and what operators wish about it, as the leader knows that."""
    leader = view.leader(each.shard) or each
    wishes = ["drained"] if each.drained else []
    if each.node in leader.preferred:
        wishes.append(place_in(leader.preferred, each.node))
    return ", ".join([view.standing(each), *wishes])


def voters_text(voters: "Sequence[str]") -> str:
    """Return who votes, in words."""
    many = "voter" if len(voters) == 1 else "voters"
    return f"{len(voters)} {many} ({', '.join(voters)})"


def may_fail_text(spare: int, silent: "Sequence[str]" = ()) -> str:
    """Return how many of those who vote may fail, in words; those that are silent have."""
    if not silent:
        return f"{spare} of them may fail" if spare else "so none of them may fail"
    left = max(0, spare - len(silent))
    return f"of which {', '.join(silent)} gives no answer, so {left or 'no'} other may fail"


def level_text(shard: int, held: "HeldBack") -> str:
    """Say that a shard's feature level is lower than it could be, and who holds it back."""
    can = f"{held.able} can apply {held.possible}"
    text = f"shard {shard} is at feature level {held.level}, and {can}"
    if not held.behind:
        return f"{text}; it rises once every member has said so"
    who = ", ".join(f"{node} ({why})" for node, why in held.behind.items())
    return f"{text}; held back by {who}"


def show(view: "ClusterView", running: "dict[NodeId, ProcessId]") -> None:
    """Print the table."""
    rows: list[list[object]] = []
    for each in view.nodes:
        process = running.get(each.node)
        pid = process.pid if process is not None else None
        if each.problem:
            role = "removed, no answer" if view.was_removed(each) else "no answer"
            rows.append([each.node, each.shard, role, "", "", "", "", pid])
            continue
        progress = [role_of(view, each), each.term, each.commit, each.applied, view.lag(each)]
        rows.append([each.node, each.shard, *progress, pid])
    print_table(COLUMNS, rows)
    for each in view.nodes:
        for alarm in each.alarms:
            typer.echo(f"alarm on {each.node}: {alarm}")
        if each.damaged or each.repaired:
            typer.echo(
                f"{each.node}, shard {each.shard}: entries that are damaged: {each.damaged}; "
                f"entries and files repaired since it was started: {each.repaired}"
            )
    for shard, recovery in view.recoveries.items():
        at = datetime.fromtimestamp(recovery.wall_ms / 1000, UTC).isoformat(timespec="seconds")
        typer.echo(
            f"shard {shard} went on without its majority at entry {recovery.index}, by "
            f"{recovery.node} at {at}; given up: {', '.join(recovery.lost)}"
        )
    for shard, held in view.held_back.items():
        typer.echo(level_text(shard, held))
    for shard, leader in view.leaders.items():
        for line in space_text(leader.space):
            typer.echo(f"shard {shard}: {line}")
    for shard, (voters, spare) in view.spare.items():
        silent = view.silent_voters(shard)
        if len(view.nodes) > 1:
            typer.echo(f"shard {shard}: {voters_text(voters)}, {may_fail_text(spare, silent)}")

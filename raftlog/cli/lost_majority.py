"""``raftlog node unsafe-recover``: a person decides that a lost majority is given up."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, NodeOption, read_config
from raftlog.cli.output import Output, Shown, print_json, print_table, say

if TYPE_CHECKING:
    from raftlog.server.unsafe_recovery import LossReport, ShardLoss

COLUMNS = ("shard", "voters now", "voters then", "last entry", "term", "committed to", "newest")


def unsafe_recover(
    node: NodeOption,
    lost: Annotated[
        list[str],
        typer.Option(metavar="NODE", help="A node that is gone for good; once for each."),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be, and may be, lost.")
    ] = False,
    confirm: Annotated[
        str, typer.Option(metavar="PHRASE", help="The phrase that is else asked for.")
    ] = "",
    output: Shown = Output.TABLE,
) -> None:
    """Go on without a majority that is gone for good; what only it had is lost.

    On one survivor, stopped: the one whose log ends last. Its log gets a mark
    that stays visible in the status. The lost nodes' directories must never be
    started again; nodes come back with new ones: raftlog node run -n NODE --join.
    """
    from raftlog.base.ids import NodeId  # noqa: PLC0415  (``--help`` stays fast)
    from raftlog.server.formation import refuse_interrupted  # noqa: PLC0415
    from raftlog.server.unsafe_recovery import UnsafeRecovery  # noqa: PLC0415
    from raftlog.storage.log_store import StoreOptions  # noqa: PLC0415

    read = read_config(config)
    chosen = read.find(node)
    refuse_interrupted(read)
    options = StoreOptions(segment_bytes=read.segment_bytes)
    names = [NodeId(name) for name in lost]
    with UnsafeRecovery.open(str(chosen.data), chosen.node, names, options=options) as work:
        if output is Output.JSON:
            print_json(work.report)
        else:
            _show(work.report)
        if dry_run:
            say("nothing was changed")
            return
        work.carry_out(confirm or _asked(work.report.phrase))
        others = work.report.others
    with_whom = f" and {', '.join(others)}" if others else ""
    joining = ", ".join(f"raftlog node run --node {each} --join" for each in lost)
    say(f"done; start {node}{with_whom}, then let others join with new directories: {joining}")


def _asked(phrase: str) -> str:
    """Ask for the phrase.

    Raises:
        typer.BadParameter: Nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody can be asked here; give --confirm '{phrase}'")
    text: str = typer.prompt(f"Type '{phrase}' to do it", err=True)
    return text


def _show(report: "LossReport") -> None:
    rows = [
        (
            *(each.shard, " ".join(each.before), " ".join(each.after)),
            *(each.last, each.last_term, each.committed, _time(each.log_time_ms)),
        )
        for each in report.shards
    ]
    title = f"{report.node} of cluster {report.cluster}, directory {report.directory}"
    print_table(COLUMNS, rows, title)
    for shard in report.shards:
        for line in _sentences(report, shard):
            typer.echo(line)
    if report.others:
        others = " and ".join(report.others)
        typer.echo(
            f"{others} vote on and must run, too. Look at their directories first, with "
            "--dry-run: recover the node whose last entry has the highest term, and of those the "
            "highest number. What the others have beyond it is lost."
        )


def _sentences(report: "LossReport", shard: "ShardLoss") -> list[str]:
    if shard.done:
        return [f"shard {shard.shard}: recovered before, nothing is done"]
    lost = " and ".join(shard.lost)
    about = f"shard {shard.shard}:"
    told = [
        f"{about} given up for ever: {lost}",
        f"{about} what was acknowledged behind entry {shard.last} is lost: {report.node} lacks it",
    ]
    if shard.committed < shard.last:
        told.append(
            f"{about} entries {shard.committed + 1} to {shard.last} are not known to be committed "
            "and will be; some may have been reported as not stored"
        )
    return told


def _time(log_time_ms: int) -> str:
    if not log_time_ms:
        return ""
    return datetime.fromtimestamp(log_time_ms / 1000, UTC).isoformat(timespec="milliseconds")

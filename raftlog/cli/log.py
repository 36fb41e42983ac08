"""``raftlog log``: look into a data directory, also of a node that does not start.

Nothing in the directory is changed (``server/inspection.py``). ``scrub`` asks a node that runs.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.cli.exits import Exit
from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, TimeoutOption, read_config
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.quantities import show_about

if TYPE_CHECKING:
    from raftlog.base.entry import Entry
    from raftlog.server.inspection import DirectoryReport

app = typer.Typer(help="Look into a data directory, or let a node do it.", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A node's data directory.")]
PREVIEW_BYTES: Final = 24
SCRUB_TIMEOUT_S: Final = 600.0


@app.command()
def verify(directory: Directory, output: Shown = Output.TABLE) -> None:
    """Read every byte and check it; 4 if something that was promised is damaged."""
    from raftlog.server.inspection import verify_directory  # noqa: PLC0415  (``--help`` is fast)

    report = verify_directory(str(directory))
    if output is Output.JSON:
        from msgspec import structs  # noqa: PLC0415

        print_json({**structs.asdict(report), "damaged": report.is_damaged})
    else:
        _show(report)
    if not report.is_damaged and output is Output.TABLE:
        say(f"{directory} is good: every byte was read, and nothing that was promised is damaged")
    if report.is_damaged:
        say("damaged: a node with peers repairs it from them when it starts; alone it does not")
        raise typer.Exit(Exit.DAMAGED)


@app.command()
def compare(
    directory: Directory,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another node's.")],
    output: Shown = Output.TABLE,
) -> None:
    """Compare two nodes' directories; 4 if what is committed differs."""
    from raftlog.server.comparison import compare_directories  # noqa: PLC0415

    found = compare_directories(str(directory), str(other))
    if output is Output.JSON:
        from msgspec import structs  # noqa: PLC0415

        print_json({**structs.asdict(found), "different": found.is_different})
    else:
        print_table(
            ("shard", "entries in both", "equal up to", "files in both", "damaged"),
            [(s.shard, s.entries, s.last_equal, s.files, s.damaged) for s in found.shards],
            f"{directory} and {other}",
        )
        for shard in found.shards:
            for each in shard.differences:
                typer.echo(f"{each.what} differs: {each.first}; {each.second}")
    if found.is_different:
        say("different: keep both directories; what one majority of nodes agrees on is right")
        raise typer.Exit(Exit.DAMAGED)
    if any(shard.damaged for shard in found.shards):
        say("damaged entries were not compared; see them with: raftlog log verify")


@app.command()
def scrub(
    node: Annotated[str, typer.Option("--node", "-n", help="Which node of the configuration.")],
    shard: Annotated[int, typer.Option(help="Which shard.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    timeout: TimeoutOption = SCRUB_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Let a node that runs look for damage now, and wait; 4 if entries stay damaged."""
    from raftlog.server.scrubbing import scrub_node  # noqa: PLC0415

    address = read_config(config).find(node).advertise_client
    found = asyncio.run(scrub_node(address, shard, timeout))
    if output is Output.JSON:
        print_json(found)
    else:
        print_table(
            ("node", "looked at", "found", "repaired", "still damaged"),
            [(node, show_about(found.bytes), found.found, found.repaired, found.damaged)],
        )
    if found.damaged:
        say(f"{found.damaged} entries stay damaged, no peer has sent them; see that others run")
        raise typer.Exit(Exit.DAMAGED)


@app.command()
def dump(
    directory: Directory,
    shard: Annotated[int, typer.Option(help="Which shard's log.")] = 0,
    at: Annotated[int, typer.Option(help="Only the entry at this index.")] = 0,
    first: Annotated[int, typer.Option("--from", help="First index.")] = 1,
    last: Annotated[int, typer.Option("--to", help="Last index; 0: the end.")] = 0,
    output: Shown = Output.TABLE,
) -> None:
    """Print entries, one a line (with -o json one object a line); 4 if one is damaged."""
    from raftlog.base.entry import Entry  # noqa: PLC0415
    from raftlog.server.inspection import entries_of  # noqa: PLC0415

    if at:
        first = last = at
    damaged = found = False
    for each in entries_of(str(directory), shard, first, last or None):
        found = True
        if not isinstance(each, Entry):
            damaged = True
            print_json(each) if output is Output.JSON else typer.echo(f"{each.file}: {each.what}")
        elif output is Output.JSON:
            print_json(facts(each))
        else:
            typer.echo(" ".join(f"{name}={value}" for name, value in facts(each).items()))
    if damaged:
        raise typer.Exit(Exit.DAMAGED)
    if not found:
        say(f"no entry from {first} on is in {directory}; see its range with: raftlog log verify")
        raise typer.Exit(Exit.FAILED)


def facts(entry: "Entry") -> dict[str, object]:
    """Return what is shown of an entry."""
    return {
        "index": entry.index,
        "term": entry.term,
        "kind": entry.kind.name.lower(),
        "bytes": entry.size,
        "previous": f"{entry.previous:08x}",
        "checksum": f"{entry.checksum:08x}",
        **dict(_content(entry)),
    }


def _content(entry: "Entry") -> Iterator[tuple[str, object]]:
    from raftlog.base.entry import EntryKind  # noqa: PLC0415
    from raftlog.base.errors import CorruptFrame, IncompatibleFormat  # noqa: PLC0415
    from raftlog.base.membership import decode_membership  # noqa: PLC0415
    from raftlog.broker.commands import CommandType, decode  # noqa: PLC0415

    try:
        match entry.kind:
            case EntryKind.CONFIGURATION:
                membership = decode_membership(entry.body)
                yield "voters", ",".join(map(str, membership.voters))
                if membership.recovery is not None and membership.recovery.index == entry.index:
                    yield "given_up", ",".join(map(str, membership.recovery.lost))
            case EntryKind.COMMANDS:
                envelope = decode(entry.body)
                kinds = [CommandType(kind).name.lower() for kind, _, _ in envelope]
                yield "feature_level", envelope.feature_level
                yield "log_time_ms", envelope.log_time_ms
                yield "commands", ",".join(f"{kinds.count(k)}x{k}" for k in sorted(set(kinds)))
                _, position, length = envelope.places[0]
                shown = bytes(entry.body[position : position + min(length, PREVIEW_BYTES)])
                yield "first", shown.hex()
            case EntryKind.NOOP:
                pass
    except (CorruptFrame, IncompatibleFormat) as error:
        # The frame is good and says so; that this binary can't read it is a fact like others.
        yield "unreadable", str(error)


def _show(report: "DirectoryReport") -> None:
    print_table(
        (
            *("shard", "first", "last", "entries", "durable to", "segments", "ranges"),
            *("snapshots", "term", "vote"),
        ),
        [
            (
                *(s.shard, s.first, s.last, s.entries, s.durable, s.segments, s.ranges),
                *(s.snapshots, s.term, s.vote),
            )
            for s in report.shards
        ],
        f"node {report.node} of cluster {report.cluster}, directory {report.directory}",
    )
    for shard in report.shards:
        for finding in shard.findings:
            typer.echo(f"{finding.verdict}: {finding.file}: {finding.what}")

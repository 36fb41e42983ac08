"""``raftlog member``: who decides, and changing that while the cluster serves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.cli.cluster import may_fail_text, voters_text
from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, ConnectOption, read_config
from raftlog.cli.output import Output, Shown, print_json, print_table, say
from raftlog.cli.preference import preferred_as

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.shard_members import MemberInfo

app = typer.Typer(help="See and change the members of a cluster.", no_args_is_help=True)

COLUMNS: Final[tuple[str, ...]] = (
    "node",
    "place",
    "leads",
    "match",
    "lag",
    "caught up",
    "alive",
    "directory",
)

Node = Annotated[str, typer.Argument(help="The node's name.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait until it is done.")
]


@app.command("list")
def list_(
    connect: ConnectOption = "", timeout: Timeout = 10.0, output: Shown = Output.TABLE
) -> None:
    """Show the members, as the leader sees them."""
    _show(ask(connect, timeout, lambda client: client.members.list()), output)


@app.command()
def add(
    node: Node,
    peer: Annotated[
        str, typer.Option(help="host:port where nodes reach it; else as in the file.")
    ] = "",
    client: Annotated[
        str, typer.Option(help="host:port where clients reach it; else as in the file.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    connect: ConnectOption = "",
    timeout: Timeout = 30.0,
    output: Shown = Output.TABLE,
) -> None:
    """Add NODE, which runs, as a learner: it gets the log and decides nothing."""
    peer, client = _addresses(config, node, peer, client)
    directory, is_new = asyncio.run(_directory_at(client, node))

    async def use(cluster: "Client") -> "Sequence[MemberInfo]":
        if not is_new:
            _refuse_removed(node, directory, await cluster.members.list())
        return await cluster.members.add(node, directory=directory, peer=peer, client=client)

    _show(ask(connect, timeout, use), output)


@app.command()
def promote(
    node: Node, connect: ConnectOption = "", timeout: Timeout = 60.0, output: Shown = Output.TABLE
) -> None:
    """Make the learner NODE a voter, as soon as it has caught up."""
    _show(ask(connect, timeout, lambda client: client.members.promote(node)), output)


@app.command()
def demote(
    node: Node, connect: ConnectOption = "", timeout: Timeout = 30.0, output: Shown = Output.TABLE
) -> None:
    """Make the voter NODE a learner; it stays one until it is promoted, also with --join."""
    _show(ask(connect, timeout, lambda client: client.members.demote(node)), output)


@app.command()
def remove(
    node: Node, connect: ConnectOption = "", timeout: Timeout = 30.0, output: Shown = Output.TABLE
) -> None:
    """Remove NODE, which may be the leader or be down; it may be stopped afterwards."""

    async def use(cluster: "Client") -> "Sequence[MemberInfo]":
        return await _as_they_are_now(cluster, await cluster.members.remove(node))

    left = ask(connect, timeout, use)
    _show(left, output)
    for line in left_text(left):
        say(line)


async def _as_they_are_now(
    cluster: "Client", members: "Sequence[MemberInfo]"
) -> "Sequence[MemberInfo]":
    """Return the members as the next leader sees them, if the one that answered led no more.

    A leader that was removed knows nobody any more: to it all the others are dead.
    """
    from raftlog.base.errors import RaftlogError  # noqa: PLC0415  (``--help`` stays fast)

    led = {each.shard for each in members if each.leads}
    if led == {each.shard for each in members}:
        return members
    try:
        return await cluster.members.list()
    except RaftlogError:
        return members  # the removal is done; that nobody leads yet is no reason to fail


def left_text(members: "Sequence[MemberInfo]") -> list[str]:
    """Return for each shard who votes now, and how many of them may fail."""
    lines = []
    for shard in sorted({each.shard for each in members}):
        voters = [each.node for each in members if each.shard == shard and each.place == "voter"]
        spare = (len(voters) - 1) // 2
        lines.append(f"shard {shard}: {voters_text(voters)}, {may_fail_text(spare)}")
    return lines


def _refuse_removed(node: str, directory: str, members: "Sequence[MemberInfo]") -> None:
    """Refuse a directory that was a member's, and is none now.

    Raises:
        BadChange: It is such a one.
    """
    from raftlog.base.errors import BadChange  # noqa: PLC0415  (``--help`` stays fast)

    if not any(each.directory == directory for each in members):
        raise BadChange(
            f"{node} was a member with the directory that it has, and was removed; to bring it "
            "back as a new member, stop it, move its directory away, and start it with: "
            f"raftlog node run --node {node} --join"
        )


async def _directory_at(address: str, node: str) -> tuple[str, bool]:
    """Return the directory's id of the node at ``address``, and whether it knows nobody yet.

    Raises:
        WrongIdentity: Another node answers.
        Unavailable: None does.
    """
    from raftlog.base.errors import Unavailable, WrongIdentity  # noqa: PLC0415
    from raftlog.client.routing import ask_status  # noqa: PLC0415  (``--help`` stays fast)

    try:
        status = await ask_status(address)
    except Unavailable as error:
        raise Unavailable(
            f"{error}; {node} has to run before it is added, and starting it with --join adds it, "
            f"too: raftlog node run --node {node} --join"
        ) from error
    if status.node != node:
        raise WrongIdentity(
            f"{status.node or 'another node'} answers at {address}, not {node}; start {node} "
            f"there: raftlog node run --node {node}"
        )
    return status.directory, not status.voters


def _addresses(path: Path, node: str, peer: str, client: str) -> tuple[str, str]:
    """Return where the node is reached: as given, else as the file says.

    Raises:
        ConfigError: Neither says it.
    """
    if peer and client:
        return peer, client
    from raftlog.server.joining import addresses_of  # noqa: PLC0415

    config = read_config(path)
    known = addresses_of(config, config.find(node).node)
    return peer or known[0], client or known[1]


def _show(members: "Sequence[MemberInfo]", output: Output) -> None:
    if output is Output.JSON:
        from msgspec import to_builtins  # noqa: PLC0415

        print_json({"members": to_builtins(list(members))})
        return
    rows: list[tuple[object, ...]] = [
        (
            *(each.node, _place_of(each)),
            *("yes" if each.leads else "", *_progress_of(each)),
            "yes" if each.alive else "no",
            each.directory[:8],
        )
        for each in members
    ]
    columns = COLUMNS
    if any(each.shard for each in members):
        columns = ("shard", *COLUMNS)
        rows = [(each.shard, *row) for each, row in zip(members, rows, strict=True)]
    print_table(columns, rows)


def _progress_of(member: "MemberInfo") -> tuple[object, object, str]:
    """Return match, lag and whether it has caught up, as far as that is known.

    A voter counts as caught up for good: of one that is down that would be no help. Of one that
    has never answered this leader nothing is known.
    """
    if not member.alive and not member.match:
        return "", "", ""
    caught_up = member.caught_up and (member.alive or not member.lag)
    return member.match, member.lag, "yes" if caught_up else "no"


def _place_of(member: "MemberInfo") -> str:
    wishes = ["held"] if member.held else []
    if member.preference:
        wishes.append(preferred_as(member.preference))
    return ", ".join([member.place, *wishes])

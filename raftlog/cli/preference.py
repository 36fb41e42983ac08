"""``raftlog leader prefer``: who should lead, and how that is shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from raftlog.base.errors import BadRequest
from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, print_table

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.shard_members import MemberInfo


def prefer(
    node: Annotated[
        list[str] | None,
        typer.Option("--node", "-n", help="A voter; again for the next best one."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Prefer nobody any more.")] = False,
    shard: Annotated[
        int | None, typer.Option(min=0, help="Only this shard; without it, all of them.")
    ] = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Let a node lead whenever it can, or show who is preferred.

    A wish that is kept in the log. The node gets leadership some seconds after it
    is there: it answers, has caught up, and is neither drained nor full.
    """
    if node and clear:
        raise typer.BadParameter("--node says who is preferred, --clear that nobody is")

    async def use(client: "Client") -> "Sequence[MemberInfo]":
        if node or clear:
            return await client.members.prefer(*(node or ()), shard=shard)
        return _of_shard(await client.members.list(), shard)

    _show(ask(connect, timeout, use), output)


def _of_shard(members: "Sequence[MemberInfo]", shard: int | None) -> "Sequence[MemberInfo]":
    found = [each for each in members if shard in (None, each.shard)]
    if not found:
        last = max(each.shard for each in members)
        raise BadRequest(f"there is no shard {shard}; the last one is {last}")
    return found


def _show(members: "Sequence[MemberInfo]", output: Output) -> None:
    shards = sorted({each.shard for each in members})
    preferred = {shard: _preferred(members, shard) for shard in shards}
    leaders = {each.shard: each.node for each in members if each.leads}
    if output is Output.JSON:
        rows = [
            {"shard": shard, "preferred": names, "leader": leaders.get(shard, "")}
            for shard, names in preferred.items()
        ]
        print_json({"shards": rows})
        return
    print_table(
        ("shard", "preferred", "leader"),
        [
            (shard, ", ".join(names) or "nobody", leaders.get(shard, ""))
            for shard, names in preferred.items()
        ],
    )


def _preferred(members: "Sequence[MemberInfo]", shard: int) -> list[str]:
    """Return who is preferred in one shard, the first one most."""
    ranked = [each for each in members if each.shard == shard and each.preference]
    return [each.node for each in sorted(ranked, key=lambda each: each.preference)]


def place_in(preferred: Sequence[str], node: str) -> str:
    """Return what a table says of a node that is preferred."""
    return preferred_as(preferred.index(node) + 1)


def preferred_as(preference: int) -> str:
    """Return what a table says of a node with this preference, 1 for the most preferred one."""
    return "preferred" if preference == 1 else f"preferred ({preference})"

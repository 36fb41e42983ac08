"""``raftlog leader``: who leads, and let somebody else lead."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.base.errors import BadRequest, OutcomeUnknown, RaftlogError, Unavailable
from raftlog.cli.connection import ask
from raftlog.cli.options import DEFAULT_TIMEOUT_S, ConnectOption, TimeoutOption
from raftlog.cli.output import Output, Shown, print_json, say
from raftlog.cli.preference import prefer

if TYPE_CHECKING:
    from raftlog.client.client import Client

app = typer.Typer(help="Let another node lead, now or always.", no_args_is_help=True)

LOOK_S: Final = 0.05
GIVEN_UP_S: Final = 2.0
"""A transfer that has not ended after an election timeout (1 s) was given up by the leader."""


@app.command()
def transfer(
    to: Annotated[
        str, typer.Option(help="The node that is to lead; else the best follower.")
    ] = "",
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Hand over leadership, wait until it has happened, say who leads."""

    async def use(client: "Client") -> tuple[str, str, str]:
        handed_over = await hand_over(client, to, timeout)
        return *handed_over, await _better_than(client, handed_over[1])

    before, after, better = ask(connect, timeout, use)
    if not after:
        raise Unavailable(
            f"{before} still leads after {timeout:g} s; see that {to or 'another node'} runs and "
            "has caught up: raftlog cluster status"
        )
    if output is Output.JSON:
        print_json({"leader": after, "before": before})
    elif before == after:
        typer.echo(f"{after} leads already")
    else:
        typer.echo(f"{after} leads now, {before} did before")
    if better:
        say(
            f"{better} is preferred and leads again as soon as it has been well for some seconds; "
            "to end that: raftlog leader prefer --clear"
        )


app.command()(prefer)


async def _better_than(client: "Client", leader: str) -> str:
    """Return the node that is preferred to a new leader and can lead, as far as one can tell."""
    with suppress(RaftlogError):  # it is only a hint
        status = await client.status()
        able = [
            node
            for node in status.preferred
            if node in status.voters and node not in status.drained
        ]
        if leader and able and leader != able[0]:
            return able[0]
    return ""


async def hand_over(client: "Client", to: str, timeout_s: float) -> tuple[str, str]:
    """Let ``to`` lead, or anybody else if it is "".

    Returns:
        Who led before, and who leads now: "" if nobody else does in time.

    Raises:
        BadRequest: There is no such node, or no other one.
        Unavailable: No node answered in time.
    """
    status = await client.status()
    before = status.leader
    others = [node for node in status.voters if node != before]
    if to and to not in status.voters:
        raise BadRequest(
            f"there is no node {to!r}; --to is one of {', '.join(sorted(status.voters))}"
        )
    if to in status.drained:
        raise BadRequest(
            f"{to} is drained, so it does not lead; take that back: raftlog node drain --node "
            f"{to} --undo"
        )
    if not others:
        raise BadRequest(f"{before} is the only node; there is nobody to hand over to")
    if to == before:
        return before, before
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(OutcomeUnknown):  # whether it has begun is seen below
                    await client.transfer_leader(to or None)
                if after := await _successor(client, before, to):
                    return before, after
    except TimeoutError:
        return before, ""


async def _successor(client: "Client", before: str, to: str) -> str:
    """Look for a while whether another node leads; return it, or "".

    It ends only when the old leader leads and has given the transfer up: asking a
    new leader would take leadership away from it, too.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + GIVEN_UP_S
    while True:
        leads = ""
        with suppress(RaftlogError):  # nobody leads at this moment
            leads = (await client.status()).leader
        if leads and leads != before and to in ("", leads):
            return leads
        if leads and loop.time() >= until:
            return ""
        await asyncio.sleep(LOOK_S)

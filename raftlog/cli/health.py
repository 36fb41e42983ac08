"""``raftlog health``: is there a leader that a majority follows?"""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.cli.cluster import level_text, may_fail_text, voters_text
from raftlog.cli.exits import Exit
from raftlog.cli.options import DEFAULT_CONFIG, ConfigOption, read_config
from raftlog.cli.output import Output, Shown, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftlog.server.cluster import Observe
    from raftlog.server.observation import ClusterView

PAUSE_S: Final = 0.2


def health(
    config: ConfigOption = DEFAULT_CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, say every change.")] = False,
    exit_when_healthy: Annotated[
        bool, typer.Option("--exit-when-healthy", help="With --watch: end with 0 once it is.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="With --watch: seconds until it gives up with 3; 0: never.")
    ] = 0.0,
    output: Shown = Output.TABLE,
) -> None:
    """Say whether the cluster is healthy: 0 if it is, else 3."""
    from raftlog.server.cluster import LocalNodes  # noqa: PLC0415  (``--help`` stays fast)

    if (exit_when_healthy or timeout) and not watch:
        raise typer.BadParameter("--exit-when-healthy and --timeout need --watch")
    look = LocalNodes(read_config(config)).observe
    if watch:
        view = asyncio.run(
            watch_health(
                look,
                lambda view: tell(view, output),
                timeout_s=timeout,
                until_healthy=exit_when_healthy,
            )
        )
    else:
        view = asyncio.run(look())
        tell(view, output)
    if view is None or view.complaint:
        raise typer.Exit(Exit.UNHEALTHY)


async def watch_health(
    look: "Observe",
    changed: "Callable[[ClusterView], None]",
    *,
    timeout_s: float,
    until_healthy: bool,
    pause_s: float = PAUSE_S,
) -> "ClusterView | None":
    """Look again and again, and tell each change of mind.

    Returns:
        The last view; None if not even one look ended in time.
    """
    view: ClusterView | None = None
    told: str | None = None
    try:
        async with asyncio.timeout(timeout_s or None):
            while True:
                view = await look()
                if summary(view) != told:
                    told = summary(view)
                    changed(view)
                if until_healthy and not view.complaint:
                    return view
                await asyncio.sleep(pause_s)
    except TimeoutError:
        if until_healthy:
            say(f"not healthy after {timeout_s:g} s")
        return view


def summary(view: "ClusterView") -> str:
    """Return the state of the cluster in one sentence."""
    if view.complaint:
        return f"not healthy: {view.complaint}"
    leaders = {view.leader(each.shard) for each in view.nodes}
    named = ", ".join(sorted({leader.node for leader in leaders if leader is not None}))
    missing = ", ".join(dict.fromkeys(each.node for each in view.missing))
    said = [f"healthy: led by {named}"]
    if missing:
        said.append(f"no answer from {missing}")
    for shard, (voters, spare) in view.spare.items():
        silent = view.silent_voters(shard)
        if len(silent) >= spare and len(view.nodes) > 1:
            said.append(f"{voters_text(voters)}, {may_fail_text(spare, silent)}")
            break
    # One that rises in a moment is nothing to be told of.
    said += [level_text(shard, held) for shard, held in view.held_back.items() if held.behind]
    return "; ".join(said)


def tell(view: "ClusterView", output: Output) -> None:
    """Print one view."""
    if output is Output.JSON:
        print_json({"healthy": not view.complaint, "summary": summary(view)})
    else:
        typer.echo(summary(view))

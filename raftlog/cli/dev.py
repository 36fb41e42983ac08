"""``raftlog dev``: a cluster in the foreground, to try things out.

The nodes are processes of their own, so that one can be killed; they end with
this command. Everything is in one directory: a fresh one that is removed at the
end, or the one that ``--data`` names, in which a later ``dev`` goes on. Its
``cluster.yml`` is written at each start, because ports may have been taken
meanwhile; other commands may read it (``raftlog cluster status -c``).
"""

import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import typer

from raftlog.base.errors import ConfigError, DirectoryRefused, Unavailable
from raftlog.base.limits import MIB, SEGMENT_BYTES_DEV, VOTERS_MAX
from raftlog.cli.options import DEFAULT_CONFIG, ENV_CONNECT, find_seeds, read_config
from raftlog.cli.output import Output, Shown, print_json, say

if TYPE_CHECKING:
    from raftlog.base.ids import NodeId
    from raftlog.testing.cluster import LocalCluster
    from raftlog.testing.processes import NodeAddress

MARK: Final = "# Written by raftlog dev at each start: changes are lost."
FIRST_CLIENT_PORT: Final = 7201
FIRST_PEER_PORT: Final = 7101
WATCH_S: Final = 0.2


def dev(
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=VOTERS_MAX,
            help="How many nodes; 1, or as many as --data has. Three can lose one.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Keep everything here, and go on with it the next time; else it is temporary.",
            show_default=False,
        ),
    ] = None,
    output: Shown = Output.TABLE,
) -> None:
    """Run a cluster in this terminal, for trying things out; ctrl-C ends it."""
    if data is not None:
        _run(data, nodes, output, is_kept=True)
        return
    with TemporaryDirectory(prefix="raftlog-dev-") as directory:
        _run(Path(directory), nodes, output, is_kept=False)


def _run(directory: Path, nodes: int | None, output: Output, *, is_kept: bool) -> None:
    from raftlog.storage.files import OsFiles  # noqa: PLC0415  (``--help`` stays fast)
    from raftlog.testing.cluster import LocalCluster  # noqa: PLC0415

    directory = directory.resolve()
    count = _count(directory, nodes)
    files = OsFiles()
    run_directory = directory / "data" / "run"
    files.make_directory(str(run_directory))
    lock = files.lock(str(run_directory / "lock"))
    try:
        settings = (f"segment_mib: {SEGMENT_BYTES_DEV // MIB}",)
        cluster = LocalCluster(directory, choose_addresses(count), settings, heading=MARK)
        asyncio.run(_live(cluster, output, is_kept=is_kept))
    finally:
        lock.close()


def _count(directory: Path, nodes: int | None) -> int:
    """Return how many nodes to run.

    Raises:
        DirectoryRefused: The directory holds another number of nodes, or
            somebody else's cluster.
    """
    path = directory / DEFAULT_CONFIG
    if not path.exists():
        return nodes or 1
    if not path.read_text("utf-8", "replace").startswith(MARK):
        raise DirectoryRefused(
            f"{path} was not written by raftlog dev; give --data another directory, or start that "
            f"cluster with: raftlog cluster up -c {path}"
        )
    try:
        existing = len(read_config(path).nodes)
    except ConfigError as error:
        raise DirectoryRefused(f"{error} (raftlog dev wrote that file; remove it)") from error
    if nodes not in (None, existing):
        raise DirectoryRefused(
            f"{directory} holds a cluster of {existing}, and dev does not change its members; "
            "leave --nodes out, or give --data another directory"
        )
    return existing


def choose_addresses(count: int) -> "list[NodeAddress]":
    """Return the usual ports (clients 7201 and following) if all are free, else free ones."""
    from raftlog.base.ids import NodeId  # noqa: PLC0415
    from raftlog.testing.processes import (  # noqa: PLC0415
        NodeAddress,
        are_free,
        local_addresses,
    )

    usual = [
        NodeAddress(
            NodeId(f"n{number + 1}"),
            f"127.0.0.1:{FIRST_PEER_PORT + number}",
            f"127.0.0.1:{FIRST_CLIENT_PORT + number}",
        )
        for number in range(count)
    ]
    ports = [base + n for base in (FIRST_PEER_PORT, FIRST_CLIENT_PORT) for n in range(count)]
    return usual if are_free(ports) else local_addresses(count)


# -- its life


async def _live(cluster: "LocalCluster", output: Output, *, is_kept: bool) -> None:
    """Start, say how to go on, wait for a signal or for the last node's end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    with cluster:
        leader = await _until_ready(cluster, stopping)
        if leader is not None:
            _tell(cluster, leader, output, is_kept=is_kept)
            await _watch(cluster, stopping)
            say("stopping")
        if stopping.is_set():
            # From now on ctrl-C ends a node that hangs at once, as its second signal.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
                loop.add_signal_handler(number, _end_at_once, cluster)
        await asyncio.to_thread(cluster.stop)


def _end_at_once(cluster: "LocalCluster") -> None:
    for node in cluster.nodes.values():
        node.kill()


async def _until_ready(cluster: "LocalCluster", stopping: asyncio.Event) -> "NodeId | None":
    """Wait until the cluster serves; return who leads, None if it is to stop before."""
    ready = asyncio.ensure_future(cluster.ready())
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ready.done():
        ready.cancel()
        return None
    leader = ready.result().leader(0)
    assert leader is not None, "a cluster without complaint has a leader"
    return leader.node


async def _watch(cluster: "LocalCluster", stopping: asyncio.Event) -> None:
    """Wait for the signal to stop; say each node that ends before.

    Raises:
        Unavailable: No node is left.
    """
    gone: set[NodeId] = set()
    config = cluster.directory / DEFAULT_CONFIG
    while not stopping.is_set():
        for name, node in cluster.nodes.items():
            if not node.running and name not in gone:
                gone.add(name)
                say(
                    f"{name} has ended ({node.ending()}); start it again with: "
                    f"{_command()} node run -c {config} -n {name}"
                )
        if len(gone) == len(cluster.nodes):
            raise Unavailable("every node has ended; start it again, with --data to keep records")
        try:
            async with asyncio.timeout(WATCH_S):
                await stopping.wait()
        except TimeoutError:
            continue


# -- what it says


def _tell(cluster: "LocalCluster", leader: "NodeId", output: Output, *, is_kept: bool) -> None:
    """Print what runs and what to try."""
    directory = cluster.directory
    if output is Output.JSON:
        print_json(
            {
                "connect": cluster.seeds,
                "directory": str(directory),
                "kept": is_kept,
                "leader": leader,
                "nodes": [
                    {"node": node.node, "client": node.address.client, "pid": node.pid}
                    for node in cluster.nodes.values()
                ],
            }
        )
    else:
        for line in lines_of(cluster, leader, is_kept=is_kept):
            typer.echo(line)
    sys.stdout.flush()


def lines_of(cluster: "LocalCluster", leader: "NodeId", *, is_kept: bool) -> list[str]:
    """Return what a person reads when the cluster is ready."""
    command = _command()
    count = len(cluster.nodes)
    serves = f"{count} nodes serve, led by {leader}" if count > 1 else "1 node serves"
    lines = [f"raftlog {version('raftlog')}: {serves}"]
    lines += [f"  {n.node}  {n.address.client}  pid {n.pid}" for n in cluster.nodes.values()]
    place = cluster.directory
    lines.append(f"  data in {place}, {'kept' if is_kept else 'removed at the end'}")
    lines += ["", "Try, in another terminal:", *_needed_first(cluster.seeds)]
    lines += [
        f"  {command} topic create hello",
        f"  {command} pub hello 'a first message'",
        f"  {command} sub hello",
    ]
    if count > 2:
        lines.append(f"  kill -9 {cluster.nodes[leader].pid}   # the leader: the others go on")
    return [*lines, "", "ctrl-C ends it."]


def _needed_first(seeds: Sequence[str]) -> list[str]:
    """Return the line that leads other commands here, if they would not come by themselves."""
    try:
        found = find_seeds("").addresses
    except (ConfigError, typer.BadParameter):
        found = ()
    if set(seeds) <= set(found) or found == tuple(seeds[:1]):
        return []
    return [f"  export {ENV_CONNECT}={','.join(seeds)}"]


def _command() -> str:
    """Return how this command was called, as far as it has to be written out."""
    return "raftlog" if shutil.which("raftlog") else sys.argv[0]

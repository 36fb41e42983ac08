"""The main job, on real input: every line of a library through a cluster that is hurt meanwhile.

``python -m bench.demo [--input DIR] [--cluster cluster.yml]``

Starts the nodes of ``cluster.yml`` as processes (in a temporary directory, on
free ports unless a file was named), appends every line of every ``.py`` file of
the running Python's standard library, kills the leader with SIGKILL half-way,
starts it again, reads the whole log back, and compares SHA-256 file by file.
Ends with 0 only if every file is in the log as it was read.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

import msgspec
from rich.console import Console
from rich.table import Table

from bench.corpus import Corpus, standard_library
from bench.reading import Comparison, read_back
from bench.uploading import Upload
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId
from raftlog.client.log_client import LogClient
from raftlog.server.config import load_config
from raftlog.testing.bench.loops import run_on_loop
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.target import Target
from raftlog.testing.processes import LocalCluster, NodeAddress, local_addresses

DEFAULT_CLUSTER = Path(__file__).resolve().parent.parent / "cluster.yml"
POLL_S = 0.005
DEADLINE_S = 240.0


class Interruption(msgspec.Struct, frozen=True):
    """How the leader was killed, and how long nobody was acknowledged."""

    killed: str
    leader_after: str
    silence_s: float
    killed_at_records: int


async def interrupt(target: Target, upload: Upload, total: int, say: Say) -> Interruption:
    """Kill the leader when half of ``total`` bytes is settled; start it after the next ack."""
    while upload.settled_bytes < total / 2 and not upload.is_nearly_done:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    leader = await target.ready()
    node = target.own().nodes[NodeId(leader)]
    at_records = upload.settled_records
    say(f"[bold red]kill -9 {leader}[/], the leader, pid {node.pid}")
    back = upload.lost()
    node.kill()
    upload.release()
    silence_s = await back
    node.wait()
    after = await target.ready()
    say(f"no acknowledgement for [bold]{silence_s * 1000:.0f} ms[/]; {after} leads")
    say(f"starting {leader} again")
    node.start()
    return Interruption(leader, after, silence_s, at_records)


async def report_progress(upload: Upload, target: Target, say: Say) -> None:
    """Say once a second how far the upload is."""
    told = 0
    while True:
        await asyncio.sleep(1.0)
        leader = "none"
        with contextlib.suppress(RaftlogError):
            leader = (await target.client.status()).node
        records = upload.settled_records
        say(f"{records:>12,} lines  {records - told:>10,} /s  leader {leader}")
        told = records


async def upload_and_hurt(target: Target, upload: Upload, total: int, say: Say) -> Interruption:
    """Upload everything, with a killed leader in the middle."""
    progress = asyncio.create_task(report_progress(upload, target, say))
    uploading = asyncio.create_task(upload.run())
    hurting = asyncio.create_task(interrupt(target, upload, total, say))
    try:
        # Whichever fails first ends the demo: the other one would wait for it for ever.
        await asyncio.wait({uploading, hurting}, return_when=asyncio.FIRST_EXCEPTION)
        for task in (uploading, hurting):
            if task.done():
                task.result()
        await uploading
        return await hurting
    finally:
        for task in (progress, uploading, hurting):
            task.cancel()
        await asyncio.gather(progress, uploading, hurting, return_exceptions=True)


async def demonstrate(cluster: LocalCluster, corpus: Corpus, console: Console) -> int:
    """Upload, hurt, read back, compare; return the exit code."""
    producer_id = SystemRandom().getrandbits(63) | 1
    async with LogClient(cluster.seeds) as client:
        target = Target(client, cluster.seeds, cluster)
        console.print(f"{len(cluster.nodes)} nodes run; [bold]{await target.ready()}[/] leads")
        upload = Upload(client, corpus, producer_id)
        began = time.monotonic()
        interruption = await upload_and_hurt(target, upload, corpus.measure(), console.print)
        uploaded_s = time.monotonic() - began
        console.print("waiting for the killed node to catch up, then reading everything back")
        await target.settled()
        began = time.monotonic()
        found = await read_back(client, producer_id, corpus.hashes)
        read_s = time.monotonic() - began
    console.print(summary(corpus, upload, interruption, found, (uploaded_s, read_s)))
    for name in (*found.missing, *found.different, *found.unexpected)[:10]:
        console.print(f"[red]not as it was read: {name}[/]")
    is_same = not found.mismatches and found.files == len(corpus.hashes)
    return 0 if is_same and found.records == upload.settled_records else 1


def summary(
    corpus: Corpus,
    upload: Upload,
    interruption: Interruption,
    found: Comparison,
    seconds: tuple[float, float],
) -> Table:
    """Return what was done and what was found."""
    uploaded_s, read_s = seconds
    table = Table(show_header=False, title="demo")
    table.add_row("input", str(corpus.directory))
    table.add_row("files, lines", f"{len(corpus.hashes):,}, {corpus.lines:,}")
    table.add_row("records (an empty file is one)", f"{upload.settled_records:,}")
    table.add_row("bytes", f"{corpus.size:,}")
    rate = upload.settled_records / max(uploaded_s, 1e-9)
    table.add_row("uploaded in", f"{uploaded_s:.1f} s, {rate:,.0f} lines/s, kill included")
    table.add_row(
        "leader killed with -9",
        f"{interruption.killed} after {interruption.killed_at_records:,} records; "
        f"then {interruption.leader_after}",
    )
    table.add_row("no acknowledgement for", f"{interruption.silence_s * 1000:.0f} ms")
    table.add_row("batches sent again", f"{upload.window.sent_again:,}")
    table.add_row("read back in", f"{read_s:.1f} s")
    table.add_row(
        "duplicates dropped while reading",
        f"{found.dropped_batches:,} batches, {found.dropped_records:,} records "
        "(no idempotent producer yet: the reader drops what is not next)",
    )
    table.add_row("files compared by SHA-256", f"{found.files:,}")
    colour = "red" if found.mismatches else "green"
    table.add_row("mismatches", f"[{colour}]{found.mismatches}[/]")
    return table


def addresses_of(named: Path | None) -> list[NodeAddress]:
    """Return the nodes of the named file where they are, or of the default one on free ports."""
    config = load_config(named or DEFAULT_CLUSTER)
    if named is None:
        free = local_addresses(len(config.nodes))
        return [
            NodeAddress(node, address.peer, address.client)
            for node, address in zip(config.nodes, free, strict=True)
        ]
    return [NodeAddress(node.node, node.peer, node.client) for node in config.nodes.values()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--input", type=Path, default=None, help="a directory")
    parser.add_argument("--cluster", type=Path, default=None, help="a cluster.yml to use as it is")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    corpus = Corpus(chosen.input) if chosen.input else standard_library()
    if not corpus.measure():
        console.print(
            f"[red]demo: {corpus.directory} holds no .py files; give --input another one[/]"
        )
        return 2
    try:
        with (
            tempfile.TemporaryDirectory(prefix="raftlog-demo-") as directory,
            LocalCluster(Path(directory), addresses_of(chosen.cluster)) as cluster,
        ):
            return run_on_loop(asyncio.wait_for(demonstrate(cluster, corpus, console), DEADLINE_S))
    except (RaftlogError, TimeoutError) as error:
        console.print(f"[red]demo: {str(error) or 'it took too long'}[/]")
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The main job, on real input: a library goes through a cluster that is hurt meanwhile.

``python -m bench.demo [--input DIR] [--cluster cluster.yml]``

Starts the nodes of ``cluster.yml`` as processes (in a temporary directory, on
free ports unless a file was named) and streams every line of every ``.py`` file
of the running Python's standard library into a topic, key = file, while a
consumer group reads it. In the middle the leader is killed with SIGKILL, and
started again. The consumer says of every record whether it is the next one,
rebuilds the files, and compares SHA-256 file by file. Ends with 0 only if
nothing was lost, doubled or reordered.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.corpus import Corpus, standard_library
from bench.rebuilding import Comparison, Rebuilding
from bench.streaming import Streaming
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.server.config import load_config
from raftlog.testing.bench.loops import run_on_loop
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeAddress, local_addresses

DEFAULT_CLUSTER = Path(__file__).resolve().parent.parent / "cluster.yml"
TOPIC = "corpus"
GROUP = "rebuilders"
POLL_S = 0.005
DEADLINE_S = 240.0
AT_ONCE = 2_000


class Interruption(msgspec.Struct, frozen=True):
    """How the leader was killed, and for how long nobody got a receipt."""

    killed: str
    leader_after: str
    silence_s: float
    killed_at_records: int


class Consuming:
    """The consumer group's member: takes records until it has as many as were sent."""

    def __init__(self, consumer: Consumer) -> None:
        self.rebuilding = Rebuilding()
        self._consumer = consumer

    async def run(self) -> None:
        """Take records until cancelled."""
        take = self.rebuilding.take
        while True:
            for message in await self._consumer.poll(AT_ONCE, timeout=1.0):
                number = int(dict(message.headers)["line"])
                take(message.key or b"", number, message.value or b"")
            await asyncio.sleep(0)

    async def drained(self, sent: int) -> None:
        """Wait until as many different records have come, or none does any more."""
        quiet_since = time.monotonic()
        seen = -1
        while self.rebuilding.records - self.rebuilding.duplicated < sent:
            if self.rebuilding.records != seen:
                seen, quiet_since = self.rebuilding.records, time.monotonic()
            if time.monotonic() - quiet_since > QUIET_S:
                return
            await asyncio.sleep(POLL_S)


QUIET_S = 10.0


async def interrupt(target: Target, streaming: Streaming, total: int, say: Say) -> Interruption:
    """Kill the leader when half of ``total`` bytes is acknowledged; start it when others lead."""
    while streaming.acked_bytes < total / 2 and not streaming.is_read:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    leader = await target.ready()
    node = target.own().nodes[NodeId(leader)]
    at_records = streaming.acked
    say(f"[bold red]kill -9 {leader}[/], the leader, pid {node.pid}")
    streaming.watch()
    node.kill()
    streaming.release()
    while streaming.acked == at_records:  # noqa: ASYNC110  (the receipts come on their own)
        await asyncio.sleep(POLL_S)
    node.wait()
    after = await target.ready()
    say(f"{after} leads now; starting {leader} again")
    node.start()
    return Interruption(leader, after, streaming.longest_pause_s, at_records)


async def report_progress(
    streaming: Streaming, consuming: Consuming, client: Client, say: Say
) -> None:
    """Say once a second how far both sides are."""
    acked = consumed = 0
    while True:
        await asyncio.sleep(1.0)
        leader = "none"
        with contextlib.suppress(RaftlogError, TimeoutError):
            async with asyncio.timeout(0.5):
                leader = (await client.status()).node
        rates = streaming.acked - acked, consuming.rebuilding.records - consumed
        acked, consumed = streaming.acked, consuming.rebuilding.records
        say(
            f"{acked:>9,} acked {rates[0]:>8,}/s  {consumed:>9,} consumed {rates[1]:>8,}/s"
            f"  leader {leader}"
        )


async def stream_and_hurt(
    target: Target, streaming: Streaming, consuming: Consuming, total: int, say: Say
) -> Interruption:
    """Stream everything through, with a killed leader in the middle."""
    progress = asyncio.create_task(report_progress(streaming, consuming, target.client, say))
    consumption = asyncio.create_task(consuming.run())
    sending = asyncio.create_task(streaming.run())
    hurting = asyncio.create_task(interrupt(target, streaming, total, say))
    every = (progress, consumption, sending, hurting)
    try:
        # Whichever fails first ends the demo: the others would wait for it for ever.
        pending: set[asyncio.Task[object]] = {sending, hurting}
        while pending:
            done, _ = await asyncio.wait(
                {*pending, consumption}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            pending -= done
        await asyncio.wait(
            {consumption, asyncio.ensure_future(consuming.drained(streaming.sent))},
            return_when=asyncio.FIRST_COMPLETED,
        )
        if consumption.done():
            consumption.result()
        return hurting.result()
    finally:
        for task in every:
            task.cancel()
        await asyncio.gather(*every, return_exceptions=True)


async def demonstrate(
    cluster: LocalCluster, corpus: Corpus, console: Console, began: float
) -> int:
    """Stream, hurt, rebuild, compare; return the exit code."""
    async with Client(cluster.seeds) as client:
        target = Target(client, cluster.seeds, cluster)
        console.print(f"{len(cluster.nodes)} nodes run; [bold]{await target.ready()}[/] leads")
        await client.topics.create(TOPIC)
        async with (
            client.producer() as producer,
            client.consumer(GROUP, [TOPIC], start="earliest") as consumer,
        ):
            streaming = Streaming(producer, TOPIC, corpus)
            consuming = Consuming(consumer)
            total = corpus.measure()
            interruption = await stream_and_hurt(
                target, streaming, consuming, total, console.print
            )
        await target.settled()
        found = consuming.rebuilding.compare(streaming.sent, corpus.hashes)
    seconds = time.monotonic() - began
    console.print(summary(corpus, streaming, interruption, found, seconds))
    for name in found.mismatches[:10]:
        console.print(f"[red]not as it was read: {name}[/]")
    colour = "bold green" if found.is_exact else "bold red"
    console.print(
        f"[{colour}]{streaming.sent:,} records: {found.lost} lost, {found.duplicated} duplicated, "
        f"{found.reordered} reordered; {found.files:,} files, "
        f"{len(found.mismatches)} differ by SHA-256[/]"
    )
    return 0 if found.is_exact and found.files == len(corpus.hashes) else 1


def summary(
    corpus: Corpus,
    streaming: Streaming,
    interruption: Interruption,
    found: Comparison,
    seconds: float,
) -> Table:
    """Return what was done and what was found."""
    table = Table(show_header=False, title="demo")
    table.add_row("input", str(corpus.directory))
    table.add_row("files, records (lines)", f"{len(corpus.hashes):,}, {corpus.records:,}")
    table.add_row("bytes", f"{corpus.size:,}")
    table.add_row("acknowledged, consumed", f"{streaming.acked:,}, {found.records:,}")
    table.add_row(
        "leader killed with -9",
        f"{interruption.killed} after {interruption.killed_at_records:,} records; "
        f"then {interruption.leader_after}",
    )
    table.add_row("longest time without a receipt", f"{interruption.silence_s * 1000:.0f} ms")
    table.add_row("sent again and recognized", f"{streaming.duplicates:,} records (stored once)")
    table.add_row("from the first node's start", f"{seconds:.1f} s")
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
    parser.add_argument("--input", type=Path, default=None, help="a directory of text files")
    parser.add_argument("--cluster", type=Path, default=None, help="a cluster.yml to use as it is")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    corpus = Corpus(chosen.input) if chosen.input else standard_library()
    if not corpus.directory.is_dir():
        console.print(f"[red]demo: {corpus.directory} is no directory[/]")
        return 2
    if not corpus.measure():
        console.print(
            f"[red]demo: {corpus.directory} holds no text ({corpus.pattern}); name another one[/]"
        )
        return 2
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="raftlog-demo-") as directory,
            LocalCluster(Path(directory), addresses_of(chosen.cluster)) as cluster,
        ):
            return run_on_loop(
                asyncio.wait_for(demonstrate(cluster, corpus, console, began), DEADLINE_S)
            )
    except (RaftlogError, TimeoutError) as error:
        console.print(f"[red]demo: {str(error) or 'it took too long'}[/]")
        return 1


if __name__ == "__main__":
    sys.exit(main())

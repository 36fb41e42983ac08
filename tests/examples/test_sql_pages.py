"""The pages about SQL databases: their programs as printed, killed at the worst moment."""

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakeredis import TcpFakeServer

from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import free_ports
from tests.examples.pages import examples_of, run_example

KILL = "__import__('os').kill(__import__('os').getpid(), 9)"


def seeded(example: str, cluster: LocalCluster) -> str:
    """Return the example with the addresses of ``cluster``."""
    source, count = re.subn(
        r"^SEEDS = .*$", lambda _: f"SEEDS = {cluster.seeds!r}", example, flags=re.MULTILINE
    )
    assert count == 1, example
    return source


def run_killed(source: str, directory: Path) -> str:
    """Run a program that is killed at its worst moment; return what it has printed."""
    assert source.count("# the worst moment") == 1
    program = directory / "killed.py"
    program.write_text(source.replace("# the worst moment", KILL), "utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_outbox_sends_what_was_committed(tmp_path: Path) -> None:
    """The second run orders again: two more messages, and none of the first twice."""
    (program,) = examples_of("outbox.md")
    with LocalCluster(tmp_path, nodes=1) as cluster:
        first = run_example(seeded(program, cluster), tmp_path).splitlines()
        second = run_example(seeded(program, cluster), tmp_path).splitlines()

    assert first == ["[b'o-7', b'o-8']", "OutboxCounts(waiting=0, sent=2, parked=0)"]
    assert second[1] == "OutboxCounts(waiting=0, sent=4, parked=0)"


@pytest.mark.long
def test_a_killed_relay_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """SIGKILL after the send, before it is written down; and before the send."""
    (program,) = examples_of("outbox.md")
    wrong = "await Relay(client, outbox).run(once=True)"
    with LocalCluster(tmp_path, nodes=1) as cluster:
        source = seeded(program, cluster)
        for method in ("settle", "write_down"):
            kills = (
                "from raftlog.sql import ledger\n        "
                f"ledger.Ledger.{method} = lambda *_: # the worst moment\n        {wrong}"
            ).replace("# the worst moment\n", "__KILL__\n")
            killed = source.replace(wrong, kills.replace("__KILL__", KILL))
            (tmp_path / "killed.py").write_text(killed, "utf-8")
            done = subprocess.run(
                [sys.executable, "killed.py"], cwd=tmp_path, timeout=60, check=False
            )
            assert done.returncode == -signal.SIGKILL
        whole = source.replace("Relay(client, outbox)", "Relay(client, outbox, takeover=0.1)")
        printed = run_example(whole, tmp_path).splitlines()

    assert printed[0] == str(sorted([b"o-7", b"o-8"] * 3))
    assert printed[1] == "OutboxCounts(waiting=0, sent=6, parked=0)"


@pytest.mark.long
def test_a_killed_job_stores_each_order_once(tmp_path: Path) -> None:
    """SIGKILL when an order is stored, before that is noted; then to the node as well."""
    _, program = examples_of("store-once.md")
    with LocalCluster(tmp_path, nodes=1) as cluster:
        source = seeded(program, cluster)
        assert run_killed(source, tmp_path) == ""
        for node in cluster.nodes.values():
            node.kill()
            node.wait()
            node.start()
        again = run_example(source, tmp_path).splitlines()
        after = run_example(source, tmp_path).splitlines()

    stored = str(["order-17", "order-18"])
    assert again == ["17 was stored before", "18 stored", stored]
    assert after == [stored]


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "killed", "after"),
    [(0, [], ["2"]), (1, ["1"], ["1", "2"]), (2, [], ["1", "2"]), (3, [], ["1", "2"])],
    ids=["at most once", "at least once", "exactly once", "from topic to topic"],
)
def test_killed_at_the_worst_moment(
    mode: int, killed: list[str], after: list[str], tmp_path: Path
) -> None:
    """Lost, repeated, or neither, as the page says."""
    program = examples_of("delivery-modes.md")[mode]

    with LocalCluster(tmp_path, nodes=1) as cluster:
        asyncio.run(two_orders(cluster))
        source = seeded(program, cluster)
        assert run_killed(source, tmp_path).split() == killed
        assert run_example(source, tmp_path).split() == after


async def two_orders(cluster: LocalCluster) -> None:
    """Send what the programs bill."""
    await cluster.ready()
    async with cluster.client() as client:
        await client.topics.create("orders", queues=1)
        for value in (b"1", b"2"):
            await client.send("orders", value)


@contextmanager
def redis_server() -> Iterator[str]:
    """Serve what looks like Redis, which outlives the programs; yield its address."""
    (port,) = free_ports(1)
    with TcpFakeServer(("127.0.0.1", port), server_type="redis") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{port}"
        server.shutdown()


@pytest.mark.long
def test_killed_at_the_worst_moment_with_redis(tmp_path: Path) -> None:
    """The bill and the note that the message was processed are one transaction there."""
    program = examples_of("delivery-modes.md")[4]
    with LocalCluster(tmp_path, nodes=1) as cluster, redis_server() as address:
        asyncio.run(two_orders(cluster))
        source = seeded(program, cluster)
        assert source.count("redis://127.0.0.1:6379") == 1
        source = source.replace("redis://127.0.0.1:6379", address)
        assert run_killed(source, tmp_path) == ""
        assert run_example(source, tmp_path).split() == ["1", "2"]

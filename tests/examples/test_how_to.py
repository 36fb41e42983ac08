"""The examples of the how-to pages run as they are printed."""

import asyncio
import re
from pathlib import Path

from raftlog.testing.processes import LocalCluster, free_ports
from tests.examples.pages import examples_of, run_example
from tests.gateway.broker_cluster import until_led


def test_an_embedded_log_counts_on_after_a_restart(tmp_path: Path) -> None:
    """The second run begins where the first one ended."""
    alone, _ = examples_of("embed.md")

    first = run_example(alone, tmp_path).splitlines()
    second = run_example(alone, tmp_path).splitlines()

    assert first[:2] == ["2", "5"]
    assert first[2].split()[0] == "9"
    assert second[:2] == ["11", "14"]


def test_three_embedded_nodes_append_to_a_majority(tmp_path: Path) -> None:
    """Ports are the only thing changed in the example."""
    _, three = examples_of("embed.md")
    for written, free in zip(("7401", "7402", "7403"), free_ports(3), strict=True):
        three = three.replace(written, str(free))

    assert re.fullmatch(r"entry \d+ is on a majority of disks\n", run_example(three, tmp_path))


def test_a_client_appends_and_reads_back(tmp_path: Path) -> None:
    """Every record comes back in order, with its key, from a real cluster."""
    (example,) = examples_of("append-and-read.md")
    directory = tmp_path / "cluster"
    directory.mkdir()
    with LocalCluster(directory) as cluster:
        seeds = f"SEEDS = {cluster.seeds!r}"
        example = re.sub(r"^SEEDS = .*$", lambda _: seeds, example, flags=re.MULTILINE)
        lines = run_example(example, tmp_path).splitlines()

    assert lines[0].split()[0] == "0"
    assert lines[0].split()[2] == "fsync"
    assert lines[1] == "0 None b'one'"
    assert lines[2] == "1 b'k' b'two'"
    assert lines[-1] == "1002 None b'four'"
    assert len(lines) == 1 + 1003


def test_a_program_with_grpc_alone_stores_once_and_reads_back(tmp_path: Path) -> None:
    """The address is the only thing changed in the example; it asks each node in turn."""
    (example,) = examples_of("use-grpc.md")
    directory = tmp_path / "cluster"
    directory.mkdir()
    with LocalCluster(directory, grpc=True) as cluster:
        for number, address in enumerate(cluster.addresses):
            node = f"NODE = {address.grpc!r}"
            source = re.sub(r"^NODE = .*$", lambda _, node=node: node, example, flags=re.MULTILINE)
            source = source.replace('"orders"', f'"orders-{number}"')
            asyncio.run(until_led(address.grpc))
            lines = run_example(source, tmp_path).splitlines()
            assert lines[:3] == ["0 fsync True", "0 None b'one'", "1 b'k' b'two'"]
            assert lines[3].startswith("NOT_FOUND there is no topic 'ordes'")

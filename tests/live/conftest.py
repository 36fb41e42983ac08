"""A run whose cluster is nowhere, and files that are closed."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.live.world import World
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.testing.processes import NodeAddress


class NoCluster:
    """Where nobody listens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seeds = ["127.0.0.1:9"]
        self.addresses = [NodeAddress(NodeId("n1"), "127.0.0.1:9", "127.0.0.1:9")]


class NoWorld(World):
    """A run without a cluster, whose clients give up soon."""

    def client(self, *, timeout_s: float = 0.5) -> Client:
        return super().client(timeout_s=timeout_s)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A run without a cluster."""
    return NoWorld(NoCluster(tmp_path), 1)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def files_are_closed(tmp_path: Path) -> Iterator[None]:
    """Close what a test has opened: stores of nodes keep their files until their process ends."""
    yield
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself has gone
            if str(tmp_path) in str(descriptor.readlink()):
                os.close(int(descriptor.name))

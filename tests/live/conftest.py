"""A run whose cluster is nowhere, and files that are closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.live.world import World
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.storage.files import OsFile, OsFiles
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
def files_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test has opened: stores of nodes keep their files until their process ends."""
    opened: list[OsFile] = []
    really_open = OsFiles.open

    def noted(self: OsFiles, path: str, *, create: bool = False) -> OsFile:
        file = really_open(self, path, create=create)
        opened.append(file)
        return file

    monkeypatch.setattr(OsFiles, "open", noted)
    yield
    for file in opened:
        file.close()

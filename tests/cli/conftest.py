"""A cluster of one node, shared by all tests of a module, and a way to run commands on it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raftlog.cli.app import main
from raftlog.testing.cluster import LocalCluster


class Ran(msgspec.Struct, frozen=True):
    """How a command ended, and what it wrote where."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it wrote as JSON, alone on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """What it wrote, line by line."""
        return self.out.splitlines()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node: replication is not what these tests are about."""
    with LocalCluster(tmp_path_factory.mktemp("node"), nodes=1) as node:
        asyncio.run(node.ready())
        yield node


class Shell:
    """Runs commands as a user would, in an empty directory, connected to a cluster."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str) -> Ran:
        """Run ``raftlog`` with ``arguments``."""
        self._capture.readouterr()
        code = main(list(arguments))
        captured = self._capture.readouterr()
        return Ran(code, captured.out, captured.err)

    def json(self, *arguments: str) -> Any:
        """Run it with ``-o json``; it succeeds; return what it wrote."""
        ran = self(*arguments, "-o", "json")
        assert ran.code == 0, ran.err
        return ran.data

    def text(self, *arguments: str) -> str:
        """Run it; it succeeds; return what it wrote."""
        ran = self(*arguments)
        assert ran.code == 0, ran.err
        return ran.out


@pytest.fixture
def shell(
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    """A shell whose environment says where the cluster is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAFTLOG_CONNECT", ",".join(cluster.seeds))
    return Shell(capsys)

"""A pytest plugin: a cluster of processes, and clients of it, for other people's tests.

``pip install raftlog`` makes the fixtures known (entry point ``pytest11``)::

    async def test_orders_survive_the_loss_of_a_node(raftlog_cluster, raftlog_client):
        async with raftlog_client as client:
            await client.topics.create("orders", exist_ok=True)
            await raftlog_cluster.kill(await raftlog_cluster.leader())
            await client.send("orders", b"hello")

``raftlog_cluster`` is a ``LocalCluster`` of three processes, started by the first
test that asks for it. By default all tests of a session share it;
``raftlog_cluster_scope = module`` in the pytest configuration gives each module
its own. Topics stay from one test to the next: use names of your own.

``raftlog_client`` is a client that has not been opened, so it works with any
plugin for asyncio and with none (``asyncio.run``). Before each test that asks
for it, nodes that an earlier test has killed are started again.

pytest imports this module in every run: it imports nothing of raftlog that is
not used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.testing.cluster import LocalCluster

SCOPE: Final = "raftlog_cluster_scope"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the scope of the cluster configurable."""
    parser.addini(SCOPE, "Who shares raftlog_cluster: session or module.", default="session")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a scope that is none of ours, before any test."""
    scope = config.getini(SCOPE)
    if scope not in ("session", "module"):
        raise pytest.UsageError(f"{SCOPE} is {scope!r}; write session or module")


def _scope(*, fixture_name: str, config: pytest.Config) -> str:
    assert fixture_name == "raftlog_cluster", fixture_name
    return str(config.getini(SCOPE))


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]  # pytest takes any str, checked above
def raftlog_cluster() -> "Iterator[LocalCluster]":
    """Three nodes as processes of their own, on free ports, in a temporary directory.

    Raises:
        Unavailable: They did not serve within 30 s.
    """
    from raftlog.testing.cluster import LocalCluster  # noqa: PLC0415  (see above)

    with LocalCluster(nodes=3) as cluster:
        _until_whole(cluster)
        yield cluster


@pytest.fixture
def raftlog_client(raftlog_cluster: "LocalCluster") -> "Client":
    """A client of ``raftlog_cluster``, to be opened with ``async with`` by the test."""
    dead = [node for node in raftlog_cluster.nodes.values() if not node.running]
    for node in dead:
        node.start()
    if dead:
        _until_whole(raftlog_cluster)
    return raftlog_cluster.client()


def _until_whole(cluster: "LocalCluster") -> None:
    """Wait on a loop of another thread, so that no loop of this one is disturbed."""
    import asyncio  # noqa: PLC0415  (see above)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, cluster.ready()).result()

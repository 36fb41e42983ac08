"""A cluster of real processes on this machine, to try, to test with, and to hurt.

::

    async with LocalCluster(nodes=3) as cluster, cluster.client() as client:
        await client.topics.create("orders")
        await client.send("orders", b"before")
        await cluster.kill(await cluster.leader())
        await client.send("orders", b"after")      # by another leader, within its timeout

It is a plain context manager too, for code without an event loop. What a node
writes is in ``<directory>/<node>.log``.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

from raftlog.base.errors import Unavailable
from raftlog.base.ids import NodeId
from raftlog.base.limits import VOTERS_MAX
from raftlog.client.client import Client
from raftlog.client.durations import Duration
from raftlog.server.config import load_config
from raftlog.server.formation import form
from raftlog.server.observation import ClusterView, observe
from raftlog.testing.processes import (
    NodeAddress,
    NodeProcess,
    config_text,
    local_addresses,
)

READY_S: Final = 30.0
POLL_S: Final = 0.02


class LocalCluster:
    """Processes in one directory: three of them, or as many as are asked for.

    Leaving the context ends every process that is left; with a directory of its
    own, that is removed too. Entering it with ``async with`` waits until the
    cluster serves; with ``with`` it returns at once, and clients wait.

    Attributes:
        directory: Everything is below it.
        addresses: Of the nodes.
        nodes: Each node's process, by its name.
    """

    def __init__(
        self,
        directory: Path | None = None,
        addresses: Sequence[NodeAddress] = (),
        settings: Sequence[str] = (),
        *,
        nodes: int = 3,
        grpc: bool = False,
        heading: str = "",
    ) -> None:
        """Write the configuration; entering the context starts the cluster.

        Args:
            directory: Where everything is kept; a cluster that is there goes on.
                None: a fresh one, removed at the end.
            addresses: Of the nodes; none: free ports of this machine.
            settings: More lines for ``cluster.yml``.
            nodes: How many, if ``addresses`` do not say.
            grpc: Whether nodes on free ports serve gRPC, too; they start more slowly.
            heading: A first line for ``cluster.yml``.

        Raises:
            ValueError: More nodes than a cluster may have, or none.
        """
        if not 1 <= nodes <= VOTERS_MAX:
            raise ValueError(f"{nodes} nodes; a cluster has 1 to {VOTERS_MAX}")
        self._own = None if directory else TemporaryDirectory(prefix="raftlog-")
        self.directory: Final = (directory or Path(self._own.name if self._own else "")).resolve()
        self.addresses: Final = list(addresses) or local_addresses(nodes, grpc=grpc)
        self._settings = settings
        self._config = self.directory / "cluster.yml"
        text = config_text(self.directory / "data", self.addresses, settings)
        self._config.write_text(f"{heading}\n{text}" if heading else text)
        self.nodes: Final = {
            address.node: NodeProcess(
                address, self._config, self.directory / f"{address.node}.log"
            )
            for address in self.addresses
        }

    @property
    def seeds(self) -> list[str]:
        """The client addresses."""
        return [address.client for address in self.addresses]

    # -- its life

    def __enter__(self) -> Self:
        """Format every directory if they are new, then start every node.

        Raises:
            DirectoryRefused: The directories are not those of this cluster.
        """
        form(load_config(self._config))
        for node in self.nodes.values():
            node.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process: politely, then not."""
        self.stop()
        if self._own is not None:
            self._own.cleanup()

    async def __aenter__(self) -> Self:
        """Start, and wait until the cluster serves.

        Raises:
            Unavailable: It did not within 30 s, or a node ended by itself.
        """
        self.__enter__()
        try:
            await self.ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process; the loop goes on meanwhile."""
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def stop(self) -> list[int]:
        """Stop every running node and return the exit codes."""
        running = [node for node in self.nodes.values() if node.running]
        for node in running:
            node.terminate()
        return [node.wait() for node in running]

    def check_alive(self) -> None:
        """Say so at once if a node is gone that nobody stopped.

        Raises:
            Unavailable: A process ended; the text has its last words.
        """
        for node in self.nodes.values():
            if node.ended_by_itself:
                raise Unavailable(
                    f"node {node.node} ended by itself ({node.ending()}); it said: "
                    f"{node.last_line()} (its log: {node.log})"
                )

    # -- what it does

    def client(self, *, timeout: Duration = 30.0, client_id: str = "") -> Client:
        """Return a new client of this cluster, to be opened with ``async with``."""
        return Client(self.seeds, timeout=timeout, client_id=client_id)

    async def observe(self) -> ClusterView:
        """Ask every node what it believes."""
        return await observe({address.node: address.client for address in self.addresses})

    def join(self, address: NodeAddress) -> NodeProcess:
        """Start a node that joins: one more, or one that comes back with a new directory.

        It has a configuration file of its own, which names it too. Watch
        ``client.members`` for when it has become a voter.
        """
        self.addresses[:] = [each for each in self.addresses if each.node != address.node]
        self.addresses.append(address)
        config = self.directory / f"cluster-with-{address.node}.yml"
        config.write_text(config_text(self.directory / "data", self.addresses, self._settings))
        log = self.directory / f"{address.node}.log"
        node = self.nodes[address.node] = NodeProcess(address, config, log, ("--join",))
        node.start()
        return node

    async def ready(self, timeout_s: float = READY_S) -> ClusterView:
        """Wait until every running node answers and a majority follows one leader.

        Raises:
            Unavailable: They did not in time, or a node ended by itself.
        """
        return await self._until("is not ready", self._is_whole, timeout_s)

    async def leader(self, timeout_s: float = READY_S) -> NodeId:
        """Return the node that leads, once one does that a majority follows.

        Raises:
            Unavailable: None did in time, or a node ended by itself.
        """
        view = await self._until("has no leader", lambda view: not view.complaint, timeout_s)
        leader = view.leader(0)
        assert leader is not None, "a cluster without complaint has a leader"
        return leader.node

    async def kill(self, node: NodeId | str) -> None:
        """End a node with SIGKILL; returns when the process is gone.

        Raises:
            KeyError: There is no such node.
        """
        process = self.nodes[NodeId(node)]
        process.kill()
        await asyncio.to_thread(process.wait)

    async def restart(self, node: NodeId | str, timeout_s: float = READY_S) -> None:
        """Start a node again, having stopped it if it runs; wait until it follows a leader.

        Raises:
            KeyError: There is no such node.
            Unavailable: It does not in time, or ended by itself.
        """
        process = self.nodes[NodeId(node)]
        if process.running:
            process.terminate()
            await asyncio.to_thread(process.wait)
        process.start()

        def follows(view: ClusterView) -> bool:
            return any(each.node == process.node and each.leader for each in view.nodes)

        await self._until(f"goes on without {node}", follows, timeout_s)

    def _is_whole(self, view: ClusterView) -> bool:
        running = {name for name, node in self.nodes.items() if node.running}
        return not view.complaint and not any(each.node in running for each in view.missing)

    async def _until(
        self, what: str, holds: Callable[[ClusterView], bool], timeout_s: float
    ) -> ClusterView:
        """Look again and again until ``holds``; ``what`` describes the cluster before."""
        view: ClusterView | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self.check_alive()
                    view = await self.observe()
                    if holds(view):
                        return view
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            why = "nobody was asked" if view is None else view.complaint or "some do not answer"
            raise Unavailable(
                f"after {timeout_s:g} s the cluster {what}: {why}; see the logs in "
                f"{self.directory}"
            ) from None

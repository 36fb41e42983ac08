"""All nodes of a cluster on this machine, as processes of their own.

::

    <data>/run/lock        held while one command changes what runs
    <data>/run/n1.pid      which process is node n1
    <data>/run/n1.log      what it wrote to stdout and stderr
    <data>/run/forming     a formation that has not ended (formation.py)

The supervisor is not a parent that must stay: it starts processes, sees them
serve, and leaves. Everything that can be refused is refused before the first
process starts. A node that serves although nothing here started it (``node run``,
a service manager) is left to whoever did. It never signals a process that it cannot
prove to be its own, and never ends one by force: a second ``down`` is a second SIGTERM,
which a node obeys at once (ruling 33).
"""

import asyncio
import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from raftlog.base.errors import Unavailable
from raftlog.base.ids import NodeId
from raftlog.base.limits import STOP_DEADLINE_NS
from raftlog.server.config import Config, NodeConfig
from raftlog.server.formation import form
from raftlog.server.inspection import cluster_of
from raftlog.server.observation import (
    AskStatus,
    ClusterView,
    NodeView,
    ask_without_space,
    observe,
)
from raftlog.server.pidfile import PidFile, ProcessId
from raftlog.storage.files import OsFiles

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = STOP_DEADLINE_NS / 1e9 + 2.0
POLL_S: Final = 0.05
RISE_TIMEOUT_S: Final = 3.0
"""A new cluster's feature level rises once its leader has heard all: until then some commands
would be refused for it."""
LAST_WORDS_BYTES: Final = 4096

Spawn = Callable[[NodeConfig, Path], int]
"""Starts a node's process with its output going to a file; returns the pid."""

Observe = Callable[[], Awaitable[ClusterView]]


class _Rise:
    """The rise of a new cluster's feature level, as far as it is waited for."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def has_ended(self, view: ClusterView) -> bool:
        """Whether the level has risen, somebody holds it back, or it takes too long."""
        now_s = asyncio.get_running_loop().time()
        self._since_s = now_s if self._since_s is None else self._since_s
        rises = any(not held.behind for held in view.held_back.values())
        return not rises or now_s - self._since_s >= RISE_TIMEOUT_S


class LocalNodes:
    """The processes of a cluster's nodes on this machine."""

    def __init__(
        self, config: Config, *, spawn: Spawn | None = None, look: Observe | None = None
    ) -> None:
        self._config: Final = config
        self._spawn: Final = spawn or self._spawn_node
        self._look: Final = look or self.observe
        self.elsewhere: tuple[NodeId, ...] = ()
        """Who runs, at the last ``up`` or ``down``, although no ``up`` has started it."""

    # -- what runs

    def running(self) -> dict[NodeId, ProcessId]:
        """Return the nodes whose process runs."""
        found = {node: self._pid_file(node).running() for node in self._config.nodes}
        return {node: process for node, process in found.items() if process is not None}

    def why_missing(self, view: NodeView) -> str:
        """Return why a node gives no answer, and what to do about it.

        Nothing is known here of one that no ``up`` has started: it may be another machine's.
        """
        node = view.node
        process = self._pid_file(node).noted()
        log = self.log_path(node)
        if not view.silent:
            return view.problem
        if process is None:
            return (
                f"{view.problem}; if it is down, start it: raftlog node run --node {node}, or all "
                "of this machine: raftlog cluster up"
            )
        if process.is_running:
            return f"it runs (pid {process.pid}), but {view.problem}; its log: {log}"
        words = last_line(log)
        said = f", and said last: {words}" if words else ""
        return (
            f"it has ended (pid {process.pid}){said}; start it: raftlog cluster up; its log: {log}"
        )

    def log_path(self, node: NodeId) -> Path:
        """Return the file that the node writes its output to."""
        return self._config.run_directory / f"{node}.log"

    async def observe(self, ask: AskStatus = ask_without_space) -> ClusterView:
        """Ask every node what it believes; one of another cluster counts as missing."""
        config = self._config
        addresses = {name: node.advertise_client for name, node in config.nodes.items()}
        mine = cluster_of(config.directories.values())
        return await observe(addresses, config.shards, ask, cluster=mine)

    # -- up

    async def up(self, timeout_s: float = START_TIMEOUT_S) -> list[NodeId]:
        """Form the cluster if it is new, start what does not run, wait until it serves.

        Returns:
            The nodes that were started.

        Raises:
            DirectoryRefused: The directories are not those of one cluster.
            Unavailable: An address can't be had, a node ended by itself, or the
                cluster was not healthy in time. What was started goes on running.
        """
        with self._changing():
            running = self.running()
            self.elsewhere = await self._find_elsewhere(running)
            serving = {*running, *self.elsewhere}
            start = [node for name, node in self._config.nodes.items() if name not in serving]
            refuse_addresses_in_use(start)
            form(self._config)
            for node in start:
                self._start(node)
            await self._until_serving(timeout_s)
        return [node.node for node in start]

    def _start(self, node: NodeConfig) -> None:
        pid = self._spawn(node, self.log_path(node.node))
        process = ProcessId.find(pid)
        if process is None:
            raise self._ended(node.node)
        self._pid_file(node.node).write(process)

    def _spawn_node(self, node: NodeConfig, log: Path) -> int:
        command = [sys.executable, "-m", "raftlog", "node", "run"]
        command += ["--config", str(self._config.path.resolve()), "--node", node.node]
        return spawn_detached(command, log)

    async def _until_serving(self, timeout_s: float) -> None:
        """Wait until every node answers, the cluster is healthy, and its level has risen."""
        view: ClusterView | None = None
        rise = _Rise()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._check_alive()
                    view = await self._look()
                    if not view.complaint and not view.missing and rise.has_ended(view):
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            why = "no node was asked"
            if view is not None:
                silent = ", ".join(dict.fromkeys(v.node for v in view.missing))
                why = view.complaint or f"{silent} do not answer"
            raise Unavailable(
                f"the nodes run, but after {timeout_s:g} s {why}; see the logs in "
                f"{self._config.run_directory}"
            ) from None

    def _check_alive(self) -> None:
        running = self.running()
        for node in self._config.nodes:
            if node not in running and node not in self.elsewhere:
                raise self._ended(node)

    async def _find_elsewhere(self, running: Collection[NodeId]) -> tuple[NodeId, ...]:
        """Return who answers as a node of this very cluster, and has no process known here."""
        if cluster_of(self._config.directories.values()) is None or len(running) == len(
            self._config.nodes
        ):
            return ()  # one that was not formed yet has no nodes anywhere
        answering = {view.node for view in (await self._look()).nodes if not view.problem}
        return tuple(node for node in self._config.nodes if node in answering - {*running})

    def _ended(self, node: NodeId) -> Unavailable:
        log = self.log_path(node)
        words = last_line(log)
        said = f"; it said: {words}" if words else ""
        return Unavailable(f"node {node} ended by itself{said} (its log: {log})")

    # -- down

    async def down(self, timeout_s: float = STOP_TIMEOUT_S) -> list[NodeId]:
        """Ask every running node to stop, all at once, and see them gone.

        Returns:
            The nodes that were stopped.

        Raises:
            Unavailable: Some still run after ``timeout_s``.
        """
        with self._changing():
            stopping = self.running()
            self.elsewhere = await self._find_elsewhere(stopping)
            stopping |= self._forgotten()
            for process in stopping.values():
                process.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(timeout_s):
                    # A process that is not our child has no event to wait for.
                    while any(p.is_running for p in stopping.values()):  # noqa: ASYNC110
                        await asyncio.sleep(POLL_S)
            except TimeoutError:
                hung = [f"{n} (pid {p.pid})" for n, p in stopping.items() if p.is_running]
                raise Unavailable(
                    f"{', '.join(hung)} still run after {timeout_s:g} s; run this again: the "
                    "second signal ends a node at once"
                ) from None
            finally:
                for node in {*self._config.nodes, *stopping}:
                    if self._pid_file(node).running() is None:
                        self._pid_file(node).remove()
        return list(stopping)

    # -- inside

    def _forgotten(self) -> dict[NodeId, ProcessId]:
        """Return whom an ``up`` has started, and whom the configuration does not name any more."""
        noted = (NodeId(path.stem) for path in sorted(self._config.run_directory.glob("*.pid")))
        found = {node: self._pid_file(node).running() for node in noted}
        return {
            node: process
            for node, process in found.items()
            if process is not None and node not in self._config.nodes
        }

    def _pid_file(self, node: NodeId) -> PidFile:
        return PidFile(self._config.run_directory / f"{node}.pid")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep every other ``up`` and ``down`` of this cluster out."""
        files = OsFiles()
        files.make_directory(str(self._config.run_directory))
        lock = files.lock(str(self._config.run_directory / "lock"))
        try:
            yield
        finally:
            lock.close()


def spawn_detached(command: Sequence[str], log: Path) -> int:
    """Start a process that outlives this one, in a session of its own; return its pid."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Nobody waits for it here: it is known by its pid file from now on.
    process.returncode = 0
    return process.pid


def refuse_addresses_in_use(nodes: Sequence[NodeConfig]) -> None:
    """Try every address that ``nodes`` will listen on.

    Raises:
        Unavailable: One of them is in use, or is not an address of this machine.
    """
    for node in nodes:
        for purpose, address in node.listens.items():
            host, _, port = address.rpartition(":")
            try:
                _try_to_listen(host.strip("[]"), int(port))
            except OSError as error:
                raise Unavailable(_why_not(node.node, purpose, address, error)) from error


def _try_to_listen(host: str, port: int) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as tried:
        # As the node does: connections of an earlier run that still fade are no obstacle.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(where)
        tried.listen(1)


def _why_not(node: NodeId, purpose: str, address: str, error: OSError) -> str:
    listens = f"listen.{purpose} of node {node} is {address}"
    if error.errno == errno.EADDRINUSE:
        return f"{listens}, which is in use; stop what listens there, or choose another port"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{listens}, which is no address of this machine; start that node on its own machine "
            f"with: raftlog node run --node {node}"
        )
    return f"{listens}, which can't be had ({error.strerror or error}); choose another one"


def last_line(log: Path) -> str:
    """Return the last line that a process wrote, "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_WORDS_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

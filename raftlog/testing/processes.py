"""The processes of a cluster on this machine, and where they listen.

Ports are free ones, so a run never meets what an earlier one left behind. Every
process is a child of this one and is ended by its own handle, never by name.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import IO, Final

import msgspec

from raftlog.base.ids import NodeId
from raftlog.server.config import ENV_DATA

PORTS: Final = range(16_000, 32_000)
"""Below the range that Linux takes ports for outgoing connections from (32768 to 60999)."""
_DRAWN: Final = SystemRandom()
"""Not seeded: two test runs at once must not draw alike."""
STOP_S: Final = 15.0
"""A node ends by itself within 10 s of SIGTERM (ruling 33)."""


class NodeAddress(msgspec.Struct, frozen=True):
    """Where one node of a cluster listens."""

    node: NodeId
    peer: str
    client: str
    grpc: str = ""
    """"": it serves no gRPC."""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now, each once.

    Not those that the kernel would give (port 0): they are of the range from
    which it takes one for every outgoing connection, so that the port of a
    node which is down for a moment may be gone when the node is started again.
    """
    sockets: list[socket.socket] = []
    ports = list(PORTS)
    _DRAWN.shuffle(ports)
    try:
        while len(sockets) < count:
            bound = socket.socket()
            sockets.append(bound)
            try:
                bound.bind(("127.0.0.1", ports.pop()))
            except OSError:
                sockets.pop().close()
        return [bound.getsockname()[1] for bound in sockets]
    finally:
        for bound in sockets:
            bound.close()


def are_free(ports: Sequence[int]) -> bool:
    """Whether nobody listens on any of these ports of 127.0.0.1 now."""
    for port in ports:
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def local_addresses(nodes: int, *, grpc: bool = False) -> list[NodeAddress]:
    """Draw addresses for a cluster of ``nodes`` on this machine."""
    each = 3 if grpc else 2
    free = [f"127.0.0.1:{port}" for port in free_ports(each * nodes)]
    return [
        NodeAddress(NodeId(f"n{number + 1}"), *free[each * number : each * (number + 1)])
        for number in range(nodes)
    ]


def config_text(data: Path, addresses: Sequence[NodeAddress], settings: Sequence[str]) -> str:
    """Return the ``cluster.yml`` of a cluster that keeps everything under ``data``."""
    lines = ["cluster: local", f"data: {data}", "durability: fsync", *settings, "nodes:"]
    for address in addresses:
        grpc = f", grpc: '{address.grpc}'" if address.grpc else ""
        lines += [
            f"  {address.node}:",
            f"    listen: {{peer: '{address.peer}', client: '{address.client}'{grpc}}}",
        ]
    return "\n".join(lines) + "\n"


class NodeProcess:
    """One node's process: started, killed, paused and started again."""

    def __init__(
        self, address: NodeAddress, config: Path, log: Path, options: Sequence[str] = ()
    ) -> None:
        self.address: Final = address
        self.config: Final = config
        """Its ``cluster.yml``."""
        self._options = options
        self.log: Final = log
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._is_wanted = False

    @property
    def node(self) -> NodeId:
        """The node's name."""
        return self.address.node

    @property
    def pid(self) -> int:
        """The process's id; it has been started."""
        assert self._process is not None, f"{self.node} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives (perhaps paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended_by_itself(self) -> bool:
        """Whether the process was started, and ended although nobody told it to."""
        return self._is_wanted and not self.running

    def start(self) -> None:
        """Start the process; it is not ready yet when this returns."""
        assert not self.running, f"{self.node} runs already"
        self._is_wanted = True
        arguments = ["node", "run", "--config", str(self.config), "--node", self.node]
        arguments += [*self._options, "--ends-with-stdin"]  # also if this process is killed
        with self.log.open("ab") as output:
            self._process = _spawn([*self._program(), *arguments], output)

    def _program(self) -> list[str]:
        """Return what is the ``raftlog`` command here."""
        return [sys.executable, "-m", "raftlog"]

    def kill(self) -> None:
        """End the process with SIGKILL; ``wait`` sees it gone."""
        self._is_wanted = False
        self._signal(signal.SIGKILL)
        self._paused = False

    def pause(self) -> None:
        """Stand the process still: its connections stay open and silent."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def terminate(self) -> None:
        """Ask the process to stop; ``wait`` sees it gone."""
        self._is_wanted = False
        if self._paused:
            self.resume()
        self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended, killing it if it hangs; return its exit code."""
        assert self._process is not None, "waited for before it was started"
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def ending(self) -> str:
        """Say in words how the process ended."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return "it runs" if self._process is not None else "it was never started"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_words(self) -> str:
        """Return the end of what the process wrote to its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-8:])

    def last_line(self) -> str:
        """Return the last line of it, "nothing" if there is none."""
        return next((line for line in reversed(self.last_words().splitlines()) if line), "nothing")

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)


@cache
def _lifeline(_starter: int) -> tuple[int, int]:
    """Return the pipe that is the standard input of every node that this process starts.

    Nothing is written to it. It ends when this process does, however it does, so neither end
    is closed here. A fork of this process has its own.
    """
    return os.pipe()


def _spawn(command: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name != ENV_DATA}
    return subprocess.Popen(  # noqa: S603  (our own interpreter and module)
        command,
        stdin=_lifeline(os.getpid())[0],
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,  # a Ctrl-C here must not race with our own stop
    )

"""The life of a node's process: start, signals, a clean end or a stated reason.

Exit codes: 0 after a clean stop, 1 when the node failed or something hung, and
1 at once on a second signal.
"""

import asyncio
import importlib
import logging
import os
import signal
import sys
from typing import Any, Final

from raftlog.base.garbage import making_what_stays
from raftlog.base.limits import STOP_DEADLINE_NS
from raftlog.server.app import NodeServer
from raftlog.server.config import Config
from raftlog.server.open_files import FEW, allow_many

log: Final = logging.getLogger("raftlog.node")

_STDIN: Final = 0
SWITCH_INTERVAL_S: Final = 0.000_2
"""How long the writer thread waits for a busy loop to give it the interpreter. The default of
5 ms is many times what the disk needs."""


def loop_factory() -> Any:
    """Return uvloop's loop factory where it is installed, else asyncio's own."""
    try:
        return importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return asyncio.new_event_loop


def run_node(
    config: Config, name: str, *, join: bool = False, ends_with_stdin: bool = False
) -> int:
    """Run node ``name`` until it is told to stop; return the exit code.

    With ``join`` it asks to become a voter, if it is none yet. With ``ends_with_stdin``
    it also stops when its standard input, a pipe, ends: whoever started it is gone.

    Raises:
        RaftlogError: It could not start.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format=f"%(asctime)s {name} %(message)s"
    )
    most = allow_many()
    if most < FEW:
        log.warning("only %d files may be open, and each segment is one: raise ulimit -n", most)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_live(config, name, join=join, ends_with_stdin=ends_with_stdin))


async def _live(config: Config, name: str, *, join: bool, ends_with_stdin: bool) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            log.error("second signal: ending at once")
            os._exit(1)
        log.info("%s: stopping", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if ends_with_stdin:
        loop.add_reader(_STDIN, _heed_stdin, loop, stop)
    if config.durability == "os-cache":
        log.warning("durability is os-cache: a power cut takes back what was acknowledged")
    with making_what_stays():
        server = await NodeServer.open(config, name)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node = server.node
    log.info("serving clients on %s, peers on %s", node.client, node.peer)
    if node.grpc:
        log.info("serving gRPC on %s", node.grpc)
    server.failed.add_done_callback(lambda _: stop.set())
    if join:
        server.join()
    else:
        server.tell_if_waiting()
    await stop.wait()
    reason = server.failed.result() if server.failed.done() else None
    if reason is not None:
        log.error("stopping: %s", reason)
    return await _end(server, failed=reason is not None)


def _heed_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(_STDIN, 4096):
        loop.remove_reader(_STDIN)
        log.info("whoever started this node has ended: stopping")
        stop.set()


async def _end(server: NodeServer, *, failed: bool) -> int:
    try:
        async with asyncio.timeout(STOP_DEADLINE_NS / 1e9):
            hung = await server.close()
    except TimeoutError:
        hung = ["closing"]
    if hung:
        log.error("did not end in time: %s", ", ".join(hung))
        os._exit(1)
    if failed:
        return 1  # the reason stays the last line: whoever looks for it finds it there
    log.info("stopped")
    return 0

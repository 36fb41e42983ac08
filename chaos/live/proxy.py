"""A userspace TCP proxy: one link, and everything that can be wrong with it.

TCP hides loss: what is lost is sent again until it arrives or somebody gives up. So a cut here
keeps the bytes and passes them on when it ends, and the end of a connection waits with them.
Who connects while the target is gone is reset at once, and nothing that he says is taken in
(ruling 13). The handshake itself is the kernel's: that somebody could connect proves nothing.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from chaos.live.conditions import CLEAR, Condition, Way
from raftlog.wire.address import parse_address

CHUNK_BYTES: Final = 1 << 16
CHUNKS_MAX: Final = 64
"""On their way in one direction of one connection; beyond it whoever sends is not read."""
DIAL_S: Final = 2.0
BACKLOG: Final = 512
_RESET: Final = struct.pack("ii", 1, 0)


class Proxy:
    """One link: listens at an address of its own and connects each time to ``target``."""

    def __init__(self, target: str, *, listen: str = "127.0.0.1:0") -> None:
        self.target: Final = target
        self.address = listen
        self.connections = 0
        """How many were ever passed on."""
        self.resets = 0
        """How many were reset, because of a fault or because nobody listens at the target."""
        self.delayed = 0
        """How many pieces and new connections, of those that came while something was wrong."""
        self._condition = CLEAR
        self._changed: asyncio.Event = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    @property
    def condition(self) -> Condition:
        """How the link is."""
        return self._condition

    def set(self, condition: Condition) -> None:
        """Change how the link is, for connections that are open, too."""
        self._condition = condition
        self._changed.set()
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Listen; ``address`` says where."""
        host, port = parse_address(self.address)
        self._server = await asyncio.start_server(self._accept, host, port, backlog=BACKLOG)
        bound = self._server.sockets[0].getsockname()
        self.address = f"{bound[0]}:{bound[1]}"

    async def aclose(self) -> None:
        """End every connection and stop to listen."""
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self._open]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset(self) -> int:
        """Reset every connection at both ends; return how many there were."""
        count = len(self._open)
        for connection in self._open:
            connection.end(client=True, target=True)
        self.resets += count
        return count

    def forget(self) -> int:
        """Reset at the target's end only, and tell the other nothing; return how many."""
        count = len(self._open)
        for connection in self._open:
            connection.end(client=False, target=True)
        return count

    async def passes(self, way: str) -> Way:
        """Wait until one way is not cut, and return it."""
        while True:
            changed = self._changed
            current: Way = getattr(self._condition, way)
            if not current.cut:
                return current
            await changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        connection = _Connection(self, reader, writer, task)
        self._open.add(connection)
        try:
            await connection.serve()
        except asyncio.CancelledError:
            connection.is_half_open = False  # the link is closed, and nobody else to be told
        finally:
            self._open.discard(connection)
            connection.end(client=not connection.is_half_open, target=True)


class _Connection:
    """One connection and its other half."""

    def __init__(
        self,
        link: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        self.task: Final = task
        self.is_half_open = False
        self._link = link
        self._reader, self._writer = reader, writer
        self._target: asyncio.StreamWriter | None = None

    async def serve(self) -> None:
        """Connect to the target, then pass bytes both ways until either end closes."""
        link = self._link
        if link.condition.refuses:
            link.resets += 1
            return
        link.delayed += link.condition.there.cut
        await link.passes("there")
        try:
            async with asyncio.timeout(DIAL_S):
                reader, self._target = await asyncio.open_connection(*parse_address(link.target))
        except (OSError, TimeoutError):
            link.resets += 1
            return
        link.connections += 1
        pumps = [
            asyncio.ensure_future(self._pump(self._reader, self._target, "there")),
            asyncio.ensure_future(self._pump(reader, self._writer, "back")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        with suppress(OSError):
            # The target's end is gone; the other one speaks on, as into a dead router.
            while self.is_half_open and await self._reader.read(CHUNK_BYTES):
                pass

    def end(self, *, client: bool, target: bool) -> None:
        """Reset one end or both."""
        self.is_half_open = self.is_half_open or (target and not client)
        if client:
            _reset(self._writer)
        if target and self._target is not None:
            _reset(self._target)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        delivering = asyncio.ensure_future(self._deliver(queue, writer, way))
        clock = asyncio.get_running_loop().time
        try:
            data = b"."
            while data and not delivering.done():
                try:
                    data = await reader.read(CHUNK_BYTES)
                except OSError:
                    data = b""
                current: Way = getattr(self._link.condition, way)
                delay_s = current.delay_s
                self._link.delayed += current != Way()
                await queue.put((clock() + delay_s, data))
            await delivering
        finally:
            delivering.cancel()

    async def _deliver(
        self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, way: str
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await queue.get()
            if (wait_s := due - clock()) > 0:
                await asyncio.sleep(wait_s)
            current = await self._link.passes(way)
            if not data:
                return  # the end of the connection, told no earlier than what came before it
            if current.bytes_per_s:
                await asyncio.sleep(len(data) / current.bytes_per_s)
                await self._link.passes(way)
            with suppress(OSError):
                writer.write(data)
                await writer.drain()
                continue
            return


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side is told by RST: it does not believe in a clean end."""
    transport = writer.transport
    bound = transport.get_extra_info("socket")
    if transport.is_closing():
        return
    with suppress(OSError):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()

"""A userspace TCP proxy: one link, and everything that can be wrong with it.

TCP hides loss: what is lost is sent again until it arrives or somebody gives up. So a cut here
keeps the bytes and passes them on when it ends, and the end of a connection waits with them; and
where pieces are lost, each waits as long as TCP would wait to send it again, and what was sent
after it waits behind it. Within a connection nothing overtakes; two of them are as late as each
draws, so between them much does.
Who connects while the target is gone is reset at once, and nothing that he says is taken in
(ruling 13). The handshake itself is the kernel's: that somebody could connect proves nothing.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from random import Random
from typing import Final

from chaos.live.conditions import CLEAR, Condition, Way
from raftlog.wire.address import parse_address

CHUNK_BYTES: Final = 1 << 16
CHUNKS_MAX: Final = 64
"""On their way in one direction of one connection; beyond it whoever sends is not read."""
DIAL_S: Final = 2.0
BACKLOG: Final = 512
RESEND_S: Final = 0.2
"""After which TCP sends again what nobody has confirmed; each time twice as long."""
RESEND_MAX_S: Final = 1.6
TORN_BYTES: Final = 20
"""Fewer than a frame has, so what lacks some of its last ones ends in the middle of one."""
TORN_S: Final = 0.01
"""For what has arrived to be read before the reset."""
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
        self.resent = 0
        """How many pieces were lost at least once."""
        self.torn = 0
        """How many connections were reset in the middle of a frame."""
        self.overtaken = 0
        """How many pieces arrived after what was sent after them by another connection, of
        those that were late each by themselves."""
        self.random: Final = Random(target)
        self._newest = {"there": 0.0, "back": 0.0}
        """When what was sent last, of all that has arrived, was sent."""
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

    def forget(self, *, target: bool = True) -> int:
        """Reset at the target's end only, or at the other only; tell the one that is left nothing.

        Returns how many connections there were.
        """
        count = len(self._open)
        for connection in self._open:
            connection.end(client=not target, target=target)
        return count

    def tear(self, *, next_piece: bool = True) -> None:
        """Of every connection: pass on the next piece but for its end, then reset it; or don't."""
        for connection in self._open:
            connection.is_to_be_torn = next_piece

    def resend_s(self, way: Way) -> float:
        """Draw how much later a piece arrives because it is lost, perhaps again and again."""
        late_s, wait_s = 0.0, RESEND_S
        while wait_s <= RESEND_MAX_S and self.random.random() < way.lost:
            late_s += wait_s
            wait_s *= 2
        self.resent += late_s > 0
        return late_s

    def arrived(self, way: str, sent: float, *, jitters: bool) -> None:
        """A piece that was sent then has arrived."""
        self.overtaken += jitters and sent < self._newest[way]
        self._newest[way] = max(sent, self._newest[way])

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
            pass  # the link is closed
        finally:
            self._open.discard(connection)
            connection.end(client=True, target=True)


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
        self.is_to_be_torn = False
        self._share: Final = link.random.random()
        """Of the jitter on its link."""
        self._left: asyncio.StreamReader | None = None
        """What is still read, of an end that was not told that the other one is gone."""
        self._link = link
        self._reader, self._writer = reader, writer
        self._from_target: asyncio.StreamReader | None = None
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
                there = await asyncio.open_connection(*parse_address(link.target))
        except (OSError, TimeoutError):
            link.resets += 1
            return
        link.connections += 1
        self._from_target, self._target = there
        pumps = [
            asyncio.ensure_future(self._pump(self._reader, self._target, "there")),
            asyncio.ensure_future(self._pump(self._from_target, self._writer, "back")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        with suppress(OSError):
            # One end is gone; the other one speaks on, as into a dead router.
            while self._left is not None and await self._left.read(CHUNK_BYTES):
                pass

    def end(self, *, client: bool, target: bool) -> None:
        """Reset one end or both."""
        if self._left is None and client != target:
            self._left = self._from_target if client else self._reader
        if client:
            _reset(self._writer)
        if target and self._target is not None:
            _reset(self._target)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        queue: asyncio.Queue[tuple[float, float, bytes]] = asyncio.Queue(CHUNKS_MAX)
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
                self._link.delayed += current != Way()
                sent = clock()
                await queue.put((sent, sent + self._late_s(current), data))
            await delivering
        finally:
            delivering.cancel()

    def _late_s(self, way: Way) -> float:
        """Draw how much later a piece arrives."""
        late_s = way.delay_s
        if way.jitter_s:
            late_s += way.jitter_s * self._share * self._link.random.uniform(0.5, 1.0)
        if way.lost:
            late_s += self._link.resend_s(way)
        return late_s

    async def _deliver(
        self,
        queue: "asyncio.Queue[tuple[float, float, bytes]]",
        writer: asyncio.StreamWriter,
        way: str,
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            sent, due, data = await queue.get()
            if (wait_s := due - clock()) > 0:
                await asyncio.sleep(wait_s)
            current = await self._link.passes(way)
            if not data:
                return  # the end of the connection, told no earlier than what came before it
            if current.bytes_per_s:
                await asyncio.sleep(len(data) / current.bytes_per_s)
                await self._link.passes(way)
            self._link.arrived(way, sent, jitters=current.jitter_s > 0)
            with suppress(OSError):
                if self.is_to_be_torn and len(data) > 1:
                    await self._tear(data, writer)
                    return
                writer.write(data)
                await writer.drain()
                continue
            return

    async def _tear(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass on all but the end of a piece, and reset both ends."""
        self.is_to_be_torn = False  # once, whichever way comes first
        missing = self._link.random.randint(1, min(TORN_BYTES, len(data) - 1))
        writer.write(data[:-missing])
        await writer.drain()
        await asyncio.sleep(TORN_S)
        self._link.torn += 1
        self._link.resets += 1
        self.end(client=True, target=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side is told by RST: it does not believe in a clean end."""
    transport = writer.transport
    bound = transport.get_extra_info("socket")
    if transport.is_closing():
        return
    with suppress(OSError):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()

"""Links to peers: for each peer two connections that this node opens (ruling 32).

::

    send(to, shard, message) --+-- carries entries --> entries connection
                               +-- everything else --> control connection

A batch of entries that fills a socket never stands before a heartbeat. Sending
may lose: what finds no connection, or one with too much unsent, is dropped, and
Raft repairs it. A connection that ends is opened again with backoff. It counts
as open once its *hello* was answered: a proxy may accept for a dead node. If
that takes longer than ``HELLO_TIMEOUT_NS`` after a loss, the node is told
(``on_lost``, ruling 13); it is only a hint.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError, RaftlogError, Unavailable
from raftlog.base.ids import NodeId, ShardId
from raftlog.base.limits import HELLO_TIMEOUT_NS, WRITE_BUFFER_BYTES_MAX
from raftlog.raft.rpcs import PeerMessage
from raftlog.transport.connection import FramedConnection
from raftlog.transport.peer_codec import encode_message, is_bulk
from raftlog.wire.frame import Frame
from raftlog.wire.greeting import Promise, Sender, hello_frame, peer_hello, read_answer
from raftlog.wire.schema import hello

_LOG: Final = logging.getLogger("raftlog.links")
BACKOFF_MIN_S: Final = 0.02
BACKOFF_MAX_S: Final = 0.5
DIAL_TIMEOUT_S: Final = 1.0
"""For connecting and the answer to the hello."""
STABLE_S: Final = 1.0
"""A connection that lived so long is dialled again at once when it ends."""
UNACKED_MS_MAX: Final = 2_000
"""The kernel gives a connection up when sent bytes stay unacknowledged so long: after a network
cut its own retries would stretch to minutes."""
FAREWELL_S: Final = 0.2
"""For the last bytes when the node stops."""
HELLO_TIMEOUT_S: Final = HELLO_TIMEOUT_NS / 1e9


class PeerAddress(msgspec.Struct, frozen=True):
    """Where to dial a peer, and the directory that it must have ("" if not known)."""

    host: str
    port: int
    directory: str = ""


class LinkEvents(msgspec.Struct, frozen=True):
    """What links report, on the loop."""

    on_lost: Callable[[NodeId], None] = lambda _: None
    """The connection to a peer ended and its hello was not answered in time."""
    on_refused: Callable[[NodeId, RaftlogError], None] = lambda _node, _error: None
    """A peer refused this node, and why. It is asked again with backoff."""
    on_opened: Callable[[NodeId], None] = lambda _: None
    """Both connections to a peer are open, for the first time or again."""


class _Outgoing(FramedConnection):
    """One connection that this node opened. Nothing but the hello's answer comes back."""

    def __init__(self, cluster: str, target: tuple[NodeId, str], greeting: bytes) -> None:
        super().__init__()
        self.opened: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        self._cluster = cluster
        self._target = target
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKED_MS_MAX)
        self.send((hello_frame(self._greeting),))

    def frame_received(self, frame: Frame) -> None:
        """Take the answer to the hello."""
        if self.opened.done():
            raise ProtocolError(f"method {frame.method} on a connection that only sends")
        try:
            read_answer(frame, self._cluster, self._target)
        except RaftlogError as error:
            self.opened.set_exception(error)
            self.close()
            return
        self.opened.set_result(None)

    def ended(self, error: Exception | None) -> None:
        """Wake whoever waits for this connection."""
        if not self.opened.done():
            cause = f": {error}" if error else ""
            self.opened.set_exception(Unavailable(f"closed before the hello was answered{cause}"))
        if not self.lost.done():
            self.lost.set_result(None)


class _Link:
    """One of the two connections to a peer, kept open."""

    def __init__(
        self,
        links: "Links",
        node: NodeId,
        address: PeerAddress,
        purpose: "hello.Purpose.ValueType",
    ) -> None:
        self._links = links
        self._node = node
        self._address = address
        self._purpose = purpose
        self._open: _Outgoing | None = None
        self._lost_timer: asyncio.TimerHandle | None = None
        self._reported: str = ""
        self._task = asyncio.get_running_loop().create_task(self._keep_open())

    @property
    def connection(self) -> _Outgoing | None:
        """The connection, if it is open."""
        connection = self._open
        return None if connection is None or connection.is_ended else connection

    async def close(self) -> None:
        """Close; what was sent before is still written, if the peer takes it soon."""
        self._task.cancel()
        self._forget_loss()
        with suppress(asyncio.CancelledError):
            await self._task
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()
            await asyncio.wait([connection.lost], timeout=FAREWELL_S)
            connection.abort()
        await asyncio.sleep(0)  # a dial that was cancelled just now ends in this turn

    async def _keep_open(self) -> None:
        """Dial, wait for the end, dial again. The only task of a connection."""
        loop = asyncio.get_running_loop()
        delay_s = BACKOFF_MIN_S
        while True:
            try:
                connection = await self._dial()
            except (OSError, TimeoutError, RaftlogError) as error:
                self._report(error)
            else:
                opened_at = loop.time()
                self._open = connection
                self._reported = ""
                self._forget_loss()
                self._links.tell_if_open(self._node)
                await asyncio.shield(connection.lost)  # a stop cancels this task, not the future
                self._open = None
                self._expect_back()
                if loop.time() - opened_at >= STABLE_S:
                    delay_s = BACKOFF_MIN_S
                    continue
            await asyncio.sleep(delay_s * self._links.random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)

    async def _dial(self) -> _Outgoing:
        links = self._links
        target = (self._node, self._address.directory)
        greeting = peer_hello(links.sender, self._purpose, target, links.promises())
        connection = _Outgoing(links.sender.cluster, target, greeting)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await connection.loop.create_connection(
                    lambda: connection, self._address.host, self._address.port
                )
                await connection.opened
        except BaseException:
            connection.abort()
            raise
        finally:
            if connection.opened.done() and not connection.opened.cancelled():
                connection.opened.exception()  # read, or asyncio complains that nobody did
        return connection

    def _report(self, error: Exception) -> None:
        if isinstance(error, RaftlogError) and not isinstance(error, Unavailable):
            self._links.events.on_refused(self._node, error)
        text = f"{type(error).__name__}: {error}"
        if text != self._reported:
            self._reported = text
            _LOG.warning("no connection to %s: %s; trying again", self._node, text)

    def _expect_back(self) -> None:
        if self._purpose == hello.PURPOSE_CONTROL:
            loop = asyncio.get_running_loop()
            self._lost_timer = loop.call_later(HELLO_TIMEOUT_S, self._tell_loss)

    def _tell_loss(self) -> None:
        self._lost_timer = None
        self._links.events.on_lost(self._node)

    def _forget_loss(self) -> None:
        if self._lost_timer is not None:
            self._lost_timer.cancel()
            self._lost_timer = None


class Links:
    """This node's connections to its peers. Made and used on the loop."""

    def __init__(
        self,
        sender: Sender,
        peers: Mapping[NodeId, PeerAddress],
        *,
        events: LinkEvents | None = None,
        promises: Callable[[], Sequence[Promise]] = lambda: (),
        random: Random | None = None,
    ) -> None:
        self.sender: Final = sender
        self.events: Final = events or LinkEvents()
        self.promises: Final = promises
        self.random: Final = random or Random()
        self.sent = 0
        self.dropped = 0
        self._encoded: list[Buffer] = []
        self._encoded_message: PeerMessage | None = None
        self._encoded_shard = ShardId(-1)
        self._peers = dict(peers)
        self._control: dict[NodeId, _Link] = {}
        self._entries: dict[NodeId, _Link] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to dial."""
        for node, address in self._peers.items():
            self._dial(node, address)

    def follow(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        """Dial exactly these peers from now on: links to all others are closed.

        A peer whose address or directory is another one now is dialled anew.
        """
        for node, address in list(self._peers.items()):
            if peers.get(node) != address:
                del self._peers[node]
                for links in (self._control, self._entries):
                    task = asyncio.get_running_loop().create_task(links.pop(node).close())
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)
        for node, address in peers.items():
            if node not in self._peers:
                self._peers[node] = address
                self._dial(node, address)

    def _dial(self, node: NodeId, address: PeerAddress) -> None:
        self._control[node] = _Link(self, node, address, hello.PURPOSE_CONTROL)
        self._entries[node] = _Link(self, node, address, hello.PURPOSE_ENTRIES)

    def is_open(self, node: NodeId) -> bool:
        """Whether both connections to ``node`` are open."""
        return all(
            links.get(node) is not None and links[node].connection is not None
            for links in (self._control, self._entries)
        )

    def tell_if_open(self, node: NodeId) -> None:
        """One of the connections was opened."""
        if self.is_open(node):
            self.events.on_opened(node)

    def send(self, to: NodeId, shard: ShardId, message: PeerMessage) -> None:
        """Send ``message`` at the end of this turn of the loop; never blocks, never raises.

        It is dropped if there is no connection or too much is unsent.
        """
        links = self._entries if is_bulk(message) else self._control
        link = links.get(to)
        connection = None if link is None else link.connection
        if connection is None or connection.unsent_bytes > WRITE_BUFFER_BYTES_MAX:
            self.dropped += 1
            return
        self.sent += 1
        if message is not self._encoded_message or shard != self._encoded_shard:
            # A leader gives the same message to every follower that is in step.
            self._encoded = encode_message(shard, message)
            self._encoded_message, self._encoded_shard = message, shard
        connection.send(self._encoded)

    async def close(self) -> None:
        """Close every connection."""
        links = [*self._control.values(), *self._entries.values()]
        self._control.clear()
        self._entries.clear()
        await asyncio.gather(*(link.close() for link in links), *self._closing)

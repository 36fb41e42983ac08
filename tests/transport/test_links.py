"""Links and the peer server over loopback: what is sent arrives, as who sent it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from raftlog.base.entry import CHAIN_ORIGIN, Entry, EntryKind, seal
from raftlog.base.errors import (
    RaftlogError,
    RolledBack,
    WrongCluster,
    WrongIdentity,
)
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.limits import MIB
from raftlog.base.membership import Membership
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    Heartbeat,
    PeerMessage,
    VoteReply,
)
from raftlog.testing.processes import free_ports
from raftlog.transport.gate import Gate
from raftlog.transport.links import LinkEvents, Links, PeerAddress
from raftlog.transport.peer_server import PeerServer
from raftlog.wire.greeting import Promise, Sender

CLUSTER: Final = ClusterId("c" * 32)
N1: Final = ReplicaId(NodeId("n1"), DirectoryId("1" * 32))
N2: Final = ReplicaId(NodeId("n2"), DirectoryId("2" * 32))
SHARD: Final = ShardId(3)
MEMBERS: Final = (Membership((N1, N2)),) * (SHARD + 1)
BEAT: Final = Heartbeat(Term(4), Index(2), 9)


class Inbox:
    """What a peer server was given, and a way to wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[ReplicaId, ShardId, PeerMessage]] = []
        self.heard: list[tuple[ReplicaId, ShardId]] = []
        self.opened: list[NodeId] = []
        self.lost: list[NodeId] = []
        self.refused: list[tuple[NodeId, RaftlogError]] = []
        self._changed = asyncio.Event()

    def on_message(self, sender: ReplicaId, shard: ShardId, message: PeerMessage) -> None:
        """Keep a message."""
        self.messages.append((sender, shard, message))
        self._changed.set()

    def on_heard(self, sender: ReplicaId, shard: ShardId) -> None:
        """Keep who was heard."""
        self.heard.append((sender, shard))
        self._changed.set()

    def on_opened(self, node: NodeId) -> None:
        """Keep who was reached."""
        self.opened.append(node)
        self._changed.set()

    def on_lost(self, node: NodeId) -> None:
        """Keep who was lost."""
        self.lost.append(node)
        self._changed.set()

    def on_refused(self, node: NodeId, error: RaftlogError) -> None:
        """Keep who refused."""
        self.refused.append((node, error))
        self._changed.set()

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait until ``ready``."""
        async with asyncio.timeout(30):
            while not ready():
                self._changed.clear()
                await self._changed.wait()

    @property
    def events(self) -> LinkEvents:
        """The events of links, kept here."""
        return LinkEvents(self.on_lost, self.on_refused, self.on_opened)


async def serve(inbox: Inbox, *, gate: Gate | None = None, port: int = 0) -> PeerServer:
    """Start the peer server of n2."""
    server = PeerServer(gate or Gate(CLUSTER, N2, MEMBERS), inbox.on_message, inbox.on_heard)
    return await server.listen("127.0.0.1", port)


def link_to(port: int, inbox: Inbox, **options: object) -> Links:
    """Return the links of n1 to n2, started."""
    sender = Sender(
        ClusterId(str(options.get("cluster", CLUSTER))), N1, int(str(options.get("run", 1)))
    )
    promises = options.get("promises", ())
    assert isinstance(promises, tuple)
    target = PeerAddress("127.0.0.1", port, str(options.get("directory", N2.directory)))
    links = Links(sender, {N2.node: target}, events=inbox.events, promises=lambda: promises)
    links.start()
    return links


@asynccontextmanager
async def linked(inbox: Inbox) -> AsyncIterator[tuple[PeerServer, Links]]:
    """Give n2's server and n1's open links to it; its port can be taken again."""
    (port,) = free_ports(1)
    server = await serve(inbox, port=port)
    links = link_to(server.port, inbox)
    try:
        await inbox.until(lambda: inbox.opened)
        yield server, links
    finally:
        await links.close()
        await server.close()


class Silent(asyncio.Protocol):
    """A proxy that accepts and says nothing."""

    def __init__(self, accepted: "list[Silent]") -> None:
        accepted.append(self)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the dialler has given up."""
        del exc
        self.closed.set_result(None)


def chain(count: int, size: int) -> tuple[Entry, ...]:
    """Return the first ``count`` entries of a log."""
    entries: list[Entry] = []
    previous = CHAIN_ORIGIN
    for index in range(1, count + 1):
        entry = seal(EntryKind.COMMANDS, Term(1), Index(index), previous, [bytes(size)])
        entries.append(entry)
        previous = entry.checksum
    return tuple(entries)


def append_of(entries: tuple[Entry, ...]) -> AppendRequest:
    """Return the message that carries ``entries`` to an empty follower."""
    return AppendRequest(Term(1), Term(0), Index(0), Index(0), entries)


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "size"), [(1, 10), (200, 100), (3, 300_000), (1, 4 * MIB)])
async def test_entries_arrive_byte_for_byte(count: int, size: int) -> None:
    """Replicas store the leader's frames: from the smallest entry to the largest."""
    inbox = Inbox()
    async with linked(inbox) as (_, links):
        sent = chain(count, size)
        links.send(N2.node, SHARD, append_of(sent))
        await inbox.until(lambda: inbox.messages)
        ((sender, shard, message),) = inbox.messages
        assert (sender, shard) == (N1, SHARD)
        assert isinstance(message, AppendRequest)
        assert [bytes(entry.frame) for entry in message.entries] == [e.frame for e in sent]


@pytest.mark.asyncio
async def test_a_heartbeat_overtakes_entries_that_fill_the_socket() -> None:
    """Entries of 40 MiB in one connection must not delay a heartbeat (ruling 32)."""
    inbox = Inbox()
    async with linked(inbox) as (_, links):
        large = append_of(chain(1, 4 * MIB))
        for _ in range(10):
            links.send(N2.node, SHARD, large)
        links.send(N2.node, SHARD, BEAT)
        await inbox.until(lambda: len(inbox.messages) == 11)
        kinds = [type(message) for _, _, message in inbox.messages]
        assert kinds.index(Heartbeat) < 10
        assert inbox.heard, "bytes of entries were on their way and nobody was told"
        assert set(inbox.heard) == {(N1, SHARD)}


@pytest.mark.asyncio
async def test_messages_of_one_turn_keep_their_order() -> None:
    """They leave in one write."""
    inbox = Inbox()
    async with linked(inbox) as (_, links):
        sent = [VoteReply(Term(term), granted=True) for term in range(1, 100)]
        for message in sent:
            links.send(N2.node, SHARD, message)
        await inbox.until(lambda: len(inbox.messages) == len(sent))
        assert [message for _, _, message in inbox.messages] == sent


@pytest.mark.asyncio
async def test_what_finds_no_connection_is_dropped_and_a_link_comes_up_by_itself() -> None:
    """Nodes start in any order; nothing is kept for a peer that is not there."""
    inbox = Inbox()
    (port,) = free_ports(1)
    links = link_to(port, inbox)
    try:
        links.send(N2.node, SHARD, BEAT)
        assert links.dropped == 1
        server = await serve(inbox, port=port)
        await inbox.until(lambda: inbox.opened)
        links.send(N2.node, SHARD, VoteReply(Term(1), granted=False))
        await inbox.until(lambda: inbox.messages)
        assert [message for _, _, message in inbox.messages] == [VoteReply(Term(1), granted=False)]
        assert not inbox.lost, "a peer that was never there is not lost"
        await server.close()
    finally:
        await links.close()


@pytest.mark.asyncio
async def test_a_peer_that_dies_is_reported_lost_once() -> None:
    """The hint that starts an election early (ruling 13)."""
    inbox = Inbox()
    async with linked(inbox) as (server, _):
        await server.close()
        await inbox.until(lambda: inbox.lost)
        assert inbox.lost == [N2.node]


@pytest.mark.asyncio
async def test_a_connection_that_is_reset_and_answered_again_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flushed connection table is no dead leader: its hello is answered within 50 ms.

    Within more here, because this process may stand still for longer on a busy machine.
    """
    monkeypatch.setattr("raftlog.transport.links.HELLO_TIMEOUT_S", 10.0)
    inbox = Inbox()
    async with linked(inbox) as (server, links):
        for connection in tuple(server.connections):
            connection.abort()
        await inbox.until(lambda: len(inbox.opened) == 2)
        assert links.is_open(N2.node)
        assert not inbox.lost


@pytest.mark.asyncio
async def test_a_proxy_that_accepts_for_a_dead_peer_does_not_hide_the_loss() -> None:
    """Open means that the hello was answered, not that a socket connected (ruling 13)."""
    inbox = Inbox()
    async with linked(inbox) as (server, links):
        port = server.port
        await server.close()
        accepted: list[Silent] = []
        loop = asyncio.get_running_loop()
        silent = await loop.create_server(lambda: Silent(accepted), "127.0.0.1", port)
        try:
            await inbox.until(lambda: inbox.lost)
            assert not links.is_open(N2.node)
        finally:
            silent.close()
            await links.close()
            for protocol in accepted:
                await protocol.closed


REFUSALS: Final = [
    pytest.param({"cluster": "other"}, WrongCluster, id="another cluster"),
    pytest.param({"directory": "9" * 32}, WrongIdentity, id="a directory that was replaced"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("options", "kind"), REFUSALS)
async def test_a_wrong_hello_is_refused_by_name(
    options: dict[str, object], kind: type[RaftlogError]
) -> None:
    """The one who dialled is told what is wrong, and nothing it sends gets in."""
    inbox = Inbox()
    server = await serve(inbox)
    links = link_to(server.port, inbox, **options)
    try:
        await inbox.until(lambda: inbox.refused)
        node, error = inbox.refused[0]
        assert (node, type(error)) == (N2.node, kind)
        links.send(N2.node, SHARD, BEAT)
        assert links.dropped == 1
        assert not inbox.messages
    finally:
        await links.close()
        await server.close()


@pytest.mark.asyncio
async def test_a_directory_older_than_its_promises_is_refused() -> None:
    """n1 comes back after a restore from yesterday's copy (ruling 16)."""
    inbox = Inbox()
    server = await serve(inbox)
    before = link_to(server.port, inbox, promises=(Promise(SHARD, 7, 100),))
    await inbox.until(lambda: inbox.opened)
    await before.close()
    after = link_to(server.port, inbox, run=2, promises=(Promise(SHARD, 7, 99),))
    try:
        await inbox.until(lambda: inbox.refused)
        assert type(inbox.refused[0][1]) is RolledBack
    finally:
        await after.close()
        await server.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [MEMBERS, (Membership((N2,)),)])
async def test_a_promise_is_known_from_the_answer_that_gave_it(
    known: tuple[Membership, ...],
) -> None:
    """n1 said hello at unit 100, promised up to 500, and is put back to 300 (ruling 16).

    Perhaps n2 learned after the hello that n1 is a member.
    """
    inbox = Inbox()
    server = await serve(inbox, gate=Gate(CLUSTER, N2, known))
    before = link_to(server.port, inbox, promises=(Promise(SHARD, 7, 100),))
    await inbox.until(lambda: inbox.opened)
    server.gate.follow(MEMBERS)
    before.send(N2.node, SHARD, AppendAccepted(Term(4), Index(9), 500))
    await inbox.until(lambda: inbox.messages)
    await before.close()
    after = link_to(server.port, inbox, run=2, promises=(Promise(SHARD, 7, 300),))
    try:
        await inbox.until(lambda: inbox.refused)
        assert type(inbox.refused[0][1]) is RolledBack
    finally:
        await after.close()
        await server.close()

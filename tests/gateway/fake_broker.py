"""A node for the tests of forwarding: one queue in memory behind the real client address.

It stores batches and gives offsets; who leads, and what it does with the next
requests, the test decides.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from raftlog.base.errors import NotLeader, OffsetOutOfRange, RaftlogError
from raftlog.base.ids import ClusterId, DirectoryId, NodeId, ReplicaId
from raftlog.transport.gate import Gate
from raftlog.transport.server import ClientServer, Request
from raftlog.wire.batch import parse_batch_header
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

CLUSTER: Final = ClusterId("c" * 32)


class SharedLog:
    """What the nodes of one fake cluster agree on."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, bytes]] = []
        self.end = 0
        self.leader = "n1"
        self.term = 1
        self.addresses: dict[str, str] = {}


class FakeBroker:
    """One node."""

    def __init__(self, name: str, log: SharedLog) -> None:
        self.name = name
        self.log = log
        self.appends = 0
        self.held: list[Request] = []
        self._changed = asyncio.Event()
        self.refusals: list[RaftlogError] = []
        """Answers for the next appends; each is used once."""
        self.holds: Callable[[], bool] = lambda: False
        """Whether appends are kept without an answer."""
        replica = ReplicaId(NodeId(name), DirectoryId(name * 16))
        self.server = ClientServer(
            Gate(CLUSTER, replica),
            {
                Method.APPEND: self._append,
                Method.READ: self._read,
                Method.END_OFFSET: self._end_offset,
                Method.STATUS: self._status,
                Method.TRANSFER: self._transfer,
            },
            address_of=lambda node: log.addresses.get(node, ""),
        )

    async def start(self, port: int = 0) -> "FakeBroker":
        """Listen."""
        await self.server.listen("127.0.0.1", port)
        self.log.addresses[self.name] = self.address
        return self

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.server.port}"

    async def until_held(self, count: int = 1) -> None:
        """Wait until so many appends are kept without an answer."""
        async with asyncio.timeout(30):
            while len(self.held) < count:
                self._changed.clear()
                await self._changed.wait()

    @property
    def leads(self) -> bool:
        """Whether it leads."""
        return self.log.leader == self.name

    def _refused(self, request: Request) -> bool:
        if not self.leads:
            request.fail(NotLeader(NodeId(self.log.leader)))
        return not self.leads

    def _append(self, request: Request) -> None:
        self.appends += 1
        if self.holds():
            self.held.append(request)
            self._changed.set()
        elif self.refusals:
            request.fail(self.refusals.pop(0))
        elif not self._refused(request):
            log = self.log
            count = parse_batch_header(request.payload).count
            log.batches.append((log.end, bytes(request.payload)))
            base, log.end = log.end, log.end + count
            request.reply(
                client.BatchAppended(
                    base_offset=base, term=log.term, index=len(log.batches), durability="fsync"
                )
            )

    def _read(self, request: Request) -> None:
        message = cast("client.ReadBatches", request.message)
        if self._refused(request):
            return
        log = self.log
        if not 0 <= message.offset <= log.end:
            request.fail(OffsetOutOfRange(message.offset, 0, log.end))
            return
        if message.offset == log.end and message.wait_ms:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(message.wait_ms / 1000, self._serve, request, message.offset)
            request.on_cancelled = timer.cancel
            return
        self._serve(request, message.offset)

    def _serve(self, request: Request, offset: int) -> None:
        found = [
            (base, data)
            for base, data in self.log.batches
            if base + parse_batch_header(data).count > offset
        ][:3]
        request.reply(
            client.BatchesRead(
                base_offsets=[base for base, _ in found],
                lengths=[len(data) for _, data in found],
                end_offset=self.log.end,
                applied=len(self.log.batches),
            ),
            [data for _, data in found],
        )

    def _end_offset(self, request: Request) -> None:
        if not self._refused(request):
            request.reply(client.EndOffsetIs(end_offset=self.log.end))

    def _status(self, request: Request) -> None:
        log = self.log
        request.reply(
            client.NodeStatus(
                cluster=CLUSTER,
                node=self.name,
                role="leader" if self.leads else "follower",
                term=log.term,
                leader=log.leader,
                leader_address=log.addresses.get(log.leader, ""),
                counters={"appends": self.appends},
            )
        )

    def _transfer(self, request: Request) -> None:
        message = cast("client.TransferLeader", request.message)
        if not self._refused(request):
            self.log.leader = message.target or "n2"
            self.log.term += 1
            request.reply(client.TransferStarted())

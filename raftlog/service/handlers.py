"""Requests of ``client.proto`` become use-cases, and outcomes become replies.

One handler for each method, called by whichever transport received the request.
Nothing is decided here: a handler reads the message, starts the use-case, and
gives it a callback that answers.
"""

from collections.abc import Callable, Mapping
from typing import Final, cast

import msgspec

from raftlog.base.errors import BadRequest, RaftlogError
from raftlog.base.ids import Index, NodeId, Offset, ShardId
from raftlog.service.append import AppendReceipt, AppendService
from raftlog.service.ports import ClientRequest
from raftlog.service.read import ReadRequest, ReadResult, ReadService
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

Handler = Callable[[ClientRequest], None]


class ShardService(msgspec.Struct, frozen=True):
    """The use-cases of one shard, and what its acknowledgements mean."""

    append: AppendService
    read: ReadService
    status: Callable[[], client.NodeStatus]
    transfer: Callable[[NodeId | None], None]
    durability: str = "fsync"


class ClientHandlers:
    """The handlers of a node, by method."""

    def __init__(self, shards: Mapping[ShardId, ShardService]) -> None:
        self._shards = shards
        self.by_method: Final[Mapping[int, Handler]] = {
            Method.APPEND: self._append,
            Method.READ: self._read,
            Method.END_OFFSET: self._end_offset,
            Method.STATUS: self._status,
            Method.TRANSFER: self._transfer,
        }

    def _shard(self, request: ClientRequest) -> ShardService | None:
        shard = self._shards.get(request.shard)
        if shard is None:
            request.fail(BadRequest(f"shard {request.shard} is not on this node"))
        return shard

    def _append(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is None:
            return
        durability = shard.durability

        def answer(outcome: AppendReceipt | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                request.fail(outcome)
                return
            request.reply(
                client.BatchAppended(
                    base_offset=outcome.base_offset,
                    term=outcome.term,
                    index=outcome.index,
                    durability=durability,
                )
            )

        message = cast("client.AppendBatch", request.message)
        shard.append.append(message.queue, request.payload, answer)

    def _read(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is None:
            return

        def answer(outcome: ReadResult | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                request.fail(outcome)
                return
            request.reply(
                client.BatchesRead(
                    base_offsets=outcome.base_offsets,
                    lengths=map(len, outcome.batches),
                    end_offset=outcome.end_offset,
                    applied=outcome.applied,
                ),
                outcome.batches,
            )

        message = cast("client.ReadBatches", request.message)
        reading = shard.read.read(
            ReadRequest(
                queue=message.queue,
                offset=Offset(message.offset),
                bytes_max=message.bytes_max,
                wait_ns=message.wait_ms * 1_000_000,
                session_applied=Index(message.session_applied),
            ),
            answer,
        )
        request.on_cancelled = reading.cancel

    def _end_offset(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is None:
            return

        def answer(outcome: Offset | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                request.fail(outcome)
            else:
                request.reply(client.EndOffsetIs(end_offset=outcome))

        message = cast("client.EndOffset", request.message)
        shard.read.end_offset(message.queue, answer)

    def _status(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is not None:
            request.reply(shard.status())

    def _transfer(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is None:
            return
        message = cast("client.TransferLeader", request.message)
        shard.transfer(NodeId(message.target) if message.target else None)
        request.reply(client.TransferStarted())

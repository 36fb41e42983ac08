"""One rpc as the handlers see it, and what is different from a frame: the payload.

A frame has the record batches beside its message; gRPC has only the message,
so they lie in the ``batch`` of ``AppendBatch``, ``AppendDelayed`` and ``StageBatch``, in the
``batches`` of ``StageHalves``, ``BatchesRead``, ``MessagesReceived`` and ``ChecksDue``. They are
taken out before a handler sees the request and put in after it has answered.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import ShardId
from raftlog.wire.schema import client, delays, leases, search, transactions

Answer = tuple[Message, Sequence[Buffer]]
"""A reply and its payload, as a handler gave them."""


class Call:
    """One request, to be answered once (``service.ports.ClientRequest``). Bound to its loop.

    Attributes:
        method: What is asked, as frames number it.
        shard: Of which shard.
        message: The request without its payload.
        payload: The bytes that a frame would have beside the message.
        on_cancelled: Called once if the answer is not wanted any more. Forgotten with the answer.
    """

    __slots__ = ("_answer", "_on_cancelled", "message", "method", "payload", "shard")

    def __init__(self, method: int, shard: ShardId, message: Message, payload: Buffer) -> None:
        self.method: Final = method
        self.shard = shard
        self.message = message
        self.payload = payload
        self._on_cancelled: Callable[[], None] | None = None
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def on_cancelled(self) -> Callable[[], None] | None:
        """Whom to tell that the answer is not wanted any more."""
        return self._on_cancelled

    @on_cancelled.setter
    def on_cancelled(self, call: Callable[[], None] | None) -> None:
        if not self._answer.done():
            self._on_cancelled = call

    def again(self) -> "Call":
        """Return the same request, to be asked elsewhere."""
        return Call(self.method, self.shard, self.message, self.payload)

    def reply(self, message: Message, payload: Sequence[Buffer] = ()) -> None:
        """Answer; the buffers must not change any more. Dropped if nobody waits."""
        if not self._answer.done():
            self._on_cancelled = None
            self._answer.set_result((message, payload))

    def fail(self, error: RaftlogError) -> None:
        """Answer that it failed. Dropped if nobody waits."""
        if not self._answer.done():
            self._on_cancelled = None
            self._answer.set_exception(error)

    def end(self, error: RaftlogError) -> None:
        """Have whatever works on it stop; whoever waits gets ``error``."""
        if not self._answer.done():
            on_cancelled = self._on_cancelled
            self.fail(error)
            self._stop(on_cancelled)

    async def answer(self) -> Answer:
        """Wait for the answer. Being cancelled cancels the request.

        Raises:
            RaftlogError: It failed.
        """
        try:
            return await self._answer
        except asyncio.CancelledError:
            self._answer.cancel()
            self._stop(self._on_cancelled)
            raise

    def _stop(self, on_cancelled: Callable[[], None] | None) -> None:
        self._on_cancelled = None
        if on_cancelled is not None:
            on_cancelled()


def take_payload(message: Message) -> Buffer:
    """Take out of a request what a frame has beside it."""
    if isinstance(message, transactions.StageHalves | transactions.CommitTransaction):
        rows: Iterable[transactions.Half | transactions.TransactionPart] = (
            message.halves if isinstance(message, transactions.StageHalves) else message.parts
        )
        for row, each in zip(rows, message.batches, strict=False):
            row.length = len(each)
        whole = b"".join(message.batches)
        message.ClearField("batches")
        return whole
    if not isinstance(
        message, client.AppendBatch | delays.AppendDelayed | transactions.StageBatch
    ):
        return b""
    batch = message.batch
    message.ClearField("batch")
    return batch


def put_payload(message: Message, payload: Sequence[Buffer]) -> None:
    """Put into a reply what a frame has beside it."""
    if isinstance(message, client.BatchesRead):
        message.batches.extend(_cut(payload, message.lengths))
    elif isinstance(message, transactions.ChecksDue):
        message.batches.extend(_cut(payload, [check.length for check in message.checks]))
    elif isinstance(message, leases.MessagesReceived):
        message.batches.extend(_cut(payload, [each.length for each in message.leased]))
    elif isinstance(message, search.MessageTraced | search.HiddenTraced):
        message.batch = b"".join(payload)
    else:
        assert not payload, f"a {type(message).__name__} has no room for a payload"


def _cut(payload: Sequence[Buffer], lengths: Sequence[int]) -> list[bytes]:
    """Return the batches, whether or not each is a buffer of its own."""
    if [len(part) for part in payload] == list(lengths):
        return [bytes(part) for part in payload]
    whole = memoryview(b"".join(payload))
    assert len(whole) == sum(lengths), f"{len(whole)} bytes for batches of {sum(lengths)}"
    batches = []
    start = 0
    for length in lengths:
        batches.append(bytes(whole[start : start + length]))
        start += length
    return batches

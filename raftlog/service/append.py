"""Append a record batch: check it once, propose it, answer by callback.

The batch is opaque: its header and checksum are read here, before anything is
appended, and its payload by nobody until a consumer has it. A batch that is
refused here never happened. What the caller is told afterwards is what the
proposal is told (ruling 22): the receipt, a definite refusal, or
``OutcomeUnknown``.

There is no task and no future per request: a batch costs one callback.
"""

from collections.abc import Callable

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError, RecordTooLarge, WrongQueue
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.commands import CommandType
from raftlog.broker.queues import QUEUE_ZERO
from raftlog.broker.refusals import CommandRefused
from raftlog.service.ports import ShardReplica
from raftlog.wire.batch import parse_batch_header

APPEND_BATCH = int(CommandType.APPEND_BATCH)


class AppendReceipt(msgspec.Struct, frozen=True, gc=False):
    """Where a batch is, and that it is durable on a majority."""

    base_offset: Offset
    count: int
    term: Term
    index: Index


OnReceipt = Callable[[AppendReceipt | RaftlogError], None]
"""Called exactly once for each append, on the loop."""


class AppendService:
    """Appends to the queues of one shard."""

    def __init__(self, replica: ShardReplica) -> None:
        self._replica = replica
        self.batches = 0
        self.refused = 0

    def append(self, queue: int, batch: Buffer, reply: OnReceipt) -> None:
        """Append ``batch`` to ``queue``. ``batch`` stays unchanged until the reply.

        ``reply`` gets ``RecordTooLarge``, ``BadBatch`` or ``WrongQueue`` before
        anything is appended, later what became of the proposal. Nothing here
        times out: whoever stops waiting does not know the outcome.
        """
        error = self._check(queue, batch)
        if error is not None:
            self.refused += 1
            reply(error)
            return
        self.batches += 1

        def on_outcome(outcome: object, term: Term, index: Index) -> None:
            reply(_answer(outcome, term, index))

        self._replica.propose(APPEND_BATCH, append_parts(queue, batch), on_outcome)

    def _check(self, queue: int, batch: Buffer) -> RaftlogError | None:
        if queue != QUEUE_ZERO:
            return WrongQueue(f"there is no queue {queue}; queue 0 is the only one yet")
        if len(batch) > BATCH_BYTES_MAX:
            return RecordTooLarge(len(batch), BATCH_BYTES_MAX)
        try:
            parse_batch_header(batch)
        except RaftlogError as error:
            return error
        return None


def _answer(outcome: object, term: Term, index: Index) -> AppendReceipt | RaftlogError:
    match outcome:
        case Appended(base_offset, count, term, index):
            return AppendReceipt(base_offset, count, term, index)
        case CommandRefused():
            return outcome.error
        case RaftlogError():
            return outcome
        case _:
            raise AssertionError(f"append at {index} has the outcome {outcome!r}")

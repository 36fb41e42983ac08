"""Produce: check a record batch once, propose it, answer by callback.

The batch is opaque: its header and checksum are read here, before anything is
appended, and its payload by nobody until a consumer has it. A batch that is
refused here never happened. What the caller is told afterwards is what the
proposal is told (ruling 22): the receipt, a definite refusal, or
``OutcomeUnknown``.

Whether it is a duplicate, out of order, or of a producer that was fenced, apply
alone decides (rulings 9 and 10); queue and topic are looked at here only so
that a useless batch does not travel through the log, and again in apply.

There is no task and no future per request: a batch costs one callback.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import NotPermitted, RaftlogError, RecordTooLarge, WrongQueue
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.commands import CommandType
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queues import Queue
from raftlog.broker.refusals import CommandRefused
from raftlog.service.ports import ShardReplica
from raftlog.service.refusing import disk_full
from raftlog.wire.batch import ANONYMOUS
from raftlog.wire.batch_header import parse_stored_header

APPEND_BATCH: Final = int(CommandType.APPEND_BATCH)

OnReceipt = Callable[[Appended | RaftlogError], None]
"""Called exactly once for each append, on the loop: where the batch is, durable on a majority
(of a duplicate: where the first one is), or what became of it instead."""


class ProduceService:
    """Appends to the queues of one shard."""

    def __init__(self, replica: ShardReplica, machine: BrokerMachine) -> None:
        self._replica = replica
        self._machine = machine
        self.batches = 0
        self.duplicates = 0
        self.refused = 0

    def append(self, queue: int, batch: Buffer, reply: OnReceipt) -> None:
        """Append ``batch`` to ``queue``. ``batch`` stays unchanged until the reply.

        ``reply`` gets ``RecordTooLarge``, ``BadBatch``, ``WrongQueue``, ``NotPermitted``
        or ``DiskFull`` before anything is appended, later what became of the
        proposal. Nothing here times out: whoever stops waiting does not know
        the outcome.
        """
        found = self._machine.queues.get(queue)
        if found is None:
            self._look_again(queue, batch, reply)
            return
        if self._replica.disk_level is DiskLevel.FULL:
            self._refuse(disk_full("records"), reply)
            return
        error = check_batch(batch, found)
        if error is not None:
            self._refuse(error, reply)
            return
        self.batches += 1

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if type(outcome) is Appended:
                if outcome.duplicate:
                    self.duplicates += 1
                reply(outcome)
            elif isinstance(outcome, CommandRefused):
                self._refuse(outcome.error, reply)
            else:
                assert isinstance(outcome, RaftlogError), f"an append has the outcome {outcome!r}"
                reply(outcome)

        self._replica.propose(APPEND_BATCH, append_parts(queue, batch), on_outcome)

    def _look_again(self, queue: int, batch: Buffer, reply: OnReceipt) -> None:
        """Say that there is no such queue only when that is certain.

        A leader that was elected just now has not applied everything that is
        committed: n1 creates a topic and dies, the first batch for it comes to
        n2 before n2 has applied the creation.
        """

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                self._refuse(error, reply)
            elif self._machine.queues.get(queue) is None:
                self._refuse(WrongQueue(f"there is no queue {queue}"), reply)
            else:
                self.append(queue, batch, reply)

        self._replica.read_index(ready)

    def _refuse(self, error: RaftlogError, reply: OnReceipt) -> None:
        self.refused += 1
        reply(error)


def check_batch(batch: Buffer, queue: Queue) -> RaftlogError | None:
    """Return why a batch can't be appended to a queue, whatever apply would say of it."""
    if len(batch) > BATCH_BYTES_MAX:
        return RecordTooLarge(len(batch), BATCH_BYTES_MAX)
    try:
        header = parse_stored_header(batch)
    except RaftlogError as error:
        return error
    # A producer's batch may be one that was stored before the topic was closed: only apply knows.
    if not queue.writable and header.producer is ANONYMOUS:
        return NotPermitted(f"topic {queue.topic!r} is not writable by its settings")
    return None

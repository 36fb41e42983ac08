"""Atomic transactions: checked, proposed as one command, answered with its outcome."""

from collections.abc import Sequence
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, RaftlogError, Refused, TransactionTooLarge
from raftlog.base.ids import Index, Term
from raftlog.base.limits import TRANSACTION_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.atomic import AtomicCommitted, AtomicHead, atomic_parts
from raftlog.broker.commands import CommandType
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.refusals import CommandRefused
from raftlog.service.admission import Admission
from raftlog.service.ports import ShardReplica
from raftlog.service.produce import check_batch, is_with_id, look_again
from raftlog.service.proposing import Reply
from raftlog.service.refusing import disk_full
from raftlog.wire.batch import ANONYMOUS


class AtomicService:
    """The atomic transactions of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission | None
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._admission: Final = admission

    def commit(
        self, head: AtomicHead, batches: Buffer, reply: Reply[AtomicCommitted], client: str = ""
    ) -> None:
        """Commit all of it, or nothing. ``batches`` stays unchanged until the reply.

        ``reply`` gets ``TransactionTooLarge``, ``BadBatch``, ``WrongQueue``, ``NotPermitted``,
        ``QuotaExceeded`` or ``DiskFull`` before anything is appended; later what became of it.
        """
        if len(batches) > TRANSACTION_BYTES_MAX:
            text = f"a transaction of {len(batches)} bytes; {TRANSACTION_BYTES_MAX} at most"
            reply(TransactionTooLarge(text))
            return
        for queue, _ in head.parts:
            if self._machine.queues.get(queue) is None:
                look_again(
                    *(self._replica, self._machine, queue),
                    lambda: self.commit(head, batches, reply, client),
                    reply,
                )
                return
        try:
            parts = atomic_parts(head, batches)
            self._check(head.parts, memoryview(batches), client)
        except RaftlogError as error:
            reply(error)
            return

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if isinstance(outcome, CommandRefused):
                reply(outcome.error)
            else:
                assert isinstance(outcome, AtomicCommitted | RaftlogError), f"{outcome!r}"
                reply(outcome)

        self._replica.propose(CommandType.COMMIT_TRANSACTION, parts, on_outcome)

    def _check(self, parts: Sequence[tuple[int, int]], batches: memoryview, client: str) -> None:
        if parts and self._replica.disk_level is DiskLevel.FULL:
            raise disk_full("records")
        start = 0
        for queue, length in parts:
            row = self._machine.queues.get(queue)
            assert row is not None, "it was looked for"
            batch = batches[start : start + length]
            start += length
            header = check_batch(batch, row)
            if isinstance(header, Refused):
                raise header
            assert not isinstance(header, RaftlogError), f"{header!r} of a batch"
            if header.producer is ANONYMOUS:
                raise BadBatch(f"the batch for queue {queue} has no producer")
            if is_with_id(batch, header):
                raise BadBatch(f"the batch for queue {queue} has a business id")
            if self._admission is not None:
                error = self._admission.refusal(client, row.topic, header.length, header.count)
                if error is not None:
                    raise error
        if start != len(batches):
            raise BadBatch("the lengths of the parts are not those of the batches")

"""Atomic transactions: checked as sends are, proposed as one command, answered by callback.

What can be said without the log is said here, before anything is appended: a batch that is
none, a transaction that is too large, a quota. Whether queues, claims and leases are as the
transaction needs them, and whether it was stored before, apply alone decides: a copy of one
that was stored gets its answer whatever has become of its topics since (ruling 22).
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadRequest, RaftlogError, Refused, TransactionTooLarge
from raftlog.base.limits import TRANSACTION_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.atomic_commands import (
    TransactionCommitted,
    TransactionHead,
    transaction_parts,
)
from raftlog.broker.claims import at_level
from raftlog.broker.commands import CommandType
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.staging import BatchStaged, check_staged_level, stage_command
from raftlog.service.admission import Admission
from raftlog.service.ports import ShardReplica
from raftlog.service.produce import is_with_id, read_batch
from raftlog.service.proposing import Reply, propose_parts, when_settled
from raftlog.service.refusing import disk_full
from raftlog.wire.batch import ANONYMOUS

BatchLoad = tuple[str, int, int]
"""Topic, bytes and records of a batch: what quotas measure."""


class AtomicService:
    """Commits the atomic transactions of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission | None = None
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._admission: Final = admission

    def commit(
        self,
        make: Callable[[], TransactionHead],
        batches: Sequence[Buffer],
        reply: Reply[TransactionCommitted],
        client: str = "",
    ) -> None:
        """Commit what ``make`` returns, with its batches, which stay unchanged until the reply.

        ``reply`` gets ``TransactionTooLarge``, ``RecordTooLarge``, ``BadBatch``, ``BadRequest``,
        ``QuotaExceeded`` or ``DiskFull`` (if it has batches) before anything is appended, later
        what became of it.
        """
        when_settled(self._replica, lambda: self._commit(make, batches, reply, client), reply)

    def _commit(
        self,
        make: Callable[[], TransactionHead],
        batches: Sequence[Buffer],
        reply: Reply[TransactionCommitted],
        client: str,
    ) -> None:
        try:
            head = self._made(make)
            loads = self._loads(head, batches)
            parts = transaction_parts(head, batches)
            _check_size(
                sum(map(len, parts[:2])), "its offsets, acknowledgements and staged batches' names"
            )
        except Refused as error:
            reply(error)
            return
        # What stores nothing is taken on full disks, as commits and acknowledgements of their own
        # are: they are what lets retention make room.
        if batches and self._replica.disk_level is DiskLevel.FULL:
            reply(disk_full("records"))
            return
        if self._admission is not None and self._admission.is_needed:
            excess = self._admission.refusal_of_all(client, loads)
            if excess is not None:
                reply(excess)
                return
        command = (CommandType.COMMIT_TRANSACTION, parts)
        propose_parts(self._replica, command, TransactionCommitted, reply)

    def stage(
        self, queue: int, batch: Buffer, reply: Reply[BatchStaged], client: str = ""
    ) -> None:
        """Stage a batch of a transaction that is too large; it stays unchanged until the reply.

        ``reply`` gets ``TransactionTooLarge`` below ``STAGED_LEVEL``, or what a send of the batch
        gets, before anything is appended; later what became of it.
        """
        when_settled(self._replica, lambda: self._stage(queue, batch, reply, client), reply)

    def _stage(self, queue: int, batch: Buffer, reply: Reply[BatchStaged], client: str) -> None:
        try:
            check_staged_level(self._machine.feature_level)
            load = self._load(queue, batch)
        except Refused as error:
            reply(error)
            return
        if self._replica.disk_level is DiskLevel.FULL:
            reply(disk_full("records"))
            return
        if self._admission is not None and self._admission.is_needed:
            excess = self._admission.refusal(client, *load)
            if excess is not None:
                reply(excess)
                return
        command = stage_command(queue, batch)
        propose_parts(self._replica, (command.type, command.parts), BatchStaged, reply)

    def _made(self, make: Callable[[], TransactionHead]) -> TransactionHead:
        level, head = self._machine.feature_level, make()
        if head.staged:
            check_staged_level(level)
        offsets = tuple(at_level(level, each) for each in head.offsets)
        return head if offsets == head.offsets else msgspec.structs.replace(head, offsets=offsets)

    def _loads(self, head: TransactionHead, batches: Sequence[Buffer]) -> list[BatchLoad]:
        """Return what each batch is to quotas; raise if one can't be a part at all."""
        _check_size(sum(map(len, batches)), "its batches")
        return [
            self._load(number, batch)
            for (number, _), batch in zip(head.parts, batches, strict=True)
        ]

    def _load(self, number: int, batch: Buffer) -> BatchLoad:
        header = read_batch(batch)
        if isinstance(header, RaftlogError):
            raise header
        if header.producer is ANONYMOUS:
            raise BadBatch("a batch of a transaction has a producer, which knows it again")
        if is_with_id(batch, header):
            raise BadRequest("a message of a transaction has no business id; leave one out")
        queue = self._machine.queues.get(number)
        topic = "" if queue is None else queue.topic  # which apply refuses, or knows
        return topic, header.length, header.count


def _check_size(size: int, what: str) -> None:
    if size > TRANSACTION_BYTES_MAX:
        raise TransactionTooLarge(
            f"{what} have {size:,} bytes; {TRANSACTION_BYTES_MAX:,} may be in a transaction"
        )

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

from collections import Counter
from collections.abc import Callable
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    NotPermitted,
    RaftlogError,
    RecordTooLarge,
    Throttled,
)
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.commands import CommandType
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.message_types import MessageTypes
from raftlog.broker.queues import Queue
from raftlog.broker.refusals import CommandRefused
from raftlog.service.admission import Admission
from raftlog.service.ports import ShardReplica
from raftlog.service.read import no_queue
from raftlog.service.refusing import disk_full
from raftlog.wire.batch import ANONYMOUS
from raftlog.wire.batch_header import BatchHeader, parse_stored_header, table_of
from raftlog.wire.record_table import has_id

APPEND_BATCH: Final = int(CommandType.APPEND_BATCH)
APPEND_ONCE: Final = int(CommandType.APPEND_ONCE)

OnReceipt = Callable[[Appended | RaftlogError], None]
"""Called exactly once for each append, on the loop: where the batch is, durable on a majority
(of a duplicate: where the first one is), or what became of it instead."""


class ProduceService:
    """Appends to the queues of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission | None = None
    ) -> None:
        """``admission``: measures what is sent against the quotas; None: nobody does."""
        self._replica = replica
        self._machine = machine
        self._admission: Final = admission
        self.batches = 0
        self.duplicates = 0
        self.refused = 0
        self.hindered: Final[Counter[str]] = Counter()
        """Refusals that only ask to come later, by the code that says why."""

    def append(self, queue: int, batch: Buffer, reply: OnReceipt, client: str = "") -> None:
        """Append ``batch`` of ``client`` to ``queue``. ``batch`` stays unchanged until the reply.

        ``reply`` gets ``RecordTooLarge``, ``BadBatch``, ``WrongQueue``, ``NotPermitted``,
        ``WrongMessageType``, ``QuotaExceeded`` or ``DiskFull`` before anything is appended,
        later what became of the proposal. Nothing here times out: whoever stops waiting does
        not know the outcome.
        """
        found = self._machine.queues.get(queue)
        if found is None:
            look_again(
                *(self._replica, self._machine, queue),
                lambda: self.append(queue, batch, reply, client),
                lambda error: self._refuse(error, reply),
            )
            return
        if self._replica.disk_level is DiskLevel.FULL:
            self._refuse(disk_full("records"), reply)
            return
        header = check_batch(batch, found)
        if isinstance(header, RaftlogError):
            self._refuse(header, reply)
            return
        types = self._machine.types
        error = refused_type(types, found, batch, header) if types.masks else None
        if error is None and self.has_quotas:
            error = self._excess(found.topic, client, header)
        if error is not None:
            self._refuse(error, reply)
            return
        kind = APPEND_ONCE if is_with_id(batch, header) else APPEND_BATCH
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
                if isinstance(outcome, Throttled):
                    self.hindered[outcome.code] += 1
                reply(outcome)

        self._replica.propose(kind, append_parts(queue, batch), on_outcome)

    @property
    def has_quotas(self) -> bool:
        """Whether it matters who sends: asked for every batch."""
        admission = self._admission
        return admission is not None and admission.is_needed

    def _excess(self, topic: str, client: str, header: BatchHeader) -> RaftlogError | None:
        assert self._admission is not None, "quotas that nobody measures"
        return self._admission.refusal(client, topic, header.length, header.count)

    def _refuse(self, error: RaftlogError, reply: OnReceipt) -> None:
        self.refused += 1
        if isinstance(error, Throttled):
            self.hindered[error.code] += 1
        reply(error)


def look_again(
    replica: ShardReplica,
    machine: BrokerMachine,
    queue: int,
    again: Callable[[], None],
    refuse: Callable[[RaftlogError], None],
) -> None:
    """Say that there is no such queue only when that is certain; else do it ``again``.

    A leader that was elected just now has not applied everything that is
    committed: n1 creates a topic and dies, the first batch for it comes to
    n2 before n2 has applied the creation.
    """

    def ready(error: RaftlogError | None) -> None:
        if error is not None:
            refuse(error)
        elif machine.queues.get(queue) is None:
            refuse(no_queue(queue))
        else:
            again()

    replica.read_index(ready)


def check_batch(batch: Buffer, queue: Queue) -> BatchHeader | RaftlogError:
    """Return a batch's header, or why it can't be appended, whatever apply would say of it."""
    header = read_batch(batch)
    if isinstance(header, RaftlogError):
        return header
    # What was stored before the topic was closed is told so: of a producer, or by its id, only
    # apply knows it.
    if not queue.writable and header.producer is ANONYMOUS and not is_with_id(batch, header):
        return NotPermitted(f"topic {queue.topic!r} is not writable by its settings")
    return header


def refused_type(
    types: MessageTypes, queue: Queue, batch: Buffer, header: BatchHeader
) -> RaftlogError | None:
    """Return why a queue does not take a batch, as apply is certain to say; None: it may."""
    if header.producer is not ANONYMOUS or is_with_id(batch, header):
        return None
    return types.refusal(queue, batch, (0, header.length, header.count))


def read_batch(batch: Buffer) -> BatchHeader | RaftlogError:
    """Return a batch's header, or why no queue takes it; its checksum is looked at here."""
    if len(batch) > BATCH_BYTES_MAX:
        return RecordTooLarge(len(batch), BATCH_BYTES_MAX)
    try:
        return parse_stored_header(batch)
    except RaftlogError as error:
        return error


def is_with_id(batch: Buffer, header: BatchHeader) -> bool:
    """Whether the batch is a record with a business id."""
    length = header.table_length
    return length > 0 and has_id(table_of(batch, length))

"""Delayed batches: append one, cancel one, list those that are pending.

As with any append: the batch is checked once, before it is proposed, and what the
caller is told is what the proposal is told (ruling 22). When it becomes visible is
apply's business, and the leader's that time passes (``service.passing_time``).
"""

from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadDelay, BadRequest, RaftlogError
from raftlog.base.ids import Index, Term
from raftlog.base.message_types import MessageType
from raftlog.base.space import DiskLevel
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import (
    CancelDelayed,
    CancelEnded,
    Delay,
    Delayed,
    check_delay,
    delayed_parts,
)
from raftlog.broker.hidden import Holder
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.refusals import CommandRefused
from raftlog.service.admission import Admission
from raftlog.service.ports import ShardReplica
from raftlog.service.produce import check_batch, is_with_id, look_again
from raftlog.service.proposing import Reply, look, propose
from raftlog.service.read import no_queue
from raftlog.service.refusing import disk_full
from raftlog.wire.batch_header import ANONYMOUS, BatchHeader

PAGE_MAX: Final = 10_000
LOOKED_AT_MAX: Final = 20_000
"""Hidden batches that one page looks at; others than timers may hold some."""


class PendingBatch(msgspec.Struct, frozen=True, gc=False):
    """A delayed batch that is not visible yet."""

    id: int
    due_ms: int
    records: int
    bytes: int


class PendingPage(msgspec.Struct, frozen=True):
    """Some of them, in the order in which they were stored, and whether there are more."""

    batches: list[PendingBatch]
    more: bool


class DelayService:
    """The delayed batches of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission | None = None
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._admission: Final = admission

    def append(
        self, queue: int, delay: Delay, batch: Buffer, reply: Reply[Delayed], client: str = ""
    ) -> None:
        """Append ``batch`` of ``client`` to ``queue``, to be visible later.

        It stays unchanged until the reply, which gets what ``ProduceService.append`` gives, or
        ``BadDelay``.
        """
        found = self._machine.queues.get(queue)
        if found is None:
            look_again(
                *(self._replica, self._machine, queue),
                lambda: self.append(queue, delay, batch, reply, client),
                reply,
            )
            return
        if self._replica.disk_level is DiskLevel.FULL:
            reply(disk_full("records"))
            return
        header = check_batch(batch, found)
        if isinstance(header, RaftlogError):
            reply(header)
            return
        error = _refusal(delay) or _refusal_of_id(batch, header)
        if error is None and header.producer is ANONYMOUS:  # else it may be a copy
            error = self._machine.types.refusal_of(found, MessageType.DELAYED)
        if error is None and self._admission is not None:
            error = self._admission.refusal(client, found.topic, header.length, header.count)
        if error is not None:
            reply(error)
            return

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if isinstance(outcome, CommandRefused):
                reply(outcome.error)
            else:
                assert isinstance(outcome, Delayed | RaftlogError), f"{outcome!r} of an append"
                reply(outcome)

        parts = delayed_parts(queue, delay, batch)
        self._replica.propose(CommandType.APPEND_DELAYED, parts, on_outcome)

    def cancel(self, queue: int, id_: int, due_ms: int, reply: Reply[CancelEnded]) -> None:
        """Cancel a delayed batch by its handle."""
        propose(self._replica, lambda: CancelDelayed(queue, id_, due_ms), CancelEnded, reply)

    def pending(self, queue: int, after: int, count: int, reply: Reply[PendingPage]) -> None:
        """Tell the delayed batches of a queue behind the id ``after``; linearizable."""

        def answer() -> PendingPage | RaftlogError:
            if self._machine.queues.get(queue) is None:
                return no_queue(queue)
            return self._page(queue, after, min(count or PAGE_MAX, PAGE_MAX))

        look(self._replica, answer, reply)

    def _page(self, queue: int, after: int, count: int) -> PendingPage:
        found: list[PendingBatch] = []
        for looked_at, row in enumerate(self._machine.hidden.of_queue(queue, after)):
            if len(found) == count or (found and looked_at >= LOOKED_AT_MAX):
                return PendingPage(found, more=True)
            if row.holder == Holder.TIMER:
                found.append(PendingBatch(row.id, row.held, row.count, row.length))
        return PendingPage(found, more=False)


def _refusal_of_id(batch: Buffer, header: BatchHeader) -> RaftlogError | None:
    """A window is of what is visible: whoever delays a record with an id would be misled."""
    if is_with_id(batch, header):
        return BadRequest("a delayed record has no business id; leave one of the two out")
    return None


def _refusal(delay: Delay) -> RaftlogError | None:
    """Return why a delay is refused whatever the log time: it need not travel through the log."""
    if delay.ms < 0:
        if delay.relative:
            return BadDelay(f"a delay of {delay.ms} ms; it is 0 or more")
        return BadDelay(f"a delivery {delay.ms} ms before 1970; it is a time since then")
    if delay.relative:
        try:
            check_delay(delay, 0)
        except BadDelay as error:
            return error
    elif delay.ms >= 1 << 63:
        return BadDelay("a delivery in the far future; it may be 40 days from now")
    return None

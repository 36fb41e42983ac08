"""Requests of ``delays.proto``."""

from typing import cast

from raftlog.broker.delays import CancelEnded, Delay, Delayed
from raftlog.service.answers import answer_with, that_fit
from raftlog.service.delays import DelayService, PendingPage
from raftlog.service.ports import ClientRequest
from raftlog.wire.schema import delays


def append(service: DelayService, durability: str, request: ClientRequest) -> None:
    """Append the batch that is the request's payload, to be visible later."""

    def delayed(outcome: Delayed) -> delays.BatchDelayed:
        return delays.BatchDelayed(
            id=outcome.id,
            due_ms=outcome.due_ms,
            term=outcome.term,
            index=outcome.index,
            durability=durability,
            duplicate=outcome.duplicate,
        )

    message = cast("delays.AppendDelayed", request.message)
    absolute = message.HasField("deliver_at_ms")
    delay = Delay(message.deliver_at_ms if absolute else message.delay_ms, relative=not absolute)
    answer = answer_with(request, delayed)
    service.append(message.queue, delay, request.payload, answer, message.client)


def cancel(service: DelayService, request: ClientRequest) -> None:
    """Cancel a delayed batch."""

    def cancelled(outcome: CancelEnded) -> delays.DelayedCancelled:
        how = cast("delays.Cancellation.ValueType", int(outcome.how))
        return delays.DelayedCancelled(how=how)

    message = cast("delays.CancelDelayed", request.message)
    service.cancel(message.queue, message.id, message.due_ms, answer_with(request, cancelled))


def list_(service: DelayService, request: ClientRequest) -> None:
    """Tell the delayed batches of a queue."""

    def listed(page: PendingPage) -> delays.DelayedListed:
        rows, cut = that_fit(
            delays.DelayedBatch(
                id=batch.id, due_ms=batch.due_ms, records=batch.records, bytes=batch.bytes
            )
            for batch in page.batches
        )
        return delays.DelayedListed(batches=rows, more=page.more or cut)

    message = cast("delays.ListDelayed", request.message)
    service.pending(
        *(message.queue, message.after, message.count_max), answer_with(request, listed)
    )

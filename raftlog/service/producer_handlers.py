"""Requests of ``producers.proto``."""

from typing import cast

from raftlog.broker.producers import ProducerBegun, ProducerFenced
from raftlog.service.answers import answer_with
from raftlog.service.ports import ClientRequest
from raftlog.service.producers import ProducerService
from raftlog.wire.schema import producers


def init(service: ProducerService, request: ClientRequest) -> None:
    """Draw a producer's id."""

    def begun(outcome: ProducerBegun) -> producers.ProducerBegun:
        return producers.ProducerBegun(producer=outcome.producer)

    service.init(answer_with(request, begun))


def fence(service: ProducerService, durability: str, request: ClientRequest) -> None:
    """Begin an epoch of a producer in a queue, and tell how far the one before had come."""

    def fenced(outcome: ProducerFenced) -> producers.ProducerFenced:
        return producers.ProducerFenced(
            next_sequence=outcome.next_sequence,
            remembered=[
                producers.RememberedBatch(
                    base_sequence=batch.base_sequence,
                    count=batch.count,
                    base_offset=batch.base_offset,
                    term=batch.term,
                    index=batch.index,
                    hidden_id=batch.hidden_id,
                    due_ms=batch.due_ms,
                )
                for batch in outcome.remembered
            ],
            durability=durability,
        )

    message = cast("producers.FenceProducer", request.message)
    service.fence(message.queue, message.producer, message.epoch, answer_with(request, fenced))

"""The request that commits an atomic transaction."""

from typing import cast

from raftlog.base.errors import BadRequest, RaftlogError
from raftlog.broker.atomic import AtomicCommitted, AtomicHead
from raftlog.broker.claims import CommitOffsets
from raftlog.broker.lease_commands import AckMessages
from raftlog.service.ports import ClientRequest
from raftlog.service.transactions import TransactionService
from raftlog.wire.schema import transactions


def commit(service: TransactionService, durability: str, request: ClientRequest) -> None:
    """Commit the batches that are the payload, the offsets and the acknowledgements."""
    message = cast("transactions.CommitTransaction", request.message)
    if sum(part.length for part in message.parts) != len(request.payload):
        request.fail(BadRequest("the lengths of the parts are not those of the payload"))
        return

    def committed(outcome: AtomicCommitted | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        request.reply(
            transactions.TransactionCommitted(
                parts=[
                    transactions.PartStored(queue=queue, base_offset=base, count=count)
                    for queue, base, count in outcome.parts
                ],
                term=outcome.term,
                index=outcome.index,
                duplicate=outcome.duplicate,
                durability=durability,
            )
        )

    try:
        head = _head(message)
    except RaftlogError as error:
        request.fail(error)
        return
    service.atomic.commit(head, request.payload, committed, message.client)


def _head(message: transactions.CommitTransaction) -> AtomicHead:
    return AtomicHead(
        tuple((part.queue, part.length) for part in message.parts),
        tuple(
            CommitOffsets(
                *(each.group, each.member, each.generation),
                tuple((row.queue, row.offset) for row in each.offsets),
                each.life,
            )
            for each in message.offsets
        ),
        tuple(
            AckMessages(
                each.group,
                tuple((row.handle, row.queue, tuple(row.offsets)) for row in each.messages),
            )
            for each in message.acks
        ),
    )

"""The part of an atomic transaction that goes before its commit, if it is too large for that.

Each staged batch has its place in the sequence of the transaction's producer, so it is asked for
until there is an answer, and staged once. Those of a queue are staged in order, one after the
other; the commit then names them. What is not named goes by time: who gives up says nothing.

While one of them is without an answer, nobody knows how far the producer has come. If that does
not end well, it is not used again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from raftlog.base.errors import BadRequest, OutcomeUnknown, TransactionTooLarge, Unavailable
from raftlog.base.limits import TRANSACTION_BYTES_MAX
from raftlog.client.asking import Asker
from raftlog.client.atomic_packing import ToSend
from raftlog.client.identities import Identity
from raftlog.wire.frame import Method
from raftlog.wire.schema import transactions

STAGING_AT_ONCE: Final = 4
"""Queues of one transaction that are staged at once."""


class Stager:
    """Stages what goes before one commit.

    Args:
        asker: Whom to ask.
        identity: The transaction's own.
        deadline: By the loop's time.
        codec: For the batches.
    """

    def __init__(self, asker: Asker, identity: Identity, deadline: float, codec: str) -> None:
        self._asker: Final = asker
        self._identity: Final = identity
        self._deadline: Final = deadline
        self._codec: Final = codec
        self._loop: Final = asyncio.get_running_loop()

    async def stage(self, batches: Sequence[ToSend]) -> list[transactions.StagedBatch]:
        """Stage what is to be staged of each queue; return the names for the commit.

        Raises:
            TransactionTooLarge: The cluster is not at the feature level for it yet.
            Retriable: Time is over. Nothing is visible, and nothing will be.
            RaftlogError: As a send of one of the batches is refused.
        """
        todo = [batch for batch in batches if batch.staged]
        if not todo:
            return []
        self._identity.is_good = False
        slots = asyncio.Semaphore(STAGING_AT_ONCE)
        tasks = [asyncio.ensure_future(self._stage_queue(batch, slots)) for batch in todo]
        try:
            names = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        self._identity.is_good = True
        return [each for of_queue in names for each in of_queue]

    async def _stage_queue(
        self, batch: ToSend, slots: asyncio.Semaphore
    ) -> list[transactions.StagedBatch]:
        names = []
        async with slots:
            for columns in batch.staged:
                data = self._identity.encode(batch.queue, columns, self._codec)
                staged = await self._ask(batch.queue, data)
                self._identity.row(batch.queue).next += len(columns.values)
                names.append(transactions.StagedBatch(queue=batch.queue, id=staged.id))
        return names

    async def _ask(self, queue: int, data: bytes) -> transactions.BatchStaged:
        try:
            staged, _ = await self._asker.ask(
                Method.TRANSACTION_STAGE,
                transactions.StageBatch(queue=queue, client=self._asker.client_id),
                transactions.BatchStaged,
                payload=[data],
                timeout_s=self._deadline - self._loop.time(),
                repeats=True,  # its sequence tells a copy
            )
        except OutcomeUnknown as error:
            raise Unavailable(f"nothing was committed: {error}") from error
        except BadRequest as error:  # whoever leads has a version that does not serve this
            raise TransactionTooLarge(
                f"a transaction of more than {TRANSACTION_BYTES_MAX:,} bytes can't be staged in "
                f"this cluster (yet): {error}"
            ) from error
        return staged

"""Sends delayed records, and keeps what each of them is cancelled by.

As with ``raftlog pub``, the first record that fails ends the sending: what was sent
before is awaited, what was not is not sent.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from raftlog.base.errors import BadFormat, BufferFull, Outcome, OutcomeUnknown, RaftlogError
from raftlog.cli.ndjson import Outgoing

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.later import DelayedReceipt
    from raftlog.client.producer import Producer

AT_ONCE: Final = 100
"""Records under way: each is answered by itself."""


class SendingLater:
    """One run of ``raftlog delayed send``.

    Attributes:
        topic: Where to.
        receipts: Of what is stored, in the order of the input.
        failed: Records that are definitely not stored.
        unknown: Records that may be stored.
        error: The failure that says most.
    """

    def __init__(
        self,
        topic: str,
        queue: int | None,
        when: tuple[timedelta | None, datetime | None],
        defaults: Outgoing,
    ) -> None:
        """Prepare.

        Args:
            topic: Where to.
            queue: Which of its queues; None: by key, else any.
            when: A delay from storing on, or a time; one of them is None.
            defaults: As of ``Sending``, but for the id: a delayed record has none.
        """
        self.topic: Final = topic
        self.receipts: Final[list[DelayedReceipt]] = []
        self.failed = 0
        self.unknown = 0
        self.error: RaftlogError | None = None
        self._queue: Final = queue
        self._delay, self._deliver_at = when
        self._defaults: Final = defaults

    def damage(self) -> str:
        """Say what is not, or perhaps not, stored."""
        parts = [f"{len(self.receipts):,} acknowledged"]
        if self.failed:
            parts.append(f"{self.failed:,} not stored")
        if self.unknown:
            parts.append(f"{self.unknown:,} of unknown outcome: each may be stored, or not")
        return f"{self.topic}: {', '.join(parts)}; the rest of the input was not sent"

    async def run(self, client: "Client", records: AsyncIterator[list[Outgoing]]) -> None:
        """Send all records; what the cluster refuses is in ``error``, not raised."""
        async with client.producer() as producer:
            try:
                async for some in records:
                    await self._send_all(producer, some)
                    if self.error is not None:
                        return
            except BadFormat as error:  # a line of the input
                self.error = error

    async def _send_all(self, producer: "Producer", records: Sequence[Outgoing]) -> None:
        for begin in range(0, len(records), AT_ONCE):
            if self.error is None:
                await self._send(producer, records[begin : begin + AT_ONCE])

    async def _send(self, producer: "Producer", some: Sequence[Outgoing]) -> None:
        under_way: list[asyncio.Future[DelayedReceipt]] = []
        for record in some:
            try:
                under_way.append(await self._post(producer, record.completed(self._defaults)))
            except RaftlogError as error:  # refused here already
                self._note(error)
                break
        for answer in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(answer, BaseException):
                self._note(answer)
            else:
                self.receipts.append(answer)

    async def _post(
        self, producer: "Producer", record: Outgoing
    ) -> "asyncio.Future[DelayedReceipt]":
        if record.id is not None:
            raise BadFormat(f"a delayed record has no id, and one of the input has {record.id!r}")
        while True:
            try:
                return producer.send_later(
                    self.topic,
                    record.value,
                    delay=self._delay,
                    deliver_at=self._deliver_at,
                    key=record.key,
                    headers=record.headers,
                    tag=record.tag,
                    queue=self._queue,
                )
            except BufferFull:
                await producer.ready()

    def _note(self, error: BaseException) -> None:
        """Count a failure; keep one of unknown outcome, else the first."""
        if not isinstance(error, RaftlogError):
            raise error
        if error.outcome is Outcome.UNKNOWN:
            self.unknown += 1
        else:
            self.failed += 1
        if self.error is None or isinstance(error, OutcomeUnknown):
            self.error = error

"""Sends records as fast as the cluster takes them, and counts what became of each.

The first record that fails ends the sending: what was sent before is awaited,
what was not is not sent. So "17 acknowledged" means the first 17 of the input,
as far as they went to one queue.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from raftlog.base.errors import BufferFull, Outcome, RaftlogError
from raftlog.cli.ndjson import Outgoing
from raftlog.cli.output import say

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.producer import Producer
    from raftlog.client.receipts import Receipt

TICK_S: Final = 0.25
SHOWN_QUEUES: Final = 4


class QueueCount(msgspec.Struct):
    """What was acknowledged in one queue."""

    queue: int
    count: int = 0
    first: int = 0
    last: int = 0


class Summary(msgspec.Struct):
    """What became of all records.

    Attributes:
        failed: Records that are definitely not stored.
        unknown: Records that may be stored.
        duplicates: Acknowledged records that were stored before, under the same id.
        error: The first failure.
    """

    topic: str
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    duplicates: int = 0
    durability: str = ""
    queues: dict[int, QueueCount] = {}
    error: RaftlogError | None = None

    def as_data(self) -> dict[str, object]:
        """Return what ``-o json`` prints."""
        return {
            "topic": self.topic,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "unknown": self.unknown,
            "duplicates": self.duplicates,
            "durability": self.durability,
            "queues": [self.queues[queue] for queue in sorted(self.queues)],
        }

    def words(self) -> str:
        """Return the sentence for a person."""
        if not self.acknowledged:
            return f"{self.topic}: the input has no record"
        if self.acknowledged == 1:
            (only,) = self.queues.values()
            known = ", stored before" if self.duplicates else ""
            return (
                f"{self.topic}: queue {only.queue}, offset {only.last} ({self.durability}){known}"
            )
        where = [
            f"{each.count:,} in queue {each.queue} (offsets {each.first} to {each.last})"
            for _, each in sorted(self.queues.items())
        ]
        more = f", and in {len(where) - SHOWN_QUEUES} queues more"
        shown = ", ".join(where[:SHOWN_QUEUES]) + more * (len(where) > SHOWN_QUEUES)
        known = f", {self.duplicates:,} stored before" if self.duplicates else ""
        count = f"{self.acknowledged:,} records acknowledged ({self.durability}){known}"
        return f"{self.topic}: {count}: {shown}"

    def damage(self) -> str:
        """Say what is not, or perhaps not, stored."""
        parts = [f"{self.acknowledged:,} acknowledged"]
        if self.failed:
            parts.append(f"{self.failed:,} not stored")
        if self.unknown:
            parts.append(f"{self.unknown:,} of unknown outcome: each may be stored, or not")
        return f"{self.topic}: {', '.join(parts)}; the rest of the input was not sent"


class Sending:
    """One run of ``raftlog pub``."""

    def __init__(self, topic: str, queue: int | None, defaults: Outgoing) -> None:
        """Prepare.

        Args:
            topic: Where to.
            queue: Which of its queues; None: by key, else any.
            defaults: Key and tag for records that have none, and headers for all that
                have none of that name.
        """
        self.summary: Final = Summary(topic, queues={})
        self._queue: Final = queue
        self._defaults: Final = defaults
        self._under_way: set[asyncio.Future[Receipt]] = set()

    async def run(self, client: "Client", records: AsyncIterator[list[Outgoing]]) -> Summary:
        """Send all records; what fails is in the summary, not raised.

        Cancelled (ctrl-C), it says how far it has come, and waits for nothing more.
        """
        progress = asyncio.ensure_future(self._show_progress())
        try:
            async with client.producer() as producer:
                try:
                    await self._post_all(producer, records)
                except RaftlogError as error:  # a line of the input
                    self._fail(error)
                if self._under_way:
                    await asyncio.wait(self._under_way)
        except asyncio.CancelledError:
            self.summary.unknown += len(self._under_way)
            say(self.summary.damage())
            raise
        finally:
            progress.cancel()
        return self.summary

    async def _post_all(
        self, producer: "Producer", records: AsyncIterator[list[Outgoing]]
    ) -> None:
        async for some in records:
            for record in some:
                await self._post(producer, record)
            if self.summary.error is not None:
                return
            await asyncio.sleep(0)  # lets what was posted be sent

    async def _post(self, producer: "Producer", record: Outgoing) -> None:
        record = record.completed(self._defaults)
        while self.summary.error is None:
            try:
                receipt = producer.post(
                    self.summary.topic,
                    record.value,
                    key=record.key,
                    headers=record.headers,
                    tag=record.tag,
                    id=record.id,
                    queue=self._queue,
                )
            except BufferFull:
                await producer.ready()
                continue
            self._under_way.add(receipt)
            receipt.add_done_callback(self._note)
            return

    def _note(self, receipt: "asyncio.Future[Receipt]") -> None:
        self._under_way.discard(receipt)
        summary = self.summary
        if receipt.cancelled():
            summary.unknown += 1
            return
        error = receipt.exception()
        if error is None:
            got = receipt.result()
            summary.acknowledged += 1
            summary.duplicates += got.duplicate
            summary.durability = got.durability
            queue = summary.queues.get(got.queue)
            if queue is None:
                queue = summary.queues[got.queue] = QueueCount(got.queue, 0, got.offset)
            queue.count += 1
            queue.last = got.offset
            return
        if not isinstance(error, RaftlogError):
            raise error
        if error.outcome is Outcome.UNKNOWN:
            summary.unknown += 1
        else:
            summary.failed += 1
        self._fail(error)

    def _fail(self, error: RaftlogError) -> None:
        """Keep the failure that says most: one of unknown outcome, else the first."""
        known = self.summary.error
        if known is None or (
            error.outcome is Outcome.UNKNOWN and known.outcome is not Outcome.UNKNOWN
        ):
            self.summary.error = error

    async def _show_progress(self) -> None:
        """Show how far it is, to a person who looks."""
        if not sys.stderr.isatty():
            return
        began = time.monotonic()
        try:
            while True:
                await asyncio.sleep(TICK_S)
                done = self.summary.acknowledged
                rate = done / (time.monotonic() - began)
                sys.stderr.write(f"\r{done:,} acknowledged, {rate:,.0f}/s \x1b[K")
                sys.stderr.flush()
        finally:
            sys.stderr.write("\r\x1b[K")

"""Writes a corpus into the log, through leaders that are killed meanwhile.

There is no idempotent producer yet. Each batch carries (producer id, base
sequence) in its header, and the sender goes back to the first batch that is not
settled whenever one failed or its outcome is unknown (``bench.window``).
"""

import asyncio
import time
from collections.abc import Iterator

from bench.corpus import Corpus
from bench.window import SendWindow, Ticket
from raftlog.base.errors import RaftlogError, Refused
from raftlog.client.log_client import LogClient
from raftlog.wire.batch import Producer, encode_columns

IN_FLIGHT = 8
PAUSE_S = 0.02
"""Between a failure and the next round: an election takes longer than a turn of the loop."""


class Upload:
    """One pass over a corpus."""

    def __init__(self, client: LogClient, corpus: Corpus, producer_id: int) -> None:
        self.window = SendWindow(IN_FLIGHT)
        self.settled_records = 0
        self.settled_bytes = 0
        self.last_ack_at = time.monotonic()
        self.longest_silence_s = 0.0
        self._client = client
        self._producer_id = producer_id
        self._source = self._encoded(corpus)
        self._batches: dict[int, tuple[bytes, int]] = {}
        self._known = 0
        self._dropped = 0
        self._exhausted = False
        self._moved = asyncio.Event()
        self._failure: Refused | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send everything; returns when every batch is settled.

        Raises:
            Refused: The cluster refuses a batch for good.
        """
        while not (self._exhausted and self.window.settled == self._known):
            self._read_ahead()
            ticket = self.window.take(self._known)
            if ticket is not None:
                task = asyncio.create_task(self._send(ticket, self._batches[ticket.number][0]))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
                continue
            await self._moved.wait()
            self._moved.clear()
            if self._failure is not None:
                raise self._failure
        await asyncio.gather(*self._sending)

    def _encoded(self, corpus: Corpus) -> Iterator[tuple[bytes, int]]:
        sequence = 0
        for lines in corpus.batches():
            batch = encode_columns(
                [line.value for line in lines],
                [line.key for line in lines],
                timestamp_ms=time.time_ns() // 1_000_000,
                producer=Producer(id=self._producer_id, base_sequence=sequence),
            )
            sequence += len(lines)
            yield batch, len(lines)

    def _read_ahead(self) -> None:
        while not self._exhausted and self._known < self.window.settled + IN_FLIGHT:
            batch = next(self._source, None)
            if batch is None:
                self._exhausted = True
            else:
                self._batches[self._known] = batch
                self._known += 1

    async def _send(self, ticket: Ticket, batch: bytes) -> None:
        try:
            receipt = await self._client.send_batch(batch)
        except Refused as error:
            self._failure = error
        except RaftlogError:
            self.window.failed(ticket)
            await asyncio.sleep(PAUSE_S)
        else:
            now = time.monotonic()
            self.longest_silence_s = max(self.longest_silence_s, now - self.last_ack_at)
            self.last_ack_at = now
            self.window.acked(ticket, receipt.base_offset)
            self._forget_settled()
        self._moved.set()

    def _forget_settled(self) -> None:
        for number in range(self._dropped, self.window.settled):
            batch, records = self._batches.pop(number)
            self.settled_records += records
            self.settled_bytes += len(batch)
        self._dropped = self.window.settled

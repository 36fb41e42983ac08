"""The producer's side: sends a corpus line by line, each with a receipt of its own.

The producer is idempotent and goes on by itself when the leader is lost; what
is counted here is when receipts came, so that the demo can say for how long
none did.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from bench.corpus import Corpus, Line
from raftlog.base.errors import BufferFull, ProtocolError

if TYPE_CHECKING:
    from raftlog.client.producer import Producer
    from raftlog.client.receipts import Receipt

AT_ONCE = 1_000
"""Lines between two looks at the loop."""


class Streaming:
    """One pass over a corpus.

    The last line is held back until ``release``, so that something is left to
    be acknowledged after the leader was killed, however small the corpus is.

    Attributes:
        sent: Records handed to the producer.
        acked: Records with a receipt.
        acked_bytes: Their values' bytes.
        duplicates: Receipts of records that had been stored before (sent again after a failure).
        longest_pause_s: The longest time between two receipts since ``watch``.
    """

    def __init__(self, producer: "Producer", topic: str, corpus: Corpus) -> None:
        self.sent = 0
        self.acked = 0
        self.acked_bytes = 0
        self.duplicates = 0
        self.longest_pause_s = 0.0
        self._producer = producer
        self._topic = topic
        self._corpus = corpus
        self._released = asyncio.Event()
        self._acked_at: float | None = None
        self._failure: BaseException | None = None
        self._offsets: dict[int, int] = {}
        self.is_read = False
        """Whether everything but the line that is held back was sent."""

    async def run(self) -> None:
        """Send everything; returns when every record has its receipt.

        Raises:
            RaftlogError: A record was refused, or its outcome is unknown.
            ProtocolError: Two receipts of one queue do not follow each other.
        """
        held: Line | None = None
        for number, line in enumerate(self._corpus.lines()):
            if held is not None:
                await self._post(held)
            held = line
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        self.is_read = True
        await self._released.wait()
        if held is not None:
            await self._post(held)
        await self._producer.flush()
        await asyncio.sleep(0)
        self._raise_failure()

    def release(self) -> None:
        """Let the last line go."""
        self._released.set()

    def watch(self) -> None:
        """Measure pauses from now on."""
        self._acked_at = time.monotonic()
        self.longest_pause_s = 0.0

    async def _post(self, line: Line) -> None:
        self._raise_failure()
        headers = {"line": str(line.number).encode()}
        post, size = self._producer.post, len(line.value)
        while True:
            try:
                receipt = post(self._topic, line.value, key=line.key, headers=headers)
            except BufferFull:
                await self._producer.ready()
            else:
                self.sent += 1
                receipt.add_done_callback(lambda done: self._done(done, size))
                return

    def _done(self, receipt: "asyncio.Future[Receipt]", size: int) -> None:
        if receipt.cancelled() or (error := receipt.exception()) is not None:
            self._failure = self._failure or (
                asyncio.CancelledError() if receipt.cancelled() else error
            )
            return
        got = receipt.result()
        self.acked += 1
        self.acked_bytes += size
        self.duplicates += got.duplicate
        before = self._offsets.get(got.queue, -1)
        if got.offset != before + 1:
            self._failure = self._failure or ProtocolError(
                f"queue {got.queue}: a receipt for offset {got.offset} after {before}"
            )
        self._offsets[got.queue] = got.offset
        if self._acked_at is not None:
            now = time.monotonic()
            self.longest_pause_s = max(self.longest_pause_s, now - self._acked_at)
            self._acked_at = now

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

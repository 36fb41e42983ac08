"""Writes a corpus into the log, through leaders that are killed meanwhile.

There is no idempotent producer yet. Each batch carries (producer id, base
sequence) in its header, and the sender goes back to the first batch that is not
settled whenever one failed or its outcome is unknown (``bench.window``).
"""

import asyncio
import time
from collections.abc import Iterator

import msgspec

from bench.corpus import Corpus
from bench.window import SendWindow, Ticket
from raftlog.base.errors import RaftlogError, Refused, Retriable
from raftlog.client.log_client import LogClient
from raftlog.wire.batch import Producer, encode_columns

IN_FLIGHT = 8
PAUSE_S = 0.02
"""Between a failure and the next round: an election takes longer than a turn of the loop."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """One batch on its way."""

    batch: bytes
    records: int
    value_bytes: int


class Upload:
    """One pass over a corpus.

    The last batch is held back until ``release``, so that there is something
    left to be acknowledged after the leader was killed, however small the
    corpus is.

    Attributes:
        window: What is settled, and what was sent again.
        settled_records: Records of the settled batches.
        settled_bytes: Their values' bytes.
    """

    def __init__(self, client: LogClient, corpus: Corpus, producer_id: int) -> None:
        self.window = SendWindow(IN_FLIGHT)
        self.settled_records = 0
        self.settled_bytes = 0
        self._client = client
        self._producer_id = producer_id
        self._source = self._encoded(corpus)
        self._ahead = next(self._source, None)
        self._following = next(self._source, None)
        self._is_released = False
        self._batches: dict[int, Encoded] = {}
        self._known = 0
        self._forgotten = 0
        self._moved = asyncio.Event()
        self._failure: RaftlogError | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._lost_at: float | None = None
        self._back: asyncio.Future[float] | None = None

    async def run(self) -> None:
        """Send everything; returns when every batch is settled.

        Raises:
            RaftlogError: The cluster refuses a batch for good.
        """
        while self._ahead is not None or self.window.settled < self._known:
            self._read_ahead()
            ticket = self.window.take(self._known)
            if ticket is not None:
                task = asyncio.create_task(self._send(ticket, self._batches[ticket.number].batch))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
                continue
            await self._moved.wait()
            self._moved.clear()
            if self._failure is not None:
                raise self._failure
        await asyncio.gather(*self._sending)

    @property
    def is_nearly_done(self) -> bool:
        """Whether everything but the batch that is held back is settled."""
        return self._following is None and self.window.settled == self._known

    def release(self) -> None:
        """Let the last batch go."""
        self._is_released = True
        self._moved.set()

    def lost(self) -> "asyncio.Future[float]":
        """The leader is lost now; the result is the seconds until the next acknowledgement.

        Only a sending that began after the loss counts: an earlier
        acknowledgement may still be on its way out of a socket.
        """
        self._lost_at = time.monotonic()
        self._back = asyncio.get_running_loop().create_future()
        return self._back

    def _encoded(self, corpus: Corpus) -> Iterator[Encoded]:
        sequence = 0
        for lines in corpus.batches():
            values = [line.value for line in lines]
            batch = encode_columns(
                values,
                [line.key for line in lines],
                timestamp_ms=time.time_ns() // 1_000_000,
                producer=Producer(id=self._producer_id, base_sequence=sequence),
            )
            sequence += len(lines)
            yield Encoded(batch, len(lines), sum(map(len, values)))

    def _read_ahead(self) -> None:
        """Take batches into the window; the last one only when it is released."""
        while self._ahead is not None and self._known < self.window.settled + IN_FLIGHT:
            if self._following is None and not self._is_released:
                return
            self._batches[self._known] = self._ahead
            self._known += 1
            self._ahead = self._following
            self._following = next(self._source, None)

    async def _send(self, ticket: Ticket, batch: bytes) -> None:
        began = time.monotonic()
        try:
            receipt = await self._client.send_batch(batch)
        except Refused as error:
            self._failure = error
        except Retriable as error:
            # The client tried for its whole timeout: there is no cluster to upload to.
            self._failure = error
        except RaftlogError:
            self.window.failed(ticket)
            await asyncio.sleep(PAUSE_S)
        else:
            self.window.acked(ticket, receipt.base_offset)
            self._forget_settled()
            self._note_acknowledgement(began)
        self._moved.set()

    def _note_acknowledgement(self, began: float) -> None:
        if self._lost_at is None or self._back is None or began < self._lost_at:
            return
        if not self._back.done():
            self._back.set_result(time.monotonic() - self._lost_at)
        self._lost_at = None

    def _forget_settled(self) -> None:
        for number in range(self._forgotten, self.window.settled):
            done = self._batches.pop(number)
            self.settled_records += done.records
            self.settled_bytes += done.value_bytes
        self._forgotten = self.window.settled

"""Records without receipts: sent once, by nobody's name, and forgotten.

For what is worth less than its acknowledgement. A record is given up, and
counted, when there is no leader right now, or its topic is not known; it waits
for neither.
"""

import asyncio
from random import randrange
from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.base.limits import BATCH_RECORDS_MAX, COALESCE_BYTES_MAX
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.packing import Columns, place_of_key, size_of
from raftlog.wire.batch import Record
from raftlog.wire.frame import Frame, Method
from raftlog.wire.schema import client

LOOK_S: Final = 1.0


class Oneway:
    """The records without receipts of one producer. Bound to its loop."""

    def __init__(self, asker: Asker, catalog: Catalog, codec: str) -> None:
        self.dropped = 0
        """Given up before they were sent."""
        self._asker = asker
        self._catalog = catalog
        self._codec = codec
        self._loop = asyncio.get_running_loop()
        self._open: dict[tuple[str, int], Columns] = {}
        self._look: asyncio.Task[None] | None = None
        self._waiting: list[tuple[str, Record, int | None]] = []
        self._turn = randrange(1 << 16)  # many clients that send little fill all queues alike

    def put(self, topic: str, record: Record, queue: int | None) -> None:
        """Take a record; it is sent at the end of this turn of the loop."""
        queues = self._catalog.known(topic)
        if queues is None or self._asker.router.leader is None:
            self._find(topic, record, queue)
            return
        if queue is None:
            count = len(queues)
            key = record.key
            place = self._turn % count if key is None else place_of_key(key, count)
        elif 0 <= queue < len(queues):
            place = queue
        else:
            self.dropped += 1
            return
        if not self._open:
            self._loop.call_soon(self._flush)
        where = topic, queues[place]
        columns = self._open.get(where)
        if columns is None:
            columns = self._open[where] = Columns()
        elif (
            columns.bytes + size_of(record) > COALESCE_BYTES_MAX
            or len(columns.values) >= BATCH_RECORDS_MAX
        ):
            self._send(where[0], where[1], columns)
            columns = self._open[where] = Columns()
        columns.add_record(record)

    def close(self) -> None:
        """Give up what waits."""
        if self._look is not None:
            self._look.cancel()
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def _find(self, topic: str, record: Record, queue: int | None) -> None:
        """The first records wait for one look; what does not fit is given up."""
        if len(self._waiting) >= BATCH_RECORDS_MAX:
            self.dropped += 1
            return
        self._waiting.append((topic, record, queue))
        if self._look is None or self._look.done():
            self._look = self._loop.create_task(self._look_once())

    async def _look_once(self) -> None:
        looked_at: set[str] = set()
        while topics := {topic for topic, _, _ in self._waiting} - looked_at:
            topic = topics.pop()
            looked_at.add(topic)
            try:
                await self._catalog.find(topic, LOOK_S)
                await self._asker.router.find(LOOK_S)
            except RaftlogError:
                kept = [waiting for waiting in self._waiting if waiting[0] != topic]
                self.dropped += len(self._waiting) - len(kept)
                self._waiting = kept
        waiting, self._waiting = self._waiting, []
        for topic, record, queue in waiting:
            if self._catalog.known(topic) is None or self._asker.router.leader is None:
                self.dropped += 1
            else:
                self.put(topic, record, queue)

    def _flush(self) -> None:
        self._turn += 1
        batches, self._open = self._open, {}
        for (topic, number), columns in batches.items():
            self._send(topic, number, columns)

    def _send(self, topic: str, number: int, columns: Columns) -> None:
        channel = self._asker.router.leader
        if channel is None:
            self.dropped += len(columns.values)
            return
        try:
            channel.request(
                Method.APPEND,
                client.AppendBatch(queue=number, client=self._asker.client_id).SerializeToString(),
                (columns.encode(codec=self._codec, fifo=self._catalog.needs(topic).hashes),),
                lambda answer: self._on_answer(topic, answer),
                shard=self._asker.shard,
            )
        except RaftlogError:
            self.dropped += len(columns.values)

    def _on_answer(self, topic: str, answer: Frame | RaftlogError) -> None:
        """Nobody waits for it; but a refusal may mean that the topic has changed."""
        if isinstance(answer, RaftlogError):
            self._catalog.forget(topic)

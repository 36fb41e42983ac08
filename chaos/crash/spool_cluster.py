"""The cluster that a spool sends to: the broker's own rules of producers, over lists.

It can be copied, so that each moment has the cluster as it was then; it may be away, and
lose requests and answers. The loop beside it has a time of its own, and no threads: the
same workload makes the same operations of the disk each time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import LimitReached, RaftlogError, TopicNotFound, Unavailable
from raftlog.base.ids import Index, Offset, Term
from raftlog.broker.producers import FenceProducer, Producers, RememberedBatch
from raftlog.broker.timetable import Timetable
from raftlog.client.catalog import Queues, TopicNeeds
from raftlog.client.forwarding import BatchGiver
from raftlog.wire.batch import Batch
from raftlog.wire.schema import client, producers

R = TypeVar("R")
LOG_TIME_MS: Final = 1_800_000_000_000
TOPICS: Final[Mapping[str, Queues]] = {"orders": (1, 2), "other": (3,)}
LATER: Final[Mapping[str, Queues]] = {**TOPICS, "nowhere": (4,)}
"""Topics, by the numbers of their queues; and those that somebody makes in the end."""


class Fault(Enum):
    """What becomes of an append."""

    ANSWER_LOST = "answer lost"
    LATE = "late"
    """It comes when nobody expects it any more."""


class Cluster:
    """Implements ``Forwarding``.

    Attributes:
        topics: That are there.
        stored: Keys and values, by queue.
        faults: Of the next appends.
        is_away: It answers nothing.
        full: Queues that take no other producer, and no other epoch.
        late: Appends that have not come yet, by queue.
        on_change: Called after each change.
    """

    def __init__(self) -> None:
        self.topics = TOPICS
        self.stored: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
        self.faults: list[Fault] = []
        self.is_away = False
        self.full: frozenset[int] = frozenset()
        self.on_change: Callable[[], None] = lambda: None
        self._drawn = 0
        self.late: list[tuple[int, bytes]] = []
        self._producers = Producers(Timetable())

    def fork(self) -> "Cluster":
        """Return a copy that is well, and loses nothing."""
        copy = Cluster()
        copy.topics = self.topics
        copy.stored = {queue: list(values) for queue, values in self.stored.items()}
        copy._drawn = self._drawn
        copy.late = list(self.late)
        rows = [
            msgspec.structs.replace(row, remembered=list(row.remembered))
            for row in self._producers.table.rows.values()
        ]
        copy._producers.load(rows, self._producers.heard)
        return copy

    def bring_late(self) -> None:
        """Let what was late come; it is refused, or was stored already."""
        for queue, data in self.late:
            try:
                self._store(queue, data)
            except RaftlogError:
                continue

    async def queues(self, topic: str) -> Queues:
        """Return the numbers of a topic's queues."""
        self._ask()
        if topic not in self.topics:
            raise TopicNotFound(f"there is no topic {topic!r}")
        return self.topics[topic]

    def forget_queues(self, topic: str) -> None:
        """Nothing is kept."""

    def needs(self, topic: str) -> TopicNeeds:
        """Every topic takes everything."""
        needs = TopicNeeds(topic)
        needs.learn(())
        return needs

    async def draw_producer(self) -> int:
        """Return a producer id that nobody has."""
        self._ask()
        self._drawn += 1
        self.on_change()
        return self._drawn

    async def fence(self, queue: int, producer: int, epoch: int) -> producers.ProducerFenced:
        """Begin an epoch."""
        self._ask()
        if queue in self.full:
            raise LimitReached(f"queue {queue} takes no other producer")
        fenced = self._producers.fence(FenceProducer(queue, producer, epoch), LOG_TIME_MS)
        self.on_change()
        return producers.ProducerFenced(
            next_sequence=fenced.next_sequence,
            remembered=[
                producers.RememberedBatch(
                    base_sequence=each.base_sequence,
                    count=each.count,
                    base_offset=each.base_offset,
                    term=each.term,
                    index=each.index,
                )
                for each in fenced.remembered
            ],
            durability="fsync",
        )

    async def append(self, queue: int, batch: BatchGiver) -> client.BatchAppended:
        """Store a batch, once."""
        self._ask()
        data = batch()
        fault = self.faults.pop(0) if self.faults else None
        if fault is Fault.LATE:
            self.late.append((queue, bytes(data)))
            self.on_change()
            raise Unavailable("no answer")
        stored = self._store(queue, data)
        if fault is Fault.ANSWER_LOST:
            raise Unavailable("no answer")
        return client.BatchAppended(
            base_offset=stored.base_offset,
            term=stored.term,
            index=stored.index,
            durability="fsync",
        )

    def _ask(self) -> None:
        if self.is_away:
            raise Unavailable("the cluster is away")

    def _store(self, queue: int, data: Buffer) -> RememberedBatch:
        batch = Batch(data)
        by, count = batch.header.producer, batch.header.count
        told = self._producers.told(
            queue, by.id, by.epoch, by.base_sequence, count, by.known_through
        )
        if told is not None:
            return told
        values = self.stored.setdefault(queue, [])
        found = RememberedBatch(by.base_sequence, count, Offset(len(values)), Term(1), Index(1))
        values += [(record.key, record.value) for record in batch.records()]
        self._producers.note(queue, by.id, by.epoch, found, LOG_TIME_MS)
        self.on_change()
        return found


class _Selector(selectors.SelectSelector):
    """Nothing comes from outside: waiting makes time pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass."""
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will happen any more")
        self.now += max(0.0, timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """A loop without threads, and with a time of its own."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return what has passed."""
        return self._clock.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., R], *args: Any
    ) -> "asyncio.Future[R]":
        """Do it now."""
        del executor
        future: asyncio.Future[R] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (it is its caller's)
            future.set_exception(error)
        return future


def run(work: Coroutine[Any, Any, R]) -> R:
    """Run ``work`` on a loop of its own."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)

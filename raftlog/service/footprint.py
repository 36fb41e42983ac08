"""What takes a shard's space: bytes of each topic, and who keeps the log from being trimmed.

All topics share one log, and its beginning goes when no queue needs it any more (ruling
29). The oldest range that is needed is *held* by the queues that have records there; named
is the one that will need it longest by its settings::

    range 1 .. 811    orders/0 (72 h)   audit/0 (for ever)   audit/1 (for ever)
                                        ^ named: audit, place 0, and 2 others

A look walks over all queues, so what the status says is up to a second old.
"""

from heapq import nlargest
from typing import Final

import msgspec

from raftlog.base.ids import Index
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_index import NeededRange
from raftlog.broker.topics import FOR_EVER, NO_BOUND, Topic, TopicSettings
from raftlog.node.ports import Scheduler

LARGEST: Final = 10
LOOK_NS: Final = 1_000_000_000


class LogHold(msgspec.Struct, frozen=True):
    """The oldest range that is needed, how many queues need it, and the one that will longest."""

    first_index: Index
    last_index: Index
    queues: int
    topic: str
    place: int
    settings: TopicSettings
    newest_ms: int
    holding: frozenset[int]
    """The numbers of those queues."""
    hidden: int = 0
    """Batches of the named queue there that are not visible yet."""


class LogSpace(msgspec.Struct, frozen=True):
    """The largest topics, the bytes of all of them, and who keeps the log."""

    largest: tuple[tuple[str, int], ...]
    bytes: int
    hold: LogHold | None


class Footprint:
    """Looks at one shard's machine."""

    def __init__(self, machine: BrokerMachine, scheduler: Scheduler) -> None:
        self._machine: Final = machine
        self._scheduler: Final = scheduler
        self._space: LogSpace | None = None
        self._looked_ns = 0

    def bytes_of(self, topic: Topic) -> int:
        """Return the bytes of a topic's batches that the log still has."""
        return sum(map(self._machine.batch_bytes, topic.queues))

    def space(self) -> LogSpace:
        """Return what was seen in the last second, or look."""
        now_ns = self._scheduler.now_ns()
        if self._space is None or now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            sizes = [(self.bytes_of(topic), topic.name) for topic in self._machine.topics]
            largest = tuple((name, size) for size, name in nlargest(LARGEST, sizes))
            self._space = LogSpace(largest, sum(size for size, _ in sizes), self.hold())
        return self._space

    def hold(self) -> LogHold | None:
        """Return who keeps the log now; None if nothing that could go is needed."""
        needed = self._machine.oldest_needed()
        return None if needed is None else self._hold(needed)

    def _hold(self, needed: NeededRange) -> LogHold:
        queues, topics = self._machine.queues, self._machine.topics

        def patience(number: int) -> tuple[float, float, int, int]:
            settings = topics.find(queues.find(number).topic).settings
            return (*_patience(settings), needed.queues[number], -number)

        longest = max(needed.queues, key=patience)
        row = queues.find(longest)
        topic = topics.find(row.topic)
        return LogHold(
            *(needed.first_index, needed.last_index, len(needed.queues)),
            *(topic.name, row.place, topic.settings),
            *(needed.queues[longest], frozenset(needed.queues)),
            hidden=needed.hidden.get(longest, 0),
        )


def _patience(settings: TopicSettings) -> tuple[float, float]:
    """Return how long a topic keeps records, first by time; a bound of bytes alone is no time."""
    endless = float("inf")
    by_time = endless if settings.retention_ms == FOR_EVER else settings.retention_ms
    by_bytes = endless if settings.retention_bytes == NO_BOUND else settings.retention_bytes
    return by_time, by_bytes

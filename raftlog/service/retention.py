"""Retention: the leader looks what may be forgotten, and proposes it (ruling 29).

Every second it looks at some of the queues that have a retention, in turn, and
proposes ``MoveStart`` for the batches that are older than the topic's time, or
beyond its bytes; and ``MoveConsumed`` for those that every group has committed, where the
topic keeps its records until they are consumed. Nothing is forgotten but by these commands, and
so at the same entry everywhere. Time is log time: where nothing is stored nothing grows old.

A round is bounded in queues and in ranges that it reads from disk; what it does
not get to waits for the next one.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator
from itertools import accumulate
from typing import Final, TypeVar

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Offset
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queues import OFFSET_ZERO, Queue
from raftlog.broker.topics import FOR_EVER, NO_BOUND, MoveConsumed, MoveStart, TopicSettings
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.find import first_at
from raftlog.service.ports import ShardReplica, StoredRanges
from raftlog.service.proposing import propose_unheard

ROUND_NS: Final = 1_000_000_000
QUEUES_PER_ROUND: Final = 500
"""Queues that a round looks at (a topic without retention counts as one)."""
LOADS_PER_ROUND: Final = 8
"""Ranges that a round may ask the disk for."""
TOPICS_PER_LOOK: Final = 100

T = TypeVar("T")
Wanted = tuple[RangeSummary, int] | None
"""A range and a queue whose postings are needed, or the wish to go on in the next round."""
Look = Generator[Wanted, Postings | None, T]
"""Part of the walk through the queues. For a range it is sent its postings, or None: the range
cannot be read."""


class RetentionService:
    """Proposes what one shard may forget, while this node leads it."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        ranges: StoredRanges,
        scheduler: Scheduler,
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._ranges: Final = ranges
        self._scheduler: Final = scheduler
        self._walk: Look[None] | None = None
        self._wanted: Wanted = None
        self._queues_left = 0
        self._loads_left = 0
        self._timer: Timer | None = None
        self.moves = 0
        self.on_walked: Callable[[], None] = lambda: None
        """Called when all queues were looked at."""

    def begin(self) -> None:
        """This node leads: look from now on."""
        self.end()
        self._walk = self._look_at_all()
        self._arm()

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        self._walk = None
        self._wanted = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- rounds

    def _arm(self) -> None:
        self._timer = self._scheduler.call_later(ROUND_NS, self._begin_round)

    def _begin_round(self) -> None:
        self._timer = None
        self._queues_left = QUEUES_PER_ROUND
        self._loads_left = LOADS_PER_ROUND
        assert self._walk is not None, "a round without a walk"
        if self._wanted is None:
            self._go_on(self._walk, None)
        else:
            self._load(self._walk, *self._wanted)

    def _go_on(self, walk: Look[None], postings: Postings | None) -> None:
        """Go on until a range is needed that is not in memory, or the round is over."""
        if walk is not self._walk:
            return  # of an earlier reign
        self._wanted = walk.send(postings)
        if self._wanted is None or not self._loads_left:
            self._arm()
        else:
            self._load(walk, *self._wanted)

    def _load(self, walk: Look[None], summary: RangeSummary, queue: int) -> None:
        def loaded(postings: Postings | None, _error: RaftlogError | None) -> None:
            self._scheduler.call_soon(lambda: self._go_on(walk, postings))

        self._loads_left -= 1
        self._ranges.load(summary, queue, loaded)

    def _look_at_all(self) -> Look[None]:
        """Walk through all queues, again and again, once in a round at most."""
        after = ""
        while True:
            topics = self._machine.topics.after(after, TOPICS_PER_LOOK)
            for topic in topics:
                after = topic.name
                yield from self._look_at_topic(topic.name)
            if len(topics) < TOPICS_PER_LOOK:
                after = ""
                self.on_walked()
                yield None

    def _look_at_topic(self, name: str) -> Look[None]:
        place = 0
        topic = self._machine.topics.get(name)
        while topic is not None and place < len(topic.queues) and _forgets(topic.settings):
            yield from self._look_at(topic.queues[place], topic.settings)
            place += 1
            if self._queues_left <= 1:
                yield None
            self._queues_left -= 1
            topic = self._machine.topics.get(name)  # a read, or a round, may lie in between
        if self._queues_left <= 1:
            yield None
        self._queues_left -= 1

    # -- one queue

    def _look_at(self, number: int, settings: TopicSettings) -> Look[None]:
        queue = self._machine.queues.get(number)
        if queue is None or queue.start_offset == queue.end_offset:
            return
        start = queue.start_offset
        if settings.retention_ms != FOR_EVER:
            start = max(start, (yield from self._by_time(queue, settings.retention_ms)))
        if settings.retention_bytes != NO_BOUND:
            start = max(start, (yield from self._by_bytes(number, settings.retention_bytes)))
        queue = self._machine.queues.get(number)
        if queue is None or self._machine.topics.find(queue.topic).settings != settings:
            return  # deleted or altered while a range was read: the next round looks again
        start = self._machine.state.start_may_be(number, start)
        if start > queue.start_offset:
            self.moves += 1
            propose_unheard(self._replica, MoveStart(number, start))
        if settings.until_consumed:
            consumed = self._machine.state.consumed_through(number)
            if consumed > max(start, queue.start_offset):
                self.moves += 1
                propose_unheard(self._replica, MoveConsumed(number, consumed))

    def _by_time(self, queue: Queue, retention_ms: int) -> Look[Offset]:
        """Return the offset below which everything is too old."""
        oldest_ms = self._machine.log_time_ms - retention_ms
        if oldest_ms <= 0:
            return OFFSET_ZERO
        found = self._machine.find_time(queue.number, oldest_ms)
        if found is None:
            return queue.end_offset
        postings = (yield found, queue.number) if isinstance(found, RangeSummary) else found
        return OFFSET_ZERO if postings is None else first_at(postings, oldest_ms)

    def _by_bytes(self, number: int, bytes_max: int) -> Look[Offset]:
        """Return where the newest batches begin that have at least ``bytes_max`` together."""
        at = self._machine.find_bytes(number, bytes_max)
        if at is None:
            return OFFSET_ZERO
        found, behind = at
        postings = (yield found, number) if isinstance(found, RangeSummary) else found
        if postings is None:
            return OFFSET_ZERO
        if behind >= bytes_max:
            return postings.end_offset
        newest_first = list(accumulate(reversed(postings.lengths)))
        kept = bisect_left(newest_first, bytes_max - behind) + 1
        return postings[max(0, len(postings) - kept)].base_offset


def _forgets(settings: TopicSettings) -> bool:
    return settings.retention_ms != FOR_EVER or settings.retention_bytes != NO_BOUND

"""What one producer sends to one topic: which queue takes a record, and what waits for that.

A key always goes to the same queue (``crc32c(key) % queues``), as long as the
topic has as many. Without a key the queues take turns, one for each turn of the
loop or for so many records, so that what is sent together shares a batch. Whose turn
it is first is drawn: many producers that send little fill all queues alike.

The first send to a topic waits for its queues to be looked up; what comes
meanwhile waits behind it, in order.
"""

import asyncio
from random import randrange
from time import monotonic
from typing import Final, NamedTuple

import msgspec

from raftlog.base.errors import (
    Closed,
    PeerRefused,
    RaftlogError,
    Refused,
    TopicNotFound,
    WrongQueue,
)
from raftlog.client.asking import RETRY_PAUSE_S
from raftlog.client.catalog import Catalog, Queues
from raftlog.client.dispatch import Dispatch
from raftlog.client.lanes import Lane, Pack, Whole, fail
from raftlog.client.packing import place_of_key
from raftlog.client.receipts import Receipt
from raftlog.client.starting import no_queue
from raftlog.wire.batch import Record

LOOK_S: Final = 1.0
"""One look; it is repeated as long as somebody waits."""
_LEAST_S: Final = 0.001
TURN_RECORDS_MAX: Final = 2_000
"""Records without a key that go to one queue although all were sent in one turn of the loop."""
_TURNS: Final = 1 << 16


class Single(NamedTuple):
    """One record; ``record`` if it is more than key and value."""

    value: bytes
    key: bytes | None
    record: Record | None
    future: "asyncio.Future[Receipt]"


class Held(msgspec.Struct):
    """A send that waits for its topic to be looked up."""

    deadline: float
    timeout_s: float
    size: int
    key: bytes | None
    queue: int | None
    what: Single | Whole

    @property
    def count(self) -> int:
        """Records in it."""
        return self.what.records if isinstance(self.what, Whole) else 1

    def fail(self, error: RaftlogError) -> None:
        """Tell its owner that it was not sent."""
        if not self.what.future.done():
            self.what.future.set_exception(error)


class Outbox:
    """One topic of one producer. Bound to its loop."""

    def __init__(self, dispatch: Dispatch, catalog: Catalog, topic: str) -> None:
        self.topic = topic
        self.lanes: list[Lane] = []
        """In the order of the queues' places; none before the topic was looked up."""
        self._dispatch = dispatch
        self._catalog = catalog
        self._held: list[Held] = []
        self._turn_lane: Lane | None = None
        self._next = randrange(_TURNS)
        self._in_turn = 0
        """Records that the lane whose turn it is was given."""
        self._looking: asyncio.Future[None] | None = None
        known = catalog.known(topic)
        if known is not None:
            self._open(known)

    # -- taking

    def lane_for(self, key: bytes | None, queue: int | None) -> Lane | None:
        """Return the lane that takes a record; None if it must be given to ``put_aside``."""
        if key is None and queue is None:
            lane = self._turn_lane
            is_over = lane is None or not lane.is_dirty or self._in_turn >= TURN_RECORDS_MAX
            if is_over and self.lanes:
                lane = self._turn_lane = self._take_turn()
                self._in_turn = 0
            self._in_turn += 1
            return lane
        return self._choose(key, queue) if self.lanes else None

    def put_aside(self, single: Single, size: int, queue: int | None, timeout_s: float) -> None:
        """Take a record for which there is no lane: not yet, or because it names none."""
        if not self.lanes:
            self._hold(Held(0.0, timeout_s, size, single.key, queue, single))
        else:
            self._dispatch.room.leave(1, size)
            single.future.set_exception(self._no_queue(queue))

    def put_batch(
        self, key: bytes | None, queue: int | None, whole: Whole, timeout_s: float
    ) -> None:
        """Take a batch that came as one."""
        size = len(whole.data)
        if not self.lanes:
            self._hold(Held(0.0, timeout_s, size, key, queue, whole))
            return
        lane = self._choose(key, queue)
        if lane is None:
            self._dispatch.room.leave(whole.records, size)
            whole.future.set_exception(self._no_queue(queue))
        else:
            lane.add_batch(whole, timeout_s)

    def _choose(self, key: bytes | None, queue: int | None) -> Lane | None:
        lanes = self.lanes
        if queue is not None:
            return lanes[queue] if 0 <= queue < len(lanes) else None
        if key is not None:
            return lanes[place_of_key(key, len(lanes))]
        return self._take_turn()

    def _lane(self, place: int, number: int) -> Lane:
        return Lane(self._dispatch, self.topic, place, number, self._catalog.needs(self.topic))

    def _take_turn(self) -> Lane:
        self._next = (self._next + 1) % len(self.lanes)
        return self.lanes[self._next]

    def _no_queue(self, queue: int | None) -> WrongQueue:
        return no_queue(self.topic, len(self.lanes), queue)

    # -- looking up

    def _hold(self, held: Held) -> None:
        held.deadline = self._dispatch.loop.time() + held.timeout_s
        self._held.append(held)
        if self._looking is None:
            self._looking = self._dispatch.loop.create_future()
            self._dispatch.spawn(self._look_up())

    async def looked_up(self) -> None:
        """Wait until nothing waits for the topic to be looked up."""
        if self._looking is not None:
            await asyncio.shield(self._looking)

    async def _look_up(self) -> None:
        try:
            while self._held:
                first = min(held.deadline for held in self._held)
                left_s = max(first - self._dispatch.loop.time(), _LEAST_S)
                try:
                    queues = await self._catalog.find(self.topic, min(left_s, LOOK_S))
                except (Refused, PeerRefused) as error:
                    self._fail_held(error)
                except RaftlogError as error:
                    self._expire_held(error)
                else:
                    self._open(queues)
                    return
        finally:
            looking, self._looking = self._looking, None
            if looking is not None and not looking.done():
                looking.set_result(None)

    def _fail_held(self, error: RaftlogError) -> None:
        held, self._held = self._held, []
        for each in held:
            self._dispatch.room.leave(each.count, each.size)
            each.fail(error)

    def _expire_held(self, error: RaftlogError) -> None:
        now = self._dispatch.loop.time()
        late = [held for held in self._held if held.deadline <= now]
        self._held = [held for held in self._held if held.deadline > now]
        for each in late:
            self._dispatch.room.leave(each.count, each.size)
            each.fail(error)

    def _open(self, queues: Queues) -> None:
        """The queues are known: what waits goes out, in order."""
        self.lanes = [self._lane(place, number) for place, number in enumerate(queues)]
        held, self._held = self._held, []
        now = self._dispatch.loop.time()
        left: dict[float, float] = {}  # what was asked for together may share a batch
        for each in held:
            left_s = left.setdefault(each.timeout_s, max(each.deadline - now, _LEAST_S))
            if isinstance(each.what, Whole):
                self.put_batch(each.key, each.queue, each.what, left_s)
            else:
                self._put(each.what, each, left_s)

    def _put(self, single: Single, held: Held, left_s: float) -> None:
        lane = self.lane_for(single.key, held.queue)
        if lane is None:
            self.put_aside(single, held.size, held.queue, left_s)
        else:
            lane.add(
                *(single.value, single.key, single.record),
                *(held.size, left_s, single.future),
            )

    # -- queues that are gone

    def look_again(self, lane: Lane, error: WrongQueue) -> None:
        """A node does not know the queue of ``lane``: is it gone, or too new for that node?"""
        self._dispatch.spawn(self._look_again(lane, error))

    async def _look_again(self, lane: Lane, error: WrongQueue) -> None:
        queues: Queues = ()
        reason: RaftlogError = error
        while True:
            await asyncio.sleep(RETRY_PAUSE_S)
            try:
                queues = await self._catalog.refresh(self.topic, LOOK_S)
            except TopicNotFound as gone:
                reason = gone
            except (Refused, PeerRefused) as refusal:  # nothing is said about the queue
                if lane.end is None:
                    lane.abandon(refusal)
                return
            except RaftlogError:
                if not lane.is_idle:
                    continue
                lane.is_looking = False  # the next send looks again
                return
            break
        if lane.number in queues:
            self._dispatch.stall(lane, error)
        elif lane.end is None:
            lane.abandon(error)
            self._move(lane, queues, reason)

    def _move(self, lane: Lane, queues: Queues, reason: RaftlogError) -> None:
        """Send what ``lane`` could not to the queue that has its place now, if there is one."""
        gone = [lane]
        if [each.number for each in self.lanes] != list(queues):
            gone += self._replace(queues)
        for each in gone:
            if each.end is None:  # nobody closes it when it is none of our lanes any more
                each.abandon(WrongQueue(f"queue {each.place} of {self.topic!r} is gone"))
            packs, each.moved = each.moved, []
            for pack in packs:
                self._move_pack(pack, each.place, reason)

    def _move_pack(self, pack: Pack, place: int, reason: RaftlogError) -> None:
        if self.lanes:
            self.lanes[place % len(self.lanes)].take(self._again(pack))
        else:
            self._dispatch.settled(pack)
            fail(pack, reason)

    def _replace(self, queues: Queues) -> list[Lane]:
        """The topic is another one now, or has more queues; return the lanes that are gone."""
        old = {lane.number: lane for lane in self.lanes if lane.end is None}
        self.lanes = [
            old.get(number) or self._lane(place, number) for place, number in enumerate(queues)
        ]
        self._turn_lane = None
        return [lane for lane in old.values() if lane.number not in queues]

    def replace(self, lane: Lane) -> None:
        """``lane`` has ended: its successor takes what it had not taken.

        It begins at sequence 0, so it needs another producer id: under the old one the
        queue would take its first batch for a copy of the old lane's first.
        """
        if lane not in self.lanes or isinstance(lane.end, Closed | WrongQueue):
            return
        self._dispatch.renew()
        successor = self._lane(lane.place, lane.number)
        self.lanes[lane.place] = successor
        pack = lane.give_open()
        if pack is not None:
            successor.take(self._again(pack))

    def close(self, error: RaftlogError) -> None:
        """Tell whoever waits."""
        self._fail_held(error)
        for lane in self.lanes:
            if lane.end is None:
                lane.abandon(error)

    def _again(self, pack: Pack) -> Pack:
        """Return a pack with the same records, owners and end of time, not sent yet."""
        fresh = Pack(pack.timeout_s)
        if pack.deadline:
            fresh.timeout_s = max(pack.deadline - monotonic(), _LEAST_S)
        self._dispatch.replaced(pack, fresh)
        fresh.count, fresh.bytes, fresh.data = pack.count, pack.bytes, pack.data
        fresh.columns, fresh.futures, fresh.whole = pack.columns, pack.futures, pack.whole
        fresh.later = pack.later
        return fresh

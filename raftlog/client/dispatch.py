"""What the lanes of one producer share: its id, its room, the way to the leader, its errands.

A lane that cannot go on is *stalled*; one task finds the leader (and draws the
producer's id, the first time) and lets all stalled lanes go on. Fences and
look-ups are tasks too: they are rare.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from raftlog.base.errors import (
    NotLeader,
    OutcomeUnknown,
    PeerRefused,
    RaftlogError,
    Refused,
    Retriable,
    Throttled,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.turn import turn_of
from raftlog.client.asking import RETRY_PAUSE_S, Asker
from raftlog.client.lanes import Lane, Pack
from raftlog.client.room import Room
from raftlog.client.sequencing import Remembered, Stored
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, producers

FIND_S: Final = 1.0
"""One look for the leader; it is looked for as long as somebody waits."""
EARLY_S: Final = 0.001
"""A loop's timers are so coarse: one may fire that much before its time."""
ERRAND_S: Final = 5.0
"""One try of a fence; it is tried as long as the producer lives."""


class Dispatch:
    """The shared part of a producer's lanes. Bound to its loop.

    Args:
        asker: Asks the leader of the shard.
        codec: For payloads: "none", "zstd" or "lz4".
        linger_s: How long an open pack waits for more; 0: to the end of the loop's turn.
        look_up: Called when the queue of a lane may be gone; it lets the lane go on
            (``Lane.resume``) or abandons it.
        ended: Called when a lane can send nothing any more.
        room: What is accepted and not settled takes some.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        codec: str,
        linger_s: float,
        look_up: Callable[[Lane, WrongQueue], None],
        ended: Callable[[Lane], None],
        room: Room,
    ) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.router: Final = asker.router
        self.shard: Final = asker.shard
        self.client_id: Final = asker.client_id
        self.codec: Final = codec
        self.look_up: Final = look_up
        self.ended: Final = ended
        self.room: Final = room
        self._unsettled: dict[Pack, Lane] = {}
        self.trouble: RaftlogError | None = None
        """Why nobody could be asked the last time."""
        self._asker = asker
        self._linger_s = linger_s
        self._turn = turn_of(self.loop)
        self._producer = 0
        self._dirty: list[Lane] = []
        self._flushing: asyncio.Handle | None = None
        self._stalled: dict[Lane, None] = {}
        self._throttled: dict[Lane, asyncio.TimerHandle] = {}
        self._recovery: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flushes: list[tuple[set[Pack], asyncio.Future[None]]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._is_closed = False

    # -- packs

    def begin(self, pack: Pack, lane: Lane) -> None:
        """Hold a pack of ``lane`` until it is settled; its time runs, if it did not before.

        One timer serves all packs: nearly all are settled long before their time is over.
        """
        self._unsettled[pack] = lane
        if not pack.deadline:
            # Not the loop's time: that may be of before a callback that took long.
            deadline = pack.deadline = monotonic() + pack.timeout_s
            if deadline < self._alarm_at:
                self._set_alarm(deadline)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self.loop.call_later(at - monotonic(), self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        """End the time of every pack whose deadline has come; sleep until the next one."""
        self._alarm, self._alarm_at = None, inf
        due = monotonic() + EARLY_S
        late = [pack for pack in self._unsettled if 0 < pack.deadline <= due]
        for pack in late:
            lane = self._unsettled.get(pack)
            if lane is not None:  # else an earlier one has settled it
                pack.deadline = 0.0
                lane.expire(pack)
        later = min((pack.deadline for pack in self._unsettled if pack.deadline), default=inf)
        if later < self._alarm_at:
            self._set_alarm(later)

    def touch(self, lane: Lane, *, lingers: bool = True) -> None:
        """Flush ``lane`` at the end of this turn, or when the linger is over."""
        lane.is_dirty = True
        self._dirty.append(lane)
        if self._flushing is not None and not lingers:
            self._flushing.cancel()  # it may linger still: others leave early with this one
            self._flushing = None
        if self._flushing is None:
            if self._linger_s and lingers:
                self._flushing = self.loop.call_later(self._linger_s, self._handle_flush)
            else:
                self._flushing = self.loop.call_soon(self._handle_flush)

    def flush_now(self) -> None:
        """Do not linger any more."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._handle_flush()

    def _handle_flush(self) -> None:
        self._flushing = None
        self._turn.handle(self._flush_dirty)

    def _flush_dirty(self) -> None:
        dirty, self._dirty = self._dirty, []
        for lane in dirty:
            lane.flush()

    def settled(self, pack: Pack) -> None:
        """The owners of a pack are told: there is room for more."""
        self._unsettled.pop(pack, None)
        self.room.leave(pack.count, pack.bytes)
        for packs, future in self._flushes:
            packs.discard(pack)
            if not packs and not future.done():
                future.set_result(None)

    def replaced(self, old: Pack, new: Pack) -> None:
        """The owners of ``old`` are those of ``new`` now."""
        self._unsettled.pop(old, None)
        for packs, _ in self._flushes:
            if old in packs:
                packs.discard(old)
                packs.add(new)

    async def flushed(self) -> None:
        """Wait until everything that was accepted before is settled."""
        self.flush_now()
        if not self._unsettled:
            return
        waiting = (set(self._unsettled), self.loop.create_future())
        self._flushes.append(waiting)
        try:
            await waiting[1]
        finally:
            self._flushes.remove(waiting)

    # -- lanes that cannot go on

    def append_header(self, queue: int) -> bytes:
        """Return the header of every batch that goes to a queue."""
        return client.AppendBatch(queue=queue, client=self.client_id).SerializeToString()

    def stall(self, lane: Lane, error: RaftlogError | None) -> None:
        """Let ``lane`` go on when there is a leader; not at once, as ``error`` says."""
        if self._is_closed or lane in self._throttled:
            return
        if isinstance(error, Throttled):  # its own wait: others may go on meanwhile
            self.trouble = error
            wait_s = error.retry_after
            self._throttled[lane] = self.loop.call_later(wait_s, self._unthrottle, lane)
            return
        self._stalled[lane] = None
        if error is not None:
            self.trouble = error
        if self._recovery is None or self._recovery.done():
            self._recovery = self._spawn(self._recover(_pause_after(error)))

    def _unthrottle(self, lane: Lane) -> None:
        del self._throttled[lane]
        self.stall(lane, None)

    async def _recover(self, pause_s: float) -> None:
        while self._stalled:
            if pause_s:
                await asyncio.sleep(pause_s)
            pause_s = RETRY_PAUSE_S
            try:
                await self.router.find(FIND_S)
                if not self._producer:
                    self._producer = await self._begin()
            except PeerRefused as error:  # asking again changes nothing
                self._give_up(error)
            except RaftlogError as error:
                self.trouble = error
            else:
                self.trouble = None
                self._turn.handle(self._resume_stalled)

    def _resume_stalled(self) -> None:
        stalled, self._stalled = self._stalled, {}
        for lane in stalled:
            lane.producer = lane.producer or self._producer
            lane.resume()

    def _give_up(self, error: RaftlogError) -> None:
        stalled, self._stalled = self._stalled, {}
        for lane in stalled:
            lane.abandon(error)

    async def _begin(self) -> int:
        """Draw an id. Asking again after an unknown outcome wastes one, and no more."""
        answer, _ = await self._asker.ask(
            Method.PRODUCER_INIT,
            producers.InitProducer(),
            producers.ProducerBegun,
            timeout_s=ERRAND_S,
            repeats=True,
        )
        return answer.producer

    def renew(self) -> None:
        """The id is of no use any more: lanes that begin from now on get another."""
        self._producer = 0

    # -- errands

    def fence(self, lane: Lane, epoch: int) -> None:
        """Commit ``epoch``, asking until it is answered."""
        if not self._is_closed:
            self._spawn(self._fence(lane, epoch))

    async def _fence(self, lane: Lane, epoch: int) -> None:
        request = producers.FenceProducer(queue=lane.number, producer=lane.producer, epoch=epoch)
        while lane.end is None:
            try:
                answer, _ = await self._asker.ask(
                    Method.PRODUCER_FENCE,
                    request,
                    producers.ProducerFenced,
                    timeout_s=ERRAND_S,
                    repeats=True,
                )
            except WrongQueue as error:
                self.look_up(lane, error)  # abandons the lane, or it was too early to know
                await asyncio.sleep(RETRY_PAUSE_S)
            except (Retriable, OutcomeUnknown) as error:
                self.trouble = error
                await asyncio.sleep(RETRY_PAUSE_S)
            except (Refused, PeerRefused) as error:
                self._turn.handle(partial(lane.abandon, error))
            else:
                self._turn.handle(partial(_tell, lane, answer))
                return

    def spawn(self, errand: Coroutine[Any, Any, None]) -> None:
        """Run an errand until it ends or the producer is closed."""
        if self._is_closed:
            errand.close()
        else:
            self._spawn(errand)

    def _spawn(self, errand: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self.loop.create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """End every errand. The lanes are closed by their owner."""
        self._is_closed = True
        if self._flushing is not None:
            self._flushing.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        for timer in self._throttled.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def finished(self) -> None:
        """Wait for the end of what ``close`` has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _pause_after(error: RaftlogError | None) -> float:
    is_elsewhere = isinstance(error, NotLeader) and error.leader_address
    if error is None or is_elsewhere or isinstance(error, OutcomeUnknown):
        return 0.0  # the router paces itself
    return RETRY_PAUSE_S


def _tell(lane: Lane, answer: producers.ProducerFenced) -> None:
    remembered = [_remembered(each, answer.durability) for each in answer.remembered]
    lane.fenced(answer.next_sequence, remembered)


def _remembered(batch: producers.RememberedBatch, durability: str) -> Remembered:
    stored = Stored(
        *(Offset(batch.base_offset), Term(batch.term), Index(batch.index), durability),
        hidden_id=batch.hidden_id,
        due_ms=batch.due_ms,
    )
    return Remembered(batch.base_sequence, batch.count, stored)

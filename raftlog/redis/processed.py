"""Processing once, for those whose data lies in Redis, or whose work leaves no trace elsewhere.

::

    MULTI                                        changes(): what the message changes is in Redis,
      INCRBY balance:7 5                         and the note that it was processed goes with it
      SET raftlog:processed:billing:... done
    EXEC
    consumer.commit(message)                     a crash before this delivers it again: skipped

    SET ... claimed NX PX 30000                  once(): the work is elsewhere, a call of some
      (the work)                                 service; two never do it at the same time, and
    SET ... done                                 who is given it again afterwards skips it

``changes`` is exactly once, as far as Redis keeps what it has said: with its defaults a crash of
Redis may take back the last second. ``once`` repeats the work if its process dies
between the work and the note: no note elsewhere can be part of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, WatchError

from raftlog.client.durations import Duration
from raftlog.client.placed import Placed
from raftlog.redis.marks import (
    KEPT,
    PAUSE_S,
    PREFIX,
    RENEWED_PER_LEASE,
    Marks,
    Try,
    is_done,
    milliseconds,
    text_of,
)


class Processed:
    """What one consumer has processed, noted in Redis.

    Args:
        redis: The client; it may decode answers or not.
        consumer: A name for what is done; most often the group's.
        keep: How long it is known that a message was processed. Delivered again after that it
            is processed again: longer than messages are kept in their topic.
        prefix: What its keys begin with. In a Redis Cluster a transaction is of one slot:
            ``prefix="{billing}"``, and the same in the keys that ``changes`` changes.

    Raises:
        BadName: The consumer is no name.
        ValueError: ``keep`` is less than a millisecond.
    """

    def __init__(
        self, redis: Redis, consumer: str, *, keep: Duration = KEPT, prefix: str = PREFIX
    ) -> None:
        self._redis: Final = redis
        self._marks: Final = Marks(consumer, keep, prefix)

    @asynccontextmanager
    async def changes(
        self, message: Placed, *, identity: str | None = None
    ) -> AsyncIterator[Pipeline | None]:
        """Change data in Redis, once for each message: all at the end of the block, or nothing.

        ::

            async with processed.changes(message) as changes:
                if changes is not None:
                    changes.incrby("balance:7", 5)

        Args:
            message: As it was delivered, by a consumer of either style.
            identity: What the message is about, if more than one may be: an order's number, an
                event's id. Without it, the message's place: topic, queue, offset and time.

        Yields:
            A transaction to put commands into; they are sent when the block ends, and not if
            it raises. None: the message was processed before; change nothing. Somebody who is
            at it is waited for.

        Raises:
            ValueError: The identity has more than 255 characters.
            redis.exceptions.RedisError: Redis could not be asked; if it is not known whether
                the changes were made, the next delivery of the message tells. Or a command
                failed (a key of another type): Redis undoes nothing, so the others were
                carried out, and the message is processed.
        """
        mine = self._marks.begin(message, identity)
        async with self._redis.pipeline(transaction=True) as pipe:
            while True:
                await pipe.watch(mine.key)
                value = text_of(await pipe.get(mine.key))
                if value is None or is_done(value):
                    break
                await pipe.unwatch()
                await asyncio.sleep(PAUSE_S)
            if value is not None:
                await pipe.unwatch()
                yield None
                return
            pipe.multi()
            yield pipe
            pipe.set(mine.key, mine.done, px=self._marks.kept_ms)
            try:
                await pipe.execute()
            except WatchError:
                if not is_done(text_of(await self._redis.get(mine.key))):
                    raise
                # Somebody else, or a lost answer's first try, has made them: that is once.

    @asynccontextmanager
    async def once(
        self, message: Placed, *, identity: str | None = None, lease: Duration = 30
    ) -> AsyncIterator[bool]:
        """Do work once for each message, where it can't be in one transaction with the note.

        ::

            async with processed.once(message) as first:
                if first:
                    await charge(message)

        The claim is renewed while the block runs. A block that raises gives it back, so that
        the next delivery does the work.

        Args:
            message: As it was delivered, by a consumer of either style.
            identity: As for ``changes``.
            lease: So long after the process has died, or stood still, somebody else does the
                work.

        Yields:
            Whether the work is to be done. False: it was done before. Somebody who is at it is
            waited for, until he is done or his lease has ended.

        Raises:
            Fenced: At the end of the block: the claim had ended (this process stood still for
                longer than ``lease``), so somebody else may have done the work, too.
            ValueError: The identity has more than 255 characters, or the lease is less than a
                millisecond.
            redis.exceptions.RedisError: Redis could not be asked. At the end of the block: the
                work is done, and may be done again.
        """
        lease_ms = milliseconds(lease, "a lease of")
        mine = self._marks.begin(message, identity)
        if not await self._claim(mine, lease_ms):
            yield False
            return
        over = asyncio.Event()
        renewing = asyncio.create_task(self._renew(mine, lease_ms, over))
        try:
            yield True
        except BaseException:
            await _end(renewing, over)
            with suppress(RedisError):  # then the claim ends by itself
                await self._exchange(mine, None, 0)
            raise
        await _end(renewing, over)
        if not await self._exchange(mine, mine.done, self._marks.kept_ms):
            raise mine.lost()

    async def _claim(self, mine: Try, lease_ms: int) -> bool:
        """Wait until it is ours to do, or was done."""
        while True:
            if await self._redis.set(mine.key, mine.claimed, nx=True, px=lease_ms):
                return True
            value = text_of(await self._redis.get(mine.key))
            is_ours = mine.is_ours(value)
            if is_ours is not None:
                return is_ours
            if value is not None:
                await asyncio.sleep(PAUSE_S)

    async def _renew(self, mine: Try, lease_ms: int, over: asyncio.Event) -> None:
        while not over.is_set():
            await asyncio.sleep(lease_ms / 1000 / RENEWED_PER_LEASE)
            with suppress(RedisError):  # it is tried again while there is time
                if not await self._exchange(mine, mine.claimed, lease_ms):
                    return  # the end of the block tells

    async def _exchange(self, mine: Try, value: str | None, px: int) -> bool:
        """Put ``value`` (None: nothing) in the place of our claim; False: it is not there."""

        async def exchange(pipe: Pipeline) -> bool:
            return mine.exchange(pipe, text_of(await pipe.get(mine.key)), value, px)

        return bool(await self._redis.transaction(exchange, mine.key, value_from_callable=True))


async def _end(task: "asyncio.Task[None]", over: asyncio.Event) -> None:
    """End the renewing; what kept it from going on is not what the block is about."""
    over.set()  # a client that is cancelled while it connects may tell that as an error of Redis
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

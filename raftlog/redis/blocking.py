"""Processing once with ``redis.Redis``, in threads; ``raftlog.redis.processed`` says how."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, WatchError

from raftlog.client.durations import Duration
from raftlog.client.placed import Placed
from raftlog.redis.marks import (
    KEPT,
    PAUSE_S,
    PREFIX,
    Marks,
    Try,
    is_done,
    milliseconds,
    text_of,
)


class Processed:
    """What one consumer has processed, noted in Redis. Threads may share it.

    Arguments and errors are those of the asynchronous one.
    """

    def __init__(
        self, redis: Redis, consumer: str, *, keep: Duration = KEPT, prefix: str = PREFIX
    ) -> None:
        self._redis: Final = redis
        self._marks: Final = Marks(consumer, keep, prefix)

    @contextmanager
    def changes(
        self, message: Placed, *, identity: str | None = None
    ) -> Iterator[Pipeline | None]:
        """Change data in Redis, once for each message: all at the end of the block, or nothing.

        It yields, and raises, what the asynchronous one does.
        """
        mine = self._marks.begin(message, identity)
        with self._redis.pipeline(transaction=True) as pipe:
            while True:
                pipe.watch(mine.key)
                value = text_of(pipe.get(mine.key))
                if value is None or is_done(value):
                    break
                pipe.unwatch()
                time.sleep(PAUSE_S)
            if value is not None:
                pipe.unwatch()
                yield None
                return
            pipe.multi()
            yield pipe
            pipe.set(mine.key, mine.done, px=self._marks.kept_ms)
            try:
                pipe.execute()
            except WatchError:
                if not is_done(text_of(self._redis.get(mine.key))):
                    raise
                # Somebody else, or a lost answer's first try, has made them: that is once.

    @contextmanager
    def once(
        self, message: Placed, *, identity: str | None = None, lease: Duration = 30
    ) -> Iterator[bool]:
        """Do work once for each message, where it can't be in one transaction with the note.

        It yields, and raises, what the asynchronous one does, but nobody renews the claim: give a
        ``lease`` that is longer than the work takes.
        """
        lease_ms = milliseconds(lease, "a lease of")
        mine = self._marks.begin(message, identity)
        if not self._claim(mine, lease_ms):
            yield False
            return
        try:
            yield True
        except BaseException:
            with suppress(RedisError):  # then the claim ends by itself
                self._exchange(mine, None, 0)
            raise
        if not self._exchange(mine, mine.done, self._marks.kept_ms):
            raise mine.lost()

    def _claim(self, mine: Try, lease_ms: int) -> bool:
        """Wait until it is ours to do, or was done."""
        while True:
            if self._redis.set(mine.key, mine.claimed, nx=True, px=lease_ms):
                return True
            value = text_of(self._redis.get(mine.key))
            is_ours = mine.is_ours(value)
            if is_ours is not None:
                return is_ours
            if value is not None:
                time.sleep(PAUSE_S)

    def _exchange(self, mine: Try, value: str | None, px: int) -> bool:
        """Put ``value`` (None: nothing) in the place of our claim; False: it is not there."""

        def exchange(pipe: Pipeline) -> bool:
            return mine.exchange(pipe, text_of(pipe.get(mine.key)), value, px)

        # Typed as if nothing could be returned, which ``value_from_callable`` is for.
        transaction: Callable[..., object] = self._redis.transaction
        return bool(transaction(exchange, mine.key, value_from_callable=True))

"""The spool for threads: the same names as ``Spool``, without ``await``."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raftlog.base.errors import RaftlogError
from raftlog.client.blocking import Face, blocking
from raftlog.client.threaded import ThreadedClient
from raftlog.spool import spool as aio


class BlockingSpooledRecord(Face[aio.SpooledRecord]):
    """A record that is on this machine's disk: the cluster gets it once."""

    stored = blocking(aio.SpooledRecord.stored)

    @property
    def topic(self) -> str:
        """Its topic."""
        return self._inner.topic

    @property
    def number(self) -> int:
        """Rises with each record of the spool."""
        return self._inner.number

    @property
    def is_stored(self) -> bool:
        """Whether the cluster has it, as far as is known here."""
        return self._inner.is_stored


class BlockingSpool(Face[aio.Spool]):
    """A spool; any thread may send. Each thread's records of a key stay in order.

    Args:
        client: A ``raftlog.sync.Client``. Close the spool before it.
        directory: As for ``Spool``, as are the other arguments.
    """

    def __init__(self, client: ThreadedClient, directory: str | Path, **options: Any) -> None:
        super().__init__(client._thread, aio.Spool(client._inner, directory, **options))

    _send = blocking(aio.Spool.send)
    flush = blocking(aio.Spool.flush)
    retry = blocking(aio.Spool.retry)
    in_doubt = blocking(aio.Spool.in_doubt)
    settle_by_hand = blocking(aio.Spool.settle_by_hand)
    close = blocking(aio.Spool.aclose)

    @wraps(aio.Spool.send)
    def send(self, *args: Any, **kwargs: Any) -> BlockingSpooledRecord:
        """Return when the record is on this machine's disk."""
        return BlockingSpooledRecord(self._thread, self._send(*args, **kwargs))

    @contextmanager
    @wraps(aio.Spool.take_out)
    def take_out(self, topic: str) -> Iterator[list[aio.TakenRecord]]:
        """Give all records of a stuck topic; remove them when the block has ended."""
        taking = self._inner.take_out(topic)

        async def begin() -> list[aio.TakenRecord]:
            return await taking.__aenter__()

        async def end(left: Exception | None) -> None:
            await taking.__aexit__(None if left is None else type(left), left, None)

        records = self._thread.run(begin())
        try:
            yield records
        except BaseException:
            # Not the error itself: an interrupt would end the loop's thread.
            with suppress(RaftlogError):
                self._thread.run(end(_LeftByError()))
            raise
        self._thread.run(end(None))

    @property
    def status(self) -> aio.SpoolStatus:
        """What it holds, and what hinders it."""

        async def look() -> aio.SpoolStatus:
            return self._inner.status

        return self._thread.run(look())

    def __enter__(self) -> Self:
        """Open it, and go on with what is there."""

        async def enter() -> None:
            await self._inner.__aenter__()

        self._thread.run(enter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class _LeftByError(Exception):
    """A block ended by an error of its thread."""

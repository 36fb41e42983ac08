"""The spool for threads: the same names as ``Spool``, without ``await``."""

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from raftlog.client.blocking import Face, blocking
from raftlog.client.client import Client
from raftlog.client.durations import Duration
from raftlog.client.loop_thread import LoopThread
from raftlog.spool import spool as aio


class ThreadedClient(Protocol):
    """A ``raftlog.sync.Client``: a client, and the thread whose loop it lives on."""

    _thread: LoopThread
    _inner: Client


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


class BlockingSpool:
    """A spool; any thread may send. Each thread's records of a key stay in order.

    Args:
        client: A ``raftlog.sync.Client``. Close the spool before it.
        directory: As for ``Spool``, as are the other arguments.
    """

    def __init__(self, client: ThreadedClient, directory: str | Path, **options: Any) -> None:
        self._thread = client._thread
        self._client = client._inner
        self._directory = directory
        self._options = options
        self._inner: aio.Spool

    def __enter__(self) -> Self:
        """Open it, and go on with what is there."""

        async def enter() -> aio.Spool:
            return await aio.Spool(self._client, self._directory, **self._options).__aenter__()

        self._inner = self._thread.run(enter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def send(self, topic: str, value: bytes | None, **options: Any) -> BlockingSpooledRecord:
        """Return when the record is on this machine's disk: ``Spool.send``."""
        spooled = self._thread.run(self._inner.send(topic, value, **options))
        return BlockingSpooledRecord(self._thread, spooled)

    def flush(self, *, timeout: Duration | None = None) -> None:
        """Wait until the cluster has everything: ``Spool.flush``."""
        self._thread.run(self._inner.flush(timeout=timeout))

    def retry(self, topic: str) -> None:
        """Send the records of a stuck topic again: ``Spool.retry``."""
        self._thread.run(self._inner.retry(topic))

    def settle_by_hand(self, topic: str, *, stored: bool) -> None:
        """Say what became of records: ``Spool.settle_by_hand``."""
        self._thread.run(self._inner.settle_by_hand(topic, stored=stored))

    def take_out(self, topic: str) -> list[aio.TakenRecord]:
        """Remove all records of a stuck topic: ``Spool.take_out``."""
        return self._thread.run(self._inner.take_out(topic))

    @property
    def status(self) -> aio.SpoolStatus:
        """What it holds, and what hinders it."""

        async def look() -> aio.SpoolStatus:
            return self._inner.status

        return self._thread.run(look())

    def close(self) -> None:
        """Stop sending, and let go of the directory: ``Spool.aclose``."""
        self._thread.run(self._inner.aclose())

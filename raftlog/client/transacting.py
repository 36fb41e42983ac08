"""What a client has for atomic transactions: one dispatch for all of them."""

from raftlog.client.asking import Asker
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.atomic_dispatch import AtomicDispatch
from raftlog.client.catalog import Catalog
from raftlog.client.durations import Duration, seconds
from raftlog.wire.codecs import codec_named


class Transacting:
    """Atomic transactions, as a part of ``Client``."""

    _asker: Asker
    _catalog: Catalog
    _atomics: AtomicDispatch | None = None

    def _check(self) -> None:
        """Refuse a closed client, and another loop than its own."""
        raise NotImplementedError

    def atomic(
        self, *, timeout: Duration | None = None, compression: str = "none"
    ) -> AtomicTransaction:
        """Return ``async with``: what it sends, commits and acknowledges happens as one.

        Args:
            timeout: Seconds that the commit is tried; without it, the client's.
            compression: "none", "zstd" or "lz4".

        Raises:
            CodecUnavailable: No such codec, or its package is not installed.

        All of its queues must be in one shard, and its records have 1 MiB at most together.
        At most 16 transactions of a client are committed at once; others wait.
        """
        self._check()
        codec_named(compression)
        if self._atomics is None:
            self._atomics = AtomicDispatch(self._asker)
        timeout_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        return AtomicTransaction(
            self._atomics, self._catalog, timeout_s=timeout_s, codec=compression
        )

    async def _close_atomics(self) -> None:
        if self._atomics is not None:
            await self._atomics.aclose()

"""The relay for programs without a loop: the same names as ``Relay``, without ``await``.

::

    from raftlog.sync import Client

    with Client(SEEDS) as client:
        BlockingRelay(client, outbox).run()            # a process that does nothing else
    with Client(SEEDS) as client, BlockingRelay(client, outbox):
        serve()                                        # beside what the program does
"""

from types import TracebackType
from typing import Any, Self

from raftlog.client.blocking import Face, blocking, on_loop
from raftlog.client.threaded import ThreadedClient
from raftlog.sql import relay as aio
from raftlog.sql.outbox import Outbox


class BlockingRelay(Face[aio.Relay]):
    """Forwards one outbox, on the client's own thread; ``wake`` may be called by any thread.

    Args:
        client: A ``raftlog.sync.Client``. Stop the relay before it is closed.
        outbox: As for ``Relay``, as are the other arguments.

    ``run`` blocks; interrupted (ctrl-C), it stops as if it was cancelled, and what it was in
    the middle of is found by the next relay. ``with`` runs it beside the caller, and raises at
    the end what has stopped it.
    """

    def __init__(self, client: ThreadedClient, outbox: Outbox[Any], **options: Any) -> None:
        super().__init__(client._thread, aio.Relay(client._inner, outbox, **options))

    run = blocking(aio.Relay.run)
    wake = on_loop(aio.Relay.wake)

    @property
    def status(self) -> aio.RelayStatus:
        """What it does, and what hinders it."""
        return self._inner.status

    def __enter__(self) -> Self:
        """Run beside the caller."""

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
        """Stop; raises what has stopped it before."""

        async def leave() -> None:
            await self._inner.__aexit__(None, None, None)

        self._thread.run(leave())

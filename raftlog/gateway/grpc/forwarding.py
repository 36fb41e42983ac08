"""Requests that only the leader answers, carried to it over framed TCP.

A program in another language has no client that finds the leader, so each node
serves all of the cluster: what its own handlers refuse with ``NotLeader`` goes
to whichever node leads. One hop only, because framed TCP forwards nothing.

``NotLeader`` and ``Unavailable`` mean that nothing was done, so asking again
within the caller's deadline is safe for every request, also while there is no
leader. A request that was sent and got no answer is not sent again if it
changes something: it ends in ``OutcomeUnknown`` (``client.channel``).

Requests that wait here are bounded by their bytes: without a bound, what many
clients send during one election would be held all at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import NotLeader, RaftlogError, Retriable, Throttled, Unavailable
from raftlog.base.ids import ShardId
from raftlog.base.limits import WRITE_BUFFER_BYTES_MAX
from raftlog.client.channel import unanswered
from raftlog.client.routing import Router
from raftlog.gateway.grpc.calls import Call
from raftlog.wire.requests import EXCHANGES

log: Final = logging.getLogger("raftlog.gateway")

PAUSE_S: Final = 0.02
HELD_BYTES_MAX: Final = WRITE_BUFFER_BYTES_MAX


class Forwarder:
    """Carries calls to the leaders of a cluster's shards.

    Args:
        seeds: The client addresses of the cluster's nodes; this one's may be among them.
        cluster: Its id: a node of another cluster is never asked.
        held_bytes_max: Payloads under way beyond this are ``Throttled``.
    """

    def __init__(
        self, seeds: Sequence[str], *, cluster: str = "", held_bytes_max: int = HELD_BYTES_MAX
    ) -> None:
        self._seeds = seeds
        self._cluster = cluster
        self._routers: dict[ShardId, Router] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held_bytes_max = held_bytes_max
        self._held_bytes = 0

    def start(self, call: Call, timeout_s: float) -> None:
        """Carry ``call`` to the leader, for at most ``timeout_s``; it is answered from here."""
        if self._held_bytes + len(call.payload) > self._held_bytes_max:
            call.fail(Throttled("the leader takes less than is sent to it through this node"))
            return
        task = asyncio.get_running_loop().create_task(self._carry(call, timeout_s))

        def cancel() -> None:
            task.cancel()

        call.on_cancelled = cancel
        held_bytes = len(call.payload)

        def ended(_: object) -> None:
            self._tasks.discard(task)
            self._held_bytes -= held_bytes

        self._tasks.add(task)
        self._held_bytes += held_bytes
        task.add_done_callback(ended)

    async def aclose(self) -> None:
        """Forget what is under way, and close every connection. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for router in self._routers.values():
            await router.aclose()

    async def _carry(self, call: Call, timeout_s: float) -> None:
        try:
            message, payload = await self._ask(call, timeout_s)
        except RaftlogError as error:
            call.fail(error)
        except Exception as error:  # the top of a task: its caller must not wait for ever
            log.exception("a request could not be forwarded")
            call.fail(unanswered(call.method, f"it could not be forwarded ({error!r})"))
        else:
            call.reply(message, (payload,) if payload else ())

    async def _ask(self, call: Call, timeout_s: float) -> tuple[Message, Buffer]:
        """Ask the leader, whoever that becomes, until there is an answer or time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        router = self.router(call.shard)
        while True:
            channel = await router.find(max(deadline - loop.time(), 0.001))
            try:
                return await channel.call(
                    call.method,
                    call.message,
                    EXCHANGES[call.method].reply,
                    payload=(call.payload,) if call.payload else (),
                    shard=call.shard,
                    timeout_s=max(deadline - loop.time(), 0.001),
                )
            except (NotLeader, Unavailable) as error:
                router.demote(channel, error if isinstance(error, NotLeader) else None)
                failed: Retriable = error
            if deadline - loop.time() <= PAUSE_S:
                raise failed
            await asyncio.sleep(PAUSE_S)

    def router(self, shard: ShardId) -> Router:
        """Return who finds the leader of a shard; it is closed with this."""
        router = self._routers.get(shard)
        if router is None:
            router = Router(self._seeds, shard=shard, cluster=self._cluster)
            self._routers[shard] = router
        return router

"""Asking the leader: whoever that becomes, until there is an answer or time is up.

For everything but the hot path of sending: one question, one answer, a total
budget of time. What was refused because of who was asked, or when, is asked
again; the last refusal is what the caller sees when time is up.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    NotLeader,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    Throttled,
    Unavailable,
)
from raftlog.client.anybody import AnyNode, Finder
from raftlog.client.routing import Router
from raftlog.wire.frame import Method

M = TypeVar("M", bound=Message)
RETRY_PAUSE_S: Final = 0.02
ANSWER_TIMEOUT_S: Final = 2.0
"""For one answer of one node; then another node is asked."""
_LEAST_S: Final = 0.001


class Asker:
    """Questions to one shard. Bound to the loop of its router."""

    def __init__(
        self,
        router: Router,
        *,
        shard: int = 0,
        timeout_s: float = 30.0,
        staleness_s: float | None = None,
        client_id: str = "",
    ) -> None:
        self.client_id: Final = client_id
        self.router: Final = router
        self.shard: Final = shard
        self.timeout_s: Final = timeout_s
        self.staleness_ms: Final = None if staleness_s is None else int(staleness_s * 1000)
        """How old what is read may be, if others than the leader are asked for records."""
        self.fetches: Asker = self
        """Who is asked for records."""
        self._finder: Final[Finder] = router if staleness_s is None else AnyNode(router)

    def with_staleness(self, staleness_s: float | None) -> "Asker":
        """Return one that asks any node for records, and the leader for the rest."""
        if staleness_s is None:
            return self
        asker = Asker(
            self.router, shard=self.shard, timeout_s=self.timeout_s, client_id=self.client_id
        )
        asker.fetches = Asker(
            self.router, shard=self.shard, timeout_s=self.timeout_s, staleness_s=staleness_s
        )
        return asker

    async def ask(
        self,
        method: Method,
        message: Message,
        answer: type[M],
        *,
        payload: Sequence[Buffer] | Callable[[], Sequence[Buffer]] = (),
        timeout_s: float | None = None,
        wait_s: float = 0.0,
        repeats: bool = False,
        ends: bool = False,
    ) -> tuple[M, Buffer]:
        """Ask until there is an answer; return its header and payload.

        Args:
            method: What is asked.
            message: With what.
            answer: What is answered with.
            payload: Bytes that go with it; or who gives them, each time just before they are
                sent: the machine may have slept since. What that raises ends the asking.
            timeout_s: For all of it; None: the client's.
            wait_s: How long the node may wait before it answers (a long poll).
            repeats: Asking again is harmless although the method changes something, so
                an unknown outcome is asked again too.
            ends: ``Throttled`` is an answer, too, once ``wait_s`` have passed.

        Raises:
            Retriable: Nothing was done, and time is up; the text says why.
            OutcomeUnknown: It was asked, may have had its effect, and nobody answered.
            RaftlogError: What the leader answered.

        Cancelled, the answer is not waited for; the node may still do what was asked.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.timeout_s if timeout_s is None else timeout_s)
        waited = loop.time() + wait_s
        while True:
            left_s = max(deadline - loop.time(), _LEAST_S)
            channel = await self._finder.find(left_s)
            left_s = max(deadline - loop.time(), _LEAST_S)
            pause_s = RETRY_PAUSE_S
            parts = payload() if callable(payload) else payload
            error: RaftlogError
            try:
                return await channel.call(
                    method,
                    message,
                    answer,
                    payload=parts,
                    shard=self.shard,
                    timeout_s=min(left_s, wait_s + ANSWER_TIMEOUT_S),
                )
            except NotLeader as refusal:
                self._finder.demote(channel, refusal)
                error = refusal
            except Throttled as refusal:
                if ends and loop.time() >= waited:
                    raise
                pause_s = refusal.retry_after
                error = refusal
            except Unavailable as refusal:
                self._finder.demote(channel)
                error = refusal
            except OutcomeUnknown as unknown:
                if not repeats:
                    raise
                self._finder.demote(channel)
                error = unknown
            except Retriable as refusal:
                error = refusal
            if loop.time() + pause_s >= deadline:
                raise error
            await asyncio.sleep(pause_s)

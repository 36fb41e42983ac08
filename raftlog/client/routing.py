"""Which node leads, and a channel to it.

All known nodes are asked at once and the first that says "I lead" is taken:
after a failover the quickest way there is not the longest list of timeouts. A
leader that has been silent for a while although somebody waits is doubted: if
another one leads in a higher term, its channel is given up, and whoever waits
there learns that the outcome is unknown (a machine that is cut off sends no
reset).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final

from raftlog.base.errors import Closed, NotLeader, PeerRefused, RaftlogError, Unavailable
from raftlog.base.limits import REQUESTS_PER_CONNECTION_MAX
from raftlog.client.channel import Channel
from raftlog.client.sharing import result_of
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

PROBE_TIMEOUT_S: Final = 0.5
ROUND_PAUSE_S: Final = 0.02
ROUND_PAUSE_MAX_S: Final = 0.2
SILENCE_S: Final = 0.4
LONG_POLLS_MAX: Final = REQUESTS_PER_CONNECTION_MAX // 2
"""Reads that wait for records at once; a connection has room for heartbeats and commits, too."""
LEADS: Final = "leader"


async def ask_status(
    address: str,
    *,
    shard: int = 0,
    cluster: str = "",
    timeout_s: float = PROBE_TIMEOUT_S,
    space: bool = False,
) -> client.NodeStatus:
    """Return what the node at ``address`` says about itself, over a connection of its own.

    With ``space`` also what takes the shard's space, for which it looks at every queue.

    Raises:
        Unavailable: It does not answer in time.
        PeerRefused: It refuses, or is of another cluster.
    """
    host, port = parse_address(address)
    channel = await Channel.connect(host, port, cluster=cluster, timeout_s=timeout_s)
    try:
        status, _ = await channel.call(
            *(Method.STATUS, client.GetStatus(space=space), client.NodeStatus),
            shard=shard,
            timeout_s=timeout_s,
        )
    finally:
        await channel.aclose()
    return status


class Router:
    """Finds the leader of one shard and keeps channels to the nodes it has met."""

    def __init__(self, seeds: Sequence[str], *, shard: int = 0, cluster: str = "") -> None:
        if not seeds:
            raise ValueError("a client needs the address of at least one node")
        for seed in seeds:
            parse_address(seed)
        self.long_polls: Final = asyncio.Semaphore(LONG_POLLS_MAX)
        """Held by whoever asks for records."""
        self.channel: Channel | None = None
        """To the leader, as far as known; may have ended meanwhile."""
        self._seeds = tuple(seeds)
        self._shard = shard
        self._cluster = cluster
        self._known: dict[str, None] = dict.fromkeys(seeds)
        self._channels: dict[str, Channel] = {}
        self._term = 0
        self._search: asyncio.Task[Channel] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._random = Random()
        self._is_closed = False
        self._finders = 0
        self._errors: list[RaftlogError] = []
        self._doubting: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> list[str]:
        """Every node that is known."""
        return list(self._known)

    def addresses_of(self, channel: Channel) -> list[str]:
        """Return where ``channel`` leads."""
        return [address for address, each in self._channels.items() if each is channel]

    @property
    def leader(self) -> Channel | None:
        """An open channel to the leader, if there is one right now: the hot path's question."""
        channel = self.channel
        return channel if channel is not None and channel.is_open else None

    async def find(self, timeout_s: float) -> Channel:
        """Return an open channel to the leader.

        Raises:
            Unavailable: None was found in time.
            PeerRefused: A node refused this client; it is of another cluster or version.
            Closed: The client was closed.
        """
        if self._is_closed:
            raise Closed("the client was closed")
        channel = self.leader
        if channel is not None:
            return channel
        self._finders += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await result_of(self._searching())
        except TimeoutError:
            raise self._no_leader() from None
        finally:
            self._finders -= 1

    def demote(self, channel: Channel, error: NotLeader | None = None) -> None:
        """``channel`` does not lead to the leader; ``error`` may say who does."""
        if self.channel is channel:
            self.channel = None
        if error is not None and error.leader_address:
            self._learn(error.leader_address)

    async def aclose(self) -> None:
        """Close every channel."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
        for task in (self._search, self._doubting):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, RaftlogError):
                    await task
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.aclose()

    # -- inside

    def _learn(self, address: str) -> None:
        with suppress(ValueError):
            parse_address(address)
            self._known.setdefault(address, None)
            while len(self._known) > len(self._seeds) + 16:  # hints are not trusted to be few
                self._known.pop(next(a for a in self._known if a not in self._seeds))

    def _searching(self) -> "asyncio.Task[Channel]":
        if self._search is None or self._search.done():
            self._search = asyncio.get_running_loop().create_task(self._seek())
            self._search.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._search

    def _no_leader(self) -> Unavailable:
        # Without the time: it is one look's of several, and whoever asked has set another one.
        cause = f" ({self._errors[0]})" if self._errors else ""
        return Unavailable(
            f"no leader was found in time at {', '.join(self._known)}{cause}; "
            "see that a majority of the nodes runs: raftlog cluster status"
        )

    async def _seek(self) -> Channel:
        pause_s = ROUND_PAUSE_S
        while True:
            found = await self._round()
            if found is not None:
                return found
            refused = [error for error in self._errors if isinstance(error, PeerRefused)]
            if len(refused) == len(self._known):
                raise refused[0]  # asking again changes nothing
            if not self._finders:
                raise Unavailable("nobody looks for the leader any more")
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, ROUND_PAUSE_MAX_S)

    async def _round(self) -> Channel | None:
        """Ask every known node once; take the first that leads, drop the rest."""
        self._errors = []
        probes = {asyncio.ensure_future(self._probe(address)) for address in self._known}
        try:
            for answer in asyncio.as_completed(probes):
                found = await answer
                if found is not None:
                    channel, self._term = found
                    self.channel = channel
                    self._watch_later()
                    return channel
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
        return None

    async def _probe(self, address: str) -> tuple[Channel, int] | None:
        """Return channel and term if the node at ``address`` leads in no older term than known."""
        try:
            channel = await self.channel_to(address)
            status, _ = await channel.call(
                Method.STATUS,
                client.GetStatus(),
                client.NodeStatus,
                shard=self._shard,
                timeout_s=PROBE_TIMEOUT_S,
            )
        except RaftlogError as error:
            self._errors.append(error)
            return None
        if status.leader_address:
            self._learn(status.leader_address)
        if status.role != LEADS or status.term < self._term:
            return None
        return channel, status.term

    async def channel_to(self, address: str) -> Channel:
        """Return an open channel to a node; ``Unavailable`` if there is none soon."""
        channel = self._channels.get(address)
        if channel is None or not channel.is_open:
            host, port = parse_address(address)
            channel = await Channel.connect(
                host, port, cluster=self._cluster, timeout_s=PROBE_TIMEOUT_S
            )
            quicker = self._channels.get(address)
            if quicker is not None and quicker.is_open:  # of another round
                channel.abort()
                return quicker
            self._channels[address] = channel
        return channel

    def _watch_later(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().call_later(SILENCE_S / 2, self._look)

    def _look(self) -> None:
        """Doubt a leader that is silent while somebody waits for it."""
        self._watch = None
        channel = self.leader
        if channel is None or self._is_closed:
            return  # the next round watches again
        loop = asyncio.get_running_loop()
        is_silent = channel.waiting_count and loop.time() - channel.heard_at > SILENCE_S
        if is_silent and (self._doubting is None or self._doubting.done()):
            self._doubting = loop.create_task(self._doubt(channel))
            self._doubting.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._watch_later()

    async def _doubt(self, channel: Channel) -> None:
        term = self._term
        found = await self._round()
        if found is not None and found is not channel and self._term > term:
            channel.abort(Unavailable("another node leads, and this one was silent"))

"""Who works off the dead letters of a group: they are read once they are there, then forgotten."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from chaos.check.whole_queues import NAME
from chaos.live.topics import RETENTION_S
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, TopicNotFound
from raftlog.client.client import Client
from raftlog.client.receipts import Message

POLL_S: Final = 0.5


class Letters:
    """The dead letters of one queue-style group, each once, in order.

    Args:
        group: Whose they are.
        take: Called with the value, and after how many attempts it was given up.
    """

    def __init__(self, world: World, group: str, take: Callable[[bytes, int], None]) -> None:
        self._world = world
        self._group = group
        self._take = take
        self._next: dict[int, int] = {}
        """By queue: the offset of the next letter."""

    async def run(self, client: Client, ended: asyncio.Event) -> None:
        """Read until ``ended``."""
        while not ended.is_set():
            with suppress(RaftlogError):  # there are none yet, or nobody could be asked
                info = await client.queue_groups.describe(self._group)
                await self._read(client, info.dead_letter_topic, ended)
            await asyncio.sleep(POLL_S)

    async def whole(self, client: Client, topic: str) -> None:
        """Wait until all that are in their topic are read."""
        while True:
            try:
                info = await client.topics.describe(topic)
            except TopicNotFound:
                return  # there are none
            ends = enumerate(each.end_offset for each in info.queues)
            if all(self._next.get(queue, 0) == end for queue, end in ends):
                return
            await asyncio.sleep(POLL_S)

    async def _read(self, client: Client, topic: str, ended: asyncio.Event) -> None:
        reader = f"letters.{self._group}"
        async with client.consumer(reader, topic) as consumer:
            if not self._next:  # holds them from the first one on, before any may go
                await client.groups.seek(reader, topic, to="earliest")
                await client.topics.alter(topic, retention=RETENTION_S, until_consumed=True)
            while not ended.is_set():
                for message in await consumer.poll(timeout=POLL_S):
                    self._heed(message)

    def _heed(self, message: Message) -> None:
        """Take in a letter, perhaps once more."""
        expected = self._next.get(message.queue, 0)
        if message.offset > expected:
            text = f"{message.topic}/{message.queue}: {message.offset} instead of {expected}"
            self._world.saw(NAME, text)
        if message.offset >= expected:
            attempts = int(dict(message.headers).get("dead-letter-attempts", b"0"))
            self._take(bytes(message.value or b""), attempts)
            self._next[message.queue] = message.offset + 1

"""Which queues a topic has: asked once, kept until somebody finds them changed.

Queues have numbers that nobody outside the client layer sees: a topic that is
deleted and made again has other ones, so that whoever still believes in the old
ones is refused (``WrongQueue``) and looks again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from raftlog.base.errors import RaftlogError, Retriable, Unavailable, WrongMessageType
from raftlog.base.message_types import MessageType
from raftlog.client.asking import Asker
from raftlog.client.sharing import result_of
from raftlog.wire.frame import Method
from raftlog.wire.schema import topics

_LEAST_S: Final = 0.001
_NUMBERS: "Final[Mapping[MessageType, topics.MessageType.ValueType]]" = {
    MessageType.NORMAL: topics.MESSAGE_TYPE_NORMAL,
    MessageType.FIFO: topics.MESSAGE_TYPE_FIFO,
    MessageType.DELAYED: topics.MESSAGE_TYPE_DELAYED,
    MessageType.TRANSACTIONAL: topics.MESSAGE_TYPE_TRANSACTIONAL,
}
Queues = tuple[int, ...]
"""The numbers of a topic's queues, in the order of their places."""


def number_of(kind: MessageType) -> "topics.MessageType.ValueType":
    """Return the number of a type in messages."""
    return _NUMBERS[kind]


def message_types(settings: topics.TopicSettings) -> list[MessageType]:
    """Return the types that a topic takes, as a node says; none: it does not say."""
    return [kind for kind, number in _NUMBERS.items() if number in settings.types]


class TopicNeeds:
    """What a plain send to a topic must have. One for each topic, shared by all who send to it.

    A broker tells a key by its hash in the record table, and few topics ask for it: there it is
    written, and where nothing is known of a topic yet.
    """

    __slots__ = ("_takes", "_topic", "hashes", "keys")

    def __init__(self, topic: str) -> None:
        self.keys = False
        """Whether a record without a key is refused, as far as is known."""
        self.hashes = True
        """Whether the hashes of keys are to be written."""
        self._takes: Sequence[str] = ()
        self._topic = topic

    def learn(self, takes: Sequence[str]) -> None:
        """The topic takes messages of these types; none: of all."""
        self._takes = takes
        is_fifo = MessageType.FIFO in takes and MessageType.NORMAL not in takes
        self.keys = self.hashes = is_fifo

    @property
    def refusal(self) -> WrongMessageType:
        """What a record without a key is told."""
        return WrongMessageType(self._topic, self._takes, MessageType.NORMAL)


class Catalog:
    """The topics that a client has met. Bound to its loop."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._known: dict[str, Queues] = {}
        self._needs: dict[str, TopicNeeds] = {}
        self._lookups: dict[str, asyncio.Task[Queues]] = {}

    def known(self, topic: str) -> Queues | None:
        """Return what is remembered of ``topic``."""
        return self._known.get(topic)

    def learn(self, description: topics.TopicDescription) -> Queues:
        """Remember what a node said of a topic."""
        queues = tuple(queue.queue for queue in description.queues)
        self._known[description.name] = queues
        self.needs(description.name).learn(message_types(description.settings))
        return queues

    def needs(self, topic: str) -> TopicNeeds:
        """Return what a send to ``topic`` must have, as far as is known, now and later."""
        found = self._needs.get(topic)
        if found is None:
            found = self._needs[topic] = TopicNeeds(topic)
        return found

    def forget(self, topic: str) -> None:
        """Ask again the next time."""
        self._known.pop(topic, None)

    async def find(self, topic: str, timeout_s: float | None = None) -> Queues:
        """Return the topic's queues, remembered or asked for.

        Raises:
            TopicNotFound: There is no such topic; the error names the nearest one.
            Unavailable: No leader within the timeout.
        """
        return self._known.get(topic) or await self.refresh(topic, timeout_s)

    async def refresh(self, topic: str, timeout_s: float | None = None) -> Queues:
        """Ask what queues the topic has now; raises as ``find``.

        Everybody who asks meanwhile shares one question; cancelling one of them
        disturbs nobody. Each has its own time: who has more than the question asks again.
        """
        loop = asyncio.get_running_loop()
        left_s = self._asker.timeout_s if timeout_s is None else timeout_s
        deadline = loop.time() + left_s
        while True:
            lookup = self._lookups.get(topic)
            if lookup is None or lookup.done():
                return await result_of(self._ask(topic, max(deadline - loop.time(), _LEAST_S)))
            try:
                async with asyncio.timeout_at(deadline):
                    return await result_of(lookup)
            except TimeoutError:
                raise Unavailable(f"topic {topic!r} could not be looked up in time") from None
            except Retriable:
                if loop.time() >= deadline:
                    raise

    def _ask(self, topic: str, timeout_s: float) -> "asyncio.Task[Queues]":
        lookup = asyncio.get_running_loop().create_task(self._look_up(topic, timeout_s))
        self._lookups[topic] = lookup
        lookup.add_done_callback(lambda task: self._ended(topic, task))
        return lookup

    def close(self) -> None:
        """Ask nothing more."""
        for lookup in self._lookups.values():
            lookup.cancel()

    async def _look_up(self, topic: str, timeout_s: float) -> Queues:
        try:
            answer, _ = await self._asker.ask(
                Method.TOPIC_DESCRIBE,
                topics.DescribeTopic(name=topic),
                topics.TopicDescription,
                timeout_s=timeout_s,
            )
        except RaftlogError:
            self.forget(topic)
            raise
        return self.learn(answer)

    def _ended(self, topic: str, task: "asyncio.Task[Queues]") -> None:
        if self._lookups.get(topic) is task:
            del self._lookups[topic]
        if not task.cancelled():
            task.exception()  # read, or asyncio complains that nobody did

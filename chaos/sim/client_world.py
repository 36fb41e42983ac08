"""What the clients of one run share: the way to the nodes, the topics, and their own truth."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from google.protobuf.message import Message

from chaos.sim.calls import Calls, OnAnswer
from chaos.sim.events import MS_NS, SECOND_NS, EventQueue
from chaos.sim.facts import Facts
from chaos.sim.process import Process
from chaos.sim.swarm import BrokerConfig, CallsConfig
from raftlog.base.errors import NotLeader, Outcome, RaftlogError, TopicNotFound
from raftlog.base.ids import NodeId
from raftlog.wire.frame import Method
from raftlog.wire.schema import topics

CALM_PACE: Final = 0.1
"""What clients do while time is to pass after the faults, of what they did before."""


class ClientWorld:
    """Everything that a client needs but its own state."""

    def __init__(
        self,
        queue: EventQueue,
        random: Random,
        config: BrokerConfig,
        facts: Facts,
        process_of: Callable[[NodeId], Process | None],
        nodes: Sequence[NodeId],
    ) -> None:
        self.queue: Final = queue
        self.random: Final = random
        self.config: Final = config
        self.facts: Final = facts
        facts.told.by_clients = True
        self.nodes: Final = nodes
        self.topics: Final[dict[str, topics.TopicDescription]] = {}
        """As somebody was told last."""
        self.calls_config = config.calls
        self.healed = False
        self.pace = 1.0
        """How often things are done, of what was drawn."""
        self.stopped = False
        """Whether nobody sends anything new."""
        self.members_stopped = False
        self.acks_after_heal = 0
        self._process_of = process_of
        self._values = 0

    @property
    def marks(self) -> Counter[str]:
        """Counts of what happened."""
        return self.facts.marks

    def calls(self) -> Calls:
        """Return the connections of a new client."""
        return Calls(
            *(self.queue, self.random, lambda: self.calls_config, self._process_of),
            self.facts.marks,
        )

    def heal(self) -> None:
        """From now on no request is lost or late; what is under way stays so."""
        self.healed = True
        self.calls_config = CallsConfig()

    def calm(self) -> None:
        """From now on little is done: time is to pass."""
        self.pace = CALM_PACE

    def value(self, owner: str) -> bytes:
        """Return a value that nobody has sent, and note that it is sent now."""
        self._values += 1
        padding = self.random.randrange(self.config.value_bytes_max)
        value = b"%s:%d:" % (owner.encode(), self._values) + b"." * padding
        self.facts.sends.sends(value)
        return value

    def some_queue(self) -> int | None:
        """Return a queue that may be there."""
        if not self.topics:
            return None
        topic = self.topics[self.random.choice(list(self.topics))]
        return self.random.choice(topic.queues).queue

    def every(self, per_second: float, act: Callable[[], None]) -> None:
        """Act at random moments until the clients stop."""
        if not per_second:
            return

        def again() -> None:
            if not self.stopped:
                act()
                self.every(per_second, act)

        delay_s = self.random.expovariate(per_second * self.pace)
        self.queue.after(int(delay_s * SECOND_NS), again)

    def soon(self, act: Callable[[], None]) -> None:
        """Act after a short while, as clients do that try again."""
        self.queue.after(self.random.randrange(5, 150) * MS_NS, act)


class Client:
    """One client: it asks whom it takes for the leader."""

    def __init__(self, world: ClientWorld, name: str) -> None:
        self.world: Final = world
        self.name: Final = name
        self.believed: NodeId = world.random.choice(list(world.nodes))
        self._calls: Final = world.calls()

    def ask(
        self,
        method: Method,
        message: Message,
        done: OnAnswer,
        *,
        payload: bytes = b"",
        node: NodeId | None = None,
    ) -> None:
        """Ask the leader, or ``node``; learn from the answer who leads."""
        world = self.world
        told = world.facts.told.asks(method, message)

        def answered(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if told is not None:
                told(answer, error)
            if isinstance(error, NotLeader) and error.leader_hint is not None:
                self.believed = error.leader_hint
            elif error is not None and (error.retriable or error.outcome is Outcome.UNKNOWN):
                self.believed = world.random.choice(list(world.nodes))
            done(answer, parts, error)

        timeout_ns = world.random.randrange(100, 1_500) * MS_NS
        self._calls.call(
            *(node or self.believed, method, message, answered),
            payload=payload,
            timeout_ns=timeout_ns,
        )

    def describe(self, name: str, done: Callable[[], None]) -> None:
        """Learn what a topic is now, or that it is gone; then call ``done``."""

        def answered(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicNotFound):
                self.world.topics.pop(name, None)
            elif error is None:
                assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
                self.world.topics[name] = answer
            done()

        self.ask(Method.TOPIC_DESCRIBE, topics.DescribeTopic(name=name), answered)

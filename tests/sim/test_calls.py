"""Requests of simulated clients: lost, late, refused, never answered twice."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

import pytest
from google.protobuf.message import Message

from chaos.sim.calls import Calls, SimRequest
from chaos.sim.clocks import WallClock
from chaos.sim.events import MS_NS, SECOND_NS, EventQueue
from chaos.sim.process import Life
from chaos.sim.swarm import CallsConfig
from raftlog.base.errors import BadRequest, Outcome, RaftlogError
from raftlog.base.ids import NodeId
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

N1, N2 = NodeId("n1"), NodeId("n2")
REPLY = client.EndOffsetIs(end_offset=7)


class FakeState:
    """Handles requests as the test says."""

    def __init__(self, handle: Callable[[SimRequest], None]) -> None:
        self.handlers: Mapping[int, Callable[[SimRequest], None]] = {
            Method.END_OFFSET: handle,
            Method.APPEND: handle,
        }


class FakeProcess:
    """A process that lives as long as the test lets it."""

    def __init__(self, queue: EventQueue, handle: Callable[[SimRequest], None]) -> None:
        self.life = Life(queue, 0, WallClock(queue))
        self.state = FakeState(handle)


class World:
    """One client and one node, n1; n2 is down."""

    def __init__(self, config: CallsConfig) -> None:
        self.queue = EventQueue()
        self.handled: list[SimRequest] = []
        self.answers: list[tuple[Message | None, RaftlogError | None]] = []
        self.process = FakeProcess(self.queue, self._handle)
        processes = {N1: self.process, N2: None}
        self.calls = Calls(
            *(self.queue, Random(1), lambda: config, processes.__getitem__, Counter())
        )
        self.replies = True

    def _handle(self, request: SimRequest) -> None:
        self.handled.append(request)
        if self.replies:
            request.reply(REPLY)

    def ask(self, node: NodeId = N1, method: Method = Method.END_OFFSET) -> None:
        """Ask, and wait for a second at most."""
        self.calls.call(
            *(node, method, client.EndOffset(queue=1)),
            lambda answer, _parts, error: self.answers.append((answer, error)),
            timeout_ns=SECOND_NS,
        )

    def error(self) -> RaftlogError:
        """Return the only answer, which is an error."""
        ((_, error),) = self.answers
        assert error is not None
        return error


def test_a_request_is_answered() -> None:
    """Once, and after some time."""
    world = World(CallsConfig())
    world.ask()
    assert world.answers == []
    world.queue.run_until(10 * SECOND_NS)
    assert world.answers == [(REPLY, None)]


@pytest.mark.parametrize("config", [CallsConfig(lost=1.0), CallsConfig(late=1.0)])
@pytest.mark.parametrize(
    ("method", "outcome"),
    [(Method.APPEND, Outcome.UNKNOWN), (Method.END_OFFSET, Outcome.NOT_APPLIED)],
)
def test_silence_is_told_as_what_it_means(
    config: CallsConfig, method: Method, outcome: Outcome
) -> None:
    """Of an append nobody knows the outcome; of a question it does not matter (ruling 22)."""
    world = World(config)
    world.replies = False
    world.ask(method=method)
    world.queue.run_until(10 * SECOND_NS)
    assert world.error().outcome is outcome


def test_a_late_request_is_carried_out_when_nobody_waits_any_more() -> None:
    """It lay in a socket buffer; its client has gone on long since (ruling 10)."""
    world = World(CallsConfig(late=1.0, late_ns_max=6 * SECOND_NS))
    for _ in range(20):
        world.ask()
    world.queue.run_until(SECOND_NS + MS_NS)
    before = len(world.handled)
    world.queue.run_until(10 * SECOND_NS)
    assert before < len(world.handled) == 20
    assert len(world.answers) == 20


def test_a_node_that_is_down_refuses_and_one_that_dies_is_silent() -> None:
    """The first is definite, the second is not."""
    world = World(CallsConfig())
    world.ask(N2)
    world.queue.run_until(SECOND_NS)
    assert world.error().retriable
    world.answers.clear()
    world.process.life.end()
    world.ask(N1, Method.APPEND)
    world.queue.run_until(3 * SECOND_NS)
    assert world.error().outcome is Outcome.UNKNOWN
    assert world.handled == []


def test_who_gives_up_cancels_what_waits_at_the_node() -> None:
    """Once, and not what was answered; an answer that comes all the same reaches nobody."""
    world = World(CallsConfig())
    world.replies = False
    cancelled: list[int] = []
    for number in range(2):
        world.ask()
        world.queue.run_until(world.queue.now_ns + SECOND_NS // 2)
        world.handled[number].on_cancelled = partial(cancelled.append, number)
    world.handled[0].reply(REPLY)
    world.queue.run_until(5 * SECOND_NS)
    assert cancelled == [1]
    assert len(world.answers) == 2
    world.handled[1].reply(REPLY)
    world.queue.run_until(9 * SECOND_NS)
    assert len(world.answers) == 2


def test_a_second_answer_is_a_bug_of_the_product() -> None:
    """A handler that answers twice would answer somebody else's request."""
    world = World(CallsConfig())
    world.ask()
    world.queue.run_until(SECOND_NS)
    with pytest.raises(AssertionError, match="answered twice"):
        world.handled[0].fail(BadRequest("again"))

"""Requests of simulated clients: they are lost, late, and sometimes both sides forget them.

A client gives up after a while, and says so to the node if that has the request. A request
that has not arrived does not give up. It lies in a socket buffer or a proxy, and may be
delivered any time later (ruling 10). An answer may be lost
too: then the client knows nothing, and the system has done what it was asked.

Requests reach the handlers that real connections reach, as messages; what lies
between, the framing, is no part of this.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from google.protobuf.message import Message

from chaos.sim.events import MS_NS, EventQueue
from chaos.sim.process import Process
from chaos.sim.swarm import CallsConfig
from raftlog.base.entry import Buffer
from raftlog.base.errors import OutcomeUnknown, RaftlogError, Unavailable
from raftlog.base.ids import NodeId, ShardId
from raftlog.wire.frame import Method
from raftlog.wire.requests import EXCHANGES

OnAnswer = Callable[[Message | None, Sequence[bytes], RaftlogError | None], None]
"""Called once: the answer and its payload, or why there is none."""


def _drop(
    _message: Message | None, _payload: Sequence[bytes], _error: RaftlogError | None
) -> None:
    """Answer nobody."""


class SimRequest:
    """One request as a handler sees it. Implements ``service.ports.ClientRequest``."""

    def __init__(self, message: Message, payload: bytes, answer: OnAnswer) -> None:
        self.shard = ShardId(0)
        self.message = message
        self.payload: Buffer = payload
        self.on_cancelled: Callable[[], None] | None = None
        self._answer: OnAnswer | None = answer

    def reply(self, message: Message, payload: Sequence[Buffer] = ()) -> None:
        """Answer it."""
        self._end(message, [bytes(each) for each in payload], None)

    def fail(self, error: RaftlogError) -> None:
        """Answer that it failed."""
        self._end(None, (), error)

    def cancel(self) -> bool:
        """Its client does not want the answer; return whether somebody still worked on one."""
        if self._answer is None:
            return False
        self._answer = _drop
        if self.on_cancelled is None:
            return False
        self.on_cancelled()
        return True

    def _end(
        self, message: Message | None, payload: Sequence[bytes], error: RaftlogError | None
    ) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None, f"a request was answered twice, now with {message or error}"
        self.on_cancelled = None
        answer(message, payload, error)


class Calls:
    """The connections of one client."""

    def __init__(
        self,
        queue: EventQueue,
        random: Random,
        config: Callable[[], CallsConfig],
        process_of: Callable[[NodeId], Process | None],
        marks: Counter[str],
    ) -> None:
        self._queue = queue
        self._random = random
        self._config = config
        self._process_of = process_of
        self._marks = marks
        self._arrived_ns: dict[NodeId, int] = {}

    def call(
        self,
        node: NodeId,
        method: Method,
        message: Message,
        done: OnAnswer,
        *,
        payload: bytes = b"",
        timeout_ns: int,
    ) -> None:
        """Ask ``node``. When no answer comes, the outcome is unknown or nothing was done."""
        waits = True

        def end(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            nonlocal waits
            if waits:
                waits = False
                give_up.cancel()
                done(answer, parts, error)

        arrived: list[Callable[[], None]] = []

        def gives_up() -> None:
            end(None, (), _silence(method))
            for cancel in arrived:
                self._queue.after(self._draw_ns(), cancel)

        give_up = self._queue.after(timeout_ns, gives_up)
        random, config = self._random, self._config()
        if random.random() < config.lost:
            self._marks["requests lost"] += 1
            return
        at_ns = self._queue.now_ns + self._draw_ns()
        if random.random() < config.late:
            self._marks["requests late"] += 1
            at_ns += random.randrange(config.late_ns_max)
        else:  # one connection keeps the order
            at_ns = self._arrived_ns[node] = max(at_ns, self._arrived_ns.get(node, 0))

        def arrives() -> None:
            cancel = self._arrives(node, method, message, payload, end)
            if cancel is not None:
                arrived.append(cancel)

        self._queue.at(at_ns, arrives)

    def _arrives(
        self, node: NodeId, method: Method, message: Message, payload: bytes, end: OnAnswer
    ) -> Callable[[], None] | None:
        """Give a request to its handler, if one is there; return what cancels it."""
        process = self._process_of(node)
        if process is None:
            error = Unavailable(f"{node} refuses the connection")
            self._queue.after(self._draw_ns(), lambda: end(None, (), error))
            return None
        life = process.life

        def answer(
            found: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if life.ended or self._random.random() < self._config().lost:
                return
            self._queue.after(self._draw_ns(), lambda: end(found, parts, error))

        request = SimRequest(message, payload, answer)
        life.call_soon(lambda: process.state.handlers[method](request))

        def cancelled() -> None:
            if request.cancel():
                self._marks["requests cancelled"] += 1

        return lambda: life.call_soon(cancelled)

    def _draw_ns(self) -> int:
        return MS_NS // 20 + int(self._random.expovariate(1.0) * self._config().mean_ns)


def _silence(method: Method) -> RaftlogError:
    if EXCHANGES[method].changes:
        return OutcomeUnknown(f"no answer to {method.name} came in time")
    return Unavailable(f"no answer to {method.name} came in time")

"""Quotas in the simulator: somebody sets them and takes them away, and looks at them.

They have a world of their own, with random numbers of their own: in a seed without quotas
nothing is otherwise than before. What is refused by one was never stored; the producers of
the run know that of every refusal. When the faults are over all quotas go, so that everybody
can come to an end.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS, EventQueue, stream
from chaos.sim.quota_work import QuotaWork
from raftlog.base.errors import OutcomeUnknown, RaftlogError, TopicNotFound
from raftlog.broker.quotas import ANY_CLIENT
from raftlog.wire.frame import Method
from raftlog.wire.schema import quotas

if TYPE_CHECKING:
    from chaos.sim.facts import Facts
    from chaos.sim.process import Process
    from chaos.sim.swarm import BrokerConfig
    from raftlog.base.ids import NodeId

AGAIN_NS: Final = 300 * MS_NS
PASSING: Final = tuple(f"passing-{number}" for number in range(5))
"""Topics that come and go, as the administrator names them."""
PASSING_SHARE: Final = 0.6


class QuotaClients:
    """All of them."""

    def __init__(
        self,
        work: QuotaWork,
        queue: EventQueue,
        config: "BrokerConfig",
        facts: "Facts",
        process_of: "Callable[[NodeId], Process | None]",
        nodes: "Sequence[NodeId]",
    ) -> None:
        random = stream(work.seed, "quota work")
        self.world = ClientWorld(queue, random, config, facts, process_of, nodes)
        self._keeper = QuotaKeeper(self.world, work)

    def start(self) -> None:
        """Begin."""
        self._keeper.start()

    def heal(self) -> None:
        """The faults are over: so are the quotas."""
        self.world.heal()
        self._keeper.take_all_away()

    def stop(self) -> None:
        """Set nothing new."""
        self.world.stopped = True

    def why_not_ended(self) -> str | None:
        """Return which quotas are left, or None."""
        left = self.world.facts.quotas.now
        if left:
            return f"there are quotas: {dict(left)}"
        self.world.members_stopped = True
        return None


class QuotaKeeper(Client):
    """Sets, takes away, looks."""

    def __init__(self, world: ClientWorld, work: QuotaWork) -> None:
        super().__init__(world, "quota-keeper")
        self._work = work

    def start(self) -> None:
        """Begin."""
        self.world.every(self._work.changes_per_s, self._change)
        self.world.every(self._work.looks_per_s, self._look)

    def take_all_away(self) -> None:
        """Remove each that there is, again and again: one may be under way still."""
        for kind, name in self.world.facts.quotas.now:
            self._remove(kind, name)
        if not self.world.members_stopped:
            self.world.queue.after(AGAIN_NS, self.take_all_away)

    def _change(self) -> None:
        random, work = self.world.random, self._work
        names = PASSING if random.random() < PASSING_SHARE else self.world.config.topics
        kind, name = "topic", random.choice(names)
        if random.random() < work.everybody:
            kind, name = "client", ANY_CLIENT
        records, size = random.choice(work.records_per_s), random.choice(work.bytes_per_s)
        if self.world.healed:
            return
        if not records and not size:
            self._remove(kind, name)
            return
        message = quotas.SetQuota(kind=kind, name=name, records_per_s=records, bytes_per_s=size)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, quotas.Quota), f"answered by {answer!r}"
                assert (answer.kind, answer.name) == (kind, name), f"another quota: {answer!r}"
                assert (answer.records_per_s, answer.bytes_per_s) == (records, size), f"{answer!r}"
            else:
                _check_refusal(error, kind)

        self.ask(Method.QUOTA_SET, message, done)

    def _remove(self, kind: str, name: str) -> None:
        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                _check_refusal(error, "")

        self.ask(Method.QUOTA_REMOVE, quotas.RemoveQuota(kind=kind, name=name), done)

    def _look(self) -> None:
        facts = self.world.facts
        since = facts.quotas.version

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                _check_refusal(error, "")
                return
            assert isinstance(answer, quotas.QuotasListed), f"answered by {answer!r}"
            found = {
                (each.kind, each.name): (each.bytes_per_s, each.records_per_s)
                for each in answer.quotas
            }
            facts.quotas.seen(since, found)
            facts.marks["quotas looked at"] += bool(found)
            facts.marks["quotas that refused"] += any(each.refused for each in answer.quotas)

        self.ask(Method.QUOTA_LIST, quotas.ListQuotas(), done)


def _check_refusal(error: RaftlogError, kind: str) -> None:
    """Check that it is one of those that may be."""
    is_missing = kind == "topic" and isinstance(error, TopicNotFound)
    fails = error.retriable or isinstance(error, OutcomeUnknown)
    assert is_missing or fails, f"a quota was answered by {error!r}"

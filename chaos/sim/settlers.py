"""Workers who settle messages in transactions, together with what they have made of them.

::

    work-0: leases 7, 8 -->  8 put aside ...........  commit { made: batch; acks: work 7, spare 3 }
    spare-1: leases 3 ---->  3 put aside ...........'       |
                                                            v stored: 7 and 3 are finished
            never: each is settled alone, or comes again when its lease has ended

What one worker has put aside another one may take into its transaction, so that some are of
several leases, and of several groups. What nobody takes comes again, too. Some results go where
a topic may be gone, or take nothing: then nothing is settled.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import Message

from chaos.check.lease_model import Place
from chaos.check.settled_together import Ack, Deal
from chaos.sim.atomic_sending import Seat, Transaction, TransactionSender
from chaos.sim.client_world import ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.lease_work import RESULTS, GroupWork, LeaseWork
from chaos.sim.lease_workers import Job, Worker
from raftlog.base.errors import OutcomeUnknown, RaftlogError
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases, transactions

ASTRAY_SHARE: Final = 0.25
"""Results that go where somebody reads them, or where a topic may be gone."""
BARE_SHARE: Final = 0.15
"""Transactions that only settle."""


class _Aside(NamedTuple):
    """A message that somebody is through with."""

    group: str
    job: Job

    @property
    def ack(self) -> Ack:
        """Return it as the log has it."""
        return self.group, self.job.queue, self.job.offset, self.job.handle


class Settling:
    """What the settlers of a run share."""

    def __init__(self) -> None:
        self.aside: Final[list[_Aside]] = []
        self.under_way = 0
        """Transactions of which nobody knows what became."""


class Settler(Worker):
    """Works for a group, and settles in transactions."""

    def __init__(
        self,
        world: ClientWorld,
        name: str,
        work: LeaseWork,
        group: GroupWork,
        settling: Settling,
    ) -> None:
        super().__init__(world, name, work, group)
        self._settling: Final = settling
        self._sender: Final = TransactionSender(self)
        self._seats: Final[list[Seat]] = []
        """Those that are free."""

    def _draw_end(self, job: Job) -> Callable[[], None]:
        alone = super()._draw_end(job)
        random = self.world.random
        if self.world.stopped or random.random() >= self._work.settles:
            return alone
        if random.random() < self._work.fails / 4:  # as one whose work fails in the end
            return alone
        mine = _Aside(self._group.name, job)

        def settle() -> None:
            if self.world.stopped:
                alone()
            elif random.random() < 0.4:
                self._settling.aside.append(mine)
            else:
                self._settle(mine, alone)

        return settle

    def _settle(self, mine: _Aside, alone: Callable[[], None]) -> None:
        """Settle a message, and perhaps others, under an identity that is free."""
        if RESULTS not in self.world.facts.topics:
            alone()
        elif self.world.random.random() < BARE_SHARE:
            self._settle_only(self._gathered(mine), alone)
        elif self._seats:
            self._commit(self._seats.pop(), self._gathered(mine), alone)
        else:

            def begun(seat: Seat | None) -> None:
                if self.world.stopped or seat is None:
                    alone()
                else:
                    self._commit(seat, self._gathered(mine), alone)

            self._sender.begin(begun)

    def _gathered(self, mine: _Aside) -> list[_Aside]:
        aside, random = self._settling.aside, self.world.random
        found = {mine.ack: mine}
        for _ in range(random.choice((0, 0, 1, 2))):  # as many as are put aside
            if aside:
                # Rather of another group, which is seldom there: few runs have two at work.
                foreign = [k for k, each in enumerate(aside) if each.group != mine.group]
                other = aside.pop(random.choice(foreign or range(len(aside))))
                found[other.ack] = other
        return list(found.values())

    def _targets(self) -> list[int]:
        """Return one or two queues to write to; the first one stays."""
        world, known = self.world, self.world.facts.topics
        own = world.random.choice(known[RESULTS].queues)
        if world.random.random() >= ASTRAY_SHARE:
            return [own]
        places = (*world.config.topics, *(name for name in known if name.startswith("passing")))
        there = [queue for name in places if name in known for queue in known[name].queues]
        return [own, world.random.choice(there)] if there else [own]

    def _commit(self, seat: Seat, gathered: list[_Aside], alone: Callable[[], None]) -> None:
        facts = self.world.facts
        results = self._sender.results(seat, self._targets())
        it = Transaction(seat, results, self._sender.now_ms(), acks=_acks(gathered))
        deal = Deal(it.values, frozenset(each.ack for each in gathered))
        numbers = self._numbers()
        facts.together.begins(deal)
        self._settling.under_way += 1

        def ended(is_stored: bool, error: RaftlogError | None) -> None:  # noqa: FBT001
            self._settling.under_way -= 1
            facts.together.told(deal, is_stored=is_stored)
            if error is None:
                self._seats.append(seat)
            if is_stored:
                self.world.marks["settlings told by a fence"] += error is not None
                self._told(gathered, numbers)
            else:
                self._go_on_without(alone)

        self._sender.send(it, lambda: True, ended)

    def _settle_only(self, gathered: list[_Aside], alone: Callable[[], None]) -> None:
        """Settle messages of which nothing was made: all of them, and to ask again is harmless."""
        numbers = self._numbers()
        message = transactions.CommitTransaction(acks=_acks(gathered))
        self._settling.under_way += 1

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None and (error.retriable or isinstance(error, OutcomeUnknown)):
                self.world.soon(ask)
                return
            self._settling.under_way -= 1
            if error is None:
                self._told(gathered, numbers)
            else:
                self._go_on_without(alone)

        def ask() -> None:
            self.ask(Method.TRANSACTION_COMMIT, message, done)

        ask()

    def _numbers(self) -> dict[str, int]:
        """Return the numbers that groups have now: another one may have the same name later."""
        return {name: group.number for name, group in self.world.facts.leases.groups.items()}

    def _told(self, gathered: list[_Aside], numbers: dict[str, int]) -> None:
        """Somebody has said that all of it is settled."""
        leases_of = self.world.facts.leases
        self.world.marks["settlings told"] += 1
        for each in gathered:
            group = leases_of.groups.get(each.group)
            if group is not None and group.number == numbers.get(each.group):
                place: Place = (each.job.queue, each.job.offset)
                leases_of.told_acked(each.group, place, each.job.seeks)

    def _go_on_without(self, alone: Callable[[], None]) -> None:
        """Nothing was settled: the message is settled alone, or comes again."""
        random = self.world.random
        self.world.marks["settlings undone"] += 1
        if random.random() < 0.5 and not self.world.members_stopped:
            self.world.queue.after(random.randrange(500) * MS_NS, alone)


def _acks(gathered: list[_Aside]) -> list[leases.AckMessages]:
    """Return what is gathered as requests name it, in one list for each group."""
    by_group: dict[str, dict[tuple[int, int], list[int]]] = {}
    for group, job in gathered:
        offsets = by_group.setdefault(group, {}).setdefault((job.handle, job.queue), [])
        offsets.append(job.offset)
    return [
        leases.AckMessages(
            group=group,
            messages=[
                leases.LeasedMessages(handle=handle, queue=queue, offsets=offsets)
                for (handle, queue), offsets in names.items()
            ],
        )
        for group, names in by_group.items()
    ]

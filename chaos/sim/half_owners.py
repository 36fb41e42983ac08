"""Owners of half messages: they store, do their work, and decide, or leave it to others.

One of these is one life: a process that began under a name. It may die at any moment, and it
may be taken over and not know that. What it does not hear it asks again, or it rolls back the
number, which is right also if nothing was stored. The next life decides some of what the one
before has left.
"""

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.check.half_model import Outcome, Standing
from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.half_facts import STANDINGS
from chaos.sim.half_work import HalfWork
from chaos.sim.producers import Records
from raftlog.base.errors import (
    Fenced,
    RaftlogError,
    TransactionDecided,
    TransactionForgotten,
    TransactionNotFound,
    WrongQueue,
)
from raftlog.base.errors import (
    Outcome as Certainty,
)
from raftlog.wire.batch import ANONYMOUS
from raftlog.wire.frame import Method
from raftlog.wire.schema import status, transactions
from raftlog.wire.status import decode_error

TRIES: Final = 6


class HalfRecords(Records):
    """The records of one half message, and what its owner knows of it."""

    def __init__(self, world: ClientWorld, owner: str, queue: int, number: int) -> None:
        super().__init__(world, owner, queue)
        self.number = number
        self.data = self.batch(ANONYMOUS)
        self.may_be_there = False
        """Whether some copy of it may have been stored."""


class HalfOwner(Client):
    """One life of an owner."""

    def __init__(
        self,
        world: ClientWorld,
        work: HalfWork,
        name: str,
        group: str,
        life: int,
        before: "HalfOwner | None",
    ) -> None:
        super().__init__(world, f"{name}-{life}")
        self.life: Final = life
        self.on_fenced: Callable[[], None] = lambda: None
        self._as = name
        self._group = group
        self._work = work
        self._before = before
        self._id = self._epoch = self._next = 0
        self._dead = False
        self._under_way = 0
        self._mine: dict[int, HalfRecords] = {}

    @property
    def settled(self) -> bool:
        """Whether it waits for nothing."""
        return self._dead or not self._under_way

    def start(self) -> None:
        """Begin under the name, then store."""
        self._begin()
        self.world.every(self._work.halves_per_s, self._stage_some)

    def die(self) -> None:
        """Nothing more comes from it, and it hears nothing."""
        self._dead = True

    def _begin(self) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if self._dead or self._id or (error is not None and self.world.stopped):
                return
            if error is not None:
                self.world.soon(self._begin)
                return
            assert isinstance(answer, transactions.TransactorBegun), f"answered by {answer!r}"
            self._id, self._epoch = answer.transactor, answer.epoch
            self._next = answer.next_number
            self._inherit()

        if not self._dead and not self._id:
            message = transactions.InitTransactor(name=self._as, group=self._group)
            self.ask(Method.TRANSACTOR_INIT, message, done)

    def _inherit(self) -> None:
        """Decide some of what the life before has left, as its records tell."""
        before, self._before = self._before, None
        if before is None or (before._id, before._epoch + 1) != (self._id, self._epoch):
            return  # somebody else was the owner in between, and may have used the same numbers
        for half in before._mine.values():
            if half.number < self._next and self.world.random.random() < 0.5:
                self.world.marks["halves inherited"] += 1
                self._decide([half], self._draw_verdict())

    # -- storing

    def _stage_some(self) -> None:
        if self._dead or not self._id:
            return
        halves: list[HalfRecords] = []
        for _ in range(self.world.random.choice((1, 1, 3))):
            queue = self.world.some_queue()
            if queue is not None:
                halves.append(HalfRecords(self.world, self.name, queue, self._next))
                self._mine[self._next] = halves[-1]
                self._next += 1
        if halves:
            self._stage(halves, TRIES)

    def _stage(self, halves: Sequence[HalfRecords], tries: int) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            self._under_way -= 1
            if self._dead:
                return
            if error is not None:
                for half in halves:  # copies are harmless: "not now" may be said of what is stored
                    half.may_be_there = True
                self._stage_again(halves, tries, error)
                return
            assert isinstance(answer, transactions.HalvesStaged), f"answered by {answer!r}"
            for half, outcome in zip(halves, answer.halves, strict=True):
                if outcome.HasField("error"):
                    self._not_staged(half, _error(outcome.error), tries)
                else:
                    half.may_be_there = True
                    self._work_on(half)

        message = transactions.StageHalves(
            transactor=self._id,
            epoch=self._epoch,
            halves=[
                transactions.Half(queue=half.queue, number=half.number, length=len(half.data))
                for half in halves
            ],
        )
        self._under_way += 1
        payload = b"".join(half.data for half in halves)
        self.ask(Method.HALVES_STAGE, message, done, payload=payload)

    def _stage_again(self, halves: Sequence[HalfRecords], tries: int, error: RaftlogError) -> None:
        """Send copies, or give it up: roll back numbers of which nobody knows."""
        random = self.world.random
        assert error.retriable or error.outcome is Certainty.UNKNOWN, f"stored: {error}"
        if tries and random.random() < 0.6:
            self._later(lambda: self._stage(halves, tries - 1))
            return
        self.world.marks["halves given up"] += 1
        if random.random() < 0.8:
            self._decide(halves, Standing.ROLLED_BACK)

    def _not_staged(self, half: HalfRecords, error: RaftlogError, tries: int) -> None:
        """One of several was refused."""
        sends = self.world.facts.sends
        match error:
            case TransactionDecided() | TransactionForgotten():
                self.world.marks["told of late halves"] += 1
                return
            case WrongQueue():
                for value in half.values:
                    is_deleted = half.queue in self.world.facts.deleted
                    sends.gone(value, half.queue, is_deleted=is_deleted)
                return
            case Fenced():
                self._told_fenced()
            case _ if error.retriable:
                self._stage_again([half], tries, error)
                return
            case _:
                raise AssertionError(f"a half message is refused: {error}")
        if not half.may_be_there:
            for value in half.values:
                sends.never(value, str(error))

    # -- deciding

    def _work_on(self, half: HalfRecords) -> None:
        """Do the local work, and decide; or not, or too late."""
        world, random = self.world, self.world.random
        if random.random() < self._work.leaves:
            world.marks["halves left undecided"] += 1
            return
        verdict = self._draw_verdict()
        other = Standing.ROLLED_BACK if verdict is Standing.COMMITTED else Standing.COMMITTED
        late_ms = random.choice((0, 100, 100, 4_000))
        self._after(late_ms, lambda: self._decide([half], verdict))
        if random.random() < self._work.twice:
            self._after(late_ms + 4_000, lambda: self._decide([half], verdict))
        if random.random() < self._work.contradicts:
            self._after(2 * late_ms + 500, lambda: self._decide([half], other))

    def _draw_verdict(self) -> Standing:
        rolls_back = self.world.random.random() < self._work.rolls_back
        return Standing.ROLLED_BACK if rolls_back else Standing.COMMITTED

    def _decide(
        self, halves: Sequence[HalfRecords], verdict: Standing, tries: int = TRIES
    ) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            self._under_way -= 1
            if self._dead:
                return
            if isinstance(error, Fenced):
                self._told_fenced()
            elif error is not None:
                assert error.retriable or error.outcome is Certainty.UNKNOWN, f"decided: {error}"
                if tries:
                    self._later(lambda: self._decide(halves, verdict, tries - 1))
            else:
                assert isinstance(answer, transactions.TransactionsDecided), f"{answer!r}"
                for half, outcome in zip(halves, answer.outcomes, strict=True):
                    self._told(half, verdict, outcome)

        if self._dead:
            return
        fate = STANDINGS.index(verdict)
        message = transactions.DecideTransactions(
            transactor=self._id,
            epoch=self._epoch,
            decisions=[
                transactions.Decision(
                    number=half.number,
                    verdict=fate,  # type: ignore[arg-type]
                )
                for half in halves
            ],
        )
        self._under_way += 1
        self.ask(Method.TRANSACTIONS_DECIDE, message, done)

    def _told(
        self, half: HalfRecords, wanted: Standing, outcome: transactions.TransactionDecided
    ) -> None:
        """Write down what a decision came to."""
        facts = self.world.facts
        key = (self._id, half.number)
        if not outcome.HasField("error"):
            facts.halves.told(key, outcome_told(outcome))
            self._believe(half, outcome)
            return
        error = _error(outcome.error)
        match error:
            case TransactionDecided():
                self.world.marks["told of other decisions"] += 1
                facts.halves.told_decided(key, wanted)
            case TransactionForgotten() | TransactionNotFound() | WrongQueue():
                self.world.marks[f"decisions: {error.code}"] += 1
            case _:
                raise AssertionError(f"{key} is not decided: {error}")

    def _believe(self, half: HalfRecords, outcome: transactions.TransactionDecided) -> None:
        """The owner has a receipt, or knows that nobody ever sees it."""
        facts = self.world.facts
        if outcome.verdict == transactions.FATE_ROLLBACK:
            for value in half.values:
                facts.sends.cancelled(value)
            return
        for number, value in enumerate(half.values):
            facts.sends.acked(value, half.queue, outcome.base_offset + number)
        end = outcome.base_offset + len(half.values)
        facts.reads.sees(half.queue, end)
        facts.staleness.sees(half.queue, end, self.world.queue.now_ns)

    def _told_fenced(self) -> None:
        """Another one has the name: what is open is for the checkers."""
        self.world.marks["told of being fenced"] += 1
        self._dead = True
        self.on_fenced()

    def _later(self, act: Callable[[], None]) -> None:
        self._under_way += 1

        def now() -> None:
            self._under_way -= 1
            if not self._dead:
                act()

        self.world.soon(now)

    def _after(self, ms: int, act: Callable[[], None]) -> None:
        delay_ns = self.world.random.randrange(ms + 1) * MS_NS
        self.world.queue.after(delay_ns, lambda: None if self._dead else act())


def outcome_told(answer: transactions.TransactionDecided) -> Outcome:
    """Return what somebody was told of a decision."""
    standing = STANDINGS[answer.verdict]
    assert standing is not None, f"{answer} is no decision"
    return Outcome(
        *(standing, answer.queue, answer.base_offset, answer.count, answer.term, answer.index)
    )


def _error(message: status.Status) -> RaftlogError:
    return decode_error(message.SerializeToString())

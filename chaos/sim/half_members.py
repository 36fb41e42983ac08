"""Who else has to do with half messages: members that are asked, a hand, and a reader."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS
from chaos.sim.half_owners import outcome_told
from chaos.sim.half_work import HalfWork
from raftlog.base.errors import OutcomeUnknown, RaftlogError
from raftlog.wire.batch import Batch
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, transactions

READS_PER_S: Final = 2
READ_BYTES: Final = 10_000
DECIDED: Final = (
    *(transactions.FATE_COMMIT, transactions.FATE_COMMIT),
    transactions.FATE_ROLLBACK,
)
TRIES: Final = 4


class HalfMember(Client):
    """Asks for what to check, and answers: well, late, twice, or not at all."""

    def __init__(self, world: ClientWorld, name: str, work: HalfWork, group: str) -> None:
        super().__init__(world, name)
        self._work = work
        self._group = group

    def start(self) -> None:
        """Begin."""
        self._again()

    def _again(self) -> None:
        delay_ns = int(self.world.random.expovariate(self._work.polls_per_s) * 1e9)
        if self.world.stopped:
            delay_ns = min(delay_ns, 100 * MS_NS)
        self.world.queue.after(delay_ns, self._poll)

    def _poll(self) -> None:
        if self.world.members_stopped:
            return
        random = self.world.random

        def done(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, transactions.ChecksDue), f"answered by {answer!r}"
                self._check(answer, b"".join(parts))
            self._again()

        message = transactions.PollChecks(
            group=self._group,
            wait_ms=random.choice((0, 100, 800)),
            count_max=random.choice((0, 1, 3)),
        )
        self.ask(Method.CHECKS_POLL, message, done)

    def _check(self, answer: transactions.ChecksDue, payload: bytes) -> None:
        """Take in what is to be checked, and look into one's own records."""
        world, random, position = self.world, self.world.random, 0
        found: list[transactions.CheckAnswer] = []
        for check in answer.checks:
            data = payload[position : position + check.length]
            position += check.length
            world.facts.halves.asked((check.transactor, check.number), check.check, data)
            world.marks["checks asked"] += 1
            if not world.stopped and random.random() < self._work.silent:
                world.marks["checks unanswered"] += 1
                continue
            knows = world.stopped or random.random() >= self._work.unknown
            found.append(
                transactions.CheckAnswer(
                    transactor=check.transactor,
                    number=check.number,
                    check=check.check,
                    verdict=random.choice(DECIDED) if knows else transactions.FATE_UNKNOWN,
                )
            )
        if not found:
            return
        if random.random() < self._work.foreign:
            world.marks["foreign answers"] += 1
            self._answer("another-group", found, 0)
        world.queue.after(
            random.choice((0, 50, 700)) * MS_NS, lambda: self._answer(self._group, found, TRIES)
        )
        if random.random() < self._work.twice:
            late_ns = random.randrange(5_000) * MS_NS
            world.queue.after(late_ns, lambda: self._answer(self._group, found, 0))

    def _answer(self, group: str, answers: Sequence[transactions.CheckAnswer], tries: int) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                again = error.retriable or isinstance(error, OutcomeUnknown)
                assert again, f"answers are refused: {error}"
                if tries:
                    self.world.soon(lambda: self._answer(group, answers, tries - 1))
                return
            assert isinstance(answer, transactions.TransactionsDecided), f"{answer!r}"
            for said, outcome in zip(answers, answer.outcomes, strict=True):
                if not outcome.HasField("error") and outcome.verdict:
                    key = (said.transactor, said.number)
                    self.world.facts.halves.told(key, outcome_told(outcome))

        message = transactions.AnswerChecks(group=group, answers=answers)
        self.ask(Method.CHECKS_ANSWER, message, done)


class Resolver(Client):
    """Looks at what is open, and decides some of it by hand."""

    def __init__(self, world: ClientWorld, work: HalfWork) -> None:
        super().__init__(world, "resolver")
        self._work = work

    def start(self) -> None:
        """Begin."""
        self.world.every(self._work.resolves_per_s, lambda: self._look(parked=False))
        self.world.every(self._work.resolves_per_s, lambda: self._look(parked=True))

    def stop(self) -> None:
        """Decide all that is parked, again and again until nothing is open."""
        if not self.world.members_stopped:
            self._look(parked=True)
            self.world.queue.after(300 * MS_NS, self.stop)

    def _look(self, *, parked: bool) -> None:
        halves = self.world.facts.halves
        before = list(halves.open_keys(parked=parked))

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                return
            assert isinstance(answer, transactions.TransactionsListed), f"answered by {answer!r}"
            found = [(each.transactor, each.number) for each in answer.transactions]
            if not answer.after:
                halves.listed(before, found)
            for each in answer.transactions:
                if parked:
                    assert each.parked, f"{each} is not parked, and is listed so"
                    self.world.marks["halves parked"] += 1
                if self.world.stopped or self.world.random.random() < (0.5 if parked else 0.05):
                    self._resolve(each)

        message = transactions.ListTransactions(parked=parked)
        self.ask(Method.TRANSACTION_LIST, message, done)

    def _resolve(self, each: transactions.OpenTransaction) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, transactions.TransactionDecided), f"{answer!r}"
                key = (each.transactor, each.number)
                self.world.facts.halves.told(key, outcome_told(answer))

        message = transactions.ResolveTransaction(
            transactor=each.transactor,
            number=each.number,
            verdict=self.world.random.choice(DECIDED),
        )
        self.ask(Method.TRANSACTION_RESOLVE, message, done)


class HalfReader(Client):
    """Reads from any node, and knows which records nobody may see."""

    def start(self) -> None:
        """Begin."""
        self.world.every(READS_PER_S, self._read)

    def _read(self) -> None:
        world = self.world
        queue = world.some_queue()
        if queue is None:
            return
        start, end = world.facts.bounds(queue)
        offset = max(start, end - world.random.randrange(10))

        def done(
            answer: Message | None, parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None:
                return
            assert isinstance(answer, client.BatchesRead), f"read answered by {answer!r}"
            payload, position, batches = b"".join(parts), 0, []
            for length in answer.lengths:
                batches.append(payload[position : position + length])
                position += length
            for data in batches:
                for value in Batch(data).value_views():
                    world.facts.halves.seen(bytes(value), f"queue {queue}")
                    world.marks["half messages read"] += 1
            world.facts.reads.read(queue, offset, answer.base_offsets, batches)

        message = client.ReadBatches(
            queue=queue, offset=offset, bytes_max=READ_BYTES, wait_ms=world.random.choice((0, 300))
        )
        self.ask(Method.READ, message, done, node=world.random.choice(world.nodes))

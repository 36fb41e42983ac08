"""Three programs that go on while a leader is killed: each asks the same again until it knows.

One reads records and one leases messages; each makes a record of them in two topics, by atomic
transactions. One sends half messages, decides two, and leaves the third to a checker.
"""

import asyncio
from typing import Any, Final

from raftlog.wire.batch import encode_columns, records
from raftlog.wire.schema import leases, transactions
from tests.gateway.program import Program, transaction

COUNT: Final = 100
"""Messages for each; more than a producer may have that it has not confirmed (64)."""
WORKERS: Final = 6
HANDLE: Final = 7
COMMIT: Final = transactions.FATE_COMMIT
ROLLBACK: Final = transactions.FATE_ROLLBACK

Committed = transactions.TransactionCommitted


class ReadAndWrite:
    """Records and messages, and what was told of the transactions that finish them.

    Attributes:
        told: By what a transaction has stored, the answer to it.
        amid: Some are done, and most are not.
    """

    def __init__(self, program: Program, queues: list[int]) -> None:
        self.program: Final = program
        self.worker: Final = Program(program.stubs, f"{program.name}-jobs")
        """Its group has another name than that of the one which reads."""
        self.orders, self.jobs, self.bills, self.ledger = queues
        self.told: Final[dict[bytes, Committed]] = {}
        self.amid: Final = asyncio.Event()

    @classmethod
    async def begin(cls, program: Program) -> "ReadAndWrite":
        """Create the topics, and fill those that are read."""
        names = [f"{program.name}-{each}" for each in ("orders", "jobs", "bills", "ledger")]
        work = cls(program, [(await program.create(name=name))[0] for name in names])
        for queue, kind in ((work.orders, b"order %d"), (work.jobs, b"job %d")):
            await program.produce(queue, 0, 0, [kind % number for number in range(COUNT)])
        return work

    async def stream(self) -> None:
        """Read records, one transaction after the other."""
        program = self.program
        claimed = await program.read_as_member(self.orders, f"{program.name}-orders")
        producer, before = await program.begin(), claimed.committed
        for offset, value in enumerate(await program.values(self.orders)):
            read = claimed.through(offset + 1, before)
            await self._commit(self._made(value, producer, offset, offsets=[read]), value)
            before = offset + 1

    async def workers(self) -> None:
        """Lease all messages, and handle some at a time."""
        program = self.worker
        opened = leases.OpenQueueGroup(group=program.name, topics=[program.name])
        await program.ask("OpenQueue", opened)
        left = await program.lease(HANDLE, COUNT)
        assert left == list(range(COUNT))
        values = await program.values(self.jobs)

        async def worker() -> None:
            producer, sequence = await program.begin(), 0
            while left:
                offset = left.pop()
                ack = program.ack(self.jobs, HANDLE, offset)
                asked = self._made(values[offset], producer, sequence, acks=[ack])
                await self._commit(asked, values[offset])
                sequence += 1

        await asyncio.gather(*(worker() for _ in range(WORKERS)))

    def _made(
        self, value: bytes, producer: int, sequence: int, **finished: Any
    ) -> transactions.CommitTransaction:
        made = [b"made of " + value]
        return transaction({self.bills: made, self.ledger: made}, producer, sequence, **finished)

    async def _commit(self, asked: transactions.CommitTransaction, value: bytes) -> None:
        self.told[value] = await self.program.ask_until_known("TransactionCommit", asked)
        if len(self.told) >= COUNT // 2:
            self.amid.set()


class Halves:
    """The owner of three half messages, and the checker of their group."""

    def __init__(self, program: Program, queue: int, owner: transactions.TransactorBegun) -> None:
        self.program: Final = program
        self.queue: Final = queue
        self._me: Final = {"transactor": owner.transactor, "epoch": owner.epoch}
        self._first: Final = owner.next_number

    @classmethod
    async def begin(cls, program: Program) -> "Halves":
        """Store them."""
        asked = transactions.InitTransactor(name=f"{program.name}-1", group=program.name)
        owner = await program.ask("InitTransactions", asked)
        (queue,) = await program.create(name=f"{program.name}-halves")
        halves = cls(program, queue, owner)
        stage = halves._stage()
        staged = await program.ask("StageHalf", stage)
        again = await program.ask("StageHalf", stage)
        assert [each.id for each in again.halves] == [each.id for each in staged.halves]
        assert [each.duplicate for each in again.halves] == [True] * 3
        return halves

    def _stage(self) -> transactions.StageHalves:
        numbers = range(self._first, self._first + 3)
        return transactions.StageHalves(
            **self._me,
            halves=[transactions.Half(queue=self.queue, number=number) for number in numbers],
            batches=[encode_columns([b"half %d" % each], timestamp_ms=5) for each in range(3)],
        )

    async def decide(self) -> None:
        """Commit the first and roll the second back, twice: the first outcomes stand."""
        verdicts = {self._first: COMMIT, self._first + 1: ROLLBACK}
        asked = transactions.DecideTransactions(
            **self._me,
            decisions=[
                transactions.Decision(number=number, verdict=verdict)
                for number, verdict in verdicts.items()
            ],
        )
        told = await self.program.ask_until_known("TransactionDecide", asked)
        assert [each.verdict for each in told.outcomes] == list(verdicts.values())
        again = await self.program.ask_until_known("TransactionDecide", asked)
        assert again.outcomes == told.outcomes
        asked.decisions[0].verdict = ROLLBACK
        other = await self.program.ask_until_known("TransactionDecide", asked)
        assert other.outcomes[0].error.code == "transaction_decided"

    async def check(self) -> None:
        """Wait for the third one to be asked about, as another program would, and commit it."""
        poll = transactions.PollChecks(group=self.program.name, wait_ms=9_000)
        while not (due := await self.program.ask("PollCheck", poll)).checks:
            pass
        (check,), (batch,) = due.checks, due.batches
        assert [record.value for record in records(batch)] == [b"half 2"]
        assert (check.number, check.queue) == (self._first + 2, self.queue)
        answer = transactions.CheckAnswer(
            transactor=check.transactor,
            number=check.number,
            check=check.check,
            verdict=COMMIT,
        )
        asked = transactions.AnswerChecks(group=self.program.name, answers=[answer])
        (outcome,) = (await self.program.ask("AnswerCheck", asked)).outcomes
        assert outcome.verdict == COMMIT

"""What a transactional producer sends: halves and decisions, those of one turn together.

The transactor is begun before the first one, and once: who begins under its name again is
another process. Every half has a number, by which a copy is known; a decision is asked again
until there is an answer, for the first one stands.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.errors import (
    Closed,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    Throttled,
)
from raftlog.base.limits import COALESCE_BYTES_MAX, DECISIONS_PER_COMMAND_MAX
from raftlog.client.asking import RETRY_PAUSE_S, Asker
from raftlog.client.checking import WIRE, Verdict
from raftlog.client.durations import Duration, seconds
from raftlog.client.open_halves import Opened, OpenHalves
from raftlog.client.sharing import result_of
from raftlog.client.turns import Asked, Turns, end
from raftlog.wire.frame import Method
from raftlog.wire.schema import status, transactions
from raftlog.wire.status import decode_error

GIVEN_UP_MAX: Final = 10_000
"""Half messages that are being rolled back at once; more are left to the checker."""


class ToStage(msgspec.Struct, frozen=True, gc=False):
    """A half message as it is sent."""

    queue: int
    number: int
    data: bytes
    deadline: float


class ToDecide(msgspec.Struct, frozen=True, gc=False):
    """A decision as it is sent."""

    number: int
    verdict: Verdict


class HalfDispatch:
    """The half messages of one transactor. Bound to its loop."""

    def __init__(
        self, asker: Asker, name: str, group: str, timeout_s: float, open_halves: OpenHalves
    ) -> None:
        self.transactor = 0
        self.durability = ""
        self.timeout_s: Final = timeout_s
        self.is_closed = False
        self._asker: Final = asker
        self._name: Final = name
        self._group: Final = group
        self._open: Final = open_halves
        self._loop: Final = asyncio.get_running_loop()
        self._epoch = 0
        self._next_number = 0
        self._beginning: asyncio.Task[None] | None = None
        self._given_up: Final[dict[int, asyncio.Task[None]]] = {}
        self._staging: Final = Turns[ToStage, None](
            self._stage_all, count_max=DECISIONS_PER_COMMAND_MAX, bytes_max=COALESCE_BYTES_MAX
        )
        self._deciding: Final = Turns[ToDecide, transactions.TransactionDecided](
            self._decide_all, count_max=DECISIONS_PER_COMMAND_MAX, bytes_max=COALESCE_BYTES_MAX
        )

    async def begin(self) -> None:
        """Begin under the name, unless that was done."""
        if self.is_closed:
            raise Closed("the producer was closed")
        if self._beginning is None or (self._beginning.done() and not self._epoch):
            self._beginning = self._loop.create_task(self._init())
        await result_of(self._beginning)

    async def _init(self) -> None:
        begun, _ = await self._asker.ask(
            Method.TRANSACTOR_INIT,
            transactions.InitTransactor(name=self._name, group=self._group),
            transactions.TransactorBegun,
            timeout_s=self.timeout_s,
        )
        self.transactor, self._epoch = begun.transactor, begun.epoch
        self._next_number = begun.next_number
        self._open.begin(self.transactor, self._epoch)

    def number(self) -> int:
        """Return the number of another transaction."""
        number = self._next_number
        self._next_number += 1
        return number

    def open(self, number: int, half: Opened) -> None:
        """No checker is asked about it before it is decided, left or let go of."""
        self._open.open(self.transactor, self._epoch, number, half)

    def stage(self, half: ToStage) -> "asyncio.Future[None]":
        """Send a half message; the future ends when it is stored, or with why it is not."""
        return self._staging.put(half, len(half.data))

    async def _stage_all(self, batch: Sequence[Asked[ToStage, None]]) -> None:
        wanted = [each for each in batch if not each.future.done()]
        if not wanted:
            return
        message = transactions.StageHalves(
            transactor=self.transactor, epoch=self._epoch, client=self._asker.client_id
        )
        for each in wanted:
            item = each.item
            message.halves.add(queue=item.queue, number=item.number, length=len(item.data))
        try:
            answer, _ = await self._asker.ask(
                *(Method.HALVES_STAGE, message, transactions.HalvesStaged),
                payload=[b"".join(each.item.data for each in wanted)],
                timeout_s=max(each.item.deadline for each in wanted) - self._loop.time(),
            )
        except RaftlogError as error:
            for each in wanted:
                end(each.future, error)
            return
        self.durability = answer.durability
        for each, staged in zip(wanted, answer.halves, strict=True):
            if staged.HasField("error"):
                refusal = error_of(staged.error)
                if isinstance(refusal, Throttled):  # asked again as long as somebody waits
                    self._staging.again(each, refusal.retry_after)
                else:
                    end(each.future, refusal)
            elif not each.future.done():
                each.future.set_result(None)

    async def decide(
        self, number: int, verdict: Verdict, timeout: Duration | None
    ) -> transactions.TransactionDecided:
        """Decide a transaction, with the others of this turn; raises as ``Half.commit``."""
        if self.is_closed:
            raise Closed("the producer was closed")
        decided = self._deciding.put(ToDecide(number, verdict))
        try:
            async with asyncio.timeout(self.timeout_s if timeout is None else seconds(timeout)):
                return await decided
        except (TimeoutError, Retriable) as error:
            text = f"no answer to the decision in time ({str(error) or 'it is asked still'})"
            raise OutcomeUnknown(text) from error

    def give_up(self, number: int) -> None:
        """Roll back and wait for nothing: it is asked until there is an answer, or it is closed.

        Whatever is not rolled back then is for the checker.
        """
        if self.is_closed or number in self._given_up or len(self._given_up) >= GIVEN_UP_MAX:
            return
        task = self._loop.create_task(self._roll_back(number))
        self._given_up[number] = task
        self._open.give_up(self.transactor, self._epoch, number)

        def ended(_: object) -> None:
            self._given_up.pop(number, None)
            self._open.rolled_back(self.transactor, self._epoch, number)

        task.add_done_callback(ended)

    async def _roll_back(self, number: int) -> None:
        while True:
            try:
                await self._deciding.put(ToDecide(number, Verdict.ROLLBACK))
            except (Retriable, OutcomeUnknown):
                await asyncio.sleep(RETRY_PAUSE_S)
            except RaftlogError:
                return  # decided before, or another process has the name: nothing to be done
            else:
                return

    async def _decide_all(
        self, batch: Sequence[Asked[ToDecide, transactions.TransactionDecided]]
    ) -> None:
        message = transactions.DecideTransactions(transactor=self.transactor, epoch=self._epoch)
        for each in batch:
            message.decisions.add(number=each.item.number, verdict=WIRE[each.item.verdict])
        try:
            answer, _ = await self._asker.ask(
                *(Method.TRANSACTIONS_DECIDE, message, transactions.TransactionsDecided),
                timeout_s=self.timeout_s,
                repeats=True,
            )
        except RaftlogError as error:
            for each in batch:
                end(each.future, error)
            return
        self.durability = answer.durability
        for each, outcome in zip(batch, answer.outcomes, strict=True):
            if outcome.HasField("error"):
                end(each.future, error_of(outcome.error))
            elif not each.future.done():
                each.future.set_result(outcome)

    # -- ending

    async def aclose(self) -> None:
        """Close; what was given up is rolled back first, if the cluster answers in time."""
        try:
            if self._given_up:
                await asyncio.wait(self._given_up.values(), timeout=self.timeout_s)
        finally:
            self.close()
        if self._beginning is not None:
            await asyncio.gather(self._beginning, return_exceptions=True)

    def close(self) -> None:
        """Send nothing more, and tell whoever waits. Idempotent."""
        self.is_closed = True
        for task in self._given_up.values():
            task.cancel()
        error = Closed("the producer was closed")
        unknown = OutcomeUnknown(
            "the producer was closed before there was an answer: it may have happened, or still "
            "happen"
        )
        self._staging.close(error, unknown)
        self._deciding.close(error, unknown)
        if self._beginning is not None:
            self._beginning.cancel()


def error_of(message: status.Status) -> RaftlogError:
    """Return what went wrong with one item."""
    return decode_error(message.SerializeToString())

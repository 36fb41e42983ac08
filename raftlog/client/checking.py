"""Answering for transactions that nobody decided: a member of a group, and its checker.

::

    the cluster: "(7, 58), order 7 to `orders`: what became of it?"
    in our hand  no answer                   asked again in 15 s, and no check counts
    no thread    no answer                   likewise: the checker is asked later
    checker      Verdict.COMMIT / ROLLBACK   decided, as its owner would have
                 Verdict.UNKNOWN             asked again in 30 s, 15 times in all
                 raises, is cancelled        counts as unknown; the producer's status says why
                 says nothing for 10 s       as if it had raised
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import PeerRefused, RaftlogError
from raftlog.client.asking import ANSWER_TIMEOUT_S, RETRY_PAUSE_S, Asker
from raftlog.client.cancelling import is_cancelled
from raftlog.wire.batch import Batch, Headers
from raftlog.wire.frame import Method
from raftlog.wire.schema import transactions

POLL_WAIT_S: Final = 20.0
CHECKS_AT_ONCE: Final = 100
CHECK_LIMIT_S: Final = 10.0
"""For one answer of the checker: the cluster asks another member after 15 s."""
REFUSED_PAUSE_S: Final = 1.0
"""A node of another version, say: it may be another one in a while."""


class Verdict(Enum):
    """What is to become of a transaction."""

    COMMIT = "commit"
    ROLLBACK = "rollback"
    UNKNOWN = "unknown"
    """Not known yet: the checker is asked again later."""


class UndecidedMessage(msgspec.Struct, frozen=True, gc=False):
    """A half message of which a checker is asked what became of it.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        key: Its key, or None.
        value: Its value, or None.
        headers: Pairs of name and value.
        timestamp_ms: As of a ``Message``.
        tag: Its tag, or None.
        transaction: What it is decided by, with ``client.transactions``.
        owner: The name of the producer that sent it.
        check: Which check this is, from 1.
    """

    topic: str
    queue: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    tag: str | None
    transaction: str
    owner: str
    check: int


Checker = Callable[[UndecidedMessage], Verdict | Awaitable[Verdict]]
"""Says what became of a transaction: asked from its own records, never guessed.

One that is awaited is cancelled after 10 s; one that is not must not block.
"""


Asked = Callable[[UndecidedMessage], Awaitable[Verdict]]
"""Asks a checker, for 10 s at most; raises ``NotAsked`` if it could not."""


class NotAsked(Exception):
    """A checker could not be asked now. Nothing is answered, so that no check is counted."""


def nothing_said() -> TimeoutError:
    """Return that a checker took its time without an answer."""
    return TimeoutError(f"the checker has said nothing for {CHECK_LIMIT_S:g} s")


class OnLoop:
    """A checker that is called on the loop, and cancelled if it takes too long."""

    def __init__(self, checker: Checker) -> None:
        self._checker: Final = checker

    async def __call__(self, message: UndecidedMessage) -> Verdict:
        """Ask, for so long that the answers to the others are not late."""
        verdict = self._checker(message)
        if not inspect.isawaitable(verdict):
            return verdict
        limit = asyncio.timeout(CHECK_LIMIT_S)
        try:
            async with limit:
                return await verdict
        except TimeoutError:
            if not limit.expired():
                raise  # its own
            raise nothing_said() from None


class Checking:
    """Polls for the checks of one group until it is cancelled."""

    def __init__(
        self,
        asker: Asker,
        group: str,
        checker: Asked,
        in_hand: Callable[[int, int], bool],
    ) -> None:
        self._asker: Final = asker
        self._group: Final = group
        self._checker: Final = checker
        self._in_hand: Final = in_hand
        """Whether nothing is said of a transactor's number: its local work goes on here."""
        self.checks = 0
        self.failures = 0
        self.trouble: BaseException | None = None
        """What hinders it: the last error of the checker, or of the cluster."""

    async def run(self) -> None:
        """Check what is to be checked."""
        while True:
            try:
                await self._round()
            except RaftlogError as error:
                self.trouble = error
                is_refused = isinstance(error, PeerRefused)
                await asyncio.sleep(REFUSED_PAUSE_S if is_refused else RETRY_PAUSE_S)

    async def _round(self) -> None:
        asked = transactions.PollChecks(
            group=self._group, wait_ms=int(POLL_WAIT_S * 1000), count_max=CHECKS_AT_ONCE
        )
        due, payload = await self._asker.ask(
            *(Method.CHECKS_POLL, asked, transactions.ChecksDue),
            timeout_s=max(POLL_WAIT_S + ANSWER_TIMEOUT_S, self._asker.timeout_s),
            wait_s=POLL_WAIT_S,
        )
        if not due.checks:
            return
        view, start = memoryview(payload), 0
        work = []
        for check in due.checks:
            work.append(self._answer(check, view[start : start + check.length]))
            start += check.length
        answers = [each for each in await asyncio.gather(*work) if each is not None]
        if not answers:
            return
        await self._asker.ask(
            Method.CHECKS_ANSWER,
            transactions.AnswerChecks(group=self._group, answers=answers),
            transactions.TransactionsDecided,
        )

    async def _answer(
        self, check: transactions.Check, data: Buffer
    ) -> transactions.CheckAnswer | None:
        """Return what is answered; None: nothing, so that it is asked again and not counted."""
        if self._in_hand(check.transactor, check.number):
            return None
        self.checks += 1
        try:
            verdict = await self._ask(check, data)
        except NotAsked as error:
            self.checks -= 1
            self.trouble = error
            return None
        except (Exception, asyncio.CancelledError) as error:  # whatever it is, it does not know
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            self.failures += 1
            self.trouble = error
            verdict = Verdict.UNKNOWN
        return transactions.CheckAnswer(
            transactor=check.transactor,
            number=check.number,
            check=check.check,
            verdict=WIRE[verdict],
        )

    async def _ask(self, check: transactions.Check, data: Buffer) -> Verdict:
        record = next(iter(Batch(data).records()))
        message = UndecidedMessage(
            topic=check.topic,
            queue=check.place,
            key=record.key,
            value=record.value,
            headers=record.headers,
            timestamp_ms=record.timestamp_ms,
            tag=record.tag,
            transaction=f"{check.transactor}.{check.number}",
            owner=check.name,
            check=check.check,
        )
        verdict = await self._checker(message)
        if not isinstance(verdict, Verdict):
            raise TypeError(f"a checker returns a Verdict, not {verdict!r}")
        return verdict


WIRE: Final[Mapping[Verdict, "transactions.Fate.ValueType"]] = {
    Verdict.COMMIT: transactions.FATE_COMMIT,
    Verdict.ROLLBACK: transactions.FATE_ROLLBACK,
    Verdict.UNKNOWN: transactions.FATE_UNKNOWN,
}

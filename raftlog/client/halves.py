"""Half messages: sent before the local work, visible only if that is done.

::

    async def check(message):                        # asked if nobody decided
        return Verdict.COMMIT if await db.is_paid(message.key) else Verdict.ROLLBACK

    async with client.transactional_producer("billing-1", group="billing", checker=check) as p:
        async with p.transaction("orders", b"paid", key=b"7") as half:
            await db.pay("7")                        # raises: rolled back
        print(half.receipt)                          # else committed

A transaction has a number, and a decision of it is asked again as often as one likes: the
first answer stands. So a commit whose answer was lost is not lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    OutcomeUnknown,
    Retriable,
    TransactionDecided,
    Unavailable,
    UnknownTransactor,
    WrongLoop,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import Checker, Checking, OnLoop, Verdict
from raftlog.client.durations import Duration, seconds
from raftlog.client.half_dispatch import HalfDispatch, ToStage
from raftlog.client.open_halves import OpenHalves
from raftlog.client.packing import HeadersLike, encode_records, place_of_key, record_of
from raftlog.client.receipts import Receipt
from raftlog.client.starting import no_queue

T = TypeVar("T")


class HalfStatus(msgspec.Struct, frozen=True, gc=False):
    """What a transactional producer has done.

    Attributes:
        checks: How often its checker was asked.
        checker_failures: How often it raised.
        trouble: What hinders it: the last error of the checker, or of asking for checks.
    """

    checks: int
    checker_failures: int
    trouble: BaseException | None


class Half:
    """A half message: stored, visible to nobody, to be decided once.

    As long as it is open (``is_open``) no checker of this client is asked about it; those of
    other processes are, 6 s after it was stored.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        transaction: What it is decided by from elsewhere: ``client.transactions``.
        receipt: Where it is, once it was committed.
    """

    def __init__(self, dispatch: HalfDispatch, topic: str, queue: int, number: int) -> None:
        self._dispatch = dispatch
        self._number = number
        self._is_left = False
        self._is_in_hand = True
        self._asked: Verdict | None = None
        """What was asked for last, whatever became of that."""
        self.topic = topic
        self.queue = queue
        self.transaction = f"{dispatch.transactor}.{number}"
        self.receipt: Receipt | None = None
        self.is_rolled_back = False
        dispatch.open(number, self)

    @property
    def is_open(self) -> bool:
        """Whether its local work may still go on: nothing was asked for, and it was not left."""
        return self._is_in_hand and not self._dispatch.is_closed

    @property
    def is_decided(self) -> bool:
        """Whether it is known here what became of it, or that a checker is to say."""
        return self.receipt is not None or self.is_rolled_back or self._is_left

    async def commit(self, *, timeout: Duration | None = None) -> Receipt:
        """Make it visible, once; asked again, the receipt is the same.

        Raises:
            OutcomeUnknown: No answer in time; commit again, or leave it to the checker.
            TransactionDecided: It was rolled back: by a checker, or by hand.
            Fenced: Another process has taken over the producer's name; the checker decides.
            UnknownTransactor: It was decided more than a week ago.
        """
        self._is_in_hand, self._asked = False, Verdict.COMMIT
        answer = await self._dispatch.decide(self._number, Verdict.COMMIT, timeout)
        self.receipt = Receipt(
            *(self.topic, self.queue, Offset(answer.base_offset), Term(answer.term)),
            *(Index(answer.index), self._dispatch.durability),
        )
        return self.receipt

    def rollback(self, *, timeout: Duration | None = None) -> Coroutine[Any, Any, None]:
        """Forget it: nobody will ever see it. To be awaited; raises as ``commit``.

        Without an answer, in a ``transaction`` block, it is asked on as ``give_up`` does when
        that ends, however it ends.
        """
        # Noted before it is awaited: ``wait_for`` without any time left never begins it.
        self._note_rollback()
        return self._roll_back(timeout)

    def _note_rollback(self) -> None:
        """It is not to be committed by the end of a block, whatever becomes of the asking."""
        self._is_in_hand, self._asked = False, Verdict.ROLLBACK

    async def _roll_back(self, timeout: Duration | None) -> None:
        try:
            await self._dispatch.decide(self._number, Verdict.ROLLBACK, timeout)
        except TransactionDecided:
            self._is_left = True  # it was committed, by whomever: nothing is left to be said
            raise
        self.is_rolled_back = True

    def give_up(self) -> None:
        """Roll back without waiting for the answer; tried as long as the producer lives."""
        self.is_rolled_back, self._is_in_hand = True, False
        self._dispatch.give_up(self._number)

    def leave(self) -> None:
        """Decide nothing: the checker will be asked."""
        self._is_left, self._is_in_hand = True, False

    def _end(self, error: BaseException | None) -> bool:
        """A block has ended so; return whether it is to be committed.

        An error says that the local work was not done. That it was ended from outside says
        nothing: a database may have committed what nobody waited for. And what the commit of
        was asked for must not be rolled back, whatever became of that; nor the other way round.
        """
        if self.is_decided:
            return False
        if self._asked is Verdict.ROLLBACK:
            self.give_up()
            return False
        if error is None:
            return True
        if self._asked is Verdict.COMMIT or not isinstance(error, Exception):
            self.leave()
        else:
            self.give_up()
        return False


class HalfTransaction:
    """``async with`` round the local work: commits at its end, rolls back if it raises.

    An exception (``Exception``) says that the local work was not done, and never will be: who
    does not know calls ``Half.leave`` before. Cancelled inside, or ended by ``KeyboardInterrupt``,
    it is left to the checker. What was decided inside, or left to the checker, stays as it is;
    so does what ``Half.commit`` was asked for inside without an answer, if the block fails then.
    What ``Half.rollback`` was asked for inside is rolled back, however the block ends.
    """

    def __init__(self, stage: Callable[[], Awaitable[Half]]) -> None:
        self._stage = stage
        self._half: Half | None = None

    async def __aenter__(self) -> Half:
        """Store the half message; raises as ``TransactionalProducer.half``."""
        self._half = await self._stage()
        return self._half

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back without waiting for it; raises as ``Half.commit``."""
        if self._half is not None and self._half._end(error):
            await self._half.commit()


class TransactionalProducer:
    """Sends half messages under a name that outlives the process. Bound to its loop.

    Made by ``client.transactional_producer``, used with ``async with``. Whoever begins under
    the same name later fences this one: what it has open then is for the checker to decide.
    One that was silent for a week, with nothing open, is forgotten, and begins again by itself.
    """

    def __init__(
        self,
        asker: Asker,
        catalog: Catalog,
        name: str,
        group: str,
        checker: Checker | None,
        timeout: Duration | None,
        open_halves: OpenHalves,
    ) -> None:
        self.name = name
        self.group = group
        self.on_closed: Callable[[TransactionalProducer], None] = lambda _: None
        self._catalog: Final = catalog
        self._loop: Final = asyncio.get_running_loop()
        self._turn = 0
        self._checking: Checking | None = None
        if checker is not None:
            asked = checker if isinstance(checker, InThreads) else OnLoop(checker)
            self._checking = Checking(asker, group, asked, open_halves.has)
        self._check_task: asyncio.Task[None] | None = None
        timeout_s = asker.timeout_s if timeout is None else seconds(timeout)
        self._identity: Final = partial(HalfDispatch, asker, name, group, timeout_s, open_halves)
        self._dispatch = self._identity()
        self._forgotten: Final[list[HalfDispatch]] = []
        """Those that the cluster knows no more: what they have decided is theirs still."""

    async def __aenter__(self) -> Self:
        """Begin under the name, and answer checks from now on; raises as ``half``."""
        await self._dispatch.begin()
        if self._checking is not None and self._check_task is None:
            self._check_task = self._loop.create_task(self._checking.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    # -- sending

    def transaction(
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> HalfTransaction:
        """Return ``async with``: a half message before it, its commit after; as ``half``."""
        return HalfTransaction(
            lambda: self.half(
                *(topic, value),
                key=key,
                headers=headers,
                tag=tag,
                timestamp=timestamp,
                queue=queue,
                timeout=timeout,
            )
        )

    async def half(
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> Half:
        """Store one record that nobody sees before it is committed.

        Args:
            topic: The topic.
            value: Bytes, or None.
            key: As for ``Producer.send``, as are the other arguments.
            headers: Names and values.
            tag: For filters.
            timestamp: When it happened; without it, now.
            queue: The place of a queue in the topic.
            timeout: Seconds for all of it; without it, the producer's.

        Raises:
            Retriable: It was not stored in time. If it was stored after all it is rolled back,
                however long that takes while the producer lives; then it is for the checker.
            Fenced: Another process has begun under the same name.
            TopicNotFound, NotPermitted, LimitReached, RecordTooLarge, BadRequest: As ``send``.
            BadName: The producer's name or group is none.
            Closed, WrongLoop, TypeError: As ``send``.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("this producer is bound to the event loop that it was made on")
        data = encode_records([record_of(value, key, headers, tag, timestamp)])
        timeout_s = self._dispatch.timeout_s if timeout is None else seconds(timeout)
        deadline = self._loop.time() + timeout_s
        queues = await self._catalog.find(topic, timeout_s)
        dispatch, number = await self._begin()
        while True:
            place = self._place(topic, len(queues), key, queue)
            half = Half(dispatch, topic, place, number)
            staged = dispatch.stage(ToStage(queues[place], number, data, deadline))
            try:
                async with asyncio.timeout_at(deadline):
                    await staged
            except UnknownTransactor:
                # It was silent for a week, and had nothing open: nothing is in its hand.
                self._forget(dispatch)
                dispatch, number = await self._begin()
                continue
            except WrongQueue:  # it was made anew
                half.leave()
                found = await self._catalog.refresh(topic, timeout_s)
                if found == queues:
                    raise
                queues = found
                continue
            except (TimeoutError, Retriable, OutcomeUnknown, asyncio.CancelledError) as error:
                half.give_up()
                if isinstance(error, TimeoutError | OutcomeUnknown):
                    text = (
                        "no answer in time: the half message is rolled back as soon as the "
                        "cluster answers, or left to the checker"
                    )
                    raise Unavailable(text) from error
                raise
            except BaseException:  # its number may be another one's soon: this is not in hand
                half.leave()
                raise
            return half

    async def _begin(self) -> tuple[HalfDispatch, int]:
        """Return who sends the next half message, begun, and its number."""
        dispatch = self._dispatch
        await dispatch.begin()
        return dispatch, dispatch.number()

    def _forget(self, dispatch: HalfDispatch) -> None:
        """The cluster has forgotten a transactor: another one begins under the name."""
        if dispatch is self._dispatch and not dispatch.is_closed:
            self._forgotten.append(dispatch)
            self._dispatch = self._identity()

    def _place(self, topic: str, queues: int, key: bytes | None, queue: int | None) -> int:
        if queue is not None:
            if not 0 <= queue < queues:
                raise no_queue(topic, queues, queue)
            return queue
        if key is not None:
            return place_of_key(key, queues)
        self._turn += 1
        return self._turn % queues

    # -- ending

    @property
    def status(self) -> HalfStatus:
        """How often it was asked to check, and what hinders it."""
        checking = self._checking
        if checking is None:
            return HalfStatus(0, 0, None)
        return HalfStatus(checking.checks, checking.failures, checking.trouble)

    async def aclose(self) -> None:
        """Close: what was given up is rolled back first, within the timeout.

        What is open then is for the checker. A commit without an answer ends in
        ``OutcomeUnknown``.
        """
        if self._is_closed():
            return
        if self._check_task is not None:
            self._check_task.cancel()
        try:
            while not self._is_closed():  # one that is forgotten meanwhile has a successor
                await asyncio.gather(
                    *(each.aclose() for each in (*self._forgotten, self._dispatch))
                )
            if self._check_task is not None:
                await asyncio.gather(self._check_task, return_exceptions=True)
        finally:  # cancelled, it is closed all the same
            for dispatch in (*self._forgotten, self._dispatch):
                dispatch.close()
            self.on_closed(self)

    def _is_closed(self) -> bool:
        return self._dispatch.is_closed

"""Messages of queue-style groups in an atomic transaction: acknowledged with it, or given back.

A message that is in a transaction is settled by that and by nothing else, whichever of the two
blocks ends first::

    async with client.atomic() as tx:
        async with message.process():
            tx.ack(message)
                            # process() ends: nothing is said yet, and the lease is kept
        tx.send(...)
                            # committed: acknowledged, at the index of the records
                            # fails: given back, as process() does for the same error
                            # unknown: the lease is kept until the fence has answered

Who gave it back before the outcome is known would hand it to somebody else, whose transaction
and a late copy of this one might both count it.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from raftlog.base.errors import (
    BadRequest,
    DuplicateForgotten,
    NotStored,
    OutcomeUnknown,
    RaftlogError,
    StaleLease,
    TransactionTooLarge,
)
from raftlog.base.limits import MESSAGES_PER_SETTLING_MAX
from raftlog.client.atomic_dispatch import Attempt
from raftlog.client.queue_consumer import QueueConsumer
from raftlog.client.queue_message import QueueMessage, failure_of
from raftlog.client.settling import Held, named
from raftlog.wire.schema import leases


class _Left(NamedTuple):
    """A handler that has ended, and left its message to the transaction."""

    keep_no_more: Callable[[], None]
    error: BaseException | None
    went_on: bool
    """Whether it ended well after the commit had failed: so it was not what was cancelled."""


class Acknowledged:
    """What one transaction acknowledges. Bound to its loop."""

    def __init__(self) -> None:
        self.under_way: asyncio.Future[None] | None = None
        self._messages: Final[dict[QueueConsumer, list[QueueMessage]]] = {}
        self._left: Final[dict[QueueMessage, _Left]] = {}
        self._refusals: Final[dict[QueueMessage, str]] = {}
        """What is to be given back, and why, whether or not the cluster knows of it."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._messages)

    def add(self, holder: QueueConsumer, message: QueueMessage) -> None:
        """Acknowledge another one; raises as ``AtomicTransaction.ack``."""
        if message.is_settled:
            raise BadRequest(f"{message!r} was settled already")
        if message.transaction is self:
            return
        if message.transaction is not None:
            raise BadRequest(
                f"{message!r} is in another transaction, which is open or of unknown outcome"
            )
        messages = self._messages.setdefault(holder, [])
        # Of one group, whichever of its consumers have them: a command has one list of each.
        of_group = [got for each, got in self._messages.items() if each._group == holder._group]
        if sum(map(len, of_group)) >= MESSAGES_PER_SETTLING_MAX:
            raise TransactionTooLarge(
                f"it acknowledges {MESSAGES_PER_SETTLING_MAX} messages of a group, and no more may"
            )
        message.transaction = self
        messages.append(message)

    def leave(
        self,
        message: QueueMessage,
        keep_no_more: Callable[[], None],
        error: BaseException | None,
    ) -> bool:
        """Take a message over from its handler, which has ended; return whether that can be.

        One whose handler failed before the commit is for its handler to give back: the
        transaction is refused then, also if nobody could be told that it is given back.
        """
        if error is not None:
            self._refusals[message] = "its handler failed"
        if self.under_way is None and error is not None:
            return False
        if self.under_way is not None and self.under_way.done():
            keep_no_more()  # nobody will ever know: its lease ends by itself
        else:
            went_on = self.under_way is not None and error is None
            self._left[message] = _Left(keep_no_more, error, went_on)
        return True

    def refuse(self, message: QueueMessage) -> None:
        """Somebody wants to give it back: whatever becomes of that, it is not acknowledged."""
        self._refusals[message] = "it was to be given back"

    def requests(self) -> list[leases.AckMessages]:
        """Return the acknowledgements: from now on they may be under way.

        Raises:
            StaleLease: A message was given back before, or was to be.
        """
        for messages in self._messages.values():
            for message in messages:
                if message in self._refusals:
                    raise StaleLease(f"{self._refusals[message]} before the commit: {message!r}")
                if message.is_settled:
                    raise StaleLease(
                        f"{message!r} was given back before the commit: its consumer was closed"
                    )
        if self.under_way is None:
            self.under_way = asyncio.get_running_loop().create_future()
        by_group: dict[str, list[Held]] = {}
        for holder, messages in self._messages.items():
            held = by_group.setdefault(holder._group, [])
            held.extend(message.held for message in messages)
        return [
            leases.AckMessages(group=group, messages=named(held))
            for group, held in by_group.items()
        ]

    # -- the end

    def committed(self) -> None:
        """They are acknowledged."""
        for holder, messages in self._messages.items():
            for message in messages:
                message.is_settled = True
                holder.acked_in_transaction(message)
        self._let_go()

    def failed(self, attempt: Attempt | None, failure: BaseException) -> None:
        """The transaction has failed, or nobody knows yet: then they wait for its fate."""
        failure = failure_of(failure) or failure
        if attempt is None or attempt.fate.done():
            self._free(attempt, failure)
        else:
            attempt.fate.add_done_callback(lambda _: self._free(attempt, failure))

    def _free(self, attempt: Attempt | None, failure: BaseException) -> None:
        """It is known now: they are acknowledged, or are given back and may be elsewhere."""
        fate: BaseException | None = None
        if attempt is not None and not attempt.fate.cancelled():
            fate = attempt.fate.exception()
            if fate is None or isinstance(fate, DuplicateForgotten):
                self.committed()
                return
            if isinstance(fate, OutcomeUnknown) and attempt.batches:
                self._let_go()  # nobody will ever know: their leases end by themselves
                return
        found = fate if isinstance(fate, NotStored) else failure
        # What was found out explains that nobody knew. Who was cancelled has tried nothing.
        cause = found if isinstance(failure, RaftlogError) else failure
        for messages in self._messages.values():
            for message in messages:
                message.transaction = None
        for message, left in self._left.items():
            if not message.is_settled:
                own = found if left.went_on else left.error
                message._give_back_after(cause if own is None or own is failure else own)
        self._let_go()

    def _let_go(self) -> None:
        for left in self._left.values():
            left.keep_no_more()
        self._left.clear()
        if self.under_way is not None and not self.under_way.done():
            self.under_way.set_result(None)

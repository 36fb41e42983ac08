"""How parts of a transaction are staged, one after the other, before its commit names them.

::

    stage a1 --id--> stage a2 --id--> stage b1 --id--> commit { staged: a1 a2 b1; a3, b2 }
          |               ^ again, the same
          no answer ------'          or given up: nobody has heard of any of it, and none will

Whoever gives up has not committed, whatever has become of the parts: they go by time. A
producer one of whose parts has no answer is not used again.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

from raftlog.base.errors import RaftlogError, Refused, TransactionTooLarge, Unavailable
from raftlog.wire.frame import Method
from raftlog.wire.schema import transactions

if TYPE_CHECKING:
    from chaos.sim.atomic_sending import Transaction
    from chaos.sim.client_world import Client

Staged = Callable[[RaftlogError | None], None]
"""Told once; None: all is staged."""
COPY_SHARE: Final = 0.05
"""Parts of which a copy comes when they are answered."""


class Stager:
    """Stages the parts of one client's transactions."""

    def __init__(self, client: "Client") -> None:
        self._client: Final = client
        self._world: Final = client.world

    def stage(self, it: "Transaction", cares: Callable[[], bool], done: Staged) -> None:
        """Stage what there is of ``it``; ``cares``: whether its owner goes on."""
        work = self._world.config.staged
        if not it.parts:
            done(None)
        elif len(it.names) < len(it.parts):
            self._stage_next(it, cares, done)
        elif work is not None and self._world.random.random() < work.leaves:
            self._world.marks["transactions left after staging"] += 1
            done(Unavailable("its owner has gone away"))
        else:
            self._leave_out(it)
            done(None)

    def _stage_next(
        self, it: "Transaction", cares: Callable[[], bool], done: Staged, tries: int = 1
    ) -> None:
        world = self._world
        queue, data = it.parts[len(it.names)]
        message = transactions.StageBatch(queue=queue)

        def answered(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, transactions.BatchStaged), f"{answer!r}"
                it.names.append(transactions.StagedBatch(queue=queue, id=answer.id))
                if world.random.random() < COPY_SHARE:
                    self._client.ask(
                        Method.TRANSACTION_STAGE, message, lambda *_: None, payload=data
                    )
                self.stage(it, cares, done)
            elif (
                isinstance(error, Refused)
                or not cares()
                or tries >= world.random.choice((1, 3, 9))
            ):
                too_old = isinstance(error, TransactionTooLarge)
                world.marks["stagings below their level" if too_old else "stagings given up"] += 1
                done(error)
            else:
                world.soon(lambda: self._stage_next(it, cares, done, tries + 1))

        self._client.ask(Method.TRANSACTION_STAGE, message, answered, payload=data)

    def _leave_out(self, it: "Transaction") -> None:
        """Send a commit, perhaps, that does not name the last part of a queue: it is refused."""
        work, random = self._world.config.staged, self._world.random
        last = it.names[-1]
        names = [each for each in it.names if each is not last]
        is_wrong = any(each.queue == last.queue for each in names)  # else it is one of another's
        if work is not None and is_wrong and random.random() < work.leaves_out:
            self._world.marks["commits that left a part out"] += 1
            message = it.message(names)
            self._client.ask(
                Method.TRANSACTION_COMMIT, message, lambda *_: None, payload=it.payload
            )

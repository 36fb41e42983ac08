"""What the committed log says of changes that clients were told of, and of the rows they made."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from chaos.check.kept_rows import KeptRows
from chaos.check.told_outcomes import Asked, ToldOutcomes
from raftlog.base.errors import Outcome, RaftlogError, Unavailable
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.group_commands import DeleteGroup, GroupDeleted
from raftlog.broker.topics import DeleteTopic, Topic
from raftlog.wire.schema import groups

ClaimKey = tuple[str, int]
"""Group and queue."""


class ClaimRow(msgspec.Struct, frozen=True, gc=False):
    """Who owns a queue for a group, and what was committed last; nobody after a seek."""

    generation: int
    member: str
    life: int
    committed: int | None


class ToldFacts:
    """The changes of one run."""

    def __init__(self, marks: Counter[str]) -> None:
        self.applied = 0
        """The last entry that anybody has applied."""
        self.claims: Final[KeptRows[ClaimKey, ClaimRow]] = KeptRows("claim")
        self._marks: Final = marks
        self._outcomes: Final = ToldOutcomes()

    # -- as clients see it

    def asks_to_commit(self, message: groups.CommitOffsets) -> list[Asked]:
        """Take in that a member asks for this, once, however often it sends it."""
        owner = (message.group, message.generation, message.member, message.life)
        return [
            self._outcomes.asks(("commit", *owner, row.queue, row.offset), self.applied)
            for row in message.offsets
        ]

    def answered(self, asked: Sequence[Asked], error: RaftlogError | None) -> None:
        """Take in the answer to it.

        No answer is ``Unavailable`` where asking again does no harm (``wire.requests``).

        Raises:
            Violation: The log says something else.
        """
        if error is None:
            self.ended(asked, is_done=True)
        elif error.outcome is not Outcome.UNKNOWN and not isinstance(error, Unavailable):
            self.ended(asked, is_done=False)

    def ended(self, asked: Sequence[Asked], *, is_done: bool) -> None:
        """Take in that somebody knows what became of it.

        Raises:
            Violation: The log says something else.
        """
        for each in asked:
            if is_done:
                self._marks["commits told"] += 1
                self._outcomes.told(each, None)
            else:
                self._outcomes.failed(each)

    def looks(self, group: str) -> Callable[[groups.GroupDescription | None], None]:
        """Somebody asks for a group's description now; return who takes the answer.

        None: there is no such group. What it raises is a ``Violation``.
        """
        floor = self.applied
        asked = {queue for name, queue in self.claims.now if name == group}

        def told(answer: groups.GroupDescription | None) -> None:
            self._marks["groups told"] += answer is not None
            rows = () if answer is None else answer.queues
            committed = {row.queue: row.committed if row.committed >= 0 else None for row in rows}
            for queue in {*asked, *committed} if answer is None else committed:
                self.claims.told((group, queue), floor, committed.get(queue), _committed)

        return told

    # -- in the order of the log

    def carried_out(self, command: msgspec.Struct, outcome: object) -> None:
        """Take in a command that was carried out.

        Raises:
            Violation: Nobody has asked for it.
        """
        claims, index = self.claims, self.applied
        match command, outcome:
            case CommitOffsets(group=group, generation=generation), OffsetsCommitted():
                owner = (group, generation, command.member, command.life)
                for queue, offset in command.offsets:
                    self._outcomes.carried_out(("commit", *owner, queue, offset), index, None)
                    row = claims.now[group, queue]
                    row = msgspec.structs.replace(row, committed=offset)
                    claims.put(index, (group, queue), row)
            case ClaimQueue(group=group, queue=queue), QueueClaimed():
                before = claims.now.get((group, queue))
                committed = None if before is None else before.committed
                row = ClaimRow(command.generation, command.member, command.life, committed)
                claims.put(index, (group, queue), row)
            case SeekGroup(group=group), GroupSought(generation=generation):
                for queue, offset in command.offsets:
                    claims.put(index, (group, queue), ClaimRow(generation, "", 0, offset))
            case DeleteGroup(group=group), GroupDeleted():
                self._forget(lambda key: key[0] == group)
            case DeleteTopic(), Topic(queues=queues):
                self._forget(lambda key: key[1] in queues)
            case _:
                pass

    def _forget(self, is_gone: Callable[[ClaimKey], bool]) -> None:
        for key in [key for key in self.claims.now if is_gone(key)]:
            self.claims.gone(self.applied, key)


def _committed(row: ClaimRow) -> int | None:
    return row.committed

"""The seeks of a group that the log has: when each was, and from where to where."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from raftlog.client.asking import Asker
from raftlog.client.durations import moment_of
from raftlog.client.log_walking import LogWalk, WalkAnswer, WalkBounds
from raftlog.wire.frame import Method
from raftlog.wire.schema import search as messages


class SeekMove(msgspec.Struct, frozen=True):
    """One queue of a seek.

    Attributes:
        topic: Its topic; "" if that was deleted.
        queue: The queue's place in it, from 0.
        before: What was committed before; None: the log does not say. Of a queue-style group it
            never does.
        after: Where the group goes on from then on.
    """

    topic: str
    queue: int
    before: int | None
    after: int


class GroupSeek(msgspec.Struct, frozen=True):
    """A seek.

    Attributes:
        index: Of its log entry.
        at: Its log time.
        style: "stream" or "queue": what the group was.
        moves: Its queues.
        more: Queues that are not told: of a seek only 1 000 are.
    """

    index: int
    at: datetime
    style: Literal["stream", "queue"]
    moves: tuple[SeekMove, ...]
    more: int


class GroupSeeks(LogWalk[GroupSeek]):
    """The seeks of one group: an iterator, oldest first.

    Made by ``Groups.seeks``; bound to its loop. Nothing goes on between two questions, so there
    is nothing to close: who wants no more stops asking.
    """

    def __init__(self, asker: Asker, group: str, since_ms: int, bounds: WalkBounds) -> None:
        super().__init__(asker, bounds)
        self._group = group
        self._since_ms = since_ms

    async def _question(
        self, position: int, carry: bytes
    ) -> tuple[WalkAnswer, Sequence[GroupSeek]]:
        asked = messages.ListSeeks(
            group=self._group, position=position, carry=carry, since_ms=self._since_ms
        )
        answer = await self._ask(Method.GROUP_SEEKS, asked, messages.SeeksListed)
        seeks = [_seek(each) for each in answer.seeks if each.log_time_ms >= self._since_ms]
        return answer, seeks


def _seek(found: messages.Seek) -> GroupSeek:
    return GroupSeek(
        index=found.index,
        at=moment_of(found.log_time_ms),
        style="queue" if found.queue_style else "stream",
        moves=tuple(
            SeekMove(
                each.topic,
                each.place,
                each.before if each.HasField("before") else None,
                each.after,
            )
            for each in found.moves
        ),
        more=found.more,
    )

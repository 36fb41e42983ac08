"""What ``raftlog group seek`` would change: one move for each queue."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from raftlog.base.errors import BadRequest

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.groups import GroupInfo


class Move(msgspec.Struct, frozen=True):
    """A queue's position, before and after.

    Attributes:
        before: The committed offset; None: nothing was committed.
        after: What it becomes.
        end: The queue's end, when it was looked at.
    """

    topic: str
    queue: int
    before: int | None
    after: int
    end: int

    @property
    def records(self) -> int | None:
        """Records that are passed over, or if negative: read again; None: not known."""
        return None if self.before is None else self.after - self.before


def topics_of(group: "GroupInfo") -> list[str]:
    """Return the topics in which a group has queues, by name.

    Raises:
        BadRequest: There is none.
    """
    found = sorted({queue.topic for queue in group.queues})
    if not found:
        raise BadRequest(
            f"group {group.name} has no queues and no offsets; name a topic with --topic"
        )
    return found


async def plan_moves(
    client: "Client",
    group: "GroupInfo",
    topics: Sequence[str],
    position: "Position",
    queue: int | None,
) -> list[Move]:
    """Find out what a seek would do; nothing is changed.

    Raises:
        TopicNotFound: There is no topic of that name.
        WrongQueue: It has no such queue.
        BadRequest: An offset is below a queue's start or beyond its end.
    """
    committed = {(each.topic, each.queue): each.committed for each in group.queues}
    moves: list[Move] = []
    for topic in topics:
        offsets = await client.topics.offsets(topic, position, queue=queue)
        described = await client.topics.describe(topic)
        for place, offset in sorted(offsets.items()):
            ends = described.queues[place]
            if not ends.start_offset <= offset <= ends.end_offset:
                raise BadRequest(
                    f"queue {place} of {topic} has offsets {ends.start_offset} to "
                    f"{ends.end_offset}, not {offset}; choose one of them, for one queue with "
                    "--topic and --queue"
                )
            before = committed.get((topic, place))
            moves.append(Move(topic, place, before, offset, ends.end_offset))
    return moves


async def carry_out(client: "Client", group: str, moves: Iterable[Move]) -> None:
    """Seek: one commit for each topic, all its queues or none.

    Raises:
        OffsetOutOfRange: A queue has moved meanwhile; the topics before are done.
    """
    by_topic: dict[str, dict[int, int]] = {}
    for move in moves:
        by_topic.setdefault(move.topic, {})[move.queue] = move.after
    for topic, offsets in by_topic.items():
        to: Mapping[int, int] = offsets
        await client.groups.seek(group, topic, to=to)

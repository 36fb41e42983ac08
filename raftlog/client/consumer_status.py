"""What a consumer tells of itself: what happens, and how far it is."""

import msgspec

from raftlog.base.errors import RaftlogError


class Rebalanced(msgspec.Struct, frozen=True):
    """A generation began: (topic, queue's place) of what is read here now, and what changed."""

    generation: int
    queues: tuple[tuple[str, int], ...]
    gained: tuple[tuple[str, int], ...]
    lost: tuple[tuple[str, int], ...]
    revoked: tuple[tuple[str, int], ...] = ()
    """What is to go to another member as soon as it is finished here (cooperative)."""


class Released(msgspec.Struct, frozen=True):
    """Revoked queues were finished here and released: another member has them now."""

    queues: tuple[tuple[str, int], ...]


class Skipped(msgspec.Struct, frozen=True):
    """Records were forgotten before they were read (``on_lost="skip"``)."""

    topic: str
    queue: int
    offset: int
    to: int


class OwnedQueue(msgspec.Struct, frozen=True):
    """One queue that is read here.

    Attributes:
        topic: Its topic.
        queue: Its place in the topic.
        position: Offset of the next record to hand out.
        committed: What the group has committed; None: nothing.
        lag: Records from the position to the end, as far as known.
    """

    topic: str
    queue: int
    position: int
    committed: int | None
    lag: int


class ConsumerStatus(msgspec.Struct, frozen=True):
    """What a consumer reads, and what hinders it.

    Attributes:
        group: Its group.
        member: Its id in the group.
        generation: Of its assignment; 0 before the first.
        queues: What it reads.
        rejoins: How often the group had expired it.
        last_error: What went wrong last in the background; None while all is well.
    """

    group: str
    member: str
    generation: int
    queues: tuple[OwnedQueue, ...]
    rejoins: int
    last_error: RaftlogError | None

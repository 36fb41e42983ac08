"""What is asked of consumer groups, and what comes of it. The rules are in ``groups``."""

from typing import Annotated

import msgspec

from raftlog.base.assignors import RANGE, check_assignor
from raftlog.base.errors import BadRequest
from raftlog.base.limits import GROUP_TOPICS_MAX, SESSION_MS_MAX, SESSION_MS_MIN
from raftlog.base.names import check_name
from raftlog.broker.shares import AssignedQueue
from raftlog.broker.values import Count, Name
from raftlog.wire.filters import EVERYTHING, RecordFilter

_Topics = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=GROUP_TOPICS_MAX)]


class JoinGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Become a member. Outcome: ``Assignment``.

    The member's id is drawn by the client, so that asking again is harmless:
    a member that joins again unchanged begins no generation.
    """

    group: str
    member: str
    topics: _Topics
    session_ms: Annotated[int, msgspec.Meta(ge=SESSION_MS_MIN, le=SESSION_MS_MAX)]
    client: Name = ""
    wanted: RecordFilter = EVERYTHING
    assignor: str = ""
    """How the group shares its queues out; "": as it does, at first by range."""
    life: Count = 0
    """Of a static member; 0: it is none."""

    def __post_init__(self) -> None:
        """Refuse a name that no group or member can have, and a topic named twice."""
        check_assignor(self.assignor)
        check_name(self.group, "group")
        check_name(self.member, "member")
        if len(set(self.topics)) != len(self.topics):
            raise BadRequest(f"member {self.member!r} names a topic twice")


class SetSubscription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Change what a group reads, for all its members. Outcome: ``SubscriptionSet``.

    Harmless when it is asked again. What the group reads already begins no version: it is only
    noted that it is to stay.
    """

    group: Name
    topics: _Topics
    wanted: RecordFilter = EVERYTHING
    version: Count = 0
    """Which version it is to replace; 0: whichever there is."""
    assignor: str = ""
    """How the group is to share its queues out; "": as before."""

    def __post_init__(self) -> None:
        """Refuse a topic named twice, and an assignor that is none."""
        check_assignor(self.assignor)
        if len(set(self.topics)) != len(self.topics):
            raise BadRequest("a subscription names a topic twice")


class LeaveGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member left, or was silent for too long. Outcome: ``GroupLeft``, also if it was none."""

    group: Name
    member: Name
    expired: bool = False
    life: Count = 0
    """Which life of a static member: a later one stays."""


class DeleteGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a group without members, and its offsets. Outcome: ``GroupDeleted``."""

    group: Name


class Subscription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a group reads. A part of its row.

    Attributes:
        topics: In the order of names. One may have been deleted meanwhile, and may come back.
        wanted: Which of their records.
        version: Raised by every change; 0: nobody has said yet what the group reads.
        assignor: How its queues are shared out.
        by_hand: ``SetSubscription`` has said so: it stays. Else it goes with the last member.
    """

    topics: tuple[str, ...] = ()
    wanted: RecordFilter = EVERYTHING
    version: int = 0
    assignor: str = RANGE
    by_hand: bool = False

    def __str__(self) -> str:
        """Show it to people."""
        shared = f", {self.assignor}" if self.assignor else ""
        return f"{', '.join(self.topics)} ({self.wanted}){shared}"


class Assignment(msgspec.Struct, frozen=True):
    """What one member reads in one generation."""

    generation: int
    queues: tuple[AssignedQueue, ...]
    subscription: Subscription = Subscription()


class SubscriptionSet(msgspec.Struct, frozen=True, gc=False):
    """The group reads what was asked for, in this version and from this generation on."""

    version: int
    generation: int


class GroupLeft(msgspec.Struct, frozen=True, gc=False):
    """The member is none (any more)."""


class GroupDeleted(msgspec.Struct, frozen=True, gc=False):
    """The group is forgotten."""

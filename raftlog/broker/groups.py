"""Consumer groups, stream style: who is a member, and who reads which queue.

Every change of members or queues begins a *generation* with a new assignment,
made in apply. Heartbeats are not state: the leader's service counts them and
proposes ``LeaveGroup`` for a member that has been silent (ruling 25).
"""

import msgspec


class JoinGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Become a member, or change a member's topics. Outcome: ``Assignment``.

    The member's id is drawn by the client, so that asking again is harmless:
    a member that joins again unchanged begins no generation.
    """

    group: str
    member: str
    topics: tuple[str, ...]
    session_ms: int
    client: str = ""


class LeaveGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member left, or was silent for too long. Outcome: ``GroupLeft``, also if it was none."""

    group: str
    member: str
    expired: bool = False


class DeleteGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a group without members, and its offsets. Outcome: ``GroupDeleted``."""

    group: str


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """What one member reads in one generation: (queue, topic, place in the topic)."""

    generation: int
    queues: tuple[tuple[int, str, int], ...]


class GroupLeft(msgspec.Struct, frozen=True, gc=False):
    """The member is none (any more)."""


class GroupDeleted(msgspec.Struct, frozen=True, gc=False):
    """The group is forgotten."""

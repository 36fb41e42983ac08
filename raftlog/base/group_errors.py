"""Errors of consumer groups, and of whoever was replaced. Part of the tree in ``errors``."""

from raftlog.base.error_root import Refused


class Fenced(Refused):
    """A newer epoch, generation or process has taken over, or what was read is finished."""

    code = "fenced"
    hint = "stop: somebody else goes on; a consumer joins its group again"


class GroupNotFound(Refused):
    """No consumer group of this name."""

    code = "group_not_found"
    hint = "see the groups: raftlog group list; one begins with its first consumer"


class UnknownMember(Refused):
    """The consumer is no member of its group: it was silent for too long, or left."""

    code = "unknown_member"
    hint = "join again; what it had not committed is delivered to somebody else"


class SubscriptionConflict(Refused):
    """The group reads something else, or shares it out otherwise. The text shows both, and why."""

    code = "subscription_conflict"
    hint = "read what the group reads, or change that for all: group or queue-group subscribe"


class GroupInUse(Refused):
    """The group has members."""

    code = "group_in_use"
    hint = "stop its consumers first"


class OffsetGoesBack(Refused):
    """A commit of an offset below the committed one."""

    code = "offset_goes_back"
    hint = "commits only go forward; to read again: raftlog group seek"


class GroupStyle(Refused):
    """A queue-style group was used as a stream-style one, or the other way round."""

    code = "group_style"
    hint = "use another name: a group keeps its style; see it with raftlog group describe"


class StaleLease(Refused):
    """The lease has ended: the message was leased again, waits for it, is dead, or is finished."""

    code = "stale_lease"
    hint = "do not count the work as acknowledged: it is, or was, done again by somebody else"

"""What goes wrong with leases and the groups that have them."""

from raftlog.base.error_root import Refused


class GroupStyle(Refused):
    """A queue-style group was used as a stream-style one, or the other way round."""

    code = "group_style"
    hint = "use another name: a group keeps its style; see it with raftlog group describe"


class StaleLease(Refused):
    """The lease has ended: the message was leased again, waits for it, or is a dead letter."""

    code = "stale_lease"
    hint = "do not count the work as acknowledged: it is, or was, done again by somebody else"

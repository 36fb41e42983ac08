"""What a producer says about itself."""

import msgspec

from raftlog.base.errors import RaftlogError


class ProducerStatus(msgspec.Struct, frozen=True):
    """What a producer holds, and what hinders it.

    Attributes:
        records: Accepted, without a receipt yet.
        bytes: Of them, about.
        oneway_dropped: Records of ``oneway`` that were given up before they were sent.
        last_error: Why nobody could be asked the last time; None while all is well.
    """

    records: int
    bytes: int
    oneway_dropped: int
    last_error: RaftlogError | None

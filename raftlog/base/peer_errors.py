"""Two processes that must not talk to each other; imported from ``raftlog.base.errors``."""

from raftlog.base.error_root import RaftlogError


class PeerRefused(RaftlogError):
    """Two processes that must not talk to each other."""

    code = "peer_refused"


class WrongCluster(PeerRefused):
    """The other side belongs to another cluster."""

    code = "wrong_cluster"


class WrongVersion(PeerRefused):
    """The other side speaks another protocol version."""

    code = "wrong_version"


class WrongIdentity(PeerRefused):
    """The other side is not, or takes us for, the replica that was expected."""

    code = "wrong_identity"


class RolledBack(PeerRefused):
    """A directory older than the promises that were made from it."""

    code = "rolled_back"


class GivenUp(PeerRefused):
    """A replica that was given up with a lost majority, and is there again."""

    code = "given_up"


class ProtocolError(PeerRefused):
    """Bytes that are no message of this protocol."""

    code = "protocol"

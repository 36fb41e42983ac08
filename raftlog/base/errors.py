"""One tree of errors: who is to blame, whether to retry, what may have happened.

::

    RaftlogError
      Retriable            the same call may succeed later; nothing was done
        NotLeader            ask the leader in ``leader_hint``
        Throttled            wait ``retry_after`` seconds
          QuotaExceeded        a client or a topic sends more than it may
          DiskFull             so full that only consuming and trimming go on
        BufferFull           this client holds as much as it may
          SpoolFull            so does its spool, on its own disk
        Unavailable          no leader, no connection, or stopping
        NotCommitted         was appended, then replaced: it never happened
        OutOfOrder           batches before this one are missing: send those first
        ChangePending        one change of the members at a time, and not by a new leader at once
        NotCaughtUp          the learner has too little of the log to become a voter
      OutcomeUnknown       it may have happened; ``resolve`` tells
      NotStored            what ``resolve`` found: it did not happen and never will
      Refused              the caller's mistake; the same call fails again
        OffsetOutOfRange  RecordTooLarge  BadBatch  BadRequest  BadName  BadFormat  LimitReached
        BadDelay  BadFilter  WrongQueue
        TopicNotFound  TopicExists  NotPermitted  WrongMessageType
        Fenced  UnknownProducer  DuplicateForgotten
        GroupNotFound  UnknownMember  GroupInUse  OffsetGoesBack  SubscriptionConflict
        GroupStyle  StaleLease
        UnknownTransactor  TransactionNotFound  TransactionDecided  TransactionForgotten
        ForeignTransaction  TransactionTooLarge  TransactionExpired  CrossShard
        MemberNotFound  MemberExists  MemberAlive  HeldBack  BadChange
        CodecUnavailable  Closed  WrongLoop
      ConfigError          a bad configuration file, with line and column
      PeerRefused          two processes that must not talk
        WrongCluster  WrongVersion  WrongIdentity  RolledBack  GivenUp  ProtocolError
      DirectoryRefused     a data directory that this node must not use
        DirectoryUnformatted  DirectoryFormatted  DirectoryForeign  DirectoryLocked
        IncompatibleFormat
      StorageError         a disk that failed or lies
        StorageFailed        an operation failed: the node stops, it is never retried
          NoRoom               the disk is full: nothing was changed, it may be done again
        DamagedLog           bad bytes where good ones were promised
        WritesLost           the machine restarted under os-cache: this node may not come back so
        Diverged             a committed entry differs from the leader's: the replica stops
        CorruptFrame         bytes that are no frame
        FaultyEntry          this entry is damaged here; another replica has it
      ApplyFailed          the state machine raised: the replica stops at that index

``outcome`` says whether the effect may have happened, ``retriable`` whether
repeating the same call can help, ``code`` is the stable name on the wire and
in the CLI, ``hint`` what to do next, in a sentence.
"""

from typing import Final

from raftlog.base.disk_errors import (
    CorruptFrame,
    DamagedLog,
    DirectoryForeign,
    DirectoryFormatted,
    DirectoryLocked,
    DirectoryRefused,
    DirectoryUnformatted,
    Diverged,
    FaultyEntry,
    IncompatibleFormat,
    NoRoom,
    StorageError,
    StorageFailed,
    WritesLost,
)
from raftlog.base.error_root import Outcome, RaftlogError, Refused, Retriable
from raftlog.base.group_errors import (
    Fenced,
    GroupInUse,
    GroupNotFound,
    GroupStyle,
    OffsetGoesBack,
    StaleLease,
    SubscriptionConflict,
    UnknownMember,
)
from raftlog.base.ids import NodeId
from raftlog.base.peer_errors import (
    GivenUp,
    PeerRefused,
    ProtocolError,
    RolledBack,
    WrongCluster,
    WrongIdentity,
    WrongVersion,
)
from raftlog.base.topic_errors import (
    NotPermitted,
    TopicExists,
    TopicNotFound,
    WrongMessageType,
)
from raftlog.base.transaction_errors import (
    CrossShard,
    ForeignTransaction,
    TransactionDecided,
    TransactionExpired,
    TransactionForgotten,
    TransactionNotFound,
    TransactionTooLarge,
    UnknownTransactor,
)

# What is imported is a part of the tree too.
__all__ = [
    "CorruptFrame",
    "CrossShard",
    "DamagedLog",
    "DirectoryForeign",
    "DirectoryFormatted",
    "DirectoryLocked",
    "DirectoryRefused",
    "DirectoryUnformatted",
    "Diverged",
    "FaultyEntry",
    "Fenced",
    "ForeignTransaction",
    "GivenUp",
    "GroupInUse",
    "GroupNotFound",
    "GroupStyle",
    "IncompatibleFormat",
    "NoRoom",
    "NotPermitted",
    "OffsetGoesBack",
    "Outcome",
    "PeerRefused",
    "ProtocolError",
    "RaftlogError",
    "Refused",
    "Retriable",
    "RolledBack",
    "StaleLease",
    "StorageError",
    "StorageFailed",
    "SubscriptionConflict",
    "TopicExists",
    "TopicNotFound",
    "TransactionDecided",
    "TransactionExpired",
    "TransactionForgotten",
    "TransactionNotFound",
    "TransactionTooLarge",
    "UnknownMember",
    "UnknownTransactor",
    "WritesLost",
    "WrongCluster",
    "WrongIdentity",
    "WrongMessageType",
    "WrongVersion",
]


class NotLeader(Retriable):
    """This node does not lead the shard.

    Attributes:
        leader_hint: The node that leads, as far as this one knows.
        leader_address: Where its clients reach it, if an answer named that.
    """

    code = "not_leader"
    hint = "ask the node that leads; a client of raftlog does so by itself"

    def __init__(
        self, leader_hint: NodeId | None = None, leader_address: str | None = None
    ) -> None:
        where = f"; ask {leader_hint}" if leader_hint else "; no leader is known yet, ask again"
        super().__init__(f"this node does not lead the shard{where}")
        self.leader_hint: Final = leader_hint
        self.leader_address: Final = leader_address


class Throttled(Retriable):
    """More is waiting than the node accepts.

    Attributes:
        retry_after: Seconds to wait before asking again.
    """

    code = "throttled"
    hint = "wait retry_after seconds, or send less at once"

    def __init__(self, cause: str, retry_after: float = 0.05) -> None:
        super().__init__(f"{cause}; ask again in {retry_after:g} s")
        self.cause: Final = cause
        self.retry_after: Final = retry_after


class QuotaExceeded(Throttled):
    """A client sends, or a topic is sent, more than its quota: a record waits for its turn."""

    code = "quota_exceeded"
    hint = "send less, or have the quota raised: raftlog quota list"


class DiskFull(Throttled):
    """The disks of a majority are nearly full: no new topics, at last no records."""

    code = "disk_full"
    hint = "make room on the nodes' disks, or shorten retention; consumers go on meanwhile"


class Unavailable(Retriable):
    """No leader, no connection, or a node that is stopping."""

    code = "unavailable"
    hint = "see that a majority of the nodes runs: raftlog cluster status"


class NotCommitted(Retriable):
    """The entry was appended and then replaced by another leader's: it never happened."""

    code = "not_committed"
    hint = "send it again: it was not stored"


class BufferFull(Retriable):
    """This client holds as many unacknowledged records or bytes as it may."""

    code = "buffer_full"
    hint = "await the receipts of what was sent, or ready(), before sending more"


class SpoolFull(BufferFull):
    """The local spool takes as much of the disk as it may: nothing was written."""

    code = "spool_full"
    hint = "see spool.status why it is not emptied, or give it more bytes"


class OutOfOrder(Retriable):
    """Batches before this one are missing in the queue: it was not stored.

    Attributes:
        expected: The sequence that the producer's next batch must have.
    """

    code = "out_of_order"
    hint = "send the missing batches first, in order; a client of raftlog does so by itself"

    def __init__(self, expected: int) -> None:
        super().__init__(f"the producer's next sequence in this queue is {expected}")
        self.expected: Final = expected


class ChangePending(Retriable):
    """The members of the shard can't be changed at this moment (Raft §4.1).

    Another change is under way, or the leader has not committed an entry of its own term yet.
    """

    code = "change_pending"
    hint = "ask again; see what is under way: raftlog member list"


class NotCaughtUp(Retriable):
    """The learner has too little of the log to become a voter (Raft §4.2.1)."""

    code = "not_caught_up"
    hint = "wait until it has caught up; see how far it is: raftlog member list"


class NotStored(RaftlogError):
    """What ``resolve`` found: it was not stored, and a late copy of it never will be."""

    code = "not_stored"
    hint = "send it again"


class OutcomeUnknown(RaftlogError):
    """It may have happened and may still happen. Asking again may repeat it.

    Attributes:
        ticket: For ``resolve``; None where there is nothing to ask with.
    """

    code = "outcome_unknown"
    hint = "call resolve() with its ticket, or read the log, before it is sent again"
    outcome = Outcome.UNKNOWN

    def __init__(self, text: str, ticket: object = None) -> None:
        super().__init__(text)
        self.ticket: Final = ticket


class OffsetOutOfRange(Refused):
    """The offset is not, or no longer, in the queue.

    Attributes:
        start: First offset that can be read.
        end: Offset after the last one.
    """

    code = "offset_out_of_range"
    hint = "read from start or end, or let the consumer begin at earliest or latest"

    def __init__(self, offset: int, start: int, end: int) -> None:
        super().__init__(f"offset {offset} is outside {start}..{end}; read from {start} or {end}")
        self.offset: Final = offset
        self.start: Final = start
        self.end: Final = end


class RecordTooLarge(Refused):
    """A record or batch is over its limit.

    Attributes:
        limit: The limit in bytes.
    """

    code = "record_too_large"
    hint = "send smaller records or batches"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"{size} bytes are over the limit of {limit}; send smaller records or batches"
        )
        self.size: Final = size
        self.limit: Final = limit


class BadBatch(Refused):
    """A record batch that fails its checksum or does not parse."""

    code = "bad_batch"
    hint = "send it again; if it fails again, producer and node differ in version"


class BadRequest(Refused):
    """A request that this node cannot understand."""

    code = "bad_request"
    hint = "correct the request; client and node may differ in version"


class WrongQueue(Refused):
    """No such queue here."""

    code = "wrong_queue"
    hint = "look the topic up again: its queues have changed"


class BadName(Refused):
    """A name that no topic, group or member can have."""

    code = "bad_name"
    hint = "choose another name"


class BadFormat(Refused):
    """A format string that does not parse. The text shows where."""

    code = "bad_format"
    hint = "see the format's letters: raftlog sub --help"


class BadFilter(Refused):
    """A filter that does not parse, or can't have a meaning. The text shows where."""

    code = "bad_filter"
    hint = "correct the filter where the caret is; its language: docs/reference/filters.md"


class BadDelay(Refused):
    """A delay that is negative, or longer than a message may be delayed."""

    code = "bad_delay"
    hint = "choose a time within the next 40 days; what is past is delivered at once"


class LimitReached(Refused):
    """A table of the shard is full."""

    code = "limit_reached"
    hint = "delete what is not needed any more; base/limits.py has the bounds"


class UnknownProducer(Refused):
    """The producer was never begun in this queue, or was silent for too long."""

    code = "unknown_producer"
    hint = "begin a new producer"


class DuplicateForgotten(Refused):
    """It was stored before, and the producer has said that it knows: its offset is forgotten."""

    code = "duplicate_forgotten"
    hint = "nothing is lost: the record is in the queue, once"


class MemberNotFound(Refused):
    """No member of the shard has this name."""

    code = "member_not_found"
    hint = "see the members: raftlog member list"


class MemberExists(Refused):
    """The node is a member already, with another directory."""

    code = "member_exists"
    hint = "remove it first: what was promised from its old directory still counts"


class MemberAlive(Refused):
    """The replica that another directory of its node is to replace was heard lately."""

    code = "member_alive"
    hint = "choose another name for the new node, or stop the one that has this name"


class HeldBack(Refused):
    """An operator made the node a learner: it does not become a voter by its own wish."""

    code = "held_back"
    hint = "let it vote again: raftlog member promote"


class BadChange(Refused):
    """A change after which the shard could not decide, or with too many members."""

    code = "bad_change"
    hint = "see the members: raftlog member list"


class CodecUnavailable(Refused):
    """A compressed batch whose codec is not installed here."""

    code = "codec_unavailable"
    hint = "install it: pip install 'raftlog[zstd]' or 'raftlog[lz4]'"


class WrongLoop(Refused):
    """An object that is bound to one event loop was used from another."""

    code = "wrong_loop"
    hint = "make the client on the loop that uses it, or use raftlog.sync.Client from threads"


class Closed(Refused):
    """The object was closed by its owner."""

    code = "closed"
    hint = "make a new client"


class ConfigError(RaftlogError):
    """A bad configuration file. The text begins with ``file:line:column``."""

    code = "config"


class ApplyFailed(RaftlogError):
    """The state machine raised at a committed entry: the replica stops before it.

    Attributes:
        index: The entry at which apply stopped.
    """

    code = "apply_failed"

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"apply stopped at index {index}: {reason}")
        self.index: Final = index

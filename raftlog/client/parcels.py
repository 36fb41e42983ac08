"""What a sequencer is given, and what it asks for: batches on their way, outcomes, actions."""

from enum import Enum, auto
from typing import Final, Generic, TypeVar

import msgspec

from raftlog.base.errors import RaftlogError, WrongQueue
from raftlog.base.ids import Index, Offset, Term

UNNUMBERED: Final = -1


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A batch is in the queue: its records have the offsets ``base_offset`` and following."""

    base_offset: Offset
    term: Term
    index: Index
    durability: str = ""
    duplicate: bool = False
    """A copy was sent after it had been stored."""
    hidden_id: int = 0
    """Of a batch that is not visible at once, and so has no offset yet."""
    due_ms: int = 0
    """When such a one becomes visible by itself."""


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """A batch of the epoch before a fence that was stored."""

    base_sequence: int
    count: int
    stored: Stored


class State(Enum):
    """How far a batch is."""

    OPEN = auto()
    UNKNOWN = auto()
    """Its owner was told ``OutcomeUnknown``; a fence will tell what became of it."""
    SETTLED = auto()


class Parcel:
    """One batch on its way. Users add what they need by a subclass.

    Attributes:
        count: Its records.
        epoch: With ``sequence`` and ``known_through`` what its header must say.
        sequence: Of its first record; negative while it waits.
        copies: How often it was sent; each answer is told with the number of its copy.
        last_error: The last refusal, for whoever must be told why it took too long.
    """

    __slots__ = (
        *("loose", "refusal", "stale", "state"),
        *("copies", "count", "epoch", "known_through", "last_error", "sequence"),
    )

    def __init__(self, count: int) -> None:
        assert count > 0, f"a batch of {count} records"
        self.count = count
        self.epoch = 0
        self.sequence = UNNUMBERED
        self.known_through = 0
        self.copies = 0
        self.last_error: RaftlogError | None = None
        self.state = State.OPEN
        self.stale = 0
        """Copies up to this one carry an older number; their answers say nothing any more."""
        self.loose = 0
        """Copies of the current number that were not definitely refused."""
        self.refusal: RaftlogError | None = None
        """What to tell its owner if the fence says that no copy was stored."""

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is definite."""
        return self.state is State.SETTLED

    @property
    def is_unknown(self) -> bool:
        """Whether its owner was told that the outcome is unknown, and no fence has told more."""
        return self.state is State.UNKNOWN

    @property
    def may_be_sent(self) -> bool:
        """Whether its queue knows it for certain, if it is stored. Without a clock: it does."""
        return True

    def may_be_stored(self, stored_through: int, next_sequence: int) -> bool:
        """Whether it may be stored although a fence has not found it. Without a clock: it is not.

        Args:
            stored_through: So far its epoch had come for certain; it is not before that.
            next_sequence: So far it had come, says the fence.
        """
        del stored_through, next_sequence
        return False


P = TypeVar("P", bound=Parcel)


class Send(msgspec.Struct, Generic[P], frozen=True):
    """Send copy number ``copy`` of a batch, after what was sent before."""

    parcel: P
    copy: int


class Settle(msgspec.Struct, Generic[P], frozen=True):
    """Tell a batch's owner. After an ``OutcomeUnknown`` a second one tells what a fence found."""

    parcel: P
    result: Stored | RaftlogError


class Retry(msgspec.Struct, frozen=True):
    """Nothing is sent until ``resume``: wait as ``error`` says, find the leader, then call it."""

    error: RaftlogError


class LookUp(msgspec.Struct, frozen=True):
    """The queue may be gone: look its topic up, then ``resume`` or ``abandon``."""

    error: WrongQueue


class Fence(msgspec.Struct, frozen=True):
    """Commit this epoch, asking until it is answered; then ``fenced`` or ``fence_refused``."""

    epoch: int


Action = Send[P] | Settle[P] | Retry | LookUp | Fence

"""The root of all errors; ``raftlog.base.errors`` has the tree, and is where they are imported."""

from enum import Enum
from typing import ClassVar


class Outcome(Enum):
    """Whether a failed request may have had its effect."""

    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"


class RaftlogError(Exception):
    """The root. Catch it to catch everything that raftlog raises on purpose."""

    code: ClassVar[str] = "error"
    retriable: ClassVar[bool] = False
    outcome: ClassVar[Outcome] = Outcome.NOT_APPLIED
    hint: ClassVar[str] = "read the text: it says what went wrong"


class Retriable(RaftlogError):
    """Nothing was done; the same call may succeed later."""

    retriable = True


class Refused(RaftlogError):
    """The caller's mistake: the same call fails again."""

    code = "refused"

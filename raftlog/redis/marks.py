"""What stands in Redis for a message: one key, and what its value says.

::

    (no key)          nobody has processed it, as far as is known
    "claimed TOKEN"   somebody is at it; the key ends with the claim
    "done TOKEN"      it was processed; the key ends when nobody needs to know any more

A token is of one try. So who finds "done" with its own token knows that it was itself: its answer
was lost, and the client has asked again.
"""

import secrets
from datetime import timedelta
from typing import Any, Final

import msgspec

from raftlog.base.errors import Fenced
from raftlog.base.names import check_name
from raftlog.client.durations import Duration, seconds
from raftlog.client.placed import Placed, identity_of

KEPT: Final = timedelta(days=30)
"""Longer than messages are kept in most topics."""
PREFIX: Final = "raftlog:processed"
PAUSE_S: Final = 0.05
"""Between two looks whether somebody else is done."""
RENEWED_PER_LEASE: Final = 3
_CLAIMED: Final = "claimed "
_DONE: Final = "done "


class Try(msgspec.Struct, frozen=True):
    """One try to process one message."""

    key: str
    token: str

    @property
    def claimed(self) -> str:
        """What the key says while it is at it."""
        return _CLAIMED + self.token

    @property
    def done(self) -> str:
        """What the key says afterwards."""
        return _DONE + self.token

    def is_ours(self, value: str | None) -> bool | None:
        """Whether the work is ours, by what the key says; None: that is not known yet."""
        if value == self.claimed:  # the answer to the claim was lost
            return True
        return False if is_done(value) else None

    def exchange(self, pipe: Any, found: str | None, value: str | None, px: int) -> bool:
        """Put ``value`` (None: nothing) in the place of our claim; False: it is not there.

        Args:
            pipe: A transaction of either client, which watches the key.
            found: What the key says.
            value: What it is to say; that may be there already, by an answer that was lost.
            px: For how many milliseconds.
        """
        if found != self.claimed:
            return value is not None and found == value
        pipe.multi()
        if value is None:
            pipe.delete(self.key)
        else:
            pipe.set(self.key, value, px=px)
        return True

    def lost(self) -> Fenced:
        """Return the error of who has lost the claim."""
        return Fenced(
            f"the claim to {self.key!r} had ended: somebody else may have done the work, too"
        )


class Marks:
    """Names of keys, and times, of one consumer."""

    def __init__(self, consumer: str, kept: Duration, prefix: str) -> None:
        self._prefix: Final = f"{prefix}:{check_name(consumer, 'consumer')}:"
        self.kept_ms: Final = milliseconds(kept, "what was processed is kept for")

    def begin(self, message: Placed, identity: str | None) -> Try:
        """Return a new try.

        Raises:
            ValueError: The identity has more than 255 characters.
        """
        return Try(self._prefix + identity_of(message, identity), secrets.token_hex(8))


def milliseconds(duration: Duration, what: str) -> int:
    """Return a duration in milliseconds, of which there is one at least.

    Raises:
        ValueError: It is shorter.
    """
    value = int(seconds(duration) * 1000)
    if value < 1:
        raise ValueError(f"{what} {duration!r}; give a millisecond or more")
    return value


def text_of(value: object) -> str | None:
    """Return what a client has read, whether it decodes answers or not."""
    if value is None:
        return None
    return bytes(value).decode() if isinstance(value, bytes | bytearray) else str(value)


def is_done(value: str | None) -> bool:
    """Whether a key says that its message was processed."""
    return value is not None and value.startswith(_DONE)

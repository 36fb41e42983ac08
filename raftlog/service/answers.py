"""Answers that are a message and no payload: they must fit into the header of one frame.

A list is cut where it stops fitting and says that there is more. What cannot be
cut is refused, so that nothing is left out in silence.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from google.protobuf.message import Message

from raftlog.base.errors import LimitReached, RaftlogError
from raftlog.base.limits import FRAME_HEADER_BYTES_MAX, KIB
from raftlog.service.ports import ClientRequest
from raftlog.service.proposing import Reply

T = TypeVar("T")
M = TypeVar("M", bound=Message)

ANSWER_BYTES_MAX: Final = FRAME_HEADER_BYTES_MAX
ROWS_BYTES_MAX: Final = ANSWER_BYTES_MAX - KIB
"""Rows of a list; the rest is for what stands beside them."""
ROW_OVERHEAD_BYTES: Final = 6
"""What a row costs beside its own bytes, at most: its field's number and its length."""


def answer_with(request: ClientRequest, make: Callable[[T], Message]) -> Reply[T]:
    """Return a callback that answers ``request`` with what ``make`` makes of the outcome."""

    def answer(outcome: T | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        message = make(outcome)
        if message.ByteSize() > ANSWER_BYTES_MAX:
            request.fail(
                LimitReached(
                    f"the answer has {message.ByteSize()} bytes, and {ANSWER_BYTES_MAX} fit into "
                    "a frame; use fewer queues or shorter names"
                )
            )
            return
        request.reply(message)

    return answer


def that_fit(rows: Iterable[M]) -> tuple[list[M], bool]:
    """Return the first rows, as many as fit into one answer, and whether some were left out."""
    fitting: list[M] = []
    size = 0
    for row in rows:
        size += row.ByteSize() + ROW_OVERHEAD_BYTES
        if size > ROWS_BYTES_MAX:
            return fitting, True
        fitting.append(row)
    return fitting, False

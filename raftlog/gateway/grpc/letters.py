"""Dead letters for any language: what a client of raftlog does step by step, done by the node.

::

    LetterResend --> lease as "resend.<group>" --> send by the letter's own id --> ack --> counts
                          (the leader)                 (the leader)           (the leader)

The steps are requests that any program can make, and whose outcome is the cluster's alone: so it
does not matter which node makes them, or that it dies between two of them. Whoever asks again,
here or elsewhere, goes on (``client.dead_letters``).
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, NamedTuple, cast

from google.protobuf.message import Message

from raftlog.base.errors import BadRequest, OutcomeUnknown, Unavailable
from raftlog.base.limits import MIB
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.dead_letters import DeadLetter, DeadLetters, walk
from raftlog.client.queue_groups import QueueGroups
from raftlog.wire.schema import letters, status
from raftlog.wire.status import encode_error

PAGE: Final = 100
PAGE_MAX: Final = 1_000
PAGE_BYTES: Final = MIB
"""A page ends with the letter that passes this: the largest of all fits into a reply still."""
RESENT_MAX: Final = 1_000


class Composer(NamedTuple):
    """How an rpc is made of others, and what its caller hears if that had to end before."""

    make: Callable[[Asker, Message], Awaitable[Message]]
    ended: type[Unavailable | OutcomeUnknown]


async def list_letters(asker: Asker, message: Message) -> letters.LettersListed:
    """Tell a page of a group's dead letters, the oldest first.

    Raises:
        BadRequest: A page is too large, or begins before all letters.
        GroupNotFound: There is neither such a group, nor a letter of one.
        Unavailable: No leader in time.
    """
    asked = cast("letters.ListLetters", message)
    if asked.count_max > PAGE_MAX or asked.after < 0:
        raise BadRequest(f"{asked.count_max} letters after {asked.after}; {PAGE_MAX} at once")
    after = asked.after if asked.HasField("after") else None
    page = letters.LettersListed()
    size = 0
    found = walk(
        *(asker, Catalog(asker), QueueGroups(asker), asked.group),
        pending=asked.pending,
        after=after,
    )
    async with aclosing(found):
        async for letter in found:
            if len(page.letters) >= (asked.count_max or PAGE) or size > PAGE_BYTES:
                page.more = True
                break
            row = _row(letter)
            size += row.ByteSize()
            page.letters.append(row)
    return page


async def resend_letters(asker: Asker, message: Message) -> letters.LettersResent:
    """Send a group's dead letters again, each once.

    Raises:
        GroupNotFound: There is neither such a group, nor a letter of one.
        BadName: The group's name leaves no room for "resend." before it.
        Unavailable: No leader in time.
        OutcomeUnknown: Some may have been sent: ask again.
    """
    asked = cast("letters.ResendLetters", message)
    done = await DeadLetters(asker, Catalog(asker), QueueGroups(asker)).resend(
        asked.group, topic=asked.topic, limit=asked.count_max or RESENT_MAX
    )
    return letters.LettersResent(
        count=done.count,
        duplicates=done.duplicates,
        failed=[
            letters.UnsentLetter(
                offset=each.offset, error=status.Status.FromString(encode_error(each.error))
            )
            for each in done.failed
        ],
    )


COMPOSERS: Final[Mapping[str, Composer]] = {
    "LetterList": Composer(list_letters, Unavailable),
    "LetterResend": Composer(resend_letters, OutcomeUnknown),
}
"""By their rpcs."""


def _row(letter: DeadLetter) -> letters.DeadLetter:
    record = letter.message
    return letters.DeadLetter(
        offset=record.offset,
        group=letter.group,
        topic=letter.topic,
        queue=letter.queue,
        message_offset=letter.offset,
        attempts=letter.attempts,
        reason=letter.reason,
        resent=letter.is_resent,
        value=record.value,
        key=record.key,
        tag=record.tag,
        timestamp_ms=record.timestamp_ms,
        headers=[letters.LetterHeader(name=name, value=value) for name, value in record.headers],
    )

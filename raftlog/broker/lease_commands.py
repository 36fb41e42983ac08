"""Commands about leases, and what they come to.

A *handle* names what one ``ReceiveMessages`` leased. The client draws it, as it
draws a member's id: a request that is sent again after a lost answer finds its
messages leased already, and gets them. What is leased again later is so under
another handle, and whoever comes with the old one is told so.
"""

from collections.abc import Mapping
from enum import IntEnum
from itertools import pairwise
from typing import Annotated

import msgspec

from raftlog.base.errors import BadRequest
from raftlog.base.limits import (
    KEYS_PER_RECEIVE_MAX,
    LEASE_TERM_MS_MAX,
    LEASE_TERM_MS_MIN,
    MESSAGES_PER_RECEIVE_MAX,
    MESSAGES_PER_SETTLING_MAX,
    REASON_CHARACTERS_MAX,
    RETRY_DELAY_MS_MAX,
)
from raftlog.broker.values import Count, Name, QueueNumber

Handle = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
LeaseTerm = Annotated[int, msgspec.Meta(ge=LEASE_TERM_MS_MIN, le=LEASE_TERM_MS_MAX)]
Hash = int
"""64 bits; any number that fits into a command does."""
Names = Annotated[
    tuple[tuple[Handle, QueueNumber, tuple[Count, ...]], ...],
    msgspec.Meta(min_length=1, max_length=MESSAGES_PER_SETTLING_MAX),
]
"""Leased messages: handle, queue, offsets."""
KeyRuns = Annotated[
    tuple[tuple[QueueNumber, Count, tuple[Hash, ...]], ...],
    msgspec.Meta(max_length=KEYS_PER_RECEIVE_MAX),
]
"""A queue, an offset, and the hash of the key of each record from there on; 0: it has none."""
Stretch = tuple[QueueNumber, Count, Count, tuple[Count, ...]]
"""Queue, first offset, end, and which offsets before the end match, in order; no others do."""
Stretches = Annotated[tuple[Stretch, ...], msgspec.Meta(max_length=KEYS_PER_RECEIVE_MAX)]
SCHEDULE = -1


def _check_names(names: tuple[tuple[int, int, tuple[int, ...]], ...]) -> None:
    if sum(len(offsets) for _, _, offsets in names) > MESSAGES_PER_SETTLING_MAX:
        raise BadRequest(f"more than {MESSAGES_PER_SETTLING_MAX} messages in one command")


class ReceiveMessages(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Lease up to ``count`` messages. Outcome: ``Leased``, also of none.

    ``keys`` tells what the machine does not read, for a group with FIFO: records of
    which it says nothing are not leased. It is true for ever, as batches do not change.
    """

    group: Name
    handle: Handle
    count: Annotated[int, msgspec.Meta(ge=1, le=MESSAGES_PER_RECEIVE_MAX)]
    lease_ms: LeaseTerm | None = None
    keys: KeyRuns = ()

    def __post_init__(self) -> None:
        """Refuse more keys than a command may tell: ``BadRequest``."""
        if sum(len(hashes) for _, _, hashes in self.keys) > KEYS_PER_RECEIVE_MAX:
            raise BadRequest(f"more than {KEYS_PER_RECEIVE_MAX} keys in one command")


class ReceiveMatching(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """As ``ReceiveMessages``, for a group with a filter. Outcome: ``Leased``, also of none.

    ``stretches`` tells what the machine does not read: which records the group's filter wants.
    It is true for ever of the ``version`` that the subscription had; of another one it says
    nothing.
    """

    group: Name
    handle: Handle
    count: Annotated[int, msgspec.Meta(ge=1, le=MESSAGES_PER_RECEIVE_MAX)]
    lease_ms: LeaseTerm | None
    keys: KeyRuns
    version: Count
    stretches: Stretches

    def __post_init__(self) -> None:
        """Refuse more than a command may tell: ``BadRequest``."""
        if sum(len(hashes) for _, _, hashes in self.keys) > KEYS_PER_RECEIVE_MAX:
            raise BadRequest(f"more than {KEYS_PER_RECEIVE_MAX} keys in one command")
        if sum(len(offsets) for *_, offsets in self.stretches) > KEYS_PER_RECEIVE_MAX:
            raise BadRequest(f"more than {KEYS_PER_RECEIVE_MAX} matching offsets in one command")
        for _, first, end, offsets in self.stretches:
            bounds = (first - 1, *offsets, max(first, end))
            if any(before >= after for before, after in pairwise(bounds)):
                raise BadRequest(f"offsets from {first} to {end} that are not in order")


class AckMessages(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Messages are done with. Outcome: ``Settled``."""

    group: Name
    names: Names

    def __post_init__(self) -> None:
        """Refuse too many: ``BadRequest``."""
        _check_names(self.names)


class ExtendLeases(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Leases end only so much after this. Outcome: ``Settled``."""

    group: Name
    names: Names
    lease_ms: LeaseTerm

    def __post_init__(self) -> None:
        """Refuse too many: ``BadRequest``."""
        _check_names(self.names)


class GiveBack(IntEnum):
    """How a message comes back."""

    RETRY = 0
    """The attempt has failed: it waits, and is leased again; or its attempts are used up."""
    UNTRIED = 1
    """Nobody has tried: the attempt does not count."""
    REJECT = 2
    """It can't be handled at all: its attempts are used up."""


class ReturnMessages(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Messages are not done with, and not held any more. Outcome: ``Settled``."""

    group: Name
    names: Names
    how: Annotated[int, msgspec.Meta(ge=0, le=int(GiveBack.REJECT))] = GiveBack.RETRY
    delay_ms: Annotated[int, msgspec.Meta(ge=SCHEDULE, le=RETRY_DELAY_MS_MAX)] = SCHEDULE
    """-1: what the group's schedule says."""
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS_MAX)] = ""

    def __post_init__(self) -> None:
        """Refuse too many: ``BadRequest``."""
        _check_names(self.names)


class Verdict(IntEnum):
    """What somebody decided about a blocked message."""

    RETRY = 0
    SKIP = 1
    DEAD_LETTER = 2


class DecideBlocked(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A blocked message goes on. Outcome: ``Settled``; asking again changes nothing."""

    group: Name
    queue: QueueNumber
    offset: Count
    verdict: Annotated[int, msgspec.Meta(ge=0, le=int(Verdict.DEAD_LETTER))]


LeaseCommand = (
    ReceiveMessages | ReceiveMatching | AckMessages | ExtendLeases | ReturnMessages | DecideBlocked
)

# -- outcomes


class Leased(msgspec.Struct, frozen=True, gc=False):
    """What is leased under the handle: (queue, offset, attempts), in order, until ``due_ms``."""

    messages: tuple[tuple[int, int, int], ...]
    due_ms: int


class Settled(msgspec.Struct, frozen=True, gc=False):
    """All of it, but for what was not held under its handle any more: (queue, offset, handle)."""

    stale: tuple[tuple[int, int, int], ...] = ()


def keys_of(runs: tuple[tuple[int, int, tuple[int, ...]], ...]) -> Mapping[int, dict[int, int]]:
    """Return, for each queue, the hash of the key at each offset that is told."""
    told: dict[int, dict[int, int]] = {}
    for queue, first, hashes in runs:
        told.setdefault(queue, {}).update(enumerate(hashes, start=first))
    return told

"""What a queue-style group reads: which records, in which version, and who may say so.

A *subscription* is topics, a filter and the settings of the group. Who comes to consume says
what it expects, and is refused if the group reads something else: two consumers that
disagree would each get what the other one wants. Nobody is a member of such a group, so that
nobody can be the last one; what it reads is changed by a higher version, or by hand::

    a (orders) comes                  version 1, orders
    b (orders, paid only) comes       refused: SubscriptionConflict
    b (orders, paid only, version 2)  version 2, for all: a gets what b does
    a (orders) comes again            refused
    by hand: orders, open only        version 3, which stays until it is changed by hand

What is in flight stays so, whatever the group reads; a filter is about what was never leased.

Up to level 3 (``commands``) there was none of it: topics were added, and who came last had said
what holds. Such a group is at version 0, without a filter.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import BadRequest, SubscriptionConflict
from raftlog.base.limits import GROUP_TOPICS_MAX
from raftlog.broker.commands import QUEUE_SUBSCRIPTIONS_LEVEL
from raftlog.broker.queue_groups import (
    OpenQueueGroup,
    QueueGroup,
    QueueGroupChanges,
    QueueGroupSettings,
    changed,
    check_opening,
)
from raftlog.broker.table import Table
from raftlog.broker.values import Count, Name
from raftlog.wire.filters import EVERYTHING, RecordFilter

FIRST_VERSION: Final = 1


class By(IntEnum):
    """Who says what a group reads, and how."""

    CONSUMER = 0
    """It wants to get that; a higher version than the group's replaces what it reads."""
    CHANGE = 1
    """By hand: what is named is added, or changed."""
    REPLACE = 2
    """By hand: topics and filter are these from now on, and the version is the one before."""


class SubscribeQueueGroup(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """Make a queue-style group, agree with it, or change it. Outcome: ``QueueGroup``.

    No topics: those that it has. ``wanted`` None is not said: with topics, and not to
    ``CHANGE``, that means everything. ``from_end``: as of ``OpenQueueGroup``. Asking again
    changes nothing.
    """

    group: str
    topics: Annotated[tuple[Name, ...], msgspec.Meta(max_length=GROUP_TOPICS_MAX)]
    changes: QueueGroupChanges
    from_end: bool = False
    wanted: RecordFilter | None = None
    version: Count = 0
    """Of a consumer: that of what it says, 0: not said. To ``REPLACE``: the one that is
    replaced, 0: whichever there is."""
    by: Annotated[int, msgspec.Meta(ge=0, le=int(By.REPLACE))] = By.CONSUMER

    def __post_init__(self) -> None:
        """Refuse a name that no such group can have, a topic named twice, and half of a whole."""
        check_opening(self.group, self.topics)
        if self.by == By.REPLACE and not self.topics:
            raise BadRequest(f"group {self.group!r} is to read no topic")


class QueueSubscription(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Which records a group reads. A row of state, beside the group's, which has the topics."""

    group: int
    """Its number."""
    wanted: RecordFilter = EVERYTHING
    version: int = 0
    """Raised by every change of topics, filter or settings; 0: of level 3, and not said since."""
    by_hand: bool = False
    passed: int = 0
    """Messages that were passed over, since the filter does not want them."""


class Reads(msgspec.Struct, frozen=True):
    """What a group reads, as a whole."""

    topics: tuple[str, ...]
    wanted: RecordFilter
    settings: QueueGroupSettings

    def __str__(self) -> str:
        """Show it to people, without the settings."""
        return f"{', '.join(self.topics)} ({self.wanted})"


class QueueSubscriptions:
    """Those of one shard, by the number of the group."""

    def __init__(self) -> None:
        self.table: Final[Table[int, QueueSubscription]] = Table()

    def load(self, rows: Iterable[QueueSubscription]) -> None:
        """Start from a snapshot."""
        self.table.load((row.group, row) for row in rows)

    def of(self, group: QueueGroup) -> QueueSubscription:
        """Return the row of a group; not to be changed."""
        return self.table.get(group.number) or QueueSubscription(group.number)

    def begin(self, group: QueueGroup, command: SubscribeQueueGroup) -> None:
        """A group was made."""
        by_hand = command.by != By.CONSUMER
        version = FIRST_VERSION if by_hand else max(command.version, FIRST_VERSION)
        wanted = command.wanted or EVERYTHING
        self._put(QueueSubscription(group.number, wanted, version, by_hand))

    def another(self, group: QueueGroup, command: SubscribeQueueGroup) -> Reads | None:
        """Return what a group is to read instead of what it does; None: it reads just that.

        Raises:
            SubscriptionConflict: It is not for this consumer to say; or what is to be replaced
                by hand is another version.
        """
        row = self.of(group)
        known = Reads(group.topics, row.wanted, group.settings)
        asked = _asked(known, command)
        if asked == known:
            return None
        if command.by == By.CONSUMER:
            self._check_consumer(group, known, asked, command.version)
        elif command.by == By.REPLACE and command.version not in (0, row.version):
            raise SubscriptionConflict(
                f"group {group.name!r} is at version {row.version} of its subscription, not "
                f"{command.version}; it reads {known}"
            )
        return asked

    def note(self, group: QueueGroup, command: SubscribeQueueGroup, reads: Reads | None) -> None:
        """Note what a group reads from now on, and who said so; None: what it did."""
        row = self.of(group)
        version, by_hand = row.version, row.by_hand
        wanted = row.wanted if reads is None else reads.wanted
        if reads is not None:
            version += 1
        if command.by == By.CONSUMER and not by_hand:
            version = max(version, command.version)
        elif command.by != By.CONSUMER:
            by_hand = True
        if (wanted, version, by_hand) != (row.wanted, row.version, row.by_hand):
            self._put(QueueSubscription(group.number, wanted, version, by_hand, row.passed))

    def has_passed(self, group: QueueGroup, count: int) -> None:
        """So many messages were passed over."""
        if count:
            self.table.touch(group.number)
            self.of(group).passed += count

    def forget(self, group: QueueGroup) -> None:
        """A group was deleted."""
        if self.table.get(group.number) is not None:
            self.table.delete(group.number)

    def _put(self, row: QueueSubscription) -> None:
        self.table.put(row.group, row)

    def _check_consumer(self, group: QueueGroup, known: Reads, asked: Reads, version: int) -> None:
        row = self.of(group)
        if row.by_hand:
            hint = "that was said by hand, and stays until it is changed by hand"
        elif version <= row.version:
            hint = f"that stays until a consumer says a version above {row.version}"
        else:
            return
        raise SubscriptionConflict(
            f"group {group.name!r} reads {known}{_unlike(known, asked)}, version {row.version}; "
            f"this consumer wants {asked}{_unlike(asked, known)}: {hint}"
        )


def check_queue_subscriptions_level(level: int) -> None:
    """Refuse what an older member can't read.

    Raises:
        BadRequest: The level is below ``QUEUE_SUBSCRIPTIONS_LEVEL``.
    """
    if level < QUEUE_SUBSCRIPTIONS_LEVEL:
        raise BadRequest(
            "a filter, a version or a seek of a queue-style group needs feature level "
            f"{QUEUE_SUBSCRIPTIONS_LEVEL} of the cluster, which is at {level}: a member has an "
            "older version, is away, or was not heard yet"
        )


def at_level(level: int, command: SubscribeQueueGroup) -> SubscribeQueueGroup | OpenQueueGroup:
    """Return what makes a group, or changes it, as a shard of this feature level can take it.

    Raises:
        BadRequest: It says what an older member can't read.
    """
    if level >= QUEUE_SUBSCRIPTIONS_LEVEL:
        return command
    if command.wanted or command.version or command.by == By.REPLACE:
        check_queue_subscriptions_level(level)
    return plain(command)


def plain(command: SubscribeQueueGroup) -> OpenQueueGroup:
    """Return what it says beside filter and version."""
    return OpenQueueGroup(command.group, command.topics, command.changes, command.from_end)


def _asked(known: Reads, command: SubscribeQueueGroup) -> Reads:
    """Return what a group would read if this were so."""
    settings = changed(known.settings, command.changes)
    topics, wanted = tuple(sorted(command.topics)), command.wanted
    if not topics:
        topics = known.topics
        wanted = known.wanted if wanted is None else wanted
    elif command.by == By.CHANGE:
        topics = tuple(sorted({*known.topics, *topics}))
        wanted = known.wanted if wanted is None else wanted
    return Reads(topics, wanted or EVERYTHING, settings)


def _unlike(reads: Reads, other: Reads) -> str:
    """Show the settings in which one differs from another."""
    return "".join(
        f", {name} {value}"
        for name in reads.settings.__struct_fields__
        if (value := getattr(reads.settings, name)) != getattr(other.settings, name)
    )

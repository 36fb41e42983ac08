"""What a group reads: for whom it is to say so, and how that is stored.

Up to level 2 (``commands``) it stayed, with members or without, and ``SetSubscription`` alone
changed it. From level 3 on it goes with the last member, unless it was said by hand. So what had
been changed before then was said by hand; that is noted at the first entry of level 3, which is
the same one for all replicas, whatever they were restored from. What ``SetSubscription`` had
only confirmed can't be told from what a member has set.
"""

from typing import Final

import msgspec

from raftlog.base.errors import SubscriptionConflict
from raftlog.broker.group_commands import Subscription
from raftlog.wire.filters import RecordFilter

FIRST_VERSION: Final = 1
"""The version of what a group's first member sets."""


def reads(subscription: Subscription) -> tuple[tuple[str, ...], RecordFilter, str]:
    """Return what two subscriptions have in common if they are the same."""
    return subscription.topics, subscription.wanted, subscription.assignor


def another(
    group: str, known: Subscription, asked: Subscription, *, is_alone: bool, stays: bool
) -> Subscription | None:
    """Return what a group is to read instead of what it does; None: it reads just that.

    Args:
        group: Its name.
        known: What it reads.
        asked: What a member that joins wants.
        is_alone: Whether nobody else is a member.
        stays: Whether it is so that nothing but ``SetSubscription`` changes it, as at level 2.

    Raises:
        SubscriptionConflict: It is not for this member to say.
    """
    assignor = asked.assignor or known.assignor
    wanted = msgspec.structs.replace(asked, version=known.version + 1, assignor=assignor)
    if reads(wanted) == reads(known):
        return None
    if stays:
        hint = "that stays"
    elif known.by_hand:
        hint = "that was said by hand, and stays until it is changed by hand"
    elif not is_alone:
        hint = "that stays while a member is left"
    else:
        return wanted
    raise SubscriptionConflict(
        f"group {group!r} reads {known}, version {known.version}; this member wants {asked}: "
        f"{hint}"
    )


def is_by_hand(subscription: Subscription) -> bool:
    """Whether one of level 2 was said by hand, as far as can be known."""
    return subscription.version > FIRST_VERSION


def stored(subscription: Subscription) -> tuple[object, ...]:
    """Return the fields that are stored: those of level 2, unless it was said by hand."""
    fields = subscription.topics, subscription.wanted, subscription.version, subscription.assignor
    return (*fields, True) if subscription.by_hand else fields

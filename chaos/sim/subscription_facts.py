"""What the committed log says of what groups read, told to ``subscriptions_kept``."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from chaos.check.subscriptions_kept import Reads, SubscriptionsKept, Told
from raftlog.base.errors import RaftlogError, SubscriptionConflict
from raftlog.broker.commands import CommandType
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    GroupLeft,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
    Subscription,
    SubscriptionSet,
)
from raftlog.broker.refusals import CommandRefused
from raftlog.wire.schema import groups

_COMMANDS: Final[dict[int, msgspec.msgpack.Decoder[msgspec.Struct]]] = {
    int(kind): msgspec.msgpack.Decoder(command)
    for kind, command in (
        (CommandType.JOIN_GROUP, JoinGroup),
        (CommandType.SET_SUBSCRIPTION, SetSubscription),
        (CommandType.LEAVE_GROUP, LeaveGroup),
        (CommandType.DELETE_GROUP, DeleteGroup),
    )
}
SUBSCRIPTION_KINDS: Final = frozenset(_COMMANDS)


class SubscriptionFacts:
    """What the groups of one run read."""

    def __init__(self, marks: Counter[str], kept: SubscriptionsKept) -> None:
        self._marks: Final = marks
        self._kept: Final = kept
        self.on_said: Callable[[msgspec.Struct, object], None] = lambda _command, _outcome: None
        """Told of each subscription that was set by hand."""

    def carried_out(self, kind: int, body: memoryview, outcome: object) -> None:
        """Take in a command and what became of it.

        Raises:
            Violation: An invariant is broken.
        """
        command = _COMMANDS[kind].decode(body)
        if isinstance(outcome, CommandRefused):
            self._refused(command, outcome.error)
            return
        kept, marks = self._kept, self._marks
        match command, outcome:
            case JoinGroup(), Assignment(subscription=subscription):
                before = kept.now(command.group)
                told = told_of(subscription)
                who = (command.member, command.life)
                kept.joined(command.group, who, _wanted(command), told, outcome.generation)
                if before is not None and before.version != told.version:
                    marks["subscriptions of members that changed"] += 1
            case SetSubscription(group=group), SubscriptionSet(version=version):
                self.on_said(command, outcome)
                before = kept.now(group)
                kept.said(*(group, _wanted(command), command.version, version, outcome.generation))
                is_same = before is not None and before.version == version
                marks["subscriptions confirmed by hand" if is_same else "subscriptions set"] += 1
            case LeaveGroup(group=group, member=member, life=life), GroupLeft():
                kept.left(group, member, life)
            case DeleteGroup(group=group), GroupDeleted():
                kept.deleted(group)
            case _:
                raise AssertionError(f"{command!r} has the outcome {outcome!r}")

    def _refused(self, command: msgspec.Struct, error: RaftlogError) -> None:
        if not isinstance(error, SubscriptionConflict):
            return
        match command:
            case JoinGroup():
                self._marks["members that wanted something else"] += 1
                who = (command.member, command.life)
                self._kept.turned_away(command.group, who, _wanted(command))
            case SetSubscription():
                self._marks["subscriptions that came too late"] += 1
                self._kept.contradicted(command.group, _wanted(command), command.version)
            case _:
                raise AssertionError(f"{command!r} is refused: {error!r}")


def _wanted(command: JoinGroup | SetSubscription) -> Reads:
    wanted = command.wanted
    topics = tuple(sorted(command.topics))
    return Reads(topics, wanted.tags, wanted.condition, command.assignor)


def told_of(found: Subscription) -> Told:
    """Return what an outcome tells."""
    reads = Reads(found.topics, found.wanted.tags, found.wanted.condition, found.assignor)
    return Told(reads, found.version, found.by_hand)


def told_by(found: groups.Subscription) -> Told:
    """Return what an answer tells."""
    filter_ = found.filter
    reads = Reads(*(tuple(found.topics), tuple(filter_.tags), filter_.condition, found.assignor))
    return Told(reads, found.version, found.by_hand)

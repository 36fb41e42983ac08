"""Requests of ``groups.proto``."""

from collections.abc import Iterable
from typing import Final, cast

from raftlog.base.errors import BadFilter, BadRequest
from raftlog.broker.claims import (
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
)
from raftlog.broker.group_commands import (
    Assignment,
    GroupDeleted,
    GroupLeft,
    Subscription,
    SubscriptionSet,
)
from raftlog.broker.shares import QueuesReleased
from raftlog.service.answers import answer_with, that_fit
from raftlog.service.claims import ClaimService, Offsets
from raftlog.service.groups import Described, GroupService, Page
from raftlog.service.heartbeats import Heartbeat, HeartbeatService
from raftlog.service.ports import ClientRequest
from raftlog.wire.filters import RecordFilter, record_filter
from raftlog.wire.schema import client, groups

NOTHING_COMMITTED: Final = -1


def join(service: GroupService, request: ClientRequest) -> None:
    """Become a member of a group."""
    message = cast("groups.JoinGroup", request.message)
    wanted = _wanted(message.filter, request)
    if wanted is not None:
        service.join(
            *(message.group, message.member),
            Subscription(tuple(message.topics), wanted, assignor=message.assignor),
            answer_with(request, _assignment),
            session_ms=message.session_ms,
            client=message.client,
            life=message.life,
        )


def subscribe(service: GroupService, request: ClientRequest) -> None:
    """Change what a group reads."""

    def done(outcome: SubscriptionSet) -> groups.SubscriptionSet:
        return groups.SubscriptionSet(version=outcome.version, generation=outcome.generation)

    message = cast("groups.SetSubscription", request.message)
    wanted = _wanted(message.filter, request)
    if wanted is not None:
        service.subscribe(
            *(message.group, tuple(message.topics), wanted, message.version, message.assignor),
            answer_with(request, done),
        )


def _wanted(message: client.RecordFilter, request: ClientRequest) -> RecordFilter | None:
    """Return the filter; None if it does not parse, and the request was told."""
    try:
        return record_filter(message.tags, message.condition)
    except BadFilter as error:
        request.fail(error)
        return None


def _subscription(found: Subscription) -> groups.Subscription:
    return groups.Subscription(
        topics=found.topics,
        filter=client.RecordFilter(tags=found.wanted.tags, condition=found.wanted.condition),
        version=found.version,
        assignor=found.assignor,
        by_hand=found.by_hand,
    )


def heartbeat(service: HeartbeatService, request: ClientRequest) -> None:
    """Say that a member lives; wait for a new generation."""
    message = cast("groups.HeartbeatGroup", request.message)
    beating = service.heartbeat(
        Heartbeat(
            *(message.group, message.member, message.generation),
            *(message.wait_ms * 1_000_000, message.life),
        ),
        answer_with(request, _assignment),
    )
    request.on_cancelled = beating.cancel


def leave(service: GroupService, request: ClientRequest) -> None:
    """Be a member no more."""

    def left(_outcome: GroupLeft) -> groups.GroupLeft:
        return groups.GroupLeft()

    message = cast("groups.LeaveGroup", request.message)
    service.leave(*(message.group, message.member, answer_with(request, left)), life=message.life)


def claim(service: ClaimService, request: ClientRequest) -> None:
    """Own a queue, and learn where to begin."""

    def claimed(outcome: QueueClaimed) -> groups.QueueClaimed:
        return groups.QueueClaimed(
            committed=NOTHING_COMMITTED if outcome.committed is None else outcome.committed,
            start_offset=outcome.start,
            end_offset=outcome.end,
        )

    message = cast("groups.ClaimQueue", request.message)
    service.claim(
        *(message.group, message.member, message.generation, message.queue),
        answer_with(request, claimed),
        life=message.life,
    )


def commit(service: ClaimService, request: ClientRequest) -> None:
    """Note how far a member has read."""

    def committed(_outcome: OffsetsCommitted) -> groups.OffsetsCommitted:
        return groups.OffsetsCommitted()

    message = cast("groups.CommitOffsets", request.message)
    service.commit(lambda: commit_of(message), answer_with(request, committed))


def commit_of(message: groups.CommitOffsets) -> CommitOffsets:
    """Return the command that a message is.

    Raises:
        Refused: It names somebody who is nobody, or a queue twice, or an offset that lies before
            the one that it was read from.
    """
    said = [row.read_from if row.HasField("read_from") else None for row in message.offsets]
    return CommitOffsets(
        *(message.group, message.member, message.generation),
        *(_offsets(message.offsets), message.life),
        tuple(said) if any(each is not None for each in said) else (),
    )


def release(service: ClaimService, request: ClientRequest) -> None:
    """Let go of revoked queues."""

    def released(outcome: QueuesReleased) -> groups.QueuesReleased:
        return groups.QueuesReleased(generation=outcome.generation)

    message = cast("groups.ReleaseQueues", request.message)
    queues = tuple((row.queue, row.revoked) for row in message.queues)
    service.release(
        *(message.group, message.member, queues, message.life),
        answer_with(request, released),
    )


def seek(service: ClaimService, request: ClientRequest) -> None:
    """Set offsets for whoever owns the queues next."""

    def sought(outcome: GroupSought) -> groups.GroupSought:
        return groups.GroupSought(generation=outcome.generation)

    message = cast("groups.SeekGroup", request.message)
    if any(row.HasField("read_from") for row in message.offsets):
        request.fail(BadRequest("an offset that is set was read from nowhere"))
        return
    service.seek(message.group, _offsets(message.offsets), answer_with(request, sought))


def describe(service: GroupService, request: ClientRequest) -> None:
    """Tell a group's members, queues and lag."""
    message = cast("groups.DescribeGroup", request.message)
    service.describe(message.group, answer_with(request, _description))


def list_(service: GroupService, request: ClientRequest) -> None:
    """Tell the next groups in the order of their names."""
    message = cast("groups.ListGroups", request.message)
    service.list(message.after, message.count_max, answer_with(request, _listed))


def delete(service: GroupService, request: ClientRequest) -> None:
    """Forget a group without members."""

    def deleted(_outcome: GroupDeleted) -> groups.GroupDeleted:
        return groups.GroupDeleted()

    message = cast("groups.DeleteGroup", request.message)
    service.delete(message.group, answer_with(request, deleted))


def _offsets(rows: Iterable[groups.QueueOffset]) -> Offsets:
    return tuple((row.queue, row.offset) for row in rows)


def _assignment(outcome: Assignment) -> groups.GroupAssignment:
    return groups.GroupAssignment(
        generation=outcome.generation,
        queues=[
            groups.AssignedQueue(
                queue=row.queue,
                topic=row.topic,
                place=row.place,
                since=row.since,
                revoked=row.revoked,
            )
            for row in outcome.queues
        ],
        subscription=_subscription(outcome.subscription),
    )


def _description(described: Described) -> groups.GroupDescription:
    state = described.group
    return groups.GroupDescription(
        group=state.name,
        generation=state.generation,
        members=[
            groups.GroupMember(
                member=row.id,
                client=row.client,
                topics=state.subscription.topics,
                session_ms=row.session_ms,
                life=row.life,
            )
            for row in state.members
        ],
        queues=[
            groups.GroupQueue(
                queue=row.queue,
                topic=row.topic,
                place=row.place,
                owner=row.owner,
                committed=NOTHING_COMMITTED if row.committed is None else row.committed,
                start_offset=row.start_offset,
                end_offset=row.end_offset,
                heir=row.heir,
                unread_ms=state.unread_ms.get((row.queue, row.first_unread), 0),
                unsubscribed=not row.is_read,
            )
            for row in state.queues
        ],
        now_ms=described.now_ms,
        subscription=_subscription(state.subscription),
    )


def _listed(page: Page) -> groups.GroupsListed:
    rows, cut = that_fit(
        groups.GroupSummary(
            group=state.name,
            generation=state.generation,
            members=len(state.members),
            lag=state.lag,
            unread_ms=state.behind_since_ms,
        )
        for state in page.groups
    )
    return groups.GroupsListed(groups=rows, more=page.more or cut, now_ms=page.now_ms)

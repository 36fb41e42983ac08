"""Requests of ``leases.proto``."""

from collections.abc import Iterable
from typing import cast

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Offset
from raftlog.broker.flights import BLOCKED, DEAD, PARKED, WAITING
from raftlog.broker.lease_commands import AckMessages, Settled
from raftlog.broker.queue_groups import QueueGroupChanges
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup, SoughtQueue
from raftlog.broker.queue_subscriptions import SubscribeQueueGroup
from raftlog.service.answers import answer_with, that_fit
from raftlog.service.leased_bodies import LeasedBatch
from raftlog.service.leases import (
    FlightPage,
    FlightState,
    LeaseService,
    Names,
    QueueGroupPage,
)
from raftlog.service.ports import ClientRequest
from raftlog.service.queue_group_states import QueueGroupState
from raftlog.service.receive_lines import Receive, Received
from raftlog.service.receiving import ReceiveService
from raftlog.wire.filters import record_filter
from raftlog.wire.schema import client, leases

NS_PER_MS = 1_000_000
_STATES = {
    WAITING: leases.FLIGHT_STATE_WAITING,
    PARKED: leases.FLIGHT_STATE_PARKED,
    DEAD: leases.FLIGHT_STATE_DEAD,
    BLOCKED: leases.FLIGHT_STATE_BLOCKED,
}


def open_(service: LeaseService, request: ClientRequest) -> None:
    """Make a group, or change it."""
    message = cast("leases.OpenQueueGroup", request.message)

    def make() -> SubscribeQueueGroup:
        found = message.filter
        is_said = message.HasField("filter")
        wanted = record_filter(found.tags, found.condition) if is_said else None
        return SubscribeQueueGroup(
            *(message.group, tuple(message.topics), _changes(message.settings), message.from_end),
            wanted=wanted,
            version=message.version,
            by=message.by,
        )

    service.open(make, answer_with(request, _description))


def receive(service: ReceiveService, request: ClientRequest) -> None:
    """Lease messages, perhaps after a wait."""

    def answer(outcome: Received | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        batches = outcome.gathered.batches
        numbers = {batch.queue: None for batch in batches}
        found = ((number, service.machine.queues.get(number)) for number in numbers)
        request.reply(
            leases.MessagesReceived(
                leased=map(_leased, batches),
                queues=[
                    leases.QueueName(queue=number, topic=row.topic, place=row.place)
                    for number, row in found
                    if row is not None
                ],
                lease_ms=outcome.lease_ms,
                left_ms=outcome.left_ms,
            ),
            [batch.batch for batch in batches],
        )

    message = cast("leases.ReceiveMessages", request.message)
    wanted = Receive(
        *(message.group, message.handle, message.count_max),
        *(message.wait_ms * NS_PER_MS, message.lease_ms or None),
    )
    receiving = service.receive(wanted, answer)
    request.on_cancelled = receiving.cancel


def ack(service: LeaseService, request: ClientRequest) -> None:
    """Finish messages."""
    message = cast("leases.AckMessages", request.message)
    service.ack(lambda: ack_of(message), answer_with(request, _settled))


def ack_of(message: leases.AckMessages) -> AckMessages:
    """Return the command that a message is; ``BadRequest`` if it names too much."""
    return AckMessages(message.group, _names(message.messages))


def extend(service: LeaseService, request: ClientRequest) -> None:
    """Let leases end later."""
    message = cast("leases.ExtendLeases", request.message)
    names = _names(message.messages)
    service.extend(message.group, names, message.lease_ms, answer_with(request, _settled))


def give_back(service: LeaseService, request: ClientRequest) -> None:
    """End leases without finishing the messages."""
    message = cast("leases.ReturnMessages", request.message)
    service.give_back(
        *(message.group, _names(message.messages), answer_with(request, _settled)),
        how=message.how,
        delay_ms=message.delay_ms if message.HasField("delay_ms") else None,
        reason=message.reason,
    )


def decide(service: LeaseService, request: ClientRequest) -> None:
    """Let a blocked message go on."""
    message = cast("leases.DecideBlocked", request.message)
    service.decide(
        *(message.group, message.queue, message.offset, message.verdict),
        answer_with(request, _settled),
    )


def seek(service: LeaseService, request: ClientRequest) -> None:
    """Set where a group goes on, or tell what that would come to."""

    def sought(outcome: QueueGroupSought) -> leases.QueueGroupSought:
        return leases.QueueGroupSought(queues=[_sought(service, each) for each in outcome.queues])

    message = cast("leases.SeekQueueGroup", request.message)
    offsets = tuple((each.queue, each.offset) for each in message.offsets)
    service.seek(
        lambda: SeekQueueGroup(message.group, offsets),
        answer_with(request, sought),
        dry=message.dry_run,
    )


def describe(service: LeaseService, request: ClientRequest) -> None:
    """Tell what holds for a group, and where it is."""
    message = cast("leases.DescribeQueueGroup", request.message)
    service.describe(message.group, answer_with(request, _description))


def list_(service: LeaseService, request: ClientRequest) -> None:
    """Tell the next groups in the order of their names."""

    def listed(page: QueueGroupPage) -> leases.QueueGroupsListed:
        rows, cut = that_fit(
            leases.QueueGroupSummary(
                group=state.row.name,
                topics=state.row.topics,
                in_flight=state.in_flight,
                unread=state.unread,
                dead_letters=state.row.dead_letters,
                unread_ms=min(state.unread_ms.values(), default=0),
            )
            for state in page.groups
        )
        return leases.QueueGroupsListed(groups=rows, more=page.more or cut, now_ms=page.now_ms)

    message = cast("leases.ListQueueGroups", request.message)
    service.list(message.after, message.count_max, answer_with(request, listed))


def in_flight(service: LeaseService, request: ClientRequest) -> None:
    """Tell messages in flight."""

    def listed(page: FlightPage) -> leases.InFlightListed:
        rows, cut = that_fit(map(_flight, page.messages))
        return leases.InFlightListed(messages=rows, more=page.more or cut)

    message = cast("leases.ListInFlight", request.message)
    service.in_flight(
        *(message.group, (message.after_queue, message.after_offset), message.count_max),
        answer_with(request, listed),
        blocked=message.blocked,
    )


def _changes(settings: leases.QueueGroupSettings) -> QueueGroupChanges:
    def given(field: str) -> int | None:
        return getattr(settings, field) if settings.HasField(field) else None  # type: ignore[arg-type]

    return QueueGroupChanges(
        lease_ms=given("lease_ms"),
        attempts_max=given("attempts_max"),
        retry_ms=tuple(settings.retry_ms) or None,
        in_flight_max=given("in_flight_max"),
        fifo=settings.fifo if settings.HasField("fifo") else None,
        poison=given("poison"),
    )


def _sought(service: LeaseService, each: SoughtQueue) -> leases.SoughtQueue:
    queue = service.machine.queues.get(each.queue)
    return leases.SoughtQueue(
        queue=each.queue,
        topic="" if queue is None else queue.topic,
        place=0 if queue is None else queue.place,
        before=each.before,
        after=each.after,
        end_offset=0 if queue is None else queue.end_offset,
        kept=each.kept,
        leased=each.leased,
        waiting=each.waiting,
        failed=each.failed,
    )


def _names(messages: Iterable[leases.LeasedMessages]) -> Names:
    return tuple((each.handle, each.queue, tuple(each.offsets)) for each in messages)


def _leased(leased: LeasedBatch) -> leases.LeasedBatch:
    attempts = leased.attempts
    if attempts.count(attempts[0]) == len(attempts):
        attempts = attempts[:1]
    return leases.LeasedBatch(
        queue=leased.queue,
        base_offset=leased.base_offset,
        length=len(leased.batch),
        numbers=leased.numbers,
        attempts=attempts,
        picked=leased.picked,
    )


def _settled(outcome: Settled) -> leases.MessagesSettled:
    return leases.MessagesSettled(
        stale=[
            leases.StaleMessage(queue=queue, offset=offset, handle=handle)
            for queue, offset, handle in outcome.stale
        ]
    )


def _description(state: QueueGroupState) -> leases.QueueGroupDescription:
    row, settings, wanted = state.row, state.row.settings, state.subscription.wanted
    return leases.QueueGroupDescription(
        group=row.name,
        topics=row.topics,
        settings=leases.QueueGroupSettings(
            lease_ms=settings.lease_ms,
            attempts_max=settings.attempts_max,
            retry_ms=settings.retry_ms,
            in_flight_max=settings.in_flight_max,
            fifo=settings.fifo,
            poison=cast("leases.PoisonPolicy.ValueType", settings.poison),
        ),
        filter=client.RecordFilter(tags=wanted.tags, condition=wanted.condition),
        version=state.subscription.version,
        by_hand=state.subscription.by_hand,
        passed=state.subscription.passed,
        dead_letter_topic=row.dead_letter_topic,
        in_flight=state.in_flight,
        leased=state.leased,
        blocked=state.blocked,
        dead=state.dead,
        dead_letters=row.dead_letters,
        skipped=row.skipped,
        expired=row.expired,
        unread=state.unread,
        queues=[
            leases.QueueCursor(
                queue=each.queue,
                topic=each.topic,
                place=each.place,
                next_offset=each.next,
                start_offset=each.start_offset,
                end_offset=each.end_offset,
                oldest_offset=each.oldest,
                unread_ms=state.unread_ms.get((each.queue, Offset(each.oldest)), 0),
            )
            for each in state.queues
        ],
        now_ms=state.now_ms,
    )


def _flight(state: FlightState) -> leases.InFlight:
    row = state.row
    return leases.InFlight(
        queue=row.queue,
        topic=state.topic,
        place=state.place,
        offset=row.offset,
        state=_STATES.get(row.handle, leases.FLIGHT_STATE_LEASED),
        attempts=row.attempts,
        left_ms=state.left_ms,
        reason=row.reason,
    )

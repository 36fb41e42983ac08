"""What each command does, but for the append, which is the machine's own.

A family of commands has its rules in a file of its own; what touches several of
them is put together here.
"""

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import GroupStyle
from raftlog.base.ids import Index
from raftlog.broker.atomic import AtomicTransactions
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    QueueClaimed,
    SeekGroup,
    check_level,
)
from raftlog.broker.codec import CommandValue
from raftlog.broker.commands import SUBSCRIPTIONS_GO_LEVEL, CommandType
from raftlog.broker.dead_letters import DeadLetters
from raftlog.broker.delays import CancelDelayed, Delayed
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
)
from raftlog.broker.groups import check_queue_style
from raftlog.broker.hiding import RawCommand
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    LeaseCommand,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.message_types import (
    AlterTypedTopic,
    CreateTypedTopic,
    TypedCommand,
    check_types_level,
)
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import FenceProducer, InitProducer, ProducerBegun, ProducerFenced
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroup, check_stream_style
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup
from raftlog.broker.queue_subscriptions import (
    SubscribeQueueGroup,
    check_queue_subscriptions_level,
)
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.relocations import Relocated, read_relocation, relocate
from raftlog.broker.shares import ReleaseQueues
from raftlog.broker.staging import BatchStaged, check_staged_level
from raftlog.broker.state import BrokerState
from raftlog.broker.survivors import CopiedForward, check_survivors_level, read_copies
from raftlog.broker.timetable import PassTime, TimePassed
from raftlog.broker.topics import (
    DEFAULT_QUEUES,
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveConsumed,
    MoveStart,
    StartMoved,
    Topic,
)
from raftlog.broker.transactions import AnswerChecks, Decide, HalfStaged, ResolveTransaction
from raftlog.broker.transactors import InitTransactor
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from raftlog.broker.unique_appends import UniqueAppends


class Carrier:
    """Carries out commands on the state of one shard."""

    def __init__(self, state: BrokerState) -> None:
        self._state: Final = state
        self.range_ends = False
        """The entry that is being applied ends the open range."""
        self.raw: Final[Mapping[int, RawCommand]] = {
            int(CommandType.APPEND_DELAYED): self._append_delayed,
            int(CommandType.RELOCATE): self._relocate,
            int(CommandType.COPY_FORWARD): self._copy_forward,
            int(CommandType.STAGE_HALF): self._stage_half,
            int(CommandType.APPEND_ONCE): UniqueAppends(state).append,
            int(CommandType.DEAD_LETTER): DeadLetters(state).store,
            int(CommandType.COMMIT_TRANSACTION): AtomicTransactions(state).commit,
            int(CommandType.STAGE_BATCH): self._stage_batch,
        }
        """What holds batches, and so is not decoded as a whole."""

    def carry_out(  # noqa: C901, PLR0911, PLR0912  (one case for each command)
        self, command: CommandValue, place: CommandPlace
    ) -> object:
        """Carry out a command; return its outcome.

        Raises:
            Refused: Nothing was changed.
        """
        state = self._state
        if isinstance(command, LeaseCommand):
            return self._lease(command)
        match command:
            case CreateTopic() | AlterTopic():
                return self._make_topic(command)
            case CreateTypedTopic() | AlterTypedTopic():
                return self._make_typed(command)
            case DeleteTopic():
                return self._delete_topic(command)
            case MoveStart():
                return self._move_start(command)
            case InitProducer():
                return ProducerBegun(place.id)
            case FenceProducer():
                return self._fence(command)
            case JoinGroup():
                return self._join(command)
            case LeaveGroup():
                return state.groups.leave(command)
            case SetSubscription():
                return state.groups.subscribe(command, stays=self._stays)
            case ReleaseQueues():
                return state.groups.release(command)
            case DeleteGroup():
                return self._delete_group(command)
            case ClaimQueue():
                return self._claim(command)
            case CommitOffsets():
                check_level(state.feature_level, command)
                return state.claims.commit(command)
            case SeekGroup():
                return self._seek(command)
            case Trim():
                return self._trim(Index(command.through))
            case SetQuota():
                return state.quotas.set(command)
            case RemoveQuota():
                return state.quotas.remove(command.kind, command.name)
            case MoveConsumed():
                return self._move_consumed(command)
            case PassTime():
                return TimePassed()
            case OpenQueueGroup() | SubscribeQueueGroup():
                return self._open_queue_group(command, place.id)
            case SeekQueueGroup():
                return self._seek_queue_group(command)
            case CancelDelayed():
                return state.delays.cancel(command, state.log_time_ms)
            case InitTransactor() | Decide() | ResolveTransaction() | AnswerChecks():
                return self._transact(command, place)
            case _:
                assert_never(command)

    def _lease(self, command: LeaseCommand) -> object:
        leasing, now_ms = self._state.leasing, self._state.log_time_ms
        match command:
            case ReceiveMessages() | ReceiveMatching():
                return leasing.receive(command, now_ms)
            case AckMessages():
                return leasing.ack(command, now_ms)
            case ExtendLeases():
                return leasing.extend(command, now_ms)
            case ReturnMessages():
                return leasing.give_back(command, now_ms)
            case DecideBlocked():
                return leasing.decide(command, now_ms)
            case _:
                assert_never(command)

    def _transact(
        self,
        command: InitTransactor | Decide | ResolveTransaction | AnswerChecks,
        place: CommandPlace,
    ) -> object:
        state, now_ms = self._state, self._state.log_time_ms
        match command:
            case InitTransactor():
                return state.transactors.init(command, place.id, now_ms)
            case Decide():
                return state.transactions.decide(command, place, now_ms)
            case ResolveTransaction():
                return state.transactions.resolve(command, place, now_ms)
            case AnswerChecks():
                return state.transactions.answer(command, place, now_ms)
            case _:
                assert_never(command)

    # -- topics

    def _make_topic(self, command: CreateTopic | AlterTopic) -> Topic:
        match command:
            case CreateTopic():
                return self._create_topic(command)
            case AlterTopic():
                return self._alter_topic(command)
            case _:
                assert_never(command)

    def _make_typed(self, command: TypedCommand) -> Topic:
        check_types_level(self._state.feature_level)
        topic = self._make_topic(command.plain)
        self._state.types.set(topic, command.types)
        return topic

    def _create_topic(self, command: CreateTopic) -> Topic:
        if self._state.topics.get(command.name) is None:
            queues = command.changes.queues or DEFAULT_QUEUES
            self._state.groups.check_more_queues(command.name, queues)
            self._state.leasing.groups.check_more_queues(command.name, queues)
        topic = self._state.topics.create(command)
        self._state.leasing.topic_altered(
            topic.name, topic.queues, is_readable=topic.settings.readable
        )
        self._state.groups.topic_changed(topic.name)
        return topic

    def _alter_topic(self, command: AlterTopic) -> Topic:
        before = self._state.topics.get(command.name)
        if before is not None:
            more = (command.changes.queues or 0) - len(before.queues)
            self._state.groups.check_more_queues(before.name, max(0, more))
            self._state.leasing.groups.check_more_queues(before.name, max(0, more))
        topic = self._state.topics.alter(command)
        self._state.leasing.topic_altered(
            topic.name, topic.queues, is_readable=topic.settings.readable
        )
        if before is not None and before.queues != topic.queues:
            self._state.groups.topic_changed(topic.name)
        self._state.ids.topic_changed(topic.queues[0])
        self._state.types.topic_changed(topic)
        return topic

    def _delete_topic(self, command: DeleteTopic) -> Topic:
        state = self._state
        topic = state.topics.delete(command)
        for number in topic.queues:
            state.producers.forget_queue(number)
            state.claims.forget_queue(number)
            state.leasing.forget_queue(number)
            state.index.close(number)
            state.hidden.close(number)
            state.touched.add(number)
        state.groups.topic_changed(topic.name)
        state.ids.topic_changed(topic.queues[0])
        state.quotas.remove("topic", topic.name)
        state.types.forget(topic)
        return topic

    def _move_consumed(self, command: MoveConsumed) -> StartMoved:
        """Look again at who has consumed what: a group may have come, or gone back, meanwhile."""
        state = self._state
        queue = state.queues.find(command.queue)
        if not state.topics.find(queue.topic).settings.until_consumed:
            return StartMoved(queue.start_offset)
        start = min(command.start, state.consumed_through(command.queue))
        return self._move_start(MoveStart(command.queue, start))

    def _move_start(self, command: MoveStart) -> StartMoved:
        start = self._state.start_may_be(command.queue, command.start)
        queue = self._state.queues.move_start(command.queue, start)
        self._state.touched.add(queue.number)
        self._state.leasing.start_moved(queue.number)
        self._state.index.survivors.pass_start(queue.number, queue.start_offset)
        return StartMoved(queue.start_offset)

    # -- hidden batches

    def _append_delayed(self, place: CommandPlace, body: Buffer, length: int) -> Delayed:
        return self._state.delays.append(place, body, length, self._state.log_time_ms)

    def _stage_half(self, place: CommandPlace, body: Buffer, length: int) -> HalfStaged:
        return self._state.transactions.stage(place, body, length, self._state.log_time_ms)

    def _stage_batch(self, place: CommandPlace, body: Buffer, length: int) -> BatchStaged:
        check_staged_level(self._state.feature_level)
        return self._state.staging.stage(place, body, length, self._state.log_time_ms)

    def _relocate(self, place: CommandPlace, body: Buffer, length: int) -> Relocated:
        items = read_relocation(body, place.position, length)
        return relocate(self._state.hidden, items, place.index, self._state.log_time_ms)

    def _copy_forward(self, place: CommandPlace, body: Buffer, length: int) -> CopiedForward:
        state = self._state
        check_survivors_level(state.feature_level)
        copied = 0
        for item, position in read_copies(body, place.position, length):
            start = state.start_of(item.queue)
            if start is not None:
                survivors = state.index.survivors
                copied += survivors.copy(item, start, place.index, position)
        state.index.open.count += copied  # a range ends by what it costs to apply again, too
        return CopiedForward(copied)

    # -- producers and groups

    def _fence(self, command: FenceProducer) -> ProducerFenced:
        self._state.queues.find(command.queue)
        return self._state.producers.fence(command, self._state.log_time_ms)

    def _join(self, command: JoinGroup) -> Assignment:
        if self._state.leasing.groups.get(command.group) is not None:
            raise GroupStyle(f"group {command.group!r} is queue-style: it has no members")
        return self._state.groups.join(command, stays=self._stays)

    @property
    def _stays(self) -> bool:
        return self._state.feature_level < SUBSCRIPTIONS_GO_LEVEL

    def _delete_group(self, command: DeleteGroup) -> GroupDeleted:
        leasing = self._state.leasing
        if leasing.groups.get(command.group) is not None:
            leasing.check_delete(command.group)
            leasing.delete(command.group)
            return GroupDeleted()
        deleted = self._state.groups.delete(command)
        self._state.claims.forget_group(command.group)
        return deleted

    def _claim(self, command: ClaimQueue) -> QueueClaimed:
        self._state.groups.check_claim(
            *(command.group, command.queue, command.generation, command.member, command.life)
        )
        return self._state.claims.claim(command)

    def _seek(self, command: SeekGroup) -> GroupSought:
        check_stream_style(self._state.leasing.groups, command.group)
        group = self._state.groups.find(command.group)
        self._state.claims.check_seek(command)
        queues = [queue for queue, _ in command.offsets]
        generation = self._state.groups.begin_anew(group, queues)
        self._state.claims.seek(command, generation)
        return GroupSought(generation)

    # -- queue-style groups

    def _open_queue_group(
        self, command: OpenQueueGroup | SubscribeQueueGroup, number: int
    ) -> QueueGroup:
        leasing = self._state.leasing
        if self._state.groups.get(command.group) is not None:
            raise GroupStyle(f"group {command.group!r} is stream-style: it has members")
        if isinstance(command, SubscribeQueueGroup):
            check_queue_subscriptions_level(self._state.feature_level)
            group = leasing.opening.subscribe(command, number)
        else:
            group = leasing.opening.open(command, number)
        leasing.news.stir(group.name)
        return msgspec.structs.replace(group)  # as it is now

    def _seek_queue_group(self, command: SeekQueueGroup) -> QueueGroupSought:
        check_queue_subscriptions_level(self._state.feature_level)
        check_queue_style(self._state.groups, command.group)
        return self._state.leasing.seek(command, self._state.log_time_ms)

    # -- the log

    def _trim(self, through: Index) -> LogTrimmed | TrimRefused:
        index = self._state.index
        if through < index.trimmed:
            return LogTrimmed(index.trimmed)
        if through > index.trimmed:
            needed = index.needed_before(through, self._state.start_of)
            if needed is not None:
                return TrimRefused(*needed)
            index.trim(through)
        self.range_ends = True
        return LogTrimmed(through)

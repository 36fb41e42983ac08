"""What the committed log says, told to the invariants of the topic store.

Every entry is looked at once, when the first replica has applied it: what was
proposed is read from the entry, what became of it from the machine's outcomes.
That all replicas have the same outcomes is ``state_machine_safety``'s business.
"""

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from chaos.check.assignments import Assignments
from chaos.check.atomic_visibility import AtomicVisibility
from chaos.check.bounded_staleness import BoundedStaleness
from chaos.check.business_ids import BusinessIds
from chaos.check.delayed_delivery import DelayedDelivery, Pending
from chaos.check.dense_offsets import DenseOffsets
from chaos.check.fences_true import Fences
from chaos.check.group_offsets import GroupOffsets
from chaos.check.hand_overs import HandOvers
from chaos.check.lease_model import Place
from chaos.check.letters_resent import Origin
from chaos.check.producer_sequences import Kept, ProducerSequences
from chaos.check.queue_order import QueueOrder
from chaos.check.queue_reads import QueueReads, StoredBatch
from chaos.check.quotas_kept import Quotas
from chaos.check.sends_kept import Sends
from chaos.check.settled_together import SettledTogether
from chaos.check.subscriptions_kept import SubscriptionsKept
from chaos.check.trims_true import check_trim
from chaos.check.until_consumed import check_consumed
from chaos.sim.atomic_facts import AtomicFacts
from chaos.sim.copy_facts import CopyFacts
from chaos.sim.fact_commands import COMMANDS
from chaos.sim.half_facts import HALF_KINDS, HalfFacts
from chaos.sim.lease_facts import LeaseFacts
from chaos.sim.lease_kinds import LEASE_KINDS
from chaos.sim.letter_facts import LetterFacts
from chaos.sim.staged_facts import StagedFacts
from chaos.sim.subscription_facts import SUBSCRIPTION_KINDS, SubscriptionFacts
from chaos.sim.told_facts import ToldFacts
from chaos.sim.type_facts import TypeFacts
from raftlog.base.entry import Entry, EntryKind
from raftlog.broker.appends import APPEND_HEADER_BYTES, Appended
from raftlog.broker.atomic_commands import TransactionCommitted
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.commands import ENVELOPE, CommandType, decode
from raftlog.broker.dead_letters import DEAD_LETTER_HEAD_BYTES, DeadLetterStored
from raftlog.broker.delays import (
    DELAYED_HEADER_BYTES,
    CancelDelayed,
    CancelEnded,
    Cancellation,
    Delayed,
)
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    GroupLeft,
    JoinGroup,
    LeaveGroup,
)
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import FenceProducer, ProducerBegun, ProducerFenced
from raftlog.broker.quotas import Quota, QuotaRemoved, RemoveQuota, SetQuota
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.relocations import Relocated, read_relocation
from raftlog.broker.shares import QueuesReleased, ReleaseQueues
from raftlog.broker.staging import BatchStaged
from raftlog.broker.survivors import CopiedForward
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveConsumed,
    MoveStart,
    StartMoved,
    Topic,
)
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from raftlog.wire.batch import Batch, append_facts

_QUEUE: Final = struct.Struct("<I")
_HEADERS: Final = {
    int(CommandType.APPEND_BATCH): APPEND_HEADER_BYTES,
    int(CommandType.APPEND_ONCE): APPEND_HEADER_BYTES,
    int(CommandType.APPEND_DELAYED): DELAYED_HEADER_BYTES,
    int(CommandType.STAGE_BATCH): APPEND_HEADER_BYTES,
}
"""What lies before the batch, in commands that have one of a producer."""
_Held = Delayed | Relocated | CopiedForward | DeadLetterStored | TransactionCommitted | BatchStaged
"""Outcomes of commands that hold batches, and are no plain appends."""


class Facts:
    """The invariants of the topic store in one run, and their only source."""

    def __init__(self, marks: Counter[str]) -> None:
        self.sends = Sends()
        self.offsets = DenseOffsets()
        self.sequences = ProducerSequences()
        self.fences = Fences(self.sequences)
        self.reads = QueueReads()
        self.staleness = BoundedStaleness()
        self.groups = GroupOffsets()
        self.assignments = Assignments()
        self.hand_overs = HandOvers()
        self.subscriptions = SubscriptionsKept()
        self.delayed = DelayedDelivery()
        self.ids = BusinessIds()
        self.atomic = AtomicVisibility()
        self.together = SettledTogether()
        self.quotas = Quotas()
        self.topics: dict[str, Topic] = {}
        """As the last command about each left it; a deleted one stays."""
        self.deleted: set[int] = set()
        """Queues that are gone for ever."""
        self.marks: Final = marks
        self.leases = LeaseFacts(marks, self.offsets.starts, self.deleted)
        self.letters = LetterFacts(self._topic_of, self.deleted)
        self.leases.on_acked = self.letters.acked
        self._subscriptions = SubscriptionFacts(marks, self.subscriptions)
        self._types = TypeFacts(marks)
        self.staged = StagedFacts(self)
        self._copies = CopyFacts(self)
        self.order = QueueOrder(self.sends)
        self.told = ToldFacts(marks, self.order)
        self.leases.on_sought = self._subscriptions.on_said = self.told.carried_out
        self._transactions = AtomicFacts(self, self._visible, self._carried_out)
        self.halves = HalfFacts(*(marks, self.deleted, self.sends, self.reads.end, self._visible))
        self._log_time_ms = 0
        self._windows_ms: dict[int, int] = {}
        """How long the ids of each queue are remembered, as topics are now."""

    def bounds(self, queue: int) -> tuple[int, int]:
        """Return where a queue begins and ends."""
        return self.offsets.starts.get(queue, 0), self.reads.end(queue)

    def applied(self, entry: Entry, outcomes: Sequence[object]) -> None:
        """Take in the next committed entry and what became of its commands.

        Raises:
            Violation: An invariant is broken.
        """
        self.halves.applied = self.told.applied = entry.index
        if entry.kind is not EntryKind.COMMANDS:
            return
        body = entry.body
        _, level, log_time_ms, _ = ENVELOPE.unpack_from(body, 0)
        self.subscriptions.reaches(level)
        self._log_time_ms = max(self._log_time_ms, log_time_ms)
        self.ids.passes(self._log_time_ms, self._windows_ms)
        self.leases.passes(entry.term, self._log_time_ms)
        self.halves.now_ms = self._log_time_ms
        self._deliver()
        self.staged.passes(self._log_time_ms)
        for (kind, position, length), outcome in zip(decode(body), outcomes, strict=True):
            is_append = kind in (CommandType.APPEND_BATCH, CommandType.APPEND_ONCE)
            self._says(entry, kind, position, length)
            self._tell(entry, (kind, position, length), outcome)
            if isinstance(outcome, CommandRefused):
                self._refused(entry, (kind, position, length), outcome)
            elif is_append:
                assert isinstance(outcome, Appended), f"a batch has the outcome {outcome!r}"
                self._appended(entry, position, length, outcome)
            elif isinstance(outcome, _Held):
                self._held(entry, position, length, outcome)
            elif isinstance(outcome, ProducerBegun):
                self.sequences.begun(outcome.producer)
            elif kind in COMMANDS:
                command = COMMANDS[kind].decode(body[position : position + length])
                if isinstance(command, Trim):
                    self._trimmed(outcome)
                elif isinstance(command, CancelDelayed):
                    assert isinstance(outcome, CancelEnded), f"a cancel has {outcome!r}"
                    self._cancelled(command, outcome.how)
                else:
                    self._carried_out(command, outcome)

    def _tell(self, entry: Entry, where: tuple[int, int, int], outcome: object) -> None:
        """Tell who knows more about a command: its kind, its position and its length."""
        kind, position, length = where
        command = entry.body[position : position + length]
        place = CommandPlace(entry.index, entry.term, 0, position)
        self._types.carried_out(kind, place, entry.body, length, outcome)
        if kind in LEASE_KINDS:
            self.leases.carried_out(kind, command, outcome)
        elif kind in HALF_KINDS:
            self.halves.carried_out(entry, where, outcome)
        elif kind in SUBSCRIPTION_KINDS:
            self._subscriptions.carried_out(kind, command, outcome)

    def _refused(self, entry: Entry, where: tuple[int, int, int], outcome: CommandRefused) -> None:
        """Take in that a command was refused: its kind, its position and its length."""
        kind, position, length = where
        self.marks[f"refused: {outcome.error.code}"] += 1
        if kind == CommandType.COMMIT_TRANSACTION:
            self._transactions.refused(entry, position, length, outcome.error)

    def _held(
        self,
        entry: Entry,
        position: int,
        length: int,
        outcome: _Held,
    ) -> None:
        """Take in a command that holds batches, and is no plain append."""
        match outcome:
            case Delayed():
                self._hidden(entry, position, length, outcome)
            case Relocated():
                self._relocated(entry, position, length, outcome)
            case CopiedForward():
                self._copies.copied(entry, position, length, outcome)
            case TransactionCommitted():
                self._transactions.carried_out(entry, position, length, outcome)
            case BatchStaged():
                self.staged.staged(entry, position, length, outcome)
            case _:
                self._letter(entry, position, length, outcome)

    def _deliver(self) -> None:
        """Take in what an entry's log time makes visible, before its commands."""
        for batch in self.delayed.due(self._log_time_ms):
            self.marks["delayed delivered"] += 1
            self._visible(batch.queue, self.reads.end(batch.queue), batch)

    def _says(self, entry: Entry, kind: int, position: int, length: int) -> None:
        """A producer says what it knows with every batch, also with a refused one."""
        if kind == CommandType.COMMIT_TRANSACTION:
            self._transactions.says(entry, position, length)
        if kind not in _HEADERS:
            return
        body = entry.body
        queue = _QUEUE.unpack_from(body, position)[0]
        facts = append_facts(body, position + _HEADERS[kind])
        _, _, epoch, producer, _, known_through, _ = facts
        if producer:
            self.sequences.says(producer, queue, epoch, known_through)

    def _appended(self, entry: Entry, position: int, length: int, outcome: Appended) -> None:
        queue = _QUEUE.unpack_from(entry.body, position)[0]
        place = position + APPEND_HEADER_BYTES
        data = bytes(entry.body[place : position + length])
        batch = Batch(data)
        maker = batch.header.producer
        kept = Kept(
            *(maker.base_sequence, outcome.count, outcome.base_offset),
            *(outcome.term, outcome.index),
        )
        window_ms = self._windows_ms.get(queue, 0)
        if outcome.duplicate:
            self.marks["duplicates"] += 1
            is_new = self.sequences.is_next(maker.id, queue, maker.epoch, maker.base_sequence)
            if batch.id is None or (maker.id and not is_new):
                self.sequences.answered_again(maker.id, queue, maker.epoch, kept)
                return
            self.marks["ids known"] += 1
            self.ids.answered(queue, batch.id, outcome.base_offset, window_ms)
            if maker.id:
                self.sequences.stored(maker.id, queue, maker.epoch, kept)
            return
        if batch.id is not None:
            at_ms = self._log_time_ms
            self.ids.stored(queue, batch.id, outcome.base_offset, at_ms, window_ms)
        if maker.id:
            self.sequences.stored(maker.id, queue, maker.epoch, kept)
        for value in batch.value_views():
            self.atomic.stored_alone(bytes(value))
            self.together.stored_alone(bytes(value))
        found = Pending(queue, 0, 0, outcome.count, entry.index, place, data)
        self._visible(queue, outcome.base_offset, found)

    def _visible(self, queue: int, base_offset: int, batch: Pending) -> None:
        """Take in that a batch can be read from now on."""
        self.offsets.stored(queue, base_offset, batch.count)
        opened = Batch(batch.data)
        if opened.id in self.letters.ids:
            [record] = opened.records()
            self.letters.sent_again(queue, base_offset, record)
        else:
            for number, value in enumerate(opened.value_views()):
                self.sends.stored(bytes(value), queue, base_offset + number)
        self.leases.stored(queue, base_offset, batch.data)
        stored = StoredBatch(
            *(base_offset, batch.count, self._log_time_ms, batch.index, batch.position),
            batch.data,
        )
        self.reads.stored(queue, stored)
        self.told.ends.put(self.told.applied, queue, stored.end_offset)

    def _letter(self, entry: Entry, position: int, length: int, outcome: DeadLetterStored) -> None:
        """Take in what is a copy of another record, in a topic that the first one makes."""
        self.told.letter(outcome)
        if outcome.queue not in self.offsets.ends:
            self.offsets.opened(outcome.queue)
            self.told.opened(outcome.queue)
        group, at, batch = self.leases.letter(bytes(entry.body[position : position + length]))
        self._letter_of(group, at, (outcome.queue, outcome.offset), batch)
        self.offsets.stored(outcome.queue, outcome.offset, 1)
        place = position + DEAD_LETTER_HEAD_BYTES
        stored = StoredBatch(outcome.offset, 1, self._log_time_ms, entry.index, place, batch)
        self.reads.stored(outcome.queue, stored)
        self.told.ends.put(self.told.applied, outcome.queue, stored.end_offset)

    def _letter_of(self, group: str, was: Place, at: Place, batch: bytes) -> None:
        """Take in what a letter tells."""
        topic = self.topics[self._topic_of(was[0])]
        attempts = self.leases.groups[group].messages[was].attempts
        origin = Origin(group, topic.name, topic.queues.index(was[0]), was[1], attempts)
        [record] = Batch(batch).records()
        self.letters.stored(at, record, self.leases.records[was], origin)
        self.leases.stored(*at, batch)

    def _topic_of(self, queue: int) -> str:
        return next(topic.name for topic in self.topics.values() if queue in topic.queues)

    def _hidden(self, entry: Entry, position: int, length: int, outcome: Delayed) -> None:
        queue = _QUEUE.unpack_from(entry.body, position)[0]
        place = position + DELAYED_HEADER_BYTES
        data = bytes(entry.body[place : position + length])
        batch = Batch(data)
        maker = batch.header.producer
        kept = Kept(
            *(maker.base_sequence, outcome.count, 0, outcome.term, outcome.index),
            *(outcome.id, outcome.due_ms),
        )
        if outcome.duplicate:
            self.marks["duplicates"] += 1
            self.sequences.answered_again(maker.id, queue, maker.epoch, kept)
            return
        self.marks["delayed"] += 1
        if maker.id:
            self.sequences.stored(maker.id, queue, maker.epoch, kept)
        key = (queue, outcome.id)
        for value in batch.value_views():
            self.sends.hidden(bytes(value), key)
        pending = Pending(*key, outcome.due_ms, outcome.count, entry.index, place, data)
        self.delayed.hidden(pending, self._log_time_ms)

    def _relocated(self, entry: Entry, position: int, length: int, outcome: Relocated) -> None:
        moved = 0
        for item, place in read_relocation(entry.body, position, length):
            copy = bytes(entry.body[place : place + item.length])
            old, new = (item.index, item.position), (entry.index, place)
            where = (item.key, old, new, copy)
            moved += (
                self.delayed.relocated(*where)
                or self.halves.relocated(*where)
                or self.staged.relocated(*where)
            )
        self.marks["relocated"] += moved
        assert moved == outcome.moved, f"{outcome.moved} batches were relocated, not {moved}"

    def _cancelled(self, command: CancelDelayed, how: Cancellation) -> None:
        key = (command.queue, command.id)
        if how is Cancellation.CANCELLED:
            was_pending = self.delayed.cancelled(key, command.due_ms) is not None
            self.marks["delayed cancelled"] += was_pending
        elif how is Cancellation.DELIVERED:
            self.marks["cancels too late"] += 1
            self.delayed.told_delivered(key, command.due_ms)
        else:
            self.delayed.told_unknown(key, command.due_ms, self._log_time_ms)

    def _carried_out(self, command: msgspec.Struct, outcome: object) -> None:
        self.told.carried_out(command, outcome)
        match command, outcome:
            case (
                (CreateTopic() | AlterTopic() | CreateTypedTopic() | AlterTypedTopic()),
                Topic(),
            ):
                self._topic_changed(outcome)
            case DeleteTopic(), Topic(queues=queues):
                self.deleted.update(queues)
                windows_ms = self._windows_ms.items()
                self._windows_ms = {each: ms for each, ms in windows_ms if each not in queues}
                self.delayed.closed(queues)
                self.staged.parts.closed(queues)
                gone = self.quotas.is_gone(("topic", command.name))
                self.marks["quotas gone with their topics"] += gone
            case SetQuota(), Quota():
                self.marks["quotas set"] += 1
                key = command.kind, command.name
                self.quotas.is_set(key, (command.bytes_per_s, command.records_per_s))
            case RemoveQuota(), QuotaRemoved():
                self.marks["quotas removed"] += self.quotas.is_gone((command.kind, command.name))
            case ((MoveStart() | MoveConsumed()), StartMoved(start=start)):
                self._moved(command, start)
            case FenceProducer(queue=queue, producer=producer, epoch=epoch), ProducerFenced():
                self.marks["fences"] += 1
                remembered = [
                    Kept(
                        *(each.base_sequence, each.count, each.base_offset, each.term),
                        *(each.index, each.hidden_id, each.due_ms),
                    )
                    for each in outcome.remembered
                ]
                self.fences.fenced(producer, queue, epoch, outcome.next_sequence, remembered)
            case _:
                self._group_changed(command, outcome)

    def _group_changed(self, command: msgspec.Struct, outcome: object) -> None:
        groups = self.groups
        match command, outcome:
            case JoinGroup(group=group, member=member), Assignment(generation=generation):
                assigned = [each.queue for each in outcome.queues]
                self.assignments.told(group, generation, member, assigned)
            case DeleteGroup(group=group), GroupDeleted():
                self.marks["groups deleted"] += 1
                groups.forgotten(group)
                self.leases.deleted(group)
            case ClaimQueue(), QueueClaimed(committed=committed):
                self.marks["claims"] += 1
                groups.claimed(
                    *(command.group, command.queue, command.generation, command.member),
                    *(committed, command.life),
                )
                self.hand_overs.claimed(command.group, command.queue, command.member)
            case LeaveGroup(group=group, member=member), GroupLeft():
                self.hand_overs.left(group, member)
            case ReleaseQueues(group=group, member=member), QueuesReleased():
                self.marks["queues released"] += 1
                self.hand_overs.released(group, member, (queue for queue, _ in command.queues))
            case CommitOffsets(), OffsetsCommitted():
                self.marks["group commits"] += 1
                for queue, offset in command.offsets:
                    groups.commits(
                        *(command.group, queue, command.generation, command.member, offset),
                        command.life,
                    )
            case SeekGroup(group=group), GroupSought(generation=generation):
                self.marks["seeks"] += 1
                for queue, offset in command.offsets:
                    groups.sought(group, queue, generation, offset)
            case _:
                raise AssertionError(f"{command!r} has the outcome {outcome!r}")

    def _moved(self, command: MoveStart | MoveConsumed, start: int) -> None:
        queue = command.queue
        self.marks["starts moved"] += 1
        if isinstance(command, MoveConsumed):
            before = self.offsets.starts[queue]
            of_queue = {**self.groups.of_queue(queue), **self.leases.of_queue(queue)}
            check_consumed(queue, before, start, of_queue)
            self.marks["consumed and forgotten"] += start > before
        self.leases.moved(queue, start, self._retention_of(queue))
        self.offsets.moved(queue, start)
        self.told.starts.put(self.told.applied, queue, start)
        self.groups.starts(queue, start)

    def _retention_of(self, queue: int) -> int:
        topics = (topic for topic in self.topics.values() if queue in topic.queues)
        return next((topic.settings.retention_ms for topic in topics), 0)

    def _trimmed(self, outcome: object) -> None:
        assert isinstance(outcome, LogTrimmed | TrimRefused), f"a trim has the outcome {outcome!r}"
        if isinstance(outcome, LogTrimmed):
            self.marks["trims"] += 1
            check_trim(outcome.through, self.reads.batches, self.offsets.starts, self.deleted)
            self.delayed.trimmed(outcome.through)
            self.halves.trimmed(outcome.through)
            self.staged.parts.trimmed(outcome.through)
        else:
            self.marks["trims refused"] += 1

    def _topic_changed(self, topic: Topic) -> None:
        for queue in topic.queues:
            known = self.topics.get(topic.name)
            if known is None or queue not in known.queues:
                self.offsets.opened(queue)
                self.told.opened(queue)
            self._windows_ms[queue] = topic.settings.id_window_ms
        self.topics[topic.name] = topic
        self.leases.topic_changed(topic)

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
from chaos.check.bounded_staleness import BoundedStaleness
from chaos.check.business_ids import BusinessIds
from chaos.check.dense_offsets import DenseOffsets
from chaos.check.fences_true import Fences
from chaos.check.group_offsets import GroupOffsets
from chaos.check.producer_sequences import Kept, ProducerSequences
from chaos.check.queue_reads import QueueReads, StoredBatch
from chaos.check.sends_kept import Sends
from chaos.check.trims_true import check_trim
from chaos.check.until_consumed import check_consumed
from raftlog.base.entry import Entry, EntryKind
from raftlog.broker.appends import APPEND_HEADER_BYTES, Appended
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.commands import ENVELOPE, CommandType, decode
from raftlog.broker.groups import Assignment, DeleteGroup, GroupDeleted, JoinGroup
from raftlog.broker.producers import FenceProducer, ProducerBegun, ProducerFenced
from raftlog.broker.refusals import CommandRefused
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

_COMMANDS: Final[dict[int, msgspec.msgpack.Decoder[msgspec.Struct]]] = {
    int(kind): msgspec.msgpack.Decoder(command)
    for kind, command in (
        (CommandType.CREATE_TOPIC, CreateTopic),
        (CommandType.ALTER_TOPIC, AlterTopic),
        (CommandType.DELETE_TOPIC, DeleteTopic),
        (CommandType.MOVE_START, MoveStart),
        (CommandType.MOVE_CONSUMED, MoveConsumed),
        (CommandType.FENCE_PRODUCER, FenceProducer),
        (CommandType.JOIN_GROUP, JoinGroup),
        (CommandType.DELETE_GROUP, DeleteGroup),
        (CommandType.CLAIM_QUEUE, ClaimQueue),
        (CommandType.COMMIT_OFFSETS, CommitOffsets),
        (CommandType.SEEK_GROUP, SeekGroup),
        (CommandType.TRIM, Trim),
    )
}
_QUEUE: Final = struct.Struct("<I")


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
        self.ids = BusinessIds()
        self.topics: dict[str, Topic] = {}
        """As the last command about each left it; a deleted one stays."""
        self.deleted: set[int] = set()
        """Queues that are gone for ever."""
        self.marks: Final = marks
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
        if entry.kind is not EntryKind.COMMANDS:
            return
        body = entry.body
        self._log_time_ms = max(self._log_time_ms, ENVELOPE.unpack_from(body, 0)[2])
        self.ids.passes(self._log_time_ms, self._windows_ms)
        for (kind, position, length), outcome in zip(decode(body), outcomes, strict=True):
            is_append = kind in (CommandType.APPEND_BATCH, CommandType.APPEND_ONCE)
            if is_append:
                self._says(body, position)
            if isinstance(outcome, CommandRefused):
                self.marks[f"refused: {outcome.error.code}"] += 1
            elif is_append:
                assert isinstance(outcome, Appended), f"a batch has the outcome {outcome!r}"
                self._appended(entry, position, length, outcome)
            elif isinstance(outcome, ProducerBegun):
                self.sequences.begun(outcome.producer)
            elif kind in _COMMANDS:
                command = _COMMANDS[kind].decode(body[position : position + length])
                if isinstance(command, Trim):
                    self._trimmed(outcome)
                else:
                    self._carried_out(command, outcome)

    def _says(self, body: memoryview, position: int) -> None:
        """A producer says what it knows with every batch, also with a refused one."""
        queue = _QUEUE.unpack_from(body, position)[0]
        facts = append_facts(body, position + APPEND_HEADER_BYTES)
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
        self.offsets.stored(queue, outcome.base_offset, outcome.count)
        if maker.id:
            self.sequences.stored(maker.id, queue, maker.epoch, kept)
        for number, value in enumerate(batch.value_views()):
            self.sends.stored(bytes(value), queue, outcome.base_offset + number)
        stored = StoredBatch(
            *(outcome.base_offset, outcome.count, self._log_time_ms, entry.index, place, data)
        )
        self.reads.stored(queue, stored)

    def _carried_out(self, command: msgspec.Struct, outcome: object) -> None:
        groups = self.groups
        match command, outcome:
            case ((CreateTopic() | AlterTopic()), Topic()):
                self._topic_changed(outcome)
            case DeleteTopic(), Topic(queues=queues):
                self.deleted.update(queues)
                windows_ms = self._windows_ms.items()
                self._windows_ms = {each: ms for each, ms in windows_ms if each not in queues}
            case ((MoveStart() | MoveConsumed()), StartMoved(start=start)):
                self._moved(command, start)
            case FenceProducer(queue=queue, producer=producer, epoch=epoch), ProducerFenced():
                self.marks["fences"] += 1
                remembered = [
                    Kept(each.base_sequence, each.count, each.base_offset, each.term, each.index)
                    for each in outcome.remembered
                ]
                self.fences.fenced(producer, queue, epoch, outcome.next_sequence, remembered)
            case JoinGroup(group=group, member=member), Assignment(generation=generation):
                assigned = [queue for queue, _, _ in outcome.queues]
                self.assignments.told(group, generation, member, assigned)
            case DeleteGroup(group=group), GroupDeleted():
                self.marks["groups deleted"] += 1
                groups.forgotten(group)
            case ClaimQueue(), QueueClaimed(committed=committed):
                self.marks["claims"] += 1
                groups.claimed(
                    *(command.group, command.queue, command.generation, command.member, committed)
                )
            case CommitOffsets(), OffsetsCommitted():
                self.marks["group commits"] += 1
                for queue, offset in command.offsets:
                    groups.commits(
                        *(command.group, queue, command.generation, command.member, offset)
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
            check_consumed(queue, before, start, self.groups.of_queue(queue))
            self.marks["consumed and forgotten"] += start > before
        self.offsets.moved(queue, start)
        self.groups.starts(queue, start)

    def _trimmed(self, outcome: object) -> None:
        assert isinstance(outcome, LogTrimmed | TrimRefused), f"a trim has the outcome {outcome!r}"
        if isinstance(outcome, LogTrimmed):
            self.marks["trims"] += 1
            check_trim(outcome.through, self.reads.batches, self.offsets.starts, self.deleted)
        else:
            self.marks["trims refused"] += 1

    def _topic_changed(self, topic: Topic) -> None:
        for queue in topic.queues:
            known = self.topics.get(topic.name)
            if known is None or queue not in known.queues:
                self.offsets.opened(queue)
            self._windows_ms[queue] = topic.settings.id_window_ms
        self.topics[topic.name] = topic

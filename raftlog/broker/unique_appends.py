"""The append of a record with a business id: stored, or answered with where it was (ruling 30).

A command of its own, so that the path of every other append does not look for ids. The
bytes are the same: ``queue u32`` and one batch, whose record table has the id.

Producer and id answer one after the other::

    sequence seen before      --> what that batch was answered, whatever its id
    sequence next, id known   --> where the id was stored first; the sequence counts as used
    sequence next, id new     --> stored

So a retry of a batch gets one answer for ever, and a producer whose record was another
one's duplicate goes on without a gap.
"""

from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, NotPermitted
from raftlog.broker.appends import APPEND_HEADER_BYTES, Appended, QueueAndFacts, read_append
from raftlog.broker.business_ids import BusinessId
from raftlog.broker.places import CommandPlace, index_of
from raftlog.broker.producers import RememberedBatch
from raftlog.broker.queues import Queue
from raftlog.broker.state import BrokerState
from raftlog.wire.batch_header import BATCH_HEADER_BYTES, table_length_of
from raftlog.wire.record_table import id_of


class UniqueAppends:
    """Appends records with ids to the queues of one shard."""

    def __init__(self, state: BrokerState) -> None:
        self._state: Final = state

    def append(self, place: CommandPlace, body: Buffer, length: int) -> Appended:
        """Store a record, or say where one with its id was stored.

        Raises:
            Refused: Nothing was stored.
            Retriable: Nothing was stored; it may be later.
        """
        read = read_append(body, place.position, length)
        if read is None:
            raise BadBatch("the command holds no record batch")
        number, size, count, *_ = read
        queue = self._state.queues.find(number)
        id_ = _id_in(body, place.position + APPEND_HEADER_BYTES, size, count)
        number_in_log = place.id
        answer = self._answer(read)
        if answer is not None:
            return Appended(answer.base_offset, count, answer.term, answer.index, duplicate=True)
        ids = self._state.ids
        home = self._state.topics.find(queue.topic).queues[0]
        is_remembered = bool(ids.window_ms(home))
        known = ids.find(number, id_) if is_remembered else None
        if known is not None:
            stored = Appended(
                *(known.base_offset, 1, known.term, index_of(known.place)), duplicate=True
            )
            self._remember(read, stored)
            return stored
        stored = self._store(read, queue, place, body)
        self._remember(read, stored)
        if is_remembered:
            log_time_ms, base = self._state.log_time_ms, stored.base_offset
            ids.remember(
                BusinessId(number, id_, home, number_in_log, log_time_ms, base, place.term)
            )
        return stored

    def _answer(self, read: QueueAndFacts) -> RememberedBatch | None:
        """Say what the producer's sequence says; None: it is the next, or there is none."""
        number, _, count, epoch, producer, sequence, known_through, _ = read
        told = self._state.producers.told(number, producer, epoch, sequence, count, known_through)
        if told is not None and told.hidden_id:
            raise BadBatch(f"sequence {sequence} was hidden at first")
        return told

    def _store(
        self, read: QueueAndFacts, queue: Queue, place: CommandPlace, body: Buffer
    ) -> Appended:
        state = self._state
        if not queue.writable:
            raise NotPermitted(f"topic {queue.topic!r} is not writable")
        at = place.position + APPEND_HEADER_BYTES
        refusal = state.types.refusal(queue, body, (at, read[1], 1))
        if refusal is not None:
            raise refusal
        base = state.queues.extend(queue, 1)
        open_range = state.index.open
        open_range.postings_of(queue.number).append(
            *(base, 1, state.log_time_ms, read[-1], place.index),
            *(at, read[1]),
        )
        open_range.count += 1
        state.touched.add(queue.number)
        return Appended(base, 1, place.term, place.index)

    def _remember(self, read: QueueAndFacts, stored: Appended) -> None:
        """The producer's sequence is used, by a record that is stored now or was before."""
        number, _, count, epoch, producer, sequence, _, _ = read
        batch = RememberedBatch(sequence, count, stored.base_offset, stored.term, stored.index)
        self._state.producers.note(number, producer, epoch, batch, self._state.log_time_ms)


def _id_in(body: Buffer, at: int, size: int, count: int) -> str:
    """Return the id of the batch at ``at``, which has one record.

    Raises:
        BadBatch: It has no id, or more records.
    """
    table_length = table_length_of(body, at)
    if count != 1 or table_length > size - BATCH_HEADER_BYTES:
        raise BadBatch(f"a batch of {count} records with one id; one has a batch of its own")
    begin = at + BATCH_HEADER_BYTES
    return id_of(memoryview(body)[begin : begin + table_length], count)

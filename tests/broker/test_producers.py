"""Producers: nothing is stored twice, and nobody is told that it was not (rulings 9 and 10)."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    DuplicateForgotten,
    Fenced,
    LimitReached,
    NotPermitted,
    OutOfOrder,
    Throttled,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import PRODUCER_FORGOTTEN_MS
from raftlog.broker import producers, timetable
from raftlog.broker.producers import (
    REMEMBERED_MAX,
    FenceProducer,
    InitProducer,
    ProducerBegun,
    ProducerFenced,
    RememberedBatch,
)
from raftlog.broker.topics import AlterTopic, DeleteTopic, TopicChanges
from tests.broker.logs import TERM, Shard, append, batch_of, sent, stored_at

P = 1 << 16


def remembered(sequence: int, count: int, offset: int, at: int) -> RememberedBatch:
    return RememberedBatch(sequence, count, Offset(offset), TERM, Index(at))


def test_a_producer_s_id_names_its_entry_and_place() -> None:
    """Two ids that are equal would make one producer's batches the other's duplicates."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    begun = shard.all_of(InitProducer(), append(batch_of(b"a"), queue), InitProducer())
    assert begun[::2] == [ProducerBegun(2 << 16), ProducerBegun(2 << 16 | 2)]


def test_a_batch_that_is_sent_again_gets_the_first_answer() -> None:
    """The retry of a stored batch is a success, with the original receipt, index included."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(append(batch_of(b"other"), queue))
    first = shard(sent(queue, P, 0, 3))
    shard(sent(queue, P, 3, 2))
    assert first == stored_at(1, 3, 3)
    assert shard(sent(queue, P, 0, 3)) == stored_at(1, 3, 3, duplicate=True)
    assert shard.machine.queues.find(queue).end_offset == 6


def test_every_unconfirmed_batch_of_a_leader_that_died_is_found() -> None:
    """64 in flight, 41 of them committed, then all sent again: Kafka's five would lose 36 (9)."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    first = [shard(sent(queue, P, at)) for at in range(41)]
    again = [shard(sent(queue, P, at)) for at in range(REMEMBERED_MAX)]
    assert again[:41] == [stored_at(at, 1, at + 2, duplicate=True) for at in range(41)]
    assert again[41:] == [stored_at(at, 1, at + 43) for at in range(41, REMEMBERED_MAX)]
    assert len(first) == 41


def test_a_65th_unconfirmed_batch_is_throttled_and_what_follows_is_out_of_order() -> None:
    """A forgotten outcome could not be told again; a stored successor would close the gap."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    for at in range(REMEMBERED_MAX):
        shard(sent(queue, P, at))
    assert isinstance(shard(sent(queue, P, REMEMBERED_MAX)), Throttled)
    late = shard(sent(queue, P, REMEMBERED_MAX + 1))
    assert isinstance(late, OutOfOrder)
    assert late.expected == REMEMBERED_MAX
    assert shard(sent(queue, P, REMEMBERED_MAX, known=1)) == stored_at(64, 1, 68)


def test_what_its_producer_knows_is_forgotten_and_nothing_else() -> None:
    """Told as a type of its own: an offset made up, or 0, would be a wrong receipt."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    for at in range(0, 12, 3):
        shard(sent(queue, P, at, 3))
    assert shard(sent(queue, P, 12, 3, known=6)) == stored_at(12, 3, 6)
    answers = [shard(sent(queue, P, at, 3)) for at in (0, 3, 6)]
    assert [type(answer) for answer in answers[:2]] == [DuplicateForgotten] * 2
    assert answers[2] == stored_at(6, 3, 4, duplicate=True)


def test_what_a_producer_knows_never_shrinks_and_never_passes_what_was_stored() -> None:
    """A late copy brings an old header; a wrong one must not make later batches duplicates."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0))
    shard(sent(queue, P, 1, known=1 << 60))
    assert shard(sent(queue, P, 1)) == stored_at(1, 1, 3, duplicate=True)
    assert shard(sent(queue, P, 2, known=2)) == stored_at(2, 1, len(shard.entries))
    assert isinstance(shard(sent(queue, P, 0, known=0)), DuplicateForgotten)


def test_other_batches_over_the_same_sequences_are_bad() -> None:
    """Whoever cuts batches anew on a retry would get a receipt for other records."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0, 3))
    shard(sent(queue, P, 3, 3))
    for sequence, count in [(0, 2), (1, 2), (0, 4), (2, 9), (3, 4)]:
        assert isinstance(shard(sent(queue, P, sequence, count)), BadBatch)
    assert isinstance(shard(sent(queue, P, 6, 1, known=3)), type(stored_at(6, 1, 9)))
    assert isinstance(shard(sent(queue, P, 2, 2)), BadBatch)


def test_a_gap_is_told_with_what_is_missing() -> None:
    """A producer heals it by sending from there in order."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0, 2))
    gap = shard(sent(queue, P, 5))
    assert isinstance(gap, OutOfOrder)
    assert gap.expected == 2


def test_a_producer_is_unknown_until_its_first_batch() -> None:
    """A later sequence without a row means that the row was forgotten: nobody knows what was."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    assert isinstance(shard(sent(queue, P, 1)), UnknownProducer)
    assert shard(sent(queue, P, 0, epoch=7)) == stored_at(0, 1, 3)
    assert isinstance(shard(sent(queue, P, 1, epoch=6)), Fenced)
    assert isinstance(shard(sent(queue, P, 1, epoch=8)), UnknownProducer)
    assert isinstance(shard(sent(3, P, 0)), WrongQueue)


def test_sequences_are_counted_for_each_queue_and_producer_alone() -> None:
    """A producer with two queues in flight has two windows."""
    shard = Shard()
    one, two = shard.topic(queues=2)
    outcomes = shard.all_of(*[sent(queue, by, 0) for queue in (one, two) for by in (P, P + 1)])
    assert outcomes == [stored_at(0, 1, 2), stored_at(1, 1, 2)] * 2


def test_anonymous_batches_are_stored_however_often_they_come() -> None:
    """Producer 0 is nobody: there is no sequence to look at."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    assert shard.all_of(*[sent(queue, 0, 9)] * 3) == [stored_at(at, 1, 2) for at in range(3)]


def test_a_stored_batch_is_told_even_when_the_topic_takes_no_more() -> None:
    """A refusal means that nothing was stored; for this batch that would be a lie."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(sent(queue, P, 0))
    shard(AlterTopic("orders", TopicChanges(writable=False)))
    assert shard(sent(queue, P, 0)) == stored_at(0, 1, 2, duplicate=True)
    assert isinstance(shard(sent(queue, P, 1)), NotPermitted)
    assert isinstance(shard(sent(queue, P + 1, 0)), NotPermitted)
    assert isinstance(shard(append(batch_of(b"a"), queue)), NotPermitted)
    shard(AlterTopic("orders", TopicChanges(writable=True)))
    assert shard(sent(queue, P, 1)) == stored_at(1, 1, len(shard.entries))


def test_a_late_copy_after_a_fence_is_never_stored() -> None:
    """send(1) times out; resolve says "not stored"; the first request then arrives (10)."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0))
    fenced = shard(FenceProducer(queue, P, 1))
    assert fenced == ProducerFenced(1, (remembered(0, 1, 0, 2),))
    assert isinstance(shard(sent(queue, P, 1)), Fenced)
    assert isinstance(shard(sent(queue, P, 0)), Fenced)
    assert shard(sent(queue, P, 0, epoch=1)) == stored_at(1, 1, 6)


def test_a_first_batch_that_arrives_after_its_fence_is_not_stored_either() -> None:
    """The fence has no row to fence: it must make one, or sequence 0 would begin one."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    assert shard(FenceProducer(queue, P, 1)) == ProducerFenced(0, ())
    assert isinstance(shard(sent(queue, P, 0)), Fenced)
    assert shard(sent(queue, P, 0, epoch=1)) == stored_at(0, 1, 4)


def test_a_fence_that_is_sent_again_has_the_same_answer() -> None:
    """Its reply was lost, and the new epoch has begun: the old one's outcomes must be there."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0, 2))
    first = shard(FenceProducer(queue, P, 1))
    shard(sent(queue, P, 0, epoch=1))
    assert shard(FenceProducer(queue, P, 1)) == first
    assert shard(sent(queue, P, 1, epoch=1)) == stored_at(3, 1, 6)
    second = shard(FenceProducer(queue, P, 5))
    assert second == ProducerFenced(2, (remembered(0, 1, 2, 4), remembered(1, 1, 3, 6)))
    assert shard.refusal(FenceProducer(queue, P, 1)) is Fenced


def test_an_epoch_that_no_fence_began_can_t_be_fenced_by_itself() -> None:
    """The answer would say of its own batches that they were not stored."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0, epoch=3))
    assert shard.refusal(FenceProducer(queue, P, 3)) is BadRequest
    assert shard.refusal(FenceProducer(9, P, 4)) is WrongQueue


def test_a_silent_producer_is_forgotten_at_log_time_and_not_before() -> None:
    """Rows are a bounded table; what is forgotten is unknown, never another's duplicate."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard(sent(queue, P, 0))
    shard.log_time_ms += 1
    shard(sent(queue, P + 1, 0))
    shard.log_time_ms += PRODUCER_FORGOTTEN_MS - 2
    assert shard(sent(queue, P, 0)) == stored_at(0, 1, 2, duplicate=True)
    shard.log_time_ms += 1
    shard(append(batch_of(b"tick"), queue))
    assert isinstance(shard(sent(queue, P, 1)), UnknownProducer)
    assert shard(sent(queue, P + 1, 1)) == stored_at(3, 1, len(shard.entries))


def test_at_most_so_many_are_forgotten_in_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week of standstill everybody is due at once; apply must not stall (8)."""
    monkeypatch.setattr(timetable, "DUE_PER_ENTRY_MAX", 3)
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard.all_of(*[sent(queue, P + at, 0) for at in range(8)])
    shard(sent(queue, P + 1, 1))
    shard.log_time_ms += PRODUCER_FORGOTTEN_MS
    table = shard.machine.producers.table
    left = []
    for _ in range(3):
        shard(append(batch_of(b"tick"), queue))
        left.append(sorted(row.producer - P for row in table.after(None)))
    assert left == [[1, 4, 5, 6, 7], [1, 7], []]


def test_a_full_table_refuses_new_producers_and_keeps_the_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An old row that was evicted early would turn a retry into a second record (9)."""
    monkeypatch.setattr(producers, "PRODUCER_ROWS_MAX", 2)
    shard = Shard()
    (queue,) = shard.topic("kept")
    shard.all_of(sent(queue, P, 0), sent(queue, P + 1, 0))
    assert isinstance(shard(sent(queue, P + 2, 0)), LimitReached)
    assert shard.refusal(FenceProducer(queue, P + 2, 1)) is LimitReached
    assert shard(sent(queue, P, 0)) == stored_at(0, 1, 2, duplicate=True)
    assert shard(sent(queue, P, 1)) == stored_at(2, 1, 6)


def test_a_deleted_topic_takes_its_producers_along() -> None:
    """Their queues never come back: rows without them would fill the table."""
    shard = Shard()
    (queue,) = shard.topic("kept")
    one, two = shard.topic(queues=2)
    shard.all_of(*[sent(each, P + at, 0) for each in (queue, one, two) for at in range(3)])
    shard(DeleteTopic("orders"))
    assert [row.queue for row in shard.machine.producers.table.after(None)] == [queue] * 3
    assert isinstance(shard(sent(one, P, 1)), WrongQueue)
    shard.log_time_ms += PRODUCER_FORGOTTEN_MS
    shard(append(batch_of(b"tick"), queue))
    assert len(shard.machine.producers.table) == 0

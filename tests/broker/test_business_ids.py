"""Business ids: one record for each id in a window, whoever sends it (ruling 30)."""

import pytest

from raftlog.base.errors import BadBatch, NotPermitted, OutOfOrder, WrongQueue
from raftlog.base.ids import Index
from raftlog.broker import business_ids, timetable
from raftlog.broker.appends import append_parts
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.producers import FenceProducer, ProducerFenced
from raftlog.broker.topics import (
    DEFAULT_ID_WINDOW_MS,
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    TopicChanges,
)
from tests.broker.logs import Shard, append, batch_of, once, sent, stored_at

P = 1 << 16


def test_an_id_that_comes_again_is_answered_with_the_first_offset() -> None:
    """Another process sends the order again: it is told where it is, and nothing is stored."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(append(batch_of(b"other"), queue))
    assert shard(once(queue, "order-17")) == stored_at(1, 1, 3)
    shard(append(batch_of(b"other"), queue))
    assert shard(once(queue, "order-17")) == stored_at(1, 1, 3, duplicate=True)
    assert shard(once(queue, "order-18")) == stored_at(3, 1, 6)
    assert shard.machine.queues.find(queue).end_offset == 4


def test_an_id_twice_in_one_entry_is_stored_once() -> None:
    """Two processes in one turn of the leader: the second must see what the first did."""
    shard = Shard()
    (queue,) = shard.topic()
    outcomes = shard.all_of(once(queue, "a"), once(queue, "a"), once(queue, "b"))
    assert outcomes == [stored_at(0, 1, 2), stored_at(0, 1, 2, duplicate=True), stored_at(1, 1, 2)]


def test_the_window_is_the_queue_s_own() -> None:
    """Equal ids in two queues are two records: a key is given, and the id is unique per key."""
    shard = Shard()
    one, two = shard.topic(queues=2)
    assert shard(once(one, "a")) == stored_at(0, 1, 2)
    assert shard(once(two, "a")) == stored_at(0, 1, 3)


def test_an_id_leaves_when_its_window_is_over_and_not_before() -> None:
    """Earlier would be a duplicate; later would lose an order that is meant."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(once(queue, "a"))
    shard.log_time_ms += DEFAULT_ID_WINDOW_MS - 1
    assert shard(once(queue, "a")) == stored_at(0, 1, 2, duplicate=True)
    shard.log_time_ms += 1
    assert shard(once(queue, "a")) == stored_at(1, 1, 4)


def test_a_window_that_is_altered_holds_for_what_is_remembered_already() -> None:
    """Whoever shortens it wants the table smaller now; whoever lengthens it, a longer memory."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(once(queue, "a"))
    shard(AlterTopic("orders", TopicChanges(id_window_ms=10)))
    shard.log_time_ms += 10
    assert shard(once(queue, "a")) == stored_at(1, 1, 4)
    shard(AlterTopic("orders", TopicChanges(id_window_ms=10_000)))
    shard.log_time_ms += 9_999
    assert shard(once(queue, "a")) == stored_at(1, 1, 4, duplicate=True)


def test_without_a_window_ids_mean_nothing() -> None:
    """The topic says so; every record is stored."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(AlterTopic("orders", TopicChanges(id_window_ms=0)))
    assert shard(once(queue, "a")) == stored_at(0, 1, 3)
    assert shard(once(queue, "a")) == stored_at(1, 1, 4)
    assert len(shard.machine.state.ids.table) == 0


def test_a_retry_of_a_sequence_gets_the_answer_that_it_had() -> None:
    """Its reply was lost; by then the id's window may be over, and the batch is no new one."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(once(queue, "a"))
    assert shard(once(queue, "a", P, 0)) == stored_at(0, 1, 2, duplicate=True)
    assert shard(once(queue, "b", P, 1)) == stored_at(1, 1, 4)
    shard.log_time_ms += DEFAULT_ID_WINDOW_MS
    assert shard(once(queue, "a", P, 0)) == stored_at(0, 1, 2, duplicate=True)
    assert shard(once(queue, "b", P, 1)) == stored_at(1, 1, 4, duplicate=True)
    assert shard(once(queue, "a", P, 2)) == stored_at(2, 1, 7)


def test_a_sequence_whose_record_was_a_duplicate_is_used() -> None:
    """Else the producer's next batch would be out of order for ever."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(once(queue, "a"))
    shard(once(queue, "a", P, 0))
    assert shard(sent(queue, P, 1)) == stored_at(1, 1, 4)
    assert isinstance(shard(once(queue, "c", P, 5)), OutOfOrder)
    fenced = shard(FenceProducer(queue, P, 1))
    assert isinstance(fenced, ProducerFenced)
    assert [each.base_offset for each in fenced.remembered] == [0, 1]
    assert fenced.remembered[0].index == Index(2), "the first record's own entry"


def test_a_known_id_is_told_even_when_the_topic_takes_no_more() -> None:
    """A refusal means that nothing was stored; for this record that would be a lie."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(once(queue, "a"))
    shard(AlterTopic("orders", TopicChanges(writable=False)))
    assert shard(once(queue, "a")) == stored_at(0, 1, 2, duplicate=True)
    assert shard.refusal(once(queue, "b")) is NotPermitted
    assert shard.refusal(once(99, "a")) is WrongQueue


def test_what_is_no_record_with_an_id_is_refused() -> None:
    """Apply is total: the proposer has checked it, and apply believes nobody."""
    shard = Shard()
    (queue,) = shard.topic()
    for batch in (batch_of(b"a"), batch_of(b"a", b"b"), b"", b"x" * 90):
        command = Command(CommandType.APPEND_ONCE, append_parts(queue, batch))
        assert shard.refusal(command) is BadBatch


def test_beyond_the_count_the_oldest_of_the_same_topic_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One topic must not take another's window away, and says that its own is shorter."""
    monkeypatch.setattr(business_ids, "BUSINESS_IDS_MAX", 3)
    shard = Shard()
    (kept,) = shard.topic("kept")
    one, two = shard.topic("busy", queues=2)
    shard.all_of(once(kept, "a"), once(one, "a"))
    shard.log_time_ms += 5
    shard.all_of(once(two, "b"), once(one, "c"))
    ids = shard.machine.state.ids
    assert sorted((row.queue, row.id) for row in ids.table.after(None)) == [
        *((kept, "a"), (one, "c"), (two, "b"))
    ]
    shortened = ids.shortened.get(one)
    assert shortened is not None
    assert (shortened.at_ms, shortened.kept_ms) == (1_005, 5)
    assert ids.shortened.get(kept) is None
    assert shard(once(kept, "a")) == stored_at(0, 1, 3, duplicate=True)


def test_a_topic_that_comes_when_others_have_all_room_has_no_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its records are stored, and its status says that none of its ids is remembered."""
    monkeypatch.setattr(business_ids, "BUSINESS_IDS_MAX", 1)
    shard = Shard()
    (kept,) = shard.topic("kept")
    (late,) = shard.topic("late")
    shard(once(kept, "a"))
    assert shard(once(late, "a")) == stored_at(0, 1, 4)
    assert shard(once(late, "a")) == stored_at(1, 1, 5)
    shortened = shard.machine.state.ids.shortened.get(late)
    assert shortened is not None
    assert shortened.kept_ms == 0


def test_ids_of_a_deleted_topic_leave_a_bounded_number_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A million rows in one entry would stop the loop for a second; they can't do harm."""
    monkeypatch.setattr(timetable, "DUE_PER_ENTRY_MAX", 3)
    shard = Shard()
    (kept,) = shard.topic("kept")
    (queue,) = shard.topic()
    shard.all_of(*[once(queue, f"{number}") for number in range(7)], once(kept, "a"))
    shard(DeleteTopic("orders"))
    table = shard.machine.state.ids.table
    left = []
    for _ in range(3):
        shard(append(batch_of(b"tick"), kept))
        left.append(len(table))
    assert left == [5, 2, 1]
    shard(CreateTopic("orders", TopicChanges(queues=1)))
    queue = shard.machine.topics.find("orders").queues[0]
    assert shard(once(queue, "0")) == stored_at(0, 1, len(shard.entries))


def test_a_snapshot_has_the_ids_and_the_order_in_which_they_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica that was restored must forget the same id at the same entry."""
    monkeypatch.setattr(business_ids, "BUSINESS_IDS_MAX", 3)
    shard = Shard()
    (queue,) = shard.topic()
    for number in range(4):
        shard.log_time_ms += 10
        shard(once(queue, f"{9 - number}"))
    ids = shard.machine.state.ids
    frozen = [chunk for table in (ids.table, ids.shortened) for chunk in table.freeze().chunks()]
    assert sum(chunk.rows for chunk in frozen) == 4
    rows, shortened = list(ids.table.after(None)), list(ids.shortened.after(None))
    ids.load(rows, shortened)
    shard.log_time_ms += DEFAULT_ID_WINDOW_MS - 20
    shard(append(batch_of(b"tick"), queue))
    assert [row.id for row in ids.table.after(None)] == ["6", "7"]

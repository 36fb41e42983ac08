"""Ends of queues: stale looks, lost order and late records, on hand-made histories."""

import pytest

from chaos.check.client_history import Records
from chaos.check.linearizability import NAME
from chaos.check.queue_ends import QueueEnds


@pytest.fixture
def records() -> Records:
    return Records("ledger")


def added(records: Records, offset: int | None, called: float, returned: float) -> bytes:
    """Add a record that is told to be at ``offset``; None: nobody has answered."""
    number = records.begin(0, called)
    if offset is None:
        records.unknown(number, returned)
    else:
        records.ok(number, returned, 0, offset, 1)
    return records.value(number)


def test_looks_in_the_order_of_what_was_added(records: Records) -> None:
    ends = QueueEnds(records)
    log = [added(records, 0, 1.0, 2.0), added(records, 1, 3.0, 5.0)]
    for end, called, returned in ((0, 0.0, 1.5), (1, 1.5, 1.8), (1, 3.5, 4.0), (2, 4.0, 4.5)):
        ends.seen(0, end, called, returned)
    assert ends.check({0: log}) == []
    assert ends.look_count == 4


def test_a_look_that_misses_what_was_acknowledged(records: Records) -> None:
    ends = QueueEnds(records)
    log = [added(records, 0, 1.0, 2.0)]
    ends.seen(0, 0, 2.1, 2.2)
    (found,) = ends.check({0: log})
    assert found.check == NAME


def test_a_look_that_misses_what_another_one_has_seen(records: Records) -> None:
    """The record itself has no answer yet: the second look goes back all the same."""
    ends = QueueEnds(records)
    log = [added(records, 0, 1.0, 9.0)]
    ends.seen(0, 1, 2.0, 3.0)
    ends.seen(0, 0, 4.0, 5.0)
    assert [each.check for each in ends.check({0: log})] == [NAME]


def test_a_look_at_what_nobody_has_begun_to_add(records: Records) -> None:
    ends = QueueEnds(records)
    log = [added(records, 0, 5.0, 6.0)]
    ends.seen(0, 1, 1.0, 2.0)
    assert [each.check for each in ends.check({0: log})] == [NAME]


def test_a_record_without_an_answer_came_whenever_it_was_seen_first(records: Records) -> None:
    ends = QueueEnds(records)
    late = added(records, None, 1.0, 2.0)
    log = [added(records, 0, 3.0, 4.0), late]
    added(records, None, 1.0, 2.0)  # it never came, and is no part of this
    ends.seen(0, 1, 5.0, 6.0)
    ends.seen(0, 2, 7.0, 8.0)
    assert ends.check({0: log}) == []


def test_records_whose_offsets_contradict_their_times(records: Records) -> None:
    first, second = added(records, 1, 1.0, 2.0), added(records, 0, 3.0, 4.0)
    assert [each.check for each in QueueEnds(records).check({0: [second, first]})] == [NAME]


def test_each_queue_has_an_order_of_its_own(records: Records) -> None:
    ends = QueueEnds(records)
    log = [added(records, 0, 1.0, 2.0)]
    ends.seen(0, 1, 3.0, 4.0)
    ends.seen(1, 0, 5.0, 6.0)
    assert ends.check({0: log, 1: []}) == []
    ends.seen(1, 1, 7.0, 8.0)
    assert len(ends.check({0: log, 1: []})) == 1


def test_looks_that_a_sleeping_node_answers_all_at_once(records: Records) -> None:
    """Each is open through most of the others: their orders are more than can be tried."""
    ends = QueueEnds(records)
    log = [added(records, offset, offset, offset + 1.5) for offset in range(60)]
    for number in range(300):
        ends.seen(0, number * 7 % 60, 0.0, 61.0 + number)
    assert ends.check({0: log}) == []
    ends.seen(0, 30, 50.0, 55.0)
    assert [each.check for each in ends.check({0: log})] == [NAME]

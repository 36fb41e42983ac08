"""What the archive holds topics to that forget what was consumed."""

import pytest

from chaos.check.client_history import value_of
from chaos.check.violation import Violation
from chaos.check.whole_queues import WholeQueues
from chaos.live.topics import BULK, FILLED, TOPICS, large, short
from chaos.live.workloads.archive import TRIMMED_S, Archive
from chaos.live.workloads.reading import behind_a_gap
from chaos.live.world import World
from raftlog.base.errors import OffsetOutOfRange
from raftlog.base.ids import NodeId, Offset
from raftlog.client.receipts import Message


@pytest.fixture
def archived() -> WholeQueues:
    """Two queues, with three records in the second."""
    archived = WholeQueues({"orders": 2})
    for offset in range(3):
        archived.take("orders", 1, offset, b"%d" % offset)
    return archived


def test_it_has_every_record_once(archived: WholeQueues) -> None:
    archived.take("orders", 1, 1, b"1")  # handed out again
    archived.take("orders", 1, 3, b"3")
    archived.take("orders", 0, 0, b"a")
    assert archived.logs == {"orders": {0: [b"a"], 1: [b"0", b"1", b"2", b"3"]}}
    assert archived.count == 5


def test_a_hole_is_seen(archived: WholeQueues) -> None:
    with pytest.raises(Violation, match="orders/1: 4 follows 2"):
        archived.take("orders", 1, 4, b"4")
    assert archived.count == 3


def test_another_record_at_an_offset_is_seen(archived: WholeQueues) -> None:
    with pytest.raises(Violation, match="offset 1: first b'1', then b'x'"):
        archived.take("orders", 1, 1, b"x")


def test_a_queue_that_forgot_too_much_is_seen(archived: WholeQueues) -> None:
    archived.begins("orders", 1, 3)
    with pytest.raises(Violation, match="orders/1: 4 follows 2"):
        archived.begins("orders", 1, 4)


def test_a_counter_of_a_node_that_was_started_again_begins_again(world: World) -> None:
    archive = Archive(world)
    told = [archive._more(NodeId("n1"), "log_trims", {"log_trims": now}) for now in (2, 5, 5, 1)]
    assert told == [2, 3, 0, 1]
    assert archive._more(NodeId("n2"), "log_trims", {}) == 0


def test_a_long_run_without_a_trim_is_not_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(world)
    assert archive.check(world.archived.logs) == []
    monkeypatch.setattr(world, "now", lambda: TRIMMED_S)
    (found,) = archive.check(world.archived.logs)
    assert "no log was trimmed in 120 s" in found.text
    archive.trims = 1
    assert archive.check(world.archived.logs) == []


def test_it_reads_every_topic(world: World) -> None:
    queues = {topic: len(log) for topic, log in world.archived.logs.items()}
    assert queues == TOPICS


def test_large_values_are_kept_short() -> None:
    value = value_of(BULK, 3, 17)
    filled = large(value)
    assert len(filled) == FILLED
    assert short(filled) == value


@pytest.mark.parametrize("other", [b"", b"bulk 3 17 ", b"x" * FILLED])
def test_what_is_no_large_value_is_kept_as_it_is(other: bytes) -> None:
    assert short(other) == other
    filled = large(value_of(BULK, 3, 17))
    for wrong in (filled[:-1], filled + b".", filled[:-1] + b"x"):
        assert short(wrong) == wrong


def test_a_queue_that_ends_before_what_was_read_is_seen(archived: WholeQueues) -> None:
    """A lost tail, also where nothing is left; or something that was not read."""
    archived.ends("orders", 1, 3)
    archived.ends("orders", 0, 0)
    for end in (0, 2, 4):
        with pytest.raises(Violation, match=f"orders/1 ends at {end}, and 3 records"):
            archived.ends("orders", 1, end)


def test_a_reader_goes_on_behind_what_is_in_the_archive(world: World) -> None:
    world.archived.take("orders", 1, 0, b"0")
    assert behind_a_gap(world, "orders", 1, 0, OffsetOutOfRange(0, 1, 9)) == 1
    assert behind_a_gap(world, "orders", 1, 5, OffsetOutOfRange(5, 0, 4)) == 5
    assert world.anomalies == []
    assert behind_a_gap(world, "orders", 1, 0, OffsetOutOfRange(0, 2, 9)) == 2
    assert [each.check for each in world.anomalies] == ["whole_queues"]


def test_a_queue_of_which_something_is_missing_is_told_once(world: World) -> None:
    archive = Archive(world)
    for offset in (0, 2, 3):
        archive._take(Message("orders", 1, Offset(offset), None, b"v", (), 0))
    assert len(world.anomalies) == 1
    assert archive.done == 1

"""Receiving through a filter: what matches is given, and the rest is passed over."""

from collections.abc import Sequence

import pytest

from raftlog.base.entry import Buffer
from raftlog.base.errors import CodecUnavailable
from raftlog.broker.queue_groups import QueueGroupChanges
from raftlog.broker.queue_subscriptions import By, SubscribeQueueGroup
from raftlog.service import matching
from raftlog.service.leases import QueueGroupState
from raftlog.wire import filters
from raftlog.wire.batch import encode_columns
from raftlog.wire.filters import EVERYTHING, RecordFilter
from tests.service.test_receiving import GROUP, SECOND, A, B, C
from tests.service.test_receiving import World as Receiving

PAID = RecordFilter(("paid",))
RICH = RecordFilter((), "amount > 100")


class World(Receiving):
    """A group that wants what is paid. Values are offsets."""

    def __init__(self, wanted: RecordFilter = PAID, **changes: object) -> None:
        super().__init__(**changes)
        self.end = 0
        self.want(wanted)

    def want(self, wanted: RecordFilter) -> None:
        told: list[object] = []
        self.leases.open(
            lambda: SubscribeQueueGroup(
                GROUP, ("first",), QueueGroupChanges(), wanted=wanted, by=By.REPLACE
            ),
            told.append,
        )
        self.replica.commit()
        assert isinstance(told[0], QueueGroupState), told

    def tagged(self, tags: str, *, keys: Sequence[bytes | None] | None = None) -> None:
        """Send one batch: p is paid, anything else is not."""
        values = [b"%d" % (self.end + at) for at in range(len(tags))]
        names = ["paid" if tag == "p" else None for tag in tags]
        self.end += len(tags)
        self.store(encode_columns(values, keys, timestamp_ms=5, tags=names))

    @property
    def cursor(self) -> int:
        leasing = self.replica.machine.leasing
        found = leasing.groups.cursor(leasing.groups.find(GROUP), self.queue)
        return -1 if found is None else found.next

    @property
    def passed(self) -> int:
        leasing = self.replica.machine.leasing
        return leasing.subscriptions.of(leasing.groups.find(GROUP)).passed


@pytest.fixture
def world() -> World:
    return World()


def test_what_matches_is_given_and_nothing_else(world: World) -> None:
    """Batch after batch, each request from where the one before has ended."""
    world.tagged("..p.p")
    world.tagged("p...p")
    for handle, count, expected in ((A, 2, [2, 4]), (B, 9, [5, 9])):
        world.receive(handle, count)
        world.turn()
        assert world.offsets(handle) == expected
    assert (world.cursor, world.passed) == (10, 6)


def test_a_condition_over_headers_decides_as_well() -> None:
    """It lies in the payload, into which the machine does not look."""
    world = World(RICH)
    headers = {at: (("amount", b"%d" % (at * 60)),) for at in range(4)}
    values = [b"%d" % at for at in range(4)]
    world.store(encode_columns(values, timestamp_ms=5, headers=headers, codec="none"))
    world.receive(A, 9)
    world.turn()
    assert world.offsets(A) == [2, 3]


def test_who_waits_gets_the_first_that_matches_and_no_command_before(world: World) -> None:
    """Records that nobody wants cost nothing in the log, as they come."""
    world.receive(A)
    world.turn()
    for _ in range(3):
        world.tagged("..")
        world.turn()
    assert (world.cursor, world.told[A]) == (0, [])
    world.tagged(".p")
    world.turn()
    assert world.offsets(A) == [7]
    assert (world.cursor, world.passed) == (8, 7)
    assert (world.receiving.waiting, world.scheduler.armed) == (0, 0)


def test_what_was_looked_at_in_vain_is_passed_over_in_time(world: World) -> None:
    """Else retention until consumed would wait for the next that matches."""
    world.tagged("....")
    world.receive(A, wait_s=20)
    world.turn()
    assert world.cursor == 0
    world.scheduler.advance(matching.PASS_NS)
    world.turn()
    assert (world.cursor, world.passed, world.told[A]) == (4, 4, [])


def test_who_is_told_that_there_is_nothing_has_passed_over_it(world: World) -> None:
    """He may not ask again."""
    world.tagged("....")
    world.receive(A, wait_s=0)
    world.turn()
    assert world.offsets(A) == []
    assert world.cursor == 4


def test_a_long_stretch_is_passed_over_piece_by_piece(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pause: who waits behind it is not kept for seconds."""
    monkeypatch.setattr(matching, "LOOK_BYTES_MAX", 1)
    for _ in range(3):
        world.tagged("....")
    world.tagged("p")
    world.receive(A)
    for _ in range(9):
        world.turn()
        world.scheduler.advance(2_000_000)
    assert world.offsets(A) == [12]


def test_what_comes_while_the_leader_looks_is_not_missed(world: World) -> None:
    """The look had ended before it; the second of rest would begin after."""
    world.tagged("..")
    world.receive(A)
    world.tagged("p")
    world.turn()
    assert world.offsets(A) == [2]


def test_a_retry_does_not_wait_for_the_next_look(world: World) -> None:
    """It matched once."""
    world.tagged("p")
    world.receive(A)
    world.turn()
    assert world.offsets(A) == [0]
    world.receive(B, wait_s=20)
    world.tagged("..")
    world.turn()
    assert world.told[B] == []
    world.give_back(A, 0)
    assert world.offsets(B) == [0]


def test_one_look_serves_several_requests(world: World) -> None:
    """A batch is not opened again for each of its messages."""
    world.tagged("p" * 8)
    for handle in (A, B, C):
        world.receive(handle)
        world.turn()
    assert world.receiving._matching.filters.batches_looked_at == 1
    assert [world.offsets(handle) for handle in (A, B, C)] == [[0], [1], [2]]


def test_the_filter_that_holds_is_the_one_that_was_committed_last(world: World) -> None:
    """What was found by another one is looked at again."""
    world.tagged(".p.p")
    world.receive(A, wait_s=20)
    world.reader.run()
    assert world.replica.proposed == 1, "with what the filter of before has found"
    world.commit(
        SubscribeQueueGroup(GROUP, ("first",), QueueGroupChanges(), wanted=RICH, by=By.REPLACE)
    )
    world.turn()
    assert (world.told[A], world.cursor) == ([], 0)
    world.want(EVERYTHING)
    world.turn()
    assert world.offsets(A) == [0]


def test_what_was_remembered_is_of_one_filter(world: World) -> None:
    """It had been looked up to the end by the one before, in vain."""
    world.tagged("..")
    world.receive(A, wait_s=20)
    world.turn()
    assert (world.told[A], world.cursor) == ([], 0)
    world.want(RecordFilter((), "amount IS NULL"))
    world.turn()
    assert world.offsets(A) == [0]


def test_asked_again_while_it_is_under_way_it_is_answered_once(world: World) -> None:
    """Both look at the same batch: nothing is told twice."""
    world.tagged(".pp")
    world.receive(A, 2)
    world.receive(A, 2)
    world.turn()
    assert len(world.told[A]) == 1
    assert world.offsets(A) == [1, 2]


def test_in_order_by_key_only_what_matches_stands_in_line() -> None:
    """1 and 3 have a key; so has 2, which does not match, and holds nobody up."""
    world = World(fifo=True)
    world.tagged(".p.pp", keys=[None, b"k", b"k", b"k", b"other"])
    world.receive(A, 5)
    world.turn()
    assert world.offsets(A) == [1, 4]
    world.ack(A, 1)
    world.receive(B, 5)
    world.turn()
    assert world.offsets(B) == [3]


def test_what_can_not_be_looked_into_is_told_and_never_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knows whether it matches: an alarm says where the group stands."""
    world = World(RICH)

    def look(batch: Buffer) -> filters.Selection:
        if b"bad" in bytes(batch):
            raise CodecUnavailable("no package")
        return filters.Selection((), 0)

    monkeypatch.setattr(matching, "selector_of", lambda _: look)
    world.store(encode_columns([b"0"], timestamp_ms=5))
    world.store(encode_columns([b"bad"], timestamp_ms=5))
    world.receive(A, wait_s=0)
    world.turn()
    assert (world.offsets(A), world.cursor) == ([], 1)
    world.receive(B, wait_s=20)
    world.turn()
    (answer,) = world.told[B]
    assert isinstance(answer, CodecUnavailable)
    assert "offset 1" in str(answer)
    assert GROUP in (world.receiving.alarm or "")
    monkeypatch.undo()
    world.receive(C, wait_s=0)
    world.scheduler.advance(SECOND)
    world.turn()
    assert world.cursor == 2
    assert world.receiving.alarm is None

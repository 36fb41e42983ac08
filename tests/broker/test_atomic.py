"""Atomic transactions: all of it at one index, or nothing; sent again it is the same one."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    Fenced,
    GroupNotFound,
    LimitReached,
    NotPermitted,
    OffsetGoesBack,
    OffsetOutOfRange,
    OutOfOrder,
    StaleLease,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.limits import FINISHERS_KNOWN_MS, TRANSACTION_GROUPS_MAX
from raftlog.broker import atomic as atomic_module
from raftlog.broker.atomic_commands import (
    GONE,
    TransactionCommitted,
    TransactionHead,
    read_transaction,
    transaction_parts,
)
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    SeekGroup,
)
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.delays import Delay
from raftlog.broker.group_commands import JoinGroup
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import AckMessages, Leased, ReceiveMessages, Settled
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import FenceProducer
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, DeleteTopic, TopicChanges
from raftlog.wire.batch import ANONYMOUS, Producer
from tests.broker.logs import TERM, Shard, append, atomic, batch_of, delayed, sent

P = 1 << 16
"""A producer."""
BILLING, WORK, HANDLE = "billing", "work", 7


class World(Shard):
    """Orders are read by a member of a group and leased by another; two topics are written to."""

    def __init__(self) -> None:
        super().__init__()
        (self.orders,) = self.topic("orders")
        (self.bills,) = self.topic("bills")
        (self.ledger,) = self.topic("ledger")
        self(append(batch_of(*[b"order"] * 5), self.orders))
        self(JoinGroup(BILLING, "m", ("orders",), 10_000))
        self(ClaimQueue(BILLING, self.orders, 1, "m"))
        self(OpenQueueGroup(WORK, ("orders",), QueueGroupChanges()))
        assert isinstance(self(ReceiveMessages(WORK, HANDLE, 3)), Leased)

    def commit(self, offset: int = 1, generation: int = 1, member: str = "m") -> CommitOffsets:
        return CommitOffsets(BILLING, member, generation, ((self.orders, offset),))

    def read(self, read_from: int, offset: int, generation: int = 1) -> CommitOffsets:
        """A commit that says what was committed when it was read."""
        return CommitOffsets(BILLING, "m", generation, ((self.orders, offset),), 0, (read_from,))

    def ack(self, *offsets: int, handle: int = HANDLE) -> AckMessages:
        return AckMessages(WORK, ((handle, self.orders, offsets),))

    def made(self, sequence: int = 0, epoch: int = 0) -> Command:
        """A transaction with everything in it."""
        by = Producer(P, epoch, sequence)
        return atomic(
            *((self.bills, by, 1), (self.ledger, by, 1)),
            offsets=[self.commit(sequence + 1)],
            acks=[self.ack(sequence)],
        )

    def refused(self, command: Command) -> object:
        error = self.refusal(command)
        check(self.machine)
        return error

    @property
    def facts(self) -> tuple[int, int, int | None, int]:
        """Ends of both topics, what the group has committed, and what is in flight."""
        queues, claim = self.machine.queues, self.machine.claims.get(BILLING, self.orders)
        assert claim is not None
        group = self.machine.leasing.groups.find(WORK)
        return (
            *(queues.find(self.bills).end_offset, queues.find(self.ledger).end_offset),
            *(claim.committed, self.machine.leasing.flights.tally(group.number).rows),
        )


@pytest.fixture
def world() -> World:
    return World()


def test_all_of_it_is_done_at_one_index(world: World) -> None:
    """Batches, offsets and acks; sent again it has the first outcome, and does nothing."""
    assert world.facts == (0, 0, None, 3)
    made = world(world.made())
    assert isinstance(made, TransactionCommitted)
    assert [(part.queue, part.base_offset, part.count) for part in made.parts] == [
        (world.bills, 0, 1),
        (world.ledger, 0, 1),
    ]
    assert (made.index, made.duplicate) == (world.machine.applied, False)
    assert world.facts == (1, 1, 1, 2)
    again = world(world.made())
    assert again == TransactionCommitted(made.parts, made.term, made.index, duplicate=True)
    assert world.facts == (1, 1, 1, 2)
    assert isinstance(world(world.made(1)), TransactionCommitted)
    assert world.facts == (2, 2, 2, 1)
    check(world.machine)


def test_one_that_is_sent_again_is_known_whatever_has_changed_since(world: World) -> None:
    """Its member was fenced, its group has gone on, its topic was closed or is gone."""
    first = world(world.made())
    assert isinstance(first, TransactionCommitted)
    world(JoinGroup(BILLING, "n", ("orders",), 10_000))
    world(ClaimQueue(BILLING, world.orders, 3, "n"))
    world(world.commit(3, 3, "n"))
    world(AlterTopic("bills", TopicChanges(writable=False)))
    again = world(world.made())
    assert isinstance(again, TransactionCommitted)
    assert (again.parts, again.duplicate) == (first.parts, True)
    world(DeleteTopic("ledger"))
    again = world(world.made())
    assert isinstance(again, TransactionCommitted)
    assert [part.base_offset for part in again.parts] == [0, GONE]
    assert again.duplicate
    world(DeleteTopic("bills"))
    assert world.refused(world.made()) is WrongQueue


def test_what_one_part_is_refused_for_refuses_all(world: World) -> None:
    """Each of these is good but for one thing, and leaves nothing behind."""
    by = Producer(P, 0, 0)
    bills, ledger = (world.bills, by, 1), (world.ledger, by, 1)
    world(delayed(Delay(50, relative=True), world.orders, by=Producer(P, 0, 0)))
    for error, command in (
        (WrongQueue, atomic(bills, (99, by, 1))),
        (OutOfOrder, atomic(bills, (world.orders, Producer(P, 0, 5), 1))),
        (BadBatch, atomic(bills, (world.ledger, ANONYMOUS, 1))),
        (BadBatch, atomic(bills, (world.orders, Producer(P, 0, 0), 1))),
        (Fenced, atomic(bills, ledger, offsets=[world.commit(1, member="n")])),
        (UnknownMember, atomic(bills, ledger, offsets=[world.commit(1, 2)])),
        (OffsetOutOfRange, atomic(bills, ledger, offsets=[world.commit(6)])),
        (StaleLease, atomic(bills, ledger, acks=[world.ack(0, 4)])),
        (StaleLease, atomic(bills, ledger, acks=[world.ack(0, handle=8)])),
        (GroupNotFound, atomic(bills, acks=[AckMessages("x", ((1, world.orders, (0,)),))])),
        (
            *(StaleLease,),
            atomic(bills, offsets=[world.commit(2)], acks=[world.ack(0, handle=8)]),
        ),
    ):
        assert world.refused(command) is error
    world(world.commit(2))
    assert world.refused(atomic(bills, offsets=[world.commit(1)])) is OffsetGoesBack
    world(AlterTopic("ledger", TopicChanges(writable=False)))
    assert world.refused(atomic(bills, ledger)) is NotPermitted
    assert world.facts == (0, 0, 2, 3)
    assert isinstance(world(atomic(bills)), TransactionCommitted), "its sequence is still free"


def test_some_of_a_transaction_is_none(world: World) -> None:
    """Batches that were stored together come together; a new one beside an old one is neither."""
    by = Producer(P, 0, 0)
    world(sent(world.bills, P, 0))
    assert world.refused(atomic((world.bills, by, 1), (world.ledger, by, 1))) is BadBatch


def test_a_fence_in_one_queue_is_a_fence_for_all_of_it(world: World) -> None:
    """So whoever does not know an outcome fences one queue: a late copy finds nobody."""
    world(FenceProducer(world.ledger, P, 1))
    assert world.refused(world.made()) is Fenced
    assert world.facts == (0, 0, None, 3)


def test_producers_have_room_for_every_part_or_for_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row is free, two are needed."""
    monkeypatch.setattr(atomic_module, "PRODUCER_ROWS_MAX", 1)
    assert world.refused(world.made()) is LimitReached
    by = Producer(P, 0, 0)
    assert isinstance(world(atomic((world.bills, by, 1))), TransactionCommitted)


def test_a_head_that_names_something_twice_is_none(world: World) -> None:
    """Which of the two would count?"""
    by = Producer(P, 0, 0)
    for parts, offsets, acks in (
        ([(world.bills, by, 1)] * 2, [], []),
        ([(world.bills, by, 1)], [world.commit(1), world.commit(2)], []),
        ([(world.bills, by, 1)], [], [world.ack(0), world.ack(1)]),
        ([], [], []),
    ):
        with pytest.raises(BadRequest):
            atomic(*parts, offsets=offsets, acks=acks)


def test_what_was_read_may_come_to_nothing(world: World) -> None:
    """Then there is no batch; and what is read may be a member's in several generations."""
    made = world(atomic(offsets=[world.commit(1)], acks=[world.ack(0)]))
    assert isinstance(made, TransactionCommitted)
    assert made.parts == ()
    assert world.facts == (0, 0, 1, 2)
    assert world(atomic(offsets=[world.commit(1)], acks=[world.ack(0)])) != made, "done anew"
    assert world.facts == (0, 0, 1, 2)
    other = CommitOffsets(BILLING, "m", 1, ((world.bills, 0),))
    world(ClaimQueue(BILLING, world.bills, 1, "m"))
    assert isinstance(world(atomic(offsets=[world.commit(2), other])), TransactionCommitted)


def test_what_was_read_twice_is_counted_once(world: World) -> None:
    """The member went back while a copy was on its way: it owns the queue, and reads it again.

    Each of the two is good by itself: the same generation, and an offset that does not go back.
    """
    late, again = (
        atomic((world.bills, Producer(P * n, 0, 0), 1), offsets=offsets)
        for n, offsets in (
            (1, [world.read(-1, 1)]),
            (2, [world.read(-1, 1)]),
        )
    )
    assert isinstance(world(late), TransactionCommitted)
    assert world.refused(again) is Fenced
    more = (world.bills, Producer(P * 2, 0, 0), 1)
    assert world.refused(atomic(more, offsets=[world.read(-1, 3)])) is Fenced, "one of them was"
    assert world.refused(atomic(more, offsets=[world.read(2, 3)])) is Fenced
    assert isinstance(world(late), TransactionCommitted), "it is known, whatever is committed"
    assert isinstance(world(atomic(more, offsets=[world.read(1, 3)])), TransactionCommitted)
    assert world.facts[:3] == (2, 0, 3)


def test_a_seek_to_where_it_was_read_from_lets_no_late_copy_in(world: World) -> None:
    """What is committed is the same again; the generation is not."""
    assert isinstance(world(world.commit(1)), OffsetsCommitted)
    late = atomic((world.bills, Producer(P, 0, 0), 1), offsets=[world.read(1, 2)])
    world(world.commit(4))
    assert isinstance(world(SeekGroup(BILLING, ((world.orders, 1),))), GroupSought)
    assert world.refused(late) is Fenced
    world(ClaimQueue(BILLING, world.orders, 2, "m"))
    assert world.refused(late) is Fenced
    first = (world.bills, Producer(P, 0, 0), 1)
    made = world(atomic(first, offsets=[world.read(1, 2, generation=2)]))
    assert isinstance(made, TransactionCommitted)


def test_some_offsets_say_from_where_they_were_read_and_some_do_not(world: World) -> None:
    """One that does not may only not go back; all hold, or none."""
    world(ClaimQueue(BILLING, world.ledger, 1, "m"))
    world(append(batch_of(*[b"v"] * 3), world.ledger))
    assert isinstance(world(world.commit(2)), OffsetsCommitted)
    pairs = ((world.orders, 2), (world.ledger, 1))
    both = CommitOffsets(BILLING, "m", 1, pairs, 0, (None, 0))
    assert world.refused(both) is Fenced
    assert isinstance(
        world(CommitOffsets(BILLING, "m", 1, pairs, 0, (None, -1))), OffsetsCommitted
    )


def test_a_message_is_finished_once_by_what_is_made_of_it(world: World) -> None:
    """A's commit is late; B has finished the message, and nobody remembers that it was B.

    As an acknowledgement of its own A's is told "so it is": here what A made would count, too.
    """
    bills = (world.bills, Producer(P, 0, 0), 1)
    world.log_time_ms += 30_000
    assert isinstance(world(ReceiveMessages(WORK, 8, 1)), Leased)
    by_b = (world.bills, Producer(2 * P, 0, 0), 1)
    assert isinstance(world(atomic(by_b, acks=[world.ack(0, handle=8)])), TransactionCommitted)
    assert world.refused(atomic(bills, acks=[world.ack(0)])) is StaleLease
    world.log_time_ms += FINISHERS_KNOWN_MS
    world(PassTime())
    assert not len(world.machine.leasing.finishers.table)
    assert world(world.ack(0)) == Settled(), "nobody knows better"
    for acks in ([world.ack(0)], [world.ack(0, handle=8)]):
        assert world.refused(atomic(bills, acks=acks)) is StaleLease
    assert world.facts[0] == 1


def test_a_message_that_was_acknowledged_is_not_in_a_transaction_with_batches(
    world: World,
) -> None:
    """It was finished at its first lease, of which there is no row: once, also some of many."""
    bills = (world.bills, Producer(P, 0, 0), 1)
    assert world(world.ack(0)) == Settled()
    assert world.refused(atomic(bills, acks=[world.ack(0)])) is StaleLease
    assert world.refused(atomic(bills, acks=[world.ack(0, 1)])) is StaleLease
    assert isinstance(world(atomic(acks=[world.ack(0)])), TransactionCommitted), "harmless"
    assert isinstance(world(atomic(bills, acks=[world.ack(1)])), TransactionCommitted)
    assert world.facts[0] == 1


def test_the_acks_of_every_group_are_looked_at_before_any_is_done(world: World) -> None:
    """The first one's lease is good, the second one's is not: nothing was settled."""
    world(OpenQueueGroup("audit", ("orders",), QueueGroupChanges()))
    assert isinstance(world(ReceiveMessages("audit", 9, 3)), Leased)
    bills = (world.bills, Producer(P, 0, 0), 1)
    stale = AckMessages("audit", ((8, world.orders, (0,)),))
    assert world.refused(atomic(bills, acks=[world.ack(0), stale])) is StaleLease
    good = AckMessages("audit", ((9, world.orders, (0,)),))
    assert isinstance(world(atomic(bills, acks=[world.ack(0), good])), TransactionCommitted)


def test_groups_are_counted_and_not_the_generations_of_their_queues(world: World) -> None:
    """A member of a sticky group has claimed each of its queues in another generation."""
    queues = world.topic("wide", TRANSACTION_GROUPS_MAX + 1)
    commits = []
    for generation, queue in enumerate(queues, start=1):
        world(ClaimQueue(BILLING, queue, generation, "m"))
        commits.append(CommitOffsets(BILLING, "m", generation, ((queue, 0),)))
    assert isinstance(world(atomic(offsets=commits)), TransactionCommitted)
    many = [
        CommitOffsets(f"g{number}", "m", 1, ((world.orders, 0),))
        for number in range(TRANSACTION_GROUPS_MAX + 1)
    ]
    with pytest.raises(BadRequest, match="more groups than"):
        atomic(offsets=many)


def test_bytes_that_are_no_transaction_are_refused(world: World) -> None:
    """Cut off anywhere, or with something behind it."""
    whole = b"".join(bytes(part) for part in world.made().parts)
    for size in range(len(whole)):
        cut = Command(CommandType.COMMIT_TRANSACTION, (whole[:size],))
        assert world.refused(cut) in {BadRequest, BadBatch}
    more = Command(CommandType.COMMIT_TRANSACTION, (whole, b"x"))
    assert world.refused(more) is BadBatch
    assert isinstance(world(world.made()), TransactionCommitted)


def test_a_head_is_read_as_it_was_written(world: World) -> None:
    """Bounds included: what apply would not read is not proposed."""
    body = b"before" + b"".join(bytes(part) for part in world.made().parts)
    place = CommandPlace(world.machine.applied, TERM, 0, len(b"before"))
    head, batches = read_transaction(body, place, len(body) - len(b"before"))
    assert head.offsets == (world.commit(1),)
    assert head.acks == (world.ack(0),)
    assert [batch.length for batch in batches] == [length for _, length in head.parts]
    with pytest.raises(BadRequest):
        transaction_parts(TransactionHead(((1 << 40, 5),)), [b"12345"])

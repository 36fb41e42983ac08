"""Staged batches: hidden until their commit names them, visible at its index; or they go."""

from collections.abc import Sequence

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    Fenced,
    LimitReached,
    NotPermitted,
    OutOfOrder,
    TransactionExpired,
    TransactionTooLarge,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import STAGED_MS_MAX
from raftlog.broker import index, staging
from raftlog.broker.atomic_commands import GONE, TransactionCommitted
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.delays import Delay
from raftlog.broker.index import RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.origins import Origin, brought_at
from raftlog.broker.producers import FenceProducer, ProducerFenced
from raftlog.broker.relocations import Moving, Relocated, relocate_command
from raftlog.broker.staging import BatchStaged
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, DeleteTopic, MoveStart, TopicChanges
from raftlog.broker.transactors import InitTransactor, TransactorBegun
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from raftlog.wire.batch import ANONYMOUS, Producer
from tests.broker.logs import Shard, atomic, delayed, half, sent, staged, stored_at
from tests.broker.test_due import cut

P, Q = 7 << 16, 8 << 16
"""Producers."""


class World(Shard):
    """Two topics of one queue each, and what is staged for them."""

    def __init__(self, level: int | None = None) -> None:
        super().__init__(level)
        (self.bills,) = self.topic("bills")
        (self.ledger,) = self.topic("ledger")

    def end(self, queue: int) -> int:
        return self.machine.queues.find(queue).end_offset

    def stage(self, queue: int, sequence: int, count: int = 1, by: int = P) -> BatchStaged:
        made = self(staged(queue, Producer(by, 0, sequence), count))
        assert isinstance(made, BatchStaged), made
        check(self.machine)
        return made

    def staged_rows(self) -> int:
        check(self.machine)
        return len(self.machine.state.staging)

    def at(self, log_time_ms: int) -> None:
        self.log_time_ms = log_time_ms
        self(PassTime())
        check(self.machine)


@pytest.fixture
def world() -> World:
    return World()


def commit(queue: int, sequence: int, ids: Sequence[int], by: int = P, epoch: int = 0) -> Command:
    """A transaction of one queue whose last batch has one record."""
    return atomic(
        (queue, Producer(by, epoch, sequence), 1), staged=[(queue, each) for each in ids]
    )


def two_queues(world: World) -> tuple[list[BatchStaged], Command]:
    """Stage two batches for one queue and one for the other; return them and their commit."""
    made = [
        world.stage(world.bills, 0, 3),
        world.stage(world.ledger, 0),
        world.stage(world.bills, 3),
    ]
    return made, atomic(
        *((world.bills, Producer(P, 0, 4), 2), (world.ledger, Producer(P, 0, 1), 1)),
        staged=[(world.bills, made[0].id), (world.ledger, made[1].id), (world.bills, made[2].id)],
    )


def test_all_of_it_becomes_visible_at_the_index_of_the_commit(world: World) -> None:
    """Nothing before; then offsets without a gap, in the order of the sends."""
    world(sent(world.bills, Q, 0))
    made, last = two_queues(world)
    assert (world.end(world.bills), world.end(world.ledger)) == (1, 0)
    stored = world(last)
    assert isinstance(stored, TransactionCommitted)
    assert [(part.base_offset, part.count) for part in stored.parts] == [(5, 2), (1, 1)]
    assert (stored.index, stored.duplicate) == (world.machine.applied, False)
    assert (world.end(world.bills), world.end(world.ledger)) == (7, 2)
    postings = world.machine.open_postings(world.bills)
    assert postings is not None
    assert [(postings[at].base_offset, postings[at].index) for at in range(4)] == [
        *((0, 3), (1, made[0].index), (4, made[2].index), (5, stored.index))
    ]
    assert world.staged_rows() == 0


def test_copies_are_known_before_and_after_the_commit(world: World) -> None:
    """By their sequences: of a stage command and of the commit, whichever comes late."""
    made, last = two_queues(world)
    first = BatchStaged(made[0].id, 3, made[0].term, made[0].index, duplicate=True)
    again = staged(world.bills, Producer(P, 0, 0), 3)
    assert world(again) == first
    stored = world(last)
    assert isinstance(stored, TransactionCommitted)
    assert world(again) == first
    assert world(last) == TransactionCommitted(
        *(stored.parts, stored.term, stored.index), duplicate=True
    )
    assert (world.end(world.bills), world.end(world.ledger)) == (6, 2)
    assert world.staged_rows() == 0
    other = commit(world.bills, 6, [each.id for each in (made[0], made[2])])
    assert world.refusal(other) is TransactionExpired


def test_what_no_commit_has_named_is_dropped_when_its_time_is_over(world: World) -> None:
    """Not a millisecond before; and the commit then does nothing at all."""
    due_ms = world.log_time_ms + STAGED_MS_MAX
    made, last = two_queues(world)
    world.at(due_ms - 1)
    assert world.staged_rows() == 3
    assert world.machine.next_due_ms == due_ms, "the leader must see to it"
    world.at(due_ms)
    assert world.staged_rows() == 0
    assert world.machine.state.staging.dropped == 3
    assert world.refusal(last) is TransactionExpired
    assert (world.end(world.bills), world.end(world.ledger)) == (0, 0)
    again = world(staged(world.bills, Producer(P, 0, 0), 3))
    assert isinstance(again, BatchStaged)
    assert (again.id, again.duplicate) == (made[0].id, True)
    assert world.staged_rows() == 0


def test_a_commit_at_the_last_millisecond_holds_and_one_at_the_next_does_not(world: World) -> None:
    """What is due is done before the entry's own commands."""
    due_ms = world.log_time_ms + STAGED_MS_MAX
    one, other = world.stage(world.bills, 0), world.stage(world.bills, 0, by=Q)
    world.log_time_ms = due_ms - 1
    assert isinstance(world(commit(world.bills, 1, [one.id])), TransactionCommitted)
    world.log_time_ms = due_ms
    assert isinstance(world(commit(world.bills, 1, [other.id], Q)), TransactionExpired)
    world.at(due_ms + 1)
    assert world.end(world.bills) == 2


def test_one_part_that_is_missing_refuses_all(world: World) -> None:
    """Whatever of the rest is there stays staged, and goes by time."""
    due_ms = world.log_time_ms + STAGED_MS_MAX
    early = world.stage(world.bills, 0)
    world.log_time_ms += 1
    late = world.stage(world.ledger, 0)
    world.at(due_ms)
    both = atomic(
        *((world.bills, Producer(P, 0, 1), 1), (world.ledger, Producer(P, 0, 1), 1)),
        staged=[(world.bills, early.id), (world.ledger, late.id)],
    )
    assert world.refusal(both) is TransactionExpired
    assert world.staged_rows() == 1
    assert isinstance(world(commit(world.ledger, 1, [late.id])), TransactionCommitted)


def test_only_what_its_own_producer_has_staged_last_is_committed(world: World) -> None:
    """Nobody's else, nothing of another queue, not in another order, and nothing left out."""
    one, two, three = (world.stage(world.bills, sequence) for sequence in range(3))
    foreign = world.stage(world.bills, 0, by=Q)
    elsewhere = world.stage(world.ledger, 0)
    for ids in (
        [foreign.id],
        [one.id, two.id, foreign.id],
        [elsewhere.id],
        [one.id, three.id],
        [one.id, two.id],
        [9 << 16],
    ):
        assert world.refusal(commit(world.bills, 3, ids)) is TransactionExpired
    assert world.refusal(commit(world.bills, 0, [one.id], 9 << 16)) is TransactionExpired
    assert isinstance(
        world(commit(world.bills, 3, [one.id, two.id, three.id])), TransactionCommitted
    )


def test_what_others_hold_is_not_committed(world: World) -> None:
    """A delayed batch and a half message are hidden, too, and are no parts of a transaction."""
    later = world(delayed(Delay(5_000, relative=True), world.bills, by=Producer(P, 0, 0)))
    begun = world(InitTransactor("t", "g"))
    assert isinstance(begun, TransactorBegun)
    opened = world(half(begun.id, 1, begun.epoch, world.bills))
    for made in (later, opened):
        assert world.refusal(commit(world.bills, 1, [made.id])) is TransactionExpired  # type: ignore[attr-defined]
    assert world.refusal(staged(world.bills, Producer(P, 0, 0))) is BadBatch
    world.stage(world.bills, 1)
    again = delayed(Delay(5_000, relative=True), world.bills, by=Producer(P, 0, 1))
    assert world.refusal(again) is BadBatch


def test_a_fence_ends_what_was_staged_before_it(world: World) -> None:
    """It tells that the commit has not come; its late copy is refused, and the rows go by time."""
    due_ms = world.log_time_ms + STAGED_MS_MAX
    made = world.stage(world.bills, 0, 2)
    fenced = world(FenceProducer(world.bills, P, 1))
    assert isinstance(fenced, ProducerFenced)
    assert (fenced.next_sequence, fenced.remembered[0].hidden_id) == (2, made.id)
    assert world.refusal(commit(world.bills, 2, [made.id])) is Fenced
    assert world.refusal(staged(world.bills, Producer(P, 0, 2))) is Fenced
    assert world.refusal(commit(world.bills, 0, [made.id], epoch=1)) is TransactionExpired
    world.at(due_ms)
    assert (world.staged_rows(), world.end(world.bills)) == (0, 0)


def test_a_stage_command_is_refused_as_an_append_is(world: World) -> None:
    """And takes no sequence for it."""
    by = Producer(P, 0, 0)
    assert world.refusal(staged(world.bills, ANONYMOUS)) is BadBatch
    assert world.refusal(staged(99, by)) is WrongQueue
    assert world.refusal(staged(world.bills, Producer(P, 0, 1))) is UnknownProducer
    world(sent(world.bills, P, 0))
    assert world.refusal(staged(world.bills, by)) is BadBatch
    assert world.refusal(staged(world.bills, Producer(P, 0, 2))) is OutOfOrder
    for noise in (b"", b"\x01\x00", b"\x01\x00\x00\x00", b"\x01\x00\x00\x00 no batch"):
        assert world.refusal(Command(CommandType.STAGE_BATCH, (noise,))) is BadBatch
    world(AlterTopic("bills", TopicChanges(writable=False)))
    assert world.refusal(staged(world.bills, Producer(P, 0, 1))) is NotPermitted


def test_so_many_and_not_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound for every table (18)."""
    monkeypatch.setattr(staging, "STAGED_ROWS_MAX", 2)
    ids = [world.stage(world.bills, sequence).id for sequence in range(2)]
    assert world.refusal(staged(world.bills, Producer(P, 0, 2))) is LimitReached
    assert isinstance(world(commit(world.bills, 2, ids)), TransactionCommitted)
    world.stage(world.bills, 3)


def test_a_topic_that_was_deleted_takes_what_was_staged_with_it(world: World) -> None:
    """Before the commit it is refused whole; after it the rest is answered."""
    _, last = two_queues(world)
    world(DeleteTopic("ledger"))
    assert isinstance(world(last), WrongQueue)
    world.at(world.log_time_ms + 1)
    assert world.staged_rows() == 2, "those of the closed queue have gone"
    world.at(world.log_time_ms + STAGED_MS_MAX)
    assert (world.staged_rows(), world.end(world.bills)) == (0, 0)


def test_a_topic_that_was_deleted_after_the_commit(world: World) -> None:
    """A copy is told so, as of any transaction."""
    _, last = two_queues(world)
    world(last)
    world(DeleteTopic("ledger"))
    again = world(last)
    assert isinstance(again, TransactionCommitted)
    assert [part.base_offset for part in again.parts] == [4, GONE]


def test_the_queue_of_a_staged_batch_may_be_deleted_when_its_time_is_over(world: World) -> None:
    """At the same log time: whoever is first, it goes once."""
    world.stage(world.ledger, 0)
    world(DeleteTopic("ledger"))
    world.at(world.log_time_ms + STAGED_MS_MAX)
    assert world.staged_rows() == 0


def test_a_head_that_names_what_it_may_not_is_none(world: World) -> None:
    """It is refused before it is proposed."""
    made = world.stage(world.bills, 0)
    by = Producer(P, 0, 1)
    for names in (
        [(world.ledger, made.id)],
        [(world.bills, made.id), (world.bills, made.id)],
        [(world.bills, made.id + 1), (world.bills, made.id)],
        [(world.bills, 0)],
        [(world.bills, each) for each in range(1, 2_002)],
    ):
        with pytest.raises(BadRequest):
            atomic((world.bills, by, 1), staged=names)
    with pytest.raises(BadRequest, match="missing"):
        atomic((world.ledger, Producer(P, 0, 0), 1), staged=[(world.bills, made.id)])


def test_below_level_4_nothing_is_staged() -> None:
    """An older member stops at such a command; a leader of any version must not bring it in."""
    world = World(3)
    assert world.refusal(staged(world.bills, Producer(P, 0, 0))) is TransactionTooLarge
    named = commit(world.bills, 0, [5 << 16])
    assert world.refusal(named) is TransactionTooLarge
    world.level = 4
    made = world.stage(world.bills, 0)
    assert isinstance(world(commit(world.bills, 1, [made.id])), TransactionCommitted)


def test_a_transaction_without_staged_batches_has_the_bytes_of_level_3(world: World) -> None:
    """An array of three: a member of level 3 takes no fourth."""
    _, head, _ = atomic((world.bills, Producer(P, 0, 0), 1)).parts
    assert bytes(head)[0] == 0x93
    _, head, _ = commit(world.bills, 0, [5 << 16]).parts
    assert bytes(head)[0] == 0x94
    empty = Command(CommandType.COMMIT_TRANSACTION, (b"\x05\x00\x00\x00", b"\x94\x90\x90\x90\x90"))
    assert world.refusal(empty) is BadRequest


def test_a_replica_that_was_restored_in_the_middle_decides_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a snapshot between staging and commit: who is committed, and who goes when."""
    made, last = two_queues(world)
    world.log_time_ms += 500
    world.stage(world.bills, 0, by=Q)
    late = cut(world, monkeypatch)
    check(late)
    assert len(late.state.staging) == 4
    begun = len(world.entries)
    assert isinstance(world(last), TransactionCommitted)
    world.at(world.log_time_ms + STAGED_MS_MAX - 1)
    world.at(world.log_time_ms + 1)
    world(staged(world.bills, Producer(P, 0, 0), 3))
    replay = world.machine.digest()
    for entry in world.entries[begun:]:
        late.apply(entry)
    assert late.digest() == replay
    assert (world.staged_rows(), len(late.state.staging)) == (0, 0)
    assert made[0].id


def test_the_log_is_not_trimmed_below_what_is_staged_unless_it_was_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit names it as before, and it is read from the copy."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
    made, last = two_queues(world)
    for sequence in range(2):
        world(sent(world.bills, Q, sequence))
    end = world.machine.ranges[0].last_index
    assert end >= made[1].index
    world(MoveStart(world.bills, 2))
    refused = world(Trim(end))
    assert isinstance(refused, TrimRefused), refused
    rows = [row for row in world.machine.state.hidden.table.rows.values() if row.index <= end]
    moving = [Moving(row.key, row.index, row.position, row.length) for row in rows]
    copies = relocate_command(moving, [bytes(each.length) for each in moving])
    assert world(copies) == Relocated(len(rows))
    copied = world.machine.applied
    assert world(Trim(end)) == LogTrimmed(end)
    check(world.machine)
    stored = world(last)
    assert isinstance(stored, TransactionCommitted), stored
    assert [part.base_offset for part in stored.parts] == [6, 1]
    for queue, offset in ((world.bills, 2), (world.ledger, 0)):
        postings = world.machine.find(queue, Offset(offset))
        assert not isinstance(postings, RangeSummary)
        assert postings[postings.find(Offset(offset))].index == copied
    check(world.machine)


def test_what_was_staged_is_of_a_transaction(world: World) -> None:
    """For who asks how a message came into the log."""
    world.stage(world.bills, 0)
    row = next(iter(world.machine.state.hidden.table.rows.values()))
    body = world.entries[-1].body
    assert brought_at(body, row.index, row.position).origin is Origin.ATOMIC


def test_a_plain_append_goes_on_behind_what_was_staged(world: World) -> None:
    """The sequence is one; what lies behind the staged batches shuts their commit out."""
    made = world.stage(world.bills, 0)
    assert world(sent(world.bills, P, 1)) == stored_at(0, 1, len(world.entries))
    assert world.refusal(commit(world.bills, 2, [made.id])) is TransactionExpired

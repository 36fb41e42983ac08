"""Atomic transactions in the machine: every check before every change, a copy like the first."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    Fenced,
    GroupNotFound,
    NotPermitted,
    OffsetGoesBack,
    OffsetOutOfRange,
    OutOfOrder,
    RaftlogError,
    StaleLease,
    UnknownMember,
    UnknownProducer,
    WrongQueue,
)
from raftlog.broker.atomic import AtomicCommitted, AtomicHead, atomic_parts, read_atomic
from raftlog.broker.claims import ClaimQueue, CommitOffsets
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.delays import Delay
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import AckMessages, ReturnMessages
from raftlog.broker.producers import FenceProducer, ProducerFenced
from raftlog.broker.topics import AlterTopic, DeleteTopic, TopicChanges
from raftlog.wire.batch import Producer, encode_columns
from tests.broker.leases import GROUP, A, Queue, held
from tests.broker.logs import delayed, sent
from tests.broker.test_groups import join

P = 7


class World(Queue):
    """Two queues to write to, messages to acknowledge, and a queue that a member has claimed."""

    def __init__(self) -> None:
        super().__init__()
        self.out = self.topic("out", queues=2)
        (self.read,) = self.topic("read", queues=1)
        self(sent(self.read, 99, 0, 10))
        self(join("m", "read"))
        self(ClaimQueue("g", self.read, 1, "m"))
        self.lease(A, 2)

    def batch(
        self, place: int, sequence: int, count: int = 2, *, epoch: int = 0
    ) -> tuple[int, bytes]:
        by = Producer(P, epoch, sequence, 0)
        return self.out[place], encode_columns([b"v"] * count, timestamp_ms=5, producer=by)

    def offsets(self, offset: int, *, generation: int = 1, member: str = "m") -> CommitOffsets:
        return CommitOffsets("g", member, generation, ((self.read, offset),))

    @property
    def committed(self) -> int | None:
        claim = self.machine.claims.get("g", self.read)
        assert claim is not None
        return claim.committed

    @property
    def ends(self) -> list[int]:
        return [self.machine.queues.find(number).end_offset for number in self.out]


def command(
    *batches: tuple[int, bytes],
    offsets: tuple[CommitOffsets, ...] = (),
    acks: tuple[AckMessages, ...] = (),
) -> Command:
    """A transaction."""
    head = AtomicHead(tuple((queue, len(data)) for queue, data in batches), offsets, acks)
    parts = atomic_parts(head, b"".join(data for _, data in batches))
    return Command(CommandType.COMMIT_TRANSACTION, parts)


ACK = AckMessages(GROUP, held(A, 0, 1))


def test_all_of_it_happens_in_one_entry() -> None:
    """Offsets of records, of the group, and what is in flight."""
    world = World()
    done = world(
        command(
            *(world.batch(0, 0), world.batch(1, 0, 3)),
            offsets=(world.offsets(4),),
            acks=(ACK,),
        )
    )
    at = len(world.entries)
    parts = ((world.out[0], 0, 2), (world.out[1], 0, 3))
    assert done == AtomicCommitted(parts, world.term, at)
    assert (world.ends, world.committed) == ([2, 3], 4)
    assert not world.machine.leasing.flights.table.rows
    check(world.machine)


def test_a_copy_gets_the_first_outcome_whatever_moved_on() -> None:
    """The group has another generation, the leases are over, the topic is closed."""
    world = World()
    first = command(
        *(world.batch(0, 0), world.batch(1, 0)), offsets=(world.offsets(4),), acks=(ACK,)
    )
    done = world(first)
    assert isinstance(done, AtomicCommitted)
    world(join("other", "read"))
    world(AlterTopic("out", TopicChanges(writable=False)))
    again = world(first)
    assert again == AtomicCommitted(done.parts, done.term, done.index, duplicate=True)
    assert (world.ends, world.committed) == ([2, 2], 4)
    check(world.machine)


def test_what_has_no_batches_may_be_repeated() -> None:
    """Offsets never go back, and the last holder acknowledges again."""
    world = World()
    for _ in range(2):
        done = world(command(offsets=(world.offsets(4),), acks=(ACK,)))
        assert isinstance(done, AtomicCommitted), done
    assert world.committed == 4


def refused(world: World) -> list[tuple[type[RaftlogError], Command]]:
    """Return transactions of which one part is bad, and how each is refused."""
    good = world.batch(0, 0)
    fine = (world.offsets(4),)
    nobody = encode_columns([b"v"], timestamp_ms=5)
    return [
        (WrongQueue, command(good, (99, world.batch(1, 0)[1]), offsets=fine, acks=(ACK,))),
        (BadBatch, command(good, (world.out[1], nobody), offsets=fine, acks=(ACK,))),
        (UnknownProducer, command(good, world.batch(1, 3), offsets=fine, acks=(ACK,))),
        (UnknownProducer, command(world.batch(1, 3), good, offsets=fine, acks=(ACK,))),
        (Fenced, command(good, offsets=(world.offsets(4, generation=0),), acks=(ACK,))),
        (Fenced, command(good, offsets=(world.offsets(4, member="x"),), acks=(ACK,))),
        (UnknownMember, command(good, offsets=(world.offsets(4, generation=2),), acks=(ACK,))),
        (OffsetOutOfRange, command(good, offsets=(world.offsets(11),), acks=(ACK,))),
        (StaleLease, command(good, offsets=fine, acks=(AckMessages(GROUP, held(A, 0, 2)),))),
        (StaleLease, command(good, offsets=fine, acks=(AckMessages(GROUP, held(12, 0)),))),
        (GroupNotFound, command(good, offsets=fine, acks=(AckMessages("x", held(A, 0)),))),
    ]


@pytest.mark.parametrize("number", range(11))
def test_one_bad_part_leaves_everything_as_it_was(number: int) -> None:
    """Whichever it is, and in whichever place."""
    world = World()
    error, bad = refused(world)[number]
    assert len(refused(world)) == 11
    assert world.refusal(bad) is error
    assert (world.ends, world.committed) == ([0, 0], None)


def test_a_closed_topic_and_offsets_that_go_back_are_refused() -> None:
    """With everything else of the transaction."""
    world = World()
    world(world.offsets(4))
    assert world.refusal(command(world.batch(0, 0), offsets=(world.offsets(3),))) is OffsetGoesBack
    world(AlterTopic("out", TopicChanges(writable=False)))
    assert world.refusal(command(world.batch(0, 0), offsets=(world.offsets(5),))) is NotPermitted
    world(DeleteTopic("out"))
    assert world.refusal(command(world.batch(0, 0), offsets=(world.offsets(5),))) is WrongQueue


def test_a_fence_of_one_queue_shuts_the_door_for_all_of_it() -> None:
    """What ``resolve`` relies on: a late copy is refused as a whole."""
    world = World()
    late = command(*(world.batch(0, 0), world.batch(1, 0)), offsets=(world.offsets(4),))
    fenced = world(FenceProducer(world.out[1], P, 1))
    assert isinstance(fenced, ProducerFenced)
    assert fenced.next_sequence == 0
    assert world.refusal(late) is Fenced


def test_parts_of_something_else_are_no_copy() -> None:
    """One sequence was used by an append, or by a hidden batch, or both by two transactions."""
    world = World()
    world(sent(world.out[0], P, 0, 2))
    assert world.refusal(command(world.batch(0, 0), world.batch(1, 0))) is BadBatch
    world(command(world.batch(1, 0)))
    assert world.refusal(command(world.batch(0, 0), world.batch(1, 0))) is BadBatch
    assert world.refusal(command(world.batch(0, 9))) is OutOfOrder
    other = World()
    other(delayed(Delay(5_000, relative=True), other.out[0], by=Producer(P)))
    assert other.refusal(command(other.batch(0, 0, 1))) is BadBatch


def test_the_form_is_checked_before_it_is_in_the_log() -> None:
    """And once more by whoever applies it."""
    world = World()
    with pytest.raises(BadRequest, match="nothing"):
        command()
    with pytest.raises(BadRequest, match="twice"):
        command(world.batch(0, 0), world.batch(0, 2))
    with pytest.raises(BadRequest, match="twice"):
        command(offsets=(world.offsets(1), world.offsets(2)))
    with pytest.raises(BadRequest, match="twice"):
        command(acks=(ACK, ACK))
    whole = b"".join(bytes(part) for part in command(world.batch(0, 0)).parts)
    for length in range(len(whole)):
        with pytest.raises((BadRequest, BadBatch)):
            read_atomic(whole, 0, length)
    cut = Command(CommandType.COMMIT_TRANSACTION, (whole[:-1],))
    assert world.refusal(cut) is BadBatch


def test_an_acknowledgement_after_the_message_came_back_is_refused() -> None:
    """It may be somebody else's next."""
    world = World()
    world(ReturnMessages(GROUP, held(A, 0)))
    assert world.refusal(command(world.batch(0, 0), acks=(ACK,))) is StaleLease

"""Receiving: who waits is served in turn, as soon as there is something, and never twice."""

from collections.abc import Sequence
from itertools import takewhile

import pytest

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadRequest,
    CodecUnavailable,
    FaultyEntry,
    GroupNotFound,
    NotLeader,
    RaftlogError,
    Throttled,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import REPAIR_WAIT_NS_MAX
from raftlog.broker.codec import CommandValue
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import AckMessages, ReceiveMessages, Settled
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.queue_subscriptions import By, SubscribeQueueGroup
from raftlog.broker.topics import TopicChanges
from raftlog.service import fifo_keys, receiving
from raftlog.service.burying import Burying, Fact
from raftlog.service.filtering import FilterService
from raftlog.service.leases import LeaseService, QueueGroupState
from raftlog.service.ports import OnBodies
from raftlog.service.proposing import propose, propose_unheard
from raftlog.service.read import ReadRequest, ReadResult
from raftlog.service.receive_lines import Receive, Received
from raftlog.service.receiving import ReceiveService, Receiving
from raftlog.service.unread import UnreadTimes
from raftlog.storage.span import Place
from raftlog.wire.batch import Batch, encode_columns
from raftlog.wire.record_table import key_hash
from tests.service.fakes import FakeReader
from tests.service.test_read import FakeBodies, FakeRanges
from tests.service.test_read import World as ReadWorld

SECOND = 1_000_000_000
GROUP = "work"
A, B, C = 11, 12, 13


class World(ReadWorld):
    """A topic of one queue, a group over it, and a leader."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        self.reader = FakeReader()
        self.receiving = ReceiveService(
            self.service, self.reader, FilterService(self.service, self.reader)
        )
        self.burying = Burying(self.service, self.reader)
        self.leases = LeaseService(
            *(self.replica, self.replica.machine),
            *(UnreadTimes(self.replica.machine, FakeRanges()), self.scheduler.wall_ms),
        )
        self.told: dict[int, list[Received | RaftlogError]] = {}
        self.settled: list[Settled | RaftlogError] = []
        self.open(**changes)

    def open(self, **changes: object) -> QueueGroupState | RaftlogError:
        told: list[QueueGroupState | RaftlogError] = []
        made = QueueGroupChanges(**changes)  # type: ignore[arg-type]
        command = SubscribeQueueGroup(GROUP, ("first",), made, by=By.CHANGE)
        self.leases.open(lambda: command, told.append)
        if self.replica.proposed:
            self.replica.commit()
        return told[0]

    def send(self, *values: bytes, keys: list[bytes | None] | None = None) -> None:
        self.store(encode_columns(values, keys, timestamp_ms=5))

    def receive(self, handle: int, count: int = 1, *, wait_s: float = 5.0) -> Receiving:
        answers = self.told.setdefault(handle, [])
        request = Receive(GROUP, handle, count, int(wait_s * SECOND))
        return self.receiving.receive(request, answers.append)

    def turn(self) -> None:
        """Let everything happen that is under way."""
        for _ in range(9):
            if self.replica.proposed:
                self.replica.commit()
            self.reader.run()
            self.bodies.answer()
            while self.scheduler.soon:
                self.scheduler.soon.pop(0)()
        check(self.replica.machine)

    def offsets(self, handle: int) -> list[int]:
        """Return what was received under a handle; its record's value is its offset."""
        (answer,) = self.told.pop(handle)
        assert isinstance(answer, Received), answer
        found = []
        for leased in answer.gathered.batches:
            records = list(Batch(leased.batch).records())
            if not leased.picked:
                records = [records[number] for number in leased.numbers]
            offsets = [leased.base_offset + number for number in leased.numbers]
            assert [record.value for record in records] == [b"%d" % at for at in offsets]
            found += offsets
        return found

    def ack(self, handle: int, *offsets: int) -> None:
        propose(
            self.replica,
            lambda: AckMessages(GROUP, ((handle, self.queue, offsets),)),
            Settled,
            self.settled.append,
        )
        self.turn()

    def give_back(self, handle: int, *offsets: int) -> None:
        """The attempts failed; they are leased again at once."""
        names = ((handle, self.queue, offsets),)
        self.leases.give_back(GROUP, names, self.settled.append, how=0, delay_ms=0)
        self.turn()

    def readable(self, is_readable: bool) -> None:  # noqa: FBT001  (a switch)
        """Let the topic be read, or not."""
        self.topics.alter("first", TopicChanges(readable=is_readable), lambda _: None)
        self.replica.commit()

    def commit(self, command: CommandValue) -> None:
        """An entry of the leader before is applied; what this one has proposed comes later."""
        proposed, self.replica._proposed = self.replica._proposed, []
        propose_unheard(self.replica, command)
        self.replica.commit()
        self.replica._proposed = [*proposed, *self.replica._proposed]

    def pass_ms(self, ms: int) -> None:
        """Let the clocks go on; no entry comes by itself."""
        self.replica.log_time_ms += ms
        self.scheduler.advance(ms * 1_000_000)


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_there_is_given_at_once(world: World) -> None:
    """With its attempts, and how long the lease is."""
    world.send(b"0", b"1", b"2")
    world.receive(A, 2)
    world.turn()
    (answer,) = world.told[A]
    assert isinstance(answer, Received)
    assert answer.lease_ms == 30_000
    assert [batch.attempts for batch in answer.gathered.batches] == [[1, 1]]
    assert world.offsets(A) == [0, 1]


def test_who_waits_is_woken_by_the_next_message_in_turn(world: World) -> None:
    """One message wakes one of them: each lease is a commit."""
    world.receive(A)
    world.receive(B)
    assert (world.replica.proposed, world.receiving.waiting) == (0, 2)
    world.send(b"0")
    assert (world.replica.proposed, world.receiving.waiting) == (1, 1)
    world.turn()
    assert world.offsets(A) == [0]
    assert world.told[B] == []
    world.send(b"1")
    world.turn()
    assert world.offsets(B) == [1]
    assert (world.receiving.waiting, world.scheduler.armed) == (0, 0)


def test_a_wait_ends_in_time_with_nothing(world: World) -> None:
    """And at once for who does not wait."""
    world.receive(A, wait_s=0)
    assert world.offsets(A) == []
    world.receive(A, wait_s=1)
    world.scheduler.advance(SECOND)
    assert world.offsets(A) == []
    assert (world.receiving.waiting, world.scheduler.armed) == (0, 0)


def test_a_retry_is_received_when_its_time_has_come(world: World) -> None:
    """Although no entry comes then."""
    world.open(retry_ms=(700,))
    world.send(b"0")
    world.receive(A)
    world.turn()
    world.leases.give_back(
        GROUP, ((A, world.queue, (0,)),), world.settled.append, how=0, reason="no"
    )
    world.turn()
    world.receive(B)
    world.pass_ms(600)
    assert world.replica.proposed == 0
    world.pass_ms(101)
    world.turn()
    assert world.offsets(B) == [0]


def test_who_got_nothing_waits_on_and_first(world: World) -> None:
    """The log's clock may be a little behind ours."""
    world.open(retry_ms=(700,))
    world.send(b"0")
    world.receive(A)
    world.turn()
    world.leases.give_back(GROUP, ((A, world.queue, (0,)),), world.settled.append, how=0)
    world.turn()
    world.receive(B)
    world.receive(C)
    world.scheduler.advance(700_000_000)
    world.replica.log_time_ms += 698
    world.replica.commit()
    assert world.told[B] == []
    assert world.replica.proposed == 0, "it does not ask again and again"
    world.pass_ms(2)
    world.turn()
    assert world.offsets(B) == [0]
    assert world.told[C] == []


def test_asked_again_with_its_handle_it_gets_the_same(world: World) -> None:
    """Also while the first request is under way; that one is never answered."""
    world.send(b"0", b"1", b"2")
    world.receive(A, 2)
    world.told.clear()
    world.receive(A, 2)
    world.turn()
    assert world.offsets(A) == [0, 1]
    world.receive(A, 2)
    world.turn()
    assert world.offsets(A) == [0, 1]


def test_what_is_leased_for_nobody_is_given_back_untried(world: World) -> None:
    """Its consumer has gone before it was answered."""
    world.send(b"0")
    world.receive(A).cancel()
    world.receive(B, wait_s=0)
    world.turn()
    world.receive(C)
    world.turn()
    (answer,) = world.told[C]
    assert isinstance(answer, Received)
    assert [batch.attempts for batch in answer.gathered.batches] == [[1]]
    assert world.told[A] == []


def test_asked_again_it_is_told_how_long_its_leases_last_still(world: World) -> None:
    """It would believe for a whole lease term that they are its own."""
    world.send(b"0")
    world.receive(A)
    world.turn()
    (first,) = world.told.pop(A)
    world.pass_ms(28_000)
    world.receive(A)
    world.turn()
    (again,) = world.told.pop(A)
    assert isinstance(first, Received)
    assert isinstance(again, Received)
    assert (first.left_ms, again.left_ms, again.lease_ms) == (30_000, 2_000, 30_000)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_request_whose_connection_broke_is_asked_again_while_it_is_under_way(
    world: World, steps: int
) -> None:
    """Its messages are the second one's: they were given back under its hands."""
    world.send(b"0", b"1")
    world.replica.memory_from = 1 << 40  # bodies are read from the file
    first = world.receive(A)
    for _ in range(steps):
        world.replica.commit()
    first.cancel()
    world.receive(A)
    world.turn()
    assert world.offsets(A) == [0]
    world.receive(B)
    world.turn()
    assert world.offsets(B) == [1]
    world.ack(A, 0)
    assert world.settled == [Settled()]


def test_a_request_asked_again_is_not_in_line_behind_others(world: World) -> None:
    """What it asked for first is leased for it already, or will be with the next entry."""
    world.send(b"0")
    world.receive(A).cancel()
    world.receive(B)
    world.receive(A)
    world.turn()
    assert world.offsets(A) == [0]
    assert world.told[B] == []


def test_more_than_an_answer_holds_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the next one's."""
    monkeypatch.setattr("raftlog.service.leased_bodies.READ_BYTES_MAX", 300)
    for at in range(6):
        world.send(b"%d" % at)
    world.receive(A, 6)
    world.turn()
    got = world.offsets(A)
    assert 0 < len(got) < 6
    world.receive(B, 6)
    world.turn()
    assert world.offsets(B)[0] == len(got)


def test_of_a_large_batch_only_what_is_leased_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who takes one message at a time would get all of them with each."""
    monkeypatch.setattr("raftlog.service.leased_bodies.PICKED_FROM_BYTES", 100)
    world.send(*(b"%d" % at for at in range(50)))
    for handle in (A, B):
        world.receive(handle)
        world.turn()
    assert world.receiving.bodies.picked == 2
    (answer,) = world.told[B]
    assert isinstance(answer, Received)
    assert len(answer.gathered.batches[0].batch) < 100
    assert (world.offsets(A), world.offsets(B)) == ([0], [1])


def test_what_was_picked_fits_into_one_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressed batches are small, and what is picked of them is not."""
    monkeypatch.setattr("raftlog.service.leased_bodies.PICKED_FROM_BYTES", 100)
    monkeypatch.setattr("raftlog.service.leased_bodies.READ_BYTES_MAX", 5_000)
    for base in (0, 10):
        values = [b"%d" % (base + at) for at in range(9)]
        world.store(encode_columns([bytes(3_000), *values], timestamp_ms=5, codec="zstd"))
    world.receive(A, 20)
    world.turn()
    world.give_back(A, 0, 10)
    world.receive(B, 2)
    world.turn()
    (answer,) = world.told[B]
    assert isinstance(answer, Received)
    assert [each.base_offset for each in answer.gathered.batches] == [0]
    world.receive(C, 2)
    world.turn()
    (answer,) = world.told[C]
    assert isinstance(answer, Received)
    (leased,) = answer.gathered.batches
    assert (leased.base_offset, leased.attempts) == (10, [2]), "it was not tried meanwhile"


def test_what_cannot_be_read_at_the_moment_is_not_tried(world: World) -> None:
    """Its attempts were used up, and it was a dead letter: its topic is only shut for a while."""
    world.send(b"0", b"1")
    world.receive(A)
    world.turn()
    world.give_back(A, 0)
    world.receive(B, 2)  # it is leased when the topic is shut, and its bodies are not read
    world.readable(False)
    world.turn()
    assert world.offsets(B) == []
    world.receive(C, 2)
    world.turn()
    assert (world.replica.proposed, world.told[C]) == (0, [])
    world.readable(True)
    world.turn()
    (answer,) = world.told[C]
    assert isinstance(answer, Received)
    assert [each.attempts for each in answer.gathered.batches] == [[2, 1]]


def test_order_by_key_is_told_from_the_payload() -> None:
    """A key whose message is out holds back the rest of its own, and nobody else's."""
    world = World(fifo=True)
    world.send(b"0", b"1", b"2", b"3", keys=[b"a", b"a", b"b", None])
    world.receive(A, 10)
    world.receive(B, 10)
    world.turn()
    assert world.offsets(A) == [0, 2, 3]
    assert world.told[B] == []
    world.ack(A, 0)
    world.turn()
    assert world.offsets(B) == [1]


def test_keys_that_cannot_be_told_do_not_hold_back_what_is_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its key is known; what was never leased is another matter, and is told."""
    world = World(fifo=True)
    world.send(b"0", keys=[b"a"])
    world.receive(A)
    world.turn()
    world.give_back(A, 0)

    def fail(*_: object) -> None:
        raise CodecUnavailable("no package")

    monkeypatch.setattr("raftlog.service.fifo_keys._hashes", fail)
    world.send(b"1", keys=[b"a"])
    world.receive(B)
    world.turn()
    assert world.offsets(B) == [0]
    world.receive(B)
    world.turn()
    assert world.offsets(B) == [0], "nor what is asked for again"
    world.receive(C)
    world.turn()
    (answer,) = world.told[C]
    assert isinstance(answer, CodecUnavailable)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Receive(GROUP, 0, 1), BadRequest),
        (Receive(GROUP, A, 0), BadRequest),
        (Receive(GROUP, A, 1, lease_ms=1), BadRequest),
    ],
)
def test_what_is_wrong_is_refused(
    world: World, request_: Receive, expected: type[RaftlogError]
) -> None:
    """At once, and never in the log."""
    answers: list[Received | RaftlogError] = []
    world.receiving.receive(request_, answers.append)
    assert type(answers[0]) is expected
    assert world.replica.proposed == 0


def test_an_unknown_group_is_one_only_when_that_is_certain(world: World) -> None:
    """This leader may not have applied its making."""
    answers: list[Received | RaftlogError] = []
    world.receiving.receive(Receive("none", A, 1, SECOND), answers.append)
    assert answers == []
    world.replica.confirm()
    assert isinstance(answers[0], GroupNotFound)


def test_a_follower_serves_nobody_and_who_waits_is_told(world: World) -> None:
    """Whoever leads now serves them."""
    world.receive(A)
    world.receive(B)
    world.replica.leads = False
    world.receiving.leadership_lost()
    world.receive(C)
    assert all(isinstance(world.told[each][0], NotLeader) for each in (A, B, C))
    assert (world.receiving.waiting, world.scheduler.armed) == (0, 0)


def test_many_that_are_refused_at_once_are_all_told(world: World) -> None:
    """Without one call in another for each of them."""
    for handle in range(1, 2_000):
        world.receive(handle)
    world.replica.refusal = NotLeader(None)
    world.replica.machine.leasing._stir(world.replica.machine.leasing.groups.find(GROUP))
    world.append.append(world.queue, encode_columns([b"v"] * 2_000, timestamp_ms=1), unheard)
    world.replica.refusal = None
    world.send(*[b"v"] * 2_000)
    world.turn()
    assert all(len(answers) == 1 for answers in world.told.values())


def unheard(_outcome: object) -> None:
    """Nobody waits for it."""


def test_a_wait_for_a_group_that_is_full_ends_with_the_cause() -> None:
    """It ended as if there were no messages."""
    world = World(in_flight_max=1)
    world.send(b"0", b"1")
    world.receive(A)
    world.turn()
    world.receive(B, wait_s=1)
    world.receive(C, wait_s=0)
    world.scheduler.advance(SECOND)
    for handle in (B, C):
        (answer,) = world.told[handle]
        assert isinstance(answer, Throttled)
        assert "1 messages in flight (1 leased" in str(answer)
    world.ack(A, 0)
    world.receive(B, wait_s=0)
    world.turn()
    assert isinstance(world.told[B][-1], Received)


def test_too_many_that_wait_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound for every table."""
    monkeypatch.setattr(receiving, "PENDING_READS_MAX", 1)
    world.receive(A)
    world.receive(B)
    assert isinstance(world.told[B][0], Throttled)


def test_a_consumer_that_never_acks_leaves_its_messages_to_others(world: World) -> None:
    """When its lease ends, and as a dead letter when all attempts were such."""
    world.open(attempts_max=2)
    world.burying.begin()
    world.send(b"0")
    for handle in (A, B):
        world.receive(handle)
        world.turn()
        assert world.offsets(handle) == [0]
        world.pass_ms(30_000)
        world.replica.commit()
    world.turn()
    topic = world.replica.machine.topics.find("%DLQ%work")
    found: list[ReadResult | RaftlogError] = []
    world.service.read(ReadRequest(topic.queues[0], Offset(0), 1_000), found.append)
    (read,) = found
    assert isinstance(read, ReadResult)
    (letter,) = Batch(read.batches[0]).records()
    headers = dict(letter.headers)
    assert letter.value == b"0"
    assert (headers[Fact.TOPIC], headers[Fact.ATTEMPTS]) == (b"first", b"2")
    assert headers[Fact.REASON] == b"the lease ended"
    assert world.burying.buried == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_a_lease_that_the_leader_before_proposed_ends_the_wait_of_whose_it_is(
    fifo: bool,  # noqa: FBT001
) -> None:
    """A asks the new leader before that has applied the entry, so A stands in line, behind B.

    Its wait would end with nothing, and its lease run on until its end: an attempt for nothing.
    """
    world = World(fifo=fifo)
    world.send(b"0", keys=[b"k"])
    world.receive(B)
    world.receive(A)
    before = ReceiveMessages(GROUP, A, 1, None, ((world.queue, 0, (key_hash(b"k"),)),))
    world.commit(before)
    assert world.receiving.waiting == 0
    world.turn()
    assert world.offsets(A) == [0]
    assert world.told[B] == []
    world.ack(A, 0)
    world.send(b"1", keys=[b"k"])
    world.turn()
    assert world.offsets(B) == [1]


def test_a_poll_whose_proposal_found_nothing_ends_in_time() -> None:
    """The next message of the key was there, and parked: nothing ever woke the poll up."""
    world = World(fifo=True)
    world.send(b"0", b"1", keys=[b"k", b"k"])
    world.receive(A, 1)
    world.turn()
    assert world.offsets(A) == [0]
    world.receive(B, 1, wait_s=1)
    for _ in range(3):
        world.turn()
        world.pass_ms(1_000)
    world.turn()
    assert len(world.told[B]) == 1


def test_the_same_asked_twice_before_its_group_is_known_is_under_way_once(world: World) -> None:
    """A new leader that has not applied the group's making, and a connection that breaks.

    Schedule: A asks, hears nothing and asks again; both wait for the group, and both lease. The
    first one's connection ends: what the second one was given is given back under its hands.
    """
    world.send(b"0", b"1")
    late = {name: [] for name in ("first", "second", "other")}  # type: dict[str, list[object]]
    first = world.receiving.receive(Receive("late", A, 1, SECOND), late["first"].append)
    world.receiving.receive(Receive("late", A, 1, SECOND), late["second"].append)
    world.commit(OpenQueueGroup("late", ("first",), QueueGroupChanges()))
    world.replica.confirm()
    first.cancel()
    world.turn()
    world.receiving.receive(Receive("late", B, 2, SECOND), late["other"].append)
    world.turn()
    assert late["first"] == []
    got = [late[name][0] for name in ("second", "other")]
    assert [batch.numbers for each in got for batch in each.gathered.batches] == [[0], [1]]  # type: ignore[attr-defined]


def test_who_goes_no_further_in_a_queue_by_key_is_an_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As long as another queue had something, nobody was told, and its messages stayed there.

    Schedule: a batch that does not open here lies in one queue of two. Each request is served
    from the other one.
    """
    world = World(fifo=True)
    (second,) = world.create("second")
    more = SubscribeQueueGroup(GROUP, ("second",), QueueGroupChanges(), by=By.CHANGE)
    world.leases.open(lambda: more, lambda _: None)
    world.replica.commit()
    opens = fifo_keys._hashes

    def hashes(batch: Buffer) -> tuple[int, ...]:
        if b"bad" in bytes(batch):
            raise CodecUnavailable("no package")
        return opens(batch)

    monkeypatch.setattr(fifo_keys, "_hashes", hashes)
    world.store(encode_columns([b"bad"], [b"k"], timestamp_ms=5), queue=second)
    for at in range(3):
        world.send(b"%d" % at, keys=[b"k"])
        world.receive(A + at)
        world.turn()
        assert world.offsets(A + at) == [at]
        world.ack(A + at, at)
    alarm = world.receiving.alarm
    assert alarm is not None
    assert f"group 'work' in queue {second}" in alarm
    assert "no package" in alarm
    monkeypatch.setattr(fifo_keys, "_hashes", opens)
    world.receive(20)
    world.turn()
    assert isinstance(world.told[20][0], Received)
    assert world.receiving.alarm is None
    world.receiving.leadership_lost()


def test_what_is_damaged_on_the_leader_holds_back_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given back at once, and so came first again, with all that was leased beside it.

    Schedule: entry 3 has rotted here, and no peer repairs it in time (there is none, say). Who
    asks for several gets an error, whoever asks next gets the same, and the group stands still.
    """
    world.send(b"0")
    world.send(b"1", b"2")
    bad = len(world.replica.entries)
    world.send(b"3")
    world.replica.memory_from = 1 << 40

    def read(places: Sequence[Place], done: OnBodies) -> None:
        good = [*takewhile(lambda at: at.index != bad, places)]
        if good:
            FakeBodies.read(world.bodies, good, done)
        else:
            world.bodies._waiting.append(lambda: done((), FaultyEntry(bad)))

    with monkeypatch.context() as rotten:
        rotten.setattr(world.bodies, "read", read)
        world.receive(A, 4)
        world.turn()
        assert world.told[A] == [], "a peer may have it"
        world.scheduler.advance(REPAIR_WAIT_NS_MAX)
        world.turn()
        assert world.offsets(A) == [0, 3]
    world.ack(A, 0, 3)
    world.receive(B, 4, wait_s=0)
    assert world.offsets(B) == []
    world.pass_ms(30_000)
    world.receive(C, 4)
    world.turn()
    (answer,) = world.told[C]
    assert isinstance(answer, Received)
    assert [batch.attempts for batch in answer.gathered.batches] == [[1, 1]]
    assert world.offsets(C) == [1, 2]

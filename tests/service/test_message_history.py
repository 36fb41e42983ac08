"""What the log says about a message: each command that names it, and who says so."""

from typing import Any

import pytest

from raftlog.base.errors import BadRequest
from raftlog.broker.atomic_commands import TransactionHead, transaction_parts
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.commands import CommandType
from raftlog.broker.dead_letters import dead_letter_parts
from raftlog.broker.group_commands import DeleteGroup, JoinGroup, LeaveGroup
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    GiveBack,
    ReceiveMessages,
    ReturnMessages,
    Verdict,
)
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.transactions import (
    AnswerChecks,
    CheckAnswer,
    Decide,
    ResolveTransaction,
    half_parts,
)
from raftlog.broker.transactors import InitTransactor
from raftlog.service import log_walks, walk_handlers
from raftlog.service.message_history import (
    HANDLES_MAX,
    NAMES_MAX,
    EventKind,
    MessageLook,
    MessagePlace,
)
from raftlog.wire.schema import search
from tests.service.test_handlers import FakeRequest
from tests.service.test_tracing import Tracing, batch

GROUP = "work"
A, B = 11, 12


class Telling(Tracing):
    """A topic of five records, groups of both styles, and what is told of the second record."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.world.queue
        self.world.store(batch(b"a", b"b", b"c", b"d", b"e"))
        self.commit(OpenQueueGroup(GROUP, ("first",), QueueGroupChanges()))

    def names(self, handle: int, *offsets: int) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """Return what names messages of the queue."""
        return ((handle, self.first, offsets),)

    def ask(self, **options: Any) -> Any:  # type: ignore[override]
        """Ask one question; return the answer."""
        asked = search.TraceHistory(queue=self.first, offset=1, **options)
        request = FakeRequest(asked)
        walk_handlers.history(self.service.walks, request)
        for _ in range(50):
            self.replica.confirm()
            self.reader.run()
        (answer,) = request.answers
        return answer

    def events(self, **options: Any) -> list[search.HistoryEvent]:
        """Ask until everything was looked at."""
        found: list[search.HistoryEvent] = []
        position, carry = 0, b""
        for _ in range(99):
            answer = self.ask(position=position, carry=carry, **options)
            assert isinstance(answer, search.HistoryTold), answer
            found += answer.events
            position, carry = answer.next, answer.carry
            if position == answer.end:
                return found
        raise AssertionError("it does not come to an end")

    def told(self, **options: Any) -> list[tuple[int, EventKind, int]]:
        """Return entry, kind and number of each event."""
        return [(each.index, EventKind(each.kind), each.number) for each in self.events(**options)]


@pytest.fixture(params=[1, 1_000], ids=["entry by entry", "at once"])
def it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Telling:
    """One question for each entry, or for all: what is known between them goes with them."""
    monkeypatch.setattr(log_walks, "LOOKED_ENTRIES_MAX", request.param)
    monkeypatch.setattr(log_walks, "PIECE_ENTRIES", request.param)
    return Telling()


def test_what_becomes_of_a_lease_is_told(it: Telling) -> None:
    """By its handle; what is said of other messages is not."""
    it.commit(ReceiveMessages(GROUP, A, 3))
    extended = it.commit(ExtendLeases(GROUP, it.names(A, 0, 1), 60_000), at_ms=500)
    it.commit(AckMessages(GROUP, it.names(A, 0)))
    back = it.commit(
        ReturnMessages(GROUP, it.names(A, 2, 1), GiveBack.RETRY, 700, "no luck"), at_ms=900
    )
    it.commit(ReceiveMessages(GROUP, B, 3), at_ms=2_000)
    released = it.commit(ReturnMessages(GROUP, it.names(B, 1), GiveBack.UNTRIED))
    rejected = it.commit(ReturnMessages(GROUP, it.names(B, 1), GiveBack.REJECT))
    acked = it.commit(AckMessages(GROUP, it.names(B, 1, 2)), at_ms=3_000)
    events = it.events()
    assert [(each.index, EventKind(each.kind), each.handle) for each in events] == [
        (extended, EventKind.EXTENDED, A),
        (back, EventKind.RETURNED, A),
        (released, EventKind.RELEASED, B),
        (rejected, EventKind.REJECTED, B),
        (acked, EventKind.ACKED, B),
    ]
    assert (events[0].number, events[0].log_time_ms) == (60_000, 500)
    assert (events[1].number, events[1].reason) == (700, "no luck")
    assert {each.group for each in events} == {GROUP}


def test_a_command_that_names_it_very_often_is_told_in_part(it: Telling) -> None:
    """An answer has a bound; who means well names it once."""
    names = tuple((handle, it.first, (1,)) for handle in range(1, 5_000))
    at = it.commit(AckMessages(GROUP, names))
    assert it.told() == [(at, EventKind.ACKED, 0)] * NAMES_MAX


def test_leases_are_found_by_their_handles(it: Telling) -> None:
    """Of whatever group; those that nobody has asked for are not told."""
    first = it.commit(ReceiveMessages(GROUP, A, 1))
    it.commit(ReceiveMessages(GROUP, 99, 1))
    second = it.commit(ReceiveMessages(GROUP, B, 1, 5_000))
    again = it.commit(ReceiveMessages(GROUP, A, 1))
    assert it.told(handles=[A, B]) == [
        (first, EventKind.LEASED, 0),
        (second, EventKind.LEASED, 5_000),
        (again, EventKind.LEASED, 0),
    ]
    assert isinstance(it.ask(handles=range(HANDLES_MAX + 1)), BadRequest)


def test_dead_letters_and_what_was_decided_by_hand(it: Telling) -> None:
    """With the name of the group, while it is there."""
    group = it.replica.machine.leasing.groups.get(GROUP)
    assert group is not None
    decided = [
        it.commit(DecideBlocked(GROUP, it.first, 1, verdict))
        for verdict in (Verdict.RETRY, Verdict.SKIP, Verdict.DEAD_LETTER)
    ]
    it.commit(DecideBlocked(GROUP, it.first, 2, Verdict.SKIP))
    for number, offset in ((group.number, 1), (group.number, 2), (99, 1)):
        parts = dead_letter_parts(number, it.first, offset, batch(b"b"))
        it.commit((CommandType.DEAD_LETTER, parts))
    last = len(it.replica.entries)
    events = it.events()
    assert [(each.index, EventKind(each.kind), each.group) for each in events] == [
        (decided[0], EventKind.RETRIED, GROUP),
        (decided[1], EventKind.SKIPPED, GROUP),
        (decided[2], EventKind.GIVEN_UP, GROUP),
        (last - 2, EventKind.DEAD_LETTER, GROUP),
        (last, EventKind.DEAD_LETTER, ""),
    ]
    assert [each.index for each in it.events(group=GROUP)] == [*decided, last - 2]


def test_a_stream_style_group_passes_a_message_once(it: Telling) -> None:
    """By who has claimed the queue; again after a seek that goes back."""
    it.commit(JoinGroup("billing", "m", ("first",), 10_000))
    found = it.replica.machine.groups.find("billing")
    it.commit(ClaimQueue("billing", it.first, found.generation, "m"))

    def read(offset: int, member: str = "m") -> int:
        return it.commit(CommitOffsets("billing", member, found.generation, ((it.first, offset),)))

    read(1)
    read(4, "zombie")
    passed = read(3)
    read(5)
    forth = it.commit(SeekGroup("billing", ((it.first, 4),)))
    back = it.commit(SeekGroup("billing", ((it.first, 0),)))
    it.commit(ClaimQueue("billing", it.first, found.generation, "m"))
    again = read(2)
    events = it.events()
    assert [(each.index, EventKind(each.kind), each.number, each.by) for each in events] == [
        (passed, EventKind.COMMITTED, 3, "m"),
        (forth, EventKind.SOUGHT, 4, ""),
        (back, EventKind.SOUGHT, 0, ""),
        (again, EventKind.COMMITTED, 2, "m"),
    ]


def test_a_group_that_was_deleted_begins_anew(it: Telling) -> None:
    """It passes the message once more."""
    passed = []
    for _ in range(2):
        it.commit(JoinGroup("billing", "m", ("first",), 10_000))
        generation = it.replica.machine.groups.find("billing").generation
        it.commit(ClaimQueue("billing", it.first, generation, "m"))
        passed.append(it.commit(CommitOffsets("billing", "m", generation, ((it.first, 2),))))
        it.commit(LeaveGroup("billing", "m"))
        it.commit(DeleteGroup("billing"))
    assert it.told() == [(index, EventKind.COMMITTED, 2) for index in passed]


def test_a_transaction_settles_and_passes_messages(it: Telling) -> None:
    """As plain commands do; only the wanted group's, if one is."""
    it.commit(ReceiveMessages(GROUP, A, 3))
    it.commit(JoinGroup("billing", "m", ("first",), 10_000))
    generation = it.replica.machine.groups.find("billing").generation
    it.commit(ClaimQueue("billing", it.first, generation, "m"))
    head = TransactionHead(
        (),
        (CommitOffsets("billing", "m", generation, ((it.first, 2),)),),
        (AckMessages(GROUP, it.names(A, 0, 1)),),
    )
    at = it.commit((CommandType.COMMIT_TRANSACTION, transaction_parts(head, ())))
    assert it.told() == [
        (at, EventKind.ACKED_IN_TRANSACTION, 0),
        (at, EventKind.COMMITTED_IN_TRANSACTION, 2),
    ]
    assert it.told(group=GROUP) == [(at, EventKind.ACKED_IN_TRANSACTION, 0)]
    assert it.told(group="billing") == [(at, EventKind.COMMITTED_IN_TRANSACTION, 2)]
    assert it.told(group="wor") == []


def test_a_queue_style_seek_is_told(it: Telling) -> None:
    """Only if it is about the message's queue."""
    (other,) = it.world.create("other")
    at = it.commit(SeekQueueGroup(GROUP, ((it.first, 0),)))
    it.commit(SeekQueueGroup(GROUP, ((other, 0),)))
    assert it.told() == [(at, EventKind.SOUGHT, 0)]


@pytest.mark.parametrize("verdict", [1, 2])
def test_how_a_half_message_was_decided_is_told_to_who_asks(it: Telling, verdict: int) -> None:
    """By a checker, its owner, or by hand; of others nothing."""
    it.commit(InitTransactor("b-1", "b"))
    (owner,) = it.replica.machine.state.transactors.table.rows
    for number in (1, 2):
        parts = half_parts(owner, number, 1, it.first, batch(b"half"))
        it.commit((CommandType.STAGE_HALF, parts))
    answers = (CheckAnswer(owner, 2, 1, 0), CheckAnswer(owner, 1, 1, 0))
    checked = it.commit(AnswerChecks("b", answers))
    answered = it.commit(AnswerChecks("b", (CheckAnswer(owner, 1, 2, verdict),)))
    decided = it.commit(Decide(owner, 1, ((2, 1), (1, verdict))))
    by_hand = it.commit(ResolveTransaction(owner, 1, verdict))
    it.commit(ResolveTransaction(owner, 2, verdict))
    kind = {1: EventKind.HALF_COMMITTED, 2: EventKind.HALF_ROLLED_BACK}[verdict]
    events = it.events(transactor=owner, number=1)
    assert [(each.index, EventKind(each.kind), each.by) for each in events] == [
        (checked, EventKind.CHECKED, "a checker"),
        (answered, kind, "a checker"),
        (decided, kind, "its owner"),
        (by_hand, kind, "somebody, by hand"),
    ]
    assert it.events() == []


@pytest.mark.parametrize("carry", [b"x", b"\x81\x01\x01", b"\x81\xa1a\x92\x01\xa1b"])
def test_what_no_answer_gave_is_refused(carry: bytes) -> None:
    """Bytes of a foreign hand."""
    with pytest.raises(BadRequest):
        MessageLook(MessagePlace(1, 1), carry)
    it = Telling()
    assert isinstance(it.ask(carry=carry), BadRequest)

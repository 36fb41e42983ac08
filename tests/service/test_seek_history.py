"""Seeks in the log: who asks is told each, with where the group was as far as that follows."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from raftlog.base.errors import BadRequest
from raftlog.broker.atomic_commands import (
    TransactionCommitted,
    TransactionHead,
    read_head,
    transaction_parts,
)
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import read_command
from raftlog.broker.commands import CommandType, decode
from raftlog.broker.group_commands import DeleteGroup, JoinGroup, LeaveGroup
from raftlog.broker.lease_commands import AckMessages
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.places import POSITION_BITS
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.refusals import CommandRefused
from raftlog.service import log_walks, seek_history, walk_handlers
from raftlog.service.log_walks import Spot, Walked
from raftlog.service.seek_history import Seek, SeekLook, SeekMove
from raftlog.service.standing import UNKNOWN
from raftlog.wire.schema import search
from tests.broker.histories import GROUPS, History
from tests.service.test_handlers import FakeRequest
from tests.service.test_tracing import Tracing, batch


class Seeking(Tracing):
    """A topic of five records, which groups read."""

    def __init__(self) -> None:
        super().__init__()
        self.world.store(batch(b"a", b"b", b"c", b"d", b"e"))
        self.first = self.world.queue

    def member(self, group: str = "billing", member: str = "m") -> int:
        """Join, and claim the queue; return the generation."""
        self.commit(JoinGroup(group, member, ("first",), 10_000))
        found = self.replica.machine.groups.find(group)
        self.commit(ClaimQueue(group, self.first, found.generation, member))
        return found.generation

    def read(
        self, generation: int, offset: int, group: str = "billing", member: str = "m"
    ) -> None:
        """Commit an offset."""
        self.commit(CommitOffsets(group, member, generation, ((self.first, offset),)))

    def seek(self, offset: int, group: str = "billing", *, at_ms: int = 0) -> int:
        """Seek; return the entry's index."""
        return self.commit(SeekGroup(group, ((self.first, offset),)), at_ms=at_ms)

    def seeks(self, group: str = "billing") -> list[Seek]:
        """Ask until everything was looked at, each time with what the answer before gave."""
        found: list[Seek] = []
        position, carry = 0, b""
        for _ in range(99):
            look = SeekLook(group, carry, is_whole=True)
            answers: list[Any] = []
            self.service.walks.walk(position, look, answers.append)
            for _ in range(50):
                self.replica.confirm()
                self.reader.run()
            (answer,) = answers
            assert isinstance(answer, Walked), answer
            found += answer.found
            position, carry = answer.next, look.carry
            if position == answer.end:
                return found
        raise AssertionError("it does not come to an end")

    def moves(self, group: str = "billing") -> list[tuple[int, int]]:
        """Return from where to where the queue was moved."""
        return [(move.before, move.after) for each in self.seeks(group) for move in each.moves]


@pytest.fixture(params=[1, 1_000], ids=["entry by entry", "at once"])
def it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Seeking:
    """One question for each entry, or for all: what is known between them goes with them."""
    monkeypatch.setattr(log_walks, "LOOKED_ENTRIES_MAX", request.param)
    monkeypatch.setattr(log_walks, "PIECE_ENTRIES", request.param)
    return Seeking()


def test_a_seek_is_told_with_when_and_from_where(it: Seeking) -> None:
    """The last commit of who owns the queue; then the seek before."""
    generation = it.member()
    it.read(generation, 2)
    it.read(generation, 4)
    at = it.seek(1, at_ms=700)
    it.seek(3)
    (first, second) = it.seeks()
    assert (first.index, first.log_time_ms, first.is_queue_style) == (at, 700, False)
    assert (first.moves, first.more) == ([SeekMove(it.first, 4, 1)], 0)
    assert second.moves == [SeekMove(it.first, 1, 3)]


def test_where_nothing_is_committed_nobody_knows(it: Seeking) -> None:
    """Perhaps the log has that no more."""
    it.member()
    it.seek(1)
    assert it.moves() == [(UNKNOWN, 1)]


def test_a_commit_that_was_fenced_moved_nothing(it: Seeking) -> None:
    """A zombie's is in the log like any other; and one that would go back."""
    old = it.member()
    it.read(old, 1)
    new = it.member(member="n")
    it.commit(ClaimQueue("billing", it.first, new, "n"))
    it.read(new, 2, member="n")
    it.read(old, 5)
    it.read(new, 1, member="n")
    it.seek(0)
    it.read(new, 4, member="n")
    it.seek(3)
    assert it.moves() == [(2, 0), (0, 3)]


def test_a_commit_that_read_from_elsewhere_moved_nothing(it: Seeking) -> None:
    """A late copy of a transaction; one that fits counts, and says that the one before did."""
    generation = it.member()
    for since, offset in ((-1, 1), (1, 3), (3, 4), (1, 5)):
        commit = CommitOffsets(
            "billing", "m", generation, ((it.first, offset),), read_from=(since,)
        )
        head = TransactionHead((), (commit,))
        it.commit((CommandType.COMMIT_TRANSACTION, transaction_parts(head, ())))
    it.seek(0)
    assert it.moves() == [(4, 0)]


def test_a_transaction_that_was_refused_for_something_else_is_no_commit(it: Seeking) -> None:
    """As the next commit tells: until then nobody knows."""
    generation = it.member()
    it.read(generation, 1)
    lost = CommitOffsets("billing", "m", generation, ((it.first, 4),), read_from=(1,))
    stale = AckMessages("nobody", ((7, it.first, (0,)),))
    parts = transaction_parts(TransactionHead((), (lost,), (stale,)), ())
    it.commit((CommandType.COMMIT_TRANSACTION, parts))
    assert isinstance(it.outcomes[-1], CommandRefused)
    it.read(generation, 2)
    it.seek(0)
    assert it.moves() == [(2, 0)]


def test_the_state_agrees_with_what_is_told(it: Seeking) -> None:
    """Whatever happens between two seeks."""
    expected = []
    generation = it.member()
    for offset in (2, 4, 5):
        it.read(generation, offset)
        claim = it.replica.machine.claims.get("billing", it.first)
        assert claim is not None
        expected.append((claim.committed, offset - 1))
        it.seek(offset - 1)
        generation = it.member()
    assert it.moves() == expected


def test_a_group_that_was_deleted_begins_anew(it: Seeking) -> None:
    """Its name has another past."""
    generation = it.member()
    it.read(generation, 4)
    it.commit(LeaveGroup("billing", "m"))
    it.commit(DeleteGroup("billing"))
    it.member()
    it.seek(1)
    assert it.moves() == [(UNKNOWN, 1)]


def test_seeks_of_a_queue_style_group_are_told_likewise(it: Seeking) -> None:
    """Where it was follows from no command."""
    it.commit(OpenQueueGroup("work", ("first",), QueueGroupChanges()))
    at = it.commit(SeekQueueGroup("work", ((it.first, 3),)), at_ms=900)
    (found,) = it.seeks("work")
    assert (found.index, found.log_time_ms, found.is_queue_style) == (at, 900, True)
    assert found.moves == [SeekMove(it.first, UNKNOWN, 3)]


def test_other_groups_are_not_told(it: Seeking) -> None:
    """Also if their names begin alike, or are as long."""
    for group in ("billing", "billing2", "billinh", "bill"):
        it.member(group)
        it.seek(1, group)
    assert len(it.seeks()) == len(it.seeks("bill")) == 1
    assert it.seeks("nobody") == []


def test_a_large_seek_is_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so: an answer has a bound."""
    monkeypatch.setattr(seek_history, "MOVES_TOLD_MAX", 2)
    it = Seeking()
    queues = it.world.create("more", 4)
    it.member()
    it.commit(SeekGroup("billing", tuple((queue, 0) for queue in queues)))
    (found,) = it.seeks()
    assert ([move.queue for move in found.moves], found.more) == (list(queues[:2]), 2)


@pytest.mark.parametrize("carry", [b"x", b"\x92\xc2\x81\x01\x01", b"\x92\x01\x80"])
def test_what_no_answer_gave_is_refused(carry: bytes) -> None:
    """Bytes of a foreign hand."""
    with pytest.raises(BadRequest):
        SeekLook("billing", carry)


def test_a_question_since_a_time_begins_behind_what_ended_before_it(
    it: Seeking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index knows where; a carry that is none is refused before anything is looked at."""
    it.member()
    it.seek(1)
    at = it.seek(2)
    asked: list[int] = []

    def sealed_before(_machine: BrokerMachine, log_time_ms: int) -> int:
        asked.append(log_time_ms)
        return at - 1

    monkeypatch.setattr(BrokerMachine, "sealed_before", sealed_before)
    request = FakeRequest(search.ListSeeks(group="billing", since_ms=123))
    walk_handlers.seeks(it.service.walks, request)
    it.replica.confirm()
    it.reader.run()
    (answer,) = request.answers
    assert isinstance(answer, search.SeeksListed)
    assert asked == [123]
    assert answer.began == at << POSITION_BITS
    (seek,) = answer.seeks
    (move,) = seek.moves
    assert (seek.index, move.topic, move.after) == (at, "first", 2)
    assert not move.HasField("before")
    refused = FakeRequest(search.ListSeeks(group="billing", carry=b"x"))
    walk_handlers.seeks(it.service.walks, refused)
    assert isinstance(refused.answers[0], BadRequest)


def spots(history: History) -> Iterator[tuple[Spot, object]]:
    """Yield the commands of a history that seeks follow from, and what they came to.

    What was refused is left out (services look before they propose), but for commits.
    """
    for entry, outcomes in zip(history.entries, history.outcomes, strict=True):
        envelope = decode(entry.body)
        for number, ((kind, begin, length), outcome) in enumerate(
            zip(envelope.places, outcomes, strict=True)
        ):
            is_refused = isinstance(outcome, CommandRefused)
            is_commit = kind in (CommandType.COMMIT_OFFSETS, CommandType.COMMIT_TRANSACTION)
            if kind in SeekLook.kinds and (is_commit or not is_refused):
                place = (entry.index, number, kind, envelope.log_time_ms)
                yield Spot(*place, entry.body, begin, length), outcome


def commits_of(spot: Spot) -> Sequence[CommitOffsets]:
    """Return the commits of a command."""
    if spot.kind == CommandType.COMMIT_TRANSACTION:
        return read_head(spot.body, spot.begin, spot.length).offsets
    if spot.kind == CommandType.COMMIT_OFFSETS:
        command = read_command(spot.kind, spot.data)
        assert isinstance(command, CommitOffsets)
        return (command,)
    return ()


def test_where_a_group_was_is_what_its_state_said_or_nothing() -> None:
    """Over whole histories, with zombies, late copies and commits that go back."""
    told = 0
    for seed in range(30):
        history = History(seed).run(300)
        for group in GROUPS:
            look, truth = SeekLook(group, is_whole=True), dict[int, int]()
            for spot, outcome in spots(history):
                is_copy = isinstance(outcome, TransactionCommitted) and outcome.duplicate
                if not (isinstance(outcome, CommandRefused) or is_copy):
                    for commit in commits_of(spot):
                        if commit.group == group:
                            truth.update(commit.offsets)
                maybe = {queue: row.other for queue, row in look._queues.items()}
                taken = look.take(spot)
                if taken is not None:
                    for move in taken[0].moves:
                        known = truth.get(move.queue, UNKNOWN)
                        if move.before not in (UNKNOWN, known):
                            assert maybe[move.queue] == known, f"seed {seed}: {taken[0]}"
                        told += move.before == known != UNKNOWN
                        truth[move.queue] = move.after
                if spot.kind == CommandType.DELETE_GROUP and not look._queues:
                    truth.clear()
    assert told > 5

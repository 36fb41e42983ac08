"""Tracing what nobody can read yet: what it is, what it waits for, and what became of it."""

from typing import Any

import pytest

from raftlog.base.errors import (
    NotPermitted,
    RaftlogError,
    TransactionForgotten,
    TransactionNotFound,
    Unavailable,
    UnknownTransactor,
    WrongQueue,
)
from raftlog.base.limits import CANCELLED_KNOWN_MS, CHECK_FIRST_MS, STAGED_MS_MAX
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import CancelDelayed, Delay, delayed_parts
from raftlog.broker.hidden import HiddenBatch
from raftlog.broker.relocations import Moving, relocate_command
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, DeleteTopic, TopicChanges
from raftlog.broker.transactions import AnswerChecks, CheckAnswer, Decide, half_parts
from raftlog.broker.transactors import InitTransactor
from raftlog.service.hidden_tracing import HiddenState, HiddenTraced
from raftlog.wire.batch import Producer
from tests.broker.logs import staged
from tests.service.test_tracing import Tracing, batch


class Hiding(Tracing):
    """The same shard, asked about what is hidden in its queue."""

    def later(self, value: bytes, delay_ms: int, *, at_ms: int) -> HiddenBatch:
        """Commit a delayed message among others of its entry."""
        queue = self.world.queue
        other = delayed_parts(queue, Delay(delay_ms + 7, relative=True), batch(b"other"))
        mine = delayed_parts(queue, Delay(delay_ms, relative=True), batch(value))
        self.commit(*((CommandType.APPEND_DELAYED, parts) for parts in (other, mine)), at_ms=at_ms)
        return list(self.replica.machine.hidden.of_queue(queue))[-1]

    def by_id(self, id_: int, due_ms: int = 0, queue: int | None = None) -> Any:
        """Return what is told of an id."""
        answers: list[HiddenTraced | RaftlogError] = []
        number = self.world.queue if queue is None else queue
        self.service.hidden.by_id(number, id_, due_ms, answers.append)
        return self.told(answers)

    def half(self, transactor: int, number: int) -> Any:
        """Return what is told of a transaction."""
        answers: list[HiddenTraced | RaftlogError] = []
        self.service.hidden.by_transaction(transactor, number, answers.append)
        return self.told(answers)

    def told(self, answers: list[HiddenTraced | RaftlogError]) -> HiddenTraced | RaftlogError:
        """Let everything be confirmed and looked into; nothing is told before that."""
        assert not answers
        for _ in range(4):
            self.replica.confirm()
            self.reader.run()
        (answer,) = answers
        return answer

    def stage_half(self, number: int = 1, *, at_ms: int = 20) -> int:
        """Commit a half message of "billing-1"; return its transactor."""
        self.commit(InitTransactor("billing-1", "billing"), at_ms=10)
        (owner,) = self.replica.machine.state.transactors.table.rows
        epoch = self.replica.machine.state.transactors.table.rows[owner].epoch
        parts = half_parts(owner, number, epoch, self.world.queue, batch(b"half"))
        self.commit((CommandType.STAGE_HALF, parts), at_ms=at_ms)
        return owner


def test_a_delayed_message_says_until_when_and_what_it_is() -> None:
    """From memory and from the files."""
    it = Hiding()
    row = it.later(b"remind", 50, at_ms=100)
    for memory_from in (1, 100):
        it.replica.memory_from = memory_from
        traced = it.by_id(row.id)
        assert (traced.state, traced.due_ms, traced.stored_ms) == (HiddenState.DELAYED, 150, 100)
        assert (traced.topic, traced.place, traced.id) == ("first", 0, row.id)
        assert (bytes(traced.batch), traced.count) == (batch(b"remind"), 1)
        assert (traced.copied_ms, traced.base_offset, traced.half) == (0, -1, None)


def test_a_copy_is_told_with_when_it_was_first() -> None:
    """As long as the log has that."""
    it = Hiding()
    row = it.later(b"remind", 500, at_ms=100)
    moving = Moving(row.key, row.index, row.position, row.length)
    command = relocate_command([moving], [batch(b"remind")])
    stored = int(row.index)
    copied = it.commit((command.type, command.parts), at_ms=120)
    traced = it.by_id(row.id)
    assert (traced.stored_ms, traced.copied_ms, traced.index) == (100, 120, copied)
    assert bytes(traced.batch) == batch(b"remind")
    it.replica.memory_from = 100
    it.entries.trimmed = stored
    traced = it.by_id(row.id)
    assert (traced.stored_ms, traced.copied_ms) == (0, 120)


def test_a_delayed_message_that_came_is_found_where_it_came() -> None:
    """By its own entry; and when the log has that no more, it came, nobody knows where."""
    it = Hiding()
    row = it.later(b"remind", 50, at_ms=100)
    id_, stored = row.id, int(row.index)
    it.world.store(batch(b"a"))
    it.commit(PassTime(), at_ms=160)
    traced = it.by_id(id_)
    assert (traced.state, traced.base_offset) == (HiddenState.VISIBLE, 1)
    assert (traced.stored_ms, traced.due_ms, traced.batch) == (100, 150, b"")
    it.replica.memory_from = 100
    it.entries.trimmed = stored
    traced = it.by_id(id_, due_ms=150)
    assert (traced.state, traced.base_offset, traced.due_ms) == (HiddenState.VISIBLE, -1, 150)
    it.commit(PassTime(), at_ms=150 + CANCELLED_KNOWN_MS)
    assert it.by_id(id_, due_ms=150).state is HiddenState.GONE


def test_a_cancelled_message_is_one_for_as_long_as_that_is_known() -> None:
    """An hour after it was due nobody knows."""
    it = Hiding()
    row = it.later(b"remind", 50, at_ms=100)
    id_ = row.id
    it.commit(CancelDelayed(it.world.queue, id_, 150), at_ms=110)
    traced = it.by_id(id_)
    assert (traced.state, traced.due_ms) == (HiddenState.CANCELLED, 150)
    it.commit(PassTime(), at_ms=151 + CANCELLED_KNOWN_MS)
    it.commit(PassTime(), at_ms=152 + CANCELLED_KNOWN_MS)
    traced = it.by_id(id_)
    assert (traced.state, traced.base_offset) == (HiddenState.GONE, -1)


@pytest.mark.parametrize("index", [0, 1, 2, 3, 99])
def test_an_id_that_nobody_was_given_is_nothing(index: int) -> None:
    """Of an entry that has no such command, another one, or is not there at all."""
    it = Hiding()
    it.world.store(batch(b"a"))
    for number in (0, 5):
        assert it.by_id(index << 16 | number, due_ms=10_000).state is HiddenState.GONE


def test_an_open_half_message_says_whose_it_is_and_how_often_it_was_checked() -> None:
    """By its transaction, and by its id."""
    it = Hiding()
    owner = it.stage_half()
    traced = it.half(owner, 1)
    assert (traced.state, traced.stored_ms, traced.due_ms) == (HiddenState.HALF, 20, 0)
    assert bytes(traced.batch) == batch(b"half")
    half = traced.half
    assert (half.transaction, half.owner, half.group) == (f"{owner}.1", "billing-1", "billing")
    assert (half.checks, half.next_check_ms, half.parked) == (0, 20 + CHECK_FIRST_MS, False)
    it.commit(AnswerChecks("billing", (CheckAnswer(owner, 1, 1, 0),)), at_ms=7_000)
    half = it.by_id(traced.id).half
    assert (half.checks, half.next_check_ms) == (1, 37_000)


def test_a_parked_half_message_is_checked_no_more() -> None:
    """Fifteen times nobody knew."""
    it = Hiding()
    owner = it.stage_half()
    for check in range(1, 16):
        at_ms = 20 + 40_000 * check
        it.commit(AnswerChecks("billing", (CheckAnswer(owner, 1, check, 0),)), at_ms=at_ms)
    it.commit(PassTime(), at_ms=40_000 * 17)
    half = it.half(owner, 1).half
    assert (half.checks, half.next_check_ms, half.parked) == (15, 0, True)


def test_a_decided_half_message_says_how_and_where() -> None:
    """As long as the decision is remembered."""
    it = Hiding()
    it.world.store(batch(b"a"))
    owner = it.stage_half()
    committed = it.commit(Decide(owner, 1, ((1, 1),)), at_ms=70)
    traced = it.half(owner, 1)
    assert (traced.state, traced.base_offset, traced.count) == (HiddenState.VISIBLE, 1, 1)
    assert (traced.half.decided_ms, traced.half.decided_index) == (70, committed)
    it.stage_half(2, at_ms=80)
    it.commit(Decide(owner, 2, ((2, 2),)), at_ms=90)
    traced = it.half(owner, 2)
    assert (traced.state, traced.base_offset) == (HiddenState.ROLLED_BACK, -1)
    it.commit(PassTime(), at_ms=700_000)
    it.commit(PassTime(), at_ms=700_001)
    assert isinstance(it.half(owner, 1), TransactionForgotten)
    assert isinstance(it.half(owner, 9), TransactionNotFound)
    assert isinstance(it.half(owner + 1, 1), UnknownTransactor)


def test_a_half_message_whose_topic_went_is_lost() -> None:
    """Nobody has decided."""
    it = Hiding()
    owner = it.stage_half()
    it.commit(DeleteTopic("first"), at_ms=30)
    assert isinstance(it.half(owner, 1), WrongQueue), "it goes a few rows at a time"
    it.commit(PassTime(), at_ms=40)
    it.commit(PassTime(), at_ms=50)
    traced = it.half(owner, 1)
    assert (traced.state, traced.topic) == (HiddenState.LOST, "")


def test_a_staged_part_of_a_transaction_says_until_when() -> None:
    """Nobody but its sender knows what it belongs to."""
    it = Hiding()
    command = staged(it.world.queue, Producer(7 << 16, 0, 0, 0))
    it.commit((command.type, command.parts), at_ms=30)
    (row,) = it.replica.machine.hidden.of_queue(it.world.queue)
    id_ = row.id
    traced = it.by_id(id_)
    assert (traced.state, traced.due_ms) == (HiddenState.STAGED, 30 + STAGED_MS_MAX)
    assert (traced.stored_ms, traced.half) == (30, None)
    it.commit(PassTime(), at_ms=31 + STAGED_MS_MAX)
    traced = it.by_id(id_)
    assert (traced.state, traced.stored_ms) == (HiddenState.GONE, 30)


def test_what_may_not_be_read_is_not_told() -> None:
    """As of any message; and no answer comes to who does not wait."""
    it = Hiding()
    row = it.later(b"remind", 5_000, at_ms=100)
    id_ = row.id
    it.commit(AlterTopic("first", TopicChanges(readable=False)), at_ms=110)
    assert isinstance(it.by_id(id_), NotPermitted)
    assert isinstance(it.by_id(id_, queue=99), WrongQueue)
    answers: list[HiddenTraced | RaftlogError] = []
    it.service.hidden.by_id(it.world.queue, id_, 0, answers.append)()
    it.replica.confirm()
    assert answers == []
    it.service.hidden.by_id(it.world.queue, id_, 0, answers.append)
    it.replica.confirm(Unavailable("not now"))
    assert isinstance(answers[0], Unavailable)

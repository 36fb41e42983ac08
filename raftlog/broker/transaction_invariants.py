"""What must hold of half messages after every entry: a part of ``invariants``."""

from collections import Counter
from itertools import pairwise

from raftlog.base.limits import (
    CHECKS_MAX,
    DECISIONS_MAX,
    FINISHED_INTERVALS_MAX,
    OPEN_TRANSACTIONS_MAX,
    TRANSACTORS_MAX,
)
from raftlog.broker.finished_numbers import is_finished
from raftlog.broker.hidden import Holder
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.transactors import number_of


def check_transactions(machine: BrokerMachine) -> None:
    """A number is open, decided or finished, and only one of these; what is open is hidden.

    Raises:
        AssertionError: Something does not hold; the text says what, with values.
    """
    state = machine.state
    transactors, decisions = state.transactors, state.decisions
    held = {
        row.held: row.key
        for row in state.hidden.table.after(None)
        if row.holder == Holder.TRANSACTION
    }
    is_open: Counter[int] = Counter()
    parked = 0
    for row in state.transactions.table.after(None):
        owner, number = transactors.of(row.handle), number_of(row.handle)
        is_open[owner.id] += 1
        parked += row.parked
        assert held.pop(row.handle) == (row.queue, row.id), f"{row} has another batch"
        assert decisions.table.get(row.handle) is None, f"{row} is decided"
        assert not row.parked or row.checks == CHECKS_MAX, f"{row} was not checked enough"
        assert 0 < number < owner.next_number, f"{row} is not before {owner.next_number}"
        if row.checks < CHECKS_MAX:
            assert state.transactions.next_check_ms() <= row.next_ms, f"{row} is not checked"
        elif not row.parked:
            assert state.transactions.due_ms <= row.next_ms, f"{row} is not parked"
            assert state.timetable.due_ms <= row.next_ms, "nobody looks at the timetable"
    assert not held, f"nobody has these open: {held}"
    assert state.transactions.parked == parked, f"{state.transactions.parked} parked, not {parked}"
    for decided in decisions.table.after(None):
        owner, number = transactors.of(decided.handle), number_of(decided.handle)
        assert not is_finished(owner.finished, number) or _was_skipped(owner.finished), decided
        assert number < owner.next_number, f"{decided} is not before {owner.next_number}"
        queue = machine.queues.get(decided.queue)
        end = decided.base_offset + decided.count
        assert queue is None or end <= queue.end_offset, f"{decided} in {queue}"
    for each in transactors.table.after(None):
        assert each.open == is_open[each.id], f"{each} has {is_open[each.id]} open"
        ends = each.finished
        assert all(a < b for a, b in pairwise(ends)), f"{each}"
        assert len(ends) % 2 == 0, f"{each}"
        assert len(ends) <= 2 * FINISHED_INTERVALS_MAX, f"{each}"
        assert not ends or ends[-1] <= each.next_number, f"{each}"
    assert len(transactors.table) <= TRANSACTORS_MAX, f"{len(transactors.table)} transactors"
    assert len(decisions.table) <= DECISIONS_MAX, f"{len(decisions.table)} decisions"
    assert len(state.transactions) <= OPEN_TRANSACTIONS_MAX, f"{len(state.transactions)} open"


def _was_skipped(intervals: list[int]) -> bool:
    """Whether gaps may have been closed: then a number in one counts as finished, too."""
    return len(intervals) == 2 * FINISHED_INTERVALS_MAX

"""Staged parts as a replica has them, compared with the committed log."""

from chaos.check.staged_parts import NAME, StagedRow, check_rows
from chaos.check.violation import Violation
from chaos.sim.facts import Facts
from chaos.sim.process import Process
from chaos.sim.states import BrokerState
from raftlog.base.ids import NodeId
from raftlog.broker.hidden import Holder
from raftlog.broker.invariants import check_hidden


def look_at_staged(node: NodeId, process: Process, facts: Facts) -> None:
    """Compare one replica, if it is as far as the log; its own sums must be right in any case.

    Raises:
        Violation: It has lost a part, keeps one that is to be gone, or counts its bytes wrongly.
    """
    if not facts.staged.parts.ever:
        return
    state = process.state
    assert isinstance(state, BrokerState), f"{node} has no topic store"
    machine = state.machine
    try:
        check_hidden(machine)
    except AssertionError as error:
        raise Violation(NAME, f"{node}: {error}") from error
    if machine.applied != facts.halves.applied:
        return
    facts.marks["replicas with staged batches compared"] += 1
    rows = {
        key: StagedRow(row.index, row.position, row.length, row.held)
        for key, row in machine.hidden.table.rows.items()
        if row.holder == Holder.STAGED and machine.queues.get(row.queue) is not None
    }
    check_rows(node, rows, facts.staged.parts.pending)

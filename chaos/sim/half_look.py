"""Half messages as a replica has them, compared with the committed log."""

from collections import Counter

from chaos.check.half_hidden import check_still_hidden
from chaos.check.half_kept import OpenHalf, check_known, check_open
from chaos.sim.cluster import Cluster
from chaos.sim.half_facts import HalfFacts, outcome_of
from chaos.sim.process import Process
from chaos.sim.states import BrokerState
from raftlog.base.ids import NodeId
from raftlog.broker.decisions import Decision
from raftlog.broker.transactors import number_of


def look_at_halves(cluster: Cluster) -> None:
    """Compare every replica that runs.

    Raises:
        Violation: It has lost one, or has another one.
    """
    facts = cluster.observer.facts
    if facts is None or not facts.halves.owners:
        return
    for machine in cluster.up():
        process = machine.process
        assert process is not None, "a machine that is up has no process"
        compare(machine.node, process, facts.halves, cluster.marks)


def compare(node: NodeId, process: Process, facts: HalfFacts, marks: Counter[str]) -> None:
    """Compare one replica, if it is as far as the log.

    Raises:
        Violation: It has lost one, or has another one.
    """
    state = process.state
    assert isinstance(state, BrokerState), f"{node} has no topic store"
    machine = state.machine
    if machine.applied != facts.applied:
        return
    marks["replicas with halves compared"] += 1
    tables, owner_of = machine.state, machine.state.transactors.of
    queues = machine.queues
    rows = {
        (owner_of(row.handle).id, number_of(row.handle)): OpenHalf(
            *(row.queue, row.id, row.checks, row.next_ms, row.parked)
        )
        for row in tables.transactions.table.rows.values()
        if queues.get(row.queue) is not None
    }
    check_open(node, rows, facts.open_rows())
    for key, half in facts.halves.items():
        if half.batch is not None and queues.get(half.batch.queue) is not None:
            check_still_hidden(node, key, half, machine.hidden.table.rows)
    known = {
        (owner_of(row.handle).id, number_of(row.handle)): row
        for row in tables.decisions.table.rows.values()
        if row.decision != Decision.LOST
    }
    for key, half in facts.known():
        row = known.get(key)
        told = None
        if row is not None:
            told = outcome_of(
                *(Decision(row.decision), row.queue, row.base_offset),
                *(row.count, row.term, row.index),
            )
        check_known(node, key, told, half)

"""The rows of a replica that clients were told of, compared with the committed log."""

from chaos.sim.facts import Facts
from chaos.sim.process import Process
from chaos.sim.states import BrokerState
from chaos.sim.told_changes import topic_row
from chaos.sim.told_facts import ClaimRow
from raftlog.base.ids import NodeId


def look_at_told(node: NodeId, process: Process, facts: Facts) -> None:
    """Compare one replica with the log, as far as it has applied that.

    Raises:
        Violation: It has other rows.
    """
    state = process.state
    assert isinstance(state, BrokerState), f"{node} has no topic store"
    machine, told = state.machine, facts.told
    claims = {
        key: ClaimRow(row.generation, row.member, row.life, row.committed)
        for key, row in machine.claims.table.rows.items()
    }
    quotas = {
        key: (row.bytes_per_s, row.records_per_s)
        for key, row in machine.state.quotas.table.rows.items()
    }
    told.claims.check(node, machine.applied, claims)
    told.quotas.check(node, machine.applied, quotas)
    told.groups.check(node, machine.applied, dict.fromkeys(machine.groups.table.rows, True))
    topics = {name: topic_row(row) for name, row in machine.topics.table.rows.items()}
    told.topics.check(node, machine.applied, topics)
    queues = machine.queues.table.rows.items()
    told.starts.check(node, machine.applied, {key: row.start_offset for key, row in queues})
    told.ends.check(node, machine.applied, {key: row.end_offset for key, row in queues})
    facts.marks["claims compared"] += bool(claims)
    facts.marks["quotas compared"] += bool(quotas)

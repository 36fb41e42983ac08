"""The rows of a replica that clients were told of, compared with the committed log."""

from chaos.sim.facts import Facts
from chaos.sim.process import Process
from chaos.sim.states import BrokerState
from chaos.sim.told_facts import ClaimRow
from raftlog.base.ids import NodeId


def look_at_told(node: NodeId, process: Process, facts: Facts) -> None:
    """Compare one replica with the log, as far as it has applied that.

    Raises:
        Violation: It has other rows.
    """
    state = process.state
    assert isinstance(state, BrokerState), f"{node} has no topic store"
    machine = state.machine
    claims = {
        key: ClaimRow(row.generation, row.member, row.life, row.committed)
        for key, row in machine.claims.table.rows.items()
    }
    facts.told.claims.check(node, machine.applied, claims)
    facts.marks["claims compared"] += bool(claims)

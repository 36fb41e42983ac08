"""Queue-style groups at the end of a run: no replica has in flight what is ended."""

from chaos.check.one_place import check_counts, check_rows
from chaos.sim.cluster import Cluster
from chaos.sim.states import BrokerState


def look_at_leases(cluster: Cluster) -> None:
    """Compare what every replica that runs has in flight with the committed log.

    Raises:
        Violation: It has what is ended.
    """
    facts = cluster.observer.facts
    if facts is None or not facts.leases.is_watching:
        return
    for machine in cluster.up():
        process = machine.process
        assert process is not None, "a machine that is up has no process"
        state = process.state
        assert isinstance(state, BrokerState), f"{machine.node} has no topic store"
        leasing = state.machine.leasing
        for name, group in facts.leases.groups.items():
            rows = leasing.flights.table.rows
            places = {(queue, offset) for number, queue, offset in rows if number == group.number}
            check_rows(machine.node, places, group)
            row = leasing.groups.get(name)
            if row is not None and row.number == group.number:
                check_counts(machine.node, name, row.dead_letters, group)
                cluster.marks["queue groups compared"] += 1

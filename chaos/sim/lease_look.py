"""Queue-style groups at the end of a run: what is in flight, and what was counted."""

from chaos.check.ends_counted import Counts, check_sum, check_told, ends_of
from chaos.check.one_place import check_counts, check_rows
from chaos.sim.cluster import Cluster
from chaos.sim.states import BrokerState
from raftlog.broker.leasing import Leasing
from raftlog.broker.queue_groups import QueueGroup


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
                if process.replica.applied == cluster.observer.applied_end:
                    _check_ends(cluster, machine.node, leasing, row)


def _check_ends(cluster: Cluster, node: str, leasing: Leasing, row: QueueGroup) -> None:
    """Hold what a replica has counted against how messages ended, and where its cursors are.

    Raises:
        Violation: It has counted something else.
    """
    assert cluster.observer.facts is not None, "a topic store without facts"
    leases = cluster.observer.facts.leases
    ends = ends_of(leases.groups[row.name], leases.expiry_ms)
    in_flight = leasing.flights.tally(row.number).rows
    counts = Counts(row.dead_letters, row.skipped, row.expired, in_flight)
    check_told(node, row.name, counts, ends, ends)
    cluster.marks["groups that skipped compared"] += bool(ends.skipped)
    cursors = {
        queue: cursor.next
        for (number, queue), cursor in leasing.groups.cursors.rows.items()
        if number == row.number
    }
    begun = leases.groups[row.name].begun
    if cursors.keys() != begun.keys():
        return  # a queue went, and with it how far the group had come there
    passed = sum(cursors[queue] - start for queue, start in begun.items())
    passed -= leasing.subscriptions.of(row).passed
    past = leases.groups[row.name].past
    passed += past.back - past.dropped
    check_sum(node, row.name, passed, counts, ends)
    cluster.marks["ends of all messages counted"] += 1
    cluster.marks["groups that retention was faster than compared"] += bool(row.expired)

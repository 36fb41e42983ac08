"""What operators wish about who leads: nodes are drained or preferred, and some day not any more.

Not taken back when the faults are over: whoever is drained then still is, all of them
perhaps, and the shard must have a leader all the same, and in the end the right one.
"""

from collections.abc import Sequence

from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.striker import Acts, Striker
from raftlog.base.errors import RaftlogError
from raftlog.base.membership import Membership
from raftlog.raft.changes import Prefer
from raftlog.raft.precedence import rank_of


class WishFaults(Striker):
    """Drains, preferences, and their end."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.DRAIN: self._drain, Fault.PREFER: self._prefer}

    def _drain(self) -> None:
        machine = self.some_machine()
        if machine is None or machine.process is None:
            return
        is_aside = self.random.random() < 0.7
        self.note("drained" if is_aside else "drains undone")
        replica = machine.process.replica
        if is_aside and replica.leads:
            self.note("leaders drained")
        machine.process.life.call_soon(lambda: replica.stand_aside(is_aside=is_aside))

    def _prefer(self) -> None:
        leading = self.cluster.leading()
        if not leading:
            return
        process = self.random.choice(leading)
        nodes = [replica.node for replica in process.replica.membership.replicas]
        chosen = tuple(self.random.sample(nodes, self.random.randint(0, min(2, len(nodes)))))

        observer = self.cluster.observer
        floor = observer.committed.end

        def changed(outcome: Membership | RaftlogError) -> None:
            if not isinstance(outcome, RaftlogError):
                observer.told_members(floor, outcome)
                self.note("leaders preferred")

        process.life.call_soon(lambda: process.replica.change_members(Prefer(chosen), changed))


def why_not_as_wished(machines: Sequence[Machine]) -> str | None:
    """Return who leads although another one should, or that nobody leads; None if all is well."""
    cores = [machine.process.replica.core for machine in machines if machine.process is not None]
    leading = next((core for core in cores if core.leadership is not None), None)
    if leading is None:
        return "nobody leads"
    members = leading.membership
    ranks = {
        core.replica.node: rank_of(members, core.replica.node, is_aside=core.is_aside)
        for core in cores
        if core.replica in members.voters
    }
    mine = rank_of(members, leading.replica.node, is_aside=leading.is_aside)
    better = [node for node, rank in ranks.items() if rank < mine and not rank[0]]
    return f"{leading.replica} leads, and {better} should rather" if better else None

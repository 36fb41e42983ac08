"""Strikes at a leader that may hold a lease: it is cut off while the others elect."""

from collections.abc import Sequence
from functools import partial

from chaos.sim.disk import CrashKind
from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.network import both_ways
from chaos.sim.process import Machine
from chaos.sim.striker import Acts, Striker
from raftlog.base.ids import NodeId


class LeaseFaults(Striker):
    """What a lease must not survive, or must be outlived by pledges."""

    _over = False

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.DEPOSED: self._depose}

    def end(self) -> None:
        """Nobody is cut off any more."""
        self._over = True

    def _depose(self) -> None:
        """Cut a leader off and make the others elect soon.

        It has asked one of them to stand just before; or all have heard that it is gone; or
        they have lost what they remembered.
        """
        cluster, random = self.cluster, self.random
        leading = [each for each in cluster.up() if each.process and each.process.replica.leads]
        if not leading:
            return
        old = random.choice(leading)
        how = random.choice(("transfer", "hint", "restart"))
        self.note(f"deposed: {how}")
        late_ns = 0
        if how == "transfer" and old.process is not None:
            old.process.life.call_soon(old.process.replica.transfer)
            late_ns = random.randrange(20) * MS_NS
        rest = [node for node in cluster.nodes if node != old.node]
        cluster.queue.after(late_ns, partial(self._cut_off, both_ways([old.node], rest)))
        others = [each for each in cluster.up() if each is not old]
        if how == "hint":
            self._hint(others, old.node)
        elif how == "restart":
            self._restart(others)

    def _cut_off(self, links: Sequence[tuple[NodeId, NodeId]]) -> None:
        network = self.cluster.network
        if self._over:
            return
        network.block(links)

        def heal() -> None:
            if network.blocked == set(links):
                network.block(())

        self.cluster.queue.at(self.soon_ns(100, 3_000), heal)

    def _hint(self, others: Sequence[Machine], gone: NodeId) -> None:
        for other in others:
            self.cluster.connection_lost(other, gone)

    def _restart(self, others: Sequence[Machine]) -> None:
        for other in others:
            self.cluster.end(other, CrashKind.KEEP)
            self.cluster.queue.after(MS_NS, partial(self.cluster.restart, other))

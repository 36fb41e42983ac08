"""Strikes at links and at who leads."""

from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.network import partition
from chaos.sim.striker import Acts, Striker
from raftlog.base.ids import NodeId


class NetworkFaults(Striker):
    """Partitions, clogs, false hints; transfers, which are asked for."""

    _cut = 0

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {
            Fault.PARTITION: self._partition,
            Fault.CLOG: self._clog,
            Fault.LOSSY_LINK: lambda: self._lossy("lossy links", 0.4),
            Fault.HALF_OPEN: lambda: self._lossy("half-open connections", 1.0),
            Fault.FALSE_HINT: self._false_hint,
            Fault.TRANSFER: self._transfer,
        }

    def _partition(self) -> None:
        nodes = list(self.cluster.nodes)
        if len(nodes) < 2:
            return
        kind, links = partition(nodes, self.random)
        self.note("partitions")
        self.note(f"partition: {kind}")
        self.cluster.network.block(links)
        self._cut += 1
        cut = self._cut

        def heal() -> None:
            if self._cut == cut:
                self.cluster.network.block(())

        self.cluster.queue.after(self.random.randrange(100, 3_000) * MS_NS, heal)

    def _clog(self) -> None:
        nodes: list[NodeId] = list(self.cluster.nodes)
        sender, to = self.random.choice(nodes), self.random.choice(nodes)
        if sender != to:
            self.note("clogs")
            until_ns = self.cluster.queue.now_ns + self.random.randrange(50, 2_000) * MS_NS
            self.cluster.network.clog((sender, to), until_ns)

    def _lossy(self, what: str, rate: float) -> None:
        """Lose what goes one way on one link; nobody is told that a connection ended."""
        nodes: list[NodeId] = list(self.cluster.nodes)
        sender, to = self.random.choice(nodes), self.random.choice(nodes)
        if sender != to:
            self.note(what)
            self.cluster.network.make_lossy((sender, to), self.soon_ns(200, 5_000), rate)

    def _false_hint(self) -> None:
        machine = self.some_machine()
        if machine is not None and machine.process is not None:
            leader = machine.process.replica.leader
            if leader is not None:
                self.note("false hints")
                self.cluster.connection_lost(machine, leader)

    def _transfer(self) -> None:
        machine = self.some_machine()
        if machine is not None and machine.process is not None:
            target = self.random.choice([None, *self.cluster.nodes])
            replica = machine.process.replica
            machine.process.life.call_soon(lambda: replica.transfer(target))

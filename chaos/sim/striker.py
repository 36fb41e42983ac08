"""What every kind of strike needs: whom it hits, by which chance, and where it is counted."""

from collections.abc import Callable, Mapping
from random import Random

from chaos.sim.cluster import Cluster
from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.process import Machine

Acts = Mapping[Fault, Callable[[], None]]


class Striker:
    """The faults of one concern in one run."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.cluster = cluster
        self.random = random

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        raise NotImplementedError

    def end(self) -> None:
        """No more faults; what is armed is disarmed."""

    def some_machine(self) -> Machine | None:
        """Draw a machine on which a process runs, the leader's more often than its share."""
        up = self.cluster.up()
        leading = [machine for machine in up if machine.process and machine.process.replica.leads]
        if leading and self.random.random() < 0.4:
            return self.random.choice(leading)
        return self.random.choice(up) if up else None

    def soon_ns(self, least_ms: int, most_ms: int) -> int:
        """Draw a moment that is so far away."""
        return self.cluster.queue.now_ns + self.random.randrange(least_ms, most_ms) * MS_NS

    def note(self, what: str) -> None:
        """Count that this has happened."""
        self.cluster.marks[what] += 1

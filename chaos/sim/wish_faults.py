"""What operators wish about who leads: nodes are drained, and some day not any more.

Not undone when the faults are over: whoever is drained then still is, all of them
perhaps, and the shard must have a leader all the same.
"""

from chaos.sim.faults import Fault
from chaos.sim.striker import Acts, Striker


class WishFaults(Striker):
    """Drains and their end."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.DRAIN: self._drain}

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

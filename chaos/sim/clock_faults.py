"""Strikes at wall clocks: they jump, stand still, and are set right again.

A minority's, always the same ones, so that the clocks of a majority are right
and log time must be; or everybody's, and then it must only never go back.
"""

from typing import Final

from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.striker import Acts, Striker

_JUMPS_MS: Final = (300, 2_000, 120_000, 3_600_000)


class ClockFaults(Striker):
    """Clocks that are wrong."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.CLOCK: self._clock}

    def _clock(self) -> None:
        wrong: list[Machine] = [
            machine
            for machine in self.cluster.machines.values()
            if machine.node in self.cluster.wrong_clocks
        ]
        if not wrong:
            return
        clock = self.random.choice(wrong).clock
        match self.random.choice(("jump", "jump", "stand", "right")):
            case "jump":
                self.note("clocks jumped")
                clock.jump(self.random.choice(_JUMPS_MS) * self.random.choice((-1, 1)))
            case "stand":
                self.note("clocks stand still")
                clock.stand()
            case _:
                clock.set_right()

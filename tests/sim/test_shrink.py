"""A failing run becomes simpler as long as it fails."""

import msgspec

from chaos.sim.faults import Fault
from chaos.sim.shrink import shrink, simpler_ones
from chaos.sim.swarm import SeedConfig, draw_config

SEEDS = range(150)


def test_what_is_needed_stays_and_the_rest_goes() -> None:
    config = next(
        config
        for config in map(draw_config, SEEDS)
        if Fault.KILL in config.periods_ns and len(config.periods_ns) > 3 and config.nodes == 5
    )

    def fails(run: SeedConfig) -> bool:
        return Fault.KILL in run.periods_ns and run.fault_ns >= 2_000_000_000 and run.nodes >= 3

    said: list[str] = []
    smallest = shrink(config, fails, said.append)
    assert list(smallest.periods_ns) == [Fault.KILL]
    assert smallest.nodes == 3
    assert 2_000_000_000 <= smallest.fault_ns < 2_500_000_000
    assert smallest.broker is None
    assert "3 nodes" in said


def test_a_run_that_needs_everything_stays_as_it_is() -> None:
    config = draw_config(0)
    assert shrink(config, lambda _: False, print) == config


def test_every_step_leaves_a_run_that_differs_and_can_be_written_down() -> None:
    for config in map(draw_config, SEEDS):
        for _, simpler in simpler_ones(config):
            assert simpler != config
            assert msgspec.json.decode(msgspec.json.encode(simpler), type=SeedConfig) == simpler

"""A watched run is the same run, and its last events can be read."""

from chaos.sim.run import Run, run_seed, verdict_of
from chaos.sim.swarm import draw_config
from chaos.sim.timeline import Timeline

SEED = 4
"""Its last events have something of everything that is looked for."""


def test_watching_changes_nothing() -> None:
    run = Run(draw_config(SEED))
    timeline = Timeline(run)
    assert verdict_of(run).digest == run_seed(SEED).digest
    lines = timeline.lines()
    moments = [line[:13] for line in lines]
    assert moments == sorted(moments)
    told = "\n".join(lines)
    for words in (" > n1  ", "AppendRequest(term", "durable to write", "-------  faults end"):
        assert words in told

"""The zoo: every patch fits, and the worst bugs are seen at once (ruling 37)."""

import pytest

from chaos.mutants import zoo
from chaos.mutants.child import WORKS
from chaos.mutants.hook import patched_sources
from chaos.mutants.patches import MUTANTS, Mutant, find
from chaos.mutants.zoo import Capture, hunt
from chaos.sim.faults import Fault
from chaos.sim.swarm import draw_config

QUICK = [
    "ack before fsync",
    "vote not persisted",
    "truncation below commit",
    "vote request before the own vote",
    "what is sent again",
    "unknown batch's sequence",
    "claim of an old generation",
    "snapshot taken without freezing",
    "vote kept by node id",  # by a unit test
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_patch_fits_and_compiles(mutant: Mutant) -> None:
    """A patch that no longer fits tests nothing; one that does not compile is no bug."""
    for module, source in patched_sources(mutant).items():
        compile(source, module, "exec")


def test_what_mutants_need_is_there_in_some_seeds() -> None:
    """Else no seed would be run."""
    assert {name for mutant in MUTANTS for name in mutant.needs} <= Fault.__members__.keys()
    assert {name for mutant in MUTANTS for name in mutant.works} == WORKS.keys()
    brokers = [found for seed in range(100) if (found := draw_config(seed).broker) is not None]
    for has in WORKS.values():
        assert len(brokers) > sum(map(has, brokers)) > 1


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUICK)
def test_a_known_bug_is_caught_within_a_few_seeds(name: str) -> None:
    """If the simulator cannot see these, it sees nothing."""
    capture = hunt(find(name), seeds=100)
    assert capture.catcher is not None, capture.how


def test_the_product_itself_is_asked_about_a_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many bugs are caught at one seed, or by the same tests; two processes hunt them."""
    asked: list[tuple[str, int]] = []

    def run(name: str, mutant: Mutant, seeds: int, *, first: int) -> Capture:
        asked.append((name, first))
        return Capture(mutant.name, None, f"{mutant.tests or range(first, seeds)}")

    monkeypatch.setattr(zoo, "_run", run)
    healthy = zoo.Healthy()
    by_seeds, tested = (
        Mutant("a", "raftlog", ()),
        Mutant("b", "raftlog", (), tests=("tests/some.py",)),
    )
    for mutant in (by_seeds, tested):
        assert healthy.at(mutant, 7) == healthy.at(mutant, 7)
    healthy.at(by_seeds, 8)
    healthy.at(tested, 8)
    assert asked == [("", 7), ("", 7), ("", 8)]

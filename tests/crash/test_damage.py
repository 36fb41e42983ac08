"""Damage to one replica of three, to each, and to all at once, at bytes all over their files.

A sample of what ``make crash`` does at every byte.
"""

import pytest

from chaos.damage.base import VICTIM, Base, make_base
from chaos.damage.harm import SUFFIXES, harmful
from chaos.damage.install import INSTALLED
from chaos.damage.runner import Swept, every_case, sample, sweep
from chaos.damage.sweep import REFUSED, REPAIRED, SERVED, STOPPED, UNHARMED
from chaos.sim.disk import CrashKind

PER_GROUP = 5


@pytest.fixture(scope="module")
def base() -> Base:
    """A cluster that worked and was switched off."""
    return make_base()


@pytest.fixture(scope="module")
def swept(base: Base) -> Swept:
    """Some cases of each group."""
    return sweep(base, sample(every_case(base), PER_GROUP))


def test_the_damaged_replica_has_every_kind_of_file(base: Base) -> None:
    """Several segments with places, several ranges, two snapshots, and a truncation behind it."""
    paths = harmful(base.disks[VICTIM])

    for suffix in SUFFIXES:
        assert sum(path.endswith(suffix) for path in paths) >= 2, suffix
    assert {path.rpartition("/")[2] for path in paths} >= {
        "node.meta",
        "hard.state",
        "durable.mark",
    }


@pytest.mark.timeout(300)
def test_no_damage_loses_or_changes_anything(swept: Swept) -> None:
    """A failure prints the line that repeats its case."""
    lines = [f"{what}: python -m chaos.damage --case '{name}'" for name, what in swept.broken]

    assert not lines, "\n".join(lines[:5])


def test_every_group_was_damaged_and_every_end_occurred(swept: Swept) -> None:
    """Votes twice: of who led, and of who voted for it."""
    groups = {group for group, _ in swept.counts}
    kinds = ("node.meta", "hard.state", "durable.mark", "log", "log places", "index", "snapshot")

    assert groups == {
        *(f"{way} {kind}" for way in ("flip", "cut") for kind in (*kinds, "padding", "vote")),
        *(f"{way} {kind}, trimmed" for way in ("flip", "cut") for kind in kinds),
        *(f"install, {kind.value}" for kind in CrashKind),
        *(
            f"all replicas, {what}{places}"
            for what in ("header", "body", "magic")
            for places in ("", ", no places")
        ),
        *(f"each replica, {what}" for what in ("header", "magic")),
    }
    ends = {end for _, end in swept.counts}
    assert ends == {UNHARMED, REPAIRED, REFUSED, SERVED, STOPPED, INSTALLED}

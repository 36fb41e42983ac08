"""Runs cases, some or all, and counts how they ended."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from chaos.check.violation import Violation
from chaos.damage.base import Base, make_base
from chaos.damage.install import install_cases, trimmed_cases
from chaos.damage.sweep import Case, cases
from chaos.damage.votes import vote_cases


class Swept(NamedTuple):
    """What came of some cases: counts by group and end; name of what broke, and how."""

    counts: Counter[tuple[str, str]]
    broken: tuple[tuple[str, str], ...]


def every_case(base: Base) -> Iterator[Case]:
    """Yield every case there is, always in the same order."""
    yield from cases(base)
    yield from vote_cases(base)
    yield from trimmed_cases()
    yield from install_cases()


def sample(all_cases: Iterable[Case], per_group: int) -> list[Case]:
    """Return so many cases of every group, the same ones every time."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in all_cases:
        groups[case.group].append(case)
    chosen: list[Case] = []
    for name, members in groups.items():
        chosen += Random(name).sample(members, min(per_group, len(members)))
    return chosen


def sweep(base: Base, chosen: Iterable[Case]) -> Swept:
    """Run the cases."""
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[tuple[str, str]] = []
    for case in chosen:
        try:
            counts[case.group, case.run(base)] += 1
        except Violation as violation:
            broken.append((case.name, str(violation)))
        except Exception as error:  # noqa: BLE001  (whatever a node raises is a finding)
            broken.append((case.name, f"{type(error).__name__}: {error}"))
    return Swept(counts, tuple(broken))


def sweep_part(part: tuple[int, int]) -> Swept:
    """Run every ``parts``-th case, from the ``number``-th on; for a pool of processes."""
    number, parts = part
    base = make_base()
    return sweep(base, list(every_case(base))[number::parts])

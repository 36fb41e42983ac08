"""What a run does to its cluster: scenarios by name, and schedules drawn from a seed.

A schedule says which fault comes when, how long it lasts, and from which seed it draws whom it
hits. Who leads at that moment is the cluster's business. So where the leader or another one is
drawn, two runs of one schedule hit the same role, not always the same node; where any nodes are
drawn, or any but the leader, not always the same role either.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import msgspec

from chaos.live.faults import FAULTS
from chaos.live.faults.fault import Step

PAUSE_S: Final = (0.3, 1.5)
LASTS_S: Final = (0.2, 4.0)
BESIDE_S: Final = (0.0, 1.5)
"""How long after one fault has begun another begins beside it."""
PAIRS: Final = 0.3
"""How often that is so."""


class Scenario(msgspec.Struct, frozen=True):
    """A schedule with a name: these faults, in any order, again and again."""

    text: str
    kinds: tuple[str, ...]
    time_s: float = 60.0


def _of(*groups: str) -> tuple[str, ...]:
    return tuple(kind for kind, fault in FAULTS.items() if fault.group in groups)


SCENARIOS: Final[dict[str, Scenario]] = {
    "all": Scenario("everything", tuple(FAULTS), 600.0),
    "verify": Scenario(
        "a minute of processes, links, power and disks",
        ("kill", "pause", "cut-off", "reset", "power", "power-all", "sync-error", "transfer"),
    ),
    "leaders": Scenario("leaders are killed, cut off, paused", ("kill", "cut-off", "pause")),
    "power": Scenario("power fails, at one node and at all", ("power", "power-all", "kill")),
    "network": Scenario("links of every kind", _of("network")),
    "disks": Scenario("slow, full, sick, rotten and old disks", _of("disk")),
    "clocks": Scenario("clocks jump while leaders are lost", ("clock-jump", "kill", "cut-off")),
    "members": Scenario("members change while others fail", (*_of("members"), "kill", "cut-off")),
    "promises": Scenario(
        "power fails between a promise and the disk", ("promise-ack", "promise-vote"), 90.0
    ),
    "maintenance": Scenario(
        "what operators do", ("restart", "rolling-restart", "transfer", "drain", "demote")
    ),
}


def kinds_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that ``names`` name: kinds themselves, or groups of them.

    Raises:
        ValueError: There is no such kind or group.
    """
    found: list[str] = []
    for name in names:
        kinds = [name] if name in FAULTS else _of(name)
        if not kinds:
            groups = sorted({fault.group for fault in FAULTS.values()})
            raise ValueError(f"no fault {name!r}; groups are {', '.join(groups)}")
        found += kinds
    return tuple(dict.fromkeys(found))


def draw(seed: int, kinds: Sequence[str]) -> Iterator[Step]:
    """Yield steps without end, the same ones for the same seed and kinds.

    Each kind comes once, in some order, so a short run has them all; then what has more weight
    as often more, so a long one has enough of it; and so on. Some come two at a time.
    """
    random = Random(f"schedule {seed}")
    cards = _shuffled(random, kinds)
    while True:
        step = _step(random, cards.pop(0), PAUSE_S)
        cards = cards or _shuffled(random, kinds)
        if _shares(step.kind) and random.random() < PAIRS:
            other = next((kind for kind in cards if _shares(kind) and kind != step.kind), None)
            if other is not None:
                cards.remove(other)
                beside = _step(random, other, BESIDE_S)
                step = msgspec.structs.replace(step, beside=beside)
                cards = cards or _shuffled(random, kinds)
        yield step


def _shuffled(random: Random, kinds: Sequence[str]) -> list[str]:
    more = [kind for kind in kinds for _ in range(FAULTS[kind].weight - 1)]
    return [*random.sample(list(kinds), len(kinds)), *random.sample(more, len(more))]


def _shares(kind: str) -> bool:
    return not FAULTS[kind].alone


def _step(random: Random, kind: str, after_s: tuple[float, float]) -> Step:
    return Step(
        kind,
        round(random.uniform(*after_s), 3),
        round(random.uniform(*LASTS_S), 3),
        random.getrandbits(32),
    )


def within(steps: Iterator[Step], time_s: float) -> Iterator[Step]:
    """Yield the steps that a run of ``time_s`` comes to, taking as long as they do about."""
    for step in steps:
        both = _takes_s(step)
        if step.beside is not None:
            both = max(both, step.after_s + _takes_s(step.beside))
        time_s -= both
        if time_s < 0:
            return
        yield step
        if step.beside is not None:
            yield step.beside


def _takes_s(step: Step) -> float:
    return step.after_s + step.lasts_s + FAULTS[step.kind].takes_s

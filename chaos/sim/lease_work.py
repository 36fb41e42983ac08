"""What queue-style groups do in a seed: drawn from a stream of its own."""

from random import Random
from typing import Final

import msgspec

from chaos.sim.events import stream
from chaos.sim.wishes import WISHES
from raftlog.wire.schema import leases

TOPIC: Final = "jobs"
RESULTS: Final = "made"
"""A topic that nobody in it works through: what is made of jobs comes to an end there."""
SPARE: Final = "spare"
"""The second group, where there are two."""
SHARE: Final = 0.35
"""Topic stores with such groups."""
POISON: Final = (
    *(leases.POISON_POLICY_DEAD_LETTER, leases.POISON_POLICY_DEAD_LETTER),
    *(leases.POISON_POLICY_SKIP, leases.POISON_POLICY_BLOCK),
)


class GroupWork(msgspec.Struct, frozen=True):
    """A group, and what holds for it."""

    name: str
    fifo: bool
    poison: int
    attempts: int
    retry_ms: tuple[int, ...]
    lease_ms: int
    in_flight: int
    wanted: int | None = None
    """Which of ``WISHES`` it wants; None: everything."""


class LeaseWork(msgspec.Struct, frozen=True):
    """The workload of one seed."""

    seed: int
    groups: tuple[GroupWork, ...]
    workers: int
    """Of each group."""
    queues: int
    sends_per_s: float
    receives_per_s: float
    slow: float
    """How often a worker takes longer than its lease; how often it dies, says something twice."""
    dies: float
    twice: float
    fails: float
    deletes_per_s: float
    retention_ms: int
    until_consumed: bool
    grace_ms: int
    """For so long a new leader lets no lease end."""
    alters_per_s: float
    """How often the topic gets one more queue, or can't be read for a while."""
    topics: tuple[str, ...] = (TOPIC,)
    subscribes_per_s: float = 0.0
    """How often somebody says by hand that a group wants something else."""
    seeks_per_s: float = 0.0
    """How often somebody says by hand where a group goes on."""
    settles: float = 0.0
    """How often a worker settles a message in a transaction, with what it has made of it."""


def draw_work(seed: int, quiet: int) -> LeaseWork | None:
    """Draw it, for a part of the topic stores."""
    random = stream(seed, "queue groups")
    if random.random() >= SHARE:
        return None
    consumed = random.random() < 0.4
    names = ("work", SPARE)[: random.choice((1, 1, 2))]
    work = LeaseWork(
        seed=seed,
        groups=tuple(_draw_group(random, name) for name in names),
        workers=random.randint(1, 3),
        queues=random.choice((1, 1, 2)),
        sends_per_s=random.choice((3, 10)) / quiet,
        receives_per_s=random.choice((3, 10)) / quiet,
        slow=random.choice((0.0, 0.1, 0.3)),
        dies=random.choice((0.0, 0.05)),
        twice=random.choice((0.0, 0.2)),
        fails=random.choice((0.1, 0.5)),
        deletes_per_s=random.choice((0.0, 0.0, 0.1)) / quiet,
        retention_ms=60_000 if consumed else random.choice((0, 0, 4_000)),
        until_consumed=consumed,
        grace_ms=random.choice((300, 1_500, 5_000)),
        alters_per_s=random.choice((0.0, 0.0, 0.4)) / quiet,
    )
    return _with_seeks(_with_filters(_with_settlers(work, quiet), quiet), quiet)


def _with_filters(work: LeaseWork, quiet: int) -> LeaseWork:
    """Let groups have a filter in some seeds, and another one during the faults in some."""
    random = stream(work.seed, "filtered groups")
    if random.random() < 0.5:
        return work
    groups = [
        msgspec.structs.replace(each, wanted=random.choice((None, *range(len(WISHES)))))
        for each in work.groups
    ]
    return msgspec.structs.replace(
        work,
        groups=tuple(groups),
        subscribes_per_s=random.choice((0.0, 0.0, 0.3)) / quiet,
    )


def _with_seeks(work: LeaseWork, quiet: int) -> LeaseWork:
    """Let groups begin somewhere else in some seeds, where nobody settles in transactions.

    What is made of a message in a transaction is made again if it is sought again.
    """
    if work.settles:
        return work
    rate = stream(work.seed, "sought groups").choice((0.0, 0.0, 0.8, 2.5))
    return msgspec.structs.replace(work, seeks_per_s=rate / quiet)


def _with_settlers(work: LeaseWork, quiet: int) -> LeaseWork:
    """Let workers settle in transactions in some seeds, and come to do so during the faults."""
    settles = stream(work.seed, "settlers").choice((0.0, 0.0, 0.3, 0.8))
    if not settles:
        return work
    groups = [
        msgspec.structs.replace(each, in_flight=max(each.in_flight, 20)) for each in work.groups
    ]
    if len(groups) == 1:  # a transaction may settle for several, and few seeds have settlers
        groups.append(msgspec.structs.replace(groups[0], name=SPARE))
    return msgspec.structs.replace(
        work,
        groups=tuple(groups),
        receives_per_s=10 / quiet,
        grace_ms=min(work.grace_ms, 1_500),
        settles=settles,
    )


def _draw_group(random: Random, name: str) -> GroupWork:
    return GroupWork(
        name=name,
        fifo=random.random() < 0.4,
        poison=random.choice(POISON),
        attempts=random.choice((1, 2, 4)),
        retry_ms=random.choice(((0,), (200,), (50, 1_000))),
        lease_ms=random.choice((1_000, 1_000, 2_500)),
        in_flight=random.choice((3, 20, 1_000)),
    )

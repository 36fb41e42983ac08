"""What is done with dead letters in a seed: drawn from a stream of its own."""

from random import Random
from typing import Final

import msgspec

from chaos.sim.events import stream
from chaos.sim.lease_work import GroupWork, LeaseWork
from raftlog.client.dead_letters import PREFIX, RESENDER
from raftlog.wire.schema import leases

TOPICS: Final = ("chores", "errands")
"""The second one is deleted now and then, and made again."""
GROUPS: Final = ("helpers", "sitters")
SHARE: Final = 0.25
"""Topic stores whose dead letters are sent again."""


class LetterWork(msgspec.Struct, frozen=True):
    """The workload of one seed."""

    seed: int
    jobs: LeaseWork
    """What the workers of groups do, from whom letters come."""
    resenders: int
    """Of each group."""
    resends_per_s: float
    """How often one asks for more letters."""
    dies: float
    """How often one of these stops between the send and the ack."""
    stands: float
    """How often one stands still there for longer than its lease."""
    deletes_per_s: float
    """How often the second topic is deleted."""


def draw_letters(seed: int, quiet: int) -> LetterWork | None:
    """Draw it, for a part of the topic stores."""
    random = stream(seed, "resenders")
    if random.random() >= SHARE:
        return None
    groups = random.choice((1, 1, 2))
    jobs = LeaseWork(
        seed=seed,
        groups=tuple(_draw_group(random, name) for name in GROUPS[:groups]),
        workers=random.choice((1, 2)),
        queues=random.choice((1, 2)),
        sends_per_s=random.choice((2, 4)) / quiet / groups,
        receives_per_s=4 / quiet,
        slow=random.choice((0.0, 0.1)),
        dies=random.choice((0.0, 0.05)),
        twice=random.choice((0.0, 0.2)),
        # Each group gets what each other's letters become: that must not grow.
        fails=random.choice((0.5, 0.8)) / groups,
        deletes_per_s=0.0,
        retention_ms=0,
        until_consumed=False,
        grace_ms=random.choice((300, 1_500)),
        alters_per_s=0.0,
        topics=TOPICS[: random.choice((1, 2))],
    )
    return LetterWork(
        seed=seed,
        jobs=jobs,
        resenders=random.choice((1, 2)),
        resends_per_s=random.choice((1, 3)) / quiet,
        dies=random.choice((0.0, 0.2)),
        stands=random.choice((0.0, 0.2)),
        deletes_per_s=random.choice((0.0, 0.1, 0.3)) / quiet if len(jobs.topics) > 1 else 0.0,
    )


def _draw_group(random: Random, name: str) -> GroupWork:
    return GroupWork(
        name=name,
        fifo=random.random() < 0.3,
        poison=leases.POISON_POLICY_DEAD_LETTER,
        attempts=random.choice((1, 1, 2)),
        retry_ms=(200,),
        lease_ms=1_000,
        in_flight=20,
    )


def resends_of(work: LetterWork, group: str) -> LeaseWork:
    """Return what those do who send a group's letters again: they are a group, too."""
    resender = GroupWork(
        name=RESENDER + group,
        fifo=False,
        poison=leases.POISON_POLICY_BLOCK,
        attempts=1_000,
        retry_ms=(0,),
        lease_ms=1_000,
        in_flight=1_000,
    )
    return msgspec.structs.replace(
        work.jobs,
        groups=(resender,),
        receives_per_s=work.resends_per_s,
        topics=(PREFIX + group,),
    )

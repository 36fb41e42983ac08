"""Workloads of queue-style groups see planted bugs, and nothing on the product as it is.

Against the real machine over one log in memory: what real nodes and faults add is for whole runs.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Final, Protocol, cast

import msgspec
import pytest

from chaos.check.client_history import Anomaly
from chaos.check.faults_happened import NAME as HAPPENED
from chaos.check.work_done import NAME
from chaos.live.cluster import LiveCluster
from chaos.live.workloads import queue_policies, queues
from chaos.live.workloads.queue_policies import BlockingGroup, SkippingGroup, UnorderedGroup
from chaos.live.workloads.queues import QueueGroup
from chaos.live.world import World
from chaos.mutants.hook import patched_sources
from chaos.mutants.patches import find
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, answer_lost, fake_cluster, request_late

ENOUGH: Final = 12
"""Of everything that a group is about."""
RUN_S: Final = 60.0
LOST: Final = (Method.QUEUE_RECEIVE, Method.QUEUE_ACK, Method.QUEUE_RETURN, Method.QUEUE_DECIDE)

Enough = Callable[[QueueGroup], bool]


class Runner(Protocol):
    """Runs a workload; ``lossy``: answers are lost, and copies of requests are late."""

    def __call__(
        self, make: type[QueueGroup], has_enough: Enough, *, lossy: bool = False
    ) -> list[str]:
        """Return what it saw."""


class OneLog:
    """What workloads need to know of a cluster."""

    def __init__(self, seeds: list[str], directory: Path) -> None:
        self.seeds = seeds
        self.directory = directory


@pytest.fixture
def run_quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    """Return what runs a workload, at high rates, to its end or until it sees something."""
    monkeypatch.setattr(queue_policies, "LOOK_S", 0.05)
    monkeypatch.setattr(queues, "RETRY_S", (0.01, 0.02))
    monkeypatch.setattr(queues, "LIFE_S", (0.5, 6.0))

    async def run(make: type[QueueGroup], has_enough: Enough, *, lossy: bool) -> list[str]:
        often = {"keys": 8, "pause_s": (0.01, 0.05), "wait_s": 0.1, "poison": 3}
        rules = msgspec.structs.replace(make.rules, **often)
        monkeypatch.setattr(make, "rules", rules)
        if not rules.fifo:  # else who hangs holds up the others
            monkeypatch.setattr(queues, "SLOW", 10)
        async with fake_cluster(**{rules.topic: 1}) as cluster:
            cluster.burying.begin()
            world = World(cast("LiveCluster", OneLog(cluster.seeds, tmp_path)), 7)
            workload = make(world)
            running = asyncio.create_task(workload.run())
            until = world.now() + RUN_S
            while not (has_enough(workload) or world.anomalies) and world.now() < until:
                await asyncio.sleep(0.05)
                assert not running.done(), running
                if lossy:
                    _lose(cluster, world.random)
            cluster.heal()
            world.stopping.set()
            if world.anomalies:
                running.cancel()
                await asyncio.wait([running])
                return _told(world.anomalies)
            assert has_enough(workload), vars(workload)
            await workload.drain()
            await running
            cluster.burying.end()
            log = cluster.values(rules.topic)
            found = workload.check({rules.topic: dict(enumerate(log))})
            return _told([*world.anomalies, *found])

    def run_sync(make: type[QueueGroup], has_enough: Enough, *, lossy: bool = False) -> list[str]:
        return asyncio.run(run(make, has_enough, lossy=lossy))

    return run_sync


def _lose(cluster: FakeCluster, random: Random) -> None:
    """Lose answers and requests from now on, and carry out some that are late."""
    for method in LOST:
        if random.random() < 0.2:
            cluster.fault(method, random.choice((answer_lost, request_late)))
    for late in [late for late in cluster.late if random.random() < 0.1]:
        cluster.late.remove(late)
        late()


def _told(anomalies: Sequence[Anomaly]) -> list[str]:
    return [f"{each.check}: {each.text}" for each in anomalies]


def has_enough(workload: QueueGroup) -> bool:
    """Whether it has come to all that it is about."""
    wanted = [workload.acks, workload.failures]
    if isinstance(workload, BlockingGroup):
        wanted += [workload.blocked, workload.decided // 2]  # each verdict is among them
    if isinstance(workload, UnorderedGroup):
        wanted.append(workload.stale)
    return min(wanted) >= ENOUGH


@pytest.mark.long
@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("make", [QueueGroup, UnorderedGroup, SkippingGroup, BlockingGroup])
def test_a_workload_sees_nothing_where_nothing_is_wrong(
    run_quickly: Runner, make: type[QueueGroup], *, lossy: bool
) -> None:
    assert run_quickly(make, has_enough, lossy=lossy) == []


@pytest.mark.parametrize("make", [SkippingGroup, BlockingGroup])
def test_who_never_came_to_what_it_is_about_proves_nothing(
    tmp_path: Path, make: type[QueueGroup]
) -> None:
    nowhere = OneLog([], tmp_path)
    workload = make(World(cast("LiveCluster", nowhere), 7))
    nothing: dict[str, dict[int, list[bytes]]] = {make.rules.topic: {}}
    workload.acks = queue_policies.ENOUGH - 1
    assert workload.check(nothing) == []
    workload.acks += 1
    assert [each.check for each in workload.check(nothing)] == [HAPPENED]


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "mutant", "seen"),
    [
        (BlockingGroup, "blocked message is tried again without", "with somebody else"),
        (BlockingGroup, "attempts go on after a decision", "more often than the 2 attempts"),
        (BlockingGroup, "dead letter that was decided on", "and none is there"),
        (BlockingGroup, "key goes on before its message", "before it of its key was blocked"),
        (SkippingGroup, "skipped message is not counted", "neither acknowledged nor skipped"),
        (UnorderedGroup, "old lease handle acknowledges", "with somebody else"),
    ],
)
def test_a_planted_bug_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    run_quickly: Runner,
    make: type[QueueGroup],
    mutant: str,
    seen: str,
) -> None:
    planted = find(mutant)
    module = ModuleType(planted.module)
    exec(patched_sources(planted)[planted.module], module.__dict__)
    name = planted.module.rpartition(".")[2].capitalize()
    user = "state" if name == "Leasing" else "leasing"
    monkeypatch.setattr(f"raftlog.broker.{user}.{name}", getattr(module, name))
    told = run_quickly(make, has_enough)
    assert any(seen in each for each in told), told
    assert all(each.startswith(NAME) for each in told)

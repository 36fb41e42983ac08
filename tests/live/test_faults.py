"""What a fault takes for a proof, and what it excuses; whom it hits, and how. No cluster."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from chaos.check.client_history import Event, Records
from chaos.live.bad_files import Trouble
from chaos.live.faults import disks, network, power
from chaos.live.faults.disks import FAULTS as DISKS
from chaos.live.faults.fault import Step, choose, was_ended_by, whom
from chaos.live.faults.network import FAULTS as NETWORK
from chaos.live.journal import KINDS
from chaos.live.world import World
from raftlog.base.ids import NodeId
from raftlog.server.observation import ClusterView, NodeView
from raftlog.testing.processes import NodeAddress

NAMES: Final = [NodeId(f"n{number}") for number in (1, 2, 3)]
EIO: Final = "exit code 1: n1 stopping: fdatasync of d/log/1.seg failed: Input/output error"
pytestmark = pytest.mark.asyncio


class FakeNode:
    """A node whose disk does as it is told, and which ends as it was told."""

    def __init__(
        self,
        name: NodeId,
        *,
        dies: str = "",
        unsynced: int = 0,
        is_quiet: bool = False,
        data: Path = Path("/nowhere"),
    ) -> None:
        self.node = name
        self.address = NodeAddress(name, "127.0.0.1:9", "127.0.0.1:9")
        self.excused = False
        self.was_excused = False
        self.running = True
        self.starts = 1
        self.data = data
        self.dies = dies
        self._is_quiet = is_quiet
        self._unsynced = unsynced
        self._hits: dict[str, int] = {}
        self.had: list[Trouble] = []

    async def order(self, order: dict[str, object]) -> dict[str, int]:
        assert order in ({"hits": True}, {"hit_files": True})
        return dict(self._hits)

    async def trouble(self, troubles: Sequence[Trouble]) -> dict[str, int]:
        self.had += troubles
        self.was_excused |= self.excused
        for each in troubles:
            if not self.dies and not self._is_quiet:
                self._hits[each.name] = 1
        self.running = self.running and not (troubles and self.dies)
        return {}

    async def cut_power(self, kind: str, seed: int) -> dict[str, int]:
        assert kind in KINDS
        assert seed
        return {"unsynced": self._unsynced, "made": 0}

    async def ended(self) -> int:
        return 1

    def kill(self) -> None:
        self.running = False

    def begin(self, troubles: Sequence[Trouble] = ()) -> None:
        self.running = not (troubles and self.dies)
        self._hits = {each.name: 1 for each in troubles if not self._is_quiet}

    def why(self) -> str:
        return self.dies or "it runs: nothing"

    def ending(self) -> str:
        return self.why().partition(":")[0]

    def last_words(self) -> str:
        return self.why()


class FakeCluster:
    """Three nodes, the first of which leads, or another one."""

    def __init__(self, nodes: Sequence[FakeNode], leader: NodeId = NAMES[0]) -> None:
        self.nodes = {node.node: node for node in nodes}
        self.view = ClusterView(())
        self._leader = leader
        self.conditions: list[Any] = []

    @property
    def names(self) -> list[NodeId]:
        return list(self.nodes)

    async def leader(self, timeout_s: float) -> NodeView:
        assert timeout_s
        return NodeView(self._leader, 0, "", role="leader", term=1)

    async def look(self) -> ClusterView:
        return self.view

    async def settled(self, timeout_s: float) -> None:
        assert timeout_s

    def proxies_of(self, name: NodeId) -> list[Any]:
        assert name in self.nodes
        return []

    def links_of(self, name: NodeId) -> dict[Any, Any]:
        assert name in self.nodes
        return {}

    def around(self, name: NodeId, condition: Any, *, door: bool) -> Any:
        assert door
        assert name in self.nodes
        self.conditions.append(condition)
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def a_world(*nodes: FakeNode, leader: NodeId = NAMES[0]) -> World:
    found = nodes or [FakeNode(name) for name in NAMES]
    world = World(FakeCluster(found, leader), 1)  # type: ignore[arg-type]
    world.stopping.set()  # nothing rests
    return world


async def strike(world: World, fault: Any, step: Step) -> Event:
    event = Event(step.kind, 0.0)
    world.current.append(event)
    await fault.do(world, step, event, Random(step.seed))
    world.over(event)
    return event


@pytest.mark.parametrize(
    ("why", "is_told"),
    [
        (EIO, True),
        ("exit code 1: the next write of f failed: Input/output error", True),
        ("exit code 1: OSError: [Errno 5] Input/output error: 'd/log'", False),
        ("exit code 1: AssertionError: Input/output error", False),
        ("exit code 1: n1 stopping: fdatasync of f failed: No space left on device", False),
        ("exit code 1: nothing", False),
        ("killed by SIGSEGV: n1 stopping: Input/output error", False),
        ("exit code 0: n1 stopping: Input/output error", False),
    ],
)
async def test_an_end_is_excused_only_by_the_sentence_that_names_it(
    why: str, *, is_told: bool
) -> None:
    node = FakeNode(NAMES[0], dies=why)
    world = a_world(node)
    assert was_ended_by(world, node, disks.reason_of("EIO")) == is_told  # type: ignore[arg-type]
    assert [each.check for each in world.anomalies] == ([] if is_told else ["nodes_stay_up"])


@pytest.mark.parametrize(
    ("kind", "dies", "happened", "anomalies"),
    [
        ("sync-error", "", True, 0),
        ("sync-error", EIO, True, 0),
        ("sync-error", "exit code 1: AssertionError: two plans", False, 1),
        ("no-space-write", EIO, False, 1),
        ("slow-disk", "", True, 0),
        ("slow-disk", EIO, False, 1),
    ],
)
async def test_a_death_counts_only_if_it_was_by_what_was_done(
    kind: str, dies: str, *, happened: bool, anomalies: int
) -> None:
    nodes = [FakeNode(name, dies=dies) for name in NAMES]
    world = a_world(*nodes)
    event = await strike(world, DISKS[kind], Step(kind, 0.0, 0.1, 3))
    assert (event.happened, len(world.anomalies)) == (happened, anomalies), event
    (hit,) = [node for node in nodes if node.had]
    assert hit.was_excused == (kind != "slow-disk")
    assert hit.running
    assert not hit.excused


@pytest.mark.parametrize("unsynced", [0, 1])
async def test_a_loss_of_power_that_loses_nothing_has_not_happened(unsynced: int) -> None:
    world = a_world(*(FakeNode(name, unsynced=unsynced) for name in NAMES))
    for kind in ("power", "power-all"):
        event = await strike(world, power.FAULTS[kind], Step(kind, 0.0, 0.0, 3))
        assert event.happened == bool(unsynced), event.note


async def test_all_lose_their_power_when_all_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(*(FakeNode(name, unsynced=1) for name in NAMES))
    world.stopping.clear()
    looks: list[bool] = []
    world.records["orders"] = records = Records("orders")

    async def look() -> ClusterView:
        looks.append(True)
        if len(looks) in (2, 5):
            records.ok(records.begin(0, 0.0), 0.0, 0, 0, 1)
        down = NodeView(NAMES[2], 0, "", problem="down" if len(looks) < 3 else "")
        leader = NodeView(NAMES[0], 0, "", role="leader", term=1, leader="n1")
        return ClusterView((leader, NodeView(NAMES[1], 0, "", term=1, leader="n1"), down))

    monkeypatch.setattr(world, "look", look)
    event = await strike(world, power.FAULTS["power-all"], Step("power-all", 0.0, 0.0, 3))
    assert event.happened
    assert len(looks) == 5


async def test_how_is_drawn_apart_from_whom() -> None:
    """Another leader, or a node that is taken, changes nothing else of a schedule."""
    step = Step("late", 0.0, 0.1, 5)
    conditions = []
    for leader in NAMES:
        world = a_world(leader=leader)
        await strike(world, NETWORK["late"], step)
        world.take(Event("kill", 0.0), NAMES[0], leader)
        await strike(world, NETWORK["late"], step)
        conditions += world.cluster.conditions  # type: ignore[attr-defined]
    assert len(conditions) == 6
    assert len(set(conditions)) == 1


async def test_the_leader_is_hit_as_often_as_all_others() -> None:
    hit = []
    for seed in range(200):
        world = a_world()
        hit.append(await choose(world, Step("kill", 0.0, 0.1, seed), Event("kill", 0.0)))
    assert 70 < hit.count(NAMES[0]) < 130
    assert set(hit) == set(NAMES)
    assert whom(Step("kill", 0.0, 0.1, 7)).random() != Random(7).random()


async def test_a_link_fault_without_a_proof_has_not_happened() -> None:
    for kind in ("lossy", "reorder", "refused", "late"):
        world = a_world()
        event = await strike(world, NETWORK[kind], Step(kind, 0.0, 0.0, 1))
        assert not event.happened, kind
        assert network.FAULTS[kind].group == "network"


async def test_what_is_over_sets_nodes_free() -> None:
    world = a_world()
    await asyncio.gather(
        *(strike(world, NETWORK["late"], Step("late", 0.0, 0.0, seed)) for seed in (1, 2))
    )
    assert world.free() == NAMES

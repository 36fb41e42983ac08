"""A member is replaced: who was removed has to end, and by that. No cluster."""

from types import SimpleNamespace
from typing import Any, Final, Self

import pytest

from chaos.live.faults import members
from chaos.live.faults.fault import Step
from raftlog.base.ids import NodeId
from tests.live.test_faults import NAMES, FakeCluster, FakeNode, a_world, strike

pytestmark = pytest.mark.asyncio
N4: Final = NodeId("n4")
REMOVED: Final = "exit code 1: n1 stopping: n1 was removed from the cluster with the directory d"


class Leaving(FakeNode):
    """A node that ends, or does not, when it was removed."""

    def begin(self, troubles: Any = (), *, join: bool = False) -> None:
        assert join
        super().begin(troubles)


class FakeMembers:
    """A client whose cluster removes whom it is told to."""

    def __init__(self, world: Any, *, removes: bool = True) -> None:
        self.members = self
        self._nodes = world.cluster.nodes
        self._removes = removes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def remove(self, name: NodeId) -> list[Any]:
        if self._removes:
            self._nodes[name].running = not self._nodes[name].dies
        left = [each for each in self._nodes if each != name or not self._removes]
        return [SimpleNamespace(node=each, place="voter") for each in left]


def world_of(monkeypatch: pytest.MonkeyPatch, *, dies: str, removes: bool = True) -> Any:
    world: Any = a_world(*(FakeNode(name, dies=dies) for name in NAMES))
    wiped: list[NodeId] = []
    cluster: FakeCluster = world.cluster
    new = Leaving(N4)
    new.running = False
    admit = lambda node: cluster.nodes.update({node.node: node})  # noqa: E731
    for name, value in {
        "spare": new,
        "admit": admit,
        "dismiss": lambda node: cluster.nodes.pop(node.node),
        "wipe": wiped.append,
        "wiped": wiped,
    }.items():
        monkeypatch.setattr(cluster, name, value, raising=False)
    monkeypatch.setattr(members, "REMOVED_S", 0.3)
    client = FakeMembers(world, removes=removes)
    monkeypatch.setattr(world, "client", lambda **_: client)
    return world


@pytest.mark.long
@pytest.mark.parametrize(
    ("dies", "anomalies"),
    [(REMOVED, []), ("", ["heals"]), ("exit code 1: nothing", ["nodes_stay_up"])],
)
async def test_who_was_removed_ends_by_that(
    monkeypatch: pytest.MonkeyPatch, dies: str, anomalies: list[str]
) -> None:
    hit = set()
    for seed in range(20):
        world = world_of(monkeypatch, dies=dies)
        event = await strike(world, members.FAULTS["replace"], Step("replace", 0.0, 0.0, seed))
        assert event.happened
        assert [each.check for each in world.anomalies] == anomalies
        (gone,) = world.cluster.wiped
        assert sorted(world.cluster.nodes) == sorted({*NAMES, N4} - {gone})
        assert event.note.endswith("and led") == (gone == NAMES[0])
        hit.add(gone)
    assert hit == set(NAMES)


async def test_who_is_a_member_still_was_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, dies="", removes=False)
    event = await strike(world, members.FAULTS["replace"], Step("replace", 0.0, 0.0, 1))
    assert not event.happened


async def test_without_a_spare_node_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, dies="")
    monkeypatch.setattr(world.cluster, "spare", None)
    event = await strike(world, members.FAULTS["replace"], Step("replace", 0.0, 0.0, 1))
    assert not event.happened
    assert "stands by" in event.note

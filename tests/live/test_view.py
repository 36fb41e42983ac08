"""The live view draws every state of a run, and tells each thing once where nobody can see it."""

from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from chaos.check.client_history import Event, Records
from chaos.live.topics import ORDERS
from chaos.live.verdict import Plan
from chaos.live.view import View, _picture
from chaos.live.world import Sight, World
from raftlog.base.ids import NodeId
from raftlog.server.observation import ClusterView, NodeView

PLAN = Plan("verify", 3, 60.0, 3, ("kill", "pause"))


@pytest.fixture
def world(world: World) -> World:
    """A run with two nodes, a fault that goes on, one that is over, and an anomaly."""
    world.records[ORDERS] = records = Records(ORDERS)
    records.ok(records.begin(0, 1.0), 1.2, 0, 0, 1)
    records.ok(records.begin(0, 1.0), 2.5, 0, 1, 2)
    rows = [NodeView(NodeId(f"n{number}"), 0, "", term=7, commit=90 + number) for number in (1, 2)]
    world.cluster.view = ClusterView(tuple(rows))
    world.cluster.names = cast("Any", ["n1", "n2"])  # type: ignore[misc]
    nodes = {"n1": SimpleNamespace(starts=4), "n2": SimpleNamespace(starts=1)}
    world.cluster.nodes = cast("Any", nodes)  # type: ignore[misc]
    world.events.append(Event("kill", 2.0, "n2", 3.0, True, "killed by SIGKILL", 1, True))
    world.events.append(Event("pause", 4.0, "n1"))
    world.current.append(world.events[-1])
    world.sights.append(Sight(4.0, "n2", 7, ("paused", "leader"), 2))
    world.saw("kept_records", "1 x orders: lost", "offset 7")
    return world


def drawn(world: World, *, width: int = 120) -> str:
    console = Console(force_terminal=True, width=width, file=StringIO(), record=True)
    console.print(_picture(PLAN, world))
    return console.export_text()


def test_the_picture_has_nodes_faults_acks_and_the_time_without_a_leader(world: World) -> None:
    text = drawn(world)
    rows = [line.split() for line in text.splitlines()]
    assert ["n1", "paused", "7", "91", "0", "4"] in rows
    assert ["n2", "leader", "7", "92", "0", "1"] in rows
    for part in (
        *("of 60 s", "acked 2", "seed 3", "without a leader: kill 1: p50 0.50 s"),
        *("now: pause n1", "killed by SIGKILL", "kept_records: 1 x orders: lost"),
    ):
        assert part in text


def test_a_run_that_has_just_begun_can_be_drawn(world: World) -> None:
    """Nobody was looked at, nothing was done."""
    for each in (world.events, world.current, world.sights, world.anomalies):
        each.clear()
    world.cluster.view = ClusterView(())
    text = drawn(world)
    assert "without a leader: never yet" in text
    assert "now: nothing is wrong" in text


def test_a_terminal_is_drawn_on_and_left_as_it_was(world: World) -> None:
    console = Console(force_terminal=True, width=120, file=(screen := StringIO()))
    with View(PLAN, console) as view:
        view.tell(world)
        view._live.refresh()
        view.tell(world)
    shown = screen.getvalue()
    assert "--seed 3" in shown
    assert "pause n1" in shown
    hides, shows = "\x1b[?25l", "\x1b[?25h"
    assert shown.count(hides) == shown.count(shows) == 1


def test_where_nobody_sees_a_picture_each_thing_is_told_once(world: World) -> None:
    console = Console(force_terminal=False, width=120, file=(lines := StringIO()))
    with View(PLAN, console) as view:
        view.tell(world)
        view.tell(world)
        world.events[-1].until = 5.0
        view.tell(world)
    told = lines.getvalue().splitlines()
    assert len(told) == 4
    assert "killed by SIGKILL" in told[1]
    assert told[2] == "ANOMALY kept_records: 1 x orders: lost"
    assert "pause" in told[3]

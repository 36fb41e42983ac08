"""What a run looks at while it goes on and in its end, and what is left of it."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chaos.check.client_history import Anomaly, Event
from chaos.check.whole_queues import WholeQueues
from chaos.live import comparing, run, topics
from chaos.live.cluster import LiveNode
from chaos.live.comparing import Compared, compare_all
from chaos.live.run import EXTRA_S, check_working, cluster_of, demanded, due, watch
from chaos.live.schedule import SCENARIOS, draw
from chaos.live.topics import read_rest
from chaos.live.verdict import Plan
from chaos.live.world import World
from raftlog.base.errors import Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.client import Client
from raftlog.server.comparison import Comparison, Difference, ShardComparison
from raftlog.server.scrubbing import Scrubbed
from raftlog.testing.processes import NodeAddress
from tests.client.fake_cluster import fake_cluster

PLAN = Plan("verify", 1, 60.0, 3, SCENARIOS["verify"].kinds)


# -- processes that end by themselves


class ShortLived(LiveNode):
    """A node whose process does something short."""

    does = "raise SystemExit(3)"

    def _program(self) -> list[str]:
        return [sys.executable, "-c", self.does]


class LongLived(ShortLived):
    """One that runs until it is told to end."""

    does = "import signal; signal.pause()"


def node_in(directory: Path, make: type[LiveNode]) -> LiveNode:
    return make(NodeAddress(NodeId("n1"), "127.0.0.1:9", "127.0.0.1:9"), directory)


async def cut_power(node: LiveNode) -> None:
    assert await node.cut_power("lose", 1) == {}


async def begin(node: LiveNode) -> None:
    node.begin()
    await node.ended()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "hit",
    [
        *(begin, cut_power),
        lambda node: asyncio.to_thread(node.kill),
        lambda node: asyncio.to_thread(node.terminate),
    ],
)
async def test_who_ended_by_itself_is_told_although_a_fault_came_before_the_next_look(
    world: World, tmp_path: Path, hit: Callable[[LiveNode], Any]
) -> None:
    """A look beside a node that stands still takes a second; whoever was hit has an excuse."""
    node = node_in(tmp_path, ShortLived)
    node.begin()
    await node.ended()
    await hit(node)
    world.cluster.nodes = {node.node: node}  # type: ignore[misc]
    world.heed_deaths()
    (found,) = world.anomalies
    assert (found.check, found.text) == (
        "nodes_stay_up",
        "n1 ended by itself: exit code 3",
    )
    world.heed_deaths()
    assert node.deaths == []


@pytest.mark.asyncio
async def test_who_was_told_to_end_or_is_excused_is_not_told(tmp_path: Path) -> None:
    node = node_in(tmp_path, LongLived)
    for end in (node.kill, node.terminate):
        node.begin()
        end()
        await node.ended()
        node.note_death()
    sick = node_in(tmp_path, ShortLived)
    sick.begin()
    await sick.ended()
    sick.excused = True
    for _ in range(2):
        sick.note_death()
    sick.begin()
    await sick.ended()
    sick.excused = False  # what was excused stays so
    sick.note_death()
    sick.begin()
    assert node.deaths == sick.deaths == []
    await sick.ended()
    sick.note_death()
    assert len(sick.deaths) == 1


# -- who watches


@pytest.mark.asyncio
async def test_a_run_ends_with_whoever_watches_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher that has ended sees no second leader any more, and no node that ends."""

    def tell(_: World) -> None:
        raise ZeroDivisionError("a picture that can't be drawn")

    async def look_on() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world, "watch", look_on)
    watching = asyncio.create_task(watch(world, tell))
    check_working([watching])
    with pytest.raises(ZeroDivisionError, match="drawn"):
        await run._break(world, PLAN, draw(1, ["kill"]), [watching])
    monkeypatch.setattr(world, "watch", asyncio.Event().wait)
    quiet = asyncio.create_task(watch(world, lambda _: None))
    await asyncio.sleep(0.3)
    check_working([quiet])
    quiet.cancel()


@pytest.mark.asyncio
async def test_a_run_ends_with_a_client_that_ends() -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    with pytest.raises(AssertionError, match="before the run"):
        check_working([ended])


# -- what must have happened


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_that_is_run_as_it_is_demands_all_its_faults(name: str) -> None:
    scenario = SCENARIOS[name]
    plan = Plan(name, 1, scenario.time_s, 3, scenario.kinds)
    assert demanded(plan, []) == scenario.kinds


def test_a_short_run_demands_what_it_came_to() -> None:
    tried = [Event("pause", 1.0), Event("kill", 2.0), Event("pause", 3.0)]
    short = msgspec.structs.replace(PLAN, time_s=20.0)
    assert demanded(short, tried) == ["pause", "kill"]
    named = msgspec.structs.replace(PLAN, faults=("process",), time_s=60.0)
    assert demanded(named, tried) == ["pause", "kill"]
    few = msgspec.structs.replace(named, kinds=("kill", "halves"), time_s=16.0)
    assert demanded(few, tried) == ("kill", "halves")


def test_what_is_demanded_is_done_though_the_time_is_over() -> None:
    *most, last = [Event(kind, 1.0, happened=True) for kind in PLAN.kinds]
    assert due(PLAN, most, 500.0) == last.kind
    assert due(PLAN, [*most, last], 60.0) == ""
    missed = msgspec.structs.replace(last, happened=False)
    assert due(PLAN, [*most, missed], 60.0) == last.kind
    assert due(PLAN, [*most, missed], 60.0 + EXTRA_S) == ""
    assert due(PLAN, [*most, missed, last], 60.0) == ""


# -- disks


@pytest.fixture
def compared(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Compare three nodes that have these files, with this outcome; return the anomalies."""

    def compare(
        *shards: ShardComparison, files: tuple[str, ...] = ("index/1.qx", "snapshot/9.tables")
    ) -> list[str]:
        outcomes = iter(shards)
        for name in ("n1", "n2", "n3"):
            for file in files if name == "n3" else ("index/1.qx", "snapshot/9.tables"):
                path = tmp_path / name / "shards/0" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        nodes = {name: SimpleNamespace(data=tmp_path / name) for name in ("n1", "n2", "n3")}
        world.cluster.nodes = cast("Any", nodes)  # type: ignore[misc]
        monkeypatch.setattr(
            *(comparing, "compare_directories"),
            lambda first, other: Comparison(first, other, (next(outcomes),)),
        )
        compare.found = compare_all(world)  # type: ignore[attr-defined]
        return [each.text for each in world.anomalies if each.check == "same_files"]

    return compare


def alike(entries: int = 5, *, damaged: int = 0) -> ShardComparison:
    return ShardComparison(0, entries, 9, 2, damaged, ())


def test_equal_disks_are_good_and_counted_by_the_pair_that_has_least(
    compared: Callable[..., list[str]],
) -> None:
    assert compared(alike(7), alike(5)) == []
    assert compared.found == Compared(5, 1, 1)  # type: ignore[attr-defined]


def test_damage_that_is_left_after_a_scrub_is_an_anomaly(
    compared: Callable[..., list[str]],
) -> None:
    """Entries that are good in one place only are compared with nothing."""
    (told,) = compared(alike(), alike(damaged=2))
    assert told == "n1 and n3: 2 entries are damaged on one of them after a scrub"


def test_a_difference_is_an_anomaly(compared: Callable[..., list[str]]) -> None:
    other = msgspec.structs.replace(alike(), differences=(Difference("entry 7", "a", "b"),))
    assert compared(alike(), other) == ["n1 and n3 differ: entry 7"]


@pytest.mark.parametrize(
    ("entries", "files", "missing"),
    [
        (0, ("index/1.qx", "snapshot/9.tables"), "entries"),
        (5, ("index/2.qx", "snapshot/9.tables"), "ranges"),
        (5, ("index/1.qx", "snapshot/8.tables"), "snapshots"),
        (5, ("index/1.qx", "snapshot/9.tables.part"), "snapshots"),
    ],
)
def test_a_pair_with_nothing_to_compare_is_an_anomaly(
    compared: Callable[..., list[str]], entries: int, files: tuple[str, ...], missing: str
) -> None:
    """Also if another pair has much."""
    (told,) = compared(alike(), alike(entries), files=files)
    assert told == f"n1 and n3 have no {missing} in common that could be compared"


@pytest.mark.asyncio
async def test_every_node_is_scrubbed_and_one_that_can_not_be_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scrub_node(address: str, shard: int, timeout_s: float) -> Scrubbed:
        del shard, timeout_s
        if address == "c:3":
            raise Unavailable("it scrubs still")
        return Scrubbed(bytes=9, found=2, repaired=2, damaged=0)

    monkeypatch.setattr(comparing, "scrub_node", scrub_node)
    nodes = (NodeId(f"n{number}") for number in (1, 2, 3))
    addresses = [NodeAddress(node, f"p:{node[1]}", f"c:{node[1]}") for node in nodes]
    world.cluster.addresses = addresses  # type: ignore[misc]
    assert await comparing.scrub(world) == 4
    assert [each.text for each in world.anomalies] == ["n3 can't be scrubbed in the end"]


# -- the last read


@pytest.mark.asyncio
async def test_a_queue_that_is_not_as_it_was_hides_nothing_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are read and judged all the same; what is wrong is told once for each queue."""
    monkeypatch.setattr(topics, "TOPICS", {"orders": 3, "notes": 1})
    archived = WholeQueues({"orders": 3, "notes": 1})
    archived.take("orders", 0, 0, b"another")
    for offset in range(2):
        archived.take("orders", 1, offset, b"1")
    told: list[str] = []
    async with fake_cluster(orders=3, notes=1) as cluster, Client(cluster.seeds) as client:
        for queue in (0, 0, 1, 2, 2):
            await client.send("orders", b"%d" % queue, queue=queue)
        await client.send("notes", b"n")
        await read_rest(client, archived, lambda check, text: told.append(f"{check} | {text}"))
    assert archived.logs["orders"][0] == [b"another"], "it is told once, and left"
    assert archived.logs["orders"][2] == [b"2", b"2"]
    assert archived.logs["notes"][0] == [b"n"]
    assert len(told) == 2
    assert "orders/0, offset 0: first b'another', then b'0'" in told[0]
    assert "orders/1 ends at 1, and 2 records were read of it" in told[1]


@pytest.mark.asyncio
async def test_what_was_read_is_judged_although_the_rest_was_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the evidence of why the rest can't be read."""
    judged: list[object] = []

    def check(logs: object) -> list[Anomaly]:
        judged.append(logs)
        return [Anomaly("kept_records", "1 x orders: lost")]

    async def late(*_: object) -> int:
        raise TimeoutError

    async def nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(run, "read_rest", late)
    for name in ("write_files", "scrub"):
        monkeypatch.setattr(run, name, nothing)
    monkeypatch.setattr(run, "compare_all", lambda _: Compared(1, 1, 1))
    world.cluster.nodes = {}  # type: ignore[misc]
    world.cluster.settled = nothing  # type: ignore[assignment,method-assign]
    world.archived.take("orders", 0, 0, b"v")
    workload = SimpleNamespace(name="producers", done=7, check=check)
    left = await run._look_at_all(world, [cast("Any", workload)])
    assert judged == [world.archived.logs]
    assert (left.done, left.stored) == ({"producers": 7}, 1)
    assert {each.check for each in world.anomalies} == {"unseen", "kept_records"}


# -- nothing is left


def test_no_file_and_no_process_is_left_whatever_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(LiveNode, "_program", LongLived._program)
    monkeypatch.setattr(LiveNode, "does", LongLived.does, raising=False)
    nodes: list[LiveNode] = []

    def interrupted() -> None:
        with cluster_of(PLAN) as cluster:
            nodes.append(next(iter(cluster.nodes.values())))
            nodes[0].begin()
            assert nodes[0].running
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not nodes[0].running
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_left_of_a_cluster_that_can_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(directory: Path) -> Path:
        (directory / "shim.so").touch()
        raise OSError("no compiler works")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("chaos.live.cluster.build", build)
    shim = msgspec.structs.replace(PLAN, shim=True)
    with pytest.raises(OSError, match="no compiler"), cluster_of(shim):
        pass
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_asked_for_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with cluster_of(PLAN) as cluster:
        cluster.stays = True
    assert [cluster.directory] == list(tmp_path.iterdir())


@pytest.mark.parametrize("number", run.ENDING)
def test_a_signal_waits_until_the_files_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Whoever presses Ctrl-C twice means that it should end, not that something should stay."""
    left: list[int] = []

    def rmtree(path: Path, *, ignore_errors: bool) -> None:
        os.kill(os.getpid(), number)
        shutil.rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(run, "rmtree", rmtree)
    before = signal.signal(number, lambda *_: left.append(len(list(tmp_path.iterdir()))))
    try:
        with cluster_of(PLAN):
            pass
        assert left == [0]
    finally:
        signal.signal(number, cast("Any", before))

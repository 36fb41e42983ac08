"""Full disks, rot and failing reads: what proves them, and what does not. No cluster."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from chaos.live.damage import SHARD, Rotten
from chaos.live.faults import disks, rot
from chaos.live.faults.fault import Step
from chaos.live.world import World
from raftlog.base.errors import Unavailable
from tests.live.test_faults import EIO, NAMES, FakeNode, a_world, strike

pytestmark = pytest.mark.asyncio
STEP: Final = Step("any", 0.0, 0.0, 3)


def statuses(monkeypatch: pytest.MonkeyPatch, *told: tuple[int, int]) -> None:
    """Let nodes tell, one after the other, whether the disk is waited for, and what is durable."""
    left: Iterator[tuple[int, int]] = iter(told)

    async def status(address: str) -> Any:
        assert address
        waits, durable = next(left, told[-1])
        return SimpleNamespace(durable=durable, counters={"disk_stalled_size": waits})

    async def fill(_: World) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(disks, "_status", status)
    monkeypatch.setattr(disks, "_fill", fill)
    for name in ("STALLED_S", "GOES_ON_S"):
        monkeypatch.setattr(disks, name, 0.3)


@pytest.mark.parametrize(
    ("told", "happened", "note"),
    [
        ([(0, 7), (1, 7), (1, 7), (0, 8)], True, "and went on"),
        ([(0, 7)], False, "needed no space"),
        ([(1, 7)], False, "did not go on"),
        ([(1, 7), (0, 7)], False, "did not go on"),
    ],
)
async def test_a_full_disk_is_one_that_was_waited_for(
    monkeypatch: pytest.MonkeyPatch, told: list[tuple[int, int]], *, happened: bool, note: str
) -> None:
    statuses(monkeypatch, *told)
    world = a_world()
    world.stopping.clear()
    event = await strike(world, disks.FAULTS["no-space"], STEP)
    assert (event.happened, world.anomalies) == (happened, [])
    assert note in event.note


async def test_a_full_disk_excuses_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses(monkeypatch, (1, 7), (0, 8))
    nodes = [FakeNode(name, dies=EIO) for name in NAMES]
    world = a_world(*nodes)
    world.stopping.clear()
    event = await strike(world, disks.FAULTS["no-space"], STEP)
    assert not event.happened
    assert not any(node.was_excused for node in nodes)


def with_a_log(data: Path) -> Path:
    """Return a directory that has a segment, and nothing else yet."""
    (data / SHARD / "log").mkdir(parents=True, exist_ok=True)
    (data / SHARD / "log/1.seg").touch()
    return data


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """No node is asked to scrub, and all say how much they have repaired."""

    def say(repaired: int) -> None:
        async def status(_: str) -> Any:
            counters = {"entries_repaired": repaired, "log_first_index": 1}
            return SimpleNamespace(durable=9, counters=counters)

        async def scrub(_: FakeNode) -> None:
            pass

        monkeypatch.setattr(rot, "ask_status", status)
        monkeypatch.setattr(rot, "_scrub", scrub)
        for name in ("MENDED_S", "MET_S"):
            monkeypatch.setattr(rot, name, 0.3)

    return say


@pytest.mark.parametrize("repaired", [0, 2])
async def test_rot_that_nobody_mends_has_not_happened(
    monkeypatch: pytest.MonkeyPatch, quiet: Callable[[int], None], repaired: int
) -> None:
    quiet(repaired)
    monkeypatch.setattr(rot, "rot_entries", lambda *_: [5, 7])
    event = await strike(a_world(), rot.FAULTS["bit-flip"], STEP)
    assert event.happened == bool(repaired)
    assert "[5, 7]" in event.note


@pytest.mark.parametrize("end", ["mended", "still rotten", "trimmed"])
async def test_what_rots_beside_the_log_is_mended_or_has_not_happened(
    monkeypatch: pytest.MonkeyPatch, quiet: Callable[[int], None], tmp_path: Path, end: str
) -> None:
    quiet(0)
    paths = [tmp_path / name for name in ("hard.state", "1.qx")]
    for path in paths:
        path.write_bytes(b"good")
    rotten = [Rotten(path, b"good", b"good".__eq__) for path in paths]
    if end == "still rotten":
        paths[1].write_bytes(b"bad")
    elif end == "trimmed":
        paths[1].unlink()
    monkeypatch.setattr(rot, "rot_beside", lambda *_: rotten)
    event = await strike(a_world(), rot.FAULTS["bit-flip-beside"], STEP)
    assert event.happened == (end == "mended")
    assert event.note == f"hard.state: mended, 1.qx: {end}"


@pytest.mark.parametrize(
    ("dies", "happened", "anomalies"),
    [
        ("", True, 0),
        ("exit code 1: pread of f failed: Input/output error", True, 0),
        ("exit code 1: OSError: [Errno 5] Input/output error", False, 1),
    ],
)
@pytest.mark.parametrize("kind", ["read-error", "unreadable"])
async def test_reads_that_fail(
    quiet: Callable[[int], None],
    kind: str,
    dies: str,
    *,
    happened: bool,
    anomalies: int,
    tmp_path: Path,
) -> None:
    quiet(0)
    nodes = [FakeNode(name, dies=dies, data=with_a_log(tmp_path)) for name in NAMES]
    world = a_world(*nodes)
    event = await strike(world, rot.FAULTS[kind], STEP)
    assert (event.happened, len(world.anomalies)) == (happened, anomalies), event.note
    assert all(node.running and not node.excused for node in nodes)


async def test_reads_that_nobody_made_have_not_failed(
    quiet: Callable[[int], None], tmp_path: Path
) -> None:
    quiet(0)
    data = with_a_log(tmp_path)
    nodes = [FakeNode(name, is_quiet=True, data=data) for name in NAMES]
    for kind in ("read-error", "unreadable"):
        event = await strike(a_world(*nodes), rot.FAULTS[kind], STEP)
        assert not event.happened
        assert kind == "unreadable" or event.note == "0 reads of .seg failed"


async def test_a_node_may_end_late_by_what_it_has_read(
    monkeypatch: pytest.MonkeyPatch, quiet: Callable[[int], None]
) -> None:
    """While it is waited for; it was excused for that until it was whole."""
    quiet(0)
    nodes = [FakeNode(name) for name in NAMES]
    world = a_world(*nodes)
    calls = []

    async def settled(_: float) -> None:
        calls.append(1)
        if len(calls) != 2:  # the first one is before the blow
            return
        (hit,) = [node for node in nodes if node.excused]
        hit.running = False
        hit.dies = "exit code 1: pread of f failed: Input/output error"
        raise Unavailable("not whole")

    monkeypatch.setattr(world.cluster, "settled", settled)
    event = await strike(world, rot.FAULTS["unreadable"], STEP)
    assert event.happened
    assert world.anomalies == []
    assert "Input/output" in event.note

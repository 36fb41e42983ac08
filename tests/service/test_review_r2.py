"""Review r2: snapshots."""

import gc
import os
import time
from pathlib import Path

import pytest

from raftlog.base.errors import StorageFailed
from raftlog.base.ids import Index
from raftlog.broker.table import Table
from raftlog.storage.files import OsFiles
from raftlog.storage.snapshot_store import SnapshotStore, SnapshotWriting
from tests.service.test_snapshot import World, _small_ranges  # noqa: F401


def test_tables_that_were_let_go_make_no_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A is given up by an install, B is begun, and then A's last write fails."""
    world = World()
    world.create("orders")
    world.durable = world.cut()
    world.snapshots.progress()  # A
    world.reader.waiting.pop(0)()  # it has begun; a write of it is queued
    world.snapshots.restored()  # as the installer does
    assert world.machine._frozen is not None
    world.machine._frozen.end()  # as ``machine.restore`` does
    world.durable = world.cut()
    digest = world.machine.digest()
    world.snapshots.progress()  # B begins behind A's write

    def fails(*_: object) -> None:
        raise StorageFailed("pwrite", "x", 0, OSError(5, "EIO"))

    with monkeypatch.context() as patch:
        patch.setattr(SnapshotWriting, "write", fails)
        world.reader.waiting.pop(0)()
    assert len(world.failures) == 1  # the node is to stop ...
    world.reader.run()  # ... and goes on for some turns of its loop
    assert not world.store.indexes() or world.restored().digest() == digest


def test_a_step_is_short_where_all_keys_are_new() -> None:
    """What came since the freeze is walked over without a pause."""
    rows: Table[tuple[int, str], list[object]] = Table()
    frozen = rows.freeze()
    for number in range(100_000):
        rows.put((number % 7, f"order-{number * 7919 % 1000003}"), [1, "x", 5])
    chunks = frozen.chunks()
    began = time.process_time()
    next(chunks, None)
    took_ms = (time.process_time() - began) * 1000
    assert took_ms < 5, f"{took_ms:.0f} ms of CPU"


def test_what_came_and_went_since_the_freeze_costs_nothing() -> None:
    """Messages in flight: each has a row for a moment."""
    rows: Table[int, list[int]] = Table()
    frozen = rows.freeze()
    for number in range(10_000):
        rows.put(number, [number])
        rows.delete(number)
    assert len(frozen._old) < 100


def test_a_snapshot_that_is_given_up_lets_go_of_its_file(tmp_path: Path) -> None:
    """By an install (``Snapshots.restored``), or a fetch that begins anew."""
    store = SnapshotStore(OsFiles(), str(tmp_path / "snapshot"))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for index in range(1, 6):
        writing = store.begin(Index(index))
        writing.write([b"x" * 1000])
        del writing
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) - before <= 1  # noqa: PTH208

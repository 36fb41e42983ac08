"""The preload shim takes back what was not synced, and only that."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from chaos.live.journal import KINDS
from chaos.live.shim import build, compiler, preloaded

ROOT: Final = Path(__file__).parents[2]
BEFORE: Final = """
import os, sys
from chaos.live.shim import ShimDisk
from raftlog.storage.files import OsFiles
files, root, kind = OsFiles(), sys.argv[1], sys.argv[2]
log = files.open(root + "/log", create=True)
log.pwrite([b"dur", b"able"], 0)
log.sync()
old = files.open(root + "/old", create=True)
old.pwrite([b"old"], 0)
old.sync()
files.sync_directory(root)
"""
AFTER: Final = """
print(ShimDisk().cut_power(kind, 7))
os._exit(0)
"""
Left = Callable[..., dict[str, bytes]]
pytestmark = pytest.mark.skipif(compiler() is None, reason="no gcc is found")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def left(library: Path, tmp_path: Path) -> Left:
    """Do something after all is durable, cut the power, and return what is in each file."""

    def run(do: str, kind: str = "lose") -> dict[str, bytes]:
        data, aside = tmp_path / "data", tmp_path / "aside"
        data.mkdir()
        aside.mkdir()
        program = [sys.executable, "-c", BEFORE + do + AFTER, str(data), kind]
        subprocess.run(
            [*preloaded(library, data, aside), *program],
            check=True,
            cwd=ROOT,
        )
        return {path.name: path.read_bytes() for path in data.iterdir()}

    return run


DURABLE: Final = {"log": b"durable", "old": b"old"}


@pytest.mark.parametrize(
    "do",
    [
        "",
        "log.pwrite([b'more'], 3); log.pwrite([b'x' * 5000], 7)",
        "log.truncate(2)",
        "log.allocate(9000); log.pwrite([b'y'], 8000)",
        "files.remove(root + '/old')",
        "files.rename(root + '/log', root + '/old'); log.pwrite([b'z'], 0)",
        "files.open(root + '/new', create=True).pwrite([b'new'], 0)",
    ],
)
def test_what_was_not_synced_is_taken_back(left: Left, do: str) -> None:
    assert left(do) == DURABLE


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_synced_stays(left: Left, kind: str) -> None:
    do = """
log.pwrite([b"more"], 7)
log.truncate(9)
log.sync()
files.rename(root + "/log", root + "/old")
files.open(root + "/new", create=True)
files.sync_directory(root + "/")
"""
    assert left(do, kind) == {"old": b"durablemo", "new": b""}


def test_sectors_of_a_write_may_be_there_and_others_not(left: Left) -> None:
    do = "[log.pwrite([b'n' * 4096], 512 + 4096 * part) for part in range(32)]"
    found = left(do, "torn")["log"]
    assert found.startswith(b"durable")
    sectors = {found[at : at + 512] for at in range(512, len(found), 512)}
    assert sectors <= {b"n" * 512, bytes(512)}
    assert len(sectors) == 2

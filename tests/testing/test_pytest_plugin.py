"""The plugin, in pytest runs of its own: what it shares, repairs and costs."""

import subprocess
import sys
from pathlib import Path

import pytest

THREE_TESTS = """
import asyncio

import pytest


def test_a_node_is_killed(raftlog_cluster):
    asyncio.run(raftlog_cluster.kill("n2"))
    raftlog_cluster.seen = True


@pytest.mark.asyncio
async def test_it_runs_again_for_the_next_client(raftlog_cluster, raftlog_client):
    assert raftlog_cluster.nodes["n2"].running
    async with raftlog_client as client:
        await client.topics.create("t", exist_ok=True)
        await client.send("t", b"v")


def test_the_cluster_is_shared(raftlog_cluster):
    assert raftlog_cluster.seen
"""


def run(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(directory)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.long
def test_a_cluster_is_shared_and_repaired(tmp_path: Path) -> None:
    """A test that kills does not harm those behind it."""
    (tmp_path / "test_three.py").write_text(THREE_TESTS, "utf-8")

    done = run(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("scope", "code", "said"), [("function", 4, "write session or module"), ("module", 0, "")]
)
def test_another_scope_is_chosen_or_refused(
    tmp_path: Path, scope: str, code: int, said: str
) -> None:
    """A cluster for each test would be a minute for each file."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nraftlog_cluster_scope = {scope}\n", "utf-8")
    (tmp_path / "test_one.py").write_text("def test_one(raftlog_cluster): pass\n", "utf-8")

    done = run(tmp_path, "--collect-only")

    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_who_does_not_use_it_pays_nothing() -> None:
    """Every run of pytest imports the plugin."""
    code = (
        "import sys, pytest; before = set(sys.modules); import raftlog.testing.pytest_plugin;"
        "print(*sorted(m for m in set(sys.modules) - before))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["raftlog", "raftlog.testing", "raftlog.testing.pytest_plugin"]

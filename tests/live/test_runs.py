"""Whole runs: one that is good, and one that is interrupted; nothing is left of either."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from chaos.live.shim import compiler

ROOT: Final = Path(__file__).parents[2]
NODES: Final = 3
RUN: Final = (sys.executable, "-m", "chaos", "run", "verify")


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of all processes that speak of a directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(directory) in line:
            found.append(line)
    return found


@contextmanager
def started(tmp_path: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a run whose temporary files are below ``tmp_path``; it ends with the test."""
    run = subprocess.Popen(
        [*RUN, "--seed", "3", "--report", str(tmp_path / "report.html"), *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


def wait_for_owners(tmp_path: Path) -> None:
    """Wait until the run has started everything: owners of half messages begin last."""
    deadline = time.monotonic() + 60
    while not any("half_owner" in line for line in processes_of(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for_one_that_stands_still(tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(state == "T" for state in states_of(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def states_of(directory: Path) -> list[str]:
    """Return the states of all processes that speak of a directory, as the kernel names them."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            line = (each / "cmdline").read_bytes().decode()
            state = (each / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(directory) in line:
            found.append(state)
    return found


def wait_for_the_end(tmp_path: Path) -> None:
    """Wait until the processes of a run have ended that has ended itself."""
    deadline = time.monotonic() + 20
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)


def nothing_is_left(tmp_path: Path) -> None:
    assert processes_of(tmp_path) == []
    assert [path.name for path in tmp_path.glob("chaos-*")] == []


@pytest.mark.long
def test_a_short_run_is_good_and_reported(tmp_path: Path) -> None:
    with started(tmp_path, "--time", "8s", "--faults", "kill,power-all") as run:
        told, _ = run.communicate(timeout=200)
    assert run.returncode == 0, told
    assert "no anomaly" in told
    assert (
        "python -m chaos run verify --seed 3 --time 8s --nodes 3 --faults kill,power-all" in told
    )
    assert "no anomaly" in (tmp_path / "report.html").read_text("utf-8")
    nothing_is_left(tmp_path)


@pytest.mark.long
def test_a_short_run_of_five_nodes_is_good(tmp_path: Path) -> None:
    options = ("--nodes", "5", "--time", "8s", "--faults", "kill-most,halves")
    with started(tmp_path, *options) as run:
        told, _ = run.communicate(timeout=200)
    assert run.returncode == 0, told
    assert "no anomaly" in told
    nothing_is_left(tmp_path)


@pytest.mark.long
@pytest.mark.skipif(compiler() is None, reason="no gcc is found")
def test_power_is_lost_beneath_the_normal_file_layer(tmp_path: Path) -> None:
    """And something with it: a shim that takes nothing back would prove nothing."""
    faults = "power-all,promise-ack"
    with started(tmp_path, "--shim", "--faults", faults, "--time", "20s") as run:
        told, _ = run.communicate(timeout=200)
    assert run.returncode == 0, told
    assert "no anomaly" in told
    assert re.search(r"power-all .*: [1-9]\d* unsynced", told), told
    assert re.search(r"promise-ack .*unsynced: \[[1-9]", told), told
    losses = re.search(r"power-shim +(\d+) +(\d+)", told)
    assert losses is not None, told
    assert int(losses[1]) >= int(losses[2]) >= 2
    nothing_is_left(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (signal.SIGINT, "pause"),
        (signal.SIGINT, "kill"),
        (signal.SIGTERM, "pause"),
        (signal.SIGTERM, "kill"),
        (signal.SIGHUP, "pause"),
    ],
)
def test_nothing_is_left_of_a_run_that_is_interrupted(
    tmp_path: Path, number: signal.Signals, fault: str
) -> None:
    with started(tmp_path, "--time", "60s", "--faults", fault) as run:
        wait_for_owners(tmp_path)
        time.sleep(4)  # into the faults
        assert len(processes_of(tmp_path)) >= NODES - 1
        run.send_signal(number)
        told, _ = run.communicate(timeout=60)
    assert run.returncode == 130, told
    nothing_is_left(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_run_that_is_interrupted_again_while_it_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path, "--time", "60s", "--faults", "pause") as run:
        wait_for_owners(tmp_path)
        time.sleep(2)
        for _ in range(2):
            run.send_signal(number)
            time.sleep(0.1)
        told, _ = run.communicate(timeout=60)
    assert run.returncode == 130, told
    wait_for_the_end(tmp_path)  # of clients, which end with their input
    nothing_is_left(tmp_path)


@pytest.mark.long
def test_processes_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """Also one that stands still and reads no end of anything. Its files stay."""
    with started(tmp_path, "--time", "60s", "--faults", "pause") as run:
        wait_for_owners(tmp_path)
        wait_for_one_that_stands_still(tmp_path)
        run.kill()
        run.wait()
        wait_for_the_end(tmp_path)
    assert processes_of(tmp_path) == []


LOST: Final = {
    *("kept_records", "whole_queues", "seen_records", "linearizability", "bounded_staleness"),
    *("work_done", "group_offsets", "later_kept", "stored_once", "halves_kept", "counted_once"),
}
"""What sees that something is gone which was acknowledged: whoever hears of it first."""
TWO_LEAD: Final = {"one_leader_per_term", "contradicted"}
"""Both are seen, or the second one's log meets nodes that have committed what the first wrote."""
CONTRADICTED: Final = re.compile(r"stopping: the leader of term \d+ contradicts committed entry")


@pytest.mark.long
@pytest.mark.timeout(300)  # it waits twice for a power loss between a promise and the disk
def test_faults_that_show_planted_bugs_show_nothing_without_them(tmp_path: Path) -> None:
    """So what is seen with one is seen because of it."""
    faults = "promise-ack,promise-vote,pause,late"
    with started(tmp_path, "--faults", faults, "--time", "32s") as run:
        told, _ = run.communicate(timeout=280)
    assert run.returncode == 0, told
    assert checks_of(told) == set()
    nothing_is_left(tmp_path)


def checks_of(told: str) -> set[str]:
    """Return the checks that have seen an anomaly; "contradicted" if a node stopped for that."""
    seen = set(re.findall(r"^ANOMALY (\w+): ", told, re.MULTILINE))
    if "nodes_stay_up" in seen and CONTRADICTED.search(" ".join(told.split())):
        seen.add("contradicted")
    return seen


@pytest.mark.long
@pytest.mark.parametrize(
    ("faults", "time_s", "mutant", "seen"),
    [
        ("promise-ack", 80, "ack before fsync (NATS 7564, DLedger)", LOST),
        ("promise-vote", 80, "vote not persisted before the reply (PySyncObj)", TWO_LEAD),
        ("pause", 16, "end offset told without asking the others", {"linearizability"}),
        ("pause", 16, "bounded read served unconfirmed", {"bounded_staleness"}),
        ("late", 60, "group offset not fenced", {"group_offsets"}),
        ("late", 60, "old lease handle acknowledges", {"work_done"}),
        ("late", 60, "blocked message is tried again without a decision", {"work_done"}),
    ],
)
def test_a_planted_bug_is_caught(
    tmp_path: Path, faults: str, time_s: int, mutant: str, seen: set[str]
) -> None:
    command = [*RUN, "--seed", "1", "--time", f"{time_s}s", "--faults", faults]
    command += ["--mutant", mutant]
    command += ["--report", str(tmp_path / "report.html")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert checks_of(done.stdout) & seen, done.stdout
    assert "faults_happened" not in checks_of(done.stdout), done.stdout
    nothing_is_left(tmp_path)

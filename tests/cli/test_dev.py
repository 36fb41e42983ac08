"""``raftlog dev`` as a process: what it says, how it ends, what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftlog.cli.app import main
from raftlog.cli.dev import MARK
from raftlog.cli.exits import Exit
from raftlog.server.pidfile import ProcessId

OF_ONE = (
    f"{MARK}\ncluster: c\ndata: d\nnodes:\n"
    "  n1: {listen: {peer: '127.0.0.1:1', client: '127.0.0.1:2'}}\n"
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``raftlog dev`` with options; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "raftlog", "dev", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def ready(process: "subprocess.Popen[str]") -> Any:
    """Return what it says when it is ready, in JSON."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> str:
    """Stop it; return what it said on stderr."""
    process.send_signal(number)
    return process.communicate(timeout=30)[1]


def run_topic(connect: list[str], *arguments: str) -> int:
    """Run a command on it."""
    return main(["topic", *arguments, "--connect", ",".join(connect)])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_a_signal_and_leaves_nothing(start: Start, number: signal.Signals) -> None:
    """Ctrl-C, an end by a supervisor, a terminal that is closed."""
    process = start("-o", "json")
    said = ready(process)
    (node,) = said["nodes"]

    assert run_topic(said["connect"], "create", "hello") == Exit.DONE
    end(process, number)

    assert process.returncode == Exit.DONE
    assert not Path(said["directory"]).exists()
    assert ProcessId.find(node["pid"]) is None


@pytest.mark.long
def test_its_nodes_end_though_it_was_killed(start: Start) -> None:
    """They hear of it by a pipe that ends; nobody else would stop them."""
    process = start("--nodes", "3", "-o", "json")
    nodes = [node["pid"] for node in ready(process)["nodes"]]

    end(process, signal.SIGKILL)

    deadline = time.monotonic() + 20
    while any(ProcessId.find(pid) for pid in nodes):
        assert time.monotonic() < deadline, "a node is left"
        time.sleep(0.05)


@pytest.mark.long
def test_with_data_the_next_one_goes_on(start: Start, tmp_path: Path) -> None:
    """Also with as many nodes, without being told again."""
    first = start("--nodes", "3", "--data", "kept", "-o", "json")
    said = ready(first)
    assert run_topic(said["connect"], "create", "hello") == Exit.DONE
    end(first)

    second = start("--data", "kept", "-o", "json")
    again = ready(second)

    assert [node["node"] for node in again["nodes"]] == ["n1", "n2", "n3"]
    assert (again["directory"], again["kept"]) == (str(tmp_path / "kept"), True)
    assert run_topic(again["connect"], "describe", "hello") == Exit.DONE


@pytest.mark.long
def test_a_second_one_in_the_same_directory_is_refused(start: Start) -> None:
    """Before it has changed the first one's file."""
    ready(start("--data", "kept", "-o", "json"))

    second = start("--data", "kept")
    _, err = second.communicate(timeout=30)

    assert second.returncode == Exit.FAILED
    assert "another process has" in err


@pytest.mark.long
def test_a_second_one_elsewhere_takes_other_ports(start: Start) -> None:
    """And says how to reach it."""
    first = ready(start("-o", "json"))
    second = start()
    assert second.stdout is not None
    lines = iter(second.stdout.readline, "ctrl-C ends it.\n")

    export = [line.strip() for line in lines if "export" in line]

    assert len(export) == 1
    assert export[0].startswith("export RAFTLOG_CONNECT=127.0.0.1:")
    assert export[0].partition("=")[2] not in first["connect"]


@pytest.mark.long
def test_a_node_that_is_killed_is_told_and_the_others_go_on(start: Start) -> None:
    """With what brings it back."""
    process = start("--nodes", "3", "-o", "json")
    said = ready(process)
    (leader,) = [node for node in said["nodes"] if node["node"] == said["leader"]]

    os.kill(leader["pid"], signal.SIGKILL)
    assert process.stderr is not None
    told = process.stderr.readline()

    assert told.startswith(f"{leader['node']} has ended (killed by SIGKILL); start it again with:")
    assert f"node run -c {said['directory']}/cluster.yml -n {leader['node']}" in told
    assert run_topic(said["connect"], "create", "hello") == Exit.DONE


def test_without_nodes_it_ends(start: Start) -> None:
    """There is nothing left to wait for."""
    process = start("-o", "json")
    (node,) = ready(process)["nodes"]

    os.kill(node["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert process.returncode == Exit.FAILED
    assert "raftlog: every node has ended" in err


@pytest.mark.parametrize(
    ("file", "options", "code", "complaint"),
    [
        ("cluster: c\n", ["--data", "."], Exit.FAILED, "was not written by raftlog dev"),
        (f"{MARK}\noops\n", ["--data", "."], Exit.FAILED, "remove it"),
        (OF_ONE, ["--data", ".", "--nodes", "3"], Exit.FAILED, "holds a cluster of 1"),
        ("", ["--nodes", "0"], Exit.USAGE, "--nodes"),
        ("", ["--nodes", "8"], Exit.USAGE, "--nodes"),
        ("", ["--data"], Exit.USAGE, "requires an argument"),
        ("", ["--data", "/proc/nope"], Exit.FAILED, "/proc/nope"),
    ],
)
def test_mistakes_are_told_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    options: list[str],
    code: Exit,
    complaint: str,
) -> None:
    """Before anything starts or is written."""
    monkeypatch.chdir(tmp_path)
    if file:
        (tmp_path / "cluster.yml").write_text(file)

    assert main(["dev", *options]) == code

    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in " ".join(captured.err.replace("│", " ").split())
    assert not file or (tmp_path / "cluster.yml").read_text() == file

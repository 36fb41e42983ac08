"""A node's process ends with whoever has started it, also while it stands still."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

CHILD: Final = """
import time
from chaos.live.node import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT: Final = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def state_of(pid: int) -> str:
    """Return a process's state as the kernel names it, "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for(pid: int, *states: str) -> None:
    deadline = time.monotonic() + 20
    while state_of(pid) not in states:
        assert time.monotonic() < deadline, state_of(pid)
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own way is Linux's")
def test_a_node_that_stands_still_ends_with_the_suite() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        ends_with(parent)


def ends_with(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert parent.stdout.readline() == "ready\n"
        os.kill(child, signal.SIGSTOP)
        wait_for(child, "T")
        parent.kill()
        wait_for(child, "", "Z")  # whose zombie it is now is not our business
    finally:
        parent.kill()
        if state_of(child) not in ("", "Z"):
            os.kill(child, signal.SIGKILL)

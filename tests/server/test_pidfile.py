"""A pid is not an identity: nothing is signalled that is not proven to be ours."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from raftlog.server.pidfile import PidFile, ProcessId

IDLE = "import sys; sys.stdin.read()"


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of our own that waits until its stdin is closed."""
    with subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_running_process_is_found_and_noted(tmp_path: Path) -> None:
    """What is written is what is read."""
    me = ProcessId.find(os.getpid())
    assert me is not None
    file = PidFile(tmp_path / "n1.pid")

    file.write(me)

    assert file.running() == me


def test_a_pid_that_was_used_again_is_not_ours(
    tmp_path: Path, child: "subprocess.Popen[bytes]"
) -> None:
    """The node ended, the machine went on, another process has its pid: it must live."""
    now = ProcessId.find(child.pid)
    assert now is not None
    for earlier in (
        msgspec.structs.replace(now, started=now.started - 1),
        msgspec.structs.replace(now, boot="another boot"),
    ):
        file = PidFile(tmp_path / "n1.pid")
        file.write(earlier)

        assert file.running() is None
        assert not earlier.send(signal.SIGKILL)

    assert child.poll() is None


def test_our_process_gets_the_signal(child: "subprocess.Popen[bytes]") -> None:
    """And is seen to be gone, also while its parent has not reaped it."""
    process = ProcessId.find(child.pid)
    assert process is not None

    assert process.send(signal.SIGTERM)

    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_running
    assert not process.send(signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    assert not process.send(signal.SIGTERM)


@pytest.mark.parametrize("content", [b"", b"12", b"{", b'{"pid": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_names_nobody(tmp_path: Path, content: bytes) -> None:
    """A torn write of the pid file must not aim a signal."""
    file = PidFile(tmp_path / "n1.pid")
    file.path.write_bytes(content)

    assert file.running() is None


def test_no_file_names_nobody(tmp_path: Path) -> None:
    """Before the first start."""
    file = PidFile(tmp_path / "n1.pid")

    file.remove()

    assert file.running() is None

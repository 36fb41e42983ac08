"""A run of hours that is stopped was not for nothing."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from chaos.seeds.code import Code
from chaos.seeds.ledger import Entry
from chaos.sim import __main__ as program
from chaos.sim.run import Verdict

CODE = Code(commit="c1", product="p1", simulator="s1+t1")


def _stopped_after(
    count: int, monkeypatch: pytest.MonkeyPatch, *, failure: str | None = None
) -> tuple[int, list[Entry]]:
    """Stop a run of ten seeds; return its exit code, and what came into the ledger."""
    written: list[Entry] = []

    def verdicts(*_: object) -> Iterator[Verdict]:
        for seed in range(7, 7 + count):
            yield Verdict(seed, failure, None, "d", 100, {"acked": 3})
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "_verdicts", verdicts)
    monkeypatch.setattr(program, "code_of_commit", lambda: CODE)
    monkeypatch.setattr(program, "append", written.append)
    monkeypatch.setattr("sys.argv", ["chaos.sim", "--seeds", "7:17", "--ledger"])
    return program.main(), written


def test_what_came_before_the_stop_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the ledger stands as far as it came, not as far as it was to go."""
    code, written = _stopped_after(4, monkeypatch)
    assert code == program.STOPPED
    assert written == [Entry(CODE, 7, 11, 400, 12, 0, 0)]
    assert "stopped after 4 of 10 seeds" in capsys.readouterr().err


def test_a_failure_before_the_stop_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    code, written = _stopped_after(2, monkeypatch, failure="broken")
    assert code == 1
    assert written == [Entry(CODE, 7, 9, 200, 6, 2, 0)]


def test_a_run_that_is_stopped_at_once_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    code, written = _stopped_after(0, monkeypatch)
    assert (code, written) == (program.STOPPED, [])


def test_a_program_of_two_processes_runs_to_its_end() -> None:
    """As a user starts it: a process of a pool knows nothing of the ``__main__`` of its parent."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos.sim", "--seeds", "1:3", "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 seeds, " in done.stdout

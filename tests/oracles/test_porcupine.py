"""Our search for a linearization gives the verdicts that porcupine's histories are known to have.

The histories are searched until ``BOX_S`` seconds are used up. What is left then
is a failure if ``RAFTLOG_ORACLES_ALL`` is set, which takes the box away, and a
skip that names its number otherwise.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import pytest

from chaos.check.linearizability import Verdict, search
from chaos.check.models import Read, Register, Texts
from tests.oracles.folder import oracle_files, oracle_folder
from tests.oracles.porcupine import read_register, read_texts, read_verdicts

REGISTERS: Final = "porcupine/jepsen"
TEXTS: Final = "porcupine/kv"
BOX_S: Final = 8.0
"""For each of the two kinds of history."""
SUFFIXES: Final = {"ok": True, "bad": False}


def known_registers() -> Iterator[tuple[Path, bool]]:
    """Yield the register histories with what ``expected.txt`` says of each."""
    files = oracle_files(REGISTERS, "*.log")
    verdicts = read_verdicts(oracle_folder(REGISTERS) / "expected.txt")
    for path in files:
        assert path.name in verdicts, f"nothing is expected of {path}"
        yield path, verdicts[path.name]


def known_texts() -> Iterator[tuple[Path, bool]]:
    """Yield the text histories with what their names say."""
    for path in oracle_files(TEXTS):
        yield path, SUFFIXES[path.stem.rpartition("-")[2]]


def search_register(path: Path) -> Verdict:
    """Return our verdict on a register's history."""
    return search(Register(), read_register(path)).verdict


def search_texts(path: Path) -> Verdict:
    """Return our verdict on the history of texts by key."""
    return search(Texts(), read_texts(path)).verdict


@pytest.mark.parametrize(
    ("known", "verdict"),
    [(known_registers, search_register), (known_texts, search_texts)],
)
def test_every_published_history_has_its_known_verdict(
    known: Callable[[], Iterator[tuple[Path, bool]]], verdict: Callable[[Path], Verdict]
) -> None:
    """*Unknown* is as wrong as the opposite."""
    box = None if os.environ.get("RAFTLOG_ORACLES_ALL") else monotonic() + BOX_S
    histories = list(known())
    for searched, (path, linearizable) in enumerate(histories):
        if box is not None and monotonic() > box:
            pytest.skip(
                f"{searched} of {len(histories)} histories searched, all right, in {BOX_S:.0f} s: "
                "set RAFTLOG_ORACLES_ALL for the rest"
            )
        expected = Verdict.LINEARIZABLE if linearizable else Verdict.IMPOSSIBLE
        assert verdict(path) is expected, path.name


def test_a_history_that_was_tampered_with_is_not_linearizable() -> None:
    """An answer that nobody wrote makes every linearizable history impossible."""
    tried = 0
    for path, linearizable in known_registers():
        history = read_register(path)
        if not linearizable or len(history) > 90:
            continue
        read = next(at for at, each in enumerate(history) if isinstance(each.does, Read))
        wrong = msgspec.structs.replace(history[read], output=99)
        tampered = [*history[:read], wrong, *history[read + 1 :]]

        assert search(Register(), tampered).verdict is Verdict.IMPOSSIBLE, path.name
        tried += 1
        if tried == 5:
            break
    assert tried


@pytest.mark.parametrize("line", ["INFO  jepsen.util - 0\t:invoke\t:swap\t4", "nonsense"])
def test_a_line_of_no_known_kind_is_refused(tmp_path: Path, line: str) -> None:
    """A line that is lost in silence could make any history linearizable."""
    path = tmp_path / "history"
    path.write_text(line, encoding="utf-8")
    for read in (read_register, read_texts):
        with pytest.raises(ValueError, match="history:1"):
            read(path)

"""The list of what seeds found, and the ledger of those that found nothing."""

import ast
from pathlib import Path

import pytest

from chaos.seeds.code import ROOT, Code
from chaos.seeds.found import Finding, known_findings, read_findings
from chaos.seeds.ledger import LEDGER, Entry, append, read_ledger, sums

CODE = Code(commit="c1", product="p1", simulator="s1+t1")


def entry(code: Code, first: int, end: int, *, failed: int = 0) -> Entry:
    """Return a run with ten events for each seed."""
    return Entry(code, first, end, (end - first) * 10, end - first, failed, 0)


@pytest.mark.parametrize("finding", known_findings(), ids=lambda finding: str(finding.seed))
def test_each_bug_that_a_seed_found_has_a_unit_test_of_its_own(finding: Finding) -> None:
    """What a seed is changes with every draw that is added; the bug stays forbidden."""
    path, name = finding.test.split("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_a_line_without_all_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"line 2 of found\.txt"):
        read_findings("# seed\n1 | abc | liveness | what\n")


def test_a_finding_may_speak_of_bars() -> None:
    (finding,) = read_findings("7 | abc | crash | a.py::b | one | two")
    assert (finding.seed, finding.what) == (7, "one | two")


def test_the_ledger_reads_what_it_writes(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.txt"
    ledger.write_text("# a comment\n")
    runs = [entry(CODE, 0, 100, failed=2), entry(CODE, 100, 250)]
    for run in runs:
        append(run, ledger)
    assert read_ledger(ledger.read_text()) == runs


def test_a_seed_counts_once_for_each_state_of_product_and_simulator() -> None:
    other = Code(commit="c2", product="p1", simulator="s2+t1")
    newer = Code(commit="c3", product="p2", simulator="s2+t1")
    total, again = sums(
        [entry(CODE, 0, 100), entry(CODE, 50, 150), entry(other, 0, 100), entry(newer, 0, 10)]
    )
    assert (total.product, total.commits) == ("p1", ("c1", "c2"))
    assert (total.seeds, total.largest) == (250, 100)
    assert (total.events, total.acked) == (3_000, 300)
    assert (again.product, again.seeds) == ("p2", 10)


def test_the_ledger_of_this_repository_can_be_read() -> None:
    sums(read_ledger(LEDGER.read_text()))

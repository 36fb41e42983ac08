"""The page of the zoo is what a run of it has written, and the zoo holds what it should."""

from pathlib import Path
from statistics import median
from typing import Final

import pytest

from chaos.mutants.mutant import Mutant
from chaos.mutants.patches import MUTANTS
from chaos.mutants.report import PAGE, known_as, row_of, rows_of, summary, with_rows
from chaos.mutants.zoo import Capture

ROOT: Final = Path(__file__).parents[2]
SEEDS_MAX: Final = 2_000
MEDIAN_MAX: Final = 100


def test_every_known_bug_and_every_ruling_has_a_mutant() -> None:
    """Of those that others have had, in the order of our list."""
    known = {number for mutant in MUTANTS for number in mutant.known}
    rulings = {number for mutant in MUTANTS for number in mutant.rulings}

    assert known == set(range(1, 34))
    assert set(range(1, 16)) <= rulings


def test_names_are_unique_and_can_be_asked_for() -> None:
    """A name is a row's key, and the rest of a command line."""
    names = [mutant.name for mutant in MUTANTS]

    assert len(set(names)) == len(names)
    assert not [name for name in names if "|" in name or "`" in name]


def test_every_mutant_has_its_row_and_no_other_has() -> None:
    """Who was added has been run: ``python -m chaos.mutants --only NAME --record``."""
    rows = {row.name: row for row in rows_of(PAGE.read_text("utf-8"))}

    assert list(rows) == [mutant.name for mutant in MUTANTS]
    for mutant in MUTANTS:
        row = rows[mutant.name]
        assert row.known == known_as(mutant)
        assert (row.seed is None) == bool(mutant.tests), row
        assert row.catcher == " ".join(mutant.tests) or not mutant.tests, row


def test_seeds_catch_early_and_invariants_are_where_they_are_said_to_be() -> None:
    """The goal of the zoo, as far as seeds catch."""
    rows = rows_of(PAGE.read_text("utf-8"))
    by_seed = [row for row in rows if row.seed is not None]

    assert all(row.after and row.after <= row.seed + 1 <= SEEDS_MAX for row in by_seed if row.seed)
    assert median(row.after for row in by_seed if row.after) <= MEDIAN_MAX
    for row in by_seed:
        where = ROOT / "chaos/check" / f"{row.catcher}.py"
        assert row.catcher in ("crash", "guard") or where.exists(), row
    for row in rows:
        if row.seed is None:
            assert all((ROOT / path).exists() for path in row.catcher.split()), row


def test_the_page_says_what_its_rows_say() -> None:
    """Nobody counts by hand."""
    page = PAGE.read_text("utf-8")
    rows = {row.name: row for row in rows_of(page)}

    assert with_rows(page, MUTANTS, rows) == page
    assert page.endswith(f"\n{summary(list(rows.values()))}\n")


def test_a_row_is_read_as_it_was_written() -> None:
    """By a seed, and by tests."""
    mutant = Mutant("votes twice", "raftlog.raft.core", (), known=(1,), rulings=(4, 5))
    seen = Capture("votes twice", "monotone", "how", seeds=3, last=4)
    tested = Capture("votes twice", "tests/a.py tests/b.py", "a test failed")
    for capture in (seen, tested):
        row = row_of(mutant, capture)
        page = with_rows("# Page\n", (mutant,), {mutant.name: row})
        assert rows_of(page) == [row]
        assert str(row) in page


def test_what_is_no_row_is_refused() -> None:
    """A hand that has changed the table has changed it well, or this fails."""
    page = with_rows("# Page\n", (), {})
    with pytest.raises(ValueError, match="not a row"):
        rows_of(page.replace("---:|\n", "---:|\n| a | b | c |\n"))

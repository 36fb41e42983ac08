"""The table of known defects says what is tested, and all of it."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/explanation/known-defects.md"
TESTS: Final = ROOT / "tests/dledger/test_defects.py"
LETTERS: Final = "ABCDEFGHIJKLMNOPQ"


def rows() -> dict[str, str]:
    """Return each row of the table by its letter."""
    found = re.findall(r"^\| ([A-Z]) \| (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(found) == len({letter for letter, _ in found}), "a letter has two rows"
    return dict(found)


def existing() -> set[str]:
    """Return the names of all tests of defects."""
    tree = ast.parse(TESTS.read_text("utf-8"))
    names = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {name for name in names if name.startswith("test_")}


def test_every_defect_has_a_row() -> None:
    """A to Q, in this order."""
    assert "".join(rows()) == LETTERS


@pytest.mark.parametrize("letter", LETTERS)
def test_a_row_names_every_test_of_its_letter_and_no_other(letter: str) -> None:
    """At least one."""
    named = re.findall(r"`(test_\w+)`", rows()[letter])
    of_letter = {name for name in existing() if name.startswith(f"test_{letter.lower()}_")}

    assert named
    assert set(named) == of_letter


def test_every_test_belongs_to_a_letter() -> None:
    """A test without one would be in no row."""
    for name in existing():
        assert re.match(r"test_[a-q]_", name), name

"""The bars are data that can be run, and a missed one shows."""

import msgspec
import pytest

from bench.bars import ROWS, Bar, Row, at_least, at_most
from bench.table import FULL, QUICK, options_of
from raftlog.testing.bench.report import SCENARIOS, Report


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_every_row_names_a_scenario_options_and_figures_that_exist(row: Row) -> None:
    """A typing error here would be found only after half an hour of measuring."""
    assert row.scenario in SCENARIOS
    figures = {field.name for field in msgspec.structs.fields(Report)}
    assert {bar.figure for bar in row.bars} <= figures
    for quick in (True, False):
        options_of(row, quick=quick)
    known = {field.name for field in msgspec.structs.fields(type(options_of(row, quick=True)))}
    assert row.options.keys() | FULL[row.scenario].keys() | QUICK[row.scenario].keys() <= known


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (at_least("x", 10, ""), 10, True),
        (at_least("x", 10, ""), 9.99, False),
        (at_most("x", 10, "ms"), 10, True),
        (at_most("x", 10, "ms"), 10.01, False),
        (at_most("x", 10, "ms"), None, False),
    ],
)
def test_a_bar_is_met_or_missed(bar: Bar, value: float | None, met: bool) -> None:  # noqa: FBT001
    """What was not measured is missed, never met."""
    assert bar.met(value) is met

"""The zoo's table: one row for each mutant, on the screen and in the documents.

A run that is recorded replaces the rows of the mutants that it has run, and the
rows of mutants that are no more go. What the page says above the table stays.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from chaos.mutants.mutant import Mutant
from chaos.mutants.zoo import ROOT, Capture

PAGE: Final = ROOT / "docs/reference/planted-bugs.md"
TABLE: Final = "| bug | known as | caught by | seed | after |\n|---|---|---|---:|---:|\n"
_ROW: Final = re.compile(
    r"\| (?P<name>[^|]+) \| (?P<known>[^|]*?) ?\| `(?P<catcher>[^|`]+)` "
    r"\| (?P<seed>\d*) ?\| (?P<after>\d*) ?\|"
)


class Row(msgspec.Struct, frozen=True):
    """One mutant's row. A bug that tests catch has neither seed nor count."""

    name: str
    known: str
    catcher: str
    seed: int | None
    after: int | None

    def __str__(self) -> str:
        """Return it as it is in the page."""
        numbers = ["" if each is None else str(each) for each in (self.seed, self.after)]
        cells = (self.name, self.known, f"`{self.catcher}`", *numbers)
        return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def known_as(mutant: Mutant) -> str:
    """Return a mutant's numbers elsewhere."""
    numbers = [f"4.9 {number}" for number in mutant.known]
    return ", ".join(numbers + [f"ruling {number}" for number in mutant.rulings])


def row_of(mutant: Mutant, capture: Capture) -> Row:
    """Return the row of a mutant that was caught."""
    assert capture.catcher is not None, f"{mutant.name} was not caught"
    by_seed = capture.seeds > 0
    return Row(
        *(mutant.name, known_as(mutant), capture.catcher),
        *(capture.last if by_seed else None, capture.seeds if by_seed else None),
    )


def rows_of(page: str) -> list[Row]:
    """Return the rows of a page.

    Raises:
        ValueError: A row is not one.
    """
    found: list[Row] = []
    for line in page.partition(TABLE)[2].splitlines():
        if not line:
            break
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"not a row: {line}")
        seed, after = (int(match[key]) if match[key] else None for key in ("seed", "after"))
        found.append(Row(match["name"], match["known"], match["catcher"], seed, after))
    return found


def summary(rows: Sequence[Row]) -> str:
    """Return what all rows say together."""
    counts = [row.after for row in rows if row.after is not None]
    if not counts:
        return f"{len(rows)} bugs."
    half, most = f"{median(counts):.0f}", max(counts)
    return (
        f"{len(rows)} bugs; seeds catch {len(counts)} of them, half of those within {half}, all "
        f"within {most}."
    )


def with_rows(page: str, mutants: Sequence[Mutant], rows: Mapping[str, Row]) -> str:
    """Return the page with the rows of ``mutants``, in their order."""
    kept = [rows[mutant.name] for mutant in mutants if mutant.name in rows]
    table = "".join(f"{row}\n" for row in kept)
    return f"{page.partition(TABLE)[0]}{TABLE}{table}\n{summary(kept)}\n"


def record(mutants: Sequence[Mutant], capture: Capture, page: Path = PAGE) -> None:
    """Put one capture into the page; who was not caught has no row there."""
    text = page.read_text("utf-8")
    rows = {row.name: row for row in rows_of(text)}
    rows.pop(capture.name, None)
    if capture.catcher is not None:
        mutant = next(each for each in mutants if each.name == capture.name)
        rows[capture.name] = row_of(mutant, capture)
    page.write_text(with_rows(text, mutants, rows), "utf-8")


def line(capture: Capture) -> str:
    """Return what somebody who watches the zoo is told."""
    if capture.catcher is None:
        return f"SURVIVED {capture.name}: {capture.how[-400:]}"
    seeds = f"seed {capture.last}, after {capture.seeds}" if capture.seeds else ""
    return f"{capture.name:66} {capture.catcher:24} {seeds}"

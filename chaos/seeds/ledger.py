"""The ledger of seeds: one line for each large run, summed for each state of the product.

A line, divided by ``|``::

    product | simulator | commit | first:end | events | acked | failed seeds | missing marks

Numbers of failed seeds and of marks, not lists: what failed is fixed, and then the
product is another one, which begins at nothing.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from chaos.seeds.code import Code

LEDGER: Final = Path(__file__).parent / "ledger.txt"
_PARTS: Final = 8


class Entry(msgspec.Struct, frozen=True):
    """One run."""

    code: Code
    first: int
    end: int
    """The first seed that was not run."""
    events: int
    acked: int
    failed: int
    """Seeds in which something was broken."""
    missing: int
    """Marks that no seed reached, where so many seeds must reach all."""

    def line(self) -> str:
        """Return it as it stands in the file."""
        code = self.code
        parts = (
            *(code.product, code.simulator, code.commit, f"{self.first}:{self.end}"),
            *(self.events, self.acked, self.failed, self.missing),
        )
        return " | ".join(str(part) for part in parts)


class Sum(msgspec.Struct, frozen=True):
    """What one state of the product has survived."""

    product: str
    commits: tuple[str, ...]
    seeds: int
    """Different runs: a seed counts once for each state of the simulator."""
    largest: int
    """The most seeds of one run."""
    events: int
    acked: int
    failed: int
    missing: int


def read_ledger(text: str) -> list[Entry]:
    """Parse the ledger; ``#`` begins a comment.

    Raises:
        ValueError: A line has another shape.
    """
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != _PARTS:
            raise ValueError(f"line {number} of the ledger is not {_PARTS} parts: {line!r}")
        product, simulator, commit, seeds, *counts = parts
        first, end = (int(each) for each in seeds.split(":"))
        code = Code(commit=commit, product=product, simulator=simulator)
        entries.append(Entry(code, first, end, *(int(count) for count in counts)))
    return entries


def sums(entries: Iterable[Entry]) -> list[Sum]:
    """Add up, for each state of the product in the order in which it was first run."""
    by_product: dict[str, list[Entry]] = {}
    for entry in entries:
        by_product.setdefault(entry.code.product, []).append(entry)
    return [_sum(product, runs) for product, runs in by_product.items()]


def _sum(product: str, runs: Sequence[Entry]) -> Sum:
    different = {
        (entry.code.simulator, seed) for entry in runs for seed in range(entry.first, entry.end)
    }
    return Sum(
        product=product,
        commits=tuple(dict.fromkeys(entry.code.commit for entry in runs)),
        seeds=len(different),
        largest=max(entry.end - entry.first for entry in runs),
        events=sum(entry.events for entry in runs),
        acked=sum(entry.acked for entry in runs),
        failed=sum(entry.failed for entry in runs),
        missing=sum(entry.missing for entry in runs),
    )


def append(entry: Entry, ledger: Path = LEDGER) -> None:
    """Write a run down."""
    with ledger.open("a") as file:
        file.write(entry.line() + "\n")
